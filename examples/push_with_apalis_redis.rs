//! Asks Surepass for work from another program, with nothing but stock `apalis_redis::RedisStorage`.
//!
//!     SUREPASS_QUEUE_INBOX=shop-jobs surepass-worker
//!     cargo run --example push_with_apalis_redis -- cs_test_…
//!
//! The first is the worker as always, with the inbox on; the second pushes into the same Redis.

use apalis::prelude::TaskSink;
use apalis_redis::{Config, RedisStorage};
use serde_json::{Value, json};

/// The namespace: the worker's `queue.inbox`.
const NAMESPACE: &str = "shop-jobs";

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let session = std::env::args()
        .nth(1)
        .ok_or("give the id of a Checkout Session (cs_…)")?;
    let redis = std::env::var("REDIS_URL").unwrap_or_else(|_| "redis://127.0.0.1:6379".to_owned());
    let connection = apalis_redis::connect(redis).await?;
    let mut storage = RedisStorage::<Value>::new(connection).with_config(Config::default().queue(NAMESPACE));
    // Fulfil one paid session, and look for all that one customer has paid for in the last 90 days.
    storage.push(json!({"job": "fulfil", "session": session})).await?;
    storage
        .push(json!({"job": "sync", "tenant": "studio", "user": "user_1", "days": 90}))
        .await?;
    println!("Pushed 2 jobs into {NAMESPACE}. The worker logs: jobs handed over from the inbox.");
    Ok(())
}
