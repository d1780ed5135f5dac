//! What lies in Redis, and what each call makes of it.

use std::collections::{BTreeMap, BTreeSet};

use super::ops::{Answer, End, GROUPS, Given, MOST_ATTEMPTS, MOST_CRASHES, MOST_DONE, Mode, TOKENS, id};

/// All that lies in Redis, times reduced to `Some(n)`, long ago in this order, and `None`, in an hour.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct State {
    /// What waits, by group.
    pub(crate) wait: BTreeMap<String, Vec<String>>,
    /// The groups that have something waiting, in turn.
    pub(crate) turn: Vec<String>,
    pub(crate) sched: BTreeMap<String, Option<u32>>,
    pub(crate) lease: BTreeMap<String, Option<u32>>,
    /// What each worker holds: id and number of the claim, in order.
    pub(crate) run: BTreeMap<String, Vec<(String, u64)>>,
    /// Reason, and whether a passing one.
    pub(crate) dead: BTreeMap<String, (String, bool)>,
    pub(crate) done: Vec<(String, u32)>,
    /// Attempts of each job that there is, and how often it crashed alone; `00`: only in company.
    pub(crate) data: BTreeMap<String, (u32, String)>,
    pub(crate) group: BTreeMap<String, String>,
    /// How many errors are told, and whether not for ever.
    pub(crate) errors: BTreeMap<String, (usize, bool)>,
    pub(crate) once: BTreeSet<String>,
    pub(crate) paused: bool,
    /// Whether a worker was heard, and whether just now.
    pub(crate) heard: Option<bool>,
    /// Workers whose lease began anew.
    pub(crate) spared: BTreeSet<String>,
    /// Poison that was revived today.
    pub(crate) tried: BTreeSet<String>,
    /// Jobs that were left to newer workers.
    pub(crate) left: BTreeSet<String>,
    pub(crate) log: usize,
    pub(crate) discarded: usize,
    pub(crate) trimmed_done: usize,
    pub(crate) trimmed_dead: usize,
}

impl State {
    /// The number of the claim under which this worker holds this job.
    pub(crate) fn claim(&self, token: usize, id: &str) -> Option<u64> {
        let held = self.run.get(TOKENS[token])?;
        held.iter()
            .find(|(held, _)| held == id)
            .map(|(_, number)| *number)
    }

    /// Where a job waits: once a worker has died with it, apart from all others.
    fn line(&self, id: &str) -> String {
        match self.data[id].1.as_str() {
            "0" => self.group[id].clone(),
            _ => "!".to_owned(),
        }
    }

    /// Lets jobs wait behind their groups' others, or before them; the order in which groups line up is theirs.
    fn wait(&mut self, ids: Vec<String>, front: bool) {
        for id in ids {
            let group = self.line(&id);
            let line = self.wait.entry(group.clone()).or_default();
            line.insert(if front { 0 } else { line.len() }, id);
            if !self.turn.contains(&group) {
                self.turn.push(group);
            }
        }
    }

    /// One job of each group in turn, until there is none or no more are wanted; a group that was served and has more
    /// waits behind the others. `!` keeps its place.
    fn take_turns(&mut self, wanted: usize) -> Vec<String> {
        let groups = self.next_groups(wanted);
        self.turn.retain(|group| !groups.contains(group));
        let mut taken = Vec::new();
        while taken.len() < wanted && groups.iter().any(|group| !self.wait[group].is_empty()) {
            for group in &groups {
                let line = self.wait.get_mut(group).expect("it is its turn");
                if taken.len() < wanted && !line.is_empty() {
                    taken.push(line.remove(0));
                }
            }
        }
        for group in groups {
            self.line_up(group);
        }
        taken
    }

    fn next_groups(&self, wanted: usize) -> Vec<String> {
        let others = self.turn.iter().filter(|group| *group != "!");
        others.take(wanted).cloned().collect()
    }

    fn line_up(&mut self, group: String) {
        if self.wait[&group].is_empty() {
            self.wait.remove(&group);
        } else {
            self.turn.push(group);
        }
    }

