//! The secrets of each webhook endpoint: the configured ones, or a tenant's own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use secrecy::SecretString;

use crate::credentials;
use crate::fulfil::{ProvedBy, Tenants};
use crate::store::{Store, StoreError};
use crate::stripe::signature::{SignatureError, Verifier};

/// How often the store is read again for all requests together: guessing slugs must not keep it busy.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);
/// How long a webhook waits for the store: Checkout holds a buyer for the answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// The verifiers of all webhook endpoints. Which tenants there are is known by the copy of the catalog at hand; a tenant's
/// secrets are read when its endpoint is first used, and again when the catalog has changed.
#[derive(Debug)]
pub(super) struct Endpoints {
    platform: Arc<Verifier>,
    tolerance: Duration,
    tenants: Arc<Tenants>,
    store: Arc<Store>,
    /// By slug.
    known: Mutex<HashMap<String, Known>>,
    looks: tokio::sync::Mutex<Look>,
}

/// A tenant's endpoint.
#[derive(Debug, Clone)]
struct Known {
    /// `None`: a stored secret of this tenant is unusable, and nobody gets in until it is imported again; or none was read yet.
    verifier: Option<Arc<Verifier>>,
    /// The edition of the catalog that its secrets are of.
    edition: u64,
    /// When they could not be read: the verifier is of an older edition, if there is one.
    failed: Option<Instant>,
}

/// The last read of the store.
#[derive(Debug, Default)]
struct Look {
    began: Option<Instant>,
    /// The read failed: there may be tenants that are not known here.
    has_failed: bool,
}

/// What is to be said of a webhook at an endpoint.
#[derive(Debug, Clone, Copy)]
pub(super) enum Verdict {
    Genuine(ProvedBy),
    Refused(SignatureError),
    /// There is no such tenant.
    Unknown,
    /// The store is away, and nothing is known of such a tenant; or its stored secret is unusable. Stripe sends it again.
    Unsure,
}

impl Known {
    /// Whether there is nothing newer to read.
    fn is_of(&self, edition: u64) -> bool {
        self.edition == edition && self.failed.is_none_or(|at| at.elapsed() < BETWEEN_LOOKS)
    }
}

impl Endpoints {
    pub(super) fn new(
        platform: Verifier,
        tolerance: Duration,
        tenants: Arc<Tenants>,
        store: Arc<Store>,
    ) -> Self {
        Self {
            platform: Arc::new(platform),
            tolerance,
            tenants,
            store,
            known: Mutex::default(),
            looks: tokio::sync::Mutex::default(),
        }
    }

    /// What the header alone shows of a webhook at an endpoint; `None`: it may be genuine.
    pub(super) async fn refusal_by_header(
        &self,
        tenant: Option<&str>,
        header: Option<&[u8]>,
        now: DateTime<Utc>,
    ) -> Option<Verdict> {
        let refusal = self.platform.check_header(header, now).err()?;
        if let Some(slug) = tenant.filter(|slug| !self.has_seen(slug))
            && let Err(verdict) = self.look(slug).await
            && !self.has_seen(slug)
        {
            return Some(verdict);
        }
        Some(Verdict::Refused(refusal))
    }

    /// The verifier of the platform's own endpoint.
    pub(super) fn platform(&self) -> &Verifier {
        &self.platform
    }

    /// Whether `body` is signed for this tenant's endpoint.
    pub(super) async fn verify(
        &self,
        slug: &str,
        header: Option<&[u8]>,
        body: &[u8],
        now: DateTime<Utc>,
    ) -> Verdict {
        if let Ok(Some(Known { verifier, .. })) = self.known_at(slug).await
            && let Some(verifier) = verifier
        {
            let verdict = self.verify_by(&verifier, header, body, now);
            if matches!(verdict, Verdict::Genuine(_)) {
                return verdict;
            }
        }
        // The secret may have been rolled, or the tenant imported, a moment ago.
        match self.look(slug).await {
            Ok(verifier) => self.verify_by(&verifier, header, body, now),
            Err(verdict) => verdict,
        }
    }

