//! The jobs of a shop: how many there are, and waiting until it is so many.

use std::time::Duration;

use secrecy::SecretString;
use surepass::queue::{Counts, Queue, QueueConfig, Redis, RedisOptions};

use super::Shop;
use crate::program::PATIENCE;

impl Shop {
    /// Waits until no job waits, is scheduled or runs, and the event log has reached the store.
    pub async fn settled(&self) {
        self.counted("settled", |counts| {
            counts.waiting + counts.scheduled + counts.running + counts.log == 0
        })
        .await;
    }

    /// Waits until no job waits, is scheduled or runs. What a broken read of the event log left behind is taken up after
    /// half a minute only.
    pub async fn worked_off(&self) {
        self.counted("worked off", |counts| {
            counts.waiting + counts.scheduled + counts.running == 0
        })
        .await;
    }

    /// Waits until so many jobs run.
    pub async fn running(&self, jobs: usize) {
        self.counted("running", |counts| counts.running == jobs).await;
    }

    pub async fn counts(&self) -> Counts {
        self.queue().counts().await.unwrap()
    }

    /// How many attempts a job took that is done.
    pub async fn attempts(&self, job: &str) -> u32 {
        let done = self
            .redis(&["LRANGE", &self.queue().key("done"), "0", "-1"])
            .await
            .unwrap();
        let done: Vec<String> = redis::from_redis_value(done).unwrap();
        let entry = done
            .iter()
            .find(|entry| entry.starts_with(&format!("{job} ")))
            .unwrap();
        entry.rsplit(' ').next().unwrap().parse().unwrap()
    }

    /// Lets all jobs have been enqueued so many minutes earlier.
    pub async fn enqueued_earlier(&self, minutes: u64) {
        let script = r"for _, key in ipairs(redis.call('KEYS', ARGV[1] .. '*')) do
            local kind, at, rest = string.match(redis.call('GET', key), '^([^\n]* )(%d+)( %d+ %d+\n.*)$')
            redis.call('SET', key, kind .. string.format('%.0f', at - ARGV[2]) .. rest)
        end";
        let ms = (minutes * 60_000).to_string();
        let moved = self
            .redis(&["EVAL", script, "0", &self.queue().key("data:"), &ms])
            .await;
        moved.unwrap();
    }

    async fn counted(&self, what: &str, reached: impl Fn(Counts) -> bool) {
        let queue = self.queue();
        let mut last = None;
        let waiting = async {
            loop {
                // Redis may be on its way back.
                last = queue.counts().await.ok();
                if last.is_some_and(&reached) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let done = tokio::time::timeout(PATIENCE, waiting).await;
        assert!(done.is_ok(), "not {what} in time: {last:?}");
    }

    pub fn queue(&self) -> Queue {
        let url: SecretString = self.setting("REDIS_URL").into();
        let redis = Redis::open(&url, RedisOptions::default()).unwrap();
        Queue::new(&redis, QueueConfig::default()).unwrap()
    }
}
