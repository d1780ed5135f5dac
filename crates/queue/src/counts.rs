//! How many jobs there are, and how long they have waited.

use super::client::{LARGEST_CALL, Queue};
use super::error::QueueError;
use super::job::{Data, LONGEST_HEADER};
use super::scripts;

/// How many jobs are in each state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    pub waiting: usize,
    pub scheduled: usize,
    pub running: usize,
    pub done: usize,
    pub dead: usize,
    /// Entries of the log on their way to the store.
    pub log: usize,
}

impl Queue {
    /// How many jobs are in each state, all at one moment: jobs move between lists, so separate counts could miss some. Beyond
    /// 500 groups, waiting jobs are counted in several calls.
    pub async fn counts(&self) -> Result<Counts, QueueError> {
        let keys = ["wait", "sched", "lease", "done", "dead", "log"].map(|name| self.key(name));
        let mut counts = Counts::default();
        let (mut first, mut groups) = (0, 1);
        while first < groups {
            let answer: [usize; 7] = scripts::COUNTS
                .on(&keys)
                .arg(self.prefix())
                .arg(first)
                .arg(LARGEST_CALL)
                .invoke_async(&mut self.connection.clone())
                .await?;
            let [there_are, waiting, scheduled, running, done, dead, log] = answer;
            counts = Counts {
                waiting: counts.waiting + waiting,
                scheduled,
                running,
                done,
                dead,
                log,
            };
            groups = there_are;
            first += LARGEST_CALL;
        }
        Ok(counts)
    }

    /// The lists in which the jobs of these groups wait, and always `wait`: programs older than groups add to it without a
    /// turn.
    pub(super) fn lines(&self, turn: Vec<String>) -> Vec<String> {
        let groups = turn.into_iter().filter(|group| group != "-");
        std::iter::once(self.key("wait"))
            .chain(groups.map(|group| self.key(&format!("wait:{group}"))))
            .collect()
    }

    /// When the job that has waited longest was enqueued, in ms since 1970: the oldest of the first jobs of the 500 groups that
    /// were served least recently. A retried job counts from when it was first enqueued.
    pub async fn oldest_waiting(&self) -> Result<Option<u64>, QueueError> {
        let mut connection = self.connection.clone();
        let groups = isize::try_from(LARGEST_CALL).unwrap_or(isize::MAX);
        let turn: Vec<String> = redis::Cmd::zrange(self.key("turn"), 0, groups - 1)
            .query_async(&mut connection)
            .await?;
        let mut firsts = redis::pipe();
        for line in self.lines(turn) {
            firsts.lindex(line, 0);
        }
        let firsts: Vec<Option<Vec<u8>>> = firsts.query_async(&mut connection).await?;
        let mut headers = redis::pipe();
        let last = isize::try_from(LONGEST_HEADER).unwrap_or(isize::MAX);
        for id in firsts.iter().flatten() {
            headers.getrange([self.key("data:").as_bytes(), id].concat(), 0, last);
        }
        if headers.is_empty() {
            return Ok(None);
        }
        let headers: Vec<Vec<u8>> = headers.query_async(&mut connection).await?;
        let enqueued = |header: &Vec<u8>| Data::parse(header).ok().map(|data| data.enqueued);
        Ok(headers.iter().filter_map(enqueued).min())
    }
}
