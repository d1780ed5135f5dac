//! Short texts that all processes share.

use std::time::Duration;

use super::client::{Queue, millis};
use super::error::QueueError;

/// A longer note is not read: another program has written it.
const LONGEST_NOTE: usize = 1 << 20;

impl Queue {
    /// Saves a text under a name, for `life`.
    pub async fn save_note(&self, name: &str, text: &str, life: Duration) -> Result<(), QueueError> {
        let expiry = redis::SetExpiry::PX(millis(life).max(1));
        let options = redis::SetOptions::default().with_expiration(expiry);
        let put = redis::Cmd::set_options(self.key(&format!("note:{name}")), text, options);
        Ok(put.query_async(&mut self.connection.clone()).await?)
    }

    /// The text of that name; `None` where there is none, or its life is over.
    pub async fn load_note(&self, name: &str) -> Result<Option<String>, QueueError> {
        let get = redis::Cmd::get(self.key(&format!("note:{name}")));
        let text: Option<String> = get.query_async(&mut self.connection.clone()).await?;
        Ok(text.filter(|text| text.len() <= LONGEST_NOTE))
    }
}
