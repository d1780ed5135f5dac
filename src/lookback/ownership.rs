//! Decides which customer a session belongs to.

use super::Customer;
use crate::email;
use crate::fulfil::Purchase;
use crate::store::KnownTenant;

/// Decides whether a session belongs to the customer.
#[derive(Debug)]
pub(crate) enum OwnershipRule {
    User {
        id: String,
        /// An email that this user has verified, and that nobody verified before them.
        verified_email: Option<String>,
    },
    Email(String),
    /// Stripe already filtered by session or Stripe customer: everything it returns belongs.
    Any,
}

impl OwnershipRule {
    pub(crate) fn of(customer: &Customer) -> Self {
        match customer {
            Customer::User { id, verified_email } => Self::User {
                id: id.clone(),
                verified_email: verified_email
                    .as_deref()
                    .map(email::normalize)
                    .filter(|email| !email.is_empty()),
            },
            Customer::Email(email) => Self::Email(email::normalize(email)),
            Customer::StripeCustomer(_) | Customer::Session(_) | Customer::Listed(_) => Self::Any,
        }
    }

    /// Returns the purchase if it belongs to the customer.
    ///
    /// A purchase that names a user belongs to that user, whatever its email. A purchase without a user belongs to the
    /// user who verified its email. An unverified email proves nothing. Nor does a Stripe customer: shops look them up
    /// by typed emails.
    pub(crate) fn claim(&self, mut purchase: Purchase) -> Option<Purchase> {
        let email = purchase.email.as_deref().map(email::normalize);
        match self {
            Self::Any => Some(purchase),
            Self::Email(wanted) => (email.as_ref() == Some(wanted)).then_some(purchase),
            Self::User { id, verified_email } => {
                if let Some(named) = purchase.user() {
                    return (named == id).then_some(purchase);
                }
                let is_verified = verified_email.is_some() && email == *verified_email;
                is_verified.then(|| {
                    purchase.user_id = Some(id.clone());
                    purchase
                })
            }
        }
    }
}

/// Whether a purchase on the tenant's account may be the tenant's: it names this tenant, or none.
pub(super) fn may_belong_to(tenant: &KnownTenant, purchase: &Purchase) -> bool {
    purchase
        .tenant
        .as_ref()
        .is_none_or(|named| *named == tenant.id || *named == tenant.slug)
}

/// The keys of all customers whom [`OwnershipRule::claim`] may give the purchase to. Empty: it names nobody yet.
pub(super) fn customer_keys(purchase: &Purchase) -> Vec<String> {
    if let Some(id) = purchase.user() {
        return vec![user_key(id)];
    }
    let customer = purchase.customer.clone().map(Customer::StripeCustomer);
    let email = purchase.email.clone().map(Customer::Email);
    customer.into_iter().chain(email).map(|one| one.key()).collect()
}

pub(super) fn user_key(id: &str) -> String {
    let customer = Customer::User {
        id: id.to_owned(),
        verified_email: None,
    };
    customer.key()
}

/// The key under which an account sync groups the customer's sessions.
pub(super) fn customer_key(purchase: &Purchase) -> String {
    let customer = match (purchase.user(), &purchase.customer, &purchase.email) {
        (Some(id), _, _) => Customer::User {
            id: id.to_owned(),
            verified_email: None,
        },
        (None, Some(id), _) => Customer::StripeCustomer(id.clone()),
        (None, None, Some(email)) => Customer::Email(email.clone()),
        (None, None, None) => Customer::Session(purchase.session_id.clone()),
    };
    customer.key()
}
