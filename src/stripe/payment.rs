//! Payments: payment intents and charges. Unexpected fields are ignored, as in sessions.

use chrono::{DateTime, Utc};
use serde_json::value::RawValue;

use super::json;

/// The state of a payment, as far as the payment intent was expanded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Payment {
    /// Minor units.
    pub amount: Option<i64>,
    /// As given; Stripe writes a lower-case ISO 4217 code.
    pub currency: Option<String>,
    /// `succeeded`, `processing`, `requires_payment_method` and the like.
    pub status: Option<String>,
    /// Minor units. `None` if the charge was not expanded, or there is none.
    pub amount_refunded: Option<i64>,
    /// Whether it is or was disputed. `None` as with `amount_refunded`.
    pub disputed: Option<bool>,
    /// When the newest charge was made. `None` as with `amount_refunded`.
    pub paid_at: Option<DateTime<Utc>>,
}

impl Payment {
    /// Whether it was refunded in full.
    #[must_use]
    pub fn is_refunded(&self) -> bool {
        let (amount, refunded) = (self.amount.unwrap_or(0), self.amount_refunded.unwrap_or(0));
        amount > 0 && refunded >= amount
    }
}

impl From<PaymentIntent> for Payment {
    fn from(intent: PaymentIntent) -> Self {
        let charge = intent.charge.as_ref();
        Self {
            amount_refunded: charge.and_then(|charge| charge.amount_refunded),
            disputed: charge.and_then(|charge| charge.disputed),
            paid_at: charge.and_then(|charge| charge.created),
            amount: intent.amount,
            currency: intent.currency,
            status: intent.status,
        }
    }
}

/// A payment intent.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PaymentIntent {
    /// `pi_…`.
    pub id: String,
    /// Minor units of `currency`.
    pub amount: Option<i64>,
    /// Minor units of `currency`: the received amount.
    pub amount_received: Option<i64>,
    /// As given; Stripe writes a lower-case ISO 4217 code.
    pub currency: Option<String>,
    /// `succeeded`, `processing`, `requires_payment_method` and the like.
    pub status: Option<String>,
    /// `cus_…`.
    pub customer: Option<String>,
    pub created: Option<DateTime<Utc>>,
    pub livemode: Option<bool>,
    /// `ch_…` or `py_…`: the newest charge.
    pub latest_charge: Option<String>,
    /// The newest charge, if expanded.
    pub charge: Option<Charge>,
}

json::fields! { IntentFields {
    id = "id", amount = "amount", amount_received = "amount_received", currency = "currency", status = "status",
    customer = "customer", created = "created", livemode = "livemode", latest_charge = "latest_charge",
    charges = "charges",
} }
// Before 2022-11-15 a payment intent contained a list of its charges, newest first.
json::fields! { ChargeList { data = "data" } }

impl PaymentIntent {
    /// `None` if it is not an object with an id.
    pub(super) fn read(raw: &RawValue) -> Option<Self> {
        let fields = json::object::<IntentFields<'_>>(Some(raw)).ok()??;
        let listed = json::object::<ChargeList<'_>>(fields.charges)
            .unwrap_or_default()
            .and_then(|list| json::array(list.data).unwrap_or_default())
            .and_then(|charges| charges.first().copied());
        let newest = fields.latest_charge.or(listed);
        Some(Self {
            id: json::id(fields.id)?,
            amount: json::integer(fields.amount).unwrap_or_default(),
            amount_received: json::integer(fields.amount_received).unwrap_or_default(),
            currency: json::text(fields.currency).unwrap_or_default(),
            status: json::text(fields.status).unwrap_or_default(),
            customer: json::reference(fields.customer).unwrap_or_default(),
            created: json::timestamp(fields.created).unwrap_or_default(),
            livemode: json::boolean(fields.livemode).unwrap_or_default(),
            latest_charge: json::reference(newest).unwrap_or_default(),
            charge: newest.filter(|_| json::is_object(newest)).and_then(Charge::read),
        })
    }
}

