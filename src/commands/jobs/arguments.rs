//! The arguments of `surepass jobs`.

use std::time::Duration;

use clap::ValueEnum;
use surepass::queue::JobState;
use surepass::queue::inspector::{Filter, Order};

#[derive(clap::Subcommand, Debug)]
pub(crate) enum Command {
    /// List jobs: running, dead, scheduled, waiting, done
    #[command(after_help = "\
Examples:
  surepass jobs list --state dead
  surepass jobs list --state dead --error timeout
  surepass jobs list --tenant studio --older-than 10m
  surepass jobs list --state done --younger-than 1h --json")]
    List(ListArguments),
    /// Show one job: its state, its next run, and each failed attempt
    #[command(after_help = "\
Examples:
  surepass jobs show fulfil:cs_test_a1B2
  surepass jobs show cs_test_a1B2          the same job, by its session")]
    Show(ShowArguments),
    /// Run dead jobs again from their first attempt, and scheduled jobs now
    #[command(after_help = "\
Running jobs are left alone. Earlier failures stay listed.

Examples:
  surepass jobs retry cs_test_a1B2 cs_test_c3D4
  surepass jobs retry --dead --error store_unavailable --why 'database is back'
  surepass jobs retry --state scheduled --tenant studio --yes")]
    Retry(RetryArguments),
    /// Remove jobs from the queue for good
    #[command(after_help = "\
Removes what the queue keeps about a job, not what the job has stored. A running
attempt is not stopped, but its result no longer changes the queue. A discarded
purchase can be enqueued again by its next event or lookback.

Examples:
  surepass jobs discard cs_test_a1B2 --why 'refunded by hand'
  surepass jobs discard --state dead --error expired_pass --older-than 7d")]
    Discard(DiscardArguments),
    /// Pause a queue: running jobs finish, new jobs are accepted and wait
    Pause(QueueArguments),
    /// Resume a paused queue
    Resume(QueueArguments),
}

impl Command {
    pub(super) fn filter(&mut self) -> Option<&mut FilterArguments> {
        match self {
            Self::List(arguments) => Some(&mut arguments.filter),
            Self::Retry(arguments) => Some(&mut arguments.act.filter),
            Self::Discard(arguments) => Some(&mut arguments.act.filter),
            Self::Show(_) | Self::Pause(_) | Self::Resume(_) => None,
        }
    }
}

#[derive(clap::Args, Debug)]
pub(super) struct FilterArguments {
    /// Only jobs of this queue
    #[arg(long, value_name = "QUEUE")]
    pub(super) queue: Option<String>,
    /// Only jobs of this kind
    #[arg(long, value_name = "KIND")]
    pub(super) kind: Option<String>,
    /// Only jobs of this tenant (id, slug or Stripe account)
    #[arg(long, value_name = "TENANT")]
    pub(super) tenant: Option<String>,
    /// All names of that tenant that the store knows.
    #[arg(skip)]
    pub(super) tenant_names: Vec<String>,
    /// The message where no job matches and the store knows no such tenant.
    #[arg(skip)]
    pub(super) unknown_tenant: Option<String>,
    /// Only jobs with this text in the last error, its code or the reason of death
    #[arg(long, value_name = "TEXT")]
    pub(super) error: Option<String>,
    /// Only jobs that ended (or else were enqueued) longer ago: 90s, 15m, 2h, 7d
    #[arg(long, value_name = "AGE", value_parser = humantime::parse_duration)]
    pub(super) older_than: Option<Duration>,
    /// Only jobs that ended (or else were enqueued) less long ago
    #[arg(long, value_name = "AGE", value_parser = humantime::parse_duration)]
    pub(super) younger_than: Option<Duration>,
}

impl FilterArguments {
    pub(super) fn with(self, state: Option<JobState>) -> Filter {
        Filter {
            state,
            queue: self.queue,
            kind: self.kind,
            tenant: self.tenant,
            tenant_names: self.tenant_names,
            error: self.error,
            older_than: self.older_than,
            younger_than: self.younger_than,
        }
    }

    fn is_empty(&self) -> bool {
        self.queue.is_none()
            && self.kind.is_none()
            && self.tenant.is_none()
            && self.error.is_none()
            && self.older_than.is_none()
            && self.younger_than.is_none()
    }
}

/// A state, as it is typed.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Stage {
    Running,
    Dead,
    Scheduled,
    Waiting,
    Done,
}

