//! The Lua scripts themselves, called as the backend calls them: for what no healthy worker does.

use redis::{Script, ScriptInvocation, Value};
use surepass::queue::Queue;

macro_rules! script {
    ($name:ident, $file:literal) => {
        pub(crate) fn $name() -> Script {
            Script::new(concat!(
                include_str!("../../crates/queue/src/scripts/prelude.lua"),
                include_str!(concat!("../../crates/queue/src/scripts/", $file))
            ))
        }
    };
}

script!(enqueue, "enqueue.lua");
script!(claim, "claim.lua");
script!(settle, "settle.lua");
script!(renew, "renew.lua");
script!(resync, "resync.lua");
script!(trim, "trim.lua");
script!(recover, "recover.lua");
script!(retry, "retry.lua");
script!(discard, "discard.lua");

pub(crate) const CLAIM_SOURCE: &str = concat!(
    include_str!("../../crates/queue/src/scripts/prelude.lua"),
    include_str!("../../crates/queue/src/scripts/claim.lua")
);

/// The claim, by a clock that stands still: at the seconds that lie in the key `clock`.
pub(crate) fn claim_by_set_clock() -> Script {
    Script::new(&CLAIM_SOURCE.replacen("redis.call('TIME')", "{ redis.call('GET', 'clock'), 0 }", 1))
}

pub(crate) const HOUR_MS: u64 = 3_600_000;

/// A call of `script` with the queue's keys and prefix; the rest is the caller's.
pub(crate) fn call<'a>(script: &'a Script, queue: &Queue, keys: &[&str]) -> ScriptInvocation<'a> {
    let mut call = script.prepare_invoke();
    for key in keys {
        call.key(queue.key(key));
    }
    call.arg(queue.prefix());
    call
}

/// Claims as a worker by hand would, with a lease of an hour that nobody renews. Answers id and data of each job;
/// `None`: its lease is gone.
pub(crate) async fn claim_by_hand(
    queue: &Queue,
    connection: &mut redis::aio::MultiplexedConnection,
    token: &str,
    wanted: usize,
    number: u64,
) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let script = claim();
    let mut call = call(&script, queue, &["wait", "sched", "lease", "dead"]);
    call.arg(token)
        .arg(HOUR_MS)
        .arg(wanted)
        .arg(1)
        .arg(16)
        .arg(3)
        .arg(number);
    read_claim(&call.invoke_async::<Vec<Value>>(connection).await.unwrap())
}

pub(crate) fn read_claim(answer: &[Value]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let jobs = answer.get(2..)?;
    Some(
        jobs.chunks(2)
            .map(|pair| match pair {
                [Value::BulkString(id), Value::BulkString(data)] => (id.clone(), data.clone()),
                other => panic!("a claim answered {other:?}"),
            })
            .collect(),
    )
}
