//! Finds the tenant and the pass of a purchase in the catalog: rules 3 and 4 of "Fulfilment".
//! `decide` goes on with both, and `store/purchases` creates the subscription.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::email;
use crate::store::{KnownTenant, Pass, Tenant};

use super::directory::Directory;
use super::error::Shown;
use super::pass_index::PassIndex;
use super::purchase::{ProvedBy, Purchase};

/// The part of the catalog that a purchase needs.
#[derive(Debug)]
pub(super) struct Catalog {
    directory: Arc<Directory>,
    /// The passes of the possible tenants, by position.
    passes: BTreeMap<usize, Arc<TenantPasses>>,
    /// `None`: not needed.
    keys: Option<Arc<PassIndex>>,
}

/// The purchase cannot be fulfilled for a tenant of this catalog.
#[derive(Debug)]
pub(super) enum NoTenant {
    /// It arrived by a tenant's path, proved by that tenant's secret, but belongs to another tenant of the
    /// same account.
    Another,
    /// The tenant is unknown, for this reason.
    Unresolved(String),
}

impl Catalog {
    /// With the passes of the tenants that the purchase names.
    pub(super) fn new(directory: Arc<Directory>, passes: BTreeMap<usize, Arc<TenantPasses>>) -> Self {
        Self {
            directory,
            passes,
            keys: None,
        }
    }

    /// With the passes of all tenants, for any purchase.
    pub(super) fn whole(tenants: Vec<Tenant>) -> Self {
        let mut keys = PassIndex::default();
        for (at, pass) in tenants
            .iter()
            .enumerate()
            .flat_map(|(at, one)| one.passes.iter().map(move |pass| (at, pass)))
        {
            keys.add(at, &pass.id, &pass.name, &pass.stripe_price_ids);
        }
        let known = tenants.iter().map(KnownTenant::of).collect();
        let passes = tenants
            .into_iter()
            .map(|tenant| Arc::new(TenantPasses::new(tenant)));
        Self {
            directory: Arc::new(Directory::new(known)),
            passes: passes.enumerate().collect(),
            keys: Some(Arc::new(keys.sorted())),
        }
    }

    /// Whether other tenants' passes may decide about the purchase.
    pub(super) fn needs_index(&self, purchase: &Purchase) -> bool {
        self.asks_others(purchase)
            || !purchase.has_our_keys()
                && !self
                    .tenant(purchase)
                    .is_ok_and(|passes_of| passes_of.identifies(purchase))
    }

    /// Whether they may decide whose it is.
    fn asks_others(&self, purchase: &Purchase) -> bool {
        if purchase.tenant.is_some() {
            return false;
        }
        let has_prices = !purchase.price_ids.is_empty();
        let directory = &self.directory;
        match purchase.path_tenant.as_deref() {
            Some(slug) => directory.of_slug(slug).is_some_and(|at| {
                let identifies = || self.passes.get(&at).is_some_and(|own| own.identifies(purchase));
                has_prices || purchase.proved_by == Some(ProvedBy::Tenant) && !identifies()
            }),
            None => has_prices && directory.named_by(purchase).is_empty(),
        }
    }

    /// Adds the index of all passes. Returns the tenant whose passes must still be added.
    pub(super) fn learn(&mut self, keys: Arc<PassIndex>, purchase: &Purchase) -> Option<usize> {
        let sellers = keys.sellers(purchase);
        self.keys = Some(keys);
        sellers.first().copied().filter(|_| sellers.len() == 1)
    }

    pub(super) fn add(&mut self, at: usize, passes: Arc<TenantPasses>) {
        self.passes.insert(at, passes);
    }

