//! The catalogue, as far as a purchase asks: which tenant it belongs to.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::store::{KnownTenant, Tenant};

use super::error::Shown;
use super::keys::Keys;
use super::purchase::{ProvedBy, Purchase};
use super::shelf::Shelf;

/// Every tenant, without its passes. A tenant's place is its index.
#[derive(Debug)]
pub(super) struct Directory {
    tenants: Vec<KnownTenant>,
    by_id: HashMap<Arc<str>, usize>,
    by_slug: HashMap<Arc<str>, usize>,
    by_account: HashMap<Arc<str>, usize>,
}

/// What a purchase asks of the catalogue of one moment.
#[derive(Debug)]
pub(super) struct Catalogue {
    directory: Arc<Directory>,
    /// The passes of the tenants that the purchase may be meant for, by place.
    shelves: BTreeMap<usize, Arc<Shelf>>,
    /// `None`: nothing of the purchase asks for them.
    keys: Option<Arc<Keys>>,
}

/// A purchase is not for a tenant of this catalogue to fulfil.
#[derive(Debug)]
pub(super) enum NoTenant {
    /// It came in by a tenant's path, proved by that tenant's secret, and is another's of the same account.
    Another,
    /// Nothing tells whose it is, and why.
    Unresolved(String),
}

impl Directory {
    /// No two share an id, a slug or an account: the store sees to that.
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

