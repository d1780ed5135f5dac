//! How many jobs there are, and since when they wait.

use redis::Value;

use super::client::{LARGEST_CALL, Queue};
use super::error::QueueError;
use super::job::{Data, LONGEST_HEADER};

/// How often counting begins again because of a new group or worker.
const LOOKS: usize = 3;

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
    /// How many jobs are in each state, all at one moment: jobs go round from list to list, so there is no order in which
    /// one could look that misses none. Beyond some hundred groups, the waiting ones are counted bit by bit.
    ///
    /// # Errors
    /// [`QueueError`].
    pub async fn counts(&self) -> Result<Counts, QueueError> {
        let (turn, lease) = (self.key("turn"), self.key("lease"));
        let mut names: [Vec<String>; 2] = redis::pipe()
            .zrange(&turn, 0, -1)
            .zrange(&lease, 0, -1)
            .query_async(&mut self.connection.clone())
            .await?;
        for _ in 0..LOOKS {
            let (counts, now) = self.counts_of(&names).await?;
            // A group or a worker that has come since may hold what has left the others.
            let has_all =
                |(then, now): (&Vec<String>, &Vec<String>)| now.iter().all(|name| then.contains(name));
            if names.iter().zip(&now).all(has_all) {
                return Ok(counts);
            }
            names = now;
        }
        Ok(self.counts_of(&names).await?.0)
    }

    /// The counts with these groups and workers; and those that there are at that moment.
    async fn counts_of(&self, names: &[Vec<String>; 2]) -> Result<(Counts, [Vec<String>; 2]), QueueError> {
        let mut connection = self.connection.clone();
        let [groups, workers] = names;
        let lines = self.lines(groups.clone());
        let (before, last) = lines.split_at(lines.len() - lines.len().min(LARGEST_CALL));
        let mut waiting = 0;
        for lines in before.chunks(LARGEST_CALL) {
            let mut pipe = redis::pipe();
            for line in lines {
                pipe.llen(line);
            }
            let lengths: Vec<usize> = pipe.query_async(&mut connection).await?;
            waiting += lengths.into_iter().sum::<usize>();
        }
        let mut pipe = redis::pipe();
        pipe.atomic();
        pipe.zrange(self.key("turn"), 0, -1);
        pipe.zrange(self.key("lease"), 0, -1);
        pipe.zcard(self.key("sched")).llen(self.key("done"));
        pipe.zcard(self.key("dead")).xlen(self.key("log"));
        for line in last {
            pipe.llen(line);
        }
        for token in workers {
            pipe.hlen(self.key(&format!("run:{token}")));
        }
        let mut answers: Vec<Value> = pipe.query_async(&mut connection).await?;
        if answers.len() != 6 + last.len() + workers.len() {
            return Err(QueueError::Answer("counts"));
        }
        let numbers = answers.split_off(2).into_iter().map(redis::from_redis_value);
        let numbers = numbers
            .collect::<Result<Vec<usize>, _>>()
            .map_err(redis::RedisError::from)?;
        let names = answers.into_iter().map(redis::from_redis_value);
        let names = names
            .collect::<Result<Vec<Vec<String>>, _>>()
            .map_err(redis::RedisError::from)?;
        let names = names.try_into().map_err(|_| QueueError::Answer("counts"))?;
        let (sizes, lengths) = numbers.split_at(4);
        let (lines, runs) = lengths.split_at(last.len());
        let counts = Counts {
            waiting: waiting + lines.iter().sum::<usize>(),
            scheduled: sizes[0],
            running: runs.iter().sum(),
            done: sizes[1],
            dead: sizes[2],
            log: sizes[3],
        };
        Ok((counts, names))
    }

    /// The lists in which the jobs of these groups wait, and `wait` in any case: a program of before there were groups
    /// adds to it without lining up.
    pub(super) fn lines(&self, turn: Vec<String>) -> Vec<String> {
        let groups = turn.into_iter().filter(|group| group != "-");
        std::iter::once(self.key("wait"))
            .chain(groups.map(|group| self.key(&format!("wait:{group}"))))
            .collect()
    }

    /// When the job was enqueued that has waited for longest, in ms since 1970: the first in line of the 500 groups that
    /// were served least recently. One that was retried counts from when it was first enqueued.
    ///
    /// # Errors
    /// [`QueueError`].
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
