//! Purchases of which webhooks tell, as they should and as they should not.

use std::time::Instant;

use chrono::TimeDelta;

use super::Scene;
use super::stage::{Stage, told};
use crate::store::Subscription;
use crate::stripe::signature::sign;
use crate::up::UpError;
use crate::up::sample::SampleSession;

pub(super) const COMPLETED: &str = "checkout.session.completed";
const ASYNC_SUCCEEDED: &str = "checkout.session.async_payment_succeeded";

impl Stage<'_> {
    pub(super) async fn bought(
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

    pub(super) async fn doubled(&self) -> Result<Scene, UpError> {
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

    pub(super) async fn second_event(&self) -> Result<Scene, UpError> {
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

    pub(super) async fn late(&self) -> Result<Scene, UpError> {
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

    pub(super) async fn by_email(&self) -> Result<Scene, UpError> {
        let mut session = self
            .sample()
            .with("userId", None)
            .with("passId", Some("pass-single"));
        session.amount = 20_000;
        let single = |one: &Subscription| one.kind.as_str() == "single" && crate::guest::is_guest(&one.user);
        self.bought("a drop-in class; the buyer is only an email", session, single)
            .await
    }

    pub(super) async fn older_names(&self) -> Result<Scene, UpError> {
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

    pub(super) async fn free(&self) -> Result<Scene, UpError> {
        let mut session = self.sample().with("promoCode", Some("WELCOME"));
        session.amount = 0;
        session.payment_status = "no_payment_required";
        self.bought("a free pass: promo code, no payment intent", session, |one| {
            one.purchase_price.amount == 0
        })
        .await
    }

    pub(super) async fn bank_transfer(&self) -> Result<Scene, UpError> {
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

    pub(super) async fn upgrade(&self) -> Result<Scene, UpError> {
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

    pub(super) async fn nothing_named(&self) -> Result<Scene, UpError> {
        let mut session = self.sample();
        session.metadata.clear();
        let begun = Instant::now();
        let (status, _) = self.post(session.event(COMPLETED, 1)).await?;
        let parked = self.parked(&session).await?;
        let took = begun.elapsed();
        let mut came_out = format!("{status} → NOBODY IS ASKED");
        let mut right = false;
        // A person decides which pass it was: the demo leaves nobody without one.
        if let Some(case) = parked {
            self.assign(&case, "studio", "pass-10").await?;
            right = status == 200 && self.granted(&session).await?.is_some();
            let end = if right { "assigned" } else { "NOT ASSIGNED" };
            came_out = format!("{status} → unmatched {}, {end}", case.reference);
        }
        Ok(Scene {
            sent: "no metadata at all: a person is asked, and assigns the pass",
            came_out,
            right,
            took,
        })
    }

    pub(super) async fn refused(
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

    pub(super) async fn crowd(&self) -> Result<Scene, UpError> {
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
}
