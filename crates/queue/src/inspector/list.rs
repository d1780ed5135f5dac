//! Pages of jobs.

use std::collections::BTreeMap;

use redis::Value;
use serde::Serialize;

use super::cursor::{Cursor, Position};
use super::scan::{Scan, ScannedJob};
use super::{Filter, InspectError, Inspector, JobState, JobSummary, Order, data_key, instant, now, redact};
use crate::client::Queue;
use crate::job::{Data, LONGEST_HEADER};

/// The most jobs read in one go.
const LARGEST_CHUNK: usize = 500;
/// The most done jobs read: they are short, and filtered by their age alone.
const MOST_DONE: usize = 10_000;

/// How much of a list is wanted.
#[derive(Debug, Clone)]
pub struct PageOptions {
    /// The most jobs.
    pub limit: usize,
    /// The most jobs read for it: a page that ends here has a cursor, too.
    pub scan: usize,
    /// What the last page gave.
    pub cursor: Option<String>,
    /// `None`: ended jobs newest first, others in the order in which they will run.
    pub order: Option<Order>,
}

impl Default for PageOptions {
    fn default() -> Self {
        Self {
            limit: 50,
            scan: 5_000,
            cursor: None,
            order: None,
        }
    }
}

/// Some jobs, and where the next page begins.
///
/// While the queue moves: a job that stays in its state is on exactly one page. One that comes back to the front of its line
/// (its worker died) may be seen again, and one that leaves its state before its page is read is not seen.
#[derive(Debug, Clone, Serialize)]
pub struct Page {
    pub jobs: Vec<JobSummary>,
    /// `None`: there are no more.
    pub next: Option<String>,
    /// How many jobs were read.
    pub scanned: usize,
    /// The clock that ages go by, in ms since 1970.
    #[serde(serialize_with = "instant::one")]
    pub now: u64,
}

/// What one call has read.
pub(super) struct Scanned {
    pub(super) fit: Vec<JobSummary>,
    /// How many jobs were read, whether they fit or not.
    pub(super) seen: usize,
    pub(super) next: Option<Cursor>,
    pub(super) now: u64,
}

impl Inspector {
    /// A page of the jobs that fit, state by state: running, dead, scheduled, waiting, done. Looks at a bounded number of
    /// jobs, so a page may be short, or empty, and yet have a `next`. Of each queue's done jobs only one page is given: the
    /// newest, or with [`Order::Oldest`] the oldest.
    ///
    /// # Errors
    /// [`InspectError`]: among others where the filter asks for what is not kept, or the cursor is of another list.
    pub async fn list(&self, filter: &Filter, options: &PageOptions) -> Result<Page, InspectError> {
        let cursor = options.cursor.as_deref().map(Cursor::decode).transpose()?;
        if cursor
            .as_ref()
            .is_some_and(|cursor| cursor.order != options.order)
        {
            return Err(InspectError::Cursor);
        }
        let mut scanned = self
            .scanned(filter, options.order, cursor, options.limit, options.scan)
            .await?;
        for job in &mut scanned.fit {
            job.error = job.error.as_deref().map(redact::emails);
        }
        Ok(Page {
            scanned: scanned.seen,
            next: scanned.next.map(|next| next.encode()).transpose()?,
            jobs: scanned.fit,
            now: scanned.now,
        })
    }

    /// Reads jobs from `cursor` on until `limit` of them fit, or `most` have been read.
    pub(super) async fn scanned(
        &self,
        filter: &Filter,
        order: Option<Order>,
        cursor: Option<Cursor>,
        limit: usize,
        most: usize,
    ) -> Result<Scanned, InspectError> {
        let mut stops = self.stops(filter, order)?;
        if let Some(cursor) = &cursor {
            let at = stops
                .iter()
                .position(|(state, queue)| *state == cursor.state && queue.config.name == cursor.queue)
                .ok_or(InspectError::Cursor)?;
            stops.drain(..at);
        }
        let first = stops.first().ok_or(InspectError::Cursor)?.1;
        let mut scanned = Scanned {
            fit: Vec::new(),
            seen: 0,
            next: None,
            now: now(first).await?,
        };
        let mut place = cursor.and_then(|cursor| cursor.place);
        // A list without a job costs a call, too.
        let mut looks = 0;
        for (state, queue) in stops {
            let mut scan = Scan::new(queue, state, order.unwrap_or(Order::of(state)));
            loop {
                if scan.is_over {
                    break;
                }
                let room = most.saturating_sub(looks);
                if scanned.fit.len() >= limit || room == 0 {
                    scanned.next = Some(Cursor {
                        state,
                        queue: queue.config.name.clone(),
                        order,
                        place,
                    });
                    return Ok(scanned);
                }
                let wanted = if filter.fits_all() {
                    limit - scanned.fit.len()
                } else {
                    usize::MAX
                };
                let count = match state {
                    JobState::Done => wanted.min(MOST_DONE),
                    _ => wanted.min(LARGEST_CHUNK).min(room),
                };
                let Some(found) = scan.next(filter, place.as_ref(), count).await? else {
                    break;
                };
                looks += found.len().max(1);
                if self
                    .sift(&scan, filter, limit, found, &mut place, &mut scanned)
                    .await?
                {
                    break;
                }
            }
            place = None;
        }
        Ok(scanned)
    }

