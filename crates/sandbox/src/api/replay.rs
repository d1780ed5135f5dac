//! `Idempotency-Key`: the same POST again gets the answer that the first one got, and does nothing.

use std::collections::HashMap;

use serde_json::Value;

use super::error::ApiError;
use crate::world::Scope;

/// The longest key.
const LONGEST: usize = 255;

#[derive(Debug, Default)]
pub(crate) struct Replays(HashMap<(Scope, String), Done>);

#[derive(Debug)]
struct Done {
    request: String,
    status: u16,
    answer: Value,
}

impl Replays {
    /// The answer to give again, with its status, if this key was used before. `request` is the path with the
    /// parameters.
    ///
    /// # Errors
    /// A key that is too long, or that another request used.
    pub(super) fn answer(
        &self,
        scope: &Scope,
        key: &str,
        request: &str,
    ) -> Result<Option<(u16, Value)>, ApiError> {
        if key.len() > LONGEST {
            let message = format!("Idempotency-Key cannot be longer than {LONGEST} characters.");
            return Err(ApiError::invalid(message));
        }
        match self.0.get(&(scope.clone(), key.to_owned())) {
            None => Ok(None),
            Some(done) if done.request == request => Ok(Some((done.status, done.answer.clone()))),
            Some(_) => {
                let message = format!(
                    "Keys for idempotent requests can only be used with the same parameters they were first used with. \
                     Try using a key other than '{key}' if you meant to execute a different request."
                );
                Err(ApiError::new(400, "idempotency_error", message))
            }
        }
    }

    pub(super) fn keep(&mut self, scope: &Scope, key: String, request: String, status: u16, answer: Value) {
        let done = Done {
            request,
            status,
            answer,
        };
        self.0.insert((scope.clone(), key), done);
    }
}
