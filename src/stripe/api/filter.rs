//! Filters of lists, as Stripe's query parameters.

use chrono::{DateTime, Utc};

/// Parameters of a query, in order.
pub(super) type Query = Vec<(&'static str, String)>;

/// Which Checkout Sessions.
#[derive(Debug, Clone, Default)]
pub struct SessionFilter {
    /// Those created at this instant or later; to the second, rounded down.
    pub created_from: Option<DateTime<Utc>>,
    /// Those created before this instant; to the second, rounded up.
    pub created_before: Option<DateTime<Utc>>,
    /// `cus_…`.
    pub customer: Option<String>,
    /// What the buyer typed. Stripe's own comparison; check what comes back.
    pub email: Option<String>,
    /// `pi_…`.
    pub payment_intent: Option<String>,
    /// `open`, `complete` or `expired`. A `complete` one need not be paid.
    pub status: Option<String>,
    /// [`super::Page::last_id`] of the page before.
    pub starting_after: Option<String>,
    /// With the prices of the line items: ten at most, see [`crate::stripe::CheckoutSession::more_line_items`].
    pub expand_line_items: bool,
    /// With [`crate::stripe::CheckoutSession::payment`]. The key must then be allowed to read payment intents and charges.
    pub expand_payment: bool,
}

impl SessionFilter {
    pub(super) fn query(&self) -> Query {
        let mut query = created(self.created_from, self.created_before);
        let fields = [
            ("customer", &self.customer),
            ("customer_details[email]", &self.email),
            ("payment_intent", &self.payment_intent),
            ("status", &self.status),
        ];
        query.extend(
            fields
                .into_iter()
                .filter_map(|(name, value)| Some((name, value.clone()?))),
        );
        if self.expand_line_items {
            query.push(("expand[]", "data.line_items".to_owned()));
        }
        if self.expand_payment {
            query.push(("expand[]", "data.payment_intent.latest_charge".to_owned()));
        }
        query
    }
}

/// Which events. Stripe keeps them for 30 days.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    /// 20 at most; empty: all.
    pub types: Vec<String>,
    /// `false`: those that at least one endpoint, of ours or not, has not taken.
    pub delivery_success: Option<bool>,
    /// As [`SessionFilter::created_from`].
    pub created_from: Option<DateTime<Utc>>,
    /// As [`SessionFilter::created_before`].
    pub created_before: Option<DateTime<Utc>>,
    /// [`super::Page::last_id`] of the previous page.
    pub starting_after: Option<String>,
}

impl EventFilter {
    pub(super) fn query(&self) -> Query {
        let mut query = created(self.created_from, self.created_before);
        query.extend(self.types.iter().map(|kind| ("types[]", kind.clone())));
        query.extend(
            self.delivery_success
                .map(|delivered| ("delivery_success", delivered.to_string())),
        );
        query
    }
}

fn created(from: Option<DateTime<Utc>>, before: Option<DateTime<Utc>>) -> Query {
    let from = from.map(|from| ("created[gte]", from.timestamp().to_string()));
    let before = before.map(|before| {
        let begun = i64::from(before.timestamp_subsec_nanos() > 0);
        (
            "created[lt]",
            before.timestamp().saturating_add(begun).to_string(),
        )
    });
    from.into_iter().chain(before).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn part_of_a_second_never_leaves_anything_out() {
        let at = |ms| DateTime::from_timestamp_millis(ms);
        assert_eq!(
            created(at(1_999), at(2_001)),
            [("created[gte]", "1".to_owned()), ("created[lt]", "3".to_owned())]
        );
        assert_eq!(
            created(at(1_000), at(2_000)),
            [("created[gte]", "1".to_owned()), ("created[lt]", "2".to_owned())]
        );
    }
}
