//! Two tenants with an endpoint each in one Stripe account: Stripe sends every event to both, in any order.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use surepass::up::sample::SampleSession;

use crate::Scale;
use crate::site::Site;
use crate::tally::Tally;
use crate::worker_faults::replace_one;
use support::program::{Program, eventually, stderr};
use support::shop::{COMPLETED, Shop, check_output};

const SLUGS: [&str; 2] = ["north", "south"];
const TENANTS: [&str; 2] = ["tenant-north", "tenant-south"];

fn secret(slug: &str) -> String {
    format!("whsec_Hemmelig{slug}")
}

/// Who buys at the two tenants.
#[derive(Default)]
struct Street {
    /// Each with the number of its tenant.
    bought: Mutex<Vec<(SampleSession, usize)>>,
    /// How many events were taken by both endpoints.
    told: AtomicUsize,
    /// How many deliveries were not answered with 200 at first.
    refused: AtomicUsize,
    closed: AtomicBool,
}

impl Street {
    /// One customer after the other, each at any of the two tenants.
    async fn buy(&self, shop: &Shop) {
        while !self.closed.load(Ordering::Relaxed) {
            let owner = rand::random_range(0..2);
            let session = shop.session().with("tenantId", Some(TENANTS[owner]));
            let mut endpoints = SLUGS;
            if rand::random() {
                endpoints.reverse();
            }
            for slug in endpoints {
                let secret = secret(slug);
                let deliver = || shop.deliver_to(slug, &secret, session.event(COMPLETED, 1));
                if deliver().await.status != 200 {
                    self.refused.fetch_add(1, Ordering::Relaxed);
                    // Stripe sends it again.
                    eventually("200", async || deliver().await.status == 200).await;
                }
            }
            self.bought.lock().unwrap().push((session, owner));
            self.told.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Every second one of four workers is killed, in the middle of its jobs. Everybody has one pass, at the tenant that sold it, and
/// nobody is asked to look at anything.
pub(crate) async fn killed(scale: Scale) -> Tally {
    let mut site = Site::open("always", 4).await;
    import(&site.shop).await;
    let mut workers = std::mem::take(&mut site.shop.workers);
    let shop = &site.shop;
    let mut dead: Vec<Program> = Vec::new();
    let street = Street::default();
    let fault = async {
        let mut kills = 0;
        while kills < 3 || street.told.load(Ordering::Relaxed) < scale.jobs {
            dead.push(replace_one(shop, &mut workers).await);
            kills += 1;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        street.closed.store(true, Ordering::Relaxed);
    };
    let one = || street.buy(shop);
    tokio::join!(fault, one(), one(), one(), one(), one(), one());
    let bought = std::mem::take(&mut *street.bought.lock().unwrap());
    let sold = bought
        .iter()
        .map(|(session, owner)| (session.session_id(), TENANTS[*owner]));
    let refused = street.refused.load(Ordering::Relaxed);
    let tally = Tally::of(shop, bought.len(), refused, sold.collect()).await;
    assert_eq!(shop.counts().await.dead, 0, "no path buries what another fulfils");
    let open = shop.store().await.unmatched().count_unmatched().await.unwrap();
    assert_eq!(open.paid(), 0, "nobody has to look: {open:?}");
    for program in workers.iter().chain(&dead) {
        check_output(&program.said());
    }
    tally
}

async fn import(shop: &Shop) {
    let tenants = SLUGS.iter().zip(TENANTS).map(|(slug, id)| {
        json!({
            "id": id, "slug": slug, "name": slug, "timeZone": "Europe/Oslo", "webhookSecrets": [secret(slug)],
            "passes": [{"id": "pass-10", "name": "10 classes", "type": "multi", "classesLimit": 10, "price": 150_000,
                "currency": "nok", "validityType": "days", "validityDays": 90}],
        })
    });
    let catalog = json!({ "tenants": tenants.collect::<Vec<_>>() });
    let file = shop.file("street.json", &catalog.to_string());
    let imported = shop
        .surepass(&["catalog", "import", file.to_str().unwrap()])
        .await;
    assert!(imported.status.success(), "{}", stderr(&imported));
}