    /// "Fulfilment" rule 3: the tenant of the path, else of the account, else of the metadata, else the only
    /// one that sells the line items' price, else the only one. If tenants share an account, the path decides
    /// last.
    pub(super) fn tenant(&self, purchase: &Purchase) -> Result<&TenantPasses, NoTenant> {
        if let Some(slug) = purchase.path_tenant.as_deref() {
            return match self.directory.of_slug(slug) {
                Some(own) => self.at_path(own, purchase),
                None => unresolved(format!(
                    "no tenant has the slug `{}` of the webhook's path",
                    Shown::new(slug)
                )),
            };
        }
        let account = purchase.account.as_deref();
        if let Some(&at) = account.and_then(|account| self.directory.by_account.get(account)) {
            return self.passes_of(at);
        }
        if let Some(name) = purchase.tenant.as_deref() {
            return match self.directory.named(name) {
                Some(named) => self.passes_of(named),
                None => unresolved(format!(
                    "no tenant has the id or slug `{}` of the metadata",
                    Shown::new(name)
                )),
            };
        }
        match self.sellers(purchase).as_slice() {
            [only] => return self.passes_of(*only),
            [] => {}
            several => {
                return unresolved(format!(
                    "{} tenants sell the prices of the line items",
                    several.len()
                ));
            }
        }
        match self.directory.tenants.len() {
            1 => self.passes_of(0),
            0 => unresolved("the catalog is empty".to_owned()),
            several => unresolved(format!(
                "no path, account, metadata or price identifies one of the {several} tenants"
            )),
        }
    }

    /// The tenant of a purchase that arrived by the path of `own`. Stripe sends each event to every endpoint
    /// of an account, so tenants that share one receive each other's. The caller rejects a wrong account.
    fn at_path(&self, own: usize, purchase: &Purchase) -> Result<&TenantPasses, NoTenant> {
        let tenants = &self.directory.tenants;
        let is_on_account = |at: usize| {
            tenants
                .get(at)
                .is_some_and(|one| one.stripe_account == purchase.account)
        };
        let is_neighbour = |other: usize| other != own && is_on_account(other);
        if !is_on_account(own) {
            return self.passes_of(own);
        }
        let owner = match purchase.tenant.as_deref() {
            Some(name) => self.directory.named(name),
            None => match self.sellers(purchase).as_slice() {
                [only] => Some(*only),
                _ => None,
            },
        };
        if let Some(owner) = owner.filter(|owner| is_neighbour(*owner)) {
            return match purchase.proved_by {
                Some(ProvedBy::Platform) => self.passes_of(owner),
                Some(ProvedBy::Tenant) => Err(NoTenant::Another),
                // A job of an older version, which does not say what proved it: it is rejected, and a person
                // decides.
                None => self.passes_of(own),
            };
        }
        let own = self.passes_of(own)?;
        let is_theirs = purchase.tenant.is_none()
            && purchase.proved_by == Some(ProvedBy::Tenant)
            && !own.identifies(purchase)
            && self
                .keys
                .iter()
                .any(|keys| keys.tenants_of(purchase).any(is_neighbour));
        if is_theirs {
            Err(NoTenant::Another)
        } else {
            Ok(own)
        }
    }

    /// The tenants that sell a price of the purchase's line items.
    fn sellers(&self, purchase: &Purchase) -> Vec<usize> {
        let keys = self.keys.iter();
        keys.flat_map(|keys| keys.sellers(purchase)).collect()
    }

    /// A tenant that the purchase names.
    fn passes_of(&self, at: usize) -> Result<&TenantPasses, NoTenant> {
        match (self.passes.get(&at), self.directory.get(at)) {
            (Some(found), _) => Ok(found),
            (None, Some(gone)) => unresolved(format!(
                "its tenant `{}` was removed meanwhile",
                Shown::new(&gone.id)
            )),
            (None, None) => unresolved("its tenant was removed meanwhile".to_owned()),
        }
    }

    /// All tenants, in the given order.
    pub(super) fn tenants(&self) -> &[KnownTenant] {
        &self.directory.tenants
    }

    /// The tenant with this id, or else with this slug.
    pub(super) fn named(&self, id_or_slug: &str) -> Option<&KnownTenant> {
        self.directory.tenant(id_or_slug)
    }

    /// Whether any tenant has a pass that matches the purchase.
    pub(super) fn is_known_to_any(&self, purchase: &Purchase) -> bool {
        self.keys
            .iter()
            .any(|keys| keys.tenants_of(purchase).next().is_some())
    }

    /// Whether the purchase contains the id or price of any tenant's pass, so that it belongs to that tenant.
    pub(super) fn is_identified_by_any(&self, purchase: &Purchase) -> bool {
        self.keys.iter().any(|keys| keys.identify(purchase))
    }
}

fn unresolved<T>(why: String) -> Result<T, NoTenant> {
    Err(NoTenant::Unresolved(why))
}

/// A tenant with its passes.
#[derive(Debug)]
pub(super) struct TenantPasses {
    pub(super) tenant: Arc<Tenant>,
    by_id: Index,
    by_name: Index,
    by_folded_name: Index,
    by_price: Index,
}

