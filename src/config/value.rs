//! Reads one value, out of TOML or out of an environment variable (where everything is text), and says what is wrong
//! with it in words that follow the name of the setting: "… must be …". A secret is never repeated.

use std::net::SocketAddr;
use std::ops::Deref;
use std::str::FromStr;
use std::time::Duration;

use secrecy::SecretString;
use serde::de::{Deserialize, Deserializer, Error};
use url::Url;

use crate::address::masked;
use crate::credentials::{self, Misfit, is_quoted};
use crate::time_zone::Tz;

/// A whole number from `MIN` to `MAX`.
#[derive(Debug, Clone, Copy)]
pub struct Within<T, const MIN: u64, const MAX: u64>(T);

impl<T, const MIN: u64, const MAX: u64> Deref for Within<T, MIN, MAX> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: TryFrom<u64>, const MIN: u64, const MAX: u64> FromStr for Within<T, MIN, MAX> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = T::try_from(whole(text, MIN, MAX, "")?);
        number.map(Self).map_err(|_| format!("is too large: `{text}`"))
    }
}

impl<'de, T: TryFrom<u64>, const MIN: u64, const MAX: u64> Deserialize<'de> for Within<T, MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// A time of `MIN` to `MAX` units, each of so many milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct Span<const UNIT: u64, const MIN: u64, const MAX: u64>(Duration);

pub type Milliseconds<const MIN: u64, const MAX: u64> = Span<1, MIN, MAX>;
pub type Seconds<const MIN: u64, const MAX: u64> = Span<1_000, MIN, MAX>;
pub type Hours<const MIN: u64, const MAX: u64> = Span<3_600_000, MIN, MAX>;
pub type Days<const MIN: u64, const MAX: u64> = Span<86_400_000, MIN, MAX>;

impl<const UNIT: u64, const MIN: u64, const MAX: u64> Deref for Span<UNIT, MIN, MAX> {
    type Target = Duration;

    fn deref(&self) -> &Duration {
        &self.0
    }
}

impl<'de, const UNIT: u64, const MIN: u64, const MAX: u64> Deserialize<'de> for Span<UNIT, MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let unit = match UNIT {
            1 => " milliseconds",
            1_000 => " seconds",
            3_600_000 => " hours",
            _ => " days",
        };
        let text = String::deserialize(from)?;
        let number = whole(&text, MIN, MAX, unit).map_err(D::Error::custom)?;
        Ok(Self(Duration::from_millis(number * UNIT)))
    }
}

fn whole(text: &str, min: u64, max: u64, unit: &str) -> Result<u64, String> {
    let number = text.trim().parse().ok();
    number
        .filter(|number| (min..=max).contains(number))
        .ok_or_else(|| format!("must be a whole number from {min} to {max}{unit}, and is `{text}`"))
}

/// Reads text that must be `expected`; empty is `None`.
fn optional<'de, D: Deserializer<'de>, T>(
    from: D,
    expected: &str,
    read: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, D::Error> {
    let Some(text) = filled(from)? else {
        return Ok(None);
    };
    read(&text)
        .map(Some)
        .ok_or_else(|| D::Error::custom(format_args!("must be {expected}, and is `{text}`")))
}

/// The same for what may hold a password, such as a URL.
fn optional_masked<'de, D: Deserializer<'de>, T>(
    from: D,
    expected: &str,
    read: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, D::Error> {
    let Some(text) = filled(from)? else {
        return Ok(None);
    };
    read(&text).map(Some).ok_or_else(|| {
        let shown = masked(&text);
        D::Error::custom(format_args!("must be {expected}, and is `{shown}`"))
    })
}

/// Reads text that must be `expected`, and must not be empty.
fn required<'de, D: Deserializer<'de>, T>(
    from: D,
    expected: &str,
    read: impl FnOnce(&str) -> Option<T>,
) -> Result<T, D::Error> {
    optional(from, expected, read)?
        .ok_or_else(|| D::Error::custom(format_args!("must be {expected}, and is empty")))
}

pub(super) fn secret<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SecretString>, D::Error> {
    checked(from, |text| {
        if is_quoted(text) {
            Err(Misfit::Quoted)
        } else {
            Ok(())
        }
    })
}

pub(super) fn stripe_key<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SecretString>, D::Error> {
    checked(from, credentials::check_api_key)
}

pub(super) fn jwt_secret<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SecretString>, D::Error> {
    checked(from, credentials::check_jwt_secret)
}

pub(super) fn admin_tokens<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SecretString>, D::Error> {
    checked(from, credentials::check_admin_tokens)
}

fn checked<'de, D: Deserializer<'de>>(
    from: D,
    check: impl Fn(&str) -> Result<(), Misfit>,
) -> Result<Option<SecretString>, D::Error> {
    let text = filled(from)?;
    text.as_deref().map_or(Ok(()), check).map_err(D::Error::custom)?;
    Ok(text.map(SecretString::from))
}

/// Texts as a list, or as one text with commas between them.
#[derive(serde::Deserialize)]
#[serde(untagged, expecting = "must be a list, or text with commas between its items")]
enum Texts {
    Text(String),
    List(Vec<String>),
}

impl Texts {
    fn items(self) -> Vec<String> {
        match self {
            Self::List(items) => items,
            Self::Text(text) if text.trim().is_empty() => Vec::new(),
            Self::Text(text) => text.split(',').map(str::to_owned).collect(),
        }
    }
}

/// Webhook signing secrets as a list, or as text with commas between them.
pub(super) fn webhook_secrets<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<SecretString>, D::Error> {
    let items = Texts::deserialize(from)?.items();
    let mut secrets = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let item = item.trim();
        credentials::check_webhook_secret(item).map_err(|misfit| match items.len() {
            1 => D::Error::custom(misfit),
            of => D::Error::custom(format_args!("(secret {} of {of}) {misfit}", index + 1)),
        })?;
        secrets.push(SecretString::from(item));
    }
    Ok(secrets)
}

pub(super) fn url<'de, D: Deserializer<'de>>(from: D) -> Result<Url, D::Error> {
    optional_url(from)?.ok_or_else(|| D::Error::custom("must be a URL, and is empty"))
}

/// Settings show their URLs, so a URL with a password in it is refused.
pub(super) fn optional_url<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Url>, D::Error> {
    let url = optional_masked(from, "a URL that begins with https:// or http://", |text| {
        let url = Url::parse(text).ok()?;
        (matches!(url.scheme(), "http" | "https") && url.has_host()).then_some(url)
    })?;
    match url {
        Some(url) if !url.username().is_empty() || url.password().is_some() => {
            Err(D::Error::custom("must not have a user or a password in it"))
        }
        url => Ok(url),
    }
}

/// Where keys are read from that vouch for others: nobody on the way may exchange them.
pub(super) fn key_url<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Url>, D::Error> {
    let url = optional_url(from)?;
    let is_safe = |url: &Url| {
        url.scheme() == "https"
            || match url.host() {
                Some(url::Host::Domain(name)) => name == "localhost",
                Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
                Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
                None => false,
            }
    };
    match url {
        Some(url) if !is_safe(&url) => Err(D::Error::custom(format_args!(
            "must begin with https:// (http:// only for this machine), and is `{}`",
            masked(url.as_str())
        ))),
        url => Ok(url),
    }
}

/// A URL in which `{tenant}` and `{return}` are filled in later.
pub(super) fn sign_in_url<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let expected =
        "a URL such as https://shop.example.com/sign-in?next={return}, with {tenant} and {return} only";
    optional_masked(from, expected, |text| {
        let filled = text.replace("{tenant}", "x").replace("{return}", "x");
        let is_url = Url::parse(&filled).is_ok_and(|url| {
            matches!(url.scheme(), "http" | "https") && url.has_host() && url.username().is_empty()
        });
        (is_url && !filled.contains(['{', '}'])).then(|| text.to_owned())
    })
}

