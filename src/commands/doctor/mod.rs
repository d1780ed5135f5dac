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

/// What is there to look at; what cannot be reached is not, and has been told.
struct Patient {
    settings: Settings,
    now: DateTime<Utc>,
    clock: Clock,
    redis: Option<Redis>,
    /// Each answers.
    purchases: Option<Queue>,
    lookbacks: Option<Queue>,
    store: Option<Arc<dyn Store>>,
    tenants: Vec<KnownTenant>,
    /// Why it takes no writes, and what to do.
    store_refuses: Option<(String, String)>,
    /// How many are alive, where that is known.
    workers: Option<usize>,
    /// It answers, and takes our key.
    stripe: Option<Client>,
}

/// Prints the verdict first. Looks at everything and changes nothing: no tables are made, no file is created, and what goes out is read-only. Exit
/// status 1 if something is wrong; warnings alone are none.
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
                "correct it: the programs do not start",
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
    let mut patient = Patient {
        now: clock.now(),
        clock,
        redis: None,
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
    if let Ok(redis) = &redis {
        patient.redis = Some(redis.clone());
    }
    if configuration::is_nothing_set(&patient.settings) && !patient.has_redis().await {
        configuration::nothing_here(&patient.settings, report);
        return;
    }
    configuration::check(&patient, report);
    sign_in::check(&patient, report).await;
    report.begin("Redis");
    match redis {
        Ok(_) => {
            redis::check(&mut patient, report).await;
        }
        Err(error) => report.wrong("address", error.to_string(), "correct REDIS_URL"),
    }
    report.begin("Store");
    store::check(&mut patient, report).await;
    report.begin("Stripe");
    stripe::check(&mut patient, report).await;
    // Before the endpoints are tried, which may be refused, too.
    let refused = purchases::refused(&patient).await;
    report.begin("Webhooks");
    webhooks::check(&patient, report).await;
    report.begin("Work");
    work::check(&mut patient, report).await;
    left_behind::check(&patient, report).await;
    let mut first = Report::default();
    first.begin(PURCHASES);
    purchases::check(&patient, refused, &mut first).await;
    report.put_first(first);
    if let Some(store) = &patient.store {
        store.close().await;
    }
}

impl Patient {
    /// A queue, whether it answers or not.
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

/// Where an address leads to, without the password that it may hold.
fn place(address: &str) -> &str {
    let place = address.split_once("://").map_or(address, |(_, place)| place);
    let place = place.split(['?', '#']).next().unwrap_or_default();
    // A password may hold any character, an `@` among them: the last one ends it.
    place.rsplit_once('@').map_or(place, |(_, place)| place)
}

#[cfg(test)]
mod tests {
    use super::place;

    #[test]
    fn a_place_shows_no_password() {
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
            assert_eq!(place(address), expected);
        }
    }
}
