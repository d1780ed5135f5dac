//! Plays operations to Redis and to the model, and compares.

use std::collections::BTreeMap;

use redis::{Commands, Connection, ScriptInvocation, Value};
use secrecy::ExposeSecret;
use surepass::queue::QueueConfig;
use tokio::runtime::Runtime;

use super::answers::{claimed, done, numbers, words};
use super::observed;
use super::ops::{Answer, End, GROUPS, MOST_ATTEMPTS, MOST_CRASHES, MOST_DONE, Mode, Op, TOKENS, id};
use super::state::State;
use crate::scripts::{self, HOUR_MS};
use crate::world::World;

pub(super) const PREFIX: &str = "{surepass:fulfil}:";

pub(crate) struct Play {
    model: State,
    /// Steps so far: numbers claims, and orders what is long ago.
    steps: u32,
    connection: Connection,
    scripts: BTreeMap<&'static str, redis::Script>,
    _world: World,
    _runtime: Runtime,
}

fn key(name: &str) -> String {
    format!("{PREFIX}{name}")
}

impl Play {
    pub(crate) fn start() -> Self {
        let runtime = Runtime::new().unwrap();
        let world = runtime.block_on(World::new(QueueConfig::default()));
        let client = redis::Client::open(world.server.url().expose_secret()).unwrap();
        let scripts = [
            ("enqueue", scripts::enqueue()),
            ("claim", scripts::claim()),
            ("settle", scripts::settle()),
            ("renew", scripts::renew()),
            ("resync", scripts::resync()),
            ("retry", scripts::retry()),
            ("discard", scripts::discard()),
            ("trim", scripts::trim()),
            ("recover", scripts::recover()),
        ];
        Self {
            model: State::default(),
            steps: 0,
            connection: client.get_connection().unwrap(),
            scripts: scripts.into(),
            _world: world,
            _runtime: runtime,
        }
    }

    pub(crate) fn reset(&mut self) {
        let _: () = redis::cmd("FLUSHALL").query(&mut self.connection).unwrap();
        self.model = State::default();
        self.steps = 0;
    }

    pub(crate) fn state(&self) -> &State {
        &self.model
    }

    /// Plays an operation that has been compared before.
    pub(crate) fn repeat(&mut self, op: &Op) {
        self.both(op);
    }

    /// Plays an operation to both and compares everything.
    pub(crate) fn step(&mut self, op: &Op) -> Result<(), String> {
        let fenced = matches!(op, Op::Settle { .. }).then(|| self.dump());
        let (real, expected) = self.both(op);
        if real != expected {
            return Err(format!("{op:?} answered {real:?} instead of {expected:?}"));
        }
        if let (Some(before), Some(Answer::Numbers(answers))) = (fenced, &real)
            && answers.iter().all(|mine| *mine == 0)
            && self.dump() != before
        {
            return Err(format!("{op:?} was none of this worker's and changed something"));
        }
        let keys = self.keys();
        let lies = observed::read(&mut self.connection, &keys);
        lies.check().map_err(|why| format!("after {op:?}: {why}"))?;
        if lies == self.model {
            Ok(())
        } else {
            Err(format!(
                "after {op:?} there lies {lies:#?} instead of {:#?}",
                self.model
            ))
        }
    }

    /// Brings everything to its end: each job that was accepted is done or dead then.
    pub(crate) fn drain(&mut self) -> Result<(), String> {
        self.step(&Op::Resume)?;
        for _ in 0..100 {
            for token in 0..3 {
                self.step(&Op::Expire(token))?;
            }
            for job in 0..5 {
                self.step(&Op::Due(job))?;
            }
            let (token, wanted) = (3, 10);
            for mode in [Mode::Willing, Mode::Alone] {
                self.step(&Op::Claim {
                    token,
                    wanted,
                    new: true,
                    most: 0,
                    mode,
                })?;
                let jobs = (0..5).map(|job| (job, true, End::Done)).collect();
                self.step(&Op::Settle { token, jobs })?;
            }
            let State { wait, sched, run, .. } = &self.model;
            if wait.is_empty() && sched.is_empty() && run.is_empty() && self.model.lease.len() <= 1 {
                return Ok(());
            }
        }
        Err(format!("this does not end: {:#?}", self.model))
    }

