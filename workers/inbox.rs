//! The inbox: lookbacks that another program requests by stock `apalis_redis::RedisStorage`. Each becomes a job of the queue
//! `sync`, by the dedupe key that the same request from elsewhere has.

use std::time::Duration;

use serde::Deserialize;
use surepass::clock::Clock;
use surepass::config::Settings;
use surepass::lookback::{Customer, Lookback, LookbackJob, SyncRequest};
use surepass::queue::inbox::{BATCH, Inbox, Pushed};
use surepass::queue::{Queue, QueueError, Redis};
use surepass::store::CreatedVia;
use tokio_util::sync::CancellationToken;

const BETWEEN_LOOKS: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
const LONGEST_PAYLOAD: usize = 4_096;

/// What another program may push, as JSON.
#[derive(Debug, Deserialize)]
#[serde(tag = "job", rename_all = "snake_case", deny_unknown_fields)]
enum Request {
    /// Find what one customer has paid for and does not have: exactly one of `user` and `stripe_customer`.
    Sync {
        tenant: Option<String>,
        user: Option<String>,
        stripe_customer: Option<String>,
        #[serde(default = "thirty")]
        days: u32,
    },
    /// Fulfil one paid session, as Stripe has it.
    Fulfil { tenant: Option<String>, session: String },
}

fn thirty() -> u32 {
    30
}

impl Request {
    fn read(payload: &[u8]) -> Result<LookbackJob, String> {
        if payload.is_empty() {
            return Err("its data is missing".to_owned());
        }
        if payload.len() > LONGEST_PAYLOAD {
            return Err(format!("its payload has over {LONGEST_PAYLOAD} bytes"));
        }
        let request: Self = serde_json::from_slice(payload).map_err(|error| error.to_string())?;
        let (tenant, customer, days) = match request {
            Self::Fulfil { tenant, session } if surepass::fulfil::is_session_id(&session) => {
                (tenant, Customer::Session(session), thirty())
            }
            Self::Fulfil { .. } => return Err("`session` is no id of a Checkout Session (cs_…)".to_owned()),
            Self::Sync { days, .. } if !(1..=3_650).contains(&days) => {
                return Err("`days` is not between 1 and 3650".to_owned());
            }
            Self::Sync {
                tenant,
                user: Some(id),
                stripe_customer: None,
                days,
            } if !id.trim().is_empty() => {
                let customer = Customer::User {
                    id,
                    verified_email: None,
                };
                (tenant, customer, days)
            }
            Self::Sync {
                tenant,
                user: None,
                stripe_customer: Some(id),
                days,
            } if is_customer_id(&id) => (tenant, Customer::StripeCustomer(id), days),
            Self::Sync { .. } => {
                return Err("give one of `user` (a user id) and `stripe_customer` (cus_…)".to_owned());
            }
        };
        Ok(LookbackJob::Sync(SyncRequest {
            tenant,
            customer,
            days,
            // Not `lookback`: a request that fails says nothing about the schedules.
            via: CreatedVia::SelfService,
            run: None,
        }))
    }
}

