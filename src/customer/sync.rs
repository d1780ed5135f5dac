//! The sync that a customer asks for, and that of their visits.

use std::time::Duration;

use tokio::time::Instant;

use super::{CustomerError, Customers, sync_request};
use crate::identity::Customer;
use crate::lookback::{Report, RunId};
use crate::queue::{Caller, Lookup, RateLimit};
use crate::store::{CreatedVia, KnownTenant};

/// How often a run is looked at: from often to seldom.
const FIRST_LOOK: Duration = Duration::from_millis(50);
const LAST_LOOK: Duration = Duration::from_millis(500);
/// A customer's visits make one sync in this time.
const BETWEEN_VISITS: Duration = Duration::from_mins(1);
/// And so many for all tenants together, as each costs calls that all customers share.
const VISITS: RateLimit = RateLimit {
    name: "visits",
    per_minute: 6,
};
/// So long a customer who was told that their sync goes on is told what that one comes to when they ask again. A page asks
/// two seconds later, and fifteen at most.
const OWED: Duration = Duration::from_secs(30);
/// If the process dies that begins one, another one does after so long.
const LEASE: Duration = Duration::from_secs(10);

/// Where the sync of a visit stands.
#[derive(Debug)]
pub enum Quiet {
    Run(RunId),
    /// Another process is just beginning it.
    Beginning,
    /// The customer visits more tenants a minute than anybody does: none is begun.
    Enough,
}

impl Customers {
    /// Asks for a sync of the customer with this tenant (or joins the one that is under way) and waits `patience` for what
    /// it comes to; a report that is not `done` tells how far it has come. Who asks again after such a report is told of the
    /// same sync, also where it has ended in between: another one would find all there that this one has brought.
    ///
    /// # Errors
    /// [`CustomerError`]. The sync may have been asked for nevertheless, and goes on by itself.
    pub async fn sync(
        &self,
        customer: &Customer,
        tenant: &KnownTenant,
        patience: Duration,
    ) -> Result<Option<Report>, CustomerError> {
        let give_up = Instant::now() + patience;
        let note = format!("owed:{}:{}", tenant.slug, Caller::user(&customer.id));
        let owed = self.memo.cached(&note).await?;
        let run = match &owed {
            Some(run) => run_id(run),
            None => self.begin_sync(customer, tenant, CreatedVia::SelfService).await?,
        };
        let report = self.come_to(&run, give_up).await?;
        match &report {
            Some(report) if !report.done => self.memo.publish(&note, run.as_str().as_bytes(), OWED).await?,
            _ if owed.is_some() => self.memo.forget(&note).await?,
            _ => {}
        }
        Ok(report)
    }

    /// The sync of a visit, which nobody has asked for: at most one a minute for each customer and tenant. Who asks again
    /// within the minute is told what that one comes to. `None`: it has not begun, or cannot be told yet.
    ///
    /// # Errors
    /// As [`Self::sync`].
    pub async fn quiet_sync(
        &self,
        customer: &Customer,
        tenant: &KnownTenant,
        patience: Duration,
    ) -> Result<Option<Report>, CustomerError> {
        let give_up = Instant::now() + patience;
        loop {
            match self.begin_quiet_sync(customer, tenant).await? {
                Quiet::Run(run) => return self.come_to(&run, give_up).await,
                Quiet::Beginning if Instant::now() + FIRST_LOOK < give_up => {
                    tokio::time::sleep(FIRST_LOOK).await;
                }
                Quiet::Beginning | Quiet::Enough => return Ok(None),
            }
        }
    }

    /// Begins it, without waiting for what it comes to.
    ///
    /// # Errors
    /// As [`Self::sync`].
    pub async fn begin_quiet_sync(
        &self,
        customer: &Customer,
        tenant: &KnownTenant,
    ) -> Result<Quiet, CustomerError> {
        let note = format!("visit:{}:{}", tenant.slug, Caller::user(&customer.id));
        match self.memo.lookup(&note, LEASE).await? {
            Lookup::Known(run) => Ok(Quiet::Run(run_id(&run))),
            Lookup::InFlight => Ok(Quiet::Beginning),
            Lookup::Fetch => {
                let begun = async {
                    if self.limit(customer, VISITS).await?.is_some() {
                        return Ok(Quiet::Enough);
                    }
                    let run = self.begin_sync(customer, tenant, CreatedVia::Lookback);
                    run.await.map(Quiet::Run)
                };
                let begun = begun.await;
                match &begun {
                    Ok(Quiet::Run(run)) => {
                        let run = run.as_str().as_bytes();
                        self.memo.publish(&note, run, BETWEEN_VISITS).await?;
                    }
                    _ => self.memo.forget(&note).await?,
                }
                begun
            }
        }
    }

    async fn begin_sync(
        &self,
        customer: &Customer,
        tenant: &KnownTenant,
        via: CreatedVia,
    ) -> Result<RunId, CustomerError> {
        if self.stripe.is_none() {
            return Err(CustomerError::NoKey);
        }
        let request = sync_request(customer, tenant, via);
        Ok(self
            .lookback
            .request_sync(&request, ulid::Ulid::generate())
            .await?
            .run)
    }

    /// What a run has come to when it is done, or at `give_up`. It is settled only when there may be news: a report is many
    /// statements, some of which write.
    async fn come_to(&self, run: &RunId, give_up: Instant) -> Result<Option<Report>, CustomerError> {
        let mut pause = FIRST_LOOK;
        loop {
            let is_last = Instant::now() + pause > give_up;
            if is_last || self.lookback.may_be_over(run).await? {
                let report = self.lookback.report(run).await?;
                if is_last || report.as_ref().is_some_and(|report| report.done) {
                    return Ok(report);
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LAST_LOOK);
        }
    }
}

fn run_id(noted: &[u8]) -> RunId {
    RunId::from(String::from_utf8_lossy(noted).into_owned())
}
