//! What an operator may do to a whole queue: pause it, resume it, limit it.

use super::client::Queue;
use super::error::QueueError;
use super::scripts;

/// What all workers of a queue together may do, by Redis' count and clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// The most jobs that they hold at a time, prefetched ones included; 0: any number.
    pub running: u32,
    /// The most jobs that they begin in a second, on average; up to a second's worth begin at once. 0: any number.
    pub per_second: u32,
}

impl Queue {
    /// Lets workers take no more jobs until [`Queue::resume`]. What runs goes on, and so does enqueueing.
    ///
    /// # Errors
    /// [`QueueError`].
    pub async fn pause(&self) -> Result<(), QueueError> {
        let pause = redis::Cmd::hset(self.key("steer"), "paused", 1);
        Ok(pause.query_async(&mut self.connection.clone()).await?)
    }

    /// Ends a pause, and wakes the workers.
    ///
    /// # Errors
    /// [`QueueError`].
    pub async fn resume(&self) -> Result<(), QueueError> {
        let mut resume = redis::pipe();
        resume.atomic().hdel(self.key("steer"), "paused").ignore();
        resume.publish(self.key("wake"), "1").ignore();
        Ok(resume.query_async(&mut self.connection.clone()).await?)
    }

    /// Whether it is paused.
    ///
    /// # Errors
    /// [`QueueError`].
    pub async fn is_paused(&self) -> Result<bool, QueueError> {
        let paused = redis::Cmd::hexists(self.key("steer"), "paused");
        Ok(paused.query_async(&mut self.connection.clone()).await?)
    }

    /// Runs those of these jobs again that are dead letters.
    ///
    /// # Errors
    /// [`QueueError`].
    pub async fn rerun_dead(&self, ids: &[String]) -> Result<(), QueueError> {
        if ids.is_empty() {
            return Ok(());
        }
        let keys = ["sched", "dead", "lease", "stats"].map(|name| self.key(name));
        let mut call = scripts::RETRY.on(&keys);
        call.arg(self.prefix()).arg("dead").arg(ids);
        let _: Vec<String> = call.invoke_async(&mut self.connection.clone()).await?;
        Ok(())
    }
}
