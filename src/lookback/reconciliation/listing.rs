//! Reads Stripe's lists of sessions, and the store's subscriptions whose session was not listed.

use std::time::Duration;

use super::Options;
use super::balance::AccountBalance;
use super::finding::Finding;
use super::reconciler::{Reconciler, subscription_finding};
use crate::lookback::listing::Listing;
use crate::store::Subscription;
use crate::stripe::CheckoutSession;
use crate::stripe::api::{Account, Client, Page, SessionFilter, StripeError};

/// Attempts for a page after the client itself has given up on a transient error.
const MAX_ATTEMPTS: u32 = 3;
/// The first pause between two attempts. It doubles each time.
const PAUSE: Duration = Duration::from_secs(2);
const MAX_PAUSE: Duration = Duration::from_mins(1);
/// The most unlisted sessions that are looked up one by one.
const MAX_LOOKUPS: u32 = 100;
/// Subscriptions in one query.
const BATCH_SIZE: u32 = 500;

/// Adds all sessions of an account, up to the first error. Calls `on_page` after each page.
pub(super) async fn read(
    reconciler: &mut Reconciler<'_>,
    stripe: &Account,
    mut on_page: impl FnMut(&AccountBalance),
) {
    let mut tally = AccountBalance {
        account: stripe.id().map(str::to_owned),
        ..AccountBalance::default()
    };
    tally.failed = read_pages(reconciler, stripe, &mut tally, &mut on_page)
        .await
        .err();
    reconciler.balance.accounts.push(tally);
}

async fn read_pages(
    reconciler: &mut Reconciler<'_>,
    stripe: &Account,
    tally: &mut AccountBalance,
    on_page: &mut impl FnMut(&AccountBalance),
) -> Result<(), String> {
    let filter = SessionFilter {
        created_from: Some(reconciler.options.from),
        created_before: Some(reconciler.options.to),
        expand_line_items: true,
        ..SessionFilter::default()
    };
    // A key that may not read payments may not read those of the next account either.
    let has_payments = (!reconciler.balance.payments_read).then_some(false);
    let mut listing = Listing::new(stripe, &filter, has_payments);
    while let Some(mut page) = next(&mut listing).await.map_err(|error| error.to_string())? {
        reconciler.balance.payments_read = listing.has_payments();
        reconciler.balance.unreadable += page.unreadable as u64;
        complete_line_items(reconciler, stripe, &mut page.items).await?;
        let added = reconciler.add_page(tally, &page.items).await;
        added.map_err(|error| error.to_string())?;
        on_page(tally);
    }
    Ok(())
}

/// Fetches the next page. Retries, since a transient error must not discard all that was read.
async fn next(listing: &mut Listing) -> Result<Option<Page<CheckoutSession>>, StripeError> {
    let mut round = 1;
    loop {
        match listing.next().await {
            Err(error) if error.is_transient() && round < MAX_ATTEMPTS => {
                let pause = error.retry_after().unwrap_or(PAUSE * 2_u32.pow(round - 1));
                tracing::warn!(%error, "could not fetch a page of Stripe's sessions; retrying");
                tokio::time::sleep(pause.min(MAX_PAUSE)).await;
                round += 1;
            }
            answer => return answer,
        }
    }
}

/// A list contains only ten line items of a session. If these do not name the pass, the session is retrieved.
async fn complete_line_items(
    reconciler: &Reconciler<'_>,
    stripe: &Account,
    sessions: &mut [CheckoutSession],
) -> Result<(), String> {
    for session in sessions {
        if reconciler.needs_all_line_items(session, stripe.id()) {
            let id = session.id.as_deref().unwrap_or_default();
            let whole = stripe.session(id).await.map_err(|error| error.to_string())?;
            if let Some(whole) = whole {
                session.price_ids = whole.price_ids;
            }
        }
    }
    Ok(())
}

/// Finds subscriptions of this time range whose session was not listed. Skipped after an incomplete list,
/// which would make all of them look unknown.
pub(super) async fn find_unknown_sessions(reconciler: &mut Reconciler<'_>, client: &Client) {
    let accounts = &reconciler.balance.accounts;
    if accounts.iter().any(|account| account.failed.is_some()) {
        return;
    }
    let mut checks = MAX_LOOKUPS;
    let mut last: Option<Subscription> = None;
    loop {
        let Options { from, to, .. } = *reconciler.options;
        let page = match reconciler
            .store
            .subscriptions()
            .begun(from, to, last.as_ref(), BATCH_SIZE)
            .await
        {
            Ok(page) => page,
            Err(error) => {
                reconciler.balance.failed = Some(error.to_string());
                return;
            }
        };
        for subscription in &page {
            let session = &subscription.stripe_session_id;
            if reconciler.is_listed(session) || !reconciler.counts(Some(&subscription.tenant)) {
                continue;
            }
            if let Some(finding) = unknown_session(reconciler, client, subscription, &mut checks).await {
                reconciler.balance.unknown_session.add(finding);
            }
        }
        last = page.into_iter().next_back();
        if last.is_none() {
            return;
        }
    }
}

/// `None`: Stripe knows the session after all.
async fn unknown_session(
    reconciler: &Reconciler<'_>,
    client: &Client,
    subscription: &Subscription,
    checks: &mut u32,
) -> Option<Finding> {
    let session = &subscription.stripe_session_id;
    let tenant = reconciler
        .rules
        .tenants()
        .iter()
        .find(|tenant| tenant.id == subscription.tenant);
    let account = tenant.and_then(|tenant| tenant.stripe_account.clone());
    let of_live_mode = session.starts_with("cs_live_");
    let has_mode = of_live_mode || session.starts_with("cs_test_");
    let why = match reconciler.options.livemode {
        Some(live) if has_mode && of_live_mode != live => {
            "it belongs to the other mode (live or test) than the key".to_owned()
        }
        _ if *checks == 0 => "Stripe does not list this session".to_owned(),
        _ => {
            *checks -= 1;
            match client.account(account.as_deref()).session(session).await {
                Ok(Some(_)) => return None,
                Ok(None) => "this account has no such session at Stripe".to_owned(),
                Err(error) => {
                    format!("Stripe does not list this session, and returned when asked for it: {error}")
                }
            }
        }
    };
    Some(Finding {
        account,
        why: Some(why),
        ..subscription_finding(subscription)
    })
}
