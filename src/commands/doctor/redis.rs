//! Redis, which holds the queue.

use std::time::Duration;

use secrecy::ExposeSecret;
use surepass::config::QueueName;
use surepass::queue::{LEAST_VERSION, Server};
use surepass::tls::next_step;

use super::report::Report;
use super::{Context, location};
use crate::commands::terminal::span;

/// The oldest version that the tests run on.
const TESTED_VERSION: (u32, u32) = (7, 0);
/// A response within one network takes a fraction of it.
const SLOW: Duration = Duration::from_millis(10);
/// Leases and delays use Redis' clock; signatures and schedules use the machine's.
const SKEW_MS: u64 = 5_000;

pub(super) async fn check(context: &mut Context, report: &mut Report) {
    let (Some(purchases), Some(lookbacks)) =
        (context.queue(QueueName::Fulfil), context.queue(QueueName::Sync))
    else {
        report.wrong("address", "not a usable address", "correct REDIS_URL");
        return;
    };
    let url = context.settings.redis.url_or_default();
    let location = location(url.expose_secret());
    let server = match purchases.server().await {
        Ok(server) => Some(server),
        // A user without INFO may still do everything that the programs need.
        Err(error) if purchases.ping().await.is_ok() => {
            report.good("connection", location);
            report.warn(
                "server",
                format!("{error}: version, persistence, eviction and memory cannot be checked"),
                "allow this user INFO and CONFIG GET: `ACL SETUSER … +info +config|get` (docs/redis.md)",
            );
            None
        }
        Err(error) => {
            let next = match &context.settings.redis.url {
                None => {
                    "REDIS_URL is not set, and this is the default: set it to your Redis, or start one here"
                }
                Some(_) => {
                    "start Redis, correct REDIS_URL, or check firewall and password; meanwhile webhooks get 503, and Stripe sends \
                     them again"
                }
            };
            let next = next_step(&error.to_string(), next);
            report.wrong("connection", format!("{location}: {error}"), next);
            return;
        }
    };
    if let Some(server) = &server {
        report.good("connection", location);
        version(server, report);
        persistence(server, report);
        eviction(server, report);
        memory(server, report);
        latency(server, report);
        clock(context, server, report);
    }
    match purchases.ping().await {
        Ok(()) => report.good("writes", "accepted"),
        Err(error) => report.wrong(
            "writes",
            format!("Redis refuses writes: {error}"),
            "if it is full, give it more memory; if it is a replica, use its master's address; if its disk is full, free space",
        ),
    }
    context.purchases = Some(purchases);
    context.lookbacks = Some(lookbacks);
}

/// What to do about an address that cannot be used. An error about certificates names the variable and its cure itself.
pub(super) fn fix_for(error: &str) -> &'static str {
    if error.contains("SSL_CERT_") {
        "correct that variable, for every program of this installation, and restart them"
    } else {
        "correct REDIS_URL"
    }
}

fn version(server: &Server, report: &mut Report) {
    let Server { name, version, .. } = server;
    let mut numbers = version.split('.').map(|part| part.parse().unwrap_or(0));
    let of = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if of < LEAST_VERSION {
        report.wrong(
            "version",
            format!("{name} {version} is too old"),
            "use Redis 7 or 8, or Valkey; 6.2 at least",
        );
    } else if of < TESTED_VERSION {
        report.warn(
            "version",
            format!("{name} {version} is not tested"),
            "use Redis 7 or 8, or Valkey",
        );
    } else {
        report.good("version", format!("{name} {version}"));
    }
}

