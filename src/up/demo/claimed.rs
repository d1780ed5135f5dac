//! A guest's purchase, claimed by who proves the email later.

use std::time::Instant;

use secrecy::ExposeSecret;
use serde_json::Value;

use super::scenes::COMPLETED;
use super::stage::Stage;
use super::{PATIENCE, Scene, shop};
use crate::guest;
use crate::up::UpError;

impl Stage<'_> {
    /// A guest buys, then signs in with that email verified and asks for their passes.
    pub(super) async fn claimed_later(&self) -> Result<Scene, UpError> {
        let session = self.sample().with("userId", None);
        let user = format!("user_{}", session.unique);
        let begun = Instant::now();
        let (status, _) = self.post(session.event(COMPLETED, 1)).await?;
        let granted = self.granted(&session).await?;
        let was_guest = granted.is_some_and(|one| guest::is_guest(&one.user));
        let token = shop::token_of(self.place, self.settings, &user, &session.email);
        let asked = self
            .client
            .get(format!("http://{}/api/user/subscriptions", self.place.address))
            .timeout(PATIENCE)
            .header("x-tenant-slug", "studio")
            .bearer_auth(token.expose_secret());
        let answer: Value = asked.send().await?.json().await?;
        let seen = answer["activeSubscriptions"].as_array().map_or(0, Vec::len);
        let held = self.held(&session).await?;
        let is_theirs = held.iter().all(|one| one.user == user);
        let owner = if is_theirs { "the account's" } else { "NOT THEIRS" };
        Ok(Scene {
            sent: "a guest's purchase, claimed by signing in later",
            came_out: format!("{status} → a guest's; signed in: {seen} pass, {owner}"),
            right: was_guest && seen == 1 && held.len() == 1 && is_theirs,
            took: begun.elapsed(),
        })
    }
}
