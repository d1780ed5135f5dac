//! All that lies in Redis, in the model's words.

use std::collections::BTreeMap;

use redis::{Commands, Connection};

use super::answers::times;
use super::play::PREFIX;
use super::state::State;

/// Reads these keys; what no state has a place for is a fault.
pub(super) fn read(connection: &mut Connection, keys: &[String]) -> State {
    let mut state = State::default();
    let mut reasons = BTreeMap::new();
    for full in keys {
        let name = full
            .strip_prefix(PREFIX)
            .unwrap_or_else(|| panic!("a key of its own: {full:?}"))
            .to_owned();
        match name.split_once(':') {
            Some(("data", id)) => {
                let data: String = connection.get(full).unwrap();
                let (header, payload) = data.split_once('\n').unwrap();
                assert_eq!(payload, "payload");
                let words: Vec<_> = header.split(' ').collect();
                let counts = (words[4].parse().unwrap(), words[5].to_owned());
                state.data.insert(id.to_owned(), counts);
                state.group.insert(id.to_owned(), words[1].to_owned());
            }
            Some(("errors", id)) => {
                let told: Vec<String> = connection.lrange(full, 0, -1).unwrap();
                for error in &told {
                    serde_json::from_str::<serde_json::Value>(error).unwrap();
                }
                let life: i64 = connection.ttl(full).unwrap();
                state.errors.insert(id.to_owned(), (told.len(), life > 0));
            }
            Some(("job", id)) => {
                let (reason, passing): (String, u8) =
                    connection.hmget(full, &["reason", "transient"][..]).unwrap();
                reasons.insert(id.to_owned(), (reason, passing == 1));
            }
            Some(("run", token)) => {
                let held: Vec<(String, String)> = connection.hgetall(full).unwrap();
                let claims = held.into_iter().map(|(id, claim)| {
                    let (number, at) = claim.split_once(' ').unwrap();
                    at.parse::<u64>().unwrap();
                    (id, number.parse().unwrap())
                });
                state.run.insert(token.to_owned(), claims.collect());
            }
            Some(("wait", group)) => {
                let ids = connection.lrange(full, 0, -1).unwrap();
                state.wait.insert(group.to_owned(), ids);
            }
            Some(("left", id)) => {
                let life: i64 = connection.ttl(full).unwrap();
                assert!(life > 0, "it goes by itself");
                state.left.insert(id.to_owned());
            }
            Some(("tried", id)) => drop(state.tried.insert(id.to_owned())),
            Some(("event", _)) => drop(state.once.insert(name)),
            _ => match name.as_str() {
                "wait" => {
                    let ids = connection.lrange(full, 0, -1).unwrap();
                    state.wait.insert("-".to_owned(), ids);
                }
                "turn" => state.turn = connection.zrange(full, 0, -1).unwrap(),
                "sched" => state.sched = times(connection, full),
                "lease" => state.lease = times(connection, full),
                "dead" => {
                    let dead: Vec<String> = connection.zrange(full, 0, -1).unwrap();
                    state.dead = dead.into_iter().map(|id| (id, (String::new(), false))).collect();
                }
                "done" => {
                    let lines: Vec<String> = connection.lrange(full, 0, -1).unwrap();
                    state.done = lines
                        .iter()
                        .map(|line| {
                            let mut words = line.rsplitn(3, ' ');
                            let attempts = words.next().unwrap().parse().unwrap();
                            (words.nth(1).unwrap().to_owned(), attempts)
                        })
                        .collect();
                }
                "log" => state.log = connection.xlen(full).unwrap(),
                "steer" => {
                    let steer: BTreeMap<String, f64> = connection.hgetall(full).unwrap();
                    state.paused = steer.contains_key("paused");
                    state.heard = steer.get("heard").map(|heard| *heard > 1.0);
                }
                "spared" => state.spared = connection.smembers(full).unwrap(),
                "stats" => {
                    let counters: BTreeMap<String, usize> = connection.hgetall(full).unwrap();
                    state.discarded = counters.get("discarded").copied().unwrap_or(0);
                    state.trimmed_done = counters.get("trimmed_done").copied().unwrap_or(0);
                    state.trimmed_dead = counters.get("trimmed_dead").copied().unwrap_or(0);
                }
                other => panic!("an unknown key: {other:?}"),
            },
        }
    }
    assert!(
        state.dead.keys().eq(reasons.keys()),
        "each dead job has its reason, and no other: {reasons:?}"
    );
    state.dead = reasons;
    state
}
