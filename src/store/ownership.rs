//! Owners of subscriptions beyond their purchases: verified emails, and moves by an operator.

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::{Connection, SqlStr};

use super::StoreError;
use super::dialect::{Bind, Dialect, Fields};
use super::pools::ask;
use super::purchases::sql;
use super::sql::SqlStore;
use crate::guest;

/// The most ids in an audit row; it also has their count.
const IDS_LISTED: usize = 100;

/// Verified emails, and subscriptions that an operator moved.
#[async_trait]
pub trait OwnershipStore: std::fmt::Debug + Send + Sync {
    /// Records that this user verified this email, unless somebody did before. In the same transaction moves
    /// the subscriptions of this email's guests, at every tenant, to them. Returns who verified it first.
    /// Idempotent.
    ///
    /// # Errors
    /// [`StoreError`]. Safe to repeat.
    async fn prove_email(&self, proof: &EmailProof<'_>) -> Result<String, StoreError>;

    /// Who verified which of these emails.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn verified_owners(&self, emails: &[&str]) -> Result<HashMap<String, String>, StoreError>;

    /// Which of these subscriptions an operator moved.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn moved(&self, subscriptions: &[&str]) -> Result<HashSet<String>, StoreError>;

    /// Moves a subscription from user `from` to another, who is created if missing.
    ///
    /// # Errors
    /// [`StoreError`]. Safe to repeat.
    async fn move_subscription(&self, wanted: &Move<'_>) -> Result<Moved, StoreError>;
}

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

#[async_trait]
impl<D: Dialect> OwnershipStore for SqlStore<D> {
    async fn prove_email(&self, proof: &EmailProof<'_>) -> Result<String, StoreError> {
        // Usually it is verified already, and a query is cheaper than a transaction.
        if let Some(user) = self.verified_owners(&[proof.email]).await?.remove(proof.email) {
            return Ok(user);
        }
        ask!(self.pools, Write, |connection| prove::<D>(&mut connection, proof))
    }

    async fn verified_owners(&self, emails: &[&str]) -> Result<HashMap<String, String>, StoreError> {
        ask!(self.pools, Read, |connection| verified_owners::<D>(
            &mut connection,
            emails
        ))
    }

    async fn moved(&self, subscriptions: &[&str]) -> Result<HashSet<String>, StoreError> {
        ask!(self.pools, Read, |connection| moved::<D>(
            &mut connection,
            subscriptions
        ))
    }

    async fn move_subscription(&self, wanted: &Move<'_>) -> Result<Moved, StoreError> {
        ask!(self.pools, Write, |connection| give::<D>(&mut connection, wanted))
    }
}

pub(super) async fn verified_owners<D: Dialect>(
    connection: &mut D::Connection,
    emails: &[&str],
) -> sqlx::Result<HashMap<String, String>> {
    if emails.is_empty() {
        return Ok(HashMap::new());
    }
    let text = format!(
        "SELECT email, user_id FROM proved_emails WHERE email {}",
        D::one_of(1)
    );
    let rows = D::rows(connection, sql(text), vec![Bind::Texts(emails.to_vec())]).await?;
    rows.iter()
        .map(|row| Ok((row.text("email")?, row.text("user_id")?)))
        .collect()
}

/// A concurrent purchase of a guest with this email is either moved here, or sees the verification.
async fn prove<D: Dialect>(connection: &mut D::Connection, proof: &EmailProof<'_>) -> sqlx::Result<String> {
    let mut transaction = connection.begin_with(D::begin(connection)).await?;
    if let Some(lock) = D::LOCK_EMAIL {
        D::rows(
            &mut transaction,
            SqlStr::from_static(lock),
            vec![Bind::Text(proof.email)],
        )
        .await?;
    }
    let text = "INSERT INTO proved_emails (email, user_id, proved_at) VALUES ($1, $2, $3) \
         ON CONFLICT (email) DO NOTHING";
    let binds = vec![
        Bind::Text(proof.email),
        Bind::Text(proof.user),
        Bind::Instant(proof.at),
    ];
    if D::execute(&mut transaction, SqlStr::from_static(text), binds).await? == 0 {
        let first = verified_owners::<D>(&mut transaction, &[proof.email])
            .await?
            .remove(proof.email);
        transaction.rollback().await?;
        return first.ok_or(sqlx::Error::RowNotFound);
    }
    let guests = guests::<D>(&mut transaction, proof.email).await?;
    let guests: Vec<&str> = guests.iter().map(String::as_str).collect();
    let mut moved = Vec::new();
    loop {
        // Again after a move, since a concurrent upgrade may have added one.
        let held = held_by::<D>(&mut transaction, &guests).await?;
        if held.is_empty() {
            break;
        }
        if moved.is_empty() {
            add_user::<D>(&mut transaction, proof.user, Some(proof.email), proof.at).await?;
        }
        let text = format!(
            "UPDATE subscriptions SET user_id = $1, updated_at = $2 WHERE id {}",
            D::one_of(3)
        );
        let ids = held.iter().map(|(id, _)| id.as_str()).collect();
        let binds = vec![Bind::Text(proof.user), Bind::Instant(proof.at), Bind::Texts(ids)];
        D::execute(&mut transaction, sql(text), binds).await?;
        moved.extend(held);
    }
    if !moved.is_empty() {
        note::<D>(&mut transaction, proof, &moved).await?;
    }
    transaction.commit().await?;
    Ok(proof.user.to_owned())
}

/// All guests with this email: one for each tenant, and the one that older versions used for all.
async fn guests<D: Dialect>(connection: &mut D::Connection, email: &str) -> sqlx::Result<Vec<String>> {
    let tenants = D::rows(connection, SqlStr::from_static("SELECT id FROM tenants"), vec![]).await?;
    let mut guests = guest::old_of_email(email);
    for tenant in &tenants {
        guests.push(guest::of_email(&tenant.text("id")?, email));
    }
    Ok(guests)
}

/// Ids and users, locked.
async fn held_by<D: Dialect>(
    connection: &mut D::Connection,
    users: &[&str],
) -> sqlx::Result<Vec<(String, String)>> {
    let text = format!(
        "SELECT id, user_id FROM subscriptions WHERE user_id {} ORDER BY id{}",
        D::one_of(1),
        D::LOCKING
    );
    let rows = D::rows(connection, sql(text), vec![Bind::Texts(users.to_vec())]).await?;
    rows.iter()
        .map(|row| Ok((row.text("id")?, row.text("user_id")?)))
        .collect()
}

async fn add_user<D: Dialect>(
    connection: &mut D::Connection,
    id: &str,
    email: Option<&str>,
    at: DateTime<Utc>,
) -> sqlx::Result<()> {
    let text = "INSERT INTO users (id, email, name, created_at) VALUES ($1, $2, NULL, $3) ON CONFLICT (id) DO NOTHING";
    let binds = vec![Bind::Text(id), Bind::MaybeText(email), Bind::Instant(at)];
    D::execute(connection, SqlStr::from_static(text), binds).await?;
    Ok(())
}

/// The audit row of a verification that moved something. Without the email, since more people can read the
/// log than emails.
async fn note<D: Dialect>(
    connection: &mut D::Connection,
    proof: &EmailProof<'_>,
    moved: &[(String, String)],
) -> sqlx::Result<()> {
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
    let binds = vec![
        Bind::Text(proof.audit),
        Bind::Text(&actor),
        Bind::Text(&target),
        Bind::Instant(proof.at),
        Bind::Text(&outcome),
    ];
    D::execute(connection, SqlStr::from_static(text), binds).await?;
    Ok(())
}

async fn moved<D: Dialect>(
    connection: &mut D::Connection,
    subscriptions: &[&str],
) -> sqlx::Result<HashSet<String>> {
    if subscriptions.is_empty() {
        return Ok(HashSet::new());
    }
    let text = format!(
        "SELECT id FROM subscriptions WHERE id {} AND moved_at IS NOT NULL",
        D::one_of(1)
    );
    let rows = D::rows(connection, sql(text), vec![Bind::Texts(subscriptions.to_vec())]).await?;
    rows.iter().map(|row| row.text("id")).collect()
}

async fn give<D: Dialect>(connection: &mut D::Connection, wanted: &Move<'_>) -> sqlx::Result<Moved> {
    let mut transaction = connection.begin_with(D::begin(connection)).await?;
    let text = format!(
        "SELECT id FROM subscriptions WHERE id = $1 AND user_id = $2{}",
        D::LOCKING
    );
    let binds = vec![Bind::Text(wanted.subscription), Bind::Text(wanted.from)];
    if D::rows(&mut transaction, sql(text), binds).await?.is_empty() {
        transaction.rollback().await?;
        return Ok(Moved::Stale);
    }
    add_user::<D>(&mut transaction, wanted.to, wanted.email, wanted.at).await?;
    let text = "UPDATE subscriptions SET user_id = $1, updated_at = $2, moved_at = $2 WHERE id = $3";
    let binds = vec![
        Bind::Text(wanted.to),
        Bind::Instant(wanted.at),
        Bind::Text(wanted.subscription),
    ];
    D::execute(&mut transaction, SqlStr::from_static(text), binds).await?;
    transaction.commit().await?;
    Ok(Moved::Done)
}