/// No pass matches the purchase, or several do.
#[derive(Debug)]
pub(super) struct NoPass {
    /// Several passes match, so the purchase is for this tenant.
    pub(super) is_ambiguous: bool,
    pub(super) why: String,
}

impl TenantPasses {
    pub(super) fn new(tenant: Tenant) -> Self {
        let mut passes_of = Self {
            by_id: Index::default(),
            by_name: Index::default(),
            by_folded_name: Index::default(),
            by_price: Index::default(),
            tenant: Arc::new(tenant),
        };
        for (at, pass) in passes_of.tenant.passes.iter().enumerate() {
            passes_of.by_id.add(pass.id.clone(), at);
            passes_of.by_name.add(email::nfc(&pass.name).into_owned(), at);
            passes_of.by_folded_name.add(email::name_key(&pass.name), at);
            for price in &pass.stripe_price_ids {
                passes_of.by_price.add(price.clone(), at);
            }
        }
        passes_of
    }

    /// "Fulfilment" rule 4: finds the pass by the metadata's id, else by name, else by the line items' price.
    /// Passes that are no longer sold count, too.
    ///
    /// A name matches exactly, or else without regard to case and outer spaces. Several matches count as
    /// none.
    pub(super) fn pass(&self, purchase: &Purchase) -> Result<&Pass, NoPass> {
        let mut missing = Vec::new();
        if let Some(id) = purchase.pass_id.as_deref() {
            match self.by_id.find(id) {
                Match::One(at) => return self.at(at),
                Match::Several => {
                    return Err(ambiguous(format!("two passes have the id `{}`", Shown::new(id))));
                }
                Match::None => missing.push(format!("no pass has the id `{}`", Shown::new(id))),
            }
        }
        if let Some(name) = purchase.pass_name.as_deref() {
            let exact = self.by_name.find(&email::nfc(name));
            match if exact == Match::None {
                self.by_folded_name.find(&email::name_key(name))
            } else {
                exact
            } {
                Match::One(at) => return self.at(at),
                Match::Several => {
                    return Err(ambiguous(format!(
                        "several passes are named `{}`",
                        Shown::new(name)
                    )));
                }
                Match::None => missing.push(format!("no pass is named `{}`", Shown::new(name))),
            }
        }
        let mut by_price = Match::None;
        for price in &purchase.price_ids {
            by_price = by_price.and(self.by_price.find(price));
        }
        match by_price {
            Match::One(at) => return self.at(at),
            Match::Several => {
                return Err(ambiguous(
                    "several passes match the prices of the line items".to_owned(),
                ));
            }
            Match::None if !purchase.price_ids.is_empty() => {
                missing.push("no pass has a price of the line items".to_owned());
            }
            Match::None if missing.is_empty() => {
                missing.push("the session has no passId, passName or known price".to_owned());
            }
            Match::None => {}
        }
        Err(NoPass {
            is_ambiguous: false,
            why: missing.join(" and "),
        })
    }

    /// The number of passes, plus one for the tenant.
    pub(super) fn weight(&self) -> usize {
        1 + self.tenant.passes.len()
    }

    /// Whether the purchase matches one or several passes of this tenant.
    pub(super) fn identifies(&self, purchase: &Purchase) -> bool {
        self.pass(purchase)
            .map_or_else(|none| none.is_ambiguous, |_| true)
    }

    fn at(&self, at: usize) -> Result<&Pass, NoPass> {
        self.tenant.passes.get(at).ok_or_else(|| NoPass {
            is_ambiguous: false,
            why: "its index is wrong".to_owned(),
        })
    }
}

fn ambiguous(why: String) -> NoPass {
    NoPass {
        is_ambiguous: true,
        why,
    }
}

/// Maps a key to a position, and knows if a key has several.
#[derive(Debug, Default)]
struct Index(HashMap<String, Match>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Match {
    None,
    One(usize),
    Several,
}

impl Match {
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::None, found) | (found, Self::None) => found,
            (Self::One(a), Self::One(b)) if a == b => self,
            _ => Self::Several,
        }
    }
}

impl Index {
    fn add(&mut self, key: String, at: usize) {
        let found = self.0.entry(key).or_insert(Match::None);
        *found = found.and(Match::One(at));
    }

    fn find(&self, key: &str) -> Match {
        self.0.get(key).copied().unwrap_or(Match::None)
    }
}
