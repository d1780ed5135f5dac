//! Creates a Checkout Session. Its metadata says what is bought, by whom, and of which tenant.

use serde::Deserialize;
use url::form_urlencoded::Serializer;

use super::token::Customer;

/// The sandbox takes any key that looks like one.
const KEY: &str = "sk_test_shop";

/// Ten classes of the sample catalog, in minor units.
const PRICE: i64 = 150_000;

/// The shop's client for Stripe.
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
    /// Opens a session and returns the address of its hosted page. Not retried: the customer can press the button again, and
    /// an open session that nobody pays expires by itself.
    pub(super) async fn open(
        &self,
        buyer: &Customer,
        success_url: &str,
        cancel_url: &str,
    ) -> Result<String, CheckoutError> {
        // Stripe puts the session's id there.
        let success_url = format!("{success_url}&session_id={{CHECKOUT_SESSION_ID}}");
        let mut form = Serializer::new(String::new());
        form.extend_pairs([
            ("mode", "payment"),
            ("success_url", &success_url),
            ("cancel_url", cancel_url),
            ("customer_email", &buyer.email),
            ("client_reference_id", &buyer.user),
            ("payment_method_types[0]", "card"),
            ("payment_method_types[1]", "sepa_debit"),
            ("line_items[0][quantity]", "1"),
            ("line_items[0][price_data][currency]", "nok"),
            ("line_items[0][price_data][unit_amount]", &PRICE.to_string()),
            ("line_items[0][price_data][product_data][name]", "10 classes"),
            ("metadata[type]", "pass_purchase"),
            ("metadata[passId]", "pass-10"),
            ("metadata[passName]", "10 classes"),
            ("metadata[userId]", &buyer.user),
            ("metadata[tenantId]", "tenant-1"),
        ]);
        let request = self
            .http
            .post(format!("{}/v1/checkout/sessions", self.stripe))
            .bearer_auth(KEY)
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(form.finish());
        let session: Session = request.send().await?.error_for_status()?.json().await?;
        let is_stripes = session.url.starts_with(&format!("{}/", self.stripe));
        is_stripes.then_some(session.url).ok_or(CheckoutError::Elsewhere)
    }
}
