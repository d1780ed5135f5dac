//! A store in memory that keeps the promises of [`Store`], until the real ones are there.

use std::sync::Mutex;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use surepass::store::*;

#[derive(Debug, Default)]
pub(crate) struct MemoryStore(Mutex<Shelves>);

#[derive(Debug, Default)]
struct Shelves {
    tenants: Vec<Tenant>,
    subscriptions: Vec<Subscription>,
    users: Vec<(String, Option<String>)>,
}

#[async_trait]
impl Store for MemoryStore {
    async fn create_subscription(&self, new: NewSubscription) -> Result<Created, StoreError> {
        let mut shelves = self.0.lock().unwrap();
        let mut made = new.subscription;
        let same = |there: &&Subscription| {
            there.stripe_session_id == made.stripe_session_id
                || (made.stripe_payment_id.is_some() && there.stripe_payment_id == made.stripe_payment_id)
        };
        if let Some(there) = shelves.subscriptions.iter().find(same) {
            return Ok(Created::Existing {
                id: there.id.clone(),
                user: there.user.clone(),
                tenant: there.tenant.clone(),
            });
        }
        let known = shelves
            .users
            .iter()
            .find(|(id, email)| match (&new.buyer.user_id, &new.buyer.email) {
                (Some(user), _) => id == user,
                (None, Some(address)) => email.as_ref() == Some(address),
                (None, None) => false,
            });
        let user = match known {
            Some((id, _)) => id.clone(),
            None => new
                .buyer
                .user_id
                .clone()
                .unwrap_or_else(|| format!("user-{}", shelves.users.len())),
        };
        if let Some(from) = &made.upgraded_from_subscription_id {
            let Some(old) = shelves.subscriptions.iter_mut().find(|there| &there.id == from) else {
                return Ok(Created::Refused(UpgradeRefusal::NotFound));
            };
            if old.tenant != made.tenant {
                return Ok(Created::Refused(UpgradeRefusal::OtherTenant));
            }
            if old.user != user {
                return Ok(Created::Refused(UpgradeRefusal::OtherUser));
            }
            if !old.is_active {
                return Ok(Created::Refused(UpgradeRefusal::AlreadyUpgraded));
            }
            old.is_active = false;
        }
        if !shelves.users.iter().any(|(id, _)| *id == user) {
            shelves.users.push((user.clone(), new.buyer.email));
        }
        made.user.clone_from(&user);
        let id = made.id.clone();
        shelves.subscriptions.push(made);
        Ok(Created::New { id, user })
    }

    async fn subscriptions(
        &self,
        filter: &SubscriptionFilter,
        _: u32,
    ) -> Result<Vec<Subscription>, StoreError> {
        let shelves = self.0.lock().unwrap();
        let fits = |there: &&Subscription| {
            filter
                .session
                .as_ref()
                .is_none_or(|session| there.stripe_session_id == *session)
                && filter.user.as_ref().is_none_or(|user| there.user == *user)
                && filter.email.as_ref().is_none_or(|email| {
                    shelves
                        .users
                        .iter()
                        .any(|(id, of)| *id == there.user && of.as_ref() == Some(email))
                })
        };
        Ok(shelves.subscriptions.iter().filter(fits).cloned().collect())
    }

    async fn tenants(&self) -> Result<Vec<Tenant>, StoreError> {
        Ok(self.0.lock().unwrap().tenants.clone())
    }

    async fn import(&self, tenants: &[Tenant]) -> Result<Imported, StoreError> {
        let mut shelves = self.0.lock().unwrap();
        for tenant in tenants {
            shelves.tenants.retain(|there| there.id != tenant.id);
            shelves.tenants.push(tenant.clone());
        }
        Ok(Imported::default())
    }

    async fn append_events(&self, _: Vec<LoggedEvent>) -> Result<(), StoreError> {
        Ok(())
    }

    async fn drop_event_bodies(&self, _: DateTime<Utc>, _: u32) -> Result<u64, StoreError> {
        Ok(0)
    }

    async fn events(&self, _: u32) -> Result<Vec<LoggedEvent>, StoreError> {
        Ok(Vec::new())
    }

    async fn migrate(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn close(&self) {}
}
