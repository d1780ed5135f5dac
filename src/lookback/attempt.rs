//! One attempt at a customer's sync: what the run knows from earlier ones, and how far those have read.

use std::collections::{BTreeMap, HashMap};

use super::enqueue_missing::{Candidate, Lane, Unfinished};
use super::look::Seen;
use super::{Lookback, LookbackError};
use crate::store::{FoundSession, LookbackRun, RunPhase, RunStep, SessionState};

/// More sessions than are noted of any customer.
const MOST_NOTED: u32 = 10_000;
const TOO_MANY: &str =
    "too_many_sessions: more than 10,000 in one account; the others are brought by `surepass sync --all`";
/// How the key's own account is called among the places: no account is.
const OWN: &str = "own";

/// One attempt.
pub(super) struct Attempt<'a> {
    pub(super) run: &'a LookbackRun,
    /// Which sessions the run knows, and whether they must be looked at again.
    known: HashMap<String, bool>,
    /// By account, how far its list has been read page by page, and all that it held handed in; `None`: to its end.
    places: BTreeMap<String, Option<String>>,
    pub(super) unfinished: Unfinished,
}

impl Attempt<'_> {
    /// Where the account's list goes on.
    pub(super) fn place(&self, account: Option<&str>) -> Place {
        match self.places.get(account.unwrap_or(OWN)) {
            None => Place::After(None),
            Some(None) => Place::End,
            Some(after) => Place::After(after.clone()),
        }
    }

    /// Notes that it has been read and handed in up to here.
    pub(super) fn put(&mut self, account: Option<&str>, place: Place) {
        let after = match place {
            Place::After(after) => after,
            Place::End => None,
        };
        self.places.insert(account.unwrap_or(OWN).to_owned(), after);
    }
}

/// A place in a list.
pub(super) enum Place {
    /// After this session; `None`: at the beginning.
    After(Option<String>),
    End,
}

impl Lookback {
    pub(super) async fn attempt<'a>(&self, run: &'a LookbackRun) -> Result<Attempt<'a>, LookbackError> {
        Ok(Attempt {
            run,
            known: self.known(run).await?,
            // None yet, or one of another version of Surepass: it is read from the beginning.
            places: serde_json::from_str(&run.cursor).unwrap_or_default(),
            unfinished: Unfinished::default(),
        })
    }

    /// Hands in what was seen of an account, and notes it in the run. Answers whether all of it has been.
    pub(super) async fn hand_in(
        &self,
        attempt: &mut Attempt<'_>,
        account: Option<&str>,
        seen: &mut Seen,
    ) -> Result<bool, LookbackError> {
        let mut found = std::mem::take(&mut seen.found);
        // What an earlier attempt has handed in stays as it was noted.
        found.retain(|one| attempt.known.get(&one.row.session) != Some(&false));
        self.enqueue_missing(account, attempt.run.via, Lane::Fresh, &mut found)
            .await?;
        attempt.unfinished.add(&found);
        let rows: Vec<FoundSession> = found.iter().map(Candidate::row).collect::<Result<_, _>>()?;
        for rows in rows.chunks(500) {
            self.records().note_sessions(&attempt.run.id, rows).await?;
        }
        Ok(!rows.iter().any(|row| is_to_be_looked_at_again(row.state)))
    }

    /// Notes in the run how far the attempt has come.
    pub(super) async fn take_down(
        &self,
        attempt: &Attempt<'_>,
        seen: &mut Seen,
    ) -> Result<(), LookbackError> {
        let run = self.records().run(&attempt.run.id).await?;
        let step = RunStep {
            phase: RunPhase::Listing,
            cursor: serde_json::to_string(&attempt.places).map_err(crate::queue::QueueError::from)?,
            pages: std::mem::take(&mut seen.pages),
            unreadable: std::mem::take(&mut seen.unreadable),
            error: seen.too_many.then(|| TOO_MANY.to_owned()),
            ..RunStep::at(self.clock.now())
        };
        let run = run.as_ref().unwrap_or(attempt.run);
        self.records().step_run(run, &step, &[]).await?;
        Ok(())
    }

    /// Which sessions the run knows already, and whether they must be looked at again.
    async fn known(&self, run: &LookbackRun) -> Result<HashMap<String, bool>, LookbackError> {
        let rows = self
            .records()
            .found_sessions(&run.id, None, &SessionState::ALL, "", MOST_NOTED)
            .await?;
        Ok(rows
            .into_iter()
            .map(|row| (row.session, is_to_be_looked_at_again(row.state)))
            .collect())
    }
}

fn is_to_be_looked_at_again(state: SessionState) -> bool {
    matches!(state, SessionState::Staged | SessionState::Failed)
}
