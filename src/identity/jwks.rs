//! The sign-in service's public keys, kept at hand.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::{Mutex, MutexGuard};
use url::Url;

use super::TokenError;
use crate::clock::Clock;
use crate::http_client::innermost;

/// How old the keys may be: one that is withdrawn counts no longer than this, while the host answers.
const LIFE: TimeDelta = TimeDelta::minutes(10);
/// How often the host is asked, whatever tokens come: anyone can make up a key's id.
const BETWEEN_LOOKS: TimeDelta = TimeDelta::seconds(5);
/// How long it may take to answer. Customers wait for it, where their key is not known.
const PATIENCE: Duration = Duration::from_secs(3);
/// The longest JWKS that is read, in bytes, and how many of its keys are kept.
const LONGEST: usize = 128 * 1024;
const MOST_KEYS: usize = 100;
/// How many keys are tried for a token that does not name its own.
const MOST_TRIED: usize = 8;

/// The keys that a URL tells.
#[derive(Debug)]
pub(super) struct Jwks {
    url: Url,
    http: reqwest::Client,
    clock: Clock,
    keys: RwLock<Arc<Keys>>,
    /// When the host was asked last.
    asked: Mutex<Option<DateTime<Utc>>>,
}

#[derive(Debug, Default)]
struct Keys {
    all: Vec<Key>,
    read: Option<DateTime<Utc>>,
}

#[derive(Debug)]
struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    verifies: DecodingKey,
}

impl Jwks {
    pub(super) fn new(url: Url, http: reqwest::Client, clock: Clock) -> Self {
        Self {
            url,
            http,
            clock,
            keys: RwLock::default(),
            asked: Mutex::default(),
        }
    }

