//! The ledger: what Stripe was paid for against what the store holds.
//!
//! It proves that nothing is lost, so it trusts nobody's word for it: it lists the accounts' Checkout Sessions, looks up
//! their subscriptions, and asks neither the queue nor what the lookback has noted. Nothing is written.
//!
//! Memory stays flat: a page of sessions at a time, [`MOST_FINDINGS`] of each kind of finding, and eight bytes for
//! each session that was listed.

mod balance;
mod book;
mod cases;
mod compare;
mod delay;
mod entries;
mod finding;
mod owner;

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::config::ClientReference;
use crate::fulfil::Assessor;
use crate::store::{Store, StoreError, UnmatchedPolicy};
use crate::stripe::api::Client;

use book::Book;
pub use delay::{Delays, Layer, Worst};
pub use finding::{Difference, Finding, Findings};

pub use balance::{AccountBalance, Balance};

/// How many findings of a kind are kept with their ids; beyond that they are counted.
pub const MOST_FINDINGS: usize = 10_000;

/// What to reconcile.
#[derive(Debug, Clone)]
pub struct Options {
    /// Sessions created from here
    pub from: DateTime<Utc>,
    /// to here, exclusive: now.
    pub to: DateTime<Utc>,
    /// A purchase that was paid less than so long ago may still be on its way.
    pub grace: Duration,
    /// Only this tenant's, by its slug.
    pub tenant: Option<String>,
    /// The key's mode: true for live, false for test, `None` where it does not say.
    pub livemode: Option<bool>,
    /// What a `client_reference_id` is set to be.
    pub client_reference: ClientReference,
    /// `[fulfil] unmatched`.
    pub unmatched: UnmatchedPolicy,
}

/// Why there is no ledger at all. What Stripe or the store refuses later on stands in [`AccountBalance::failed`].
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error("no tenant has the slug `{0}`: `surepass catalog list` shows them")]
    UnknownTenant(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How far the reading has come.
#[derive(Debug, Clone, Copy)]
pub struct Progress<'a> {
    /// `None`: the key's own account.
    pub account: Option<&'a str>,
    /// Sessions read so far, of all accounts.
    pub sessions: u64,
    /// How much of the work is done, 0 to 1: an account's listing goes back in time, and each account counts alike.
    pub share: f64,
}

/// Reads Stripe and the store, and draws up the balance. `tell` is called after each page.
///
/// An account that cannot be read to its end does not stop the others: the balance says that it is not complete.
///
/// # Errors
/// [`LedgerError`].
pub async fn reconcile(
    client: &Client,
    store: &dyn Store,
    options: Options,
    mut tell: impl FnMut(Progress<'_>),
) -> Result<Balance, LedgerError> {
    let assessor = Assessor::read(store, options.livemode)
        .await?
        .with_policy(options.unmatched);
    let only = options.tenant.as_deref().map(|slug| {
        let found = assessor.tenants().iter().find(|tenant| tenant.slug == slug);
        found.ok_or_else(|| LedgerError::UnknownTenant(slug.to_owned()))
    });
    let only = only.transpose()?;
    let accounts = match only {
        Some(tenant) => vec![tenant.stripe_account.clone()],
        None => super::accounts(assessor.tenants()),
    };
    let mut book = Book::open(&assessor, store, &options, only.map(|tenant| tenant.id.as_str()));
    for (nth, account) in accounts.iter().enumerate() {
        let listing = entries::Listing {
            api: client.account(account.as_deref()),
            account: account.as_deref(),
            begun: nth,
            of: accounts.len(),
        };
        entries::read(&mut book, &listing, &mut tell).await;
    }
    entries::look_for_strangers(&mut book, client).await;
    book.enter_cases().await?;
    Ok(book.close())
}
