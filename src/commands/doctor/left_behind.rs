//! Jobs and events in Redis that no program will finish.

use surepass::queue::Queue;

use super::Context;
use super::report::Report;

pub(super) async fn check(context: &Context, report: &mut Report) {
    for queue in [&context.purchases, &context.lookbacks].into_iter().flatten() {
        in_no_list(queue, report).await;
    }
    if let Some(purchases) = &context.purchases {
        unserved(purchases, report).await;
        parked(purchases, report).await;
    }
}

async fn in_no_list(queue: &Queue, report: &mut Report) {
    let name = &queue.config().name;
    match queue.stranded().await {
        Ok(0) => {}
        Ok(jobs) => report.wrong(
            "lost keys",
            format!("{jobs} jobs of the queue `{name}` are in no list: Redis lost keys"),
            "a running worker restores them within minutes; set Redis' maxmemory-policy to noeviction",
        ),
        Err(error) => report.warn("lost keys", error.to_string(), "run this again"),
    }
}

async fn unserved(queue: &Queue, report: &mut Report) {
    match queue.unserved().await {
        Ok(all) => {
            for left in all {
                report.wrong(
                    "queue prefix",
                    format!(
                        "{} jobs are waiting in the queue `{}` under the prefix `{}`, which no worker serves",
                        left.jobs, left.queue, left.prefix
                    ),
                    format!(
                        "run `SUREPASS_QUEUE_PREFIX={} surepass-worker` until they are done",
                        left.prefix
                    ),
                );
            }
        }
        Err(error) => report.warn("queue prefix", error.to_string(), "run this again"),
    }
}

async fn parked(queue: &Queue, report: &mut Report) {
    match queue.parked_events().await {
        Ok(0) => {}
        Ok(events) => report.warn(
            "event log",
            format!("the store refused {events} events of the event log; they are kept in Redis"),
            format!(
                "run `redis-cli XRANGE '{}' - +` to see them and the reasons; no purchase is affected",
                queue.key("parked")
            ),
        ),
        Err(error) => report.warn("event log", error.to_string(), "run this again"),
    }
}
