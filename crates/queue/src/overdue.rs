//! Jobs that have waited too long, and dead jobs.

use std::collections::BTreeMap;
use std::time::Duration;

use super::client::{Queue, millis};
use super::error::QueueError;
use super::scripts;

/// Jobs that wait too long, and why. Only a bounded number of jobs is counted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Overdue {
    /// Jobs that wait, are scheduled or run, and were enqueued too long ago.
    pub jobs: usize,
    /// How long ago the oldest live job was enqueued; zero where none lives.
    pub oldest: Duration,
    /// There are more jobs than were read.
    pub partial: bool,
    pub paused: bool,
    /// Why live jobs failed last, and how many did so.
    pub causes: BTreeMap<String, usize>,
    pub dead: usize,
    /// Ids and reasons of the newest dead letters.
    pub dead_letters: Vec<(String, String)>,
}

impl Queue {
    /// Reads at most `most` live jobs and as many dead letters. Two round trips.
    pub async fn overdue(&self, limit: Duration, most: usize) -> Result<Overdue, QueueError> {
        type Answer = (Vec<String>, Vec<String>, Vec<Vec<u8>>);
        let keys = ["wait", "sched", "lease", "dead"].map(|name| self.key(name));
        let (numbers, causes, dead): Answer = scripts::OVERDUE
            .on(&keys)
            .arg(self.prefix())
            .arg(millis(limit))
            .arg(most)
            .invoke_async(&mut self.connection.clone())
            .await?;
        let number = |at: usize| numbers.get(at).and_then(|text| text.parse::<u64>().ok());
        let count = |at: usize| usize::try_from(number(at).unwrap_or(0)).unwrap_or(usize::MAX);
        let now = number(0).ok_or(QueueError::Answer("overdue"))?;
        let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
        Ok(Overdue {
            jobs: count(1),
            oldest: Duration::from_millis(number(2).map_or(0, |oldest| now.saturating_sub(oldest))),
            partial: count(3) == 1,
            paused: self.is_paused().await?,
            causes: causes
                .chunks_exact(2)
                .filter_map(|pair| Some((pair[0].clone(), pair[1].parse().ok()?)))
                .collect(),
            dead: count(4),
            dead_letters: dead
                .chunks_exact(2)
                .map(|pair| (text(&pair[0]), text(&pair[1])))
                .collect(),
        })
    }
}
