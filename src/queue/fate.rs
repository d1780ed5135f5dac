//! Where jobs stand, for whoever waits for many.

use redis::Cmd;

use super::client::Queue;
use super::error::QueueError;
use super::job::{Data, Job};

/// The most jobs asked for in one call.
const LARGEST_CALL: usize = 500;

/// Where a job stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It waits, is scheduled or runs.
    Live,
    /// It is a dead letter.
    Dead { reason: String, transient: bool },
    /// It is done, or there never was one.
    Gone,
}

impl Queue {
    /// Where each of these jobs stands, in their order.
    ///
    /// # Errors
    /// [`QueueError`].
    pub async fn fates(&self, ids: &[String]) -> Result<Vec<Fate>, QueueError> {
        type Answer = (bool, Option<f64>, (Option<String>, Option<String>));
        let mut fates = Vec::with_capacity(ids.len());
        for ids in ids.chunks(LARGEST_CALL) {
            let mut pipe = redis::pipe();
            for id in ids {
                pipe.exists(self.key(&format!("data:{id}")))
                    .zscore(self.key("dead"), id)
                    .hmget(self.key(&format!("job:{id}")), &["reason", "transient"]);
            }
            let answers: Vec<redis::Value> = pipe.query_async(&mut self.connection.clone()).await?;
            for answer in answers.chunks(3) {
                let answer = redis::Value::Array(answer.to_vec());
                let (is_there, died, (reason, transient)): Answer =
                    redis::from_redis_value(answer).map_err(|_| QueueError::Answer("fates"))?;
                fates.push(match (is_there, died) {
                    (false, _) => Fate::Gone,
                    (true, None) => Fate::Live,
                    (true, Some(_)) => Fate::Dead {
                        reason: reason.unwrap_or_default(),
                        transient: transient.as_deref() == Some("1"),
                    },
                });
            }
        }
        Ok(fates)
    }

    /// What a job carries, while it is there; `None` also where it cannot be read.
    ///
    /// # Errors
    /// [`QueueError`].
    pub async fn payload<J: Job>(&self, id: &str) -> Result<Option<J>, QueueError> {
        let data: Option<Vec<u8>> = Cmd::get(self.key(&format!("data:{id}")))
            .query_async(&mut self.connection.clone())
            .await?;
        let read = |data: &Vec<u8>| {
            let data = Data::parse(data).ok()?;
            J::decode(data.kind, data.version, data.payload).ok()
        };
        Ok(data.as_ref().and_then(read))
    }
}
