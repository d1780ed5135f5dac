//! A way to Redis that breaks where the test wants it to.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use secrecy::ExposeSecret;
use surepass::queue::{Queue, Redis, RedisOptions};
use surepass::up::RedisServer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;

#[derive(Debug, Default)]
struct Plan {
    /// The next request that contains this gets no answer: Redis has run it when the connection breaks.
    swallow: Mutex<Option<Vec<u8>>>,
    swallowed: Notify,
    /// Each connection breaks after this many bytes of answers, a little more each time; 0: never.
    budget: AtomicU64,
    broken: AtomicU64,
}

pub struct Proxy {
    plan: Arc<Plan>,
    path: PathBuf,
}

impl Proxy {
    pub fn start(server: &RedisServer, folder: &Path) -> Self {
        let path = folder.join("proxy.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let plan = Arc::new(Plan::default());
        let target = server
            .url()
            .expose_secret()
            .trim_start_matches("redis+unix://")
            .to_owned();
        let inner = Arc::clone(&plan);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = UnixStream::connect(&target).await.unwrap();
                tokio::spawn(forward(client, server, Arc::clone(&inner)));
            }
        });
        Self { plan, path }
    }

    /// The address of this way.
    pub fn url(&self) -> String {
        format!("redis+unix://{}", self.path.display())
    }

    /// The same queue by this way.
    pub fn queue(&self, queue: &Queue) -> Queue {
        let redis = Redis::open(&self.url().into(), RedisOptions::default()).unwrap();
        Queue::new(&redis, queue.config().clone()).unwrap()
    }

    /// The answer to the next request that contains `needle` never comes.
    pub fn swallow_answer_to(&self, needle: &str) {
        *self.plan.swallow.lock().unwrap() = Some(needle.as_bytes().to_vec());
    }

    /// Waits until that has happened.
    pub async fn swallowed(&self) {
        tokio::time::timeout(std::time::Duration::from_secs(30), self.plan.swallowed.notified())
            .await
            .expect("no such request came");
    }

    /// From now on each connection breaks after so many bytes of answers, wherever that is.
    pub fn break_after(&self, bytes: u64) {
        self.plan.budget.store(bytes, Ordering::SeqCst);
    }

    /// How many connections it has broken.
    pub fn broken(&self) -> u64 {
        self.plan.broken.load(Ordering::SeqCst)
    }
}

async fn forward(client: UnixStream, server: UnixStream, plan: Arc<Plan>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let mut requests = vec![0; 65_536];
    let mut answers = vec![0; 65_536];
    let mut doomed = false;
    let mut answered = 0_u64;
    loop {
        tokio::select! {
            read = from_client.read(&mut requests) => {
                let Ok(read @ 1..) = read else { return };
                if !doomed {
                    let mut swallow = plan.swallow.lock().unwrap();
                    if swallow.as_ref().is_some_and(|needle| contains(&requests[..read], needle)) {
                        *swallow = None;
                        doomed = true;
                    }
                }
                if to_server.write_all(&requests[..read]).await.is_err() { return }
            }
            read = from_server.read(&mut answers) => {
                let Ok(read @ 1..) = read else { return };
                if doomed {
                    plan.swallowed.notify_one();
                    return;
                }
                let budget = plan.budget.load(Ordering::SeqCst);
                let mut pass = read;
                if budget > 0 {
                    // A little further each time, so that no request is cut for ever.
                    let most = budget + 7 * plan.broken.load(Ordering::SeqCst);
                    pass = read.min(usize::try_from(most.saturating_sub(answered)).unwrap());
                }
                answered += pass as u64;
                if to_client.write_all(&answers[..pass]).await.is_err() { return }
                if pass < read {
                    plan.broken.fetch_add(1, Ordering::SeqCst);
                    return;
                }
            }
        }
    }
}

fn contains(text: &[u8], needle: &[u8]) -> bool {
    text.windows(needle.len()).any(|window| window == needle)
}
