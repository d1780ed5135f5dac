//! What a customer may see of the case (unmatched payment) behind their purchase.

use super::{CustomerError, Customers, Status, claim};
use crate::fulfil::Purchase;
use crate::identity::Customer;
use crate::store::{Contact, KnownTenant, Resolution, UnmatchedPayment};

/// Whom a customer can contact about a purchase.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Support {
    /// What they quote to the shop; `None`: there is no case.
    pub reference: Option<String>,
    /// The shop's name.
    pub shop: String,
    pub contact: Contact,
}

impl Support {
    /// The shop's support address, or its name if it has none.
    #[must_use]
    pub fn whom_to_ask(&self) -> &str {
        let addresses = [&self.contact.support_email, &self.contact.support_url];
        addresses
            .into_iter()
            .flatten()
            .next()
            .map_or(&self.shop, String::as_str)
    }
}

impl Customers {
    /// The customer's own case of a session: the open one, or else the last one that a person or a refund closed.
    pub(super) async fn case(
        &self,
        customer: &Customer,
        tenant: &KnownTenant,
        session: &str,
    ) -> Result<Option<UnmatchedPayment>, CustomerError> {
        let is_theirs = |case: &UnmatchedPayment| {
            let is_tenants = case.tenant.as_ref().is_none_or(|id| *id == tenant.id);
            is_tenants
                && Purchase::of_case(case).is_some_and(|purchase| {
                    claim(customer, tenant, &purchase, self.client_reference).is_some()
                })
        };
        let cases = self.store.unmatched().unmatched_of(&[session]).await?;
        let theirs = cases.into_iter().filter(|case| case.counts() && is_theirs(case));
        Ok(theirs.max_by_key(|case| (case.is_open(), case.updated_at)))
    }

    /// The status of a purchase that has a case, but no pass and no unfinished job.
    pub(super) async fn status_of_case(
        &self,
        tenant: &KnownTenant,
        case: UnmatchedPayment,
    ) -> Result<Status, CustomerError> {
        if !case.is_paid {
            return Ok(Status::NotAPass);
        }
        let (is_open, resolution) = (case.is_open(), case.resolution);
        let support = self.support(tenant, Some(case.reference)).await?;
        Ok(match resolution {
            _ if is_open => Status::Unmatched(support),
            Some(Resolution::Refund) => Status::Refunded(support),
            _ => Status::Closed(support),
        })
    }

    pub(super) async fn support(
        &self,
        tenant: &KnownTenant,
        reference: Option<String>,
    ) -> Result<Support, CustomerError> {
        let whole = self.tenants.whole(&tenant.slug).await?;
        Ok(whole.map_or_else(Support::default, |tenant| Support {
            reference,
            shop: tenant.name.clone(),
            contact: tenant.contact.clone(),
        }))
    }
}
