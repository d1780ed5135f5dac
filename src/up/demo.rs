//! Purchases played against the system through its real intake, each with the outcome that is right for it.

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};

use super::sample::SampleSession;
use super::{Place, UpError};
use crate::clock::Clock;
use crate::config::Settings;
use crate::queue::{Queue, QueueConfig, Redis, RedisOptions};
use crate::store::{Store, Subscription, SubscriptionFilter, catalog};
use crate::stripe::signature::sign;

const COMPLETED: &str = "checkout.session.completed";
const ASYNC_SUCCEEDED: &str = "checkout.session.async_payment_succeeded";
/// How long an outcome may take before it counts as missing.
const PATIENCE: Duration = Duration::from_secs(20);

/// Loads the sample tenant and its passes.
pub(super) async fn import_catalog(store: &dyn Store) -> Result<(), UpError> {
    let sample = catalog::Catalog::parse(include_str!("../../config/catalog.example.toml"))?;
    store.import(&sample.tenants).await?;
    Ok(())
}

/// Plays all purchases and prints a line for each as it settles. Answers whether every outcome was the right one.
pub(super) async fn play(
    client: &reqwest::Client,
    place: &Place,
    store: &dyn Store,
    settings: &Settings,
) -> Result<bool, UpError> {
    let redis = Redis::open(&place.redis_url, RedisOptions::default())?;
    let config = QueueConfig {
        prefix: place.prefix.clone(),
        ..settings.queue_config()
    };
    let stage = Stage {
        client,
        place,
        store,
        queue: Queue::new(&redis, config)?,
        clock: Clock::system(),
    };
    println!("\n{:<51}{:<55}{:>7}", "SENT", "CAME OUT", "MS");
    let (mut right, mut wrong) = (0, 0);
    let mut count = |scene: Scene| {
        let mark = if scene.right { '✓' } else { '✗' };
        println!(
            "{mark} {:<49}{:<55}{:>7.1}",
            scene.sent,
            scene.came_out,
            scene.took.as_secs_f64() * 1e3
        );
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
    count(stage.older_names().await?);
    count(stage.free().await?);
    count(stage.bank_transfer().await?);
    count(stage.upgrade().await?);
    count(stage.no_pass_named().await?);
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
    println!("\n{right} right, {wrong} wrong.");
    Ok(wrong == 0)
}

/// One line of the demo.
struct Scene {
    sent: &'static str,
    came_out: String,
    right: bool,
    took: Duration,
}

struct Stage<'a> {
    client: &'a reqwest::Client,
    place: &'a Place,
    store: &'a dyn Store,
    queue: Queue,
    clock: Clock,
}

