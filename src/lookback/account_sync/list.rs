//! Reads Stripe's list of sessions and stages the purchases.

use serde::{Deserialize, Serialize};

use super::{Next, continue_if};
use crate::lookback::cycle::CycleDetector;
use crate::lookback::enqueue_missing::{Candidate, Fulfilled, Payment, SessionClass, classify};
use crate::lookback::listing::Listing;
use crate::lookback::{AccountSyncRequest, Lookback, LookbackError, ownership};
use crate::queue::QueueError;
use crate::store::{FoundSession, LookbackRun, PendingSession, RunPhase, RunStep, SessionState};
use crate::stripe::CheckoutSession;
use crate::stripe::api::{Page, SessionFilter};

/// How far Stripe's list was read: the cursor of a run that lists.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Progress {
    /// The last session that was read.
    after: Option<String>,
    cycle: CycleDetector,
    /// Whether the key may read payments. `None`: the first page shows it.
    has_payments: Option<bool>,
}

impl Lookback {
    /// Reads the next page of Stripe's list and stages its purchases. If the page fails, the customers staged so
    /// far are enqueued, so that one bad page delays nobody else.
    ///
    /// A list without an end is abandoned: the run continues without the rest, reports an error, and raises no
    /// watermark.
    pub(super) async fn list(
        &self,
        request: &AccountSyncRequest,
        run: &mut LookbackRun,
    ) -> Result<Next, LookbackError> {
        // Another version of Surepass stored something else: start from the beginning.
        let mut progress: Progress = serde_json::from_str(&run.cursor).unwrap_or_default();
        let filter = SessionFilter {
            created_from: Some(run.from),
            created_before: Some(run.to),
            starting_after: progress.after.take(),
            expand_line_items: true,
            ..SessionFilter::default()
        };
        let stripe = self.stripe()?.account(request.account.as_deref());
        let mut listing = Listing::new(&stripe, &filter, progress.has_payments);
        let (page, mut abandoned) = match listing.next().await {
            Ok(page) => (page.unwrap_or_default(), None),
            Err(error) if error.is_endless_list() => (Page::default(), Some(error.to_string())),
            Err(error) => {
                let error = LookbackError::from(error);
                // A call that only waits for the Stripe rate limit continues in a moment.
                if error.put_off().is_none() {
                    self.enqueue_staged(run).await?;
                }
                return Err(error);
            }
        };
        progress.has_payments = Some(listing.has_payments());
        progress.after = page.last_id.clone().filter(|_| page.has_more);
        if let Some(last) = &progress.after
            && progress.cycle.is_cycle(last)
        {
            progress.after = None;
            abandoned = Some("Stripe's list repeats itself".to_owned());
        }
        let is_current = self.store_page(request, run, page, &progress, abandoned).await?;
        Ok(continue_if(is_current))
    }

    /// Stages a page's purchases. Also stores its pending sessions with the keys of possible owners, so that
    /// a customer's own sync finds them without a list.
    async fn store_page(
        &self,
        request: &AccountSyncRequest,
        run: &mut LookbackRun,
        page: Page<CheckoutSession>,
        progress: &Progress,
        abandoned: Option<String>,
    ) -> Result<bool, LookbackError> {
        let account = request.account.as_deref();
        let now = self.clock.now();
        let mut unreadable = page.unreadable + usize::from(abandoned.is_some());
        if let Some(error) = &abandoned {
            let (run, account) = (&run.id, account);
            tracing::error!(
                run,
                account,
                error,
                "could not read the rest of Stripe's list; the account sync continues without it"
            );
        }
        let mut found = Vec::with_capacity(page.items.len());
        let (mut pending, mut resolved) = (Vec::new(), Vec::new());
        self.close_cases_of_refunded(account, page.items.iter()).await?;
        for session in &page.items {
            let (purchase, payment) = match classify(session, account, run.via, self.client_reference) {
                SessionClass::Purchase(purchase, payment) => (*purchase, payment),
                SessionClass::Other => {
                    resolved.extend(session.id.clone());
                    continue;
                }
                SessionClass::Unreadable => {
                    unreadable += 1;
                    continue;
                }
            };
            if payment == Payment::Refunded {
                resolved.push(purchase.session_id.clone());
            } else {
                pending.push(PendingSession {
                    session: purchase.session_id.clone(),
                    account: request.account.clone(),
                    customers: ownership::customer_keys(&purchase),
                    created_at: session.created.unwrap_or(now),
                });
            }
            if payment != Payment::Unpaid {
                found.push(Candidate::listed(
                    ownership::customer_key(&purchase),
                    purchase,
                    payment,
                ));
            }
        }
        let sessions: Vec<&str> = found.iter().map(|one| one.row.session.as_str()).collect();
        let purchases = found.iter().filter_map(|one| one.purchase.as_ref());
        let fulfilled: Fulfilled = self.fulfilled(&sessions, purchases).await?;
        for one in &mut found {
            if fulfilled.contains(&one.row.session, one.purchase.as_ref()) {
                one.row.state = SessionState::Existing;
                resolved.push(one.row.session.clone());
            } else if one.is_refunded {
                one.row.state = SessionState::Refunded;
            }
        }
        pending.retain(|one| !resolved.contains(&one.session));
        let rows: Vec<FoundSession> = found.iter().map(Candidate::row).collect::<Result<_, _>>()?;
        let (phase, cursor) = match &progress.after {
            Some(_) => {
                let cursor = serde_json::to_string(progress).map_err(QueueError::from)?;
                (RunPhase::Listing, cursor)
            }
            None => (RunPhase::Gathering, String::new()),
        };
        let step = RunStep {
            phase,
            cursor,
            pages: 1,
            unreadable: unreadable as u64,
            error: abandoned.map(|error| format!("stripe_answer: {error}")),
            pending,
            resolved,
            ..RunStep::at(now)
        };
        self.step(run, step, &rows).await
    }
}
