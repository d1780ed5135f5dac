//! What is set for the customers' routes.

use secrecy::SecretString;
use serde::Deserialize;
use url::Url;

use super::value::{self, Within};
use crate::identity::IdentityOptions;

/// `[customers]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CustomerSettings {
    /// Verifies HS256 tokens; 32 bytes or more.
    #[serde(deserialize_with = "value::jwt_secret")]
    pub jwt_secret: Option<SecretString>,
    /// Where the keys are that verify RS256 and ES256 tokens: https, or http on this machine.
    #[serde(deserialize_with = "value::key_url")]
    pub jwks_url: Option<Url>,
    /// The `iss` that tokens must have; `None`: any.
    #[serde(deserialize_with = "value::filled")]
    pub issuer: Option<String>,
    /// The `aud` that tokens must have; `None`: those that have none.
    #[serde(deserialize_with = "value::filled")]
    pub audience: Option<String>,
    /// Other sites whose pages may call the customers' routes, as browsers name them: `https://shop.example.com`.
    #[serde(deserialize_with = "value::origins")]
    pub allowed_origins: Vec<String>,
    /// The shop's own sign-in, for who comes to their passes and is not signed in; `{tenant}` and `{return}` in it are filled in.
    #[serde(deserialize_with = "value::sign_in_url")]
    pub sign_in_url: Option<String>,
    /// The header in which a proxy tells who connects; `None`: whoever connects is told by the connection.
    #[serde(deserialize_with = "value::optional_header")]
    pub address_header: Option<String>,
    /// Calls a minute of one customer, 1 to 100,000.
    pub requests_per_minute: Within<u32, 1, 100_000>,
    /// Calls a minute from one address, 1 to 1,000,000.
    pub address_requests_per_minute: Within<u32, 1, 1_000_000>,
    /// Syncs a minute that one customer asks for, 1 to 1,000.
    pub syncs_per_minute: Within<u32, 1, 1_000>,
    /// How often a minute Stripe is asked for one customer about sessions that nobody here knows, 1 to 1,000.
    pub asks_per_minute: Within<u32, 1, 1_000>,
    /// Streams that are open at a time on one server, 0 to 1,000,000.
    pub streams: Within<u32, 0, 1_000_000>,
}

impl CustomerSettings {
    /// How their tokens are verified.
    #[must_use]
    pub fn identity_options(&self) -> IdentityOptions {
        IdentityOptions {
            secret: self.jwt_secret.clone(),
            jwks_url: self.jwks_url.clone(),
            issuer: self.issuer.clone(),
            audience: self.audience.clone(),
        }
    }
}
