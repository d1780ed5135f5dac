//! What the shop asks of Stripe: a Checkout Session that says in its metadata what is bought, by whom, of which tenant.

use serde::Deserialize;
use url::form_urlencoded::Serializer;

use super::token::{EMAIL, USER};
use crate::up::DEMO_KEY;

/// Ten classes of the sample catalogue, in minor units.
pub(super) const PRICE: i64 = 150_000;

/// The shop's way to Stripe.
#[derive(Debug)]
pub(super) struct Checkout {
    pub(super) http: reqwest::Client,
    /// `http://…`, without a slash at its end.
    pub(super) stripe: String,
}

/// Why no checkout could be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum CheckoutError {
    #[error(transparent)]
    Http(#[from] reqwest::Error),
    #[error("the hosted page is not Stripe's")]
    Elsewhere,
}

#[derive(Deserialize)]
struct Session {
    url: String,
}

impl Checkout {
    /// Opens a session and answers the address of its hosted page. It is not tried again: who pressed the button does that,
    /// and an open session that nobody pays expires by itself.
    pub(super) async fn open(&self, success_url: &str, cancel_url: &str) -> Result<String, CheckoutError> {
        // Stripe puts the session's id there.
        let success_url = format!("{success_url}&session_id={{CHECKOUT_SESSION_ID}}");
        let mut form = Serializer::new(String::new());
        form.extend_pairs([
            ("mode", "payment"),
            ("success_url", &success_url),
            ("cancel_url", cancel_url),
            ("customer_email", EMAIL),
            ("client_reference_id", USER),
            ("payment_method_types[0]", "card"),
            ("payment_method_types[1]", "sepa_debit"),
            ("line_items[0][quantity]", "1"),
            ("line_items[0][price_data][currency]", "nok"),
            ("line_items[0][price_data][unit_amount]", &PRICE.to_string()),
            ("line_items[0][price_data][product_data][name]", "10 classes"),
            ("metadata[type]", "pass_purchase"),
            ("metadata[passId]", "pass-10"),
            ("metadata[passName]", "10 classes"),
            ("metadata[userId]", USER),
            ("metadata[tenantId]", "tenant-1"),
        ]);
        let request = self
            .http
            .post(format!("{}/v1/checkout/sessions", self.stripe))
            .bearer_auth(DEMO_KEY)
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(form.finish());
        let session: Session = request.send().await?.error_for_status()?.json().await?;
        let is_stripes = session.url.starts_with(&format!("{}/", self.stripe));
        is_stripes.then_some(session.url).ok_or(CheckoutError::Elsewhere)
    }
}
