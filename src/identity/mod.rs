//! Who is asking: a customer's token (JWT), signed by the shop's sign-in service.
//!
//! HS256 with a shared secret, RS256 and ES256 with the keys of a JWKS: which of them are taken is configured, never told
//! by the token, and each key fits one algorithm only.

mod claims;
mod crypto;
mod jwks;

use std::fmt;

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::clock::Clock;

use claims::Claims;
use jwks::Jwks;

/// The longest token that is looked at, in bytes.
const LONGEST_TOKEN: usize = 8_192;

/// How tokens are verified.
#[derive(Clone, Default)]
pub struct IdentityOptions {
    /// For HS256; one of fewer than 32 bytes can be guessed from any token that it has signed.
    pub secret: Option<SecretString>,
    /// For RS256 and ES256.
    pub jwks_url: Option<Url>,
    /// The `iss` that tokens must have; `None`: any.
    pub issuer: Option<String>,
    /// The `aud` that tokens must have; `None`: those that have none.
    pub audience: Option<String>,
}

impl fmt::Debug for IdentityOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdentityOptions")
            .field("jwks_url", &self.jwks_url.as_ref().map(Url::as_str))
            .field("issuer", &self.issuer)
            .field("audience", &self.audience)
            .finish_non_exhaustive()
    }
}

/// Verifies tokens.
#[derive(Debug)]
pub struct Identity {
    secret: Option<DecodingKey>,
    jwks: Option<Jwks>,
    options: IdentityOptions,
    clock: Clock,
}

/// A customer, as in their token.
#[derive(Clone, PartialEq, Eq)]
pub struct Customer {
    /// The user's id, which checkout's metadata carries as `userId`.
    pub id: String,
    /// As [`crate::email::normalize`] gives it; only where the sign-in service has verified that it is theirs.
    pub verified_email: Option<String>,
    /// When the token expires, in seconds since 1970.
    pub expires: i64,
}

impl fmt::Debug for Customer {
    /// Without the email: this reaches logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Customer")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Why a token is rejected. Holds nothing of the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("neither SUREPASS_JWT_SECRET nor SUREPASS_JWKS_URL is set")]
    NotConfigured,
    #[error("the keys of SUREPASS_JWKS_URL cannot be read at the moment")]
    KeysUnavailable,
    #[error("not a signed token")]
    Malformed,
    #[error("signed with an algorithm that is not configured")]
    Algorithm,
    #[error("signed with an unknown key")]
    UnknownKey,
    #[error("the signature is wrong")]
    Signature,
    #[error("expired, or without `exp`")]
    Expired,
    #[error("not valid yet")]
    NotYet,
    #[error("the issuer is not customers.issuer")]
    Issuer,
    #[error("the audience is not customers.audience")]
    Audience,
    #[error("without a usable `sub`")]
    Subject,
    #[error(
        "the `sub` is `guest-` or `user-` and 32 hexadecimal digits: Surepass reserves such ids for guests, so the sign-in service must use others"
    )]
    Guest,
}

impl Identity {
    /// With `http` for the JWKS: no call is made before there is a token.
    #[must_use]
    pub fn new(options: IdentityOptions, http: reqwest::Client, clock: Clock) -> Self {
        crypto::install();
        let key = |secret: &SecretString| DecodingKey::from_secret(secret.expose_secret().as_bytes());
        let jwks = |url: &Url| Jwks::new(url.clone(), http, clock.clone());
        Self {
            secret: options.secret.as_ref().map(key),
            jwks: options.jwks_url.as_ref().map(jwks),
            options,
            clock,
        }
    }

    /// Whether tokens can be verified at all.
    #[must_use]
    pub fn is_configured(&self) -> bool {
        self.secret.is_some() || self.jwks.is_some()
    }

    /// Reads the keys of the JWKS, and answers how many there are, or why there are none; `None` without a JWKS. For a check
    /// that nobody waits for.
    pub async fn try_jwks(&self) -> Option<Result<usize, String>> {
        Some(self.jwks.as_ref()?.read_now().await)
    }

    /// The customer whose token it is.
    ///
    /// # Errors
    /// [`TokenError`].
    pub async fn verify(&self, token: &str) -> Result<Customer, TokenError> {
        if !self.is_configured() {
            return Err(TokenError::NotConfigured);
        }
        if token.len() > LONGEST_TOKEN {
            return Err(TokenError::Malformed);
        }
        let header = decode_header(token).map_err(|error| sort(&error))?;
        // Whoever signs with an extension wants those who do not know it to refuse.
        if header.crit.is_some() {
            return Err(TokenError::Malformed);
        }
        let validation = self.validation(header.alg);
        let keys = match (header.alg, &self.secret, &self.jwks) {
            (Algorithm::HS256, Some(secret), _) => vec![secret.clone()],
            (Algorithm::RS256 | Algorithm::ES256, _, Some(jwks)) => {
                jwks.keys(header.kid.as_deref(), header.alg).await?
            }
            _ => return Err(TokenError::Algorithm),
        };
        let mut verdict = TokenError::UnknownKey;
        for key in &keys {
            match decode::<Claims>(token, key, &validation) {
                Ok(token) => return token.claims.customer(self.clock.now()),
                Err(error) => verdict = sort(&error),
            }
        }
        Err(verdict)
    }

    fn validation(&self, algorithm: Algorithm) -> Validation {
        let mut validation = Validation::new(algorithm);
        // By our own clock: `Claims::customer`.
        validation.validate_exp = false;
        let mut required = vec!["exp", "sub"];
        if let Some(issuer) = &self.options.issuer {
            validation.set_issuer(&[issuer]);
            required.push("iss");
        }
        if let Some(audience) = &self.options.audience {
            validation.set_audience(&[audience]);
            required.push("aud");
        }
        validation.set_required_spec_claims(&required);
        validation
    }
}

fn sort(error: &jsonwebtoken::errors::Error) -> TokenError {
    use jsonwebtoken::errors::ErrorKind;
    match error.kind() {
        ErrorKind::InvalidSignature => TokenError::Signature,
        ErrorKind::InvalidAlgorithm | ErrorKind::UnsupportedAlgorithm => TokenError::Algorithm,
        ErrorKind::InvalidIssuer => TokenError::Issuer,
        ErrorKind::InvalidAudience => TokenError::Audience,
        ErrorKind::MissingRequiredClaim(claim) => match claim.as_str() {
            "iss" => TokenError::Issuer,
            "aud" => TokenError::Audience,
            "sub" => TokenError::Subject,
            _ => TokenError::Expired,
        },
        _ => TokenError::Malformed,
    }
}
