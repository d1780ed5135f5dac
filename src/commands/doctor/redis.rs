//! The distributed engine.

use std::time::Duration;

use secrecy::ExposeSecret;
use surepass::config::QueueName;
use surepass::queue::{LEAST_VERSION, Server};
use surepass::tls::next_step;

use super::report::Report;
use super::{Patient, place};
use crate::commands::terminal::span;

/// What the tests run on begins here.
const TESTED_VERSION: (u32, u32) = (7, 0);
/// An answer over a network of one's own takes a fraction of it.
const SLOW: Duration = Duration::from_millis(10);
/// Leases and delays go by Redis' clock alone; signatures and schedules by the machine's.
const SKEW_MS: u64 = 5_000;

pub(super) async fn check(patient: &mut Patient, report: &mut Report) {
    let (Some(purchases), Some(lookbacks)) =
        (patient.queue(QueueName::Fulfil), patient.queue(QueueName::Sync))
    else {
        report.wrong("address", "no connection can be set up", "correct REDIS_URL");
        return;
    };
    let url = patient.settings.redis.url_or_default();
    let place = place(url.expose_secret());
    let server = match purchases.server().await {
        Ok(server) => Some(server),
        // A user who may not ask for the server's state may do all that the programs need.
        Err(error) if purchases.ping().await.is_ok() => {
            report.good("connection", place);
            report.warn(
                "server",
                format!("{error}: version, persistence, eviction and memory are not known"),
                "let this user run INFO and CONFIG GET: `ACL SETUSER … +info +config|get` (docs/redis.md)",
            );
            None
        }
        Err(error) => {
            let next = match &patient.settings.redis.url {
                None => {
                    "REDIS_URL is not set, and this is its default: set it to your Redis' address, or start one here"
                }
                Some(_) => {
                    "start it, correct REDIS_URL, or see whether a firewall or a password stands between; meanwhile webhooks \
                     are answered with 503, and Stripe sends them again"
                }
            };
            let next = next_step(&error.to_string(), next);
            report.wrong("connection", format!("{place}: {error}"), next);
            return;
        }
    };
    if let Some(server) = &server {
        report.good("connection", place);
        version(server, report);
        persistence(server, report);
        eviction(server, report);
        memory(server, report);
        latency(server, report);
        clock(patient, server, report);
    }
    match purchases.ping().await {
        Ok(()) => report.good("writes", "it takes writes"),
        Err(error) => report.wrong(
            "writes",
            format!("Redis takes no writes: {error}"),
            "a full one needs memory, a replica its master's address, a full disk room",
        ),
    }
    patient.purchases = Some(purchases);
    patient.lookbacks = Some(lookbacks);
}

fn version(server: &Server, report: &mut Report) {
    let Server { name, version, .. } = server;
    let mut numbers = version.split('.').map(|part| part.parse().unwrap_or(0));
    let of = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if of < LEAST_VERSION {
        report.wrong(
            "version",
            format!("{name} {version} is too old"),
            "take Redis 7, 8 or Valkey; 6.2 at least",
        );
    } else if of < TESTED_VERSION {
        report.warn(
            "version",
            format!("{name} {version} should do, but is not tested"),
            "take Redis 7, 8 or Valkey",
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
            "its last write to the disk failed",
            "see its log: usually the disk is full",
        );
        return;
    }
    let turn_on = "CONFIG SET appendonly yes, and `appendonly yes` in redis.conf or your provider's settings";
    match (server.append_only, server.append_fsync.as_deref()) {
        (true, Some("no")) => report.warn(
            name,
            "append-only file, brought to the disk whenever the system likes: a power cut may cost half a minute of jobs",
            "CONFIG SET appendfsync everysec",
        ),
        (true, Some("always")) => report.good(name, "append-only file, on disk before each answer"),
        (true, Some("everysec")) => report.good(
            name,
            "append-only file, on disk each second: a power cut may cost a second of jobs, and the lookback brings their \
             purchases back",
        ),
        (true, _) => report.good(name, "append-only file"),
        (false, _) if server.replicas > 0 => report.warn(
            name,
            format!("no append-only file, {} replicas: jobs live as long as one of them does", server.replicas),
            turn_on,
        ),
        (false, _) if server.saves == Some(true) => report.wrong(
            name,
            "a copy now and then, no append-only file: a restart costs the jobs accepted since the last copy",
            turn_on,
        ),
        (false, _) => report.wrong(
            name,
            "no append-only file: a restart costs every job that was accepted and not done",
            turn_on,
        ),
    }
}

fn eviction(server: &Server, report: &mut Report) {
    match server.eviction.as_deref() {
        Some("noeviction") => report.good(
            "eviction",
            "noeviction: a full Redis refuses, and throws nothing away",
        ),
        Some(policy) => report.wrong(
            "eviction",
            format!("maxmemory-policy is {policy}: a full Redis would throw jobs away"),
            "CONFIG SET maxmemory-policy noeviction, and the same in redis.conf or your provider's settings",
        ),
        None => report.warn(
            "eviction",
            "it does not tell its maxmemory-policy",
            "see to it that it is noeviction, in your provider's settings",
        ),
    }
}

fn memory(server: &Server, report: &mut Report) {
    let used = size(server.used_memory);
    let Some(max) = server.max_memory else {
        report.warn(
            "memory",
            format!("{used} used, and no limit is set"),
            "CONFIG SET maxmemory (docs/redis.md has the arithmetic): with noeviction a full Redis refuses webhooks, and \
             Stripe sends them again; without a limit the system may kill it",
        );
        return;
    };
    let percent = server.used_memory.saturating_mul(100) / max.max(1);
    let message = format!("{used} of {} used ({percent} %)", size(max));
    let mend =
        "give it more memory; see `surepass jobs list` for what fills it. Full, it refuses webhooks (503)";
    match percent {
        0..70 => report.good("memory", message),
        70..90 => report.warn("memory", message, mend),
        _ => report.wrong("memory", message, mend),
    }
}

fn latency(server: &Server, report: &mut Report) {
    let ms = server.latency.as_secs_f64() * 1_000.0;
    let message = format!("answers in {ms:.1} ms");
    if server.latency < SLOW {
        report.good("latency", message);
    } else {
        report.warn(
            "latency",
            message,
            "each webhook and each job waits for it: bring Redis nearer, or see what else it is busy with",
        );
    }
}

fn clock(patient: &Patient, server: &Server, report: &mut Report) {
    let ours = u64::try_from(patient.clock.now().timestamp_millis()).unwrap_or_default();
    let apart = ours.abs_diff(server.clock);
    if apart <= SKEW_MS {
        report.good("clock", "as ours");
    } else {
        let way = if ours > server.clock { "behind" } else { "ahead of" };
        report.warn(
            "clock",
            format!("its clock is {} {way} ours", span(apart)),
            "set the clocks of both machines by NTP",
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