impl From<Stage> for JobState {
    fn from(stage: Stage) -> Self {
        match stage {
            Stage::Running => Self::Running,
            Stage::Dead => Self::Dead,
            Stage::Scheduled => Self::Scheduled,
            Stage::Waiting => Self::Waiting,
            Stage::Done => Self::Done,
        }
    }
}

#[derive(clap::Args, Debug)]
pub(crate) struct ListArguments {
    /// Only jobs in this state
    #[arg(long)]
    pub(super) state: Option<Stage>,
    #[command(flatten)]
    pub(super) filter: FilterArguments,
    /// Jobs per page
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub(super) limit: u16,
    /// Continue after the previous page: the cursor that it printed
    #[arg(long, value_name = "CURSOR")]
    pub(super) cursor: Option<String>,
    /// Newest first [default for dead and done jobs]
    #[arg(long, conflicts_with = "oldest")]
    newest: bool,
    /// Oldest or soonest first [default for other states]
    #[arg(long)]
    oldest: bool,
    /// Print one JSON document
    #[arg(long)]
    pub(super) json: bool,
}

impl ListArguments {
    pub(super) fn order(&self) -> Option<Order> {
        match (self.newest, self.oldest) {
            (true, _) => Some(Order::Newest),
            (_, true) => Some(Order::Oldest),
            _ => None,
        }
    }
}

#[derive(clap::Args, Debug)]
pub(crate) struct ShowArguments {
    /// The job's id, or the session (cs_…) that it fulfils
    pub(super) id: String,
    /// Show names and emails unmasked
    #[arg(long)]
    pub(super) personal: bool,
    /// Print one JSON document
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(clap::Args, Debug)]
pub(super) struct ActArguments {
    /// The jobs' ids, or the sessions (cs_…) that they fulfil
    #[arg(value_name = "ID")]
    pub(super) ids: Vec<String>,
    /// All dead jobs that match the filters
    #[arg(long, conflicts_with = "ids")]
    dead: bool,
    #[command(flatten)]
    pub(super) filter: FilterArguments,
    /// Do not ask for confirmation
    #[arg(long)]
    pub(super) yes: bool,
    /// The reason, for the audit log
    #[arg(long, value_name = "TEXT")]
    pub(super) why: Option<String>,
    /// Print one JSON document
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Retriable {
    Dead,
    Scheduled,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Discardable {
    Dead,
    Scheduled,
    Waiting,
    Running,
}

#[derive(clap::Args, Debug)]
pub(crate) struct RetryArguments {
    #[command(flatten)]
    act: ActArguments,
    /// All jobs in this state that match the filters
    #[arg(long, conflicts_with_all = ["ids", "dead"])]
    state: Option<Retriable>,
}

#[derive(clap::Args, Debug)]
pub(crate) struct DiscardArguments {
    #[command(flatten)]
    act: ActArguments,
    /// All jobs in this state that match the filters
    #[arg(long, conflicts_with_all = ["ids", "dead"])]
    state: Option<Discardable>,
}

/// Which jobs an action is for; `Err`: how the command was used wrongly.
pub(super) type Meant = Result<(ActArguments, Option<JobState>), &'static str>;

impl RetryArguments {
    pub(super) fn meant(self) -> Meant {
        let state = self.state.map(|state| match state {
            Retriable::Dead => JobState::Dead,
            Retriable::Scheduled => JobState::Scheduled,
        });
        self.act.meant(state)
    }
}

impl DiscardArguments {
    pub(super) fn meant(self) -> Meant {
        let state = self.state.map(|state| match state {
            Discardable::Dead => JobState::Dead,
            Discardable::Scheduled => JobState::Scheduled,
            Discardable::Waiting => JobState::Waiting,
            Discardable::Running => JobState::Running,
        });
        self.act.meant(state)
    }
}

impl ActArguments {
    fn meant(self, state: Option<JobState>) -> Meant {
        let state = state.or(self.dead.then_some(JobState::Dead));
        match (self.ids.is_empty(), state, self.filter.is_empty()) {
            (true, None, _) => Err("name the jobs by their ids, or pass --dead or --state"),
            (false, _, false) => Err("ids and filters cannot be combined"),
            _ => Ok((self, state)),
        }
    }
}

#[derive(clap::Args, Debug)]
pub(crate) struct QueueArguments {
    /// The queue's name
    pub(super) queue: String,
    /// The reason, for the audit log
    #[arg(long, value_name = "TEXT")]
    pub(super) why: Option<String>,
    /// Print one JSON document
    #[arg(long)]
    pub(super) json: bool,
}
