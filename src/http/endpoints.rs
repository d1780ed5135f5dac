//! Whose secrets sign what arrives where: the configured ones, or a tenant's own.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use secrecy::ExposeSecret;
use tokio::sync::Mutex;

use crate::credentials;
use crate::fulfil::ProvedBy;
use crate::store::{Store, StoreError, Tenant};
use crate::stripe::signature::{SignatureError, Verifier};

/// How old the copy of the tenants' secrets may be: an imported secret counts from then on.
const LIFE: Duration = Duration::from_secs(5);
/// How often the store is asked, whoever knocks: a stranger who guesses slugs must not keep it busy.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);
/// How long a webhook waits for the store: Checkout holds a buyer for the answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// The verifiers of all webhook endpoints.
#[derive(Debug)]
pub(super) struct Endpoints {
    platform: Arc<Verifier>,
    tolerance: Duration,
    store: Arc<dyn Store>,
    tenants: RwLock<Arc<Tenants>>,
    looking: Mutex<()>,
}

#[derive(Debug, Default)]
struct Tenants {
    /// `None`: a stored secret of this tenant is unusable, and nobody gets in until it is imported again.
    by_slug: HashMap<String, Option<Arc<Verifier>>>,
    looked: Option<Instant>,
    /// The last look was in vain: there may be tenants that are not known here.
    in_vain: bool,
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

impl Endpoints {
    pub(super) fn new(platform: Verifier, tolerance: Duration, store: Arc<dyn Store>) -> Self {
        Self {
            platform: Arc::new(platform),
            tolerance,
            store,
            tenants: RwLock::default(),
            looking: Mutex::default(),
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
        if let Some(slug) = tenant.filter(|slug| !self.has_seen(slug)) {
            self.look().await;
            let known = self.tenants();
            if !known.by_slug.contains_key(slug) {
                return Some(if known.in_vain {
                    Verdict::Unsure
                } else {
                    Verdict::Unknown
                });
            }
        }
        Some(Verdict::Refused(refusal))
    }

    /// Whether `body` is signed for the endpoint of `tenant` (or of the platform).
    pub(super) async fn verify(
        &self,
        tenant: Option<&str>,
        header: Option<&[u8]>,
        body: &[u8],
        now: DateTime<Utc>,
    ) -> Verdict {
        let Some(slug) = tenant else {
            return self.verify_by(&self.platform, header, body, now);
        };
        let known = self.tenants();
        let fresh = known.looked.is_some_and(|at| at.elapsed() < LIFE);
        let verdict = known
            .by_slug
            .get(slug)
            .and_then(Option::as_ref)
            .map(|verifier| self.verify_by(verifier, header, body, now));
        match verdict {
            Some(genuine @ Verdict::Genuine(_)) if fresh => return genuine,
            // The secret may have been rolled, or the tenant imported, a moment ago.
            _ => self.look().await,
        }
        let known = self.tenants();
        match known.by_slug.get(slug) {
            Some(Some(verifier)) => self.verify_by(verifier, header, body, now),
            Some(None) => Verdict::Unsure,
            None if known.in_vain => Verdict::Unsure,
            None => Verdict::Unknown,
        }
    }

    /// Whether the last look at the store has found this tenant.
    pub(super) fn has_seen(&self, slug: &str) -> bool {
        self.tenants().by_slug.contains_key(slug)
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

    fn tenants(&self) -> Arc<Tenants> {
        self.tenants
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Reads the tenants' secrets, one caller for all. The store away: what is known goes on.
    async fn look(&self) {
        let _one = self.looking.lock().await;
        if self
            .tenants()
            .looked
            .is_some_and(|at| at.elapsed() < BETWEEN_LOOKS)
        {
            return;
        }
        let read = tokio::time::timeout(PATIENCE, self.store.tenants()).await;
        let read = read.unwrap_or_else(|_| Err(StoreError::Outage("no answer within 1 s".to_owned())));
        let in_vain = read.is_err();
        let by_slug = match read {
            Ok(tenants) => tenants
                .into_iter()
                .map(|tenant| {
                    let verifier = self.verifier(&tenant);
                    (tenant.slug, verifier)
                })
                .collect(),
            Err(error) => {
                tracing::warn!(%error, "tenants' secrets not read; those known go on");
                self.tenants().by_slug.clone()
            }
        };
        let looked = Some(Instant::now());
        *self.tenants.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Tenants {
            by_slug,
            looked,
            in_vain,
        });
    }

    /// `None`, and an error in the log, where a stored secret is not what it should be.
    fn verifier(&self, tenant: &Tenant) -> Option<Arc<Verifier>> {
        let secrets = &tenant.webhook_secrets;
        if secrets.is_empty() {
            return Some(self.platform.clone());
        }
        let misfit = secrets
            .iter()
            .find_map(|secret| credentials::check_webhook_secret(secret.expose_secret().trim()).err());
        if let Some(misfit) = misfit {
            tracing::error!(
                tenant = tenant.slug,
                "webhooks of this tenant are answered with 503, because a stored webhook secret {misfit}; correct \
                 `webhookSecrets` in the catalogue file and import it again"
            );
            return None;
        }
        let verifier = Verifier::new(secrets).ok()?;
        Some(Arc::new(verifier.with_tolerance(self.tolerance)))
    }
}