    /// The keys that a token of this key id and algorithm may be signed with, never none.
    ///
    /// # Errors
    /// [`TokenError::UnknownKey`], [`TokenError::KeysUnavailable`].
    pub(super) async fn keys(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<Vec<DecodingKey>, TokenError> {
        let keys = self.at_hand();
        let found = keys.fitting(id, algorithm);
        if !found.is_empty() {
            // One reads anew; the others need not wait for it.
            if !keys.read.is_some_and(|at| self.is_younger(at, LIFE))
                && let Ok(asked) = self.asked.try_lock()
                && self.look(asked).await
            {
                return known(self.at_hand().fitting(id, algorithm));
            }
            return Ok(found);
        }
        // The service may have begun to use a new key.
        self.look(self.asked.lock().await).await;
        let keys = self.at_hand();
        if keys.read.is_none() {
            return Err(TokenError::KeysUnavailable);
        }
        known(keys.fitting(id, algorithm))
    }

    fn at_hand(&self) -> Arc<Keys> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the keys from the host, and answers how many there are; else why there are none.
    pub(super) async fn read_now(&self) -> Result<usize, String> {
        let read = tokio::time::timeout(PATIENCE, self.fetch()).await;
        read.unwrap_or_else(|_| Err("no response within 3 s".to_owned()))
            .map(|keys| keys.len())
    }

    /// Reads the keys, unless that was tried a moment ago. Where the host does not answer, those known go on. Answers
    /// whether they are new.
    async fn look(&self, mut asked: MutexGuard<'_, Option<DateTime<Utc>>>) -> bool {
        if asked.is_some_and(|at| self.is_younger(at, BETWEEN_LOOKS)) {
            return false;
        }
        let now = self.clock.now();
        *asked = Some(now);
        match tokio::time::timeout(PATIENCE, self.fetch()).await {
            Ok(Ok(all)) => {
                tracing::debug!(keys = all.len(), "the sign-in service's keys were read");
                let keys = Keys { all, read: Some(now) };
                *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
                true
            }
            Ok(Err(reason)) => {
                tracing::warn!(
                    reason,
                    "SUREPASS_JWKS_URL: the keys could not be read; the known ones stay in use"
                );
                false
            }
            Err(_) => {
                tracing::warn!("SUREPASS_JWKS_URL: no response within 3 s; the known keys stay in use");
                false
            }
        }
    }

    async fn fetch(&self) -> Result<Vec<Key>, String> {
        let told = |error: reqwest::Error| innermost(&error.without_url());
        let mut response = self.http.get(self.url.clone()).send().await.map_err(told)?;
        if response.status() != reqwest::StatusCode::OK {
            return Err(format!("it responded with {}", response.status()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(told)? {
            if body.len() + chunk.len() > LONGEST {
                return Err(format!("its response is longer than {LONGEST} bytes"));
            }
            body.extend_from_slice(&chunk);
        }
        read(&body).ok_or_else(|| "its response is not a JWKS with a key for RS256 or ES256".to_owned())
    }

    /// A moment that lies ahead, because the clock was set back, is not young.
    fn is_younger(&self, then: DateTime<Utc>, age: TimeDelta) -> bool {
        (TimeDelta::zero()..age).contains(&(self.clock.now() - then))
    }
}

impl Keys {
    fn fitting(&self, id: Option<&str>, algorithm: Algorithm) -> Vec<DecodingKey> {
        let fits = |key: &&Key| key.algorithm == algorithm && (id.is_none() || key.id.as_deref() == id);
        let fitting = self.all.iter().filter(fits).take(MOST_TRIED);
        fitting.map(|key| key.verifies.clone()).collect()
    }
}

fn known(keys: Vec<DecodingKey>) -> Result<Vec<DecodingKey>, TokenError> {
    if keys.is_empty() {
        return Err(TokenError::UnknownKey);
    }
    Ok(keys)
}

/// The keys of a JWKS that are for signatures of ours; `None`: there is none.
fn read(body: &[u8]) -> Option<Vec<Key>> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<Value>,
    }
    let set: Set = serde_json::from_slice(body).ok()?;
    // One by one: a key of a kind that nobody knows costs none of the others.
    let keys: Vec<Key> = set.keys.into_iter().take(MOST_KEYS).filter_map(key).collect();
    (!keys.is_empty()).then_some(keys)
}

fn key(raw: Value) -> Option<Key> {
    let jwk: Jwk = serde_json::from_value(raw).ok()?;
    if !matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature)) {
        return None;
    }
    let algorithm = match (&jwk.algorithm, &jwk.common.key_algorithm) {
        (AlgorithmParameters::RSA(_), None | Some(KeyAlgorithm::RS256)) => Algorithm::RS256,
        (AlgorithmParameters::EllipticCurve(point), None | Some(KeyAlgorithm::ES256))
            if point.curve == EllipticCurve::P256 =>
        {
            Algorithm::ES256
        }
        _ => return None,
    };
    Some(Key {
        algorithm,
        verifies: DecodingKey::from_jwk(&jwk).ok()?,
        id: jwk.common.key_id,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_jwks_only_the_keys_for_rs256_and_es256_signatures_are_kept_and_an_odd_one_costs_no_other() {
        let body = br#"{"keys":[7,{"kty":"quantum","kid":"q"},{"kty":"oct","kid":"o","k":"c2VjcmV0"},
            {"kty":"RSA","kid":"enc","use":"enc","n":"AQAB","e":"AQAB"},
            {"kty":"RSA","kid":"ps","alg":"PS256","n":"AQAB","e":"AQAB"},
            {"kty":"EC","kid":"p384","crv":"P-384","x":"AQAB","y":"AQAB"},
            {"kty":"RSA","kid":"broken","n":"***","e":"AQAB"},
            {"kty":"RSA","kid":"a","use":"sig","alg":"RS256","n":"AQAB","e":"AQAB"},
            {"kty":"EC","crv":"P-256","x":"AQAB","y":"AQAB"}]}"#;
        let keys = read(body).unwrap();
        let told: Vec<_> = keys
            .iter()
            .map(|key| (key.id.as_deref(), key.algorithm))
            .collect();
        assert_eq!(told, [(Some("a"), Algorithm::RS256), (None, Algorithm::ES256)]);
        for none in [&b"{}"[..], b"[]", b"", b"{\"keys\":[]}", b"{\"keys\":{}}"] {
            assert!(read(none).is_none());
        }
    }
}
