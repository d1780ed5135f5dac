//! A sweep reads Stripe's list, and keeps what it holds.

use std::panic::resume_unwind;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::Instrument;

use super::Next;
use super::parts::{Part, Parts, Rest};
use crate::fulfil::Purchase;
use crate::lookback::enqueue_missing::{Candidate, Fulfilled, SessionClass, classify};
use crate::lookback::listing::Listing;
use crate::lookback::{Lookback, LookbackError, SweepRequest, ownership};
use crate::store::{FoundSession, LookbackRun, OpenSession, RunPhase, RunStep, SessionState};
use crate::stripe::CheckoutSession;
use crate::stripe::api::{Account, Page, StripeError};

/// More sessions than this need not be known: a list is in as many parts by then as it can be.
const MOST_KNOWN: u32 = 10_000;

impl Lookback {
    /// Reads Stripe's list, in parts side by side where it is long. While a page is being staged the next ones are on
    /// their way. Where one cannot be read, those on their way are still taken, and the customers of all that was read get
    /// their jobs before the error is returned: one bad page must not keep anybody else's pass back.
    ///
    /// A part of the list that has no end is given up: the run goes on, names it as its error, and proves nothing.
    pub(super) async fn list(
        &self,
        request: &SweepRequest,
        run: &mut LookbackRun,
        end: Instant,
    ) -> Result<Next, LookbackError> {
        let stripe = self.stripe()?.account(request.account.as_deref());
        let mut parts = Parts::of(run);
        let mut pages = run.pages;
        let mut calls = JoinSet::new();
        for part in parts.open().to_vec() {
            call(&mut calls, listing(&stripe, &part, &parts), part);
        }
        let mut failed: Option<LookbackError> = None;
        while let Some(called) = calls.join_next().await {
            let (part, listing, page) = called.unwrap_or_else(|error| resume_unwind(error.into_panic()));
            let mut given_up = None;
            let page = match page {
                Ok(Some(page)) => page,
                Ok(None) => Page::default(),
                Err(error) if error.is_endless_list() => {
                    given_up = Some(error.to_string());
                    Page::default()
                }
                Err(error) => {
                    let error = LookbackError::from(error);
                    if failed
                        .as_ref()
                        .is_none_or(|before| weight(&error) > weight(before))
                    {
                        failed = Some(error);
                    }
                    continue;
                }
            };
            parts.without_payments |= !listing.has_payments();
            if pages == 0 && page.has_more {
                parts.expect(self.records().known_sessions(run, MOST_KNOWN).await?);
            }
            pages += 1;
            let mut next = match parts.listed(&part, &page, pages) {
                Rest::Parts(next) => next,
                Rest::Cycle => {
                    given_up = Some("Stripe's list goes round in circles".to_owned());
                    Vec::new()
                }
            };
            if failed.is_some() || Instant::now() >= end {
                next.clear();
            }
            if let [rest] = &next[..] {
                call(&mut calls, listing, rest.clone());
            } else {
                for part in next {
                    call(&mut calls, self::listing(&stripe, &part, &parts), part);
                }
            }
            if !self.stage(request, run, page, &parts, given_up).await? {
                return Ok(Next::Stop);
            }
        }
        let Some(error) = failed else {
            return Ok(Next::Go);
        };
        // What only waits for its turn at Stripe's limit goes on in a moment.
        if error.put_off().is_none() {
            self.enqueue_staged(run).await?;
        }
        Err(error)
    }

    /// Keeps what a page holds of purchases: of those that have their subscription only that they were there. Of what has
    /// no end yet it is noted, in the same step, whose it may be: who asks for their own is shown it without a listing.
    async fn stage(
        &self,
        request: &SweepRequest,
        run: &mut LookbackRun,
        page: Page<CheckoutSession>,
        parts: &Parts,
        given_up: Option<String>,
    ) -> Result<bool, LookbackError> {
        let account = request.account.as_deref();
        let now = self.clock.now();
        let mut unreadable = page.unreadable + usize::from(given_up.is_some());
        if let Some(error) = &given_up {
            let (run, account) = (&run.id, account);
            tracing::error!(
                run,
                account,
                error,
                "part of Stripe's list cannot be read: the sweep goes on without it"
            );
        }
        let mut found = Vec::with_capacity(page.items.len());
        let (mut open, mut closed) = (Vec::new(), Vec::new());
        self.close_cases_of_refunded(account, page.items.iter()).await?;
        for session in &page.items {
            let note = |purchase: &Purchase| OpenSession {
                session: purchase.session_id.clone(),
                account: request.account.clone(),
                customers: ownership::customer_keys(purchase),
                created_at: session.created.unwrap_or(now),
            };
            let (purchase, is_complete) = match classify(session, account, run.via, self.client_reference) {
                SessionClass::Purchase(purchase) => (purchase, true),
                SessionClass::Incomplete(purchase) => (purchase, false),
                SessionClass::Unpaid(purchase) => {
                    open.push(note(&purchase));
                    continue;
                }
                SessionClass::Refunded(purchase) => {
                    closed.push(purchase.session_id.clone());
                    found.push(Candidate::refunded(
                        &purchase.session_id,
                        ownership::customer_key(&purchase),
                    ));
                    continue;
                }
                SessionClass::Other => {
                    closed.extend(session.id.clone());
                    continue;
                }
                SessionClass::Unreadable => {
                    unreadable += 1;
                    continue;
                }
            };
            open.push(note(&purchase));
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
                closed.push(one.row.session.clone());
            } else if one.is_refunded {
                one.row.state = SessionState::Refunded;
            }
        }
        open.retain(|one| !closed.contains(&one.session));
        let rows: Vec<FoundSession> = found.iter().map(Candidate::row).collect::<Result<_, _>>()?;
        let step = RunStep {
            phase: if parts.is_empty() {
                RunPhase::Gathering
            } else {
                RunPhase::Listing
            },
            cursor: parts.cursor(),
            pages: 1,
            unreadable: unreadable as u64,
            error: given_up.map(|error| format!("stripe_answer: {error}")),
            open,
            closed,
            ..RunStep::at(now)
        };
        self.step(run, step, &rows).await
    }
}

type Called = (Part, Listing, Result<Option<Page<CheckoutSession>>, StripeError>);

/// Asks for the next page of a part, in a task of its own: it comes while another is staged.
fn call(calls: &mut JoinSet<Called>, mut listing: Listing, part: Part) {
    let asked = async move {
        let page = listing.next().await;
        (part, listing, page)
    };
    calls.spawn(asked.in_current_span());
}

fn listing(stripe: &Account, part: &Part, parts: &Parts) -> Listing {
    if parts.without_payments {
        Listing::without_payments(stripe, part.filter())
    } else {
        Listing::new(stripe, part.filter())
    }
}

/// Of several errors the one that says most of what is to be done: nothing helps, something failed, it only has to wait.
fn weight(error: &LookbackError) -> u8 {
    match error {
        error if !error.is_transient() => 2,
        error if error.put_off().is_none() => 1,
        _ => 0,
    }
}
