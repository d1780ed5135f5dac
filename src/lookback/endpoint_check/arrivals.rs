//! Checks whether purchases arrive by webhook: otherwise the lookback creates their passes, minutes later.

use chrono::{DateTime, TimeDelta, Utc};

use super::finding::Finding;
use crate::store::{CreatedVia, Store, StoreError, Subscription, SubscriptionFilter};

/// The newest subscriptions that are read. Some were created in other ways.
const NEWEST: u32 = 20;
/// How many of them count.
const CHECKED: usize = 5;
/// If at least this many were found by the lookback and none came by webhook, it is an error.
const MIN_FOR_ERROR: usize = 3;
/// Older ones say nothing about today.
const RECENT: TimeDelta = TimeDelta::days(3);

pub(super) async fn check(store: &dyn Store, now: DateTime<Utc>) -> Result<Option<Finding>, StoreError> {
    let newest = store
        .subscriptions(&SubscriptionFilter::default(), NEWEST)
        .await?;
    let is_lookback = |one: &&Subscription| one.created_via == CreatedVia::Lookback;
    let counts = |one: &&Subscription| {
        now - one.created_at < RECENT && (is_lookback(one) || one.created_via == CreatedVia::Webhook)
    };
    let newest: Vec<&Subscription> = newest.iter().filter(counts).take(CHECKED).collect();
    let Some(last) = newest.first().copied().filter(is_lookback) else {
        return Ok(None);
    };
    let session = &last.stripe_session_id;
    if newest.len() >= MIN_FOR_ERROR && newest.iter().all(is_lookback) {
        return Ok(Some(Finding::none_arrived(newest.len(), session)));
    }
    Ok(Some(Finding::not_arrived(session)))
}
