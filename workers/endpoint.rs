//! The worker's own `/healthz`, `/readyz` and `/metrics`.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use actix_web::http::header::X_CONTENT_TYPE_OPTIONS;
use actix_web::middleware::DefaultHeaders;
use actix_web::{App, HttpServer, web};
use surepass::http::health::{self, Health};
use surepass::http::{MetricsPage, metrics};
use surepass::lookback::endpoint_check::Findings;
use surepass::queue::{Exposition, Queue};
use surepass::store::Store;

/// Serves on its own thread until the process ends: the health of the queue and the store, and metrics of the
/// queues. If the address is taken, such as by a second worker, the worker runs without it.
pub(crate) fn serve<'a>(
    bind: SocketAddr,
    queue: &Queue,
    worked: impl IntoIterator<Item = &'a Queue>,
    store: &Arc<Store>,
    findings: &Findings,
) {
    let worked: Vec<&Queue> = worked.into_iter().collect();
    let all = worked.iter().copied().cloned().collect();
    let health = Health::of_worker(queue.clone(), store.clone(), all);
    let page = match Exposition::new(worked) {
        Ok(queues) => MetricsPage::new(queues, None)
            .with(findings.clone())
            .with_health(health.clone()),
        Err(error) => {
            tracing::warn!(%error, "no /metrics of this worker");
            return;
        }
    };
    let listener = match TcpListener::bind(bind) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::warn!(%bind, %error, "no /healthz, /readyz and /metrics of this worker: set SUREPASS_METRICS_BIND to a free address");
            return;
        }
    };
    let server = HttpServer::new(move || {
        App::new()
            .wrap(DefaultHeaders::new().add((X_CONTENT_TYPE_OPTIONS, "nosniff")))
            .app_data(web::Data::new(health.clone()))
            .app_data(web::Data::new(page.clone()))
            .configure(health::routes)
            .configure(metrics::routes)
    })
    .workers(1)
    .disable_signals()
    .listen(listener);
    match server {
        Ok(server) => {
            if let Some(address) = server.addrs().first() {
                tracing::debug!(%address, "listening: GET /metrics");
            }
            let running = server.run();
            tokio::spawn(async move {
                let ended = running.await;
                tracing::error!(%bind, ?ended, "/healthz, /readyz and /metrics of this worker have ended: restart it");
            });
        }
        Err(error) => tracing::warn!(%bind, %error, "no /healthz, /readyz and /metrics of this worker"),
    }
}
