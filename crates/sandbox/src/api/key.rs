//! API keys. There are no accounts to have keys of: any key that looks like one is the platform's own.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::error::ApiError;

/// A secret or restricted key.
#[derive(Clone)]
pub(crate) struct Key {
    pub(crate) text: String,
    pub(crate) livemode: bool,
    /// `rk_…`: reads everything, writes nothing.
    restricted: bool,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

/// What a certain key may not, besides what its prefix says.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct KeyRule {
    /// Calls whose path begins with one of these are refused with 403.
    refuse: Vec<String>,
    /// Every call is refused with 401.
    expired: bool,
}

impl Key {
    /// Reads `Authorization: Bearer <key>`, or Basic with the key as the user.
    ///
    /// # Errors
    /// 401 for no key, or for what is none.
    pub(super) fn read(authorization: Option<&str>) -> Result<Self, ApiError> {
        let text = authorization.and_then(|header| {
            let (scheme, rest) = header.split_once(' ')?;
            if scheme.eq_ignore_ascii_case("bearer") {
                return Some(rest.trim().to_owned());
            }
            let decoded = STANDARD.decode(rest.trim()).ok()?;
            let text = String::from_utf8(decoded).ok()?;
            Some(text.split(':').next().unwrap_or_default().to_owned())
        });
        let Some(text) = text.filter(|text| !text.is_empty()) else {
            let message = "You did not provide an API key. You need to provide your API key in the Authorization header, \
                           using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY').";
            return Err(ApiError::new(401, "invalid_request_error", message));
        };
        let mut parts = text.splitn(3, '_');
        let (kind, mode, rest) = (parts.next(), parts.next(), parts.next());
        let livemode = match mode {
            Some("live") => Some(true),
            Some("test") => Some(false),
            _ => None,
        };
        let restricted = kind == Some("rk");
        match livemode {
            Some(livemode)
                if (restricted || kind == Some("sk")) && rest.is_some_and(|rest| !rest.is_empty()) =>
            {
                Ok(Self {
                    text,
                    livemode,
                    restricted,
                })
            }
            _ => {
                let shown = shown(&text);
                Err(ApiError::new(
                    401,
                    "invalid_request_error",
                    format!("Invalid API Key provided: {shown}"),
                ))
            }
        }
    }

    /// Whether this key may make this call.
    ///
    /// # Errors
    /// 401 for an expired key, 403 for what it has no permission for.
    pub(super) fn may(&self, is_read: bool, path: &str, rule: Option<&KeyRule>) -> Result<(), ApiError> {
        if rule.is_some_and(|rule| rule.expired) {
            let message = format!("Expired API Key provided: {}", self.shown());
            return Err(ApiError::new(401, "invalid_request_error", message).code("api_key_expired"));
        }
        let refused = rule.is_some_and(|rule| rule.refuse.iter().any(|start| path.starts_with(start)));
        if refused || (self.restricted && !is_read) {
            let message = format!(
                "The provided key '{}' does not have the required permissions for this endpoint.",
                self.shown()
            );
            return Err(ApiError::new(403, "invalid_request_error", message));
        }
        Ok(())
    }

    fn shown(&self) -> String {
        shown(&self.text)
    }
}

/// The prefix and the last four characters, as Stripe shows a key.
fn shown(text: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    let end: String = letters[letters.len().saturating_sub(4)..].iter().collect();
    let start: String = letters
        .iter()
        .take(8.min(letters.len().saturating_sub(4)))
        .collect();
    format!("{start}{}{end}", "*".repeat(8))
}
