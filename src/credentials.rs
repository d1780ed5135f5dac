//! What keys, secrets and tokens look like. Whatever takes one in refuses a text that is something else: a guard that cannot
//! read its key would turn everybody away, or let the wrong ones in.

use secrecy::{ExposeSecret, SecretString};

pub use crate::address::is_quoted;

/// A shorter HS256 secret can be guessed from one token: RFC 7518, 3.2.
const SHORTEST_JWT_SECRET: usize = 32;
/// A shorter admin token can be guessed.
const SHORTEST_ADMIN_TOKEN: usize = 24;
/// What follows `whsec_` in a webhook secret, at least.
const SHORTEST_WEBHOOK_SECRET: usize = 8;

const ROLES: [&str; 3] = ["viewer", "support", "operator"];

/// Why a text cannot be the key or secret that it is set as, in words that follow its name. The text is never repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    #[error("is empty: set the value, or remove the extra comma")]
    Empty,
    #[error("{}", crate::address::QUOTED)]
    Quoted,
    #[error(
        "has a blank or another character that no key has: copy it again, whole, on one line and without anything around it"
    )]
    Character,
    #[error(
        "is a publishable key (pk_…): use a restricted key (rk_…) or the secret key (sk_…) (Dashboard, Developers, API keys)"
    )]
    PublishableKey,
    #[error(
        "is a webhook signing secret (whsec_…): that one belongs in STRIPE_WEBHOOK_SECRET; use an API key (rk_… or sk_…)"
    )]
    WebhookSecretForKey,
    #[error(
        "is no API key for live or test payments: it must begin with rk_live_, sk_live_, rk_test_ or sk_test_ (Dashboard, \
         Developers, API keys)"
    )]
    NoKey,
    #[error(
        "is the id of a webhook endpoint (we_…): use its signing secret (whsec_…) (Dashboard, Developers, Webhooks, the endpoint)"
    )]
    EndpointId,
    #[error(
        "is an API key (sk_…, rk_… or pk_…): use the endpoint's signing secret (whsec_…) (Dashboard, Developers, Webhooks, \
         the endpoint)"
    )]
    KeyForWebhookSecret,
    #[error(
        "is no webhook signing secret: it must begin with whsec_ (Dashboard, Developers, Webhooks, the endpoint)"
    )]
    NoWebhookSecret,
    #[error(
        "is too short for a webhook signing secret: copy it whole, whsec_ and 8 characters or more (Dashboard, Developers, \
         Webhooks, the endpoint)"
    )]
    ShortWebhookSecret,
    #[error(
        "is shorter than 32 bytes: whoever has one token could guess it and sign others; use `openssl rand -hex 32`, here and \
         where the tokens are made"
    )]
    ShortJwtSecret,
    #[error(
        "is shorter than 24 characters, or one of its tokens is: it could be guessed; use `openssl rand -hex 32`"
    )]
    ShortAdminToken,
    #[error(
        "must be one token, or several as `name:role:token`, separated by commas, each with one of the roles viewer, support \
         and operator"
    )]
    AdminTokenForm,
}

/// Refuses what is no signing secret of a webhook endpoint.
///
/// # Errors
/// [`Misfit`].
pub fn check_webhook_secret(text: &str) -> Result<(), Misfit> {
    check_characters(text)?;
    match text.strip_prefix("whsec_") {
        Some(rest) if rest.len() < SHORTEST_WEBHOOK_SECRET => Err(Misfit::ShortWebhookSecret),
        Some(_) => Ok(()),
        None if text.starts_with("we_") => Err(Misfit::EndpointId),
        None if ["sk_", "rk_", "pk_"].iter().any(|key| text.starts_with(key)) => {
            Err(Misfit::KeyForWebhookSecret)
        }
        None => Err(Misfit::NoWebhookSecret),
    }
}

/// Refuses a tenant's secrets where one of them is none. What surrounds them may be blank.
///
/// # Errors
/// [`Misfit`].
pub fn check_webhook_secrets(secrets: &[SecretString]) -> Result<(), Misfit> {
    let mut secrets = secrets.iter().map(|secret| secret.expose_secret().trim());
    secrets.try_for_each(check_webhook_secret)
}

/// Refuses what is no API key of Stripe that says whether it is for live or for test payments.
///
/// # Errors
/// [`Misfit`].
pub fn check_api_key(text: &str) -> Result<(), Misfit> {
    check_characters(text)?;
    let kinds = ["sk_live_", "sk_test_", "rk_live_", "rk_test_"];
    let rest = kinds.iter().find_map(|kind| text.strip_prefix(kind));
    match rest {
        Some("") | None if text.starts_with("pk_") => Err(Misfit::PublishableKey),
        Some("") | None if text.starts_with("whsec_") => Err(Misfit::WebhookSecretForKey),
        Some("") | None => Err(Misfit::NoKey),
        Some(_) => Ok(()),
    }
}

