//! Whose secrets sign what arrives where: the configured ones, or a tenant's own.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use tokio::sync::Mutex;

use crate::clock::Clock;
use crate::store::Store;
use crate::stripe::signature::{SignatureError, Verifier};

/// How old the copy of the tenants' secrets may be: an imported secret counts from then on.
const LIFE: Duration = Duration::from_secs(5);
/// How often the store is asked, whoever knocks: a stranger who guesses slugs must not keep it busy.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// The verifiers of all webhook endpoints.
#[derive(Debug)]
pub(super) struct Endpoints {
    platform: Arc<Verifier>,
    tolerance: Duration,
    store: Arc<dyn Store>,
    clock: Clock,
    tenants: RwLock<Arc<Tenants>>,
    looking: Mutex<()>,
}

#[derive(Debug, Default)]
struct Tenants {
    by_slug: HashMap<String, Arc<Verifier>>,
    looked: Option<Instant>,
}

impl Endpoints {
    pub(super) fn new(platform: Verifier, tolerance: Duration, store: Arc<dyn Store>, clock: Clock) -> Self {
        Self {
            platform: Arc::new(platform),
            tolerance,
            store,
            clock,
            tenants: RwLock::default(),
            looking: Mutex::default(),
        }
    }

    /// Whether `body` is signed for the endpoint of `tenant` (or of the platform); `None` where there is no such tenant.
    pub(super) async fn verify(
        &self,
        tenant: Option<&str>,
        header: Option<&[u8]>,
        body: &[u8],
        now: DateTime<Utc>,
    ) -> Option<Result<(), SignatureError>> {
        let Some(slug) = tenant else {
            return Some(self.platform.verify(header, body, now));
        };
        let known = self.tenants();
        let fresh = known.looked.is_some_and(|at| at.elapsed() < LIFE);
        let verdict = known
            .by_slug
            .get(slug)
            .map(|verifier| verifier.verify(header, body, now));
        match verdict {
            Some(Ok(())) if fresh => return Some(Ok(())),
            // The secret may have been rolled, or the tenant imported, a moment ago.
            _ => self.look().await,
        }
        let verifier = self.tenants().by_slug.get(slug).cloned()?;
        Some(verifier.verify(header, body, now))
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
        let by_slug = match self.store.tenants().await {
            Ok(tenants) => tenants
                .into_iter()
                .filter_map(|tenant| {
                    let verifier = if tenant.webhook_secrets.is_empty() {
                        self.platform.clone()
                    } else {
                        Arc::new(
                            Verifier::new(&tenant.webhook_secrets)
                                .ok()?
                                .with_tolerance(self.tolerance),
                        )
                    };
                    Some((tenant.slug, verifier))
                })
                .collect(),
            Err(error) => {
                tracing::warn!(%error, at = %self.clock.now(), "tenants' secrets not read; those known go on");
                self.tenants().by_slug.clone()
            }
        };
        let looked = Some(Instant::now());
        *self.tenants.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Tenants { by_slug, looked });
    }
}
