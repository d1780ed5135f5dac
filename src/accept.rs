//! A verified event as it is handed to the queue, whichever way it came.

use std::time::Duration;

use crate::event_log;
use crate::fulfil::{Triage, UNRESOLVED_TENANT, triage};
use crate::queue::{Item, QueueError};
use crate::store::CreatedVia;
use crate::stripe::Event;

/// What an event comes to.
#[derive(Debug)]
pub struct Accepted {
    /// The purchase's job, if it is one, and the entry for the event log; once for the event.
    pub item: Item,
    /// Why there is no job.
    pub ignored: Option<&'static str>,
}

/// Makes an item of a verified event, whose session it takes, and its raw body. `path_tenant` is the slug of the path that it
/// came in by, if any; `remember` is for how long the same event is taken for a double.
///
/// # Errors
/// [`QueueError::Encode`].
pub fn accept(
    event: &mut Event,
    body: &[u8],
    path_tenant: Option<&str>,
    via: CreatedVia,
    remember: Duration,
) -> Result<Accepted, QueueError> {
    let (item, ignored) = match triage(event, path_tenant) {
        Triage::Fulfil(mut purchase) => {
            purchase.created_via = via;
            let job = Item::job(&purchase)?.group(purchase.group());
            // The path tells the tenant, which a lookback that came first may not have been able to.
            let job = match path_tenant {
                Some(_) => job.revive_of(UNRESOLVED_TENANT),
                None => job,
            };
            (job, None)
        }
        Triage::Ignore(why) => (Item::default(), Some(why)),
    };
    let item = item.once(["event:", &event.id].concat(), remember);
    let item = match via {
        CreatedVia::Webhook => item,
        _ => item.second_hand(),
    };
    let item = event_log::attach(item, event, path_tenant, ignored, body)?;
    Ok(Accepted { item, ignored })
}
