//! Subscriptions whose owner today's rules would not choose: made by an older version, or under another setting.

use super::book::Book;
use super::finding::{Difference, Finding};
use crate::email;
use crate::fulfil::Purchase;
use crate::guest;
use crate::store::{StoreError, Subscription};

/// A subscription whose owner the store has to be asked about.
pub(super) struct Doubt {
    pub(super) finding: Finding,
    subscription: String,
    held_by: String,
    /// Whom the rules choose unless somebody has proved the email.
    chosen: String,
    /// The email, where the purchase names no user.
    email: Option<String>,
    /// The owner is such a guest, if under an id of an older version.
    is_guest: bool,
}

/// `None`: its owner is right whatever the store says, or follows from another subscription.
pub(super) fn doubt(purchase: &Purchase, held: &Subscription, finding: Finding) -> Option<Doubt> {
    let doubt = |chosen: String, email: Option<String>, is_guest: bool| Doubt {
        finding,
        subscription: held.id.clone(),
        held_by: held.user.clone(),
        chosen,
        email,
        is_guest,
    };
    if let Some(named) = purchase.user() {
        return (named != held.user).then(|| doubt(named.to_owned(), None, false));
    }
    if held.is_upgrade {
        return None;
    }
    let folded = purchase.email.as_deref().map(email::folded);
    let Some(email) = folded.filter(|email| email::is_address(email)) else {
        let session = &held.stripe_session_id;
        let chosen = guest::of_session(session);
        let is_right = held.user == chosen || held.user == guest::old_of_session(session);
        return (!is_right).then(|| doubt(chosen, None, false));
    };
    let chosen = guest::of_email(&held.tenant, &email);
    let is_guest = held.user == chosen || guest::old_of_email(&email).contains(&held.user);
    Some(doubt(chosen, Some(email), is_guest))
}

impl Book<'_> {
    /// Enters those of a page that are wrong.
    pub(super) async fn enter_owners(&mut self) -> Result<(), StoreError> {
        let doubts = std::mem::take(&mut self.doubts);
        if doubts.is_empty() {
            return Ok(());
        }
        let ownership = self.store.ownership();
        let emails: Vec<&str> = doubts.iter().filter_map(|one| one.email.as_deref()).collect();
        let provers = ownership.provers(&emails).await?;
        let mut wrong = Vec::new();
        for mut one in doubts {
            let prover = one.email.as_ref().and_then(|email| provers.get(email));
            let is_right = match prover {
                Some(prover) => one.held_by == *prover,
                None => one.is_guest,
            };
            if let Some(prover) = prover {
                one.chosen.clone_from(prover);
            }
            if !is_right {
                wrong.push(one);
            }
        }
        let ids: Vec<&str> = wrong.iter().map(|one| one.subscription.as_str()).collect();
        let moved = ownership.moved(&ids).await?;
        for one in wrong {
            // A person has decided.
            if moved.contains(&one.subscription) {
                continue;
            }
            self.balance.other_owner.add(Finding {
                fix: Some(format!(
                    "surepass subscriptions move {} --user {} --why 'reconcile'",
                    one.subscription,
                    quoted(&one.chosen)
                )),
                differences: vec![Difference {
                    field: "user",
                    stripe: one.chosen,
                    store: one.held_by,
                }],
                ..one.finding
            });
        }
        Ok(())
    }
}

/// As a shell takes it for one word.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.@:".contains(c);
    if word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}
