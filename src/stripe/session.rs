//! A Checkout Session. An unexpected field does not affect the others.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, Utc};
use serde::de::MapAccess;
use serde_json::value::RawValue;

use super::json::{self, Fields, Reading, Unreadable};
use super::payment::{Payment, PaymentIntent};
use super::words::{PaymentStatus, SessionMode, SessionStatus};

/// The fields of a Checkout Session that a purchase needs, for every API version from 2020 on.
#[derive(Clone, Default, PartialEq)]
pub struct CheckoutSession {
    /// `cs_…`, as given.
    pub id: Option<String>,
    /// Missing before 2021.
    pub status: Option<SessionStatus>,
    pub payment_status: Option<PaymentStatus>,
    pub mode: Option<SessionMode>,
    /// Missing before 2022.
    pub created: Option<DateTime<Utc>>,
    pub livemode: Option<bool>,
    /// `pi_…`; missing for a free session, and for one that starts a Stripe subscription.
    pub payment_intent: Option<String>,
    /// The payment, if the payment intent was expanded. Webhooks never expand it.
    pub payment: Option<Payment>,
    /// `cus_…`.
    pub customer: Option<String>,
    /// Minor units of `currency`.
    pub amount_total: Option<i64>,
    /// The amount before discounts and taxes.
    pub amount_subtotal: Option<i64>,
    /// As given; Stripe writes a lower-case ISO 4217 code.
    pub currency: Option<String>,
    pub client_reference_id: Option<String>,
    /// What the buyer typed, or else what the seller entered. It proves nothing.
    pub email: Option<String>,
    pub name: Option<String>,
    /// Only values that are text, numbers or booleans, as text.
    pub metadata: BTreeMap<String, String>,
    /// The prices of the line items. Empty unless expanded, and webhooks never expand them.
    pub price_ids: Vec<String>,
    /// There are more line items than the ten in an expanded list.
    pub more_line_items: bool,
    /// The names of fields that exist but are not what Stripe documents. They count as missing.
    pub unreadable: Vec<&'static str>,
}

impl CheckoutSession {
    /// Whether it was refunded in full, as far as the payment was expanded. A partial refund does not affect
    /// the pass.
    #[must_use]
    pub fn is_refunded(&self) -> bool {
        self.payment.as_ref().is_some_and(Payment::is_refunded)
    }
}

impl fmt::Debug for CheckoutSession {
    /// Without personal data, since this reaches logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckoutSession")
            .field("id", &self.id)
            .field("status", &self.status)
            .field("payment_status", &self.payment_status)
            .field("mode", &self.mode)
            .field("created", &self.created)
            .field("unreadable", &self.unreadable)
            .finish_non_exhaustive()
    }
}

json::fields! { SessionFields {
    id = "id", status = "status", payment_status = "payment_status", mode = "mode", created = "created",
    livemode = "livemode", payment_intent = "payment_intent", customer = "customer", amount_total = "amount_total",
    amount_subtotal = "amount_subtotal", currency = "currency", client_reference_id = "client_reference_id",
    customer_email = "customer_email", customer_details = "customer_details", metadata = "metadata",
    line_items = "line_items",
} }

impl SessionFields<'_> {
    pub(super) fn read(&self) -> CheckoutSession {
        let mut noted = Noted(Vec::new());
        let mut session = CheckoutSession {
            id: noted.read("id", json::identifier(self.id)),
            status: noted.read("status", json::word(self.status)),
            payment_status: noted.read("payment_status", json::word(self.payment_status)),
            mode: noted.read("mode", json::word(self.mode)),
            created: noted.read("created", json::timestamp(self.created)),
            livemode: noted.read("livemode", json::boolean(self.livemode)),
            payment_intent: noted.read("payment_intent", json::reference(self.payment_intent)),
            customer: noted.read("customer", json::reference(self.customer)),
            amount_total: noted.read("amount_total", json::integer(self.amount_total)),
            // An unexpected value here does not affect the pass.
            amount_subtotal: json::integer(self.amount_subtotal).unwrap_or_default(),
            currency: noted.read("currency", json::text(self.currency)),
            client_reference_id: noted.read("client_reference_id", json::text(self.client_reference_id)),
            metadata: noted
                .read("metadata", metadata(self.metadata))
                .unwrap_or_default(),
            ..CheckoutSession::default()
        };
        let expanded = self
            .payment_intent
            .filter(|_| json::is_object(self.payment_intent));
        session.payment = expanded.and_then(PaymentIntent::read).map(Payment::from);
        let items = noted.read("line_items", line_items(self.line_items));
        (session.price_ids, session.more_line_items) = items.unwrap_or_default();
        let details = json::object::<CustomerDetails<'_>>(self.customer_details);
        let details = noted.read("customer_details", details).unwrap_or_default();
        let typed = noted.read("customer_details.email", json::text(details.email));
        let filled_in = noted.read("customer_email", json::text(self.customer_email));
        session.email = typed.filter(|email| !email.trim().is_empty()).or(filled_in);
        session.name = noted.read("customer_details.name", json::text(details.name));
        session.unreadable = noted.0;
        session
    }
}

