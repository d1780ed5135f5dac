//! The sync that a customer asks for.

use std::time::Duration;

use tokio::time::Instant;

use super::{CustomerError, Customers, known_to_lookback};
use crate::fulfil::KnownTenant;
use crate::identity::Customer;
use crate::lookback::{Report, SyncRequest};
use crate::store::CreatedVia;

/// How far a customer's sync looks back.
pub(super) const DAYS: u32 = 30;
/// How often its report is looked at: from often to seldom.
const FIRST_LOOK: Duration = Duration::from_millis(50);
const LAST_LOOK: Duration = Duration::from_millis(500);

impl Customers {
    /// Asks for a sync of the customer with this tenant (or joins the one that is under way) and waits `patience` for what
    /// it comes to; a report that is not `done` tells how far it has come.
    ///
    /// # Errors
    /// [`CustomerError`]. The sync may have been asked for nevertheless, and goes on by itself.
    pub async fn sync(
        &self,
        customer: &Customer,
        tenant: &KnownTenant,
        patience: Duration,
    ) -> Result<Option<Report>, CustomerError> {
        if self.stripe.is_none() {
            return Err(CustomerError::NoKey);
        }
        let request = SyncRequest {
            tenant: Some(tenant.slug.clone()),
            customer: known_to_lookback(customer),
            days: DAYS,
            via: CreatedVia::SelfService,
            run: None,
        };
        let give_up = Instant::now() + patience;
        let asked = self.lookback.ask(&request, ulid::Ulid::generate()).await?;
        let mut pause = FIRST_LOOK;
        loop {
            let report = self.lookback.report(&asked.run).await?;
            let is_done = report.as_ref().is_some_and(|report| report.done);
            if is_done || Instant::now() + pause > give_up {
                return Ok(report);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LAST_LOOK);
        }
    }
}
