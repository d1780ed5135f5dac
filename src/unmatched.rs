//! Actions on an unmatched payment: assign a pass, or close it. The audit log records each.

use chrono::{DateTime, Utc};
use serde_json::json;

use crate::clock::Clock;
use crate::fulfil::{self, Purchase, PurchaseKind};
use crate::guest;
use crate::money::Money;
use crate::queue::{Enqueued, Item, Queue, QueueError};
use crate::store::{
    AuditRecord, CreatedVia, NewUnmatched, Pass, Resolution, Store, StoreError, Tenant, UnmatchedNote,
    UnmatchedPayment,
};

/// The reason of a case whose session cannot be read.
const MALFORMED_SESSION: &str = "malformed_session";

/// A person who handles unmatched payments.
#[derive(Debug)]
pub struct CaseWorker<'a> {
    pub store: &'a Store,
    /// The queue `fulfil`.
    pub queue: &'a Queue,
    pub clock: Clock,
    /// `user@host`.
    pub who: &'a str,
    pub why: &'a str,
}

/// What was bought, by a person's decision.
#[derive(Debug, Clone, Copy)]
pub struct Assignment<'a> {
    /// The pass' id or name.
    pub pass: &'a str,
    /// The user's id. `None`: the purchase's own user.
    pub user: Option<&'a str>,
    /// The tenant's id or slug. `None`: the case's own, or else the only one of its account.
    pub tenant: Option<&'a str>,
}

/// The result of an assignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assigned {
    /// The tenant's slug.
    pub tenant: String,
    /// The pass' name.
    pub pass: String,
    /// The catalog's price.
    pub price: Money,
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum CaseError {
    #[error("unmatched payment {0} is closed already: surepass unmatched list --all shows how")]
    Closed(String),
    #[error(
        "unmatched payment {0} has its first pass, and more was paid for: give the rest by hand or refund it in Stripe, then \
         close it: surepass unmatched close {0} --why '…'"
    )]
    HasItsPass(String),
    #[error(
        "the session of unmatched payment {0} cannot be read, so no pass can be made of it: look it up in Stripe, refund it, and \
         close this: surepass unmatched close {0} --why '…'"
    )]
    Unreadable(String),
    #[error("`{0}` cannot be a pass' owner: a user's id, as their token has it in `sub`, and no guest's")]
    NoUser(String),
    #[error("no tenant has the id or slug `{typed}`: there are {tenants}")]
    NoSuchTenant { typed: String, tenants: String },
    #[error("no tenant can be told for {reference}: name one with --tenant; there are: {tenants}")]
    UnknownTenant { reference: String, tenants: String },
    #[error(
        "{reference} was paid on {account}, and tenant `{tenant}` sells on another Stripe account: nothing was assigned"
    )]
    OtherAccount {
        reference: String,
        account: String,
        tenant: String,
    },
    #[error("tenant `{tenant}` has no pass `{pass}`; it has: {passes}")]
    UnknownPass {
        tenant: String,
        pass: String,
        passes: String,
    },
    #[error(
        "the job of {0} is waiting or running: wait for its end (surepass jobs show {1}), then assign again"
    )]
    Busy(String, String),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Queue(#[from] QueueError),
}