/// Refuses an HS256 secret that can be guessed.
///
/// # Errors
/// [`Misfit`].
pub fn check_jwt_secret(text: &str) -> Result<(), Misfit> {
    if is_quoted(text) {
        return Err(Misfit::Quoted);
    }
    if text.len() < SHORTEST_JWT_SECRET {
        return Err(Misfit::ShortJwtSecret);
    }
    Ok(())
}

/// Refuses what is neither a long token nor a list of `name:role:token` with long ones.
///
/// # Errors
/// [`Misfit`].
pub fn check_admin_tokens(text: &str) -> Result<(), Misfit> {
    check_characters(&text.replace(", ", ","))?;
    let is_list = text.contains([':', ',']);
    for entry in text.split(',').map(str::trim) {
        let token = if is_list {
            let mut parts = entry.splitn(3, ':');
            let (name, role, token) = (parts.next(), parts.next(), parts.next());
            if name.is_none_or(str::is_empty) || role.is_none_or(|role| !ROLES.contains(&role)) {
                return Err(Misfit::AdminTokenForm);
            }
            token.ok_or(Misfit::AdminTokenForm)?
        } else {
            entry
        };
        if token.chars().count() < SHORTEST_ADMIN_TOKEN {
            return Err(Misfit::ShortAdminToken);
        }
    }
    Ok(())
}

/// Whether a key is for live payments (`sk_live_…`, `rk_live_…`) or for test ones (`sk_test_…`, `rk_test_…`); `None` where it
/// does not say.
#[must_use]
pub fn livemode(key: &SecretString) -> Option<bool> {
    let key = key.expose_secret();
    let rest = key.strip_prefix("sk_").or_else(|| key.strip_prefix("rk_"))?;
    if rest.starts_with("live_") {
        Some(true)
    } else if rest.starts_with("test_") {
        Some(false)
    } else {
        None
    }
}

fn check_characters(text: &str) -> Result<(), Misfit> {
    if text.is_empty() {
        Err(Misfit::Empty)
    } else if is_quoted(text) {
        Err(Misfit::Quoted)
    } else if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Err(Misfit::Character)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_secret_is_whsec_and_8_characters_or_more() {
        for (text, verdict) in [
            ("whsec_12345678", Ok(())),
            ("whsec_1234567", Err(Misfit::ShortWebhookSecret)),
            ("", Err(Misfit::Empty)),
            ("\"whsec_0123456789abcdef\"", Err(Misfit::Quoted)),
            ("'whsec_0123456789abcdef'", Err(Misfit::Quoted)),
            ("whsec_0123456789abcdef\"", Err(Misfit::Quoted)),
            ("“whsec_0123456789abcdef”", Err(Misfit::Quoted)),
            ("whsec_01234567 89abcdef", Err(Misfit::Character)),
            ("whsec_0123456789…", Err(Misfit::Character)),
            ("we_1NhPz2Abc", Err(Misfit::EndpointId)),
            ("sk_test_abcdefghijklmnop", Err(Misfit::KeyForWebhookSecret)),
            ("WHSEC_0123456789abcdef", Err(Misfit::NoWebhookSecret)),
        ] {
            assert_eq!(check_webhook_secret(text), verdict, "{text}");
        }
    }

    #[test]
    fn an_api_key_says_whether_it_is_for_live_or_for_test_payments() {
        for (text, verdict) in [
            ("sk_live_1", Ok(())),
            ("rk_live_1", Ok(())),
            ("sk_test_1", Ok(())),
            ("rk_test_1", Ok(())),
            ("sk_test_", Err(Misfit::NoKey)),
            ("sk_org_live_1", Err(Misfit::NoKey)),
            ("pk_live_1", Err(Misfit::PublishableKey)),
            ("whsec_0123456789abcdef", Err(Misfit::WebhookSecretForKey)),
            ("\"sk_live_1\"", Err(Misfit::Quoted)),
            ("rk_live_1\u{200b}", Err(Misfit::Character)),
        ] {
            assert_eq!(check_api_key(text), verdict, "{text}");
        }
    }

    #[test]
    fn every_admin_token_has_24_characters_or_more_and_a_known_role() {
        let long = "0123456789abcdef01234567";
        for (text, verdict) in [
            (long.to_owned(), Ok(())),
            (format!("kari:operator:{long},ola:viewer:{long}"), Ok(())),
            (format!("kari:operator:{long}, ola:support:{long}"), Ok(())),
            ("a".to_owned(), Err(Misfit::ShortAdminToken)),
            (
                format!("kari:operator:{long},ola:viewer:a"),
                Err(Misfit::ShortAdminToken),
            ),
            (format!("kari:owner:{long}"), Err(Misfit::AdminTokenForm)),
            (format!(":viewer:{long}"), Err(Misfit::AdminTokenForm)),
            (format!("{long},{long}"), Err(Misfit::AdminTokenForm)),
            (format!("kari:viewer:{long},"), Err(Misfit::AdminTokenForm)),
            (format!("'{long}'"), Err(Misfit::Quoted)),
        ] {
            assert_eq!(check_admin_tokens(&text), verdict, "{text}");
        }
    }
}
