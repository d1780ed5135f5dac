//! `surepass doctor`

mod configuration;
mod left_behind;
mod purchases;
mod redis;
mod report;
mod sign_in;
mod store;
mod stripe;
mod webhooks;
mod work;

use std::process::ExitCode;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use surepass::clock::Clock;
use surepass::config::{ConfigError, QueueName, Settings};
use surepass::queue::{Queue, Redis, RedisOptions};
use surepass::store::{KnownTenant, Store};
use surepass::stripe::api::Client;

use super::block_on;
use super::terminal::print_json;
use crate::Failure;
use report::{PURCHASES, Report};

#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// One JSON document
    #[arg(long)]
    json: bool,
}

/// What the checks look at. What cannot be reached is `None`, and has been reported.
struct Context {
    settings: Settings,
    now: DateTime<Utc>,
    clock: Clock,
    redis: Option<Redis>,
    /// Why there is no way to Redis: the address cannot be used, or what TLS needs cannot be read.
    redis_unusable: Option<String>,
    /// Both queues respond.
    purchases: Option<Queue>,
    lookbacks: Option<Queue>,
    store: Option<Arc<Store>>,
    tenants: Vec<KnownTenant>,
    /// Why it refuses writes, and what to do next.
    store_refuses: Option<(String, String)>,
    /// How many workers are alive, where that is known.
    workers: Option<usize>,
    /// It responds, and accepts our key.
    stripe: Option<Client>,
}

/// Prints the verdict first. Checks everything and changes nothing: it creates no tables and no files, and calls to Stripe only
/// read. Exit status 1 if something is wrong; warnings alone are not.
pub(crate) fn run(
    settings: Result<Settings, ConfigError>,
    arguments: &Arguments,
) -> Result<ExitCode, Failure> {
    let mut report = Report::default();
    match settings {
        Ok(settings) => block_on(async {
            Box::pin(examine(settings, &mut report)).await;
            Ok(())
        })?,
        Err(error) => {
            report.begin("Settings");
            report.wrong(
                "settings",
                error.to_string(),
                "correct it; the programs do not start without",
            );
        }
    }
    if arguments.json {
        print_json(&report.document())?;
    } else {
        report.print();
    }
    Ok(if report.is_good() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn examine(settings: Settings, report: &mut Report) {
    let clock = Clock::system();
    let redis = Redis::open(&settings.redis.url_or_default(), RedisOptions::default());
    let mut context = Context {
        now: clock.now(),
        clock,
        redis: None,
        redis_unusable: None,
        purchases: None,
        lookbacks: None,
        store: None,
        tenants: Vec::new(),
        store_refuses: None,
        workers: None,
        stripe: None,
        settings,
    };
    report.begin("Settings");
    match redis {
        Ok(redis) => context.redis = Some(redis),
        Err(error) => context.redis_unusable = Some(error.to_string()),
    }
    if configuration::is_nothing_set(&context.settings) && !context.has_redis().await {
        configuration::nothing_here(&context.settings, report);
        return;
    }
    configuration::check(&context, report);
    sign_in::check(&context, report).await;
    report.begin("Redis");
    match context.redis_unusable.clone() {
        None => redis::check(&mut context, report).await,
        Some(error) => report.wrong("address", error.as_str(), redis::fix_for(&error)),
    }
    report.begin("Store");
    store::check(&mut context, report).await;
    report.begin("Stripe");
    stripe::check(&mut context, report).await;
    // Before the endpoints are tested: those requests may be rejected, too.
    let rejected = purchases::rejected(&context).await;
    report.begin("Webhooks");
    webhooks::check(&context, report).await;
    report.begin("Work");
    work::check(&mut context, report).await;
    left_behind::check(&context, report).await;
    let mut first = Report::default();
    first.begin(PURCHASES);
    purchases::check(&context, rejected, &mut first).await;
    report.put_first(first);
    if let Some(store) = &context.store {
        store.close().await;
    }
}

impl Context {
    /// A queue, whether it responds or not.
    fn queue(&self, name: QueueName) -> Option<Queue> {
        Queue::new(self.redis.as_ref()?, self.settings.queue_config_of(name)).ok()
    }

    async fn has_redis(&self) -> bool {
        match self.queue(QueueName::Fulfil) {
            Some(queue) => queue.ping().await.is_ok(),
            None => false,
        }
    }

    /// How long ago, in words.
    fn ago(&self, at: DateTime<Utc>) -> String {
        let ms = |at: DateTime<Utc>| u64::try_from(at.timestamp_millis()).unwrap_or_default();
        super::terminal::relative(ms(at), ms(self.now))
    }
}

/// Host and path of an address, without its password.
fn location(address: &str) -> &str {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    // A password may contain an `@`: the last one ends it.
    rest.rsplit_once('@').map_or(rest, |(_, rest)| rest)
}

#[cfg(test)]
mod tests {
    use super::location;

    #[test]
    fn a_location_shows_no_password() {
        for (address, expected) in [
            ("redis://127.0.0.1:6379", "127.0.0.1:6379"),
            (
                "rediss://user:p@ss@cache.example.com:6380/1?x=secret",
                "cache.example.com:6380/1",
            ),
            ("redis+unix:///run/redis.sock", "/run/redis.sock"),
            (
                "redis+sentinel://:pw@a:26379,b:26379/main?sentinel_password=pw",
                "a:26379,b:26379/main",
            ),
            ("postgres://surepass:p/w@db/surepass", "db/surepass"),
        ] {
            assert_eq!(location(address), expected);
        }
    }
}
