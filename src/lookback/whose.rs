//! Whose a session is.

use std::collections::HashSet;

use super::Customer;
use crate::email;
use crate::fulfil::Purchase;
use crate::store::Tenant;

/// What tells that a session is the customer's.
#[derive(Debug)]
pub(crate) enum Whose {
    User {
        id: String,
        verified_email: Option<String>,
        /// Stripe customers by whom this user has paid before.
        customers: HashSet<String>,
    },
    Email(String),
    /// All that Stripe gives for the question that was asked.
    Asked,
}

impl Whose {
    pub(crate) fn of(customer: &Customer, customers: HashSet<String>) -> Self {
        match customer {
            Customer::User { id, verified_email } => Self::User {
                id: id.clone(),
                verified_email: verified_email
                    .as_deref()
                    .map(email::folded)
                    .filter(|email| !email.is_empty()),
                customers,
            },
            Customer::Email(email) => Self::Email(email::folded(email)),
            Customer::StripeCustomer(_) | Customer::Session(_) | Customer::Listed(_) => Self::Asked,
        }
    }

    /// The purchase, if it is theirs. One that names nobody is given to the user who has proven that it is theirs: by a
    /// verified email, or by a Stripe customer of whom the store knows that it is them. An email that nobody has verified
    /// proves nothing, and one that names another user is that user's, whatever its email.
    pub(crate) fn claim(&self, mut purchase: Purchase) -> Option<Purchase> {
        let email = purchase.email.as_deref().map(email::folded);
        match self {
            Self::Asked => Some(purchase),
            Self::Email(wanted) => (email.as_ref() == Some(wanted)).then_some(purchase),
            Self::User {
                id,
                verified_email,
                customers,
            } => {
                let named = purchase
                    .user_id
                    .as_ref()
                    .or(purchase.client_reference_id.as_ref());
                if let Some(named) = named {
                    return (named == id).then_some(purchase);
                }
                let is_known = purchase
                    .customer
                    .as_ref()
                    .is_some_and(|customer| customers.contains(customer));
                let is_verified = verified_email.is_some() && email == *verified_email;
                (is_known || is_verified).then(|| {
                    purchase.user_id = Some(id.clone());
                    purchase
                })
            }
        }
    }
}

/// Whether a purchase on the tenant's account may be the tenant's: it names this one, or none.
pub(super) fn may_be_of(tenant: &Tenant, purchase: &Purchase) -> bool {
    purchase
        .tenant
        .as_ref()
        .is_none_or(|named| *named == tenant.id || *named == tenant.slug)
}

/// Under which keys those are known whose a session may be, as [`Whose::claim`] has it; none: nobody can tell yet.
pub(super) fn keys(purchase: &Purchase) -> Vec<String> {
    let named = purchase
        .user_id
        .as_ref()
        .or(purchase.client_reference_id.as_ref());
    if let Some(id) = named {
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
    let named = purchase
        .user_id
        .as_ref()
        .or(purchase.client_reference_id.as_ref());
    let customer = match (named, &purchase.customer, &purchase.email) {
        (Some(id), _, _) => Customer::User {
            id: id.clone(),
            verified_email: None,
        },
        (None, Some(id), _) => Customer::StripeCustomer(id.clone()),
        (None, None, Some(email)) => Customer::Email(email.clone()),
        (None, None, None) => Customer::Session(purchase.session_id.clone()),
    };
    customer.key()
}
