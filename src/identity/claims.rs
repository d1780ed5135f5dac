//! What a token says, beside what its signature proves.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;

use super::{Customer, TokenError};
use crate::email;
use crate::guest;

/// How far the sign-in service's clock and ours may be apart, in seconds.
const LEEWAY: f64 = 60.0;
/// The longest email that is compared, in bytes: RFC 5321 allows no longer one.
const LONGEST_EMAIL: usize = 254;

/// The contract's claims, of a token whose signature, issuer and audience are right.
#[derive(Deserialize)]
pub(super) struct Claims {
    exp: Option<Value>,
    nbf: Option<Value>,
    sub: Option<Value>,
    email: Option<Value>,
    email_verified: Option<Value>,
}

impl Claims {
    /// Whose token it is, if it is valid `now`.
    pub(super) fn customer(self, now: DateTime<Utc>) -> Result<Customer, TokenError> {
        #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 are far from 2^53")]
        let now = now.timestamp() as f64;
        let expires = self.exp.as_ref().and_then(Value::as_f64);
        let Some(expires) = expires.filter(|at| at + LEEWAY > now) else {
            return Err(TokenError::Expired);
        };
        if let Some(begins) = &self.nbf
            && !begins.as_f64().is_some_and(|at| at - LEEWAY <= now)
        {
            return Err(TokenError::NotYet);
        }
        let id = self.sub.as_ref().and_then(Value::as_str).unwrap_or_default();
        if !guest::is_user_id(id) {
            return Err(TokenError::Subject);
        }
        if guest::is_guest(id) {
            return Err(TokenError::Guest);
        }
        // Some services write claims from templates, where everything is text.
        let is_verified = match &self.email_verified {
            Some(Value::Bool(verified)) => *verified,
            Some(Value::String(text)) => text == "true",
            _ => false,
        };
        let email = self.email.as_ref().and_then(Value::as_str).unwrap_or_default();
        let email = email::normalize(email);
        let is_email = email.len() <= LONGEST_EMAIL && email.contains('@');
        #[expect(
            clippy::cast_possible_truncation,
            reason = "what is out of range stops at its end"
        )]
        let expires = expires as i64;
        Ok(Customer {
            id: id.to_owned(),
            verified_email: (is_verified && is_email).then_some(email),
            expires,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(claims: &str) -> Result<Customer, TokenError> {
        let now = DateTime::from_timestamp(1_000_000, 0).unwrap();
        serde_json::from_str::<Claims>(claims).unwrap().customer(now)
    }

    #[test]
    fn an_unverified_email_is_never_used_for_matching() {
        let email = |verified: &str| {
            let claims = format!(r#"{{"exp":1000100,"sub":"u","email":" Kari@Example.com "{verified}}}"#);
            read(&claims).unwrap().verified_email
        };
        let theirs = Some("kari@example.com".to_owned());
        assert_eq!(email(r#","email_verified":true"#), theirs);
        assert_eq!(email(r#","email_verified":"true""#), theirs);
        for unverified in ["", "false", "null", "1", "\"false\"", "\"yes\"", "[true]", "{}"] {
            let claim = if unverified.is_empty() {
                String::new()
            } else {
                format!(r#","email_verified":{unverified}"#)
            };
            assert_eq!(email(&claim), None, "{unverified}");
        }
    }

    #[test]
    fn times_count_with_a_leeway_of_a_minute_and_what_is_no_number_is_refused() {
        let at = |exp: &str, nbf: &str| read(&format!(r#"{{"exp":{exp},"nbf":{nbf},"sub":"u"}}"#)).err();
        assert_eq!(at("1000001", "null"), None);
        assert_eq!(at("999941", "1000060"), None);
        assert_eq!(at("999940", "null"), Some(TokenError::Expired));
        assert_eq!(at("1000001.5", "1000061"), Some(TokenError::NotYet));
        for odd in ["null", "\"2000000\"", "[]", "-1", "1e400"] {
            if let Ok(claims) = serde_json::from_str::<Claims>(&format!(r#"{{"exp":{odd},"sub":"u"}}"#)) {
                let now = DateTime::from_timestamp(1_000_000, 0).unwrap();
                assert_eq!(claims.customer(now).err(), Some(TokenError::Expired), "{odd}");
            }
        }
        assert_eq!(at("2000000", "\"0\""), Some(TokenError::NotYet));
    }

    #[test]
    fn a_token_never_names_a_guest() {
        let email = "kari@example.com";
        let old = guest::old_of_email(email).remove(0);
        for id in [guest::of_email("t1", email), guest::of_session("cs_1"), old] {
            let claims = format!(r#"{{"exp":2000000,"sub":"{id}"}}"#);
            assert_eq!(read(&claims).err(), Some(TokenError::Guest), "{id}");
        }
    }

    #[test]
    fn a_user_id_that_says_nobody_or_could_break_a_line_is_refused() {
        for id in [
            r#""""#,
            r#""undefined""#,
            r#""null""#,
            "null",
            "7",
            "[]",
            r#"" u""#,
            r#""a\nb""#,
        ] {
            let claims = format!(r#"{{"exp":2000000,"sub":{id}}}"#);
            assert_eq!(read(&claims).err(), Some(TokenError::Subject), "{id}");
        }
        let long = format!(r#"{{"exp":2000000,"sub":"{}"}}"#, "u".repeat(501));
        assert_eq!(read(&long).err(), Some(TokenError::Subject));
    }
}
