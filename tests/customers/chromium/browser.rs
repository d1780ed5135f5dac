//! Chromium, one for all tests of this program; each has contexts of its own in it, with their own cookies. npm's
//! `playwright-core` drives it (`browser.mjs`), and each of its answers is waited for here.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::oneshot;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// Names under which Chromium is installed.
const PROGRAMS: [&str; 4] = [
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
];
/// Longer than `browser.mjs` waits for anything, so that it is that which says what did not come.
const PATIENCE: Duration = Duration::from_secs(90);

static BROWSER: LazyLock<Browser> = LazyLock::new(Browser::start);

type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<Value>>>>;

pub(crate) struct Browser {
    /// They end with this program, however it ends, and the browser ends with them.
    orders: Mutex<ChildStdin>,
    waiting: Waiting,
    asked: AtomicU64,
    _driver: Child,
}

impl Browser {
    /// A thread of its own reads the answers: tests come and go with their runtimes.
    fn start() -> Self {
        for library in ["playwright-core", "axe-core"] {
            assert!(
                Path::new(ROOT)
                    .join(".tools/node/node_modules")
                    .join(library)
                    .exists(),
                "{library} is not installed: run `make test`, or `scripts/install.sh test` once"
            );
        }
        let path = path();
        let chromium =
            program(&path).expect("no Chromium: run `scripts/install.sh test`, or install `chromium`");
        let mut driver = Command::new("node")
            .arg(Path::new(ROOT).join("tests/customers/chromium/browser.mjs"))
            .arg(chromium)
            .env("PATH", path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let waiting = Waiting::default();
        let (answers, heard) = (driver.stdout.take().unwrap(), waiting.clone());
        std::thread::spawn(move || {
            for line in BufReader::new(answers).lines().map_while(Result::ok) {
                let answer: Value = serde_json::from_str(&line).unwrap();
                let id = answer["id"].as_u64().unwrap();
                // Who asked may have given up.
                let asked = heard.lock().unwrap().remove(&id);
                drop(asked.map(|asked| asked.send(answer)));
            }
            // The browser is gone: whoever waits hears so.
            heard.lock().unwrap().clear();
        });
        Self {
            orders: Mutex::new(driver.stdin.take().unwrap()),
            waiting,
            asked: AtomicU64::new(1),
            _driver: driver,
        }
    }

    async fn order(&self, mut order: Value) -> Result<Value, String> {
        let id = self.asked.fetch_add(1, Ordering::Relaxed);
        order["id"] = id.into();
        let (sender, answer) = oneshot::channel();
        self.waiting.lock().unwrap().insert(id, sender);
        let line = format!("{order}\n");
        self.orders.lock().unwrap().write_all(line.as_bytes()).unwrap();
        let answer = tokio::time::timeout(PATIENCE, answer).await;
        let answer = answer.map_err(|_| format!("no answer to {order}"))?;
        let mut answer = answer.map_err(|_| "the browser is gone".to_owned())?;
        match answer["failed"].as_str() {
            Some(why) => Err(format!("{order}: {why}")),
            None => Ok(answer["done"].take()),
        }
    }

    /// What came of an order; `Err`: why it could not be carried out.
    pub(crate) async fn tries(order: Value) -> Result<Value, String> {
        BROWSER.order(order).await
    }

    /// The same where it must be carried out.
    pub(crate) async fn obeys(order: Value) -> Value {
        let done = Self::tries(order).await;
        done.unwrap_or_else(|why| panic!("{why}"))
    }

    /// A tab in a context of its own; `options` are those of playwright's `newContext`.
    pub(crate) async fn open(options: Value) -> u64 {
        Self::obeys(json!({"open": options})).await.as_u64().unwrap()
    }
}

fn path() -> OsString {
    let mut path = Path::new(ROOT).join(".tools/bin").into_os_string();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    path
}

fn program(path: &OsString) -> Option<PathBuf> {
    let folders: Vec<_> = std::env::split_paths(path).collect();
    let mut places = PROGRAMS
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    places.find(|place| place.is_file())
}
