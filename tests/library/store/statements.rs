//! The statements that stores run, as they trace them.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::ThreadId;

use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// A statement, and how many rows it has changed; `None`: it only reads.
#[derive(Debug, Clone)]
pub(crate) struct Statement {
    pub(crate) text: String,
    pub(crate) rows: Option<u64>,
}

/// Sees what is run from now on.
#[derive(Clone)]
pub(crate) struct Statements(Arc<Mutex<Vec<(ThreadId, Statement)>>>);

impl Statements {
    /// One for all tests of this program: a subscriber of one thread may miss what another thread has met first.
    pub(crate) fn watched() -> Self {
        static ALL: OnceLock<Statements> = OnceLock::new();
        let all = ALL.get_or_init(|| {
            let all = Self(Arc::default());
            tracing::subscriber::set_global_default(tracing_subscriber::registry().with(all.clone()))
                .unwrap();
            all
        });
        all.clone()
    }

    /// Those that this test's thread has run, and forgets them.
    pub(crate) fn taken(&self) -> Vec<Statement> {
        let own = std::thread::current().id();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (taken, others) = all.drain(..).partition(|(thread, _)| *thread == own);
        *all = others;
        let taken: Vec<(ThreadId, Statement)> = taken;
        taken.into_iter().map(|(_, statement)| statement).collect()
    }
}

impl<S: tracing::Subscriber> Layer<S> for Statements {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() == "surepass::sql" {
            event.record(&mut Fields(self));
        }
    }
}

struct Fields<'a>(&'a Statements);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "statement" {
            let statement = Statement {
                text: value.to_owned(),
                rows: None,
            };
            let mut all = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.push((std::thread::current().id(), statement));
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "rows" {
            let own = std::thread::current().id();
            let mut all = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
            // A batch's task may have gone to another thread in between; a test's own statements stay on its thread.
            if let Some((_, last)) = all.iter_mut().rev().find(|(thread, _)| *thread == own) {
                last.rows = Some(value);
            }
        }
    }
}
