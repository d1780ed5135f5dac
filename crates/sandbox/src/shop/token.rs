//! The tokens that tell Surepass who the shop's customers are, as a sign-in service would sign them.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::sandbox::Sandbox;
use crate::signature::hmac_sha256;

/// Seconds that a token is valid for.
const LIFETIME: i64 = 15 * 60;

/// A customer of the shop. On its pages there is only Ada.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Customer {
    /// The id that the checkout's metadata carries as `userId`.
    pub(super) user: String,
    pub(super) email: String,
}

pub(super) const NAME: &str = "Ada";

impl Default for Customer {
    fn default() -> Self {
        Self {
            user: "user_ada".to_owned(),
            email: "ada@example.com".to_owned(),
        }
    }
}

/// Signs tokens: HS256, with the secret that Surepass knows as `SUREPASS_JWT_SECRET`.
#[derive(Debug)]
pub(super) struct Signer {
    pub(super) secret: SecretString,
    pub(super) issuer: Option<String>,
    pub(super) audience: Option<String>,
    /// Its clock is the shop's.
    pub(super) sandbox: Arc<Sandbox>,
}

impl Signer {
    pub(super) fn token(&self, customer: &Customer) -> SecretString {
        let now = self.sandbox.clock.now().timestamp();
        let mut claims = json!({
            "sub": customer.user, "email": customer.email, "email_verified": true, "name": NAME,
            "iat": now, "exp": now + LIFETIME,
        });
        for (name, value) in [("iss", &self.issuer), ("aud", &self.audience)] {
            if let Some(value) = value {
                claims[name] = value.as_str().into();
            }
        }
        let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let header = part(&json!({"alg": "HS256", "typ": "JWT"}));
        let signed = format!("{header}.{}", part(&claims));
        let signature = hmac_sha256(&self.secret, &[signed.as_bytes()]);
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)).into()
    }
}
