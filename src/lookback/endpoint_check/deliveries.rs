//! Checks whether Stripe's recent events arrived by webhook. Only this proves that our signing secret is
//! right.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};

use super::finding::Finding;
use super::{Endpoint, EndpointChecker};
use crate::lookback::accounts;
use crate::queue::EventSource;
use crate::store::KnownTenant;
use crate::stripe::PURCHASE_EVENTS;
use crate::stripe::api::{EventFilter, StripeError};

/// A younger event may still arrive.
const DELIVERY_GRACE: TimeDelta = TimeDelta::minutes(10);
/// How long Stripe retries.
const RETRY_PERIOD: TimeDelta = TimeDelta::days(3);
/// How many of an account's newest events are checked.
const EVENTS_CHECKED: u8 = 5;
/// If at least this many exist and none arrived by webhook, it is an error.
const MIN_FOR_ERROR: usize = 3;
/// The most connected accounts in one check. The others follow on other days.
const MAX_ACCOUNTS: usize = 50;

/// Accounts that the same endpoints cover, and so the same secrets.
#[derive(Default)]
struct EndpointGroup {
    accounts: Vec<Option<String>>,
    /// Their newest purchase events, with creation times.
    newest: Vec<(Option<DateTime<Utc>>, String)>,
}

impl EndpointChecker {
    /// Checks the newest purchase events of all accounts. `endpoints`: ours; `None` if unknown.
    pub(super) async fn check_recent_deliveries(
        &self,
        tenants: &[KnownTenant],
        endpoints: Option<&[Endpoint]>,
        findings: &mut Vec<Finding>,
    ) -> Result<(), StripeError> {
        match self.failed_deliveries().await {
            Ok(finding) => findings.extend(finding),
            Err(error) if error.is_transient() => return Err(error),
            // A missing permission applies to all accounts.
            Err(error) => {
                findings.push(Finding::not_permitted("Events", None, &error));
                return Ok(());
            }
        }
        let mut all: BTreeMap<(bool, Vec<&str>), EndpointGroup> = BTreeMap::new();
        for account in asked(accounts(tenants), self.clock.now()) {
            let of = account.as_deref();
            let hearing: Vec<_> = endpoints
                .unwrap_or_default()
                .iter()
                .filter(|endpoint| endpoint.enabled && endpoint.receives(of))
                .collect();
            // A finding says already that no endpoint covers this account.
            if endpoints.is_some() && hearing.is_empty() {
                continue;
            }
            match self.newest(of, &hearing).await {
                Ok(newest) => {
                    let ids = hearing.iter().map(|endpoint| endpoint.id.as_str()).collect();
                    let heard = all.entry((of.is_some(), ids)).or_default();
                    heard.accounts.push(account);
                    heard.newest.extend(newest);
                }
                Err(error) if error.is_transient() => return Err(error),
                Err(error) => findings.push(Finding::not_permitted("Events", of, &error)),
            }
        }
        for heard in all.into_values() {
            findings.extend(self.evaluate_group(heard, tenants).await);
        }
        Ok(())
    }

    /// The newest purchase events that these endpoints should have received.
    async fn newest(
        &self,
        account: Option<&str>,
        hearing: &[&Endpoint],
    ) -> Result<Vec<(Option<DateTime<Utc>>, String)>, StripeError> {
        let mut filter = self.sent();
        // An endpoint receives nothing from before its creation.
        let since = hearing.iter().map(|endpoint| endpoint.created).min().flatten();
        filter.created_from = filter.created_from.max(since);
        if filter.created_from >= filter.created_before {
            return Ok(Vec::new());
        }
        let mut pages = self
            .client
            .account(account)
            .events(filter)
            .page_size(EVENTS_CHECKED);
        let page = pages.next().await?.unwrap_or_default();
        let events = page.items.into_iter().map(|listed| listed.event);
        Ok(events.map(|event| (event.created, event.id)).collect())
    }

    /// Events that Stripe has sent and may still retry.
    fn sent(&self) -> EventFilter {
        let now = self.clock.now();
        EventFilter {
            types: PURCHASE_EVENTS.map(str::to_owned).to_vec(),
            created_from: Some(now - RETRY_PERIOD),
            created_before: Some(now - DELIVERY_GRACE),
            ..EventFilter::default()
        }
    }

    async fn evaluate_group(&self, mut heard: EndpointGroup, tenants: &[KnownTenant]) -> Option<Finding> {
        heard.newest.sort_by(|one, other| other.cmp(one));
        heard.newest.truncate(EVENTS_CHECKED.into());
        let ids: Vec<&str> = heard.newest.iter().map(|(_, id)| id.as_str()).collect();
        // Without Redis nothing is known, which the doctor reports elsewhere.
        let sells_there = |tenant: &&KnownTenant| heard.accounts.contains(&tenant.stripe_account);
        let slugs = tenants.iter().filter(sells_there);
        let slugs: Vec<&str> = slugs.map(|tenant| tenant.slug.as_str()).collect();
        let sources = self.purchases.event_sources(&ids, &slugs).await.ok()?;
        let (created, newest) = heard.newest.first()?;
        let of = match heard.accounts.as_slice() {
            [None] => String::new(),
            [Some(account)] => format!(" of {account}"),
            several => format!(" of {} connected accounts", several.len()),
        };
        if sources.len() >= MIN_FOR_ERROR && !sources.contains(&Some(EventSource::Delivered)) {
            return Some(Finding::no_event_received(sources.len(), &of, newest));
        }
        let late = sources.first() != Some(&Some(EventSource::Delivered));
        late.then(|| Finding::event_not_received(newest, &of, *created, self.clock.now()))
    }

    /// Failed deliveries to any endpoint of the key's own account.
    async fn failed_deliveries(&self) -> Result<Option<Finding>, StripeError> {
        let failed = EventFilter {
            delivery_success: Some(false),
            ..self.sent()
        };
        let page = self.client.account(None).events(failed).next().await?;
        Ok(page.and_then(|page| {
            let newest = page.items.first()?;
            let id = &newest.event.id;
            Some(Finding::failed_deliveries(id, page.items.len(), page.has_more))
        }))
    }
}

/// The accounts to check, each for one call.
fn asked(mut all: Vec<Option<String>>, now: DateTime<Utc>) -> Vec<Option<String>> {
    let mut connected = all.split_off(1);
    if connected.len() > MAX_ACCOUNTS {
        let day = usize::try_from(now.timestamp() / 86_400).unwrap_or(0);
        let turn = day.wrapping_mul(MAX_ACCOUNTS) % connected.len();
        connected.rotate_left(turn);
        connected.truncate(MAX_ACCOUNTS);
    }
    all.extend(connected);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_accounts_some_are_asked_in_each_audit_of_a_day_and_all_within_days() {
        let connected = (0..120).map(|n| Some(format!("acct_{n:03}")));
        let all: Vec<_> = std::iter::once(None).chain(connected).collect();
        let on = |day: i64| asked(all.clone(), DateTime::UNIX_EPOCH + TimeDelta::days(20_000 + day));
        let mut met = std::collections::HashSet::new();
        for day in 0..3 {
            let some = on(day);
            assert_eq!((some.len(), &some[0]), (1 + MAX_ACCOUNTS, &None));
            met.extend(some);
        }
        assert_eq!(met.len(), all.len());
    }
}
