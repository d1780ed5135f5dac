//! Purchases played against the system through its real intake, each with the outcome that is right for it.

mod claimed;
mod neighbours;
mod scenes;
mod shop;
mod stage;
mod unheard;

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Place, UpError};
use crate::clock::Clock;
use crate::config::{QueueName, Settings};
use crate::queue::{Queue, QueueConfig, Redis, RedisOptions};
use crate::store::{Store, catalog};

pub(super) use shop::Shop;
use stage::Stage;

/// How long an outcome may take before it counts as missing.
const PATIENCE: Duration = Duration::from_secs(20);

/// Loads the sample tenant and its passes, and two neighbours that share an account.
pub(super) async fn import_catalog(store: &Store) -> Result<(), UpError> {
    let sample = catalog::Catalog::parse(include_str!("../../../config/catalog.example.toml"))?;
    store.catalog().import(&sample.tenants, &sample.secrets).await?;
    neighbours::import(store).await
}

/// What the demo came to.
pub(super) struct Played {
    /// Every outcome was the right one.
    pub(super) right: bool,
    /// The address of a page on which a person can buy a pass by hand.
    pub(super) page: String,
}

/// Plays all purchases and prints what came of each as it settles.
pub(super) async fn play(
    client: &reqwest::Client,
    place: &Place,
    store: &Arc<Store>,
    settings: &Settings,
) -> Result<Played, UpError> {
    let redis = Redis::open(&place.redis_url, RedisOptions::default())?;
    let queue = |name| {
        let config = QueueConfig {
            prefix: place.prefix.clone(),
            ..settings.queue_config_of(name)
        };
        Queue::new(&redis, config)
    };
    let stage = Stage {
        client,
        place,
        settings,
        store,
        queue: queue(QueueName::Fulfil)?,
        sync: queue(QueueName::Sync)?,
        clock: Clock::system(),
    };
    println!();
    let (mut right, mut wrong) = (0, 0);
    let mut count = |scene: Scene| {
        let mark = if scene.right { '✓' } else { '✗' };
        println!(
            "{mark} {:<66}{:>9.1} ms",
            scene.sent,
            scene.took.as_secs_f64() * 1e3
        );
        println!("    {}", scene.came_out);
        if scene.right { right += 1 } else { wrong += 1 }
    };
    // The first purchase opens connections and reads the catalogue.
    count(
        stage
            .bought("a pass of 10 classes", stage.sample(), |one| {
                one.remaining_clips == Some(10)
            })
            .await?,
    );
    count(
        stage
            .bought("another one", stage.sample(), |one| {
                one.remaining_clips == Some(10)
            })
            .await?,
    );
    count(stage.doubled().await?);
    count(stage.second_event().await?);
    count(stage.late().await?);
    count(stage.by_email().await?);
    count(stage.claimed_later().await?);
    count(stage.older_names().await?);
    count(stage.free().await?);
    count(stage.bank_transfer().await?);
    count(stage.upgrade().await?);
    count(stage.nothing_named().await?);
    count(stage.shared_account().await?);
    count(
        stage
            .refused(
                "a forged one: signed with another secret",
                "invalid_signature",
                0,
                "whsec_forged",
            )
            .await?,
    );
    count(
        stage
            .refused("one signed 10 minutes ago", "stale_timestamp", 600, "")
            .await?,
    );
    count(stage.crowd().await?);
    count(stage.told_by_stripe().await?);
    count(stage.told_by_nobody().await?);
    count(stage.reconciled().await?);
    println!("\n{right} right, {wrong} wrong.");
    Ok(Played {
        right: wrong == 0,
        page: stage.hosted_page().await?,
    })
}

/// What was sent, and what came out.
struct Scene {
    sent: &'static str,
    came_out: String,
    right: bool,
    took: Duration,
}

impl Scene {
    fn of(sent: &'static str, came_out: String, right: bool, begun: Instant) -> Self {
        Self {
            sent,
            came_out,
            right,
            took: begun.elapsed(),
        }
    }
}
