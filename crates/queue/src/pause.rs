//! Pauses a queue, and resumes it.

use super::client::Queue;
use super::error::QueueError;

impl Queue {
    /// Stops workers from taking jobs until [`Queue::resume`]. Running jobs continue, and jobs can still be enqueued.
    pub async fn pause(&self) -> Result<(), QueueError> {
        let pause = redis::Cmd::hset(self.key("steer"), "paused", 1);
        Ok(pause.query_async(&mut self.connection.clone()).await?)
    }

    /// Ends a pause, and wakes the workers.
    pub async fn resume(&self) -> Result<(), QueueError> {
        let mut resume = redis::pipe();
        resume.atomic().hdel(self.key("steer"), "paused").ignore();
        resume.publish(self.key("wake"), "1").ignore();
        Ok(resume.query_async(&mut self.connection.clone()).await?)
    }

    /// Whether it is paused.
    pub async fn is_paused(&self) -> Result<bool, QueueError> {
        let paused = redis::Cmd::hexists(self.key("steer"), "paused");
        Ok(paused.query_async(&mut self.connection.clone()).await?)
    }
}
