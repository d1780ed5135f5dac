//! A verified event as it is handed to the queue, whichever way it came.

use std::time::Duration;

use crate::event_log;
use crate::fulfil::{ProvedBy, Triage, triage};
use crate::queue::{Item, QueueError};
use crate::store::CreatedVia;
use crate::stripe::Event;

/// What kills a purchase whose path was not known, or was another tenant's.
const TOLD_BY_PATH: &str = "unresolved_tenant,tenant_mismatch";

/// What an event comes to.
#[derive(Debug)]
pub struct Accepted {
    /// The purchase's job, if it is one, and the entry for the event log; once for the event.
    pub item: Item,
    /// Why there is no job.
    pub ignored: Option<&'static str>,
}

/// The tenant's path that an event came in by.
#[derive(Debug, Clone, Copy)]
pub struct Path<'a> {
    pub tenant: &'a str,
    pub proved_by: ProvedBy,
}

/// Makes an item of a verified event, whose session it takes, and its raw body. `path`: by which it came in, where that is a
/// tenant's; `remember` is for how long the same event is taken for a double.
///
/// # Errors
/// [`QueueError::Encode`].
pub fn accept(
    event: &mut Event,
    body: &[u8],
    path: Option<Path<'_>>,
    via: CreatedVia,
    remember: Duration,
) -> Result<Accepted, QueueError> {
    let path_tenant = path.map(|path| path.tenant);
    let (item, ignored) = match triage(event, path_tenant) {
        Triage::Fulfil(mut purchase) => {
            purchase.created_via = via;
            purchase.proved_by = path.map(|path| path.proved_by);
            let job = Item::job(&purchase)?.group(purchase.group());
            // The path tells the tenant, which an event of another path, or a lookback, may not have been able to.
            let job = match path_tenant {
                Some(_) => job.revive_of(TOLD_BY_PATH),
                None => job,
            };
            (job, None)
        }
        Triage::Ignore(why) => (Item::default(), Some(why)),
    };
    // Stripe sends one event to every endpoint of an account: one path's delivery must not answer for another's.
    let key = match path_tenant {
        Some(slug) => ["event:", slug, ":", &event.id].concat(),
        None => ["event:", &event.id].concat(),
    };
    let item = item.dedupe(key, remember);
    let item = match via {
        CreatedVia::Webhook => item,
        _ => item.polled(),
    };
    let item = event_log::attach(item, event, path_tenant, ignored, body)?;
    Ok(Accepted { item, ignored })
}
