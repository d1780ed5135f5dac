//! Makes the queue's item from a verified event, however the event came: by webhook or by polling.

use std::time::Duration;

use crate::event_log;
use crate::fulfil::{ProvedBy, Triage, triage};
use crate::queue::{Item, QueueError};
use crate::store::CreatedVia;
use crate::stripe::Event;

/// The dead letters of purchases that came without a tenant's path, or by another tenant's.
const REVIVED_BY_PATH: &str = "unresolved_tenant,tenant_mismatch";

/// An event, ready to be enqueued.
#[derive(Debug)]
pub struct Ingested {
    /// The purchase's job, if there is one, and the entry for the event log. The event's id is its dedupe key.
    pub item: Item,
    /// Why there is no job.
    pub ignored: Option<&'static str>,
}

/// The tenant's path by which an event came in.
#[derive(Debug, Clone, Copy)]
pub struct Path<'a> {
    pub tenant: &'a str,
    pub proved_by: ProvedBy,
}

/// Makes an item of a verified event and its raw body, and takes the event's session. `path` is the tenant's path by which it
/// came in, if any. `remember`: how long the same event counts as a duplicate.
///
/// # Errors
/// [`QueueError::Encode`].
pub fn ingest(
    event: &mut Event,
    body: &[u8],
    path: Option<Path<'_>>,
    via: CreatedVia,
    remember: Duration,
) -> Result<Ingested, QueueError> {
    let path_tenant = path.map(|path| path.tenant);
    let (item, ignored) = match triage(event, path_tenant) {
        Triage::Fulfil(mut purchase) => {
            purchase.created_via = via;
            purchase.proved_by = path.map(|path| path.proved_by);
            let job = Item::job(&purchase)?.group(purchase.group());
            // The path names the tenant, which an event on another path, or the lookback, may not have known.
            let job = match path_tenant {
                Some(_) => job.revive_of(REVIVED_BY_PATH),
                None => job,
            };
            (job, None)
        }
        Triage::Ignore(why) => (Item::default(), Some(why)),
    };
    // Stripe sends one event to every endpoint of an account: a delivery on one path is no duplicate of one on another.
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
    Ok(Ingested { item, ignored })
}
