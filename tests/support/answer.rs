//! What the intake answered.

use serde_json::{Value, json};

#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub status: u16,
    pub retry_after: Option<String>,
    pub body: Value,
}

impl Answer {
    pub async fn read(response: reqwest::Response) -> Result<Self, reqwest::Error> {
        let header = |name| {
            response
                .headers()
                .get(name)
                .map(|value| value.to_str().unwrap().to_owned())
        };
        Ok(Self {
            status: response.status().as_u16(),
            retry_after: header("retry-after"),
            body: response.json().await?,
        })
    }

    /// 200: Redis holds a new job.
    pub fn accepted() -> Self {
        Self::ok(json!({"received": true, "duplicate": false}))
    }

    /// 200: Redis had it already.
    pub fn duplicate() -> Self {
        Self::ok(json!({"received": true, "duplicate": true}))
    }

    /// Whether it is one of those two: the purchase is in Redis.
    pub fn is_taken(&self) -> bool {
        [Self::accepted(), Self::duplicate()].contains(self)
    }

    /// 200: logged, and nothing to do.
    pub fn ignored() -> Self {
        Self::ok(json!({"received": true, "ignored": true}))
    }

    fn ok(body: Value) -> Self {
        Self {
            status: 200,
            retry_after: None,
            body,
        }
    }

    /// Its status and the `code` of its error.
    pub fn refusal(&self) -> (u16, &str) {
        let error = &self.body["error"];
        assert!(
            error["message"]
                .as_str()
                .is_some_and(|message| !message.is_empty()),
            "{self:?}"
        );
        (self.status, error["code"].as_str().unwrap())
    }

    /// Whether it is the 503 that makes Stripe send the event again.
    pub fn is_come_again(&self) -> bool {
        let seconds: Option<u32> = self.retry_after.as_deref().and_then(|after| after.parse().ok());
        self.refusal() == (503, "unavailable") && seconds.is_some_and(|seconds| seconds > 0)
    }
}
