//! Reads one value, out of TOML or out of an environment variable (where everything is text), and says what is wrong
//! with it in words that follow the name of the setting: "… must be …". A secret is never repeated.

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::time::Duration;

use secrecy::SecretString;
use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
use url::Url;

use crate::address::masked;
use crate::credentials::{self, Misfit, is_quoted};
use crate::time_zone::Tz;

/// A whole number, as a number or as text.
struct Whole(u64);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reader;

        impl Visitor<'_> for Reader {
            type Value = Whole;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Whole, E> {
                Ok(Whole(number))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Whole, E> {
                u64::try_from(number)
                    .map(Whole)
                    .map_err(|_| E::custom(format_args!("must not be negative, and is {number}")))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Whole, E> {
                let number = text.trim().parse();
                number
                    .map(Whole)
                    .map_err(|_| E::custom(format_args!("must be a whole number, and is `{text}`")))
            }
        }

        from.deserialize_any(Reader)
    }
}

/// A whole number from `MIN` to `MAX`.
pub(super) fn whole<'de, D: Deserializer<'de>, T: TryFrom<u64>, const MIN: u64, const MAX: u64>(
    from: D,
) -> Result<T, D::Error> {
    let Whole(number) = Whole::deserialize(from)?;
    let out_of_range = || D::Error::custom(format_args!("must be from {MIN} to {MAX}, and is {number}"));
    if !(MIN..=MAX).contains(&number) {
        return Err(out_of_range());
    }
    T::try_from(number).map_err(|_| out_of_range())
}

pub(super) fn milliseconds<'de, D: Deserializer<'de>, const MIN: u64, const MAX: u64>(
    from: D,
) -> Result<Duration, D::Error> {
    whole::<D, u64, MIN, MAX>(from).map(Duration::from_millis)
}

pub(super) fn seconds<'de, D: Deserializer<'de>, const MIN: u64, const MAX: u64>(
    from: D,
) -> Result<Duration, D::Error> {
    whole::<D, u64, MIN, MAX>(from).map(Duration::from_secs)
}

pub(super) fn hours<'de, D: Deserializer<'de>, const MIN: u64, const MAX: u64>(
    from: D,
) -> Result<Duration, D::Error> {
    whole::<D, u64, MIN, MAX>(from).map(Duration::from_hours)
}

pub(super) fn days<'de, D: Deserializer<'de>, const MIN: u64, const MAX: u64>(
    from: D,
) -> Result<Duration, D::Error> {
    whole::<D, u64, MIN, MAX>(from).map(|days| Duration::from_hours(days * 24))
}

/// Zero is `None`.
pub(super) fn count_or_none<'de, D: Deserializer<'de>, const MAX: u64>(
    from: D,
) -> Result<Option<NonZeroUsize>, D::Error> {
    whole::<D, usize, 0, MAX>(from).map(NonZeroUsize::new)
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
struct Texts(Vec<String>);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Texts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list, or text with commas between its items")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Texts, E> {
                if text.trim().is_empty() {
                    return Ok(Texts(Vec::new()));
                }
                Ok(Texts(text.split(',').map(str::to_owned).collect()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Texts, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = list.next_element()? {
                    items.push(item);
                }
                Ok(Texts(items))
            }
        }

        from.deserialize_any(Reader)
    }
}

/// Webhook signing secrets as a list, or as text with commas between them.
pub(super) fn webhook_secrets<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<SecretString>, D::Error> {
    let Texts(items) = Texts::deserialize(from)?;
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
    let Some(text) = filled(from)? else {
        return Ok(None);
    };
    match Url::parse(&text) {
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            Err(D::Error::custom("must not have a user or a password in it"))
        }
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(Some(url)),
        Ok(_) => Err(D::Error::custom(format_args!(
            "must be a URL that begins with https:// or http://, and is `{}`",
            masked(&text)
        ))),
        Err(error) => Err(D::Error::custom(format_args!(
            "must be a URL such as https://api.example.com, and is `{}` ({error})",
            masked(&text)
        ))),
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

pub(super) fn optional_text<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    filled(from)
}

