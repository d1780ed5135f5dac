//! Reconciles Stripe's paid sessions with the store's subscriptions.
//!
//! This is the proof that nothing is lost, so it uses only primary data: the accounts' Checkout Sessions and
//! the subscriptions. It reads neither the queue nor the lookback's records, and writes nothing.
//!
//! Memory is bounded: one page of sessions, [`MAX_LISTED`] findings of each kind, and eight bytes for each
//! listed session and each delay.

mod balance;
mod cases;
mod compare;
mod delay;
mod finding;
mod listing;
mod owner;
mod reconciler;

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::config::ClientReference;
use crate::fulfil::FulfilmentRules;
use crate::store::{Store, StoreError, UnmatchedPolicy};
use crate::stripe::api::Client;

pub use delay::{Delays, Layer, Worst};
pub use finding::{Difference, Finding, Findings};
use reconciler::Reconciler;

pub use balance::{AccountBalance, Balance};

/// The most findings of a kind that are kept. Further ones are only counted.
pub const MAX_LISTED: usize = 10_000;

/// What to reconcile.
#[derive(Debug, Clone)]
pub struct Options {
    /// Sessions created from here
    pub from: DateTime<Utc>,
    /// to here, exclusive: now.
    pub to: DateTime<Utc>,
    /// A purchase that was paid less than this ago may still be in flight.
    pub grace: Duration,
    /// Only the tenant with this slug.
    pub tenant: Option<String>,
    /// The key's mode: true for live, false for test, `None` if unknown.
    pub livemode: Option<bool>,
    /// What a `client_reference_id` contains.
    pub client_reference: ClientReference,
    /// `[fulfil] unmatched`.
    pub unmatched: UnmatchedPolicy,
}

/// Why there is no result. Later errors are in [`AccountBalance::failed`].
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    #[error("no tenant has the slug `{0}`: `surepass catalog list` shows the tenants")]
    UnknownTenant(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The progress of a reconciliation.
#[derive(Debug, Clone, Copy)]
pub struct Progress<'a> {
    /// `None`: the key's own account.
    pub account: Option<&'a str>,
    /// Sessions read so far in all accounts.
    pub sessions: u64,
    /// The share of the work that is done, 0 to 1. Each account counts the same.
    pub share: f64,
}

#[expect(clippy::cast_precision_loss, reason = "a progress bar")]
fn share_done(options: &Options, nth: usize, of: usize, back_to: Option<DateTime<Utc>>) -> f64 {
    let all = (options.to - options.from).num_milliseconds().max(1) as f64;
    let read = back_to.map_or(0, |oldest| (options.to - oldest).num_milliseconds()) as f64;
    (nth as f64 + (read / all).clamp(0.0, 1.0)) / of.max(1) as f64
}

/// Reads Stripe and the store, and compares. Calls `on_progress` after each page.
///
/// If an account cannot be read completely the others are still read, and the result is marked as incomplete.
///
/// # Errors
/// [`ReconcileError`].
pub async fn reconcile(
    client: &Client,
    store: &Store,
    options: Options,
    mut on_progress: impl FnMut(Progress<'_>),
) -> Result<Balance, ReconcileError> {
    let rules = FulfilmentRules::read(store, options.livemode)
        .await?
        .with_policy(options.unmatched);
    let only = options.tenant.as_deref().map(|slug| {
        let found = rules.tenants().iter().find(|tenant| tenant.slug == slug);
        found.ok_or_else(|| ReconcileError::UnknownTenant(slug.to_owned()))
    });
    let only = only.transpose()?;
    let accounts = match only {
        Some(tenant) => vec![tenant.stripe_account.clone()],
        None => super::accounts(rules.tenants()),
    };
    let mut reconciler = Reconciler::new(&rules, store, &options, only.map(|tenant| tenant.id.as_str()));
    let mut sessions = 0;
    for (nth, account) in accounts.iter().enumerate() {
        let stripe = client.account(account.as_deref());
        let before = sessions;
        listing::read(&mut reconciler, &stripe, |tally| {
            sessions = before + tally.sessions;
            on_progress(Progress {
                account: account.as_deref(),
                sessions,
                share: share_done(&options, nth, accounts.len(), tally.back_to),
            });
        })
        .await;
    }
    listing::find_unknown_sessions(&mut reconciler, client).await;
    reconciler.add_open_cases().await?;
    Ok(reconciler.finish())
}
