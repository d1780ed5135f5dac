//! What became of every purchase.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use surepass::store::SubscriptionFilter;

use support::customers::Customers;
use support::program::{PATIENCE, eventually};
use support::shop::{COMPLETED, Shop};

#[derive(Debug, Default)]
pub(crate) struct Tally {
    jobs: usize,
    /// How many webhooks were not answered with 200 at first; Stripe sends them again.
    refused: usize,
    once: usize,
    doubled: usize,
    /// Dead letters by their reason.
    dead: BTreeMap<String, usize>,
    lost: usize,
    /// Why the fault could not be played, on this machine.
    skipped: Option<&'static str>,
}

impl Tally {
    pub(crate) fn skipped(why: &'static str) -> Self {
        Self {
            skipped: Some(why),
            ..Self::default()
        }
    }

    /// Nothing lost, nothing doubled, and something has been counted.
    pub(crate) fn is_good(&self) -> bool {
        let dead: usize = self.dead.values().sum();
        let all = self.once + dead == self.jobs && self.jobs > 0;
        self.skipped.is_some() || (all && self.lost == 0 && self.doubled == 0)
    }

    /// After the fault: sends again what was not answered with 200, waits until all jobs have ended, and counts. What
    /// *was* answered with 200 is not sent again.
    pub(crate) async fn take(shop: &Shop, customers: &Customers) -> Self {
        let bought = std::mem::take(&mut *customers.bought.lock().unwrap());
        let mut tally = Self {
            jobs: bought.len(),
            ..Self::default()
        };
        for (session, answer) in &bought {
            if answer.as_ref().is_some_and(|answer| answer.status == 200) {
                continue;
            }
            tally.refused += 1;
            eventually("200 after the fault", async || {
                !shop
                    .try_deliver(0, session.event(COMPLETED, 1))
                    .await
                    .is_ok_and(|answer| answer.status != 200)
            })
            .await;
        }
        let sold = bought
            .iter()
            .map(|(session, _)| (session.session_id(), "tenant-1"));
        tally.count(shop, sold.collect()).await;
        tally
    }

    /// The same of what was sold at several tenants and sent again already: `sold` are the sessions and their tenants' ids.
    pub(crate) async fn of(shop: &Shop, jobs: usize, refused: usize, sold: BTreeMap<String, &str>) -> Self {
        let mut tally = Self {
            jobs,
            refused,
            ..Self::default()
        };
        tally.count(shop, sold).await;
        tally
    }

    async fn count(&mut self, shop: &Shop, sold: BTreeMap<String, &str>) {
        // Not the event log: what a broken read of it left behind is taken up after half a minute only.
        ended(shop).await;

        let mut rows: BTreeMap<String, Vec<String>> = BTreeMap::new();
        // Past the command that lists them: it shows the newest 10,000 only.
        let store = shop.store().await;
        let everything = store
            .subscriptions()
            .list(&SubscriptionFilter::default(), u32::MAX)
            .await
            .unwrap();
        for subscription in everything {
            let tenants = rows.entry(subscription.stripe_session_id).or_default();
            tenants.push(subscription.tenant);
        }
        let queue = shop.queue();
        for (session, tenant) in &sold {
            match rows.remove(session).as_deref() {
                Some([owner]) if owner == tenant => self.once += 1,
                // Whoever has paid at another tenant has nothing.
                Some([_]) => self.lost += 1,
                Some(_) => self.doubled += 1,
                None => match queue.death(&format!("fulfil:{session}")).await.unwrap() {
                    Some(reason) => *self.dead.entry(reason).or_default() += 1,
                    None => self.lost += 1,
                },
            }
        }
        // A subscription that nobody bought.
        self.doubled += rows.len();
    }
}

/// Waits until no job waits, is scheduled or runs: however long, while something moves.
async fn ended(shop: &Shop) {
    let queue = shop.queue();
    let mut last = None;
    let mut still_since = Instant::now();
    loop {
        let now = queue
            .counts()
            .await
            .ok()
            .map(|counts| [counts.waiting, counts.scheduled, counts.running]);
        if now == Some([0; 3]) {
            return;
        }
        if now != last {
            (last, still_since) = (now, Instant::now());
        }
        assert!(
            still_since.elapsed() < PATIENCE,
            "waiting, scheduled, running: {last:?}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub(crate) fn table(rows: &[(&str, Option<Tally>)]) -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_header([
        "fault",
        "jobs",
        "sent again",
        "done once",
        "doubled",
        "dead",
        "lost",
    ]);
    for (name, tally) in rows {
        match tally {
            None => {
                table.add_row([name, "FAILED: see above"]);
            }
            Some(Tally {
                skipped: Some(why), ..
            }) => {
                table.add_row([name, &format!("skipped: {why}") as &str]);
            }
            Some(tally) => {
                let dead: Vec<_> = tally
                    .dead
                    .iter()
                    .map(|(reason, jobs)| format!("{jobs} {reason}"))
                    .collect();
                table.add_row([
                    (*name).to_owned(),
                    tally.jobs.to_string(),
                    tally.refused.to_string(),
                    tally.once.to_string(),
                    tally.doubled.to_string(),
                    if dead.is_empty() {
                        "0".to_owned()
                    } else {
                        dead.join(", ")
                    },
                    tally.lost.to_string(),
                ]);
            }
        }
    }
    table
}
