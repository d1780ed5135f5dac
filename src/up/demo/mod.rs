//! Purchases played against the running system through its real webhook endpoint, each with the outcome that is right for it.

mod harness;
mod lost_webhooks;
mod scenes;
mod shared_account;

use std::sync::Arc;
use std::time::Instant;

use super::layout::{DemoLayout, Layout};
use crate::config::Settings;
use crate::store::{Store, catalog};
use harness::Harness;

/// Why a scene could not be played.
type DemoError = Box<dyn std::error::Error + Send + Sync>;

/// Loads the sample tenant and its passes, and two tenants that share an account.
pub(super) async fn import_catalog(store: &Store) -> Result<(), DemoError> {
    let sample = catalog::Catalog::parse(include_str!("../../../config/catalog.example.toml"))?;
    store.catalog().import(&sample.tenants, &sample.secrets).await?;
    shared_account::import(store).await
}

/// The result of the demo.
pub(super) struct Played {
    /// Every outcome was the right one.
    pub(super) right: bool,
    /// The address of a page on which a person can buy a pass by hand.
    pub(super) page: String,
}

/// What came out of a scene.
struct Outcome {
    text: String,
    right: bool,
}

/// Plays all scenes and prints the outcome of each.
pub(super) async fn play(
    client: &reqwest::Client,
    layout: &Layout,
    demo: &DemoLayout,
    store: &Arc<Store>,
    settings: &Settings,
) -> Result<Played, DemoError> {
    let demo = Harness::new(client, layout, demo, store, settings)?;
    let mut tally = Tally::default();
    println!();
    // The first purchase opens connections and reads the catalog.
    tally.add("a pass of 10 classes", demo.ten_classes()).await?;
    tally.add("another one", demo.ten_classes()).await?;
    tally
        .add("the same event 8 times at once", demo.duplicates())
        .await?;
    tally
        .add("two different events of one session", demo.second_event())
        .await?;
    tally
        .add("late: paid three days ago, the webhook comes now", demo.late())
        .await?;
    tally
        .add("a drop-in class; the buyer is only an email", demo.by_email())
        .await?;
    tally
        .add(
            "a guest's purchase, claimed by signing in later",
            demo.claimed_later(),
        )
        .await?;
    tally
        .add(
            "metadata of an older site: other names, no type",
            demo.older_names(),
        )
        .await?;
    tally
        .add("a free pass: promo code, no payment intent", demo.free())
        .await?;
    tally
        .add("a bank transfer: unpaid, then paid", demo.bank_transfer())
        .await?;
    tally
        .add("an upgrade from 10 classes to a course", demo.upgrade())
        .await?;
    let title = "no metadata at all: a person is asked, and assigns the pass";
    tally.add(title, demo.no_metadata()).await?;
    let title = "two endpoints in one Stripe account: each event to both";
    tally.add(title, demo.shared_account()).await?;
    tally
        .add("a forged one: signed with another secret", demo.forged())
        .await?;
    tally.add("one signed 10 minutes ago", demo.stale()).await?;
    tally.add("500 purchases at once", demo.crowd()).await?;
    tally
        .add(
            "paid in the Stripe sandbox; its webhook arrives",
            demo.webhook_from_stripe(),
        )
        .await?;
    tally
        .add("20 paid there, and every webhook lost", demo.lost_webhooks())
        .await?;
    tally
        .add("the ledger: Stripe against the store", demo.reconciliation())
        .await?;
    println!("\n{} right, {} wrong.", tally.right, tally.wrong);
    Ok(Played {
        right: tally.wrong == 0,
        page: demo.hosted_page().await?,
    })
}

/// How many outcomes were right.
#[derive(Default)]
struct Tally {
    right: u32,
    wrong: u32,
}

impl Tally {
    async fn add(
        &mut self,
        title: &str,
        scene: impl Future<Output = Result<Outcome, DemoError>>,
    ) -> Result<(), DemoError> {
        let begun = Instant::now();
        let Outcome { text, right } = scene.await?;
        let milliseconds = begun.elapsed().as_secs_f64() * 1e3;
        let mark = if right { '✓' } else { '✗' };
        println!("{mark} {title:<66}{milliseconds:>9.1} ms\n    {text}");
        *(if right { &mut self.right } else { &mut self.wrong }) += 1;
        Ok(())
    }
}