    /// A job that runs alone, for a worker that holds nothing else.
    fn take_suspect(&mut self, token: &str) -> Vec<String> {
        let Some(line) = self.wait.get_mut("!") else {
            return Vec::new();
        };
        if self.run.contains_key(token) {
            return Vec::new();
        }
        let id = line.remove(0);
        self.turn.retain(|group| group != "!");
        self.line_up("!".to_owned());
        vec![id]
    }

    /// Whether this worker is to empty its hands for a job that runs alone, as their turn has come.
    fn drains(&self, token: &str, room: usize, mode: Mode) -> bool {
        let is_their_turn = self.turn.iter().take(room).any(|group| group == "!");
        let willing = mode == Mode::Willing;
        let idle = !self.run.contains_key(token);
        let first = self.lease.keys().next().is_some_and(|first| first == token);
        is_their_turn && (idle && (willing || self.next_groups(room).is_empty()) || willing && first)
    }

    pub(crate) fn enqueue(&mut self, items: &[Given]) -> Answer {
        let mut fresh = Vec::new();
        let mut answers = Vec::new();
        for item in items {
            if let Some(once) = item.once
                && !self.once.insert(format!("event:{once}"))
            {
                answers.push("seen");
                continue;
            }
            let id = id(item.id);
            let answer = match (self.data.contains_key(&id), self.dead.get(&id)) {
                (true, None) => "live",
                (true, Some((reason, passing)))
                    if !(item.revive
                        && (*passing || reason == "poison" && self.tried.insert(id.clone()))) =>
                {
                    "dead"
                }
                (_, dead) => {
                    let poison = dead.is_some_and(|(reason, _)| reason == "poison");
                    if self.dead.remove(&id).is_some() {
                        self.let_errors_go(&id);
                    }
                    let crashes = if poison { "00" } else { "0" };
                    self.data.insert(id.clone(), (0, crashes.to_owned()));
                    self.group.insert(id.clone(), GROUPS[item.group].to_owned());
                    if item.delayed {
                        self.sched.insert(id, None);
                    } else {
                        fresh.push(id);
                    }
                    "new"
                }
            };
            self.log += usize::from(item.log);
            answers.push(answer);
        }
        self.wait(fresh, false);
        Answer::Words(answers)
    }

    pub(crate) fn take(
        &mut self,
        token: usize,
        wanted: usize,
        new: bool,
        most: usize,
        mode: Mode,
        number: u64,
    ) -> Answer {
        let token = TOKENS[token].to_owned();
        if !new && !self.lease.contains_key(&token) {
            return Answer::Claimed(None);
        }
        self.lease.insert(token.clone(), None);
        self.hear();
        let mut due: Vec<_> = self
            .sched
            .iter()
            .filter_map(|(id, due)| Some((due.as_ref()?, id.clone())))
            .collect();
        due.sort();
        let due: Vec<_> = due.into_iter().map(|(_, id)| id).collect();
        for id in &due {
            self.sched.remove(id);
        }
        self.wait(due, false);
        let gone = self
            .lease
            .iter()
            .filter_map(|(token, ended)| Some((*ended.as_ref()?, token.clone())))
            .min();
        if let Some((_, gone)) = gone {
            self.lease.remove(&gone);
            self.spared.remove(&gone);
            let held = self.run.remove(&gone).unwrap_or_default();
            let alone = held.len() == 1;
            let back = held
                .into_iter()
                .rev()
                .filter_map(|(id, _)| self.crash(id, alone))
                .collect();
            self.wait(back, true);
        }
        let running = self.run.values().map(Vec::len).sum();
        let room = match (self.paused, most) {
            (true, _) => 0,
            (false, 0) => wanted,
            (false, most) => wanted.min(most.saturating_sub(running)),
        };
        let jobs = match mode {
            Mode::Alone if room > 0 => self.take_suspect(&token),
            _ if self.drains(&token, room, mode) => return Answer::Suspects,
            _ => self.take_turns(room),
        };
        let claimed = jobs.iter().map(|id| (id.clone(), self.data[id].0)).collect();
        if !jobs.is_empty() {
            self.run
                .entry(token)
                .or_default()
                .extend(jobs.into_iter().map(|id| (id, number)));
        }
        Answer::Claimed(Some(claimed))
    }

