//! Reads the ids of one state of one queue, a bounded number at a time.

use std::collections::BTreeMap;

use redis::Value;

use super::cursor::Position;
use super::{Filter, InspectError, JobState, Order, line_key, lines};
use crate::client::Queue;
use crate::scripts;

/// A job in its list.
#[derive(Debug, Clone, Default)]
pub(super) struct ScannedJob {
    pub(super) id: String,
    /// When it is due, ended, or was claimed.
    pub(super) at: Option<u64>,
    pub(super) worker: Option<String>,
    /// Of a done one, how many attempts it took.
    pub(super) attempts: Option<u32>,
    pub(super) place: Position,
}

/// One state of one queue.
pub(super) struct Scan<'a> {
    pub(super) queue: &'a Queue,
    pub(super) state: JobState,
    pub(super) order: Order,
    /// Of waiting and running jobs: the lists that are left, the present one last. Read once a call.
    lines: Option<Vec<String>>,
    /// Done jobs are read once; there are no more pages of them.
    pub(super) is_over: bool,
}

impl<'a> Scan<'a> {
    pub(super) fn new(queue: &'a Queue, state: JobState, order: Order) -> Self {
        Self {
            queue,
            state,
            order,
            lines: None,
            is_over: false,
        }
    }

    /// Up to `count` jobs from behind `place`; `None`: there are no more. May be empty before that.
    pub(super) async fn next(
        &mut self,
        filter: &Filter,
        place: Option<&Position>,
        count: usize,
    ) -> Result<Option<Vec<ScannedJob>>, InspectError> {
        match self.state {
            JobState::Dead => self.sorted("dead", place, count).await,
            JobState::Scheduled => self.sorted("sched", place, count).await,
            JobState::Done => {
                self.is_over = true;
                self.done(count).await.map(Some)
            }
            JobState::Waiting => {
                let Some((line, place)) = self.line(filter, place).await? else {
                    return Ok(None);
                };
                let found = self.waiting(&line, place, count).await?;
                Ok(Some(self.went_on(found)))
            }
            JobState::Running => {
                let Some((token, place)) = self.line(filter, place).await? else {
                    return Ok(None);
                };
                let found = self.held(&token, place, count).await?;
                Ok(Some(self.went_on(found)))
            }
        }
    }

    /// An empty page means that the list has no more jobs.
    fn went_on(&mut self, found: Vec<ScannedJob>) -> Vec<ScannedJob> {
        if found.is_empty()
            && let Some(lines) = &mut self.lines
        {
            lines.pop();
        }
        found
    }

