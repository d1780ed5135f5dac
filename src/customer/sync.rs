//! The sync that a customer requests with the button, and the quiet one that a visit of the page starts.

use std::time::Duration;

use tokio::time::Instant;

use super::{CustomerError, Customers, sync_request};
use crate::identity::Customer;
use crate::lookback::{Report, RunId};
use crate::queue::{Caller, Lookup, RateLimit};
use crate::store::{CreatedVia, KnownTenant};

/// How often a run is polled: the pause doubles from the first to the last.
const FIRST_LOOK: Duration = Duration::from_millis(50);
const LAST_LOOK: Duration = Duration::from_millis(500);
/// A customer's visits start one sync in this time.
const BETWEEN_VISITS: Duration = Duration::from_mins(1);
/// And at most so many for all tenants together, because all customers share the calls of Stripe.
const VISITS: RateLimit = RateLimit {
    name: "visits",
    per_minute: 6,
};
/// How long an unfinished sync is remembered, so that the customer's next request joins it. A page asks again after two to
/// fifteen seconds.
const OWED: Duration = Duration::from_secs(30);
/// If the process that starts one dies, another one starts it after this time.
const LEASE: Duration = Duration::from_secs(10);

/// The state of a visit's sync.
#[derive(Debug)]
pub enum QuietSync {
    Started(RunId),
    /// Another process is starting it.
    Starting,
    /// The customer visits too many tenants a minute: none is started.
    OverLimit,
}

impl Customers {
    /// Enqueues a sync of the customer at this tenant, or joins the one that is running, and waits `patience` for its report. A
    /// report that is not `done` says how far it is. After such a report the next call reports on the same sync, even if it has
    /// ended: a new one would report its passes as existing ones.
    ///
    /// # Errors
    /// [`CustomerError`]. The sync may be enqueued nevertheless, and goes on by itself.
    pub async fn sync(
        &self,
        customer: &Customer,
        tenant: &KnownTenant,
        patience: Duration,
    ) -> Result<Option<Report>, CustomerError> {
        let give_up = Instant::now() + patience;
        let key = format!("owed:{}:{}", tenant.slug, Caller::user(&customer.id));
        let owed = self.single_flight.cached(&key).await?;
        let run = match &owed {
            Some(run) => run_id(run),
            None => self.start_sync(customer, tenant, CreatedVia::SelfService).await?,
        };
        let report = self.wait_for(&run, give_up).await?;
        match &report {
            Some(report) if !report.done => {
                self.single_flight
                    .publish(&key, run.as_str().as_bytes(), OWED)
                    .await?;
            }
            _ if owed.is_some() => self.single_flight.forget(&key).await?,
            _ => {}
        }
        Ok(report)
    }

    /// The quiet sync of a visit: at most one a minute for each customer and tenant; calls within the minute report on that one.
    /// `None`: it has not started, or there is no report yet.
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
            match self.start_quiet_sync(customer, tenant).await? {
                QuietSync::Started(run) => return self.wait_for(&run, give_up).await,
                QuietSync::Starting if Instant::now() + FIRST_LOOK < give_up => {
                    tokio::time::sleep(FIRST_LOOK).await;
                }
                QuietSync::Starting | QuietSync::OverLimit => return Ok(None),
            }
        }
    }

    /// Starts a quiet sync without waiting for its report.
    ///
    /// # Errors
    /// As [`Self::sync`].
    pub async fn start_quiet_sync(
        &self,
        customer: &Customer,
        tenant: &KnownTenant,
    ) -> Result<QuietSync, CustomerError> {
        let key = format!("visit:{}:{}", tenant.slug, Caller::user(&customer.id));
        match self.single_flight.lookup(&key, LEASE).await? {
            Lookup::Known(run) => Ok(QuietSync::Started(run_id(&run))),
            Lookup::InFlight => Ok(QuietSync::Starting),
            Lookup::Fetch => {
                let started = async {
                    if self.limit(customer, VISITS).await?.is_some() {
                        return Ok(QuietSync::OverLimit);
                    }
                    let run = self.start_sync(customer, tenant, CreatedVia::Lookback);
                    run.await.map(QuietSync::Started)
                };
                let started = started.await;
                match &started {
                    Ok(QuietSync::Started(run)) => {
                        let run = run.as_str().as_bytes();
                        self.single_flight.publish(&key, run, BETWEEN_VISITS).await?;
                    }
                    _ => self.single_flight.forget(&key).await?,
                }
                started
            }
        }
    }

    async fn start_sync(
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

    /// The report of a run when it is done, or at `give_up`. The run is brought up to date only when it may be over: that
    /// takes many statements.
    async fn wait_for(&self, run: &RunId, give_up: Instant) -> Result<Option<Report>, CustomerError> {
        let mut pause = FIRST_LOOK;
        loop {
            let is_last = Instant::now() + pause > give_up;
            if is_last || self.lookback.may_be_over(run).await? {
                self.lookback.update(run).await?;
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
