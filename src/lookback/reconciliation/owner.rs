//! Finds subscriptions to which today's rules would give another owner. An older version or another setting
//! created them.

use super::finding::{Difference, Finding};
use super::reconciler::Reconciler;
use crate::email;
use crate::fulfil::Purchase;
use crate::guest;
use crate::store::{StoreError, Subscription};

/// A subscription whose owner must be checked in the store.
pub(super) struct OwnerCheck {
    pub(super) finding: Finding,
    subscription: String,
    held_by: String,
    /// The owner by the rules, unless a user has verified the email.
    chosen: String,
    /// The email, if the purchase names no user.
    email: Option<String>,
    /// The owner is the guest of this email, perhaps under an older id.
    is_guest: bool,
}

/// `None`: the owner is right, or is that of an upgraded subscription.
pub(super) fn check(purchase: &Purchase, held: &Subscription, finding: Finding) -> Option<OwnerCheck> {
    let check = |chosen: String, email: Option<String>, is_guest: bool| OwnerCheck {
        finding,
        subscription: held.id.clone(),
        held_by: held.user.clone(),
        chosen,
        email,
        is_guest,
    };
    if let Some(named) = purchase.user() {
        return (named != held.user).then(|| check(named.to_owned(), None, false));
    }
    if held.is_upgrade {
        return None;
    }
    let folded = purchase.email.as_deref().map(email::normalize);
    let Some(email) = folded.filter(|email| email::is_address(email)) else {
        let session = &held.stripe_session_id;
        let chosen = guest::of_session(session);
        let is_right = held.user == chosen || held.user == guest::old_of_session(session);
        return (!is_right).then(|| check(chosen, None, false));
    };
    let chosen = guest::of_email(&held.tenant, &email);
    let is_guest = held.user == chosen || guest::old_of_email(&email).contains(&held.user);
    Some(check(chosen, Some(email), is_guest))
}

impl Reconciler<'_> {
    /// Adds the subscriptions of a page whose owner is wrong.
    pub(super) async fn add_owner_differences(&mut self) -> Result<(), StoreError> {
        let owner_checks = std::mem::take(&mut self.owner_checks);
        if owner_checks.is_empty() {
            return Ok(());
        }
        let ownership = self.store.users();
        let emails: Vec<&str> = owner_checks
            .iter()
            .filter_map(|one| one.email.as_deref())
            .collect();
        let verifiers = ownership.verified_owners(&emails).await?;
        let mut wrong = Vec::new();
        for mut one in owner_checks {
            let verifier = one.email.as_ref().and_then(|email| verifiers.get(email));
            let is_right = match verifier {
                Some(verifier) => one.held_by == *verifier,
                None => one.is_guest,
            };
            if let Some(verifier) = verifier {
                one.chosen.clone_from(verifier);
            }
            if !is_right {
                wrong.push(one);
            }
        }
        let ids: Vec<&str> = wrong.iter().map(|one| one.subscription.as_str()).collect();
        let moved = ownership.moved(&ids).await?;
        for one in wrong {
            // An operator has chosen this owner.
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

/// Quotes a word for a shell.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.@:".contains(c);
    if word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}