/// A URL in which `{tenant}` and `{return}` are filled in later.
pub(super) fn sign_in_url<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let Some(text) = filled(from)? else {
        return Ok(None);
    };
    let filled = text.replace("{tenant}", "x").replace("{return}", "x");
    let is_url = Url::parse(&filled).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https") && url.has_host() && url.username().is_empty()
    });
    if !is_url || filled.contains(['{', '}']) {
        return Err(D::Error::custom(format_args!(
            "must be a URL such as https://shop.example.com/sign-in?next={{return}}, with {{tenant}} and {{return}} only, and is `{}`",
            masked(&text)
        )));
    }
    Ok(Some(text))
}

/// The name of an HTTP header, in lower case.
pub(super) fn optional_header<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let name = filled(from)?.map(|name| name.to_ascii_lowercase());
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    match name {
        Some(name) if name.len() > 64 || !name.bytes().all(fits) => Err(D::Error::custom(format_args!(
            "must be the name of a header, such as `x-forwarded-for`, and is `{name}`"
        ))),
        name => Ok(name),
    }
}

/// Origins, each as a browser writes it in its `Origin` header, as a list or as text with commas between them.
pub(super) fn origins<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let mut origins = Vec::new();
    for text in Texts::deserialize(from)?.0 {
        let text = text.trim().trim_end_matches('/');
        let origin = Url::parse(text)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https"))
            .map(|url| url.origin().ascii_serialization());
        match origin {
            Some(origin) if origin.eq_ignore_ascii_case(text) => origins.push(origin),
            _ => {
                return Err(D::Error::custom(format_args!(
                    "must hold origins such as https://shop.example.com, without a path, and one is `{text}`"
                )));
            }
        }
    }
    Ok(origins)
}

pub(super) fn address<'de, D: Deserializer<'de>>(from: D) -> Result<SocketAddr, D::Error> {
    let text = filled(from)?.unwrap_or_default();
    text.parse().map_err(|_| {
        D::Error::custom(format_args!(
            "must be an IP address and a port, such as 127.0.0.1:8080 or [::]:8080, and is `{text}`"
        ))
    })
}

pub(super) fn word<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err = &'static str>,
{
    let text = filled(from)?.unwrap_or_default();
    text.parse()
        .map_err(|choice| D::Error::custom(format_args!("must be {choice}, and is `{text}`")))
}

pub(super) fn flag<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    let text = filled(from)?.unwrap_or_default();
    truth(&text).map_err(D::Error::custom)
}

/// Empty is `None`.
pub(super) fn optional_flag<'de, D: Deserializer<'de>>(from: D) -> Result<Option<bool>, D::Error> {
    let text = filled(from)?;
    text.as_deref().map(truth).transpose().map_err(D::Error::custom)
}

fn truth(text: &str) -> Result<bool, String> {
    text.parse()
        .map_err(|_| format!("must be `true` or `false`, and is `{text}`"))
}

pub(super) fn optional_word<'de, D, T>(from: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err = &'static str>,
{
    let Some(text) = filled(from)? else {
        return Ok(None);
    };
    let word = text.parse();
    word.map(Some)
        .map_err(|choice| D::Error::custom(format_args!("must be {choice}, and is `{text}`")))
}

pub(super) fn time_zone<'de, D: Deserializer<'de>>(from: D) -> Result<Tz, D::Error> {
    let text = filled(from)?.unwrap_or_default();
    text.parse().map_err(|_| {
        D::Error::custom(format_args!(
            "must be a time zone by its IANA name, such as `UTC` or `Europe/Oslo`, and is `{text}`"
        ))
    })
}

/// The prefix stands inside a Redis hash tag, which braces would break.
pub(super) fn prefix<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let text = String::deserialize(from)?;
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    if (1..=64).contains(&text.len()) && text.bytes().all(fits) {
        return Ok(text);
    }
    Err(D::Error::custom(format_args!(
        "must be 1 to 64 lower-case letters, digits, `-` or `_`, and is `{text}`"
    )))
}

/// What another program gives to apalis-redis as the queue's name; empty is `None`.
pub(super) fn namespace<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let text = filled(from)?;
    match &text {
        Some(name) if name.len() > 200 || !name.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Err(D::Error::custom(format_args!(
                "must be at most 200 ASCII characters without spaces, and is `{name}`"
            )))
        }
        _ => Ok(text),
    }
}

/// Text without the white space around it; empty is `None`.
fn filled<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(from)?;
    let text = text.trim();
    Ok((!text.is_empty()).then(|| text.to_owned()))
}
