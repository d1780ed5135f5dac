//! What the shop tells Surepass of its customer: a token, as a sign-in service would sign it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use ring::hmac;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use crate::clock::Clock;
use crate::config::CustomerSettings;

/// The shop's one customer.
pub(super) const NAME: &str = "Ada";
pub(super) const USER: &str = "user_ada";
pub(super) const EMAIL: &str = "ada@example.com";

/// How long a token counts.
const LIFE: TimeDelta = TimeDelta::minutes(15);

/// Signs tokens: HS256, with the secret that Surepass knows as `SUREPASS_JWT_SECRET`.
#[derive(Debug)]
pub(super) struct Signer {
    key: hmac::Key,
    issuer: Option<String>,
    audience: Option<String>,
    clock: Clock,
}

impl Signer {
    /// With the `iss` and `aud` that Surepass is set to ask for.
    pub(super) fn new(secret: &SecretString, asked: &CustomerSettings, clock: Clock) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes()),
            issuer: asked.issuer.clone(),
            audience: asked.audience.clone(),
            clock,
        }
    }

    /// Says who the customer is: `sub` is the id that the checkout's metadata carries as `userId`.
    pub(super) fn token(&self) -> SecretString {
        self.token_of(USER, EMAIL)
    }

    /// The same of another customer.
    pub(super) fn token_of(&self, user: &str, email: &str) -> SecretString {
        let now = self.clock.now();
        let mut claims = json!({
            "sub": user, "email": email, "email_verified": true, "name": NAME,
            "iat": now.timestamp(), "exp": (now + LIFE).timestamp(),
        });
        for (name, value) in [("iss", &self.issuer), ("aud", &self.audience)] {
            if let Some(value) = value {
                claims[name] = value.as_str().into();
            }
        }
        let part = |json: &serde_json::Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let signed = format!(
            "{}.{}",
            part(&json!({"alg": "HS256", "typ": "JWT"})),
            part(&claims)
        );
        let signature = hmac::sign(&self.key, signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)).into()
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::config::Settings;
    use crate::identity::{Identity, IdentityOptions, TokenError};

    #[tokio::test]
    async fn a_token_tells_surepass_who_the_customer_is_for_fifteen_minutes_and_a_minute_of_leeway() {
        let secret: SecretString = "0123456789abcdef0123456789abcdef".into();
        let mut asked = Settings::load_from(|_| None).unwrap().customers;
        asked.issuer = Some("https://id.example.com/".to_owned());
        asked.audience = Some("studio".to_owned());
        let at =
            |seconds: i64| Clock::new(move || DateTime::from_timestamp(1_700_000_000 + seconds, 0).unwrap());
        let token = Signer::new(&secret, &asked, at(0)).token();
        let read = async |secret: &SecretString, seconds| {
            let options = IdentityOptions {
                secret: Some(secret.clone()),
                ..asked.identity_options()
            };
            let http = crate::http_client::http().build().unwrap();
            let identity = Identity::new(options, http, at(seconds));
            identity.verify(token.expose_secret()).await
        };
        let customer = read(&secret, 15 * 60 + 59).await.unwrap();
        assert_eq!(
            (&*customer.id, customer.verified_email.as_deref()),
            (USER, Some(EMAIL))
        );
        assert_eq!(read(&secret, 15 * 60 + 60).await, Err(TokenError::Expired));
        let other = "fedcba9876543210fedcba9876543210".into();
        assert_eq!(read(&other, 0).await, Err(TokenError::Signature));
    }
}
