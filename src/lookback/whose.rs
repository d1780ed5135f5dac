//! Whose a session is.

use super::Customer;
use crate::email;
use crate::fulfil::Purchase;
use crate::store::KnownTenant;

/// What tells that a session is the customer's.
#[derive(Debug)]
pub(crate) enum Whose {
    User {
        id: String,
        /// One that they have proved, and nobody before them.
        verified_email: Option<String>,
    },
    Email(String),
    /// All that Stripe gives for the question that was asked.
    Asked,
}

impl Whose {
    pub(crate) fn of(customer: &Customer) -> Self {
        match customer {
            Customer::User { id, verified_email } => Self::User {
                id: id.clone(),
                verified_email: verified_email
                    .as_deref()
                    .map(email::folded)
                    .filter(|email| !email.is_empty()),
            },
            Customer::Email(email) => Self::Email(email::folded(email)),
            Customer::StripeCustomer(_) | Customer::Session(_) | Customer::Listed(_) => Self::Asked,
        }
    }

    /// The purchase, if it is theirs. One that names nobody is given to the user who has proved its email. An email that was
    /// only typed proves nothing, nor does a Stripe customer: shops look those up by typed emails. One that names another
    /// user is that user's, whatever its email.
    pub(crate) fn claim(&self, mut purchase: Purchase) -> Option<Purchase> {
        let email = purchase.email.as_deref().map(email::folded);
        match self {
            Self::Asked => Some(purchase),
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

/// Whether a purchase on the tenant's account may be the tenant's: it names this one, or none.
pub(super) fn may_be_of(tenant: &KnownTenant, purchase: &Purchase) -> bool {
    purchase
        .tenant
        .as_ref()
        .is_none_or(|named| *named == tenant.id || *named == tenant.slug)
}

/// Under which keys those are known whose a session may be, as [`Whose::claim`] has it; none: nobody can tell yet.
pub(super) fn keys(purchase: &Purchase) -> Vec<String> {
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

/// Whom a sweep takes a session for: the key under which their sessions are together.
pub(super) fn key(purchase: &Purchase) -> String {
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
