//! What the sweeps before have left unproven: the next tick goes back to it.

use chrono::{DateTime, SubsecRound, Utc};

use super::{Cron, Plan};
use crate::lookback::account_sync::DETECTOR;
use crate::lookback::{AccountSyncRequest, RunId};
use crate::store::{LookbackMark, RunPhase, StoreError};

impl Cron {
    /// A tick's sweep of an account over `span`; from further back where no sweep has proven what was before it.
    ///
    /// Such a one has a run of its own, named for where the gap begins. So there is one at a time, however many ticks come
    /// while it lives; a dead one goes on at the next tick; and one that came to its end and proved nothing is not
    /// repeated every ten minutes but left to the night.
    pub(super) async fn account_sync(
        &self,
        plan: &Plan<'_>,
        account: Option<&str>,
        (from, to): (DateTime<Utc>, DateTime<Utc>),
        marks: &[LookbackMark],
        now: DateTime<Utc>,
    ) -> Result<AccountSyncRequest, StoreError> {
        let request = AccountSyncRequest::new(plan.name, account, from, to);
        let own =
            |mark: &&LookbackMark| mark.is_of(DETECTOR, account, self.is_test) && !mark.is_ahead_of(now);
        let Some(mark) = marks.iter().find(own) else {
            return Ok(request);
        };
        let earliest = (now - self.settings.nightly_window).trunc_subsecs(0);
        let since = mark.to.max(earliest);
        if since >= from {
            return Ok(request);
        }
        let (gap, of) = (mark.to.timestamp(), account.unwrap_or("own"));
        let run = RunId::from(format!("cron:{}:since:{gap}:{of}", plan.name));
        Ok(match self.store.lookback().run(run.as_str()).await? {
            None => AccountSyncRequest {
                from: since,
                run: Some(run),
                ..request
            },
            Some(before) => match before.phase {
                // What waits for its purchases lists no more: what is new is somebody else's.
                RunPhase::Done | RunPhase::Settling => request,
                // It was refused, which costs a call.
                RunPhase::Failed => AccountSyncRequest {
                    from: since,
                    ..request
                },
                _ => AccountSyncRequest {
                    from: before.from,
                    to: before.to,
                    slice: before.slice,
                    run: Some(run),
                    ..request
                },
            },
        })
    }
}