    /// The list to read, and where in it.
    async fn line<'p>(
        &mut self,
        filter: &Filter,
        place: Option<&'p Position>,
    ) -> Result<Option<(String, Option<&'p Position>)>, InspectError> {
        if self.lines.is_none() {
            let mut all = match self.state {
                JobState::Waiting => {
                    let mut all = lines(self.queue).await?;
                    // The list of suspects holds those of all tenants.
                    all.retain(|line| line == "!" || filter.is_tenants(line));
                    all
                }
                _ => {
                    redis::Cmd::zrange(self.queue.key("lease"), 0, -1)
                        .query_async(&mut self.queue.connection.clone())
                        .await?
                }
            };
            all.sort_unstable_by(|a, b| b.cmp(a));
            if let Some(place) = place {
                all.retain(|line| *line >= place.line);
            }
            self.lines = Some(all);
        }
        let next = self.lines.as_ref().and_then(|lines| lines.last().cloned());
        Ok(next.map(|line| {
            let place = place.filter(|place| place.line == line);
            (line, place)
        }))
    }

    async fn sorted(
        &self,
        name: &str,
        place: Option<&Position>,
        count: usize,
    ) -> Result<Option<Vec<ScannedJob>>, InspectError> {
        let mut call = scripts::INSPECT_SORTED.on(&[self.queue.key(name)]);
        call.arg(self.queue.prefix())
            .arg(u8::from(self.order == Order::Newest));
        match place {
            Some(place) => call.arg(place.at).arg(&place.entry),
            None => call.arg("").arg(""),
        };
        call.arg(count);
        let page: Vec<Vec<u8>> = call.invoke_async(&mut self.queue.connection.clone()).await?;
        let found = page
            .chunks_exact(2)
            .map(|pair| {
                let id = String::from_utf8_lossy(&pair[0]).into_owned();
                let score: f64 = String::from_utf8_lossy(&pair[1]).parse().unwrap_or_default();
                ScannedJob {
                    at: Some(whole(score)),
                    place: Position {
                        at: score,
                        entry: id.clone(),
                        ..Position::default()
                    },
                    id,
                    ..ScannedJob::default()
                }
            })
            .collect::<Vec<_>>();
        Ok((!found.is_empty()).then_some(found))
    }

    async fn waiting(
        &self,
        line: &str,
        place: Option<&Position>,
        count: usize,
    ) -> Result<Vec<ScannedJob>, InspectError> {
        let start = Position::default();
        let place = place.unwrap_or(&start);
        let mut call = scripts::INSPECT_LINE.on(&[line_key(self.queue, line)]);
        call.arg(self.queue.prefix())
            .arg(whole(place.at))
            .arg(&place.entry)
            .arg(count);
        let page: Vec<Value> = call.invoke_async(&mut self.queue.connection.clone()).await?;
        let mut page = page.into_iter();
        let Some(Value::Int(first)) = page.next() else {
            return Err(crate::QueueError::Answer("inspect_line").into());
        };
        let waiting = |(entry, at): (Value, u32)| {
            let Value::BulkString(entry) = entry else {
                return None;
            };
            let id = String::from_utf8_lossy(&entry).into_owned();
            Some(ScannedJob {
                place: Position {
                    line: line.to_owned(),
                    at: f64::from(at),
                    entry: id.clone(),
                },
                id,
                ..ScannedJob::default()
            })
        };
        let places = u32::try_from(first).unwrap_or_default()..;
        Ok(page.zip(places).filter_map(waiting).collect())
    }

    async fn done(&self, count: usize) -> Result<Vec<ScannedJob>, InspectError> {
        let count = isize::try_from(count).unwrap_or(isize::MAX);
        let (first, last) = match self.order {
            Order::Newest => (-count, -1),
            Order::Oldest => (0, count - 1),
        };
        let mut entries: Vec<String> = redis::Cmd::lrange(self.queue.key("done"), first, last)
            .query_async(&mut self.queue.connection.clone())
            .await?;
        if self.order == Order::Newest {
            entries.reverse();
        }
        let job = |entry: &String| {
            let (id, at, attempts) = done(entry);
            ScannedJob {
                id: id.to_owned(),
                at,
                attempts,
                ..ScannedJob::default()
            }
        };
        Ok(entries.iter().map(job).collect())
    }

    /// What a worker holds is bounded by its size, so it is read whole.
    async fn held(
        &self,
        token: &str,
        place: Option<&Position>,
        count: usize,
    ) -> Result<Vec<ScannedJob>, InspectError> {
        let key = self.queue.key(&format!("run:{token}"));
        let held: BTreeMap<String, String> = redis::Cmd::hgetall(key)
            .query_async(&mut self.queue.connection.clone())
            .await?;
        Ok(held
            .into_iter()
            .filter(|(id, _)| place.is_none_or(|place| *id > place.entry))
            .take(count)
            .map(|(id, claim)| ScannedJob {
                at: claim.split_once(' ').and_then(|(_, ms)| ms.parse().ok()),
                worker: Some(token.to_owned()),
                place: Position {
                    line: token.to_owned(),
                    entry: id.clone(),
                    ..Position::default()
                },
                id,
                ..ScannedJob::default()
            })
            .collect())
    }
}

/// An entry of `done`: `id ended-ms attempts`.
pub(super) fn done(entry: &str) -> (&str, Option<u64>, Option<u32>) {
    let mut words = entry.rsplitn(3, ' ');
    let (attempts, ended) = (words.next(), words.next());
    match words.next() {
        Some(id) => (
            id,
            ended.and_then(|ms| ms.parse().ok()),
            attempts.and_then(|count| count.parse().ok()),
        ),
        None => (entry, None, None),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a time in ms or an index: whole, not negative, far below 2^53"
)]
fn whole(score: f64) -> u64 {
    score as u64
}
