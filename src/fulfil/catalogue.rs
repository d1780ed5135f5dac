//! The catalogue, indexed: which tenant a purchase belongs to and which of its passes was bought.

use std::collections::HashMap;
use std::sync::Arc;

use crate::email;
use crate::store::{Pass, Tenant};

use super::error::Shown;
use super::purchase::{ProvedBy, Purchase};

/// The tenants and their passes at one moment.
#[derive(Debug)]
pub(super) struct Catalogue {
    tenants: Vec<Shelf>,
    by_id: Index,
    by_slug: Index,
    by_account: Index,
}

/// One tenant with its passes.
#[derive(Debug)]
pub(super) struct Shelf {
    pub(super) tenant: Arc<Tenant>,
    by_id: Index,
    by_name: Index,
    by_folded_name: Index,
    by_price: Index,
}

/// A purchase is not for a tenant of this catalogue to fulfil.
#[derive(Debug)]
pub(super) enum NoTenant {
    /// It came in by a tenant's path, proved by that tenant's secret, and is another's of the same account.
    Another,
    /// Nothing tells whose it is, and why.
    Unresolved(String),
}

/// A pass that a purchase does not tell.
#[derive(Debug)]
pub(super) struct NoPass {
    /// What it says fits more than one: it is meant for us.
    pub(super) is_ambiguous: bool,
    pub(super) why: String,
}

impl Catalogue {
    pub(super) fn new(tenants: Vec<Tenant>) -> Self {
        let tenants: Vec<Shelf> = tenants.into_iter().map(Shelf::new).collect();
        let mut catalogue = Self {
            by_id: Index::default(),
            by_slug: Index::default(),
            by_account: Index::default(),
            tenants,
        };
        for (at, Shelf { tenant, .. }) in catalogue.tenants.iter().enumerate() {
            catalogue.by_id.add(tenant.id.clone(), at);
            catalogue.by_slug.add(tenant.slug.clone(), at);
            if let Some(account) = &tenant.stripe_account {
                catalogue.by_account.add(account.clone(), at);
            }
        }
        catalogue
    }

    /// "Fulfilment" rule 3: the path's tenant, else the account's, else the metadata's, else the only one that sells the line
    /// items' price, else the only one there is. On an account that tenants share, the path decides last.
    pub(super) fn tenant(&self, purchase: &Purchase) -> Result<&Shelf, NoTenant> {
        if let Some(slug) = purchase.path_tenant.as_deref() {
            return match self.of_slug(slug) {
                Some(own) => self.at_path(own, purchase),
                None => unresolved(format!(
                    "no tenant has the slug `{}` of its path",
                    Shown::new(slug)
                )),
            };
        }
        if let Some(shelf) = purchase
            .account
            .as_deref()
            .and_then(|account| self.get(&self.by_account, account))
        {
            return Ok(shelf);
        }
        if let Some(name) = purchase.tenant.as_deref() {
            return match self.named(name) {
                Some(named) => Ok(named),
                None => unresolved(format!(
                    "no tenant has the id or slug `{}` of its metadata",
                    Shown::new(name)
                )),
            };
        }
        match self.sellers(purchase).as_slice() {
            [only] => return Ok(only),
            [] => {}
            several => {
                return unresolved(format!(
                    "{} tenants sell the prices of its line items",
                    several.len()
                ));
            }
        }
        match self.tenants.as_slice() {
            [only] => Ok(only),
            [] => unresolved("the catalogue is empty".to_owned()),
            several => unresolved(format!(
                "neither its path nor its account nor its metadata nor a price names one of the {} tenants",
                several.len()
            )),
        }
    }

    /// Whose a purchase is that came in by the path of `own`: Stripe sends each event to every endpoint of an account, so
    /// tenants that share one receive each other's. What does not fit the account is for the caller to refuse.
    fn at_path<'a>(&'a self, own: &'a Shelf, purchase: &Purchase) -> Result<&'a Shelf, NoTenant> {
        let is_neighbour = |other: &Shelf| {
            other.tenant.id != own.tenant.id && other.tenant.stripe_account == purchase.account
        };
        if own.tenant.stripe_account != purchase.account {
            return Ok(own);
        }
        let owner = match purchase.tenant.as_deref() {
            Some(name) => self.named(name),
            None => match self.sellers(purchase).as_slice() {
                [only] => Some(*only),
                _ => None,
            },
        };
        if let Some(owner) = owner.filter(|owner| is_neighbour(owner)) {
            return match purchase.proved_by {
                Some(ProvedBy::Platform) => Ok(owner),
                Some(ProvedBy::Tenant) => Err(NoTenant::Another),
                // A job of an older program, which does not say what proved it: refused, and kept for a person.
                None => Ok(own),
            };
        }
        let is_theirs = purchase.tenant.is_none()
            && purchase.proved_by == Some(ProvedBy::Tenant)
            && !own.tells(purchase)
            && self
                .tenants
                .iter()
                .any(|other| is_neighbour(other) && other.tells(purchase));
        if is_theirs {
            Err(NoTenant::Another)
        } else {
            Ok(own)
        }
    }

