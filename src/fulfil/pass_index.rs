//! An index of all tenants' passes, which finds the possible tenants of a purchase that names none.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use crate::email;
use crate::store::{PassKeys, Store, StoreError};

use super::purchase::Purchase;

/// Passes in one query.
const PAGE: u32 = 1_000;

/// Maps ids, names and prices of passes to tenants. A hundred thousand passes take some 5 MB, since only
/// hashes are stored. The hashes are keyed randomly, so that nobody can construct a collision.
#[derive(Debug)]
pub(super) struct PassIndex {
    hasher: RandomState,
    ids: Table,
    names: Table,
    prices: Table,
}

/// Hashes with their tenants, sorted.
type Table = Vec<(u64, u32)>;

impl PassIndex {
    /// Reads all passes. `tenants` maps ids to positions.
    pub(super) async fn read(store: &Store, tenants: &HashMap<Arc<str>, usize>) -> Result<Self, StoreError> {
        let mut keys = Self::default();
        let mut last: Option<PassKeys> = None;
        loop {
            let mut page = store.catalog().pass_keys(last.as_ref(), PAGE).await?;
            // A tenant that was added meanwhile is in the next catalog.
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

    /// Sorts the tables. Call it after the last `add`.
    pub(super) fn sorted(mut self) -> Self {
        for table in [&mut self.ids, &mut self.names, &mut self.prices] {
            table.sort_unstable();
            table.dedup();
            table.shrink_to_fit();
        }
        self
    }

    /// Whether any pass has a Stripe price.
    pub(super) fn has_prices(&self) -> bool {
        !self.prices.is_empty()
    }

    /// The tenants that sell a price of the line items.
    pub(super) fn sellers(&self, purchase: &Purchase) -> BTreeSet<usize> {
        let prices = purchase.price_ids.iter();
        prices.flat_map(|price| self.of(&self.prices, price)).collect()
    }

    /// The tenants with a pass that matches the purchase.
    pub(super) fn tenants_of(&self, purchase: &Purchase) -> impl Iterator<Item = usize> {
        let id = purchase.pass_id.as_deref();
        let name = purchase.pass_name.as_deref().map(email::name_key);
        let ids = id.into_iter().flat_map(|id| self.of(&self.ids, id));
        let names = name.into_iter().flat_map(|name| self.of(&self.names, &name));
        ids.chain(names).chain(self.sellers(purchase))
    }

    /// Whether the purchase contains the id or a price of any pass.
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

impl Default for PassIndex {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            ids: Table::new(),
            names: Table::new(),
            prices: Table::new(),
        }
    }
}