    /// The states and queues to read.
    fn stops(&self, filter: &Filter, order: Option<Order>) -> Result<Vec<(JobState, &Queue)>, InspectError> {
        if filter.state == Some(JobState::Done) && filter.needs_more_than_done_jobs_keep() {
            return Err(InspectError::Filter(
                "of a done job only its id, its end and its attempts are kept: leave kind, tenant and error out",
            ));
        }
        if filter.state == Some(JobState::Waiting) && order == Some(Order::Newest) {
            return Err(InspectError::Filter(
                "waiting jobs are listed in the order in which they will run, each tenant's by themselves",
            ));
        }
        let queues = match &filter.queue {
            Some(name) => vec![self.queue(name)?],
            None => self.queues.iter().collect(),
        };
        let stop = |state| queues.iter().map(move |queue| (state, *queue));
        Ok(filter.states().into_iter().flat_map(stop).collect())
    }

    /// Keeps what fits. Returns whether nothing after it can fit.
    async fn sift(
        &self,
        scan: &Scan<'_>,
        filter: &Filter,
        limit: usize,
        found: Vec<ScannedJob>,
        place: &mut Option<Position>,
        scanned: &mut Scanned,
    ) -> Result<bool, InspectError> {
        let places: Vec<Position> = found.iter().map(|found| found.place.clone()).collect();
        let jobs = described(scan, found).await?;
        for (job, at) in jobs.into_iter().zip(places) {
            if scanned.fit.len() >= limit {
                return Ok(false);
            }
            // Its data is gone: it changed state between the two calls, or was discarded.
            if let Some(job) = job {
                if filter.ends_at(&job, scan.order, scanned.now) {
                    return Ok(true);
                }
                scanned.seen += 1;
                if filter.fits(&job, scanned.now) {
                    scanned.fit.push(job);
                }
            }
            *place = Some(at);
        }
        Ok(false)
    }
}

/// The summaries of these jobs, in one round trip; `None` for one that is gone.
async fn described(scan: &Scan<'_>, found: Vec<ScannedJob>) -> Result<Vec<Option<JobSummary>>, InspectError> {
    let (queue, state) = (scan.queue, scan.state);
    if found.is_empty() {
        return Ok(Vec::new());
    }
    if state == JobState::Done {
        let done = |found: ScannedJob| JobSummary::done(queue, found.id, found.at, found.attempts);
        return Ok(found.into_iter().map(|found| Some(done(found))).collect());
    }
    let mut ask = redis::pipe();
    let last = isize::try_from(LONGEST_HEADER).unwrap_or(isize::MAX);
    for job in &found {
        ask.getrange(data_key(queue, job.id.as_bytes()), 0, last)
            .lindex(queue.key(&format!("errors:{}", job.id)), -1)
            .hget(queue.key(&format!("job:{}", job.id)), "reason");
    }
    let told: Vec<Value> = ask.query_async(&mut queue.connection.clone()).await?;
    let bytes = |value: &Value| match value {
        Value::BulkString(bytes) => Some(bytes.clone()),
        _ => None,
    };
    Ok(found
        .into_iter()
        .zip(told.chunks_exact(3))
        .map(|(found, told)| {
            let data = bytes(&told[0]).unwrap_or_default();
            // A dead letter whose data is empty is still a dead letter.
            if data.is_empty() && state != JobState::Dead {
                return None;
            }
            let text = |value| bytes(value).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            let mut job = JobSummary::new(queue, state, found.id, found.at, found.worker);
            job.read(Data::parse(&data).ok().as_ref());
            job.failed(text(&told[1]).as_deref(), text(&told[2]));
            Some(job)
        })
        .collect())
}

impl Inspector {
    /// How many jobs fit, counted up to `most`.
    pub async fn count(&self, filter: &Filter, most: usize) -> Result<usize, InspectError> {
        Ok(self.matching(filter, most).await?.values().map(Vec::len).sum())
    }

    /// The ids of the jobs that fit, by queue: `most`, or a portion more.
    pub(super) async fn matching(
        &self,
        filter: &Filter,
        most: usize,
    ) -> Result<BTreeMap<String, Vec<String>>, InspectError> {
        let (mut found, mut count, mut cursor) = (BTreeMap::<_, Vec<_>>::new(), 0, None);
        loop {
            let scanned = self
                .scanned(filter, None, cursor, LARGEST_CHUNK, LARGEST_CHUNK)
                .await?;
            count += scanned.fit.len();
            for job in scanned.fit {
                found.entry(job.queue).or_default().push(job.id);
            }
            cursor = scanned.next;
            if cursor.is_none() || count >= most {
                return Ok(found);
            }
        }
    }
}
