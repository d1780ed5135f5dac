//! Reads Stripe's list of sessions and stages the purchases.

use std::panic::resume_unwind;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::Instrument;

use super::Next;
use super::range_split::{RangeSplit, Remaining, TimeRange};
use crate::fulfil::Purchase;
use crate::lookback::enqueue_missing::{Candidate, Fulfilled, SessionClass, classify};
use crate::lookback::listing::Listing;
use crate::lookback::{AccountSyncRequest, Lookback, LookbackError, ownership};
use crate::store::{FoundSession, LookbackRun, PendingSession, RunPhase, RunStep, SessionState};
use crate::stripe::CheckoutSession;
use crate::stripe::api::{Account, Page, StripeError};

/// Counting stops here: with more sessions the list is split as much as it can be.
const MAX_COUNTED: u32 = 10_000;

impl Lookback {
    /// Reads Stripe's list, split into parallel ranges if it is long. The next pages are fetched while one is
    /// being stored. If a page fails, the pages in flight are still stored and their customers enqueued, so
    /// one bad page delays nobody else.
    ///
    /// A range without an end is abandoned: the run continues without it, reports an error, and raises no
    /// watermark.
    pub(super) async fn list(
        &self,
        request: &AccountSyncRequest,
        run: &mut LookbackRun,
        end: Instant,
    ) -> Result<Next, LookbackError> {
        let stripe = self.stripe()?.account(request.account.as_deref());
        let mut ranges = RangeSplit::of(run);
        let mut pages = run.pages;
        let mut calls = JoinSet::new();
        for range in ranges.open().to_vec() {
            spawn_call(&mut calls, listing(&stripe, &range, &ranges), range);
        }
        let mut failed: Option<LookbackError> = None;
        while let Some(called) = calls.join_next().await {
            let (range, listing, page) = called.unwrap_or_else(|error| resume_unwind(error.into_panic()));
            let mut abandoned = None;
            let page = match page {
                Ok(Some(page)) => page,
                Ok(None) => Page::default(),
                Err(error) if error.is_endless_list() => {
                    abandoned = Some(error.to_string());
                    Page::default()
                }
                Err(error) => {
                    let error = LookbackError::from(error);
                    if failed
                        .as_ref()
                        .is_none_or(|before| urgency(&error) > urgency(before))
                    {
                        failed = Some(error);
                    }
                    continue;
                }
            };
            ranges.without_payments |= !listing.has_payments();
            if pages == 0 && page.has_more {
                ranges.set_expected(self.records().known_sessions(run, MAX_COUNTED).await?);
            }
            pages += 1;
            let mut next = match ranges.add_page(&range, &page, pages) {
                Remaining::Ranges(next) => next,
                Remaining::Cycle => {
                    abandoned = Some("Stripe's list repeats itself".to_owned());
                    Vec::new()
                }
            };
            if failed.is_some() || Instant::now() >= end {
                next.clear();
            }
            if let [rest] = &next[..] {
                spawn_call(&mut calls, listing, rest.clone());
            } else {
                for range in next {
                    spawn_call(&mut calls, self::listing(&stripe, &range, &ranges), range);
                }
            }
            if !self.store_page(request, run, page, &ranges, abandoned).await? {
                return Ok(Next::Stop);
            }
        }
        let Some(error) = failed else {
            return Ok(Next::Go);
        };
        // A call that only waits for the Stripe rate limit continues in a moment.
        if error.put_off().is_none() {
            self.enqueue_staged(run).await?;
        }
        Err(error)
    }

    /// Stages a page's purchases. Also stores its pending sessions with the keys of possible owners, so that
    /// a customer's own sync finds them without a list.
    async fn store_page(
        &self,
        request: &AccountSyncRequest,
        run: &mut LookbackRun,
        page: Page<CheckoutSession>,
        ranges: &RangeSplit,
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
                "could not read a part of Stripe's list; the account sync continues without it"
            );
        }
        let mut found = Vec::with_capacity(page.items.len());
        let (mut pending, mut resolved) = (Vec::new(), Vec::new());
        self.close_cases_of_refunded(account, page.items.iter()).await?;
        for session in &page.items {
            let note = |purchase: &Purchase| PendingSession {
                session: purchase.session_id.clone(),
                account: request.account.clone(),
                customers: ownership::customer_keys(purchase),
                created_at: session.created.unwrap_or(now),
            };
            let (purchase, is_complete) = match classify(session, account, run.via, self.client_reference) {
                SessionClass::Purchase(purchase) => (purchase, true),
                SessionClass::Incomplete(purchase) => (purchase, false),
                SessionClass::Unpaid(purchase) => {
                    pending.push(note(&purchase));
                    continue;
                }
                SessionClass::Refunded(purchase) => {
                    resolved.push(purchase.session_id.clone());
                    found.push(Candidate::refunded(
                        &purchase.session_id,
                        ownership::customer_key(&purchase),
                    ));
                    continue;
                }
                SessionClass::Other => {
                    resolved.extend(session.id.clone());
                    continue;
                }
                SessionClass::Unreadable => {
                    unreadable += 1;
                    continue;
                }
            };
            pending.push(note(&purchase));
            let (session, key) = (purchase.session_id.clone(), ownership::customer_key(&purchase));
            let purchase = Some(purchase).filter(|_| is_complete);
            found.push(Candidate::new(&session, key, purchase));
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
        let step = RunStep {
            phase: if ranges.is_empty() {
                RunPhase::Gathering
            } else {
                RunPhase::Listing
            },
            cursor: ranges.cursor(),
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

type PageCall = (
    TimeRange,
    Listing,
    Result<Option<Page<CheckoutSession>>, StripeError>,
);

/// Fetches the next page of a range in a task, while another page is stored.
fn spawn_call(calls: &mut JoinSet<PageCall>, mut listing: Listing, range: TimeRange) {
    let asked = async move {
        let page = listing.next().await;
        (range, listing, page)
    };
    calls.spawn(asked.in_current_span());
}

fn listing(stripe: &Account, range: &TimeRange, ranges: &RangeSplit) -> Listing {
    if ranges.without_payments {
        Listing::without_payments(stripe, range.filter())
    } else {
        Listing::new(stripe, range.filter())
    }
}

/// Of several errors, returns the most urgent: permanent, then failed, then only waiting.
fn urgency(error: &LookbackError) -> u8 {
    match error {
        error if !error.is_transient() => 2,
        error if error.put_off().is_none() => 1,
        _ => 0,
    }
}
