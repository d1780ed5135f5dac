//! Purchases whose webhooks come as they should, and as they should not.

use chrono::TimeDelta;
use secrecy::SecretString;
use serde_json::Value;
use url::Url;

use super::harness::{COMPLETED, Harness, describe};
use super::{DemoError, Outcome};
use crate::guest;
use crate::unmatched::{Assignment, CaseWorker};
use crate::up::sample::SampleSession;

const ASYNC_SUCCEEDED: &str = "checkout.session.async_payment_succeeded";

impl Harness<'_> {
    pub(super) async fn ten_classes(&self) -> Result<Outcome, DemoError> {
        self.buy(&self.sample(), |one| one.remaining_clips == Some(10))
            .await
    }

    pub(super) async fn duplicates(&self) -> Result<Outcome, DemoError> {
        let session = self.sample();
        let posts = (0..8).map(|_| self.post(&session, COMPLETED, 1));
        let answers = futures::future::try_join_all(posts).await?;
        self.created(&session).await?;
        let new = answers
            .iter()
            .filter(|(_, body)| body.contains(r#""duplicate":false"#))
            .count();
        let count = self.subscriptions(&session).await?.len();
        Ok(Outcome {
            text: format!("200 × 8, {} of them duplicates → {count} subscription", 8 - new),
            right: answers.iter().all(|(status, _)| *status == 200) && new == 1 && count == 1,
        })
    }

    pub(super) async fn second_event(&self) -> Result<Outcome, DemoError> {
        let session = self.sample();
        self.post(&session, COMPLETED, 1).await?;
        self.created(&session).await?;
        let (status, _) = self.post(&session, COMPLETED, 2).await?;
        self.idle().await?;
        let count = self.subscriptions(&session).await?.len();
        Ok(Outcome {
            text: format!("{status} → {count} subscription"),
            right: status == 200 && count == 1,
        })
    }

    pub(super) async fn late(&self) -> Result<Outcome, DemoError> {
        let paid = self.now() - TimeDelta::days(3);
        let session = SampleSession {
            created: paid,
            ..self.sample()
        };
        let mut outcome = self.buy(&session, |one| one.start_date == paid).await?;
        outcome.text = format!("{}, from {}", outcome.text, paid.format("%m-%d"));
        Ok(outcome)
    }

    pub(super) async fn by_email(&self) -> Result<Outcome, DemoError> {
        let session = self.sample().with("userId", None);
        let session = SampleSession {
            amount: 20_000,
            ..session.with("passId", Some("pass-single"))
        };
        self.buy(&session, |one| {
            one.kind.as_str() == "single" && guest::is_guest(&one.user)
        })
        .await
    }

    /// A guest buys, then signs in with that email verified and asks for their passes.
    pub(super) async fn claimed_later(&self) -> Result<Outcome, DemoError> {
        let session = self.sample().with("userId", None);
        let user = format!("user_{}", session.unique);
        let (status, _) = self.post(&session, COMPLETED, 1).await?;
        let created = self.created(&session).await?;
        let was_guest = created.is_some_and(|one| guest::is_guest(&one.user));
        // The shop's sign-in.
        let query = [("user", &user), ("email", &session.email)];
        let url = Url::parse_with_params(&format!("{}/token", self.demo.shop()), query)?;
        let token = self.client.get(url).send().await?;
        let token = token.error_for_status()?.text().await?;
        let request = self
            .client
            .get(format!("http://{}/api/user/subscriptions", self.layout.address))
            .header("x-tenant-slug", "studio")
            .bearer_auth(token);
        let answer: Value = request.send().await?.json().await?;
        let seen = answer["activeSubscriptions"].as_array().map_or(0, Vec::len);
        let all = self.subscriptions(&session).await?;
        let is_theirs = all.iter().all(|one| one.user == user);
        let owner = if is_theirs { "the account's" } else { "NOT THEIRS" };
        Ok(Outcome {
            text: format!("{status} → a guest's; signed in: {seen} pass, {owner}"),
            right: was_guest && seen == 1 && all.len() == 1 && is_theirs,
        })
    }

    pub(super) async fn older_names(&self) -> Result<Outcome, DemoError> {
        let mut session = self.sample();
        session.metadata = vec![
            ("tenant", "studio".to_owned()),
            ("pass_name", "Unlimited month".to_owned()),
        ];
        session.client_reference_id = Some(format!("user_{}", session.unique));
        session.amount = 99_000;
        self.buy(&session, |one| {
            one.remaining_clips.is_none() && one.user.starts_with("user_")
        })
        .await
    }

    pub(super) async fn free(&self) -> Result<Outcome, DemoError> {
        let session = SampleSession {
            amount: 0,
            payment_status: "no_payment_required",
            ..self.sample().with("promoCode", Some("WELCOME"))
        };
        self.buy(&session, |one| one.purchase_price.amount == 0).await
    }

    pub(super) async fn bank_transfer(&self) -> Result<Outcome, DemoError> {
        let mut session = self.sample();
        session.payment_status = "unpaid";
        let (first, answer) = self.post(&session, COMPLETED, 1).await?;
        let ignored = first == 200 && answer.contains(r#""ignored":true"#);
        session.payment_status = "paid";
        let (status, _) = self.post(&session, ASYNC_SUCCEEDED, 2).await?;
        let created = self.created(&session).await?;
        Ok(Outcome {
            text: format!("{first} ignored, {}", describe(status, created.as_ref())),
            right: ignored && created.is_some(),
        })
    }

    pub(super) async fn upgrade(&self) -> Result<Outcome, DemoError> {
        let old = self.sample();
        self.post(&old, COMPLETED, 1).await?;
        self.created(&old).await?;
        let replaced = format!("subscription-{}", old.session_id());
        let mut new = self
            .sample()
            .with("type", Some("pass_upgrade"))
            .with("passId", Some("pass-course"))
            .with("userId", Some(&format!("user_{}", old.unique)))
            .with("upgradeFromSubscriptionId", Some(&replaced))
            .with("upgradeCost", Some("900"))
            .with("originalPassPrice", Some("1500"))
            .with("newPassPrice", Some("2400"));
        new.amount = 90_000;
        let mut outcome = self.buy(&new, |one| one.is_upgrade).await?;
        let off = self.subscriptions(&old).await?.iter().all(|one| !one.is_active);
        outcome.right &= off;
        outcome.text += if off { ", old off" } else { ", OLD ON" };
        Ok(outcome)
    }

    /// A person decides which pass it was, as with `surepass unmatched assign`: the demo leaves nobody without one.
    pub(super) async fn no_metadata(&self) -> Result<Outcome, DemoError> {
        let mut session = self.sample();
        session.metadata.clear();
        let (status, _) = self.post(&session, COMPLETED, 1).await?;
        let Some(case) = self.unmatched(&session).await? else {
            return Ok(Outcome {
                text: format!("{status} → NOBODY IS ASKED"),
                right: false,
            });
        };
        // Until its job has ended.
        self.idle().await?;
        let worker = CaseWorker {
            store: self.store.as_ref(),
            queue: &self.queue,
            clock: self.clock.clone(),
            who: "demo",
            why: "the buyer wrote which pass it was",
        };
        let assignment = Assignment {
            pass: "pass-10",
            user: None,
            tenant: Some("studio"),
        };
        worker.assign(&case, assignment).await?;
        let right = status == 200 && self.created(&session).await?.is_some();
        let end = if right { "assigned" } else { "NOT ASSIGNED" };
        Ok(Outcome {
            text: format!("{status} → unmatched {}, {end}", case.reference),
            right,
        })
    }

    pub(super) async fn forged(&self) -> Result<Outcome, DemoError> {
        self.rejected("invalid_signature", &"whsec_forged".into(), 0)
            .await
    }

    pub(super) async fn stale(&self) -> Result<Outcome, DemoError> {
        self.rejected("stale_timestamp", &self.layout.webhook_secret, 600)
            .await
    }

    async fn rejected(&self, code: &str, secret: &SecretString, age: i64) -> Result<Outcome, DemoError> {
        let session = self.sample();
        let body = session.event(COMPLETED, 1);
        let (status, answer) = self.send("/webhooks/stripe", body, secret, age).await?;
        self.idle().await?;
        let count = self.subscriptions(&session).await?.len();
        Ok(Outcome {
            text: format!("{status} {code}, {count} subscriptions"),
            right: status == 400 && answer.contains(code) && count == 0,
        })
    }

    pub(super) async fn crowd(&self) -> Result<Outcome, DemoError> {
        let sessions: Vec<SampleSession> = (0..500).map(|_| self.sample()).collect();
        let posts = sessions.iter().map(|session| self.post(session, COMPLETED, 1));
        let answers = futures::future::try_join_all(posts).await?;
        let accepted = answers.iter().filter(|(status, _)| *status == 200).count();
        let mut count = 0;
        for session in &sessions {
            count += usize::from(self.created(session).await?.is_some());
        }
        Ok(Outcome {
            text: format!("200 × {accepted} → {count} subscriptions"),
            right: accepted == 500 && count == 500,
        })
    }
}