/// A charge: one attempt at a payment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Charge {
    /// `ch_…` or `py_…`.
    pub id: String,
    /// Minor units of `currency`.
    pub amount: Option<i64>,
    /// Minor units of `currency`: the refunded amount.
    pub amount_refunded: Option<i64>,
    /// As given; Stripe writes a lower-case ISO 4217 code.
    pub currency: Option<String>,
    /// `succeeded`, `pending`, `failed` and the like.
    pub status: Option<String>,
    pub paid: Option<bool>,
    /// Whether it was refunded in full.
    pub refunded: Option<bool>,
    /// Whether it is or was disputed.
    pub disputed: Option<bool>,
    /// `pi_…`.
    pub payment_intent: Option<String>,
    /// `cus_…`.
    pub customer: Option<String>,
    pub created: Option<DateTime<Utc>>,
    pub livemode: Option<bool>,
}

json::fields! { ChargeFields {
    id = "id", amount = "amount", amount_refunded = "amount_refunded", currency = "currency", status = "status",
    paid = "paid", refunded = "refunded", disputed = "disputed", dispute = "dispute",
    payment_intent = "payment_intent", customer = "customer", created = "created", livemode = "livemode",
} }

impl Charge {
    /// `None` if it is not an object with an id.
    pub(super) fn read(raw: &RawValue) -> Option<Self> {
        let fields = json::object::<ChargeFields<'_>>(Some(raw)).ok()??;
        // Old versions name the dispute instead of a flag.
        let dispute = json::reference(fields.dispute).unwrap_or_default();
        Some(Self {
            id: json::id(fields.id)?,
            amount: json::integer(fields.amount).unwrap_or_default(),
            amount_refunded: json::integer(fields.amount_refunded).unwrap_or_default(),
            currency: json::text(fields.currency).unwrap_or_default(),
            status: json::text(fields.status).unwrap_or_default(),
            paid: json::boolean(fields.paid).unwrap_or_default(),
            refunded: json::boolean(fields.refunded).unwrap_or_default(),
            disputed: json::boolean(fields.disputed)
                .unwrap_or_default()
                .or(dispute.map(|_| true)),
            payment_intent: json::reference(fields.payment_intent).unwrap_or_default(),
            customer: json::reference(fields.customer).unwrap_or_default(),
            created: json::timestamp(fields.created).unwrap_or_default(),
            livemode: json::boolean(fields.livemode).unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payment(intent: &str) -> Payment {
        PaymentIntent::read(serde_json::from_str(intent).unwrap())
            .unwrap()
            .into()
    }

    #[test]
    fn an_expanded_charge_tells_what_was_given_back_and_whether_it_is_disputed() {
        let told = payment(
            r#"{"id":"pi_1","amount":1500,"currency":"nok","status":"succeeded",
                "latest_charge":{"id":"ch_1","amount_refunded":500,"disputed":true}}"#,
        );
        assert_eq!(
            (told.amount, told.amount_refunded, told.disputed),
            (Some(1500), Some(500), Some(true))
        );
        assert_eq!(
            (told.currency.as_deref(), told.status.as_deref()),
            (Some("nok"), Some("succeeded"))
        );
    }

    #[test]
    fn what_was_not_expanded_is_unknown_and_never_nothing() {
        for charge in [r#""ch_1""#, "null", "7", "{}", r#"{"id":""}"#] {
            let told = payment(&format!(
                r#"{{"id":"pi_1","amount":1500,"latest_charge":{charge}}}"#
            ));
            assert_eq!(
                (told.amount, told.amount_refunded, told.disputed),
                (Some(1500), None, None),
                "{charge}"
            );
        }
    }

    #[test]
    fn the_shapes_of_old_versions_are_read_as_well() {
        let told = payment(
            r#"{"id":"pi_1","charges":{"data":[{"id":"ch_2","amount_refunded":0,"dispute":"dp_1"},{"id":"ch_1"}]}}"#,
        );
        assert_eq!((told.amount_refunded, told.disputed), (Some(0), Some(true)));
        let charge = r#"{"id":"ch_1","dispute":null,"amount":"all","customer":{"id":"cus_1"}}"#;
        let charge = Charge::read(serde_json::from_str(charge).unwrap()).unwrap();
        assert_eq!((charge.disputed, charge.amount), (None, None));
        assert_eq!(charge.customer.as_deref(), Some("cus_1"));
    }
}
