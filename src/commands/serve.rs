//! `surepass serve`

use std::process::ExitCode;

use surepass::clock::Clock;
use surepass::config::Settings;
use surepass::http::Application;
use surepass::queue::{Redis, RedisOptions};
use surepass::shutdown::Shutdown;
use surepass::store;
use surepass::telemetry;

use crate::Failure;

pub(crate) fn run(settings: &Settings) -> Result<ExitCode, Failure> {
    let _telemetry = telemetry::init("surepass", &settings.log.filter, settings.log.format)?;
    actix_web::rt::System::new().block_on(async {
        let shutdown = Shutdown::listen()?;
        let options = RedisOptions {
            response_timeout: *settings.server.redis_timeout,
            ..RedisOptions::default()
        };
        let redis = Redis::open(&settings.redis.url_or_default(), options)?;
        let url = settings.database.url_or_default();
        let store = store::open(&url, &settings.store_options())
            .await
            .map_err(|error| format!("DATABASE_URL: {error}"))?;
        // Webhooks are accepted while the store is down: only a tenant's own endpoint needs it.
        let (tables, migrate) = (store.clone(), settings.database.migrate_on_start);
        let tables = async move {
            match store::make_tables_when_it_answers(tables.as_ref(), migrate).await {
                Ok(()) => std::future::pending().await,
                Err(error) => error,
            }
        };
        let application = Application::build(settings, &redis, store.clone(), Clock::system())?;
        tracing::info!(address = %application.address(), "listening: POST /webhooks/stripe");
        let asked = shutdown.clone();
        let serving = application.run_until(async move {
            asked.asked().await;
            tracing::info!("stopping: finishing open requests");
        });
        tokio::select! {
            served = serving => served?,
            error = tables => return Err(format!("DATABASE_URL: {error}").into()),
            () = shutdown.insisted() => tracing::warn!("second signal received: exiting now"),
        }
        store.close().await;
        tracing::info!("stopped");
        Ok(ExitCode::SUCCESS)
    })
}