    fn hear(&mut self) {
        if self.heard.replace(true) == Some(false) {
            for (token, ends) in &mut self.lease {
                if self.spared.insert(token.clone()) {
                    *ends = None;
                }
            }
        }
    }

    /// Answers a job that runs again.
    fn crash(&mut self, id: String, alone: bool) -> Option<String> {
        let (attempts, crashes) = self.data.get_mut(&id).expect("a held job is there");
        *attempts += 1;
        match (alone, crashes.parse::<u32>().unwrap()) {
            (true, before) => *crashes = (before + 1).to_string(),
            (false, 0) => "00".clone_into(crashes),
            (false, _) => {}
        }
        let (attempts, crashes) = (*attempts, crashes.parse::<u32>().unwrap());
        self.tell_error(&id);
        if crashes >= MOST_CRASHES {
            self.dead.insert(id, ("poison".to_owned(), false));
        } else if attempts >= MOST_ATTEMPTS {
            self.dead.insert(id, ("worker_lost".to_owned(), true));
        } else {
            return Some(id);
        }
        None
    }

    /// `jobs`: id, number of the claim as given, the attempt that it ends.
    pub(crate) fn settle(&mut self, token: usize, jobs: &[(String, u64, u32, End)]) -> Answer {
        let mut answers = Vec::new();
        for (id, number, attempt, end) in jobs {
            if self.claim(token, id) != Some(*number) {
                answers.push(0);
                continue;
            }
            answers.push(1);
            let held = self.run.get_mut(TOKENS[token]).expect("it holds this job");
            held.retain(|(held, _)| held != id);
            if held.is_empty() {
                self.run.remove(TOKENS[token]);
            }
            if *end == End::Done {
                self.data.remove(id);
                self.group.remove(id);
                self.done.push((id.clone(), *attempt));
                if *attempt != 1 {
                    self.let_errors_go(id);
                }
                continue;
            }
            if *end == End::Left {
                self.left.insert(id.clone());
                self.sched.insert(id.clone(), None);
                continue;
            }
            self.tell_error(id);
            self.data.get_mut(id).expect("a held job is there").0 = *attempt;
            match end {
                End::Retry => drop(self.sched.insert(id.clone(), None)),
                End::DeadForNow => drop(self.dead.insert(id.clone(), ("away".to_owned(), true))),
                End::LeftForTooLong => {
                    self.left.remove(id);
                    self.dead.insert(id.clone(), ("unknown".to_owned(), true));
                }
                _ => drop(self.dead.insert(id.clone(), ("never".to_owned(), false))),
            }
        }
        let surplus = self.done.len().saturating_sub(MOST_DONE);
        self.done.drain(..surplus);
        self.trimmed_done += surplus;
        Answer::Numbers(answers)
    }

    pub(crate) fn renew(&mut self, token: usize) -> Answer {
        let held = match self.lease.get_mut(TOKENS[token]) {
            None => -1,
            Some(lease) => {
                *lease = None;
                self.hear();
                self.spared.remove(TOKENS[token]);
                self.run
                    .get(TOKENS[token])
                    .map_or(0, |held| i64::try_from(held.len()).unwrap())
            }
        };
        Answer::Numbers(vec![held])
    }