    /// The places of the tenants, by their ids.
    pub(super) fn by_id(&self) -> &HashMap<Arc<str>, usize> {
        &self.by_id
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

    /// The same, whole.
    pub(super) fn tenant(&self, id_or_slug: &str) -> Option<&KnownTenant> {
        self.get(self.named(id_or_slug)?)
    }

    /// The tenants that the purchase names: by its path, its account, its metadata, or by there being no other.
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

impl Catalogue {
    /// With the passes of the tenants that the purchase names.
    pub(super) fn new(directory: Arc<Directory>, shelves: BTreeMap<usize, Arc<Shelf>>) -> Self {
        Self {
            directory,
            shelves,
            keys: None,
        }
    }

    /// With the passes of all tenants, for any purchase.
    pub(super) fn whole(tenants: Vec<Tenant>) -> Self {
        let mut keys = Keys::default();
        for (at, pass) in tenants
            .iter()
            .enumerate()
            .flat_map(|(at, one)| one.passes.iter().map(move |pass| (at, pass)))
        {
            keys.add(at, &pass.id, &pass.name, &pass.stripe_price_ids);
        }
        let known = tenants.iter().map(KnownTenant::of).collect();
        let shelves = tenants.into_iter().map(|tenant| Arc::new(Shelf::new(tenant)));
        Self {
            directory: Arc::new(Directory::new(known)),
            shelves: shelves.enumerate().collect(),
            keys: Some(Arc::new(keys.sorted())),
        }
    }

    /// Whether the passes of tenants that the purchase does not name may decide about it.
    pub(super) fn needs_keys(&self, purchase: &Purchase) -> bool {
        self.asks_others(purchase)
            || !purchase.has_our_keys() && !self.tenant(purchase).is_ok_and(|shelf| shelf.tells(purchase))
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
                let tells = || self.shelves.get(&at).is_some_and(|own| own.tells(purchase));
                has_prices || purchase.proved_by == Some(ProvedBy::Tenant) && !tells()
            }),
            None => has_prices && directory.named_by(purchase).is_empty(),
        }
    }

    /// With what tells the passes of the others. Answers whose passes are still to be added.
    pub(super) fn learn(&mut self, keys: Arc<Keys>, purchase: &Purchase) -> Option<usize> {
        let sellers = keys.sellers(purchase);
        self.keys = Some(keys);
        sellers.first().copied().filter(|_| sellers.len() == 1)
    }

    pub(super) fn add(&mut self, at: usize, passes: Arc<Shelf>) {
        self.shelves.insert(at, passes);
    }

    /// "Fulfilment" rule 3: the path's tenant, else the account's, else the metadata's, else the only one that sells the line
    /// items' price, else the only one there is. On an account that tenants share, the path decides last.
    pub(super) fn tenant(&self, purchase: &Purchase) -> Result<&Shelf, NoTenant> {
        if let Some(slug) = purchase.path_tenant.as_deref() {
            return match self.directory.of_slug(slug) {
                Some(own) => self.at_path(own, purchase),
                None => unresolved(format!(
                    "no tenant has the slug `{}` of its path",
                    Shown::new(slug)
                )),
            };
        }
        let account = purchase.account.as_deref();
        if let Some(&at) = account.and_then(|account| self.directory.by_account.get(account)) {
            return self.shelf(at);
        }
        if let Some(name) = purchase.tenant.as_deref() {
            return match self.directory.named(name) {
                Some(named) => self.shelf(named),
                None => unresolved(format!(
                    "no tenant has the id or slug `{}` of its metadata",
                    Shown::new(name)
                )),
            };
        }
        match self.sellers(purchase).as_slice() {
            [only] => return self.shelf(*only),
            [] => {}
            several => {
                return unresolved(format!(
                    "{} tenants sell the prices of its line items",
                    several.len()
                ));
            }
        }
        match self.directory.tenants.len() {
            1 => self.shelf(0),
            0 => unresolved("the catalogue is empty".to_owned()),
            several => unresolved(format!(
                "neither its path nor its account nor its metadata nor a price names one of the {several} tenants"
            )),
        }
    }

    /// Whose a purchase is that came in by the path of `own`: Stripe sends each event to every endpoint of an account, so
    /// tenants that share one receive each other's. What does not fit the account is for the caller to refuse.
    fn at_path(&self, own: usize, purchase: &Purchase) -> Result<&Shelf, NoTenant> {
        let tenants = &self.directory.tenants;
        let is_on_account = |at: usize| {
            tenants
                .get(at)
                .is_some_and(|one| one.stripe_account == purchase.account)
        };
        let is_neighbour = |other: usize| other != own && is_on_account(other);
        if !is_on_account(own) {
            return self.shelf(own);
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
                Some(ProvedBy::Platform) => self.shelf(owner),
                Some(ProvedBy::Tenant) => Err(NoTenant::Another),
                // A job of an older program, which does not say what proved it: refused, and kept for a person.
                None => self.shelf(own),
            };
        }
        let own = self.shelf(own)?;
        let is_theirs = purchase.tenant.is_none()
            && purchase.proved_by == Some(ProvedBy::Tenant)
            && !own.tells(purchase)
            && self.keys.iter().any(|keys| keys.told(purchase).any(is_neighbour));
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
    fn shelf(&self, at: usize) -> Result<&Shelf, NoTenant> {
        match (self.shelves.get(&at), self.directory.get(at)) {
            (Some(found), _) => Ok(found),
            (None, Some(gone)) => unresolved(format!(
                "its tenant `{}` has gone meanwhile",
                Shown::new(&gone.id)
            )),
            (None, None) => unresolved("its tenant has gone meanwhile".to_owned()),
        }
    }

    /// All of them, in the order in which they were given.
    pub(super) fn tenants(&self) -> &[KnownTenant] {
        &self.directory.tenants
    }

    /// The tenant with this id, or else with this slug.
    pub(super) fn named(&self, id_or_slug: &str) -> Option<&KnownTenant> {
        self.directory.tenant(id_or_slug)
    }

    /// Whether any tenant would find a pass in the purchase.
    pub(super) fn is_told_by_any(&self, purchase: &Purchase) -> bool {
        self.keys.iter().any(|keys| keys.told(purchase).next().is_some())
    }

    /// Whether the purchase names a pass by the id or the price of any tenant's: these are nobody else's.
    pub(super) fn is_identified_by_any(&self, purchase: &Purchase) -> bool {
        self.keys.iter().any(|keys| keys.identify(purchase))
    }
}

fn unresolved<T>(why: String) -> Result<T, NoTenant> {
    Err(NoTenant::Unresolved(why))
}
