//! The whole system on one machine.

mod redis;

pub use redis::{RedisServer, RedisServerError, RedisServerOptions};