/// The names of the unreadable fields.
struct Noted(Vec<&'static str>);

impl Noted {
    fn read<T>(&mut self, name: &'static str, reading: Reading<T>) -> Option<T> {
        reading.unwrap_or_else(|Unreadable| {
            self.0.push(name);
            None
        })
    }
}

json::fields! { CustomerDetails { email = "email", name = "name" } }

/// PHP encodes an empty map as `[]`, so an empty array counts as an empty map.
fn metadata(raw: Option<&RawValue>) -> Reading<BTreeMap<String, String>> {
    if json::is_array(raw) {
        let elements = json::array(raw)?.unwrap_or_default();
        return if elements.is_empty() {
            Ok(None)
        } else {
            Err(Unreadable)
        };
    }
    Ok(json::object::<Metadata>(raw)?.map(|Metadata(entries)| entries))
}

#[derive(Default)]
struct Metadata(BTreeMap<String, String>);

impl<'de> Fields<'de> for Metadata {
    fn take<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<bool, A::Error> {
        let value: &RawValue = map.next_value()?;
        match json::scalar(Some(value)).unwrap_or_default() {
            Some(text) => self.0.insert(name.to_owned(), text),
            None => self.0.remove(name),
        };
        Ok(true)
    }
}

/// The prices of a list of line items, and whether there are more of them.
fn line_items(raw: Option<&RawValue>) -> Reading<(Vec<String>, bool)> {
    let Some(list) = json::object::<LineItems<'_>>(raw)? else {
        return Ok(None);
    };
    let items = json::array(list.data)?.unwrap_or_default();
    if items.len() > MOST_LINE_ITEMS {
        return Err(Unreadable);
    }
    let mut ids = Vec::new();
    for item in items {
        ids.extend(line_item_price(item)?);
    }
    Ok(Some((ids, json::boolean(list.has_more)?.unwrap_or(false))))
}

/// The price of a line item, if it has one.
pub(super) fn line_item_price(raw: &RawValue) -> Reading<String> {
    let item = json::object::<LineItem<'_>>(Some(raw))?;
    json::reference(item.and_then(|item| item.price))
}

/// An expanded list contains ten, a page at most a hundred.
const MOST_LINE_ITEMS: usize = 100;

json::fields! { LineItems { data = "data", has_more = "has_more" } }
json::fields! { LineItem { price = "price" } }

#[cfg(test)]
mod tests {
    use super::super::json::Object;
    use super::*;

    fn session(json: &str) -> CheckoutSession {
        let Object(fields): Object<SessionFields<'_>> = serde_json::from_str(json).unwrap();
        fields.read()
    }

    #[test]
    fn a_field_of_the_wrong_kind_is_absent_and_noted_and_costs_nothing_else() {
        let read = session(
            r#"{"id":"cs_1","status":7,"amount_total":1e999,"created":"now","currency":"nok","customer_details":"?"}"#,
        );
        assert_eq!(read.id.as_deref(), Some("cs_1"));
        assert_eq!(read.currency.as_deref(), Some("nok"));
        assert_eq!((read.status, read.amount_total, read.created), (None, None, None));
        assert_eq!(
            read.unreadable,
            ["status", "created", "amount_total", "customer_details"]
        );
    }

