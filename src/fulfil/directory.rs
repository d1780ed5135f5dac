//! All tenants, by id, slug and account.

use std::collections::HashMap;
use std::sync::Arc;

use crate::store::KnownTenant;

use super::purchase::Purchase;

/// All tenants, without passes. A tenant's position is its index.
#[derive(Debug)]
pub(super) struct Directory {
    pub(super) tenants: Vec<KnownTenant>,
    pub(super) by_id: HashMap<Arc<str>, usize>,
    pub(super) by_slug: HashMap<Arc<str>, usize>,
    pub(super) by_account: HashMap<Arc<str>, usize>,
}

impl Directory {
    /// The store guarantees unique ids, slugs and accounts.
    pub(super) fn new(tenants: Vec<KnownTenant>) -> Self {
        let index = |key: fn(&KnownTenant) -> Option<&str>| {
            let keys = tenants.iter().enumerate();
            keys.filter_map(|(at, tenant)| Some((Arc::from(key(tenant)?), at)))
                .collect()
        };
        Self {
            by_id: index(|tenant| Some(&tenant.id)),
            by_slug: index(|tenant| Some(&tenant.slug)),
            by_account: index(|tenant| tenant.stripe_account.as_deref()),
            tenants,
        }
    }

    pub(super) fn get(&self, at: usize) -> Option<&KnownTenant> {
        self.tenants.get(at)
    }

    /// The tenant with this slug.
    pub(super) fn of_slug(&self, slug: &str) -> Option<usize> {
        self.by_slug.get(slug).copied()
    }

    /// The tenant with this id, or else with this slug.
    pub(super) fn named(&self, id_or_slug: &str) -> Option<usize> {
        self.by_id
            .get(id_or_slug)
            .copied()
            .or_else(|| self.of_slug(id_or_slug))
    }

    /// The same, as the whole tenant.
    pub(super) fn tenant(&self, id_or_slug: &str) -> Option<&KnownTenant> {
        self.get(self.named(id_or_slug)?)
    }

    /// The tenants that the purchase names: by path, account or metadata, or the only one that exists.
    pub(super) fn named_by(&self, purchase: &Purchase) -> Vec<usize> {
        let path = purchase.path_tenant.as_deref();
        let account = purchase.account.as_deref();
        let named = [
            path.and_then(|slug| self.of_slug(slug)),
            account.and_then(|account| self.by_account.get(account).copied()),
            purchase.tenant.as_deref().and_then(|name| self.named(name)),
            (self.tenants.len() == 1).then_some(0),
        ];
        named.into_iter().flatten().collect()
    }
}