/// The name of an HTTP header, in lower case.
pub(super) fn optional_header<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    optional(from, "the name of a header, such as `x-forwarded-for`", |name| {
        (name.len() <= 64 && name.bytes().all(fits)).then(|| name.to_ascii_lowercase())
    })
}

/// Origins, each as a browser writes it in its `Origin` header, as a list or as text with commas between them.
pub(super) fn origins<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let items = Texts::deserialize(from)?.items();
    let origin = |text: &String| {
        let text = text.trim().trim_end_matches('/');
        let url = Url::parse(text).ok();
        url.filter(|url| matches!(url.scheme(), "http" | "https"))
            .map(|url| url.origin().ascii_serialization())
            .filter(|origin| origin.eq_ignore_ascii_case(text))
            .ok_or_else(|| {
                D::Error::custom(format_args!(
                    "must hold origins such as https://shop.example.com, without a path, and one is `{text}`"
                ))
            })
    };
    items.iter().map(origin).collect()
}

pub(super) fn address<'de, D: Deserializer<'de>>(from: D) -> Result<SocketAddr, D::Error> {
    let expected = "an IP address and a port, such as 127.0.0.1:8080 or [::]:8080";
    required(from, expected, |text| text.parse().ok())
}

/// One of a few words.
pub(super) fn word<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err = &'static str>,
{
    optional_word(from)?.ok_or_else(|| match T::from_str("") {
        Err(choice) => D::Error::custom(format_args!("must be {choice}, and is empty")),
        Ok(_) => D::Error::custom("is empty"),
    })
}

/// One of a few words, or empty.
pub(super) fn optional_word<'de, D, T>(from: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err = &'static str>,
{
    let Some(text) = filled(from)? else {
        return Ok(None);
    };
    let word = text.parse().map(Some);
    word.map_err(|choice| D::Error::custom(format_args!("must be {choice}, and is `{text}`")))
}

pub(super) fn flag<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    required(from, "`true` or `false`", |text| text.parse().ok())
}

/// Empty is `None`.
pub(super) fn optional_flag<'de, D: Deserializer<'de>>(from: D) -> Result<Option<bool>, D::Error> {
    optional(from, "`true` or `false`", |text| text.parse().ok())
}

pub(super) fn time_zone<'de, D: Deserializer<'de>>(from: D) -> Result<Tz, D::Error> {
    let expected = "a time zone by its IANA name, such as `UTC` or `Europe/Oslo`";
    required(from, expected, |text| text.parse().ok())
}

/// The prefix stands inside a Redis hash tag, which braces would break.
pub(super) fn prefix<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    required(from, "1 to 64 lower-case letters, digits, `-` or `_`", |text| {
        (text.len() <= 64 && text.bytes().all(fits)).then(|| text.to_owned())
    })
}

/// What another program gives to apalis-redis as the queue's name; empty is `None`.
pub(super) fn namespace<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    optional(from, "at most 200 ASCII characters without spaces", |name| {
        (name.len() <= 200 && name.bytes().all(|byte| byte.is_ascii_graphic())).then(|| name.to_owned())
    })
}

/// Text without the white space around it; empty is `None`.
pub(super) fn filled<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(from)?;
    let text = text.trim();
    Ok((!text.is_empty()).then(|| text.to_owned()))
}