    #[test]
    fn a_word_that_stripe_has_added_since_is_another_one_and_not_absent() {
        let read = session(r#"{"status":"complete","payment_status":"pa\u0069d","mode":"setup"}"#);
        assert_eq!(
            (read.status, read.payment_status, read.mode),
            (
                Some(SessionStatus::Complete),
                Some(PaymentStatus::Paid),
                Some(SessionMode::Setup)
            )
        );
        let read = session(r#"{"status":"Complete","payment_status":"","mode":"gift"}"#);
        assert_eq!(
            (read.status, read.payment_status, read.mode),
            (
                Some(SessionStatus::Other),
                Some(PaymentStatus::Other),
                Some(SessionMode::Other)
            )
        );
        assert!(read.unreadable.is_empty());
    }

    #[test]
    fn an_empty_php_array_is_an_empty_metadata_and_a_full_one_is_unreadable() {
        assert!(session(r#"{"metadata":[]}"#).unreadable.is_empty());
        assert!(session(r#"{"metadata":{}}"#).unreadable.is_empty());
        assert!(session(r#"{"metadata":null}"#).unreadable.is_empty());
        assert_eq!(session(r#"{"metadata":["a"]}"#).unreadable, ["metadata"]);
        assert_eq!(session(r#"{"metadata":"a"}"#).unreadable, ["metadata"]);
    }

    #[test]
    fn metadata_values_that_are_no_strings_are_stringified_or_ignored() {
        let metadata = session(
            r#"{"metadata":{"passId":10,"gift":true,"tags":["a"],"note":null,"type":"pass_purchase"}}"#,
        )
        .metadata;
        let entries: Vec<_> = metadata.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(
            entries,
            [("gift", "true"), ("passId", "10"), ("type", "pass_purchase")]
        );
    }

    #[test]
    fn a_metadata_number_has_the_limit_of_texts() {
        let digits = "7".repeat(900_000);
        let read = session(&format!(r#"{{"metadata":{{"userId":{digits},"passId":10}}}}"#));
        assert_eq!(
            read.metadata.into_iter().collect::<Vec<_>>(),
            [("passId".to_owned(), "10".to_owned())]
        );
    }

    #[test]
    fn of_a_name_that_comes_twice_the_last_counts() {
        let read = session(r#"{"id":"cs_1","id":"cs_2","metadata":{"a":"1","a":"2","b":"1","b":null}}"#);
        assert_eq!(read.id.as_deref(), Some("cs_2"));
        assert_eq!(read.metadata.get("a").map(String::as_str), Some("2"));
        assert_eq!(read.metadata.get("b"), None);
    }

    #[test]
    fn the_email_that_the_buyer_typed_goes_before_the_one_that_was_filled_in() {
        let both = r#"{"customer_email":"a@x.no","customer_details":{"email":"b@x.no","name":"B"}}"#;
        assert_eq!(session(both).email.as_deref(), Some("b@x.no"));
        let one = r#"{"customer_email":"a@x.no","customer_details":{"email":null}}"#;
        assert_eq!(session(one).email.as_deref(), Some("a@x.no"));
        let empty = r#"{"customer_email":"a@x.no","customer_details":{"email":" "}}"#;
        assert_eq!(session(empty).email.as_deref(), Some("a@x.no"));
    }

    #[test]
    fn references_and_line_items_are_read_plain_and_expanded() {
        let read = session(
            r#"{"payment_intent":{"id":"pi_1"},"customer":"cus_1",
                "line_items":{"data":[{"price":{"id":"price_1"}},{"price":"price_2"},{"price":null}]}}"#,
        );
        assert_eq!(read.payment_intent.as_deref(), Some("pi_1"));
        assert_eq!(read.customer.as_deref(), Some("cus_1"));
        assert_eq!(read.price_ids, ["price_1", "price_2"]);
    }

    #[test]
    fn debug_output_tells_nothing_of_the_buyer() {
        let read = session(r#"{"id":"cs_1","customer_details":{"email":"kari@example.com","name":"Kari"}}"#);
        let shown = format!("{read:?}");
        assert!(shown.contains("cs_1"), "{shown}");
        assert!(!shown.to_lowercase().contains("kari"), "{shown}");
    }
}
