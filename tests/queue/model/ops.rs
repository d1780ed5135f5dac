//! What can be done to a queue, and what is answered.

use std::collections::BTreeSet;

/// Ids as short as a hash keeps in order, and as odd as can be.
pub(crate) const IDS: [&str; 5] = ["a", "b b 1", "{c}", "d\n0 0", "e\0%d"];
pub(crate) const TOKENS: [&str; 4] = ["one:1", "two 2", "three\n", "drain"];
/// `-`: nobody's in particular.
pub(crate) const GROUPS: [&str; 3] = ["-", "a", "~b"];
pub(crate) const MOST_ATTEMPTS: u32 = 5;
pub(crate) const MOST_CRASHES: u32 = 2;
pub(crate) const MOST_DONE: usize = 3;

pub(crate) fn id(n: usize) -> String {
    IDS[n].to_owned()
}

#[derive(Debug, Clone)]
pub(crate) struct Given {
    pub(crate) id: usize,
    pub(crate) group: usize,
    pub(crate) once: Option<u8>,
    pub(crate) delayed: bool,
    pub(crate) revive: bool,
    pub(crate) log: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Done,
    Retry,
    DeadForGood,
    DeadForNow,
    /// This worker does not know such a job, a newer one may.
    Left,
    /// None has known it for long enough.
    LeftForTooLong,
}

/// What a claim may take; as `claim.lua` numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Together,
    Willing,
    Alone,
}

#[derive(Debug, Clone)]
pub(crate) enum Op {
    Enqueue(Vec<Given>),
    Claim {
        token: usize,
        wanted: usize,
        new: bool,
        /// The most jobs that all workers together may hold; 0: any number.
        most: usize,
        mode: Mode,
    },
    /// Jobs by id; `true`: by the number of the claim that holds it, else by one that does not.
    Settle {
        token: usize,
        jobs: Vec<(usize, bool, End)>,
    },
    Renew(usize),
    Pause,
    Resume,
    /// Nobody has been heard for long.
    Silence,
    /// The worker is silent until its lease has run out.
    Expire(usize),
    /// A scheduled job's time comes.
    Due(usize),
    Resync {
        token: usize,
        leave: bool,
        known: BTreeSet<usize>,
    },
    Retry(Vec<usize>),
    Discard(Vec<usize>),
    /// `true`: all that is done or dead is old by now.
    Trim(bool),
    /// Looks for jobs that stand in no list.
    Recover,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Words(Vec<&'static str>),
    /// Id, and attempts so far, of each claimed job; nothing where the lease is gone.
    Claimed(Option<Vec<(String, u32)>>),
    /// The worker is to empty its hands for a job that runs alone.
    Suspects,
    Numbers(Vec<i64>),
}