    pub(crate) fn resync(&mut self, token: usize, leave: bool, known: &BTreeSet<usize>) -> Answer {
        let held = self.run.remove(TOKENS[token]).unwrap_or_default();
        let known: BTreeSet<_> = known.iter().map(|n| id(*n)).collect();
        let (kept, back): (Vec<_>, Vec<_>) = held.into_iter().partition(|(id, _)| known.contains(id));
        let count = i64::try_from(back.len()).unwrap();
        self.wait(back.into_iter().rev().map(|(id, _)| id).collect(), true);
        if !kept.is_empty() {
            self.run.insert(TOKENS[token].to_owned(), kept);
        } else if leave {
            self.lease.remove(TOKENS[token]);
            self.spared.remove(TOKENS[token]);
        }
        Answer::Numbers(vec![count])
    }

    pub(crate) fn retry(&mut self, ids: &[usize]) -> Answer {
        let mut answers = Vec::new();
        let mut fresh = Vec::new();
        for id in ids.iter().map(|n| id(*n)) {
            let dead = self.dead.remove(&id);
            answers.push(i64::from(dead.is_some()));
            if let Some((reason, _)) = dead {
                let crashes = if reason == "poison" { "00" } else { "0" };
                self.data.insert(id.clone(), (0, crashes.to_owned()));
                self.let_errors_go(&id);
                fresh.push(id);
            }
        }
        self.wait(fresh, false);
        Answer::Numbers(answers)
    }

    pub(crate) fn discard(&mut self, ids: &[usize]) -> Answer {
        let mut answers = Vec::new();
        for id in ids.iter().map(|n| id(*n)) {
            let there = self.data.contains_key(&id);
            answers.push(i64::from(there));
            if !there {
                continue;
            }
            let line_of_it = self.line(&id);
            self.data.remove(&id);
            self.discarded += 1;
            self.dead.remove(&id);
            self.sched.remove(&id);
            self.errors.remove(&id);
            self.left.remove(&id);
            for held in self.run.values_mut() {
                held.retain(|(held, _)| *held != id);
            }
            self.run.retain(|_, held| !held.is_empty());
            self.group.remove(&id);
            if let Some(line) = self.wait.get_mut(&line_of_it) {
                line.retain(|waiting| *waiting != id);
                if line.is_empty() {
                    self.wait.remove(&line_of_it);
                    self.turn.retain(|lined_up| *lined_up != line_of_it);
                }
            }
        }
        Answer::Numbers(answers)
    }

    pub(crate) fn trim(&mut self, all: bool) -> Answer {
        if !all {
            return Answer::Numbers(vec![0]);
        }
        let (done, dead) = (std::mem::take(&mut self.done), std::mem::take(&mut self.dead));
        self.trimmed_done += done.len();
        self.trimmed_dead += dead.len();
        for id in dead.keys() {
            self.data.remove(id);
            self.group.remove(id);
            self.errors.remove(id);
        }
        Answer::Numbers(vec![i64::try_from(done.len() + dead.len()).unwrap()])
    }

    fn tell_error(&mut self, id: &str) {
        let (count, goes) = self.errors.entry(id.to_owned()).or_default();
        *count = (*count + 1).min(20);
        *goes = false;
    }

    fn let_errors_go(&mut self, id: &str) {
        if let Some((_, goes)) = self.errors.get_mut(id) {
            *goes = true;
        }
    }

    /// What must hold whatever has happened.
    pub(crate) fn check(&self) -> Result<(), String> {
        let running = self.run.values().flatten().map(|(id, _)| id);
        let mut places: Vec<_> = self
            .wait
            .values()
            .flatten()
            .chain(self.sched.keys())
            .chain(running)
            .chain(self.dead.keys())
            .collect();
        places.sort();
        if !places.iter().copied().eq(self.data.keys()) {
            return Err(format!("a job is not in exactly one place: {places:?}"));
        }
        let mut turn: Vec<_> = self.turn.iter().collect();
        turn.sort();
        if !turn.into_iter().eq(self.wait.keys()) {
            return Err(format!("not each group that waits has its turn: {:?}", self.turn));
        }
        match self.run.keys().find(|token| !self.lease.contains_key(*token)) {
            Some(token) => Err(format!(
                "{token:?} holds jobs without a lease: nobody would reap them"
            )),
            None => Ok(()),
        }
    }
}
