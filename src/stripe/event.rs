//! The event of a webhook, read from verified bytes. `session` has the fields of its object. Next: `crate::ingest`.

use chrono::{DateTime, Utc};
use serde_json::error::Category;

use super::json::{self, Object};
use super::session::{CheckoutSession, SessionFields};

/// The types of the events that report a paid session.
pub const PURCHASE_EVENTS: [&str; 2] = [
    "checkout.session.completed",
    "checkout.session.async_payment_succeeded",
];

/// Stripe's ids and types are much shorter. The limit bounds what is stored and used as a key.
const LONGEST_NAME: usize = 255;

/// A Stripe event: its envelope, and the parts of its object that Surepass needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// `evt_…`: printable ASCII, at most 255 bytes.
    pub id: String,
    /// `checkout.session.completed` and others: printable ASCII, at most 255 bytes.
    pub kind: String,
    /// The connected account (`acct_…`), from `account` or else `context`. Missing: the key's own.
    pub account: Option<String>,
    /// False if the event does not say.
    pub livemode: bool,
    /// When Stripe made the event, in whole seconds.
    pub created: Option<DateTime<Utc>>,
    /// The id of `data.object`.
    pub object_id: Option<String>,
    pub object: EventObject,
}

/// What an event is about: its `data.object`.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all have a session; a box would cost an allocation for each"
)]
pub enum EventObject {
    /// There is none: a thin event, or a ping of Stripe's Workbench.
    Missing,
    /// That of a `checkout.session.*` event.
    Session(CheckoutSession),
    /// Another object, which is not read.
    Other,
}

/// The body is not an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MalformedEvent {
    #[error("the body is not JSON: line {line}, column {column}")]
    NotJson { line: usize, column: usize },
    #[error("the event is not an object: line {line}, column {column}")]
    NotAnObject { line: usize, column: usize },
    #[error("the event's `id` must be `evt_…`: printable ASCII, at most {LONGEST_NAME} bytes")]
    Id,
    #[error("the event's `type` must be a name in printable ASCII, at most {LONGEST_NAME} bytes")]
    Kind,
    #[error("the event's `account`, or else its `context`, must be a string of at most {LONGEST_NAME} bytes")]
    Account,
    #[error("the event's `livemode` must be true or false")]
    Livemode,
}

impl Event {
    /// Reads a webhook's body in one pass, and keeps only the needed parts.
    ///
    /// Unknown fields, unknown values and unexpected optional fields are ignored. The event's id and what
    /// separates accounts and modes must be valid.
    ///
    /// # Errors
    /// [`MalformedEvent`]: the missing or invalid part. Contains no text of the body.
    pub fn parse(body: &[u8]) -> Result<Self, MalformedEvent> {
        // As text if possible, since from bytes each slice is checked by itself. Invalid UTF-8 matters only
        // in fields that we read. There it is rejected rather than replaced: two buyers' ids or addresses
        // could become equal.
        let read = match std::str::from_utf8(body) {
            Ok(text) => serde_json::from_str::<Object<Envelope<'_>>>(text),
            Err(_) => serde_json::from_slice(body),
        };
        let Object(envelope) = read.map_err(|error| {
            let (line, column) = (error.line(), error.column());
            match error.classify() {
                Category::Data => MalformedEvent::NotAnObject { line, column },
                Category::Io | Category::Syntax | Category::Eof => MalformedEvent::NotJson { line, column },
            }
        })?;
        let id = json::text(envelope.id)
            .unwrap_or_default()
            .filter(|id| id.starts_with("evt_") && is_name(id))
            .ok_or(MalformedEvent::Id)?;
        let kind = json::text(envelope.kind)
            .unwrap_or_default()
            .filter(|kind| is_name(kind))
            .ok_or(MalformedEvent::Kind)?;
        let account = account(&envelope)?;
        let fields = envelope.data.and_then(|data| data.object);
        let object_id = fields.as_ref().and_then(|fields| fields.id);
        let object = match &fields {
            None => EventObject::Missing,
            Some(fields) if kind.starts_with("checkout.session.") => EventObject::Session(fields.read()),
            Some(_) => EventObject::Other,
        };
        let of_session = match &object {
            EventObject::Session(session) => session.livemode,
            EventObject::Missing | EventObject::Other => None,
        };
        let livemode = json::boolean(envelope.livemode).map_err(|_| MalformedEvent::Livemode)?;
        Ok(Self {
            account,
            livemode: livemode.or(of_session).unwrap_or(false),
            created: json::timestamp(envelope.created).unwrap_or_default(),
            object_id: json::text(object_id).unwrap_or_default(),
            object,
            id,
            kind,
        })
    }
}

