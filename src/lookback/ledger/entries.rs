//! Where the entries come from: Stripe's lists of sessions, and the store's subscriptions that no session was seen of.

use std::time::Duration;

use super::balance::AccountBalance;
use super::book::{Book, of_subscription};
use super::finding::Finding;
use super::{Options, Progress};
use crate::store::Subscription;
use crate::stripe::CheckoutSession;
use crate::stripe::api::{Account, Client, Pages, SessionFilter, StripeError};

/// How often a page is asked for again after the client itself has given up, where the cause may pass.
const ROUNDS: u32 = 3;
/// The first pause between two rounds; the next is twice as long.
const PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// How many sessions that were not listed are looked up one by one.
const MOST_CHECKS: u32 = 100;
/// Subscriptions read at a time.
const PORTION: u32 = 500;

/// One account's sessions.
pub(super) struct Listing<'a> {
    pub(super) api: Account,
    pub(super) account: Option<&'a str>,
    /// How many accounts were read before it, and how many there are.
    pub(super) begun: usize,
    pub(super) of: usize,
}

/// Enters all of an account's sessions, or as many as can be read.
pub(super) async fn read(book: &mut Book<'_>, listing: &Listing<'_>, tell: &mut impl FnMut(Progress<'_>)) {
    let mut tally = AccountBalance {
        account: listing.account.map(str::to_owned),
        ..AccountBalance::default()
    };
    let failed = read_pages(book, listing, &mut tally, tell).await.err();
    tally.failed = failed;
    book.balance.accounts.push(tally);
}

async fn read_pages(
    book: &mut Book<'_>,
    listing: &Listing<'_>,
    tally: &mut AccountBalance,
    tell: &mut impl FnMut(Progress<'_>),
) -> Result<(), String> {
    let mut pages = listing
        .api
        .sessions(filter(book.options, book.balance.payments_read));
    loop {
        let page = match next(&mut pages).await {
            Ok(Some(page)) => page,
            Ok(None) => return Ok(()),
            Err(error)
                if error.is_about_permission() && book.balance.payments_read && tally.sessions == 0 =>
            {
                book.balance.payments_read = false;
                pages = listing.api.sessions(filter(book.options, false));
                continue;
            }
            Err(error) => return Err(error.to_string()),
        };
        book.balance.unreadable += page.unreadable as u64;
        let mut sessions = page.items;
        complete_line_items(book, listing, &mut sessions).await?;
        let entered = book.enter(tally, &sessions).await;
        entered.map_err(|error| error.to_string())?;
        tell(progress(book, listing, tally));
    }
}

/// The newest first, with what tells the pass and, where the key may read it, the payment.
fn filter(options: &Options, expand_payment: bool) -> SessionFilter {
    SessionFilter {
        created_from: Some(options.from),
        created_before: Some(options.to),
        expand_line_items: true,
        expand_payment,
        ..SessionFilter::default()
    }
}

/// The next page. A person waits for it, and what was read is too much to throw away for a passing fault.
async fn next<T>(pages: &mut Pages<T>) -> Result<Option<crate::stripe::api::Page<T>>, StripeError> {
    let mut round = 1;
    loop {
        match pages.next().await {
            Err(error) if error.is_transient() && round < ROUNDS => {
                let pause = error.retry_after().unwrap_or(PAUSE * 2_u32.pow(round - 1));
                tracing::warn!(%error, "a page of Stripe's sessions did not come; trying again");
                tokio::time::sleep(pause.min(LONGEST_PAUSE)).await;
                round += 1;
            }
            answer => return answer,
        }
    }
}

/// A list carries ten line items of a session; where these do not tell the pass, the session is read alone.
async fn complete_line_items(
    book: &Book<'_>,
    listing: &Listing<'_>,
    sessions: &mut [CheckoutSession],
) -> Result<(), String> {
    for session in sessions {
        if !book.needs_all_line_items(session, listing.account) {
            continue;
        }
        let id = session.id.as_deref().unwrap_or_default();
        let whole = listing.api.session(id).await.map_err(|error| error.to_string())?;
        if let Some(whole) = whole {
            session.price_ids = whole.price_ids;
        }
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a share to be shown")]
fn progress<'a>(book: &Book<'_>, listing: &Listing<'a>, tally: &AccountBalance) -> Progress<'a> {
    let (from, to) = (book.options.from, book.options.to);
    let all = (to - from).num_milliseconds().max(1) as f64;
    let read = tally.back_to.map_or(0, |oldest| (to - oldest).num_milliseconds()) as f64;
    let share = (listing.begun as f64 + (read / all).clamp(0.0, 1.0)) / listing.of.max(1) as f64;
    Progress {
        account: listing.account,
        sessions: book.balance.sessions,
        share,
    }
}

/// Finds subscriptions of this span whose session was not listed. Not where a list broke off: what it did not come to
/// would all seem unknown.
pub(super) async fn look_for_strangers(book: &mut Book<'_>, client: &Client) {
    if book
        .balance
        .accounts
        .iter()
        .any(|account| account.failed.is_some())
    {
        return;
    }
    let mut checks = MOST_CHECKS;
    let mut last: Option<Subscription> = None;
    loop {
        let Options { from, to, .. } = *book.options;
        let page = match book
            .store
            .subscriptions_begun(from, to, last.as_ref(), PORTION)
            .await
        {
            Ok(page) => page,
            Err(error) => {
                book.balance.failed = Some(error.to_string());
                return;
            }
        };
        for subscription in &page {
            let session = &subscription.stripe_session_id;
            if book.is_listed(session) || !book.counts(Some(&subscription.tenant)) {
                continue;
            }
            if let Some(finding) = stranger(book, client, subscription, &mut checks).await {
                book.balance.unknown_session.add(finding);
            }
        }
        last = page.into_iter().next_back();
        if last.is_none() {
            return;
        }
    }
}

/// `None`: Stripe has the session after all.
async fn stranger(
    book: &Book<'_>,
    client: &Client,
    subscription: &Subscription,
    checks: &mut u32,
) -> Option<Finding> {
    let session = &subscription.stripe_session_id;
    let tenant = book
        .assessor
        .tenants()
        .iter()
        .find(|tenant| tenant.id == subscription.tenant);
    let account = tenant.and_then(|tenant| tenant.stripe_account.clone());
    let of_live_mode = session.starts_with("cs_live_");
    let has_mode = of_live_mode || session.starts_with("cs_test_");
    let why = match book.options.livemode {
        Some(live) if has_mode && of_live_mode != live => "it is of the other mode than the key".to_owned(),
        _ if *checks == 0 => "Stripe does not list it".to_owned(),
        _ => {
            *checks -= 1;
            match client.account(account.as_deref()).session(session).await {
                Ok(Some(_)) => return None,
                Ok(None) => "Stripe does not know it in this account".to_owned(),
                Err(error) => format!("Stripe does not list it, and asked for it: {error}"),
            }
        }
    };
    Some(Finding {
        account,
        why: Some(why),
        ..of_subscription(subscription)
    })
}
