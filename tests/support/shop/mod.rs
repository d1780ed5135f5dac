//! A shop that runs Surepass: its Redis, its store, its servers and workers, and what a user does with them.

mod jobs;
pub mod mishaps;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use chrono::{DateTime, TimeDelta, Utc};
use nix::sys::signal::Signal;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use surepass::clock::Clock;
use surepass::store::{self, LoggedEvent, Store};
use surepass::stripe::signature::sign;
use surepass::up::sample::SampleSession;
use surepass::up::{RedisServer, RedisServerOptions};
use tempfile::TempDir;
use tokio::process::Command;

use crate::answer::Answer;
use crate::program::{PATIENCE, Program, SUREPASS, WORKER, command, run, stderr, stdout};

/// The word in every secret of these tests, and in no message of ours: it must not appear in any output.
pub const SECRET_WORD: &str = "Hemmelig";
pub const WEBHOOK_SECRET: &str = "whsec_HemmeligSignatur";
pub const COMPLETED: &str = "checkout.session.completed";
pub const ASYNC_SUCCEEDED: &str = "checkout.session.async_payment_succeeded";
pub const EXAMPLE_CATALOG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/catalog.example.toml");

pub struct Shop {
    folder: TempDir,
    /// Its own; `None` where somebody else runs it.
    redis: Option<RedisServer>,
    environment: Vec<(String, String)>,
    client: reqwest::Client,
    /// How many sessions there were.
    sold: AtomicU32,
    pub servers: Vec<Server>,
    pub workers: Vec<Program>,
    /// Those that have ended, for what they said.
    gone: Vec<Program>,
}

pub struct Server {
    pub program: Program,
    pub address: SocketAddr,
}

impl Shop {
    /// With the example catalog, a server and a worker.
    pub async fn open() -> Self {
        Self::open_with("").await
    }

    /// The same, with these settings (as in `config/development.toml`).
    pub async fn open_with(settings: &str) -> Self {
        let mut shop = Self::prepare(settings).await;
        shop.start_server().await;
        shop.start_worker().await;
        shop
    }

    /// With the example catalog, and no program that runs yet.
    pub async fn prepare(settings: &str) -> Self {
        let shop = Self::empty(settings).await;
        shop.import_example().await;
        shop
    }

    pub async fn import_example(&self) {
        let imported = self.surepass(&["catalog", "import", EXAMPLE_CATALOG]).await;
        assert!(imported.status.success(), "{}", stderr(&imported));
    }

    /// With a Redis, and no store yet.
    pub async fn empty(settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = RedisServerOptions {
            folder: folder.path().join("redis"),
            append_fsync: Some("always"),
            debug: true,
        };
        let redis = RedisServer::start(options).await.unwrap();
        let url = redis.url();
        Self::over(folder, Some(redis), &url, settings)
    }

    /// With a Redis that somebody else runs, and no store yet.
    pub fn at(redis_url: &str, settings: &str) -> Self {
        Self::over(tempfile::tempdir().unwrap(), None, &redis_url.into(), settings)
    }

    fn over(folder: TempDir, redis: Option<RedisServer>, redis_url: &SecretString, settings: &str) -> Self {
        let config = folder.path().join("config");
        std::fs::create_dir(&config).unwrap();
        std::fs::write(config.join("development.toml"), settings).unwrap();
        let database = format!("sqlite://{}", folder.path().join("surepass.db").display());
        let data = folder.path().join("data");
        let environment = [
            ("SUREPASS_CONFIG", config.to_str().unwrap()),
            ("SUREPASS_DATA_DIR", data.to_str().unwrap()),
            ("SUREPASS_BIND", "127.0.0.1:0"),
            ("SUREPASS_SERVER_METRICS_BIND", "127.0.0.1:0"),
            ("SUREPASS_METRICS_BIND", "127.0.0.1:0"),
            ("REDIS_URL", redis_url.expose_secret()),
            ("DATABASE_URL", &database),
            ("STRIPE_WEBHOOK_SECRET", WEBHOOK_SECRET),
            ("STRIPE_SECRET_KEY", "sk_test_HemmeligKey"),
            // Nobody is there: no test speaks to Stripe.
            ("STRIPE_API_BASE", "http://127.0.0.1:9"),
            ("RUST_LOG", "debug"),
        ];
        Self {
            environment: environment
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .to_vec(),
            client: surepass::http_client::http().timeout(PATIENCE).build().unwrap(),
            folder,
            redis,
            sold: AtomicU32::new(0),
            servers: Vec::new(),
            workers: Vec::new(),
            gone: Vec::new(),
        }
    }