    /// The tenants that sell a price of the purchase's line items.
    fn sellers(&self, purchase: &Purchase) -> Vec<&Shelf> {
        if purchase.price_ids.is_empty() {
            return Vec::new();
        }
        let sells = |shelf: &&Shelf| {
            let mut prices = purchase.price_ids.iter();
            prices.any(|price| shelf.by_price.find(price) != Match::None)
        };
        self.tenants.iter().filter(sells).collect()
    }

    /// All of them, in the order in which they were given.
    pub(super) fn tenants(&self) -> impl Iterator<Item = &Tenant> {
        self.tenants.iter().map(|shelf| shelf.tenant.as_ref())
    }

    /// The tenant with this id, or else with this slug.
    pub(super) fn named(&self, id_or_slug: &str) -> Option<&Shelf> {
        self.get(&self.by_id, id_or_slug)
            .or_else(|| self.get(&self.by_slug, id_or_slug))
    }

    /// The tenant with this slug.
    pub(super) fn of_slug(&self, slug: &str) -> Option<&Shelf> {
        self.get(&self.by_slug, slug)
    }

    /// Whether any tenant would find a pass in the purchase.
    pub(super) fn is_told_by_any(&self, purchase: &Purchase) -> bool {
        self.tenants.iter().any(|shelf| shelf.tells(purchase))
    }

    /// Whether the purchase names a pass by the id or the price of any tenant's: these are nobody else's.
    pub(super) fn is_identified_by_any(&self, purchase: &Purchase) -> bool {
        self.tenants.iter().any(|shelf| {
            purchase
                .pass_id
                .as_deref()
                .is_some_and(|id| shelf.by_id.find(id) != Match::None)
                || purchase
                    .price_ids
                    .iter()
                    .any(|id| shelf.by_price.find(id) != Match::None)
        })
    }

    /// Whether any pass can be told by a price of Stripe's.
    pub(super) fn has_prices(&self) -> bool {
        let mut passes = self.tenants.iter().flat_map(|shelf| &shelf.tenant.passes);
        passes.any(|pass| !pass.stripe_price_ids.is_empty())
    }

    fn get(&self, index: &Index, key: &str) -> Option<&Shelf> {
        match index.find(key) {
            Match::One(at) => self.tenants.get(at),
            Match::None | Match::Several => None,
        }
    }
}

impl Shelf {
    fn new(tenant: Tenant) -> Self {
        let mut shelf = Self {
            by_id: Index::default(),
            by_name: Index::default(),
            by_folded_name: Index::default(),
            by_price: Index::default(),
            tenant: Arc::new(tenant),
        };
        for (at, pass) in shelf.tenant.passes.iter().enumerate() {
            shelf.by_id.add(pass.id.clone(), at);
            shelf.by_name.add(email::nfc(&pass.name).into_owned(), at);
            shelf.by_folded_name.add(email::name_key(&pass.name), at);
            for price in &pass.stripe_price_ids {
                shelf.by_price.add(price.clone(), at);
            }
        }
        shelf
    }

    /// "Fulfilment" rule 4: by the metadata's id, else by name, else by the line items' price, among this tenant's
    /// passes only, whether they are still sold or not.
    ///
    /// A name fits as it is written, else without regard to case and outer spaces. What fits two passes fits none.
    pub(super) fn pass(&self, purchase: &Purchase) -> Result<&Pass, NoPass> {
        let mut missing = Vec::new();
        if let Some(id) = purchase.pass_id.as_deref() {
            match self.by_id.find(id) {
                Match::One(at) => return self.at(at),
                Match::Several => {
                    return Err(ambiguous(format!(
                        "it has two passes with the id `{}`",
                        Shown::new(id)
                    )));
                }
                Match::None => missing.push(format!("it sells no pass with the id `{}`", Shown::new(id))),
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
                        "it has more than one pass named `{}`",
                        Shown::new(name)
                    )));
                }
                Match::None => missing.push(format!("it sells no pass named `{}`", Shown::new(name))),
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
                    "the prices of its line items fit more than one pass".to_owned(),
                ));
            }
            Match::None if !purchase.price_ids.is_empty() => {
                missing.push("no pass has a price of its line items".to_owned());
            }
            Match::None if missing.is_empty() => {
                missing.push("it names no pass, neither by id nor by name nor by price".to_owned());
            }
            Match::None => {}
        }
        Err(NoPass {
            is_ambiguous: false,
            why: missing.join(" and "),
        })
    }

    /// Whether what the purchase names fits a pass of this tenant's, or several.
    fn tells(&self, purchase: &Purchase) -> bool {
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

fn unresolved<T>(why: String) -> Result<T, NoTenant> {
    Err(NoTenant::Unresolved(why))
}

fn ambiguous(why: String) -> NoPass {
    NoPass {
        is_ambiguous: true,
        why,
    }
}

/// From a key to a position, knowing when a key has two.
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
