//! A private Redis, a store with tenants, and a clock that the test moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, Utc};
use redis::aio::MultiplexedConnection;
use secrecy::ExposeSecret;
use surepass::clock::Clock;
use surepass::config::{LookbackSettings, QueueName, Settings};
use surepass::lookback::cron::Cron;
use surepass::lookback::{AccountSyncRequest, FailedDeliveriesRequest, LookbackJob};
use surepass::queue::{Job, Queue, Redis, RedisOptions};
use surepass::store::{
    self, LookbackRun, Options, RunCounts, RunPhase, Store, Tenant, Watermark, WebhookSecrets,
};
use surepass::up::{RedisServer, RedisServerOptions};
use tempfile::TempDir;

pub(crate) struct World {
    pub(crate) server: RedisServer,
    pub(crate) queue: Queue,
    pub(crate) store: Arc<Store>,
    pub(crate) clock: Hand,
    folder: TempDir,
}

/// The hand of a clock: it stands where the test has put it.
#[derive(Debug, Clone)]
pub(crate) struct Hand(Arc<AtomicI64>);

impl Hand {
    fn at(text: &str) -> Self {
        Self(Arc::new(at(text).timestamp_millis().into()))
    }

    pub(crate) fn set(&self, text: &str) {
        self.0.store(at(text).timestamp_millis(), Ordering::SeqCst);
    }

    pub(crate) fn clock(&self) -> Clock {
        let hand = self.0.clone();
        Clock::new(move || DateTime::from_timestamp_millis(hand.load(Ordering::SeqCst)).unwrap())
    }
}

pub(crate) fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// What can be set of `[lookback]`, beside the defaults.
pub(crate) fn settings(text: &str) -> LookbackSettings {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("development.toml"),
        format!("[lookback]\n{text}"),
    )
    .unwrap();
    let folder = folder.path().to_str().unwrap().to_owned();
    Settings::load_from(|name| (name == "SUREPASS_CONFIG").then(|| folder.clone()))
        .unwrap()
        .lookback
}

impl World {
    /// At this time, with tenants of these accounts.
    pub(crate) async fn new(now: &str, accounts: &[Option<&str>]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = RedisServerOptions {
            folder: folder.path().join("redis"),
            append_fsync: Some("always"),
            debug: false,
        };
        let server = RedisServer::start(options).await.unwrap();
        let redis = Redis::open(&server.url(), RedisOptions::default()).unwrap();
        let config = Settings::load_from(|_| None)
            .unwrap()
            .queue_config_of(QueueName::Sync);
        let address = format!("sqlite://{}", folder.path().join("store.db").display());
        let store = store::open(&address.into(), &Options::default()).await.unwrap();
        store.migrate().await.unwrap();
        let tenants: Vec<_> = accounts
            .iter()
            .enumerate()
            .map(|(n, account)| tenant(n, *account))
            .collect();
        store
            .catalog()
            .import(&tenants, &WebhookSecrets::new())
            .await
            .unwrap();
        Self {
            queue: Queue::new(&redis, config).unwrap(),
            store,
            clock: Hand::at(now),
            server,
            folder,
        }
    }

    async fn connection(&self) -> MultiplexedConnection {
        let client = redis::Client::open(self.server.url().expose_secret()).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }

    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// A worker's cron, over a connection of its own.
    pub(crate) fn cron(&self, lookback: &str) -> Cron {
        let queue = self.queue.reconnected().unwrap();
        Cron::new(queue, self.store.clone(), self.clock.clock(), settings(lookback))
    }

    /// Every lookback that was ever enqueued, in no order: no worker takes any.
    pub(crate) async fn jobs(&self) -> Vec<LookbackJob> {
        let keys = self.keys_of_jobs().await;
        let mut jobs = Vec::new();
        let mut connection = self.connection().await;
        for key in keys {
            let text: String = redis::Cmd::get(key).query_async(&mut connection).await.unwrap();
            let (header, payload) = text.split_once('\n').unwrap();
            let kind = header.split('/').next().unwrap();
            jobs.push(LookbackJob::decode(kind, 1, payload.as_bytes()).unwrap());
        }
        jobs
    }