    /// Whether this tenant's endpoint has been used.
    pub(super) fn has_seen(&self, slug: &str) -> bool {
        self.known().contains_key(slug)
    }

    /// What a verifier says, and whose secrets it holds: a tenant without its own uses the platform's.
    fn verify_by(
        &self,
        verifier: &Arc<Verifier>,
        header: Option<&[u8]>,
        body: &[u8],
        now: DateTime<Utc>,
    ) -> Verdict {
        match verifier.verify(header, body, now) {
            Ok(()) if Arc::ptr_eq(verifier, &self.platform) => Verdict::Genuine(ProvedBy::Platform),
            Ok(()) => Verdict::Genuine(ProvedBy::Tenant),
            Err(refusal) => Verdict::Refused(refusal),
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The endpoint's verifier by a new look at the store, unless there was one a moment ago; one caller looks for all.
    async fn look(&self, slug: &str) -> Result<Arc<Verifier>, Verdict> {
        let has_failed = {
            let mut look = self.looks.lock().await;
            if look.began.is_none_or(|at| at.elapsed() >= BETWEEN_LOOKS) {
                let found = in_time(self.tenants.fresh(slug)).await;
                *look = Look {
                    began: Some(Instant::now()),
                    has_failed: found.is_err(),
                };
            }
            look.has_failed
        };
        match self.known_at(slug).await {
            Ok(Some(known)) => known.verifier.ok_or(Verdict::Unsure),
            Ok(None) if !has_failed => Err(Verdict::Unknown),
            Ok(None) | Err(_) => Err(Verdict::Unsure),
        }
    }

    /// What is known about the endpoint by the cached catalog; `None`: there is no such tenant. If the store does not respond,
    /// the known secrets stay in use.
    async fn known_at(&self, slug: &str) -> Result<Option<Known>, StoreError> {
        let found = match in_time(self.tenants.cached(slug)).await {
            Ok(Some(found)) => found,
            Ok(None) => {
                self.known().remove(slug);
                return Ok(None);
            }
            Err(error) => return self.known().get(slug).cloned().map(Some).ok_or(error),
        };
        let held = self.known().get(slug).cloned();
        if held.as_ref().is_some_and(|known| known.is_of(found.edition)) {
            return Ok(held);
        }
        let known = match in_time(self.store.catalog().webhook_secrets(Some(&[&found.tenant.id]))).await {
            Ok(mut secrets) => Known {
                verifier: self.verifier(slug, &secrets.remove(&found.tenant.id).unwrap_or_default()),
                edition: found.edition,
                failed: None,
            },
            Err(error) => {
                tracing::warn!(tenant = slug, %error, "webhook secrets could not be read; the known ones stay in use");
                Known {
                    verifier: held.and_then(|known| known.verifier),
                    edition: found.edition,
                    failed: Some(Instant::now()),
                }
            }
        };
        self.known().insert(slug.to_owned(), known.clone());
        Ok(Some(known))
    }

    /// `None`, and an error in the log, where a stored secret is not what it should be.
    fn verifier(&self, slug: &str, secrets: &[SecretString]) -> Option<Arc<Verifier>> {
        if secrets.is_empty() {
            return Some(self.platform.clone());
        }
        if let Err(misfit) = credentials::check_webhook_secrets(secrets) {
            tracing::error!(
                tenant = slug,
                "webhooks of this tenant are answered with 503, because a stored webhook secret {misfit}; correct \
                 `webhookSecrets` in the catalog file and import it again"
            );
            return None;
        }
        let verifier = Verifier::new(secrets).ok()?;
        Some(Arc::new(verifier.with_tolerance(self.tolerance)))
    }
}

async fn in_time<T>(reading: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let answer = tokio::time::timeout(PATIENCE, reading).await;
    answer.unwrap_or_else(|_| Err(StoreError::Outage("no response within 1 s".to_owned())))
}