impl Stage<'_> {
    fn sample(&self) -> SampleSession {
        SampleSession::ten_classes(ulid::Ulid::generate().to_string(), self.now())
    }

    /// In whole seconds, as Stripe tells time.
    fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp(self.clock.now().timestamp(), 0).unwrap_or_default()
    }

    async fn send(&self, body: Vec<u8>, header: String) -> Result<(u16, String), UpError> {
        let url = format!("http://{}/webhooks/stripe", self.place.address);
        let request = self
            .client
            .post(url)
            .header("Stripe-Signature", header)
            .body(body);
        let response = request.send().await?;
        Ok((response.status().as_u16(), response.text().await?))
    }

    async fn post(&self, body: Vec<u8>) -> Result<(u16, String), UpError> {
        let header = sign(&self.place.webhook_secret, self.now().timestamp(), &body);
        self.send(body, header).await
    }

    async fn held(&self, session: &SampleSession) -> Result<Vec<Subscription>, UpError> {
        let filter = SubscriptionFilter {
            session: Some(session.session_id()),
            ..SubscriptionFilter::default()
        };
        Ok(self.store.subscriptions(&filter, 10).await?)
    }

    /// Waits for the subscription of a session.
    async fn granted(&self, session: &SampleSession) -> Result<Option<Subscription>, UpError> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if let Some(one) = self.held(session).await?.pop() {
                return Ok(Some(one));
            }
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        Ok(None)
    }

    async fn bought(
        &self,
        sent: &'static str,
        session: SampleSession,
        expected: impl Fn(&Subscription) -> bool,
    ) -> Result<Scene, UpError> {
        let begun = Instant::now();
        let (status, _) = self.post(session.event(COMPLETED, 1)).await?;
        let granted = self.granted(&session).await?;
        let took = begun.elapsed();
        let right = status == 200 && granted.as_ref().is_some_and(|one| one.is_active && expected(one));
        Ok(Scene {
            sent,
            came_out: told(status, granted.as_ref()),
            right,
            took,
        })
    }

    async fn doubled(&self) -> Result<Scene, UpError> {
        let session = self.sample();
        let begun = Instant::now();
        let posts = (0..8).map(|_| self.post(session.event(COMPLETED, 1)));
        let answers = futures::future::try_join_all(posts).await?;
        let granted = self.granted(&session).await?;
        let took = begun.elapsed();
        let new = answers
            .iter()
            .filter(|(_, body)| body.contains(r#""duplicate":false"#))
            .count();
        let held = self.held(&session).await?.len();
        let right = answers.iter().all(|(status, _)| *status == 200) && new == 1 && held == 1;
        let came_out = format!("200 × 8, {} of them duplicates → {held} subscription", 8 - new);
        Ok(Scene {
            sent: "the same event 8 times at once",
            came_out,
            right: right && granted.is_some(),
            took,
        })
    }

    async fn second_event(&self) -> Result<Scene, UpError> {
        let session = self.sample();
        let begun = Instant::now();
        self.post(session.event(COMPLETED, 1)).await?;
        self.granted(&session).await?;
        let (status, _) = self.post(session.event(COMPLETED, 2)).await?;
        self.idle().await?;
        let held = self.held(&session).await?.len();
        let came_out = format!("{status} → {held} subscription");
        let sent = "two different events of one session";
        Ok(Scene {
            sent,
            came_out,
            right: status == 200 && held == 1,
            took: begun.elapsed(),
        })
    }

    async fn late(&self) -> Result<Scene, UpError> {
        let paid = self.now() - TimeDelta::days(3);
        let session = SampleSession {
            created: paid,
            ..self.sample()
        };
        let mut scene = self
            .bought("late: paid three days ago, told now", session, |one| {
                one.start_date == paid
            })
            .await?;
        scene.came_out = format!("{}, from {}", scene.came_out, paid.format("%m-%d"));
        Ok(scene)
    }

    async fn by_email(&self) -> Result<Scene, UpError> {
        let session = self
            .sample()
            .with("userId", None)
            .with("passId", Some("pass-single"));
        let single = |one: &Subscription| one.kind.as_str() == "single" && one.user.starts_with("user-");
        self.bought("a drop-in class; the buyer is only an email", session, single)
            .await
    }

    async fn older_names(&self) -> Result<Scene, UpError> {
        let mut session = self.sample();
        session.metadata = vec![
            ("tenant", "studio".to_owned()),
            ("pass_name", "Unlimited month".to_owned()),
        ];
        session.client_reference_id = Some(format!("user_{}", session.unique));
        session.amount = 99_000;
        self.bought(
            "metadata of an older site: other names, no type",
            session,
            |one| one.remaining_clips.is_none() && one.user.starts_with("user_"),
        )
        .await
    }

    async fn free(&self) -> Result<Scene, UpError> {
        let mut session = self.sample().with("promoCode", Some("WELCOME"));
        session.amount = 0;
        session.payment_status = "no_payment_required";
        self.bought("a free pass: promo code, no payment intent", session, |one| {
            one.purchase_price.amount == 0
        })
        .await
    }

    async fn bank_transfer(&self) -> Result<Scene, UpError> {
        let mut session = self.sample();
        session.payment_status = "unpaid";
        let begun = Instant::now();
        let (first, answer) = self.post(session.event(COMPLETED, 1)).await?;
        let ignored = first == 200 && answer.contains(r#""ignored":true"#);
        session.payment_status = "paid";
        let (status, _) = self.post(session.event(ASYNC_SUCCEEDED, 2)).await?;
        let granted = self.granted(&session).await?;
        let came_out = format!("{first} ignored, {}", told(status, granted.as_ref()));
        let sent = "a bank transfer: unpaid, then paid";
        Ok(Scene {
            sent,
            came_out,
            right: ignored && granted.is_some(),
            took: begun.elapsed(),
        })
    }

    async fn upgrade(&self) -> Result<Scene, UpError> {
        let old = self.sample();
        self.post(old.event(COMPLETED, 1)).await?;
        self.granted(&old).await?;
        let mut new = self
            .sample()
            .with("type", Some("pass_upgrade"))
            .with("passId", Some("pass-course"))
            .with("userId", Some(&format!("user_{}", old.unique)))
            .with(
                "upgradeFromSubscriptionId",
                Some(&format!("subscription-{}", old.session_id())),
            )
            .with("upgradeCost", Some("900"))
            .with("originalPassPrice", Some("1500"))
            .with("newPassPrice", Some("2400"));
        new.amount = 90_000;
        let mut scene = self
            .bought("an upgrade from 10 classes to a course", new, |one| {
                one.is_upgrade
            })
            .await?;
        let off = self.held(&old).await?.pop().is_some_and(|one| !one.is_active);
        scene.right &= off;
        scene.came_out += if off { ", old off" } else { ", OLD ON" };
        Ok(scene)
    }

    async fn no_pass_named(&self) -> Result<Scene, UpError> {
        let session = self.sample().with("passId", None).with("passName", None);
        let begun = Instant::now();
        let (status, _) = self.post(session.event(COMPLETED, 1)).await?;
        let id = format!("fulfil:{}", session.session_id());
        let mut reason = None;
        while reason.is_none() && begun.elapsed() < PATIENCE {
            reason = self.queue.death(&id).await?;
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        let took = begun.elapsed();
        let right = status == 200 && reason.as_deref() == Some("unresolved_pass");
        let came_out = format!("{status} → dead letter: {}", reason.unwrap_or_default());
        Ok(Scene {
            sent: "metadata missing: nothing names the pass",
            came_out,
            right,
            took,
        })
    }

    async fn refused(
        &self,
        sent: &'static str,
        code: &str,
        age_seconds: i64,
        other_secret: &'static str,
    ) -> Result<Scene, UpError> {
        let session = self.sample();
        let body = session.event(COMPLETED, 1);
        let secret = if other_secret.is_empty() {
            self.place.webhook_secret.clone()
        } else {
            other_secret.into()
        };
        let header = sign(&secret, self.now().timestamp() - age_seconds, &body);
        let begun = Instant::now();
        let (status, answer) = self.send(body, header).await?;
        let took = begun.elapsed();
        self.idle().await?;
        let held = self.held(&session).await?.len();
        let right = status == 400 && answer.contains(code) && held == 0;
        Ok(Scene {
            sent,
            came_out: format!("{status} {code}, {held} subscriptions"),
            right,
            took,
        })
    }

    async fn crowd(&self) -> Result<Scene, UpError> {
        let sessions: Vec<SampleSession> = (0..500).map(|_| self.sample()).collect();
        let begun = Instant::now();
        let posts = sessions
            .iter()
            .map(|session| self.post(session.event(COMPLETED, 1)));
        let accepted = futures::future::try_join_all(posts)
            .await?
            .iter()
            .filter(|(status, _)| *status == 200)
            .count();
        let mut held = 0;
        for session in &sessions {
            held += usize::from(self.granted(session).await?.is_some());
        }
        let took = begun.elapsed();
        let came_out = format!("200 × {accepted} → {held} subscriptions");
        Ok(Scene {
            sent: "500 purchases at once",
            came_out,
            right: accepted == 500 && held == 500,
            took,
        })
    }

    /// Waits until the queue has nothing to do.
    async fn idle(&self) -> Result<(), UpError> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            let counts = self.queue.counts().await?;
            if counts.waiting + counts.scheduled + counts.running == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }
}

fn told(status: u16, granted: Option<&Subscription>) -> String {
    let Some(one) = granted else {
        return format!("{status} → no subscription");
    };
    let classes = match one.remaining_clips {
        None => "unlimited".to_owned(),
        Some(1) => "1 class".to_owned(),
        Some(clips) => format!("{clips} classes"),
    };
    let until = one.end_date.format("%Y-%m-%d");
    format!("{status} → {}, {classes}, until {until}", one.kind.as_str())
}
