//! A tenant's passes, indexed to find which one was bought.

use std::collections::HashMap;
use std::sync::Arc;

use crate::email;
use crate::store::{Pass, Tenant};

use super::error::Shown;
use super::purchase::Purchase;

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