impl CaseWorker<'_> {
    /// Enqueues the purchase as the person decided. The ordinary job creates the subscription, which closes
    /// the case.
    ///
    /// # Errors
    /// [`CaseError`]; then nothing was enqueued.
    pub async fn assign(
        &self,
        case: &UnmatchedPayment,
        wanted: Assignment<'_>,
    ) -> Result<Assigned, CaseError> {
        let reference = || case.reference.clone();
        if !case.is_open() {
            return Err(CaseError::Closed(reference()));
        }
        if case.reason == NewUnmatched::ITEMS_SHORT {
            return Err(CaseError::HasItsPass(reference()));
        }
        let readable = Purchase::of_case(case).filter(|one: &Purchase| {
            case.reason != MALFORMED_SESSION && fulfil::is_session_id(&one.session_id)
        });
        let Some(mut purchase) = readable else {
            return Err(CaseError::Unreadable(reference()));
        };
        if let Some(user) = wanted.user.filter(|user| !guest::is_assignable_user(user)) {
            return Err(CaseError::NoUser(user.to_owned()));
        }
        let tenants = self.store.catalog().all().await?;
        let tenant = tenant_of(case, &tenants, wanted.tenant)?;
        let pass = pass_of(tenant, wanted.pass)?;
        purchase.pass_id = Some(pass.id.clone());
        purchase.pass_name = None;
        purchase.tenant = Some(tenant.id.clone());
        purchase.path_tenant = None;
        purchase.proved_by = None;
        purchase.is_trial = false;
        if purchase.upgrade_from.is_none() || case.reason.starts_with("upgrade") {
            purchase.kind = Some(PurchaseKind::Pass);
            purchase.upgrade_from = None;
        }
        if let Some(user) = wanted.user {
            purchase.user_id = Some(user.to_owned());
        }
        purchase.created_via = CreatedVia::Support;
        let item = Item::job(&purchase)?.group(purchase.group()).rerun();
        let target = json!({ "case": case.id, "session": case.session, "tenant": tenant.id, "pass": pass.id, "user": wanted.user });
        let audit = self.begin("unmatched.assign", &target.to_string()).await?;
        let note = self.note(format!("assigned: {} of {}", pass.id, tenant.slug));
        let done = async {
            // The subscription closes only a case of its own tenant.
            let of = Some(tenant.id.as_str());
            self.store.unmatched().note_unmatched(&case.id, of, &note).await?;
            match self.queue.enqueue(&[item]).await?.first() {
                Some(Enqueued::Live) => Err(CaseError::Busy(reference(), case.session.clone())),
                _ => Ok(()),
            }
        }
        .await;
        if let Err(error) = &done {
            // Two people may assign at once: the history must not name a pass that was not created.
            let note = self.note(format!("not assigned: {error}"));
            self.store
                .unmatched()
                .note_unmatched(&case.id, None, &note)
                .await?;
        }
        self.end(&audit, &done, "enqueued").await?;
        done.map(|()| Assigned {
            tenant: tenant.slug.clone(),
            pass: pass.name.clone(),
            price: pass.price,
        })
    }

    /// Closes a case, so that `reconcile` and `doctor` no longer count it. It can still be fulfilled later.
    ///
    /// # Errors
    /// [`CaseError`]; then nothing was changed.
    pub async fn close(&self, case: &UnmatchedPayment) -> Result<(), CaseError> {
        let target = json!({ "case": case.id, "session": case.session }).to_string();
        let audit = self.begin("unmatched.close", &target).await?;
        let note = self.note("closed".to_owned());
        let closed = self
            .store
            .unmatched()
            .close_unmatched(&case.id, Resolution::Person, &note)
            .await;
        let done = match closed {
            Ok(true) => Ok(()),
            Ok(false) => Err(CaseError::Closed(case.reference.clone())),
            Err(error) => Err(error.into()),
        };
        self.end(&audit, &done, "closed").await?;
        done
    }

    fn note(&self, what: String) -> UnmatchedNote {
        UnmatchedNote {
            at: self.clock.now(),
            who: self.who.to_owned(),
            what,
            why: Some(self.why.to_owned()),
        }
    }

    /// Without an audit record there is no action.
    async fn begin(&self, action: &str, target: &str) -> Result<String, CaseError> {
        let record = AuditRecord {
            id: ulid::Ulid::generate().to_string(),
            actor: self.who.to_owned(),
            action: action.to_owned(),
            target: target.to_owned(),
            reason: Some(self.why.to_owned()),
            began_at: self.now(),
            ended_at: None,
            outcome: None,
        };
        self.store.audit().begin(&record).await?;
        Ok(record.id)
    }

    async fn end(&self, audit: &str, done: &Result<(), CaseError>, word: &str) -> Result<(), CaseError> {
        let outcome = match done {
            Ok(()) => word.to_owned(),
            Err(error) => format!("failed: {error}"),
        };
        Ok(self.store.audit().end(audit, self.now(), &outcome).await?)
    }

    fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }
}

fn tenant_of<'a>(
    case: &UnmatchedPayment,
    tenants: &'a [Tenant],
    wanted: Option<&str>,
) -> Result<&'a Tenant, CaseError> {
    let named = wanted.or(case.tenant.as_deref());
    let tenant = if let Some(name) = named {
        tenants.iter().find(|one| one.id == name || one.slug == name)
    } else {
        let mut of_account = tenants.iter().filter(|one| one.stripe_account == case.account);
        of_account.next().filter(|_| of_account.next().is_none())
    };
    let tenant = tenant.ok_or_else(|| {
        let tenants = listed(tenants.iter().map(|one| one.slug.as_str()));
        match wanted {
            Some(typed) => CaseError::NoSuchTenant {
                typed: typed.to_owned(),
                tenants,
            },
            None => CaseError::UnknownTenant {
                reference: case.reference.clone(),
                tenants,
            },
        }
    })?;
    // A tenant's account must not create another tenant's passes, whoever assigns.
    if tenant.stripe_account != case.account {
        return Err(CaseError::OtherAccount {
            reference: case.reference.clone(),
            account: case
                .account
                .clone()
                .unwrap_or_else(|| "the platform's own account".to_owned()),
            tenant: tenant.slug.clone(),
        });
    }
    Ok(tenant)
}

fn pass_of<'a>(tenant: &'a Tenant, wanted: &str) -> Result<&'a Pass, CaseError> {
    let by_id = tenant.passes.iter().find(|one| one.id == wanted);
    let mut by_name = tenant.passes.iter().filter(|one| one.name == wanted);
    by_id
        .or_else(|| by_name.next().filter(|_| by_name.next().is_none()))
        .ok_or_else(|| CaseError::UnknownPass {
            tenant: tenant.slug.clone(),
            pass: wanted.to_owned(),
            passes: listed(tenant.passes.iter().map(|one| one.id.as_str())),
        })
}

/// The first twenty names.
fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.take(20).collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}