fn is_customer_id(id: &str) -> bool {
    id.len() <= 255
        && id
            .strip_prefix("cus_")
            .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

/// Hands over what is pushed until `stop`, if the settings name an inbox.
pub(crate) fn start(
    settings: &Settings,
    redis: &Redis,
    lookback: Option<&Lookback>,
    clock: &Clock,
    stop: &CancellationToken,
) -> Result<(), String> {
    let Some(namespace) = &settings.queue.inbox else {
        return Ok(());
    };
    if namespace.starts_with(&format!("{{{}:", settings.queue.prefix)) {
        return Err(format!(
            "queue.inbox is `{namespace}`, which are our own keys: give the name that the other program has for its queue"
        ));
    }
    let Some(lookback) = lookback else {
        return Err("queue.inbox needs Stripe's API: set STRIPE_SECRET_KEY, or clear queue.inbox".to_owned());
    };
    let inbox = Inbox::new(redis, namespace).map_err(|error| error.to_string())?;
    let sync = lookback.sync.reconnected().map_err(|error| error.to_string())?;
    tracing::info!(namespace, "taking jobs from the inbox");
    tokio::spawn(run(inbox, sync, clock.clone(), stop.clone()));
    Ok(())
}

async fn run(inbox: Inbox, sync: Queue, clock: Clock, stop: CancellationToken) {
    let (mut wait, mut is_failing) = (BETWEEN_LOOKS, false);
    while !stop.is_cancelled() {
        let pause = match stop.run_until_cancelled(hand_over(&inbox, &sync, &clock)).await {
            None => return,
            Some(Ok(handed)) => {
                if is_failing {
                    tracing::info!("the inbox is read again");
                }
                (wait, is_failing) = (BETWEEN_LOOKS, false);
                if handed < BATCH {
                    BETWEEN_LOOKS
                } else {
                    Duration::ZERO
                }
            }
            Some(Err(error)) => {
                // Once: Redis may be away for long.
                if !is_failing {
                    tracing::warn!(%error, "the inbox cannot be read; trying again");
                }
                is_failing = true;
                wait = (wait * 2).min(LONGEST_WAIT);
                wait
            }
        };
        let _ = stop.run_until_cancelled(tokio::time::sleep(pause)).await;
    }
}

/// One batch; returns how many jobs it had.
async fn hand_over(inbox: &Inbox, sync: &Queue, clock: &Clock) -> Result<usize, QueueError> {
    let now = clock.now().into();
    let pushed = inbox.due(now).await?;
    let (mut items, mut accepted) = (Vec::new(), Vec::new());
    for Pushed { id, payload } in &pushed {
        match Request::read(payload) {
            Ok(job) => {
                items.push(job.item()?);
                accepted.push(id.as_slice());
            }
            Err(why) => {
                let job = String::from_utf8_lossy(id);
                tracing::error!(%job, why, "a job in the inbox is refused");
                inbox.refuse(id, &why, now).await?;
            }
        }
    }
    if !items.is_empty() {
        sync.enqueue(&items).await?;
        // Not before: what dies here is handed over again, and the dedupe key makes one job of both.
        inbox.acknowledge(&accepted).await?;
        tracing::info!(jobs = items.len(), "jobs handed over from the inbox");
    }
    Ok(pushed.len())
}

#[cfg(test)]
mod tests {
    use surepass::queue::Job;

    use super::*;

    fn key(payload: &str) -> Result<String, String> {
        Request::read(payload.as_bytes()).map(|job| job.key().unwrap())
    }

    #[test]
    fn a_request_has_the_dedupe_key_that_the_same_request_from_elsewhere_has() {
        for (payload, expected) in [
            (
                r#"{"job":"sync","tenant":"studio","user":"u1"}"#,
                "sync:studio:u1",
            ),
            (
                r#"{"job":"sync","stripe_customer":"cus_1","days":365}"#,
                "sync:*:cus_1",
            ),
            (
                r#"{"job":"fulfil","session":"cs_test_1","tenant":"studio"}"#,
                "sync:studio:cs_test_1",
            ),
        ] {
            assert_eq!(key(payload).as_deref(), Ok(expected), "{payload}");
        }
    }

    #[test]
    fn what_is_no_request_is_refused_with_its_reason() {
        for (payload, reason) in [
            ("", "missing"),
            ("42", "invalid type"),
            (r#"{"job":"refund","session":"cs_1"}"#, "unknown variant `refund`"),
            (r#"{"job":"fulfil","session":"pi_1"}"#, "`session`"),
            (r#"{"job":"sync","tenant":"studio"}"#, "give one of"),
            (
                r#"{"job":"sync","user":"u","stripe_customer":"cus_1"}"#,
                "give one of",
            ),
            (r#"{"job":"sync","user":"u","days":0}"#, "`days`"),
            (r#"{"job":"sync","stripe_customer":"cus_../x?y"}"#, "give one of"),
            (
                r#"{"job":"sync","user":"u","verified_email":"a@b.no"}"#,
                "unknown field",
            ),
        ] {
            let refused = key(payload).unwrap_err();
            assert!(refused.contains(reason), "{payload}: {refused}");
        }
        assert!(key(&format!(r#"{{"job":"sync","user":"{}"}}"#, "u".repeat(5_000))).is_err());
    }
}
