//! Users beyond their purchases: verified emails, and subscriptions that an operator moved.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use serde_json::json;

use super::StoreError;
use super::database::{Call, Database, binds};
use crate::guest;

/// The most ids in an audit row; it also has their count.
const IDS_LISTED: usize = 100;

const VERIFIED_OWNERS: &str = "SELECT email, user_id FROM proved_emails WHERE email = ANY($1)";

/// Users: [`Store::users`](super::Store::users).
#[derive(Debug, Clone, Copy)]
pub struct Users<'a>(pub(super) &'a Database);

/// A user verified an email.
#[derive(Debug, Clone, Copy)]
pub struct EmailProof<'a> {
    /// Normalized by [`crate::email::normalize`].
    pub email: &'a str,
    pub user: &'a str,
    pub at: DateTime<Utc>,
    /// The id of the audit row, which is written if anything is moved.
    pub audit: &'a str,
}

/// A subscription to move to another user.
#[derive(Debug, Clone, Copy)]
pub struct Move<'a> {
    pub subscription: &'a str,
    /// The owner when the operator looked.
    pub from: &'a str,
    pub to: &'a str,
    /// The email of a user to create.
    pub email: Option<&'a str>,
    pub at: DateTime<Utc>,
}

/// The result of a [`Move`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    Done,
    /// It does not exist or is not `from`'s; nothing was written.
    Stale,
}

impl Users<'_> {
    /// Records that this user verified this email, unless somebody did before. In the same transaction moves
    /// the subscriptions of this email's guests, at every tenant, to them. Returns who verified it first.
    /// Idempotent.
    ///
    /// # Errors
    /// [`StoreError`]. Safe to repeat.
    pub async fn prove_email(self, proof: &EmailProof<'_>) -> Result<String, StoreError> {
        // Usually it is verified already, and a query is cheaper than a transaction.
        if let Some(user) = self.verified_owners(&[proof.email]).await?.remove(proof.email) {
            return Ok(user);
        }
        // A concurrent purchase of a guest with this email is either moved here, or sees the verification.
        let mut call = self.0.transaction().await?;
        call.lock(call.dialect().lock_email, binds![proof.email]).await?;
        let text = "INSERT INTO proved_emails (email, user_id, proved_at) VALUES ($1, $2, $3) \
             ON CONFLICT (email) DO NOTHING";
        if call
            .execute(text, binds![proof.email, proof.user, proof.at])
            .await?
            == 0
        {
            let first = verified_owners(&mut call, &[proof.email])
                .await?
                .remove(proof.email);
            call.rollback().await?;
            return first.ok_or_else(|| sqlx::Error::RowNotFound.into());
        }
        let moved = move_guests(&mut call, proof).await?;
        if !moved.is_empty() {
            note(&mut call, proof, &moved).await?;
        }
        call.commit().await?;
        Ok(proof.user.to_owned())
    }

    /// Who verified which of these emails.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn verified_owners(self, emails: &[&str]) -> Result<HashMap<String, String>, StoreError> {
        let found = self.0.list(VERIFIED_OWNERS, binds![emails], |row| {
            Ok((row.get("email")?, row.get("user_id")?))
        });
        Ok(found.await?.into_iter().collect())
    }

    /// Which of these subscriptions an operator moved.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn moved(self, subscriptions: &[&str]) -> Result<HashSet<String>, StoreError> {
        let text = "SELECT id FROM subscriptions WHERE id = ANY($1) AND moved_at IS NOT NULL";
        let found = self.0.list(text, binds![subscriptions], |row| row.get("id"));
        Ok(found.await?.into_iter().collect())
    }

    /// Moves a subscription from user `from` to another, who is created if missing.
    ///
    /// # Errors
    /// [`StoreError`]. Safe to repeat.
    pub async fn move_subscription(self, wanted: &Move<'_>) -> Result<Moved, StoreError> {
        let mut call = self.0.transaction().await?;
        let text = "SELECT id FROM subscriptions WHERE id = $1 AND user_id = $2 FOR UPDATE";
        let binds = binds![wanted.subscription, wanted.from];
        let found = call.list(text, binds, |row| row.get::<String>("id")).await?;
        if found.is_empty() {
            call.rollback().await?;
            return Ok(Moved::Stale);
        }
        add_user(&mut call, wanted.to, wanted.email, wanted.at).await?;
        let text = "UPDATE subscriptions SET user_id = $1, updated_at = $2, moved_at = $2 WHERE id = $3";
        call.execute(text, binds![wanted.to, wanted.at, wanted.subscription])
            .await?;
        call.commit().await?;
        Ok(Moved::Done)
    }
}

