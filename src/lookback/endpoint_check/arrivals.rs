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
/// What the lookback found sooner after the checkout began says nothing: its webhook may have been on its way.
const LATE: TimeDelta = TimeDelta::minutes(5);

pub(super) async fn check(store: &Store, now: DateTime<Utc>) -> Result<Option<Finding>, StoreError> {
    let newest = store
        .subscriptions()
        .list(&SubscriptionFilter::default(), NEWEST)
        .await?;
    let is_lookback = |one: &&Subscription| one.created_via == CreatedVia::Lookback;
    let counts = |one: &&Subscription| {
        let is_late = one.created_at - one.start_date > LATE;
        let tells = one.created_via == CreatedVia::Webhook || (is_lookback(one) && is_late);
        tells && now - one.created_at < RECENT
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