/// The account of an event. The last part of a `context` path names it (`acct_1`, `org_1/acct_1`).
fn account(envelope: &Envelope<'_>) -> Result<Option<String>, MalformedEvent> {
    let read = |raw| json::identifier(raw).map_err(|_| MalformedEvent::Account);
    if let Some(account) = read(envelope.account)? {
        return Ok(Some(account));
    }
    let context = read(envelope.context)?;
    let last = context.as_deref().and_then(|path| path.rsplit('/').next());
    Ok(last.filter(|name| !name.is_empty()).map(str::to_owned))
}

fn is_name(text: &str) -> bool {
    (1..=LONGEST_NAME).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

json::fields! { Envelope {
    id = "id", kind = "type", account = "account", context = "context", livemode = "livemode", created = "created",
    data: Data = "data",
} }
json::fields! {
    /// The type usually follows the object, so the object's slices are kept for every type.
    Data { object: SessionFields = "object" }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const COMPLETED: &str = r#"{"id":"evt_1","object":"event","api_version":"2025-03-31.basil","created":1761831295,
        "data":{"object":{"id":"cs_test_1","object":"checkout.session","payment_status":"paid","futures":[{}]}},
        "livemode":false,"pending_webhooks":1,"account":"acct_1","type":"checkout.session.completed"}"#;

    #[test]
    fn an_event_is_read_with_its_session() {
        let event = Event::parse(COMPLETED.as_bytes()).unwrap();
        assert_eq!(
            (event.id.as_str(), event.kind.as_str()),
            ("evt_1", "checkout.session.completed")
        );
        assert_eq!(event.account.as_deref(), Some("acct_1"));
        assert_eq!(event.created.map(|at| at.timestamp()), Some(1_761_831_295));
        assert_eq!(event.object_id.as_deref(), Some("cs_test_1"));
        let EventObject::Session(session) = event.object else {
            panic!("{:?}", event.object);
        };
        assert_eq!(session.id.as_deref(), Some("cs_test_1"));
    }

    #[test]
    fn only_a_checkout_sessions_event_carries_a_session() {
        let body = COMPLETED.replace("checkout.session.completed", "charge.succeeded");
        let event = Event::parse(body.as_bytes()).unwrap();
        assert_eq!(event.object, EventObject::Other);
        assert_eq!(event.object_id.as_deref(), Some("cs_test_1"));
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let cases = [
            (r#"{"type":"a","data":{"object":{}}}"#, MalformedEvent::Id),
            (r#"{"id":7,"type":"a","data":{"object":{}}}"#, MalformedEvent::Id),
            (
                r#"{"id":"cs_1","type":"a","data":{"object":{}}}"#,
                MalformedEvent::Id,
            ),
            (
                r#"{"id":"evt_\n","type":"a","data":{"object":{}}}"#,
                MalformedEvent::Id,
            ),
            (
                r#"{"id":"evt_ø","type":"a","data":{"object":{}}}"#,
                MalformedEvent::Id,
            ),
            (r#"{"id":"evt_1","data":{"object":{}}}"#, MalformedEvent::Kind),
            (
                r#"{"id":"evt_1","type":"","data":{"object":{}}}"#,
                MalformedEvent::Kind,
            ),
            (
                r#"{"id":"evt_1","type":"a","data":{"object":{}},"context":{"account":"acct_1"}}"#,
                MalformedEvent::Account,
            ),
            (
                r#"{"id":"evt_1","type":"a","data":{"object":{}},"account":7}"#,
                MalformedEvent::Account,
            ),
            (
                r#"{"id":"evt_1","type":"a","data":{"object":{}},"livemode":"yes"}"#,
                MalformedEvent::Livemode,
            ),
        ];
        for (body, expected) in cases {
            assert_eq!(Event::parse(body.as_bytes()), Err(expected), "{body}");
        }
        let long = format!(
            r#"{{"id":"evt_{}","type":"a","data":{{"object":{{}}}}}}"#,
            "a".repeat(252)
        );
        assert_eq!(Event::parse(long.as_bytes()), Err(MalformedEvent::Id));
        for body in ["[]", "7", "null"] {
            let error = Event::parse(body.as_bytes()).unwrap_err();
            assert!(
                matches!(error, MalformedEvent::NotAnObject { .. }),
                "{body}: {error}"
            );
        }
        for body in ["", "{", "{}x", "\u{feff}{}", r#"{"id":}"#] {
            let error = Event::parse(body.as_bytes()).unwrap_err();
            assert!(matches!(error, MalformedEvent::NotJson { .. }), "{body}: {error}");
        }
    }

    #[test]
    fn a_text_that_is_no_utf_8_breaks_nothing_where_nobody_reads_it_and_is_never_mended() {
        let with = |field: &str| {
            let body = COMPLETED.replace(r#""payment_status""#, &format!(r#"{field},"payment_status""#));
            let bad = |byte| if byte == b'?' { 0xff } else { byte };
            Event::parse(&body.bytes().map(bad).collect::<Vec<_>>())
        };
        let plain = Event::parse(COMPLETED.as_bytes()).unwrap();
        assert_eq!(with(r#""success_url":"?""#).unwrap(), plain);
        for wanted in [
            r#""id":"cs_test_?""#,
            r#""customer_details":{"email":"j?@x.no"}"#,
            r#""metadata":{"userId":"?"}"#,
        ] {
            let error = with(wanted).unwrap_err();
            assert!(
                matches!(error, MalformedEvent::NotJson { .. }),
                "{wanted}: {error}"
            );
        }
    }

    #[test]
    fn an_error_quotes_nothing_of_the_body() {
        let error = Event::parse(br#"{"data":"kari@example.com"}"#).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("kari"), "{error}");
    }

    #[test]
    fn no_depth_of_nesting_overflows_the_stack() {
        let deep = "[".repeat(500_000);
        let closed = format!("{deep}{}", "]".repeat(500_000));
        for (value, sound) in [(&deep, false), (&closed, true)] {
            for place in ["unknown", "metadata", "id"] {
                let body = format!(
                    r#"{{"id":"evt_1","type":"checkout.session.completed","data":{{"object":{{"{place}":{value}}}}}}}"#
                );
                assert_eq!(Event::parse(body.as_bytes()).is_ok(), sound, "{place}");
            }
        }
        let objects = r#"{"data":"#.repeat(200_000);
        assert!(Event::parse(objects.as_bytes()).is_err());
    }

    #[test]
    fn an_event_without_an_object_is_thin_whatever_stands_in_its_place() {
        for data in [
            "",
            r#","data":null"#,
            r#","data":[{}]"#,
            r#","data":{}"#,
            r#","data":7"#,
            r#","data":{"note":1}"#,
            r#","data":{"object":null}"#,
            r#","data":{"object":"a"}"#,
            r#","data":-1.5"#,
        ] {
            let body = format!(r#"{{"id":"evt_1","type":"checkout.session.completed"{data}}}"#);
            let event = Event::parse(body.as_bytes()).unwrap();
            assert_eq!(
                (event.object, event.object_id),
                (EventObject::Missing, None),
                "{data}"
            );
        }
    }

    #[test]
    fn rule_3_an_event_without_an_account_happened_on_the_one_that_its_context_names() {
        let account = |fields: &str| {
            let body = COMPLETED.replace(r#""account":"acct_1""#, fields);
            Event::parse(body.as_bytes()).unwrap().account
        };
        let named = Some("acct_2".to_owned());
        assert_eq!(account(r#""context":"acct_2""#), named);
        assert_eq!(account(r#""account":null,"context":"org_1/acct_2""#), named);
        assert_eq!(account(r#""account":"acct_2","context":"acct_3""#), named);
        assert_eq!(account(r#""context":null"#), None);
        assert_eq!(account(r#""context":"""#), None);
    }

    #[test]
    fn doubled_names_do_not_break_an_event() {
        let body = r#"{"id":"evt_1","id":"evt_2","type":"a","type":"charge.failed","data":{"object":{}},"data":{"object":{"id":"ch_1"}}}"#;
        let event = Event::parse(body.as_bytes()).unwrap();
        assert_eq!(
            (event.id.as_str(), event.kind.as_str()),
            ("evt_2", "charge.failed")
        );
        assert_eq!(event.object_id.as_deref(), Some("ch_1"));
    }

    proptest! {
        #[test]
        fn no_body_makes_the_parser_panic(body in prop::collection::vec(any::<u8>(), 0..512)) {
            let _ = Event::parse(&body);
        }

        #[test]
        fn no_damage_to_a_good_body_makes_the_parser_panic(at in 0..COMPLETED.len(), byte: u8, cut in 0..COMPLETED.len()) {
            let mut body = COMPLETED.as_bytes().to_vec();
            body[at] = byte;
            let _ = Event::parse(&body);
            body.truncate(cut);
            let _ = Event::parse(&body);
        }
    }
}
