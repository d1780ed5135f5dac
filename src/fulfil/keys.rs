//! By what the passes of all tenants are told: which tenants a purchase could be meant for that names none of them.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use crate::email;
use crate::store::{PassKeys, Store, StoreError};

use super::purchase::Purchase;

/// So many passes are read at a time.
const PAGE: u32 = 1_000;

/// From ids, names and prices of passes to tenants. A hundred thousand passes take some 5 MB: hashes stand for the texts, keyed
/// by chance, so that nobody can make two that are the same.
#[derive(Debug)]
pub(super) struct Keys {
    hasher: RandomState,
    ids: Table,
    names: Table,
    prices: Table,
}

/// Hashes with the tenants that have them, sorted.
type Table = Vec<(u64, u32)>;

impl Keys {
    /// Reads those of all passes; `tenants` tells a tenant's place by its id.
    pub(super) async fn read(
        store: &dyn Store,
        tenants: &HashMap<Arc<str>, usize>,
    ) -> Result<Self, StoreError> {
        let mut keys = Self::default();
        let mut last: Option<PassKeys> = None;
        loop {
            let mut page = store.pass_keys(last.as_ref(), PAGE).await?;
            // A tenant that is new since its place was asked for is found in the next copy.
            for pass in &page {
                if let Some(&at) = tenants.get(pass.tenant.as_str()) {
                    keys.add(at, &pass.id, &pass.name, &pass.stripe_price_ids);
                }
            }
            if page.len() < PAGE as usize {
                return Ok(keys.sorted());
            }
            last = page.pop();
        }
    }

    pub(super) fn add(&mut self, tenant: usize, id: &str, name: &str, prices: &[String]) {
        let tenant = u32::try_from(tenant).unwrap_or(u32::MAX);
        self.ids.push((self.hasher.hash_one(id), tenant));
        let name = email::name_key(name);
        self.names.push((self.hasher.hash_one(name.as_str()), tenant));
        for price in prices {
            self.prices.push((self.hasher.hash_one(price.as_str()), tenant));
        }
    }

    /// To be called when all are added.
    pub(super) fn sorted(mut self) -> Self {
        for table in [&mut self.ids, &mut self.names, &mut self.prices] {
            table.sort_unstable();
            table.dedup();
            table.shrink_to_fit();
        }
        self
    }

    /// Whether any pass can be told by a price of Stripe's.
    pub(super) fn has_prices(&self) -> bool {
        !self.prices.is_empty()
    }

    /// The tenants that sell a price of the purchase's line items.
    pub(super) fn sellers(&self, purchase: &Purchase) -> BTreeSet<usize> {
        let prices = purchase.price_ids.iter();
        prices.flat_map(|price| self.of(&self.prices, price)).collect()
    }

    /// The tenants of which what the purchase names fits a pass, or several.
    pub(super) fn told(&self, purchase: &Purchase) -> impl Iterator<Item = usize> {
        let id = purchase.pass_id.as_deref();
        let name = purchase.pass_name.as_deref().map(email::name_key);
        let ids = id.into_iter().flat_map(|id| self.of(&self.ids, id));
        let names = name.into_iter().flat_map(|name| self.of(&self.names, &name));
        ids.chain(names).chain(self.sellers(purchase))
    }

    /// Whether the purchase names a pass by the id or the price of any tenant's.
    pub(super) fn identify(&self, purchase: &Purchase) -> bool {
        let id = purchase.pass_id.as_deref();
        let mut ids = id.into_iter().flat_map(|id| self.of(&self.ids, id));
        ids.next().is_some() || !self.sellers(purchase).is_empty()
    }

    fn of<'a>(&self, table: &'a Table, key: &str) -> impl Iterator<Item = usize> + use<'a> {
        let hash = self.hasher.hash_one(key);
        let from = table.partition_point(|(other, _)| *other < hash);
        let found = table
            .iter()
            .skip(from)
            .take_while(move |(other, _)| *other == hash);
        found.map(|(_, tenant)| *tenant as usize)
    }
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            ids: Table::new(),
            names: Table::new(),
            prices: Table::new(),
        }
    }
}