    fn call(
        &mut self,
        name: &'static str,
        keys: &[&str],
        arguments: impl FnOnce(&mut ScriptInvocation<'_>),
    ) -> Value {
        let mut call = self.scripts[name].prepare_invoke();
        for name in keys {
            call.key(key(name));
        }
        call.arg(PREFIX);
        arguments(&mut call);
        call.invoke(&mut self.connection).unwrap()
    }

    /// What Redis answers and what the model does.
    fn both(&mut self, op: &Op) -> (Option<Answer>, Option<Answer>) {
        self.steps += 1;
        let number = u64::from(self.steps);
        match op {
            Op::Enqueue(items) => {
                let answer = self.call("enqueue", &["wait", "sched", "dead", "log"], |call| {
                    call.arg(1_000);
                    for item in items {
                        call.arg(item.once.map_or(String::new(), |once| format!("event:{once}")))
                            .arg(HOUR_MS)
                            .arg(1);
                        let group = GROUPS[item.group];
                        call.arg(id(item.id))
                            .arg(format!("work/1 {group} -"))
                            .arg(group)
                            .arg("payload");
                        call.arg(if item.delayed { HOUR_MS } else { 0 })
                            .arg(u8::from(item.revive));
                        call.arg(if item.log { "h" } else { "" }).arg("b");
                    }
                });
                (Some(words(&answer)), Some(self.model.enqueue(items)))
            }
            Op::Claim {
                token,
                wanted,
                new,
                most,
                mode,
            } => {
                let answer = self.call("claim", &["wait", "sched", "lease", "dead"], |call| {
                    call.arg(TOKENS[*token])
                        .arg(HOUR_MS)
                        .arg(*wanted)
                        .arg(u8::from(*new));
                    call.arg(MOST_ATTEMPTS).arg(MOST_CRASHES).arg(number).arg(*most);
                    call.arg(0).arg(*mode as u8);
                });
                (
                    Some(claimed(&answer)),
                    Some(self.model.take(*token, *wanted, *new, *most, *mode, number)),
                )
            }
            Op::Settle { token, jobs } => {
                let (real, expected) = self.settle(*token, jobs);
                (Some(real), Some(expected))
            }
            Op::Renew(token) => {
                let answer = self.call("renew", &["lease"], |call| {
                    call.arg(TOKENS[*token]).arg(HOUR_MS);
                });
                (Some(numbers(&answer)), Some(self.model.renew(*token)))
            }
            Op::Resync { token, leave, known } => {
                let answer = self.call("resync", &["wait", "lease"], |call| {
                    call.arg(TOKENS[*token]).arg(u8::from(*leave));
                    for job in known {
                        call.arg(id(*job));
                    }
                });
                (
                    Some(numbers(&answer)),
                    Some(self.model.resync(*token, *leave, known)),
                )
            }
            Op::Retry(ids) => {
                let answer = self.call("retry", &["sched", "dead", "lease"], |call| {
                    call.arg("dead");
                    for job in ids {
                        call.arg(id(*job));
                    }
                });
                (Some(done(&answer, "retried")), Some(self.model.retry(ids)))
            }
            Op::Discard(ids) => {
                let answer = self.call("discard", &["sched", "dead", "lease", "stats"], |call| {
                    call.arg("").arg(100_000);
                    for job in ids {
                        call.arg(id(*job));
                    }
                });
                (Some(done(&answer, "discarded")), Some(self.model.discard(ids)))
            }
            Op::Trim(all) => {
                let life = if *all { 0 } else { HOUR_MS };
                let answer = self.call("trim", &["done", "dead", "stats"], |call| {
                    call.arg(life).arg(life);
                });
                (Some(numbers(&answer)), Some(self.model.trim(*all)))
            }
            Op::Recover => (Some(self.recover()), Some(Answer::Numbers(vec![0, 0]))),
            other => {
                self.by_hand(other);
                (None, None)
            }
        }
    }

    /// Looks for what is lost; here nothing ever is.
    fn recover(&mut self) -> Answer {
        let answer = self.call("recover", &["sched", "dead", "lease", "stray"], |call| {
            call.arg(1_000).arg(HOUR_MS).arg(24 * HOUR_MS).arg("");
        });
        match answer {
            Value::Array(mut answer) => numbers(&Value::Array(answer.split_off(1))),
            other => panic!("{other:?}"),
        }
    }

    /// What an operator does, or time alone.
    fn by_hand(&mut self, op: &Op) {
        match op {
            Op::Pause => {
                let _: i64 = self.connection.hset(key("steer"), "paused", 1).unwrap();
                self.model.paused = true;
            }
            Op::Resume => {
                let _: i64 = self.connection.hdel(key("steer"), "paused").unwrap();
                self.model.paused = false;
            }
            Op::Silence => {
                if self.model.heard.is_some() {
                    let _: i64 = self.connection.hset(key("steer"), "heard", 1).unwrap();
                    self.model.heard = Some(false);
                }
            }
            Op::Expire(token) => {
                self.make_old("lease", TOKENS[*token]);
                let lease = self.model.lease.get_mut(TOKENS[*token]);
                if let Some(ends) = lease {
                    *ends = Some(self.steps);
                }
            }
            Op::Due(job) => {
                self.make_old("sched", &id(*job));
                let due = self.model.sched.get_mut(&id(*job));
                if let Some(due) = due {
                    *due = Some(self.steps);
                }
            }
            other => unreachable!("{other:?} is a script's"),
        }
    }

    fn settle(&mut self, token: usize, jobs: &[(usize, bool, End)]) -> (Answer, Answer) {
        let jobs: Vec<_> = jobs
            .iter()
            .map(|(job, current, end)| {
                let id = id(*job);
                let held = self.model.claim(token, &id).filter(|_| *current);
                let attempt = self.model.data.get(&id).map_or(1, |counts| counts.0 + 1);
                (id, held.unwrap_or(999_999), attempt, *end)
            })
            .collect();
        let answer = self.call("settle", &["sched", "done", "dead", "stats"], |call| {
            call.arg(TOKENS[token]).arg(MOST_DONE).arg(HOUR_MS);
            for (id, number, attempt, end) in &jobs {
                // Whoever leaves a job tells how long it may be left in all.
                let delay = if *end == End::LeftForTooLong { 0 } else { HOUR_MS };
                let (outcome, record, reason) = match end {
                    End::Done => ("done", "", ""),
                    End::Left | End::LeftForTooLong => ("leave", "{\"code\":\"unknown\"}", "~unknown"),
                    End::Retry => ("retry", "{\"code\":\"away\"}", "~away"),
                    End::DeadForNow => ("dead", "{\"code\":\"away\"}", "~away"),
                    End::DeadForGood => ("dead", "{\"code\":\"never\"}", "never"),
                };
                call.arg(id)
                    .arg(*number)
                    .arg(*attempt)
                    .arg(outcome)
                    .arg(delay)
                    .arg(record)
                    .arg(reason);
            }
        });
        (numbers(&answer), self.model.settle(token, &jobs))
    }

    fn make_old(&mut self, name: &str, member: &str) {
        let mut command = redis::cmd("ZADD");
        command.arg(key(name)).arg("XX").arg(self.steps).arg(member);
        let _: i64 = command.query(&mut self.connection).unwrap();
    }

    fn keys(&mut self) -> Vec<String> {
        let mut keys: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut self.connection).unwrap();
        keys.sort();
        keys
    }

    fn dump(&mut self) -> Vec<(String, Vec<u8>)> {
        let keys = self.keys();
        if keys.is_empty() {
            return Vec::new();
        }
        let mut pipe = redis::pipe();
        for key in &keys {
            pipe.cmd("DUMP").arg(key);
        }
        let values: Vec<Vec<u8>> = pipe.query(&mut self.connection).unwrap();
        keys.into_iter().zip(values).collect()
    }
}
