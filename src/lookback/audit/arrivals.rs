//! Whether what Stripe sent of late has come in by webhook: the only proof that our secret is Stripe's.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};

use super::finding::Finding;
use super::{Auditor, Endpoint, NEEDED};
use crate::lookback::accounts;
use crate::queue::EventSource;
use crate::store::KnownTenant;
use crate::stripe::api::{EventFilter, StripeError};

/// An event that is younger may still be on its way.
const ON_ITS_WAY: TimeDelta = TimeDelta::minutes(10);
/// Stripe tries for so long.
const RETRIED: TimeDelta = TimeDelta::days(3);
/// So many of an account's newest events are looked for.
const NEWEST: u8 = 5;
/// If so many are there and none of them has come by webhook, it is no mishap.
const SEVERAL: usize = 3;
/// So many connected accounts are asked in one audit. Where there are more, others have their turn on another day.
const MOST_ACCOUNTS: usize = 50;

/// Those of whom the same endpoints hear, and so with the same secrets.
#[derive(Default)]
struct Heard {
    accounts: Vec<Option<String>>,
    /// Their newest purchase events, and when those were made.
    newest: Vec<(Option<DateTime<Utc>>, String)>,
}

impl Auditor {
    /// Looks for the newest purchase events of the key's own account and of the tenants'. `endpoints`: ours; `None`: it is not
    /// known which there are.
    pub(super) async fn arrivals(
        &self,
        tenants: &[KnownTenant],
        endpoints: Option<&[Endpoint]>,
        findings: &mut Vec<Finding>,
    ) -> Result<(), StripeError> {
        match self.undelivered().await {
            Ok(finding) => findings.extend(finding),
            Err(error) if error.is_transient() => return Err(error),
            // Whose they are makes no difference to what the key may read.
            Err(error) => {
                findings.push(Finding::not_permitted("Events", None, &error));
                return Ok(());
            }
        }
        let mut all: BTreeMap<(bool, Vec<&str>), Heard> = BTreeMap::new();
        for account in asked(accounts(tenants), self.clock.now()) {
            let of = account.as_deref();
            let hearing: Vec<_> = endpoints
                .unwrap_or_default()
                .iter()
                .filter(|endpoint| endpoint.enabled && endpoint.hears(of))
                .collect();
            // That nobody hears of it has been told.
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
            findings.extend(self.judged(heard, tenants).await);
        }
        Ok(())
    }

    /// The newest purchase events that one of these endpoints should have brought.
    async fn newest(
        &self,
        account: Option<&str>,
        hearing: &[&Endpoint],
    ) -> Result<Vec<(Option<DateTime<Utc>>, String)>, StripeError> {
        let mut filter = self.sent();
        // Nothing can have come to an endpoint that was not there yet.
        let since = hearing.iter().map(|endpoint| endpoint.created).min().flatten();
        filter.created_from = filter.created_from.max(since);
        if filter.created_from >= filter.created_before {
            return Ok(Vec::new());
        }
        let mut pages = self.client.account(account).events(filter).page_size(NEWEST);
        let page = pages.next().await?.unwrap_or_default();
        let events = page.items.into_iter().map(|listed| listed.event);
        Ok(events.map(|event| (event.created, event.id)).collect())
    }

    /// What Stripe has sent, and still tries to.
    fn sent(&self) -> EventFilter {
        let now = self.clock.now();
        EventFilter {
            types: NEEDED.map(str::to_owned).to_vec(),
            created_from: Some(now - RETRIED),
            created_before: Some(now - ON_ITS_WAY),
            ..EventFilter::default()
        }
    }

    async fn judged(&self, mut heard: Heard, tenants: &[KnownTenant]) -> Option<Finding> {
        heard.newest.sort_by(|one, other| other.cmp(one));
        heard.newest.truncate(NEWEST.into());
        let ids: Vec<&str> = heard.newest.iter().map(|(_, id)| id.as_str()).collect();
        // Redis away: nothing can be said, and the doctor says that.
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
        if sources.len() >= SEVERAL && !sources.contains(&Some(EventSource::Delivered)) {
            return Some(Finding::none_arrives(sources.len(), &of, newest));
        }
        let late = sources.first() != Some(&Some(EventSource::Delivered));
        late.then(|| Finding::not_arrived(newest, &of, *created, self.clock.now()))
    }

    /// What Stripe could not deliver to some endpoint of the key's own account.
    async fn undelivered(&self) -> Result<Option<Finding>, StripeError> {
        let failed = EventFilter {
            delivery_success: Some(false),
            ..self.sent()
        };
        let page = self.client.account(None).events(failed).next().await?;
        Ok(page.and_then(|page| {
            let newest = page.items.first()?;
            let id = &newest.event.id;
            Some(Finding::undelivered(id, page.items.len(), page.has_more))
        }))
    }
}

/// Whose events are asked for: a call each.
fn asked(mut all: Vec<Option<String>>, now: DateTime<Utc>) -> Vec<Option<String>> {
    let mut connected = all.split_off(1);
    if connected.len() > MOST_ACCOUNTS {
        let day = usize::try_from(now.timestamp() / 86_400).unwrap_or(0);
        let turn = day.wrapping_mul(MOST_ACCOUNTS) % connected.len();
        connected.rotate_left(turn);
        connected.truncate(MOST_ACCOUNTS);
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
            assert_eq!((some.len(), &some[0]), (1 + MOST_ACCOUNTS, &None));
            met.extend(some);
        }
        assert_eq!(met.len(), all.len());
    }
}
