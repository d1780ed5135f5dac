//! The page's own addresses: reads and writes their queries.

use actix_web::HttpRequest;
use url::form_urlencoded::{Serializer, byte_serialize, parse};

use super::language::Reader;
use crate::customer;

/// How many times a page without a script looks at a purchase before it says "late": every 2 s for 30 s.
pub(super) const ATTEMPTS: u32 = 15;
/// More passes than a sync brings.
const MOST_FOUND: u64 = 10_000;

/// The query of an address. Anything unknown or malformed is ignored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct PageQuery {
    pub(super) lang: Option<String>,
    /// A customer returns from checkout.
    pub(super) bought: Option<Bought>,
    /// The outcome of a sync by the form.
    pub(super) synced: Option<Synced>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bought {
    pub(super) session: String,
    /// Which look this is, from 1 on.
    pub(super) attempt: u32,
}

/// The outcome of a sync, written as one word, and for `Found` a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Synced {
    Found(u64),
    Already,
    None,
    Failed,
    UnderWay,
}

impl PageQuery {
    pub(super) fn read(request: &HttpRequest) -> Self {
        let query = request.query_string();
        let value = |name: &str| {
            parse(query.as_bytes())
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.into_owned())
        };
        let session = value("session_id").filter(|id| customer::is_session_id(id));
        let is_success = value("success").as_deref() == Some("true");
        Self {
            lang: value("lang"),
            bought: session.filter(|_| is_success).map(|session| Bought {
                session,
                attempt: value("attempt")
                    .and_then(|attempt| attempt.parse().ok())
                    .unwrap_or(1)
                    .clamp(1, ATTEMPTS + 1),
            }),
            synced: value("sync").and_then(|word| {
                let count = value("n").and_then(|n| n.parse().ok()).unwrap_or(0);
                Synced::read(&word, count)
            }),
        }
    }
}

impl Bought {
    /// The first look.
    pub(super) fn anew(self) -> Self {
        Self { attempt: 1, ..self }
    }
}

impl Synced {
    fn read(word: &str, count: u64) -> Option<Self> {
        Some(match word {
            "found" if (1..=MOST_FOUND).contains(&count) => Self::Found(count),
            "already" => Self::Already,
            "none" => Self::None,
            "failed" => Self::Failed,
            "working" => Self::UnderWay,
            _ => return None,
        })
    }

    fn word(self) -> &'static str {
        match self {
            Self::Found(_) => "found",
            Self::Already => "already",
            Self::None => "none",
            Self::Failed => "failed",
            Self::UnderWay => "working",
        }
    }
}

/// A tenant's page, in the language that its reader chose.
pub(super) fn page(tenant: &str, reader: &Reader, bought: Option<&Bought>, synced: Option<Synced>) -> String {
    let chosen = reader.chose.then_some(reader.language.tag.as_str());
    in_language(tenant, chosen, bought, synced)
}

pub(super) fn in_language(
    tenant: &str,
    lang: Option<&str>,
    bought: Option<&Bought>,
    synced: Option<Synced>,
) -> String {
    let mut query = Serializer::new(String::new());
    if let Some(Bought { session, attempt }) = bought {
        query
            .append_pair("success", "true")
            .append_pair("session_id", session);
        if *attempt > 1 {
            query.append_pair("attempt", &attempt.to_string());
        }
    }
    if let Some(synced) = synced {
        query.append_pair("sync", synced.word());
        if let Synced::Found(count) = synced {
            query.append_pair("n", &count.to_string());
        }
    }
    if let Some(lang) = lang {
        query.append_pair("lang", lang);
    }
    let query = query.finish();
    // The path's tenant need not be a slug: `//elsewhere` must not lead to another site.
    let tenant: String = byte_serialize(tenant.as_bytes()).collect();
    let path = format!("/{tenant}/subscriptions");
    if query.is_empty() {
        path
    } else {
        format!("{path}?{query}")
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn read(query: &str) -> PageQuery {
        let uri = format!("/studio/subscriptions?{query}");
        PageQuery::read(&TestRequest::with_uri(&uri).to_http_request())
    }

    #[test]
    fn the_outcome_in_an_address_is_one_known_word_and_can_show_nothing_else() {
        assert_eq!(read("sync=found&n=2").synced, Some(Synced::Found(2)));
        assert_eq!(read("sync=already&n=2").synced, Some(Synced::Already));
        for odd in [
            "found",
            "found&n=0",
            "found&n=-1",
            "found&n=10001",
            "found&n=2x",
            "Found&n=2",
            "%3Cb%3E",
            "",
        ] {
            assert_eq!(read(&format!("sync={odd}")).synced, None, "{odd}");
        }
    }

    #[test]
    fn an_address_that_is_written_is_read_back() {
        let bought = Bought {
            session: "cs_test_a1".to_owned(),
            attempt: 3,
        };
        let address = in_language("studio", Some("nb"), Some(&bought), Some(Synced::Found(2)));
        let query = PageQuery::read(&TestRequest::with_uri(&address).to_http_request());
        let expected = PageQuery {
            lang: Some("nb".to_owned()),
            bought: Some(bought),
            synced: Some(Synced::Found(2)),
        };
        assert_eq!(query, expected, "{address}");
        assert_eq!(in_language("studio", None, None, None), "/studio/subscriptions");
        let elsewhere = in_language("/evil.example.com\r\n", None, None, None);
        assert_eq!(elsewhere, "/%2Fevil.example.com%0D%0A/subscriptions");
    }

    #[test]
    fn only_who_comes_from_checkout_with_a_session_has_bought_something() {
        let attempt = |query: &str| read(query).bought.map(|bought| bought.attempt);
        assert_eq!(attempt("success=true&session_id=cs_1"), Some(1));
        assert_eq!(attempt("success=true&session_id=cs_1&attempt=15"), Some(15));
        assert_eq!(
            attempt("success=true&session_id=cs_1&attempt=4000000000"),
            Some(16)
        );
        for odd in [
            "session_id=cs_1",
            "success=false&session_id=cs_1",
            "success=true",
            "success=true&session_id=pi_1",
            "success=true&session_id=cs_1%22%3E",
        ] {
            assert_eq!(attempt(odd), None, "{odd}");
        }
    }
}
