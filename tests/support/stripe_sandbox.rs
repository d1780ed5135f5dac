//! `surepass-sandbox` as a process: Stripe, as far as tests need it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use reqwest::{Method, Response};
use serde_json::{Value, json};
use url::form_urlencoded;

use crate::program::{PATIENCE, Program, command};

/// The program, beside those of the tests. Where it is missing or older than its sources, Cargo builds it first: with one
/// package's tests it does not build the programs of another.
pub static SANDBOX: LazyLock<String> = LazyLock::new(|| {
    let test = std::env::current_exe().unwrap();
    // The test's own is in target/PROFILE/deps.
    let folder = test.ancestors().nth(2).unwrap();
    let program = folder.join("surepass-sandbox");
    let root = Path::new(crate::ROOT);
    let sources = ["crates/sandbox", "crates/base", "Cargo.lock"].map(|path| newest(&root.join(path)));
    let built = std::fs::metadata(&program).and_then(|found| found.modified());
    if built.map_or(true, |built| sources.iter().any(|changed| *changed > built)) {
        let profile = match folder.file_name().unwrap().to_str().unwrap() {
            "debug" => "dev",
            profile => profile,
        };
        let built = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args([
                "build",
                "--locked",
                "--workspace",
                "--bin",
                "surepass-sandbox",
                "--profile",
                profile,
            ])
            .arg("--target-dir")
            .arg(folder.parent().unwrap())
            .current_dir(root)
            .status();
        assert!(built.unwrap().success(), "surepass-sandbox cannot be built");
    }
    program.to_str().unwrap().to_owned()
});

/// When a file, or one below a folder, was last changed.
fn newest(path: &Path) -> SystemTime {
    let files: Vec<PathBuf> = match std::fs::read_dir(path) {
        Ok(entries) => entries.map(|entry| entry.unwrap().path()).collect(),
        Err(_) => return std::fs::metadata(path).unwrap().modified().unwrap(),
    };
    let changes = files.iter().map(|file| newest(file));
    changes.max().unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Any key that looks like one is the platform's own.
pub const TEST_KEY: &str = "sk_test_sandbox";

pub struct StripeSandbox {
    _program: Program,
    /// `http://127.0.0.1:…`, for `STRIPE_API_BASE`.
    pub url: String,
    http: reqwest::Client,
}

/// Whose objects a call is about.
#[derive(Debug, Clone, Copy)]
pub struct As<'a> {
    pub key: &'a str,
    pub account: Option<&'a str>,
}

impl Default for As<'_> {
    fn default() -> Self {
        Self {
            key: TEST_KEY,
            account: None,
        }
    }
}

impl StripeSandbox {
    pub async fn start(arguments: &[&str]) -> Self {
        let mut all = vec!["--bind", "127.0.0.1:0"];
        all.extend(arguments);
        let program = Program::start(command(&SANDBOX, &all, &[]));
        let line = program.says("listening on").await;
        let url = line.trim_start_matches("listening on ").to_owned();
        let http = surepass::http_client::http()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(PATIENCE)
            .no_proxy()
            // So that tests see the length that an answer promises.
            .gzip(false)
            .build()
            .unwrap();
        Self {
            _program: program,
            url,
            http,
        }
    }

    /// Asks for what is below `/v1`, as somebody.
    pub async fn ask(&self, who: As<'_>, method: Method, path: &str, form: &[(&str, &str)]) -> Response {
        let mut encoded = form_urlencoded::Serializer::new(String::new());
        encoded.extend_pairs(form);
        let encoded = encoded.finish();
        let mut url = format!("{}/v1/{path}", self.url);
        let reads = method == Method::GET;
        if reads && !encoded.is_empty() {
            url = format!("{url}?{encoded}");
        }
        let mut request = self.http.request(method, url).bearer_auth(who.key);
        if let Some(account) = who.account {
            request = request.header("Stripe-Account", account);
        }
        if !reads {
            request = request
                .header("Content-Type", "application/x-www-form-urlencoded")
                .body(encoded);
        }
        request.send().await.unwrap()
    }

    /// What the platform gets from below `/v1`; it must be there.
    pub async fn get(&self, path: &str, query: &[(&str, &str)]) -> Value {
        read(self.ask(As::default(), Method::GET, path, query).await, 200).await
    }

    /// What the platform's POST below `/v1` makes; it must succeed.
    pub async fn post(&self, path: &str, form: &[(&str, &str)]) -> Value {
        read(self.ask(As::default(), Method::POST, path, form).await, 200).await
    }

    /// A call of `/_sandbox`; it must succeed.
    pub async fn control(&self, method: Method, path: &str, order: Value) -> Value {
        let url = format!("{}/_sandbox/{path}", self.url);
        let request = self.http.request(method, url).json(&order);
        let response = request.send().await.unwrap();
        let status = response.status();
        let text = response.text().await.unwrap();
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Makes purchases in one go; `crates/sandbox/src/control/purchases.rs` tells what can be ordered.
    pub async fn purchases(&self, order: Value) -> Vec<Value> {
        let made = self.control(Method::POST, "purchases", order).await;
        made["sessions"].as_array().unwrap().clone()
    }

    pub async fn faults(&self, order: Value) {
        self.control(Method::PUT, "faults", order).await;
    }

    /// Moves the clock on.
    pub async fn advance(&self, time: Duration) {
        self.control(Method::POST, "clock", json!({"advance": time.as_secs()}))
            .await;
    }

    /// What became of the webhooks, once none is under way or waits.
    pub async fn delivered(&self) -> Value {
        let deliveries = self
            .control(Method::GET, "deliveries?wait=60&limit=10000", Value::Null)
            .await;
        assert_eq!(deliveries["scheduled"], 0, "{deliveries:#}");
        deliveries
    }

    /// The calls of the API so far.
    pub async fn requests(&self) -> Value {
        self.control(Method::GET, "requests?limit=100000", Value::Null)
            .await
    }
}

/// The JSON of an answer, which must have this status.
pub async fn read(response: Response, status: u16) -> Value {
    let came = response.status();
    let text = response.text().await.unwrap();
    assert_eq!(came, status, "{text}");
    serde_json::from_str(&text).unwrap()
}

/// The ids of a list's objects.
pub fn ids(list: &Value) -> Vec<String> {
    let data = list["data"].as_array().unwrap();
    data.iter()
        .map(|object| object["id"].as_str().unwrap().to_owned())
        .collect()
}