fn persistence(server: &Server, report: &mut Report) {
    let name = "persistence";
    if server.cannot_persist {
        report.wrong(
            name,
            "the last write to disk failed",
            "see Redis' log: usually the disk is full",
        );
        return;
    }
    let turn_on =
        "run CONFIG SET appendonly yes, and set `appendonly yes` in redis.conf or your provider's settings";
    match (server.append_only, server.append_fsync.as_deref()) {
        (true, Some("no")) => report.warn(
            name,
            "append-only file, synced by the system only: a power cut can lose the jobs of half a minute",
            "run CONFIG SET appendfsync everysec",
        ),
        (true, Some("always")) => report.good(name, "append-only file, synced before each response"),
        (true, Some("everysec")) => report.good(
            name,
            "append-only file, synced every second: a power cut can lose the jobs of a second, and the lookback enqueues \
             their purchases again",
        ),
        (true, _) => report.good(name, "append-only file"),
        (false, _) if server.replicas > 0 => report.warn(
            name,
            format!("no append-only file, {} replicas: jobs are lost if all of them stop", server.replicas),
            turn_on,
        ),
        (false, _) if server.saves == Some(true) => report.wrong(
            name,
            "snapshots only, no append-only file: a restart loses the jobs since the last snapshot",
            turn_on,
        ),
        (false, _) => report.wrong(
            name,
            "no append-only file: a restart loses every unfinished job",
            turn_on,
        ),
    }
}

fn eviction(server: &Server, report: &mut Report) {
    match server.eviction.as_deref() {
        Some("noeviction") => report.good(
            "eviction",
            "noeviction: a full Redis refuses writes and deletes nothing",
        ),
        Some(policy) => report.wrong(
            "eviction",
            format!("maxmemory-policy is {policy}: a full Redis would delete jobs"),
            "run CONFIG SET maxmemory-policy noeviction, and set the same in redis.conf or your provider's settings",
        ),
        None => report.warn(
            "eviction",
            "maxmemory-policy cannot be read",
            "check that it is noeviction in your provider's settings",
        ),
    }
}

fn memory(server: &Server, report: &mut Report) {
    let used = size(server.used_memory);
    let Some(max) = server.max_memory else {
        report.warn(
            "memory",
            format!("{used} used, no limit set"),
            "run CONFIG SET maxmemory (docs/redis.md shows how much): a Redis at its limit refuses webhooks, and Stripe sends \
             them again; without a limit the system may kill it",
        );
        return;
    };
    let percent = server.used_memory.saturating_mul(100) / max.max(1);
    let message = format!("{used} of {} used ({percent} %)", size(max));
    let fix =
        "give it more memory; `surepass jobs list` shows what fills it; a full Redis refuses webhooks (503)";
    match percent {
        0..70 => report.good("memory", message),
        70..90 => report.warn("memory", message, fix),
        _ => report.wrong("memory", message, fix),
    }
}

fn latency(server: &Server, report: &mut Report) {
    let ms = server.latency.as_secs_f64() * 1_000.0;
    let message = format!("responds in {ms:.1} ms");
    if server.latency < SLOW {
        report.good("latency", message);
    } else {
        report.warn(
            "latency",
            message,
            "each webhook and each job waits for Redis: move it closer, or check what else keeps it busy",
        );
    }
}

fn clock(context: &Context, server: &Server, report: &mut Report) {
    let ours = u64::try_from(context.clock.now().timestamp_millis()).unwrap_or_default();
    let apart = ours.abs_diff(server.clock);
    if apart <= SKEW_MS {
        report.good("clock", "same as ours");
    } else {
        let direction = if ours > server.clock { "behind" } else { "ahead of" };
        report.warn(
            "clock",
            format!("{} {direction} ours", span(apart)),
            "synchronise the clocks of both machines (NTP)",
        );
    }
}

/// `1.5 MB`
#[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
pub(super) fn size(bytes: u64) -> String {
    let units = [("GB", 1_u64 << 30), ("MB", 1 << 20), ("kB", 1 << 10)];
    let fits = units.iter().find(|(_, unit)| bytes >= *unit);
    fits.map_or(format!("{bytes} B"), |(name, unit)| {
        format!("{:.1} {name}", bytes as f64 / *unit as f64)
    })
}