pub(super) async fn verified_owners(
    call: &mut Call<'_>,
    emails: &[&str],
) -> Result<HashMap<String, String>, StoreError> {
    if emails.is_empty() {
        return Ok(HashMap::new());
    }
    let found = call.list(VERIFIED_OWNERS, binds![emails], |row| {
        Ok((row.get("email")?, row.get("user_id")?))
    });
    Ok(found.await?.into_iter().collect())
}

/// Moves the subscriptions of this email's guests. Returns their ids and the guests.
async fn move_guests(
    call: &mut Call<'_>,
    proof: &EmailProof<'_>,
) -> Result<Vec<(String, String)>, StoreError> {
    // One guest for each tenant, and the one that older versions used for all.
    let tenants = call
        .list("SELECT id FROM tenants", binds![], |row| row.get::<String>("id"))
        .await?;
    let mut guests = guest::old_of_email(proof.email);
    guests.extend(tenants.iter().map(|tenant| guest::of_email(tenant, proof.email)));
    let mut moved = Vec::new();
    loop {
        // Again after a move, since a concurrent upgrade may have added one.
        let text = "SELECT id, user_id FROM subscriptions WHERE user_id = ANY($1) ORDER BY id FOR UPDATE";
        let held = call.list(text, binds![guests.as_slice()], |row| {
            Ok((row.get("id")?, row.get("user_id")?))
        });
        let held: Vec<(String, String)> = held.await?;
        if held.is_empty() {
            return Ok(moved);
        }
        if moved.is_empty() {
            add_user(call, proof.user, Some(proof.email), proof.at).await?;
        }
        let text = "UPDATE subscriptions SET user_id = $1, updated_at = $2 WHERE id = ANY($3)";
        let ids: Vec<&str> = held.iter().map(|(id, _)| id.as_str()).collect();
        call.execute(text, binds![proof.user, proof.at, ids]).await?;
        moved.extend(held);
    }
}

async fn add_user(
    call: &mut Call<'_>,
    id: &str,
    email: Option<&str>,
    at: DateTime<Utc>,
) -> Result<(), StoreError> {
    let text = "INSERT INTO users (id, email, name, created_at) VALUES ($1, $2, NULL, $3) ON CONFLICT (id) DO NOTHING";
    call.execute(text, binds![id, email, at]).await.map(drop)
}

/// The audit row of a verification that moved something. Without the email, since more people can read the
/// log than emails.
async fn note(
    call: &mut Call<'_>,
    proof: &EmailProof<'_>,
    moved: &[(String, String)],
) -> Result<(), StoreError> {
    let mut guests: Vec<&str> = moved.iter().map(|(_, guest)| guest.as_str()).collect();
    guests.sort_unstable();
    guests.dedup();
    let ids: Vec<&str> = moved.iter().take(IDS_LISTED).map(|(id, _)| id.as_str()).collect();
    let target = json!({ "user": proof.user, "guests": guests, "subscriptions": ids, "count": moved.len() });
    let target = target.to_string();
    let actor = format!("customer {}", proof.user);
    let outcome = format!("{} moved", moved.len());
    let text = "INSERT INTO audit (id, actor, action, target, reason, began_at, ended_at, outcome) \
         VALUES ($1, $2, 'email.prove', $3, 'signed in with this email verified', $4, $4, $5)";
    call.execute(text, binds![proof.audit, &actor, &target, proof.at, &outcome])
        .await
        .map(drop)
}
