//! Guests: the user ids made up for buyers whom no user id names.
//!
//! A token, a `userId` or a `client_reference_id` never names a guest: their ids are reserved ([`is_guest`]).

use sha2::{Digest, Sha256};

use crate::email;

const PREFIX: &str = "guest-";
/// Before guests were apart by tenant: `user-` and a hash of the email, or of the session.
const OLD_PREFIX: &str = "user-";
/// Digits of the hash.
const DIGITS: usize = 32;

/// Whether an id is one that is made up for guests.
#[must_use]
pub fn is_guest(id: &str) -> bool {
    [PREFIX, OLD_PREFIX].iter().any(|prefix| {
        id.strip_prefix(prefix).is_some_and(|hash| {
            hash.len() == DIGITS && hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        })
    })
}

/// The longest user id, in bytes.
pub const LONGEST_USER: usize = 500;

/// Whether a token may carry this id of a user: of no blanks around it, no control characters, and not a template's nobody.
#[must_use]
pub fn is_user_id(id: &str) -> bool {
    id.trim() == id
        && !matches!(id, "" | "undefined" | "null")
        && id.len() <= LONGEST_USER
        && !id.chars().any(char::is_control)
}

/// Whether an id only looks like a guest's. Nobody can sign in as this user, so a pass of theirs would be lost.
#[must_use]
pub fn is_invalid_guest(id: &str) -> bool {
    id.starts_with(PREFIX) && !is_guest(id)
}

/// Whether a person may name this user as an owner. Nobody can sign in as a guest, so a guest's pass would be lost.
#[must_use]
pub fn is_assignable_user(id: &str) -> bool {
    is_user_id(id) && !is_guest(id) && !id.starts_with(PREFIX)
}

/// The guest of a tenant with this email, as [`email::normalize`] gives it: the same for two jobs at once.
#[must_use]
pub fn of_email(tenant: &str, email: &str) -> String {
    made_up(PREFIX, &format!("email:{}:{tenant}:{email}", tenant.len()))
}

/// The guest of a purchase that tells no email: nobody can prove to be this guest.
#[must_use]
pub fn of_session(session: &str) -> String {
    made_up(PREFIX, &format!("session:{session}"))
}

/// The ids that an older version made up for this email, at all tenants together.
#[must_use]
pub fn old_of_email(email: &str) -> Vec<String> {
    let spellings = email::spellings(email);
    spellings.iter().map(|email| made_up(OLD_PREFIX, email)).collect()
}

/// The id that an older version made up for a purchase that tells no email.
#[must_use]
pub fn old_of_session(session: &str) -> String {
    made_up(OLD_PREFIX, session)
}

fn made_up(prefix: &str, from: &str) -> String {
    let digest = Sha256::digest(from.as_bytes());
    format!("{prefix}{}", hex::encode(&digest[..DIGITS / 2]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_is_one_tenants_and_one_emails_and_has_a_reserved_id() {
        let kari = of_email("t1", "kari@example.com");
        assert_eq!(kari, of_email("t1", "kari@example.com"));
        let others = [
            of_email("t2", "kari@example.com"),
            of_email("t1", "ola@example.com"),
            of_email("t1:kari@example.com", ""),
            of_session("kari@example.com"),
        ];
        assert!(!others.contains(&kari));
        let old = "user-d3b59f4a3300ff378bde475bbecc13ab";
        assert_eq!(old_of_email("else@example.com"), [old]);
        for id in [&kari, &others[0], &others[3], old, &old_of_session("cs_1")] {
            assert!(is_guest(id), "{id}");
        }
        assert!(is_invalid_guest("guest-abc") && !is_assignable_user("guest-abc"));
        assert!(!is_invalid_guest(&kari) && !is_assignable_user(&kari) && is_assignable_user("kari"));
        for id in [
            "kari",
            "user_2abc",
            "user-1",
            "user-550e8400-e29b-41d4-a716-446655440000",
            "guest-D3B59F4A3300FF378BDE475BBECC13AB",
        ] {
            assert!(!is_guest(id), "{id}");
        }
    }
}
