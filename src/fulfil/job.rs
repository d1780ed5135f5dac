//! A purchase as a job in the queue.

use super::Purchase;
use super::purchase::VERSION;
use crate::queue::{DecodeError, Job};

const KIND: &str = "fulfil";

/// The id of a session's job: `fulfil:{session}` if the platform's secret or Stripe's API proved the
/// purchase, `fulfil:{slug}:{session}` if a tenant's own secret did. So no tenant can take the key of
/// another's purchase.
#[must_use]
pub fn job_id(session: &str, tenant: Option<&str>) -> String {
    match tenant {
        Some(slug) => [KIND, ":", slug, ":", session].concat(),
        None => [KIND, ":", session].concat(),
    }
}

/// Whether the text is a valid Checkout Session id: `cs_` and letters, digits, underscores, at most 255 in
/// all. It becomes part of ids and keys.
#[must_use]
pub fn is_session_id(id: &str) -> bool {
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (4..=255).contains(&id.len()) && id.starts_with("cs_") && id.bytes().all(safe)
}

/// The ids of all jobs of a session for this tenant.
#[must_use]
pub fn job_ids(session: &str, tenant: &str) -> [String; 2] {
    [job_id(session, None), job_id(session, Some(tenant))]
}

/// The session of a job. `None`: not a `fulfil` job.
#[must_use]
pub fn session_of(job: &str) -> Option<&str> {
    job.strip_prefix(KIND)?.strip_prefix(':')?.rsplit(':').next()
}

impl Job for Purchase {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn version(&self) -> u32 {
        VERSION
    }

    fn key(&self) -> Option<String> {
        Some(self.job_key())
    }

    fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        // Nearly all take 400 to 600 bytes.
        let mut payload = Vec::with_capacity(768);
        serde_json::to_writer(&mut payload, self)?;
        Ok(payload)
    }

    fn decode(kind: &str, version: u32, payload: &[u8]) -> Result<Self, DecodeError> {
        let kind = kind.to_owned();
        if kind != KIND {
            return Err(DecodeError::UnknownKind(kind));
        }
        if version > VERSION {
            return Err(DecodeError::UnknownVersion { kind, version });
        }
        Ok(serde_json::from_slice(payload)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jobs_id_ends_with_its_session_whoever_proved_it() {
        assert_eq!(job_ids("cs_1", "yoga"), ["fulfil:cs_1", "fulfil:yoga:cs_1"]);
        for id in job_ids("cs_1", "yoga") {
            assert_eq!(session_of(&id), Some("cs_1"));
        }
        assert_eq!(
            (session_of("sync:*:user_1"), session_of("fulfilled:cs_1")),
            (None, None)
        );
    }
}
