//! A rate limiter: how often one user or one address may do something, counted in Redis for all servers.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::connection::{FailoverConnection, Redis};
use super::error::QueueError;
use super::scripts;

/// Calls a minute, evenly spread; after a pause up to half of them at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// What it limits: a word of letters and `-`.
    pub name: &'static str,
    /// Calls a minute, from 1 on.
    pub per_minute: u32,
}

/// Whose calls are counted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Caller(String);

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Caller {
    /// One user. Redis holds a hash of the id.
    #[must_use]
    pub fn user(id: &str) -> Self {
        Self(hex::encode(&Sha256::digest(id)[..16]))
    }

    /// One IPv4 address, or one IPv6 network of 64 bits, which is what one subscriber has.
    #[must_use]
    pub fn address(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                format!("{a:x}:{b:x}:{c:x}:{d:x}::")
            }
        })
    }
}

/// Counts calls against limits. Clones share a connection; all processes with the same Redis and prefix count together.
#[derive(Debug, Clone)]
pub struct RateLimiter {
    connection: FailoverConnection,
    tag: String,
}

impl RateLimiter {
    /// `prefix` as in [`super::QueueConfig`]. Connects at the first call.
    pub fn new(redis: &Redis, prefix: &str) -> Result<Self, QueueError> {
        let tag = format!("{{{prefix}:limit}}:");
        Ok(Self {
            connection: redis.connection(&tag)?,
            tag,
        })
    }

    /// Counts one call against a limit, or against two at once. `Some`: it is refused, and would be accepted after this wait.
    /// A call that one limit refuses counts for neither. One round trip.
    pub async fn take(
        &self,
        limit: (RateLimit, &Caller),
        another: Option<(RateLimit, &Caller)>,
    ) -> Result<Option<Duration>, QueueError> {
        let key = |(limit, caller): (RateLimit, &Caller)| format!("{}{}:{}", self.tag, limit.name, caller.0);
        let mut call = match another {
            None => scripts::LIMIT.on(&[key(limit)]),
            Some(another) => scripts::LIMIT.on(&[key(limit), key(another)]),
        };
        call.arg(&self.tag);
        for (limit, _) in std::iter::once(limit).chain(another) {
            let calls = f64::from(limit.per_minute.max(1));
            let cost = 60_000.0 / calls;
            call.arg(cost).arg(cost * (calls / 2.0).ceil());
        }
        let wait: u64 = call.invoke_async(&mut self.connection.clone()).await?;
        Ok((wait > 0).then(|| Duration::from_millis(wait)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_address_counts_as_its_network_and_a_user_as_a_hash() {
        let counted = |text: &str| Caller::address(text.parse().unwrap()).0;
        assert_eq!(counted("192.0.2.1"), "192.0.2.1");
        assert_eq!(counted("::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(counted("2001:db8:1:2:3:4:5:6"), counted("2001:db8:1:2::1"));
        assert_ne!(counted("2001:db8:1:2::1"), counted("2001:db8:1:3::1"));
        let odd = Caller::user("kari@example.com} {x").0;
        assert!(
            odd.len() == 32 && odd.bytes().all(|byte| byte.is_ascii_hexdigit()),
            "{odd}"
        );
    }
}
