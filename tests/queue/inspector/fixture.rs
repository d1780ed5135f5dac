//! What these tests share: a queue with jobs in every state, an inspector over it, a store for the audit log.

use std::sync::Arc;
use std::time::Duration;

use surepass::operator::{Operator, PLAIN_FIELDS};
use surepass::queue::JobState;
use surepass::queue::inspector::{Filter, Inspector, Page, PageOptions};
use surepass::queue::{Item, JobError};
use surepass::store::{self, AuditRecord, Options, Store};

use crate::world::{Size, Worker, World, act, gated, quick, work};

pub(crate) struct Fixture {
    pub(crate) world: World,
    pub(crate) inspector: Inspector,
    pub(crate) store: Arc<Store>,
}

impl Fixture {
    pub(crate) async fn open() -> Self {
        let world = World::new(quick()).await;
        let address = format!("sqlite://{}", world.folder().join("audit.db").display());
        let store = store::open(&address.into(), &Options::default()).await.unwrap();
        store.migrate().await.unwrap();
        Self {
            inspector: Inspector::new(vec![world.queue.clone()]).with_plain_fields(&PLAIN_FIELDS),
            store,
            world,
        }
    }

    pub(crate) fn operator(&self) -> Operator<'_> {
        Operator {
            inspector: &self.inspector,
            store: self.store.as_ref(),
            who: "kari@desk".to_owned(),
            why: Some("a test".to_owned()),
        }
    }

    pub(crate) async fn audit(&self) -> Vec<AuditRecord> {
        self.store.audit().list(100).await.unwrap()
    }

    /// Enqueues jobs and lets them die, each with an error that names it.
    pub(crate) async fn kill(&self, items: Vec<Item>) {
        let jobs = items.len();
        self.world.queue.enqueue(&items).await.unwrap();
        let dead = self.world.queue.counts().await.unwrap().dead;
        let fatal = act(|job, _| async move {
            Err(JobError::fail("no_pass", format!("no pass for {}", job.0)).into())
        });
        let mut worker = self.world.hire("killer", Size::of(64, 0), fatal);
        worker.until_ended(jobs).await;
        self.world.until_counts([0, 0, 0, dead + jobs]).await;
        worker.stop().await;
    }

    /// One job in each state: `done`, `dead`, `scheduled`, `running` (held by the worker that comes back) and `waiting`.
    /// The worker ends when the gate lets two jobs through: it may take `waiting` before it hears that it is to stop.
    pub(crate) async fn with_each_state() -> (Self, Worker, Arc<tokio::sync::Semaphore>) {
        let office = Self::open().await;
        let world = &office.world;
        world
            .queue
            .enqueue(&[work("done").group("studio")])
            .await
            .unwrap();
        let mut first = world.hire("first", Size::of(1, 0), crate::world::ok());
        first.until_ended(1).await;
        first.stop().await;
        office.kill(vec![work("dead").group("studio")]).await;
        let later = work("scheduled").group("other").after(Duration::from_hours(1));
        world.enqueue(later).await;
        world.enqueue(work("running").group("studio")).await;
        let (wait, gate) = gated();
        let mut worker = world.hire("holder", Size::of(1, 0), wait);
        worker.next().await;
        world.enqueue(work("waiting").group("other")).await;
        (office, worker, gate)
    }

    pub(crate) async fn list(&self, filter: &Filter) -> Vec<String> {
        let page = self
            .inspector
            .list(filter, &PageOptions::default())
            .await
            .unwrap();
        assert_eq!(page.next, None, "one page is enough");
        ids(&page)
    }

    /// All pages of a list, of `limit` jobs each.
    pub(crate) async fn pages(&self, filter: &Filter, limit: usize) -> Vec<String> {
        let mut all = Vec::new();
        let mut cursor = None;
        loop {
            let page = self.page(filter, limit, cursor).await;
            all.extend(ids(&page));
            cursor = page.next;
            if cursor.is_none() {
                return all;
            }
        }
    }

    pub(crate) async fn page(&self, filter: &Filter, limit: usize, cursor: Option<String>) -> Page {
        let options = PageOptions {
            limit,
            cursor,
            ..PageOptions::default()
        };
        self.inspector.list(filter, &options).await.unwrap()
    }

    pub(crate) async fn state(&self, id: &str) -> Option<JobState> {
        let life = self.inspector.job(id, false).await.unwrap();
        life.map(|life| life.job.state)
    }
}

pub(crate) fn ids(page: &Page) -> Vec<String> {
    page.jobs.iter().map(|job| job.id.clone()).collect()
}

pub(crate) fn of(state: JobState) -> Filter {
    Filter {
        state: Some(state),
        ..Filter::default()
    }
}

pub(crate) fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

impl Fixture {
    /// Redis dies, and stays away.
    pub(crate) async fn kill_redis(&mut self) {
        let pid = i32::try_from(self.world.server.pid().unwrap()).unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
        self.world.server.wait().await.unwrap();
    }
}