    /// The sweeps of a schedule, by their ends and accounts.
    pub(crate) async fn sweeps(&self, name: &str) -> Vec<AccountSyncRequest> {
        let jobs = self.jobs().await.into_iter();
        let mut sweeps: Vec<_> = jobs
            .filter_map(|job| match job {
                LookbackJob::AccountSync(sweep) if sweep.name == name => Some(sweep),
                _ => None,
            })
            .collect();
        sweeps.sort_by(|a, b| (a.to, &a.account).cmp(&(b.to, &b.account)));
        sweeps
    }

    pub(crate) async fn undelivered(&self) -> Vec<FailedDeliveriesRequest> {
        let jobs = self.jobs().await.into_iter();
        let mut found: Vec<_> = jobs
            .filter_map(|job| match job {
                LookbackJob::FailedDeliveries(request) => Some(request),
                _ => None,
            })
            .collect();
        found.sort_by(|a, b| a.account.cmp(&b.account));
        found
    }

    /// Notes what the sweeps of an account have proven.
    pub(crate) async fn proven(&self, account: Option<&str>, from: &str, to: &str) {
        let mark = Watermark {
            detector: "sessions".to_owned(),
            account: account.map(str::to_owned),
            is_test: false,
            from: at(from),
            to: at(to),
            updated_at: at(to),
        };
        self.store.lookback().raise_watermark(&mark).await.unwrap();
    }

    /// Notes that a sweep stands in this slice.
    pub(crate) async fn begun(&self, sweep: &AccountSyncRequest, slice: u32) {
        let id = sweep.run();
        let run = LookbackRun {
            account: sweep.account.clone(),
            phase: RunPhase::Listing,
            slice,
            ..LookbackRun::new(
                id.as_str(),
                id.as_str(),
                sweep.via,
                sweep.from,
                sweep.to,
                sweep.to,
            )
        };
        assert!(self.store.lookback().begin_run(&run).await.unwrap());
    }

    pub(crate) async fn ended(&self, sweep: &AccountSyncRequest, phase: RunPhase) {
        let (id, at) = (sweep.run(), sweep.to);
        let records = self.store.lookback();
        let counts = RunCounts::default();
        records
            .end_run(id.as_str(), phase, counts, None, at)
            .await
            .unwrap();
    }

    /// A worker has taken this job, and it died for good.
    pub(crate) async fn died(&self, job: &str, reason: &str) {
        let mut connection = self.connection().await;
        let mut commands = redis::pipe();
        commands
            .cmd("LREM")
            .arg(self.queue.key("wait:accounts"))
            .arg(1)
            .arg(job)
            .cmd("ZADD")
            .arg(self.queue.key("dead"))
            .arg(1)
            .arg(job)
            .cmd("HSET")
            .arg(self.queue.key(&format!("job:{job}")))
            .arg(&["transient", "0", "reason", reason]);
        let _: () = commands.query_async(&mut connection).await.unwrap();
    }

    /// A Redis that knows nothing.
    pub(crate) async fn forget_all(&self) {
        let flush = redis::cmd("FLUSHALL");
        let _: String = flush.query_async(&mut self.connection().await).await.unwrap();
    }

    async fn keys_of_jobs(&self) -> Vec<String> {
        redis::cmd("KEYS")
            .arg(self.queue.key("data:*"))
            .query_async(&mut self.connection().await)
            .await
            .unwrap()
    }

    /// Forgets the jobs, as if workers had done them.
    pub(crate) async fn done(&self) {
        let keys = self.keys_of_jobs().await;
        if !keys.is_empty() {
            let forget = redis::Cmd::del(keys);
            let _: i64 = forget.query_async(&mut self.connection().await).await.unwrap();
        }
    }
}

/// What a sweep covers, in few words: `account from..to`.
pub(crate) fn covers(sweep: &AccountSyncRequest) -> String {
    let instant = |at: DateTime<Utc>| at.format("%m-%d %H:%M").to_string();
    let account = sweep.account.as_deref().unwrap_or("own");
    format!("{account} {}..{}", instant(sweep.from), instant(sweep.to))
}

pub(crate) fn tenant(n: usize, account: Option<&str>) -> Tenant {
    Tenant {
        id: format!("tenant-{n}"),
        slug: format!("school-{n}"),
        name: format!("School {n}"),
        time_zone: "Europe/Oslo".parse().unwrap(),
        color: None,
        stripe_account: account.map(str::to_owned),
        contact: surepass::store::Contact::default(),
        unmatched: surepass::store::UnmatchedPolicy::default(),
        passes: vec![],
    }
}
