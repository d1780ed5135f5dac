//! Extends a tick's window back to the watermark, if earlier account syncs failed.

use chrono::{DateTime, SubsecRound, Utc};

use super::{Cron, ScheduledLookback};
use crate::lookback::account_sync::DETECTOR;
use crate::lookback::{AccountSyncRequest, RunId};
use crate::store::{RunPhase, StoreError, Watermark};

impl Cron {
    /// A tick's account sync over the time range, or from the watermark if that is earlier.
    ///
    /// An extended sync has a run id of its own, named by the start of the gap. So only one runs at a time,
    /// and a dead one continues at the next tick. If it ends without raising the watermark, the nightly sync
    /// covers the gap.
    pub(super) async fn account_sync(
        &self,
        entry: &ScheduledLookback<'_>,
        account: Option<&str>,
        (from, to): (DateTime<Utc>, DateTime<Utc>),
        marks: &[Watermark],
        now: DateTime<Utc>,
    ) -> Result<AccountSyncRequest, StoreError> {
        let request = AccountSyncRequest::new(entry.name, account, from, to);
        let own = |mark: &&Watermark| mark.is_of(DETECTOR, account, self.is_test) && !mark.is_ahead_of(now);
        let Some(mark) = marks.iter().find(own) else {
            return Ok(request);
        };
        let earliest = (now - *self.settings.nightly_window).trunc_subsecs(0);
        let since = mark.to.max(earliest);
        if since >= from {
            return Ok(request);
        }
        let (gap, of) = (mark.to.timestamp(), account.unwrap_or("own"));
        let run = RunId::from(format!("cron:{}:since:{gap}:{of}", entry.name));
        Ok(match self.store.lookback().run(run.as_str()).await? {
            None => AccountSyncRequest {
                from: since,
                run: Some(run),
                ..request
            },
            Some(before) => match before.phase {
                // It does not list any more, so new sessions need a run of their own.
                RunPhase::Done | RunPhase::Settling => request,
                // Stripe refused it; trying again costs one call.
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