    pub fn set(&mut self, name: &str, value: &str) {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    pub fn setting(&self, name: &str) -> &str {
        &self
            .environment
            .iter()
            .find(|(known, _)| known == name)
            .unwrap()
            .1
    }

    pub fn environment(&self) -> &[(String, String)] {
        &self.environment
    }

    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    // Programs.

    pub async fn start_server(&mut self) {
        let program = self.launch_server();
        let line: Value = serde_json::from_str(&program.says("listening: POST").await).unwrap();
        let address = line["address"].as_str().unwrap().parse().unwrap();
        self.servers.push(Server { program, address });
    }

    pub async fn start_worker(&mut self) {
        let worker = self.launch_worker(&[]);
        worker.says(r#""message":"working""#).await;
        self.workers.push(worker);
    }

    /// Stops the latest worker, with its running jobs done.
    pub async fn stop_worker(&mut self) {
        let mut worker = self.workers.pop().unwrap();
        worker.signal(Signal::SIGTERM);
        worker.ended().await;
        self.bury(worker);
    }

    /// A server that need not come up.
    pub fn launch_server(&self) -> Program {
        Program::start(command(&SUREPASS, &["serve"], &self.environment))
    }

    /// A worker that need not be working yet. It follows no schedule: what begins when is the test's to say.
    pub fn launch_worker(&self, arguments: &[&str]) -> Program {
        self.launch(&WORKER, &[&["--no-cron"], arguments].concat())
    }

    /// Any program, with the shop's settings.
    pub fn launch(&self, program: &str, arguments: &[&str]) -> Program {
        Program::start(command(program, arguments, &self.environment))
    }

    /// Keeps what a program said that has ended.
    pub fn bury(&mut self, program: Program) {
        self.gone.push(program);
    }

    /// `surepass` with these arguments and the shop's settings.
    pub fn command(&self, arguments: &[&str]) -> Command {
        command(&SUREPASS, arguments, &self.environment)
    }

    /// Any program with these arguments and the shop's settings.
    pub fn command_of(&self, program: &str, arguments: &[&str]) -> Command {
        command(program, arguments, &self.environment)
    }

    pub async fn surepass(&self, arguments: &[&str]) -> Output {
        let output = run(self.command(arguments)).await;
        check_output(&stderr(&output));
        output
    }

    /// The JSON document that a command prints.
    pub async fn json(&self, arguments: &[&str]) -> Value {
        let output = self.surepass(arguments).await;
        assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
        serde_json::from_str(&stdout(&output)).unwrap()
    }

    // Stripe's part.

    /// A session in which ten classes were bought, an hour ago.
    pub fn session(&self) -> SampleSession {
        let unique = format!("S{:07}", self.sold.fetch_add(1, Ordering::Relaxed));
        SampleSession::ten_classes(unique, now() - TimeDelta::hours(1))
    }

    /// Sends the event that a session is complete.
    pub async fn buy(&self, session: &SampleSession) -> Answer {
        self.deliver(session.event(COMPLETED, 1)).await
    }

    /// The same, signed with another secret than the usual.
    pub async fn buy_as(&self, secret: &str, session: &SampleSession) -> Answer {
        let body = session.event(COMPLETED, 1);
        let header = signed(secret, &body);
        self.post(body, Some(&header)).await
    }

    /// Sends an event, signed now.
    pub async fn deliver(&self, body: Vec<u8>) -> Answer {
        self.try_deliver(0, body).await.unwrap()
    }

    /// The same to one of several servers, which may be gone.
    pub async fn try_deliver(&self, server: usize, body: Vec<u8>) -> Result<Answer, reqwest::Error> {
        let header = signed(WEBHOOK_SECRET, &body);
        self.send(server, "/webhooks/stripe", Some(&header), body).await
    }

    /// Sends a body with this `Stripe-Signature`.
    pub async fn post(&self, body: Vec<u8>, header: Option<&str>) -> Answer {
        self.send(0, "/webhooks/stripe", header, body).await.unwrap()
    }

    /// Sends an event to a tenant's own endpoint, signed with this secret.
    pub async fn deliver_to(&self, tenant: &str, secret: &str, body: Vec<u8>) -> Answer {
        self.deliver_at(&format!("/webhooks/stripe/{tenant}"), secret, body)
            .await
    }

    /// Sends an event to a path, signed with this secret.
    pub async fn deliver_at(&self, path: &str, secret: &str, body: Vec<u8>) -> Answer {
        let header = signed(secret, &body);
        self.send(0, path, Some(&header), body).await.unwrap()
    }

    async fn send(
        &self,
        server: usize,
        path: &str,
        header: Option<&str>,
        body: Vec<u8>,
    ) -> Result<Answer, reqwest::Error> {
        let url = format!("http://{}{path}", self.servers[server].address);
        let mut request = self.client.post(url).body(body);
        if let Some(header) = header {
            request = request.header("Stripe-Signature", header);
        }
        Answer::read(request.send().await?).await
    }

    /// Where a program has its `/metrics`.
    pub async fn metrics_of(program: &Program) -> String {
        let line: Value = serde_json::from_str(&program.says("listening: GET /metrics").await).unwrap();
        line["address"].as_str().unwrap().to_owned()
    }

    /// The status of a page.
    pub async fn get(&self, server: usize, path: &str) -> u16 {
        // A connection of its own: it tells how the server is to a stranger.
        let client = surepass::http_client::http().timeout(PATIENCE).build().unwrap();
        let url = format!("http://{}{path}", self.servers[server].address);
        client.get(url).send().await.unwrap().status().as_u16()
    }

    // What came of it.

    /// All subscriptions, oldest purchase first.
    pub async fn subscriptions(&self) -> Vec<Value> {
        let Value::Array(mut all) = self.json(&["subscriptions", "list", "--json"]).await else {
            panic!("no array");
        };
        all.sort_by_key(|one| one["stripeSessionId"].as_str().unwrap().to_owned());
        all
    }

    /// The sessions of all subscriptions, sorted; one that was fulfilled twice would be there twice.
    pub async fn fulfilled(&self) -> Vec<String> {
        let all = self.subscriptions().await;
        all.iter()
            .map(|one| one["stripeSessionId"].as_str().unwrap().to_owned())
            .collect()
    }

    /// The event log, oldest first.
    pub async fn events(&self) -> Vec<LoggedEvent> {
        let mut events = self.store().await.events().list(1_000).await.unwrap();
        events.reverse();
        events
    }

    pub async fn store(&self) -> Arc<Store> {
        let url: SecretString = self.setting("DATABASE_URL").into();
        store::open(&url, &store::Options::default()).await.unwrap()
    }
}

impl Drop for Shop {
    /// Whatever a test is about, no program of its shop may panic or tell a secret.
    fn drop(&mut self) {
        let servers = self.servers.iter().map(|server| &server.program);
        for program in servers.chain(&self.workers).chain(&self.gone) {
            let said = program.said();
            if std::thread::panicking() {
                let lines: Vec<_> = said.lines().collect();
                eprintln!(
                    "--- {}\n{}",
                    program.pid(),
                    lines[lines.len().saturating_sub(40)..].join("\n")
                );
            } else {
                check_output(&said);
            }
        }
    }
}

/// What no output of ours may hold.
pub fn check_output(said: &str) {
    for word in ["panicked", SECRET_WORD, "@example.com", "Nordmann"] {
        if let Some(line) = said.lines().find(|line| line.contains(word)) {
            panic!("`{word}` in the output: {line}");
        }
    }
}

/// Now, in whole seconds as Stripe tells time.
pub fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(Clock::system().now().timestamp(), 0).unwrap()
}

/// The header that Stripe would send with a body now.
pub fn signed(secret: &str, body: &[u8]) -> String {
    sign(&secret.into(), now().timestamp(), body)
}
