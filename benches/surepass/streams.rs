//! 8. Streams: what thousands of customers cost who follow their purchases, and how long after the end of an attempt they hear
//!    of it, beside what Redis alone takes from a PUBLISH to a subscriber.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use apalis::layers::WorkerBuilderExt;
use apalis::prelude::*;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::StreamExt;
use hdrhistogram::Histogram;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use sha2::Sha256;
use surepass::clock::Clock;
use surepass::fulfil::Purchase;
use surepass::queue::{Item, JobError, Queue, QueueConfig, Redis, RedisBackend, RedisOptions, RetryPolicy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::cost::{resident, seconds};
use crate::load::{nanoseconds, quantiles};
use crate::report::{Goal, Table, float, latency, thousands};
use crate::system::{self, Durability, System};
use crate::{Outcome, requests};

const STREAMS: usize = 5_000;
/// Opened at the same time.
const AT_ONCE: usize = 64;
/// Purchases whose attempts end while all streams are open, one after the other.
const MEASURED: usize = 600;
const APART: Duration = Duration::from_millis(20);
/// For how long nothing happens but heartbeats, and what they make the server look up: two of each stream.
const QUIET: Duration = Duration::from_secs(30);
const SECRET: &str = "bench-secret-of-more-than-32-bytes";
const SETTINGS: &str = "[customers]\njwt_secret = \"bench-secret-of-more-than-32-bytes\"\naddress_requests_per_minute = 1000000\n";
const LONGEST_WAIT: Duration = Duration::from_mins(1);

pub(crate) fn measure(runtime: &Runtime) -> Outcome<Table> {
    allow_files(u64::try_from(STREAMS)? + 500)?;
    let system = System::of_server(runtime, Durability::Fast, SETTINGS)?;
    let purchases = requests::purchases(MEASURED + STREAMS + AT_ONCE, 8)?;
    let figures = runtime.block_on(run(&system, &purchases))?;
    system.stop(runtime)?;

    let mut table = Table::new("8. 5,000 open streams on one server");
    let each = (figures.open - figures.before) * 1_000.0 / float(u64::try_from(STREAMS)?);
    table.plain(
        "memory of the server: before, with all open, after 30 s",
        format!(
            "{} MB, {} MB, {} MB",
            thousands(figures.before),
            thousands(figures.open),
            thousands(figures.later)
        ),
    );
    table.judged(
        "  for each stream",
        format!("{} kB", thousands(each)),
        each,
        Goal::AtMost(50.0),
        " kB",
    );
    table.plain(
        "opening them",
        format!(
            "{}/s",
            thousands(float(u64::try_from(STREAMS)?) / figures.opening.as_secs_f64())
        ),
    );
    table.plain(
        "while nothing happens: the server's share of a core",
        format!("{} %", thousands(100.0 * figures.idle)),
    );
    let (bare, ours) = (quantiles(&figures.bare), quantiles(&figures.pushed));
    table.plain("bare: PUBLISH to subscriber", latency(bare));
    table.plain(
        "end of an attempt, settled, to the message at the client",
        latency(ours),
    );
    table.compared(
        "  p50 against bare (of its time)",
        String::new(),
        ours.0 / bare.0,
        None,
    );
    table.note(format!(
        "{MEASURED} attempts, one each {} ms, each of another customer; all streams, Redis, worker and clients share the cores.",
        APART.as_millis()
    ));
    table.note(
        "The message's way: settlement (one script), PUBLISH, the server's look at SQLite and Redis, one event over HTTP.",
    );
    Ok(table)
}

struct Figures {
    /// MB.
    before: f64,
    open: f64,
    later: f64,
    opening: Duration,
    /// Seconds of CPU for each second.
    idle: f64,
    bare: Histogram<u64>,
    pushed: Histogram<u64>,
}

/// Which stream heard that its purchase is retried, and when.
type Heard = mpsc::UnboundedReceiver<(usize, Instant)>;

async fn run(system: &System, purchases: &[Purchase]) -> Outcome<Figures> {
    let server = system.server_id()?;
    // What the first streams need, and all others share.
    let (first, rest) = purchases.split_at(AT_ONCE);
    let warm = open(system.address, first).await?;
    drop(warm);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = resident(server)?;
    let began = Instant::now();
    let mut heard = open(system.address, &rest[..STREAMS]).await?;
    let opening = began.elapsed();
    let open = resident(server)?;

    let used = seconds(&server.to_string())?;
    tokio::time::sleep(QUIET).await;
    let idle = (seconds(&server.to_string())? - used) / QUIET.as_secs_f64();
    let later = resident(server)?;

    let pushed = push(system, &rest[..MEASURED], &mut heard).await?;
    let bare = publish(system).await?;
    Ok(Figures {
        before,
        open,
        later,
        opening,
        idle,
        bare,
        pushed,
    })
}

/// Opens a stream for each purchase, by its own customer; answers when each has had its first event. They close when the answer
/// is dropped.
async fn open(address: SocketAddr, purchases: &[Purchase]) -> Outcome<Heard> {
    let (tell, heard) = mpsc::unbounded_channel();
    let (opened, mut open) = mpsc::unbounded_channel();
    let room = Arc::new(Semaphore::new(AT_ONCE));
    for (nth, purchase) in purchases.iter().enumerate() {
        let user = purchase.user_id.as_deref().ok_or("a purchase without a user")?;
        let request = format!(
            "GET /api/user/subscription-status/stream?tenant=studio&sessionId={} HTTP/1.1\r\nHost: localhost\r\n\
             Accept: text/event-stream\r\nAuthorization: Bearer {}\r\n\r\n",
            purchase.session_id,
            token(user)?
        );
        let (tell, opened, room) = (tell.clone(), opened.clone(), room.clone());
        tokio::spawn(async move {
            let following = follow(address, &request, nth, &room, &opened, &tell);
            let result = tokio::select! {
                result = following => result,
                () = tell.closed() => Ok(()),
            };
            if let Err(error) = result
                && !tell.is_closed()
            {
                eprintln!("a stream broke: {error}");
            }
        });
    }
    for _ in purchases {
        let first = tokio::time::timeout(LONGEST_WAIT, open.recv()).await?;
        first.ok_or("streams ended before they began")?;
    }
    Ok(heard)
}

async fn follow(
    address: SocketAddr,
    request: &str,
    nth: usize,
    room: &Semaphore,
    opened: &mpsc::UnboundedSender<()>,
    tell: &mpsc::UnboundedSender<(usize, Instant)>,
) -> Outcome<()> {
    let turn = room.acquire().await?;
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut text = Vec::new();
    while !contains(&text, b"\"state\":") {
        if stream.read_buf(&mut text).await? == 0 {
            return Err(format!("no stream: {}", String::from_utf8_lossy(&text)).into());
        }
    }
    drop(turn);
    opened.send(())?;
    text.clear();
    text.shrink_to(1_024);
    while stream.read_buf(&mut text).await? > 0 {
        let at = Instant::now();
        if contains(&text, b"\"state\":\"retrying\"") {
            tell.send((nth, at))?;
            text.clear();
        }
    }
    Err("the stream has ended".into())
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// A customer's token, valid for an hour.
fn token(user: &str) -> Outcome<String> {
    let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let expires = Clock::system().now().timestamp() + 3_600;
    let signed = format!(
        "{}.{}",
        part(json!({"alg": "HS256", "typ": "JWT"})),
        part(json!({"sub": user, "exp": expires}))
    );
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes())?;
    mac.update(signed.as_bytes());
    Ok(format!(
        "{signed}.{}",
        URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
    ))
}

/// Lets a worker of our own fail the purchases one after the other: from the end of each attempt to the event at its client.
async fn push(system: &System, purchases: &[Purchase], heard: &mut Heard) -> Outcome<Histogram<u64>> {
    let queue = queue(&system.redis.url())?;
    let ended: Arc<Mutex<Option<Instant>>> = Arc::default();
    let stop = CancellationToken::new();
    let worker = std::thread::spawn({
        let (url, ended, stop) = (system.redis.url(), ended.clone(), stop.clone());
        move || fail_all(&url, ended, stop)
    });
    let mut latencies = Histogram::new(3)?;
    for (nth, purchase) in purchases.iter().enumerate() {
        queue
            .enqueue(&[Item::job(purchase)?.group(purchase.group())])
            .await?;
        let (which, at) = tokio::time::timeout(LONGEST_WAIT, heard.recv())
            .await?
            .ok_or("all streams have ended")?;
        let end = ended.lock().map_err(|_| "the worker panicked")?.take();
        let end = end.ok_or("heard of before it ended")?;
        if which != nth {
            return Err(format!("stream {which} heard of purchase {nth}").into());
        }
        latencies.record(nanoseconds(at.saturating_duration_since(end)))?;
        tokio::time::sleep(APART).await;
    }
    stop.cancel();
    worker.join().map_err(|_| "the worker panicked")??;
    Ok(latencies)
}

fn fail_all(url: &SecretString, ended: Arc<Mutex<Option<Instant>>>, stop: CancellationToken) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let backend = RedisBackend::<Purchase>::new(&queue(url)?, "worker", 8, 0);
        let worker = WorkerBuilder::new("worker")
            .backend(backend)
            .concurrency(8)
            .build(move |_: Purchase| {
                let ended = ended.clone();
                async move {
                    let mut ended = ended.lock().map_err(|_| JobError::fail("bench", "poisoned"))?;
                    *ended = Some(Instant::now());
                    Err::<(), _>(JobError::retry("bench", "it shall be tried again"))
                }
            });
        worker
            .run_until(async move {
                stop.cancelled().await;
                Ok::<(), std::io::Error>(())
            })
            .await?;
        Ok(())
    })
}

/// Nothing is tried again while the benchmark runs.
fn queue(url: &SecretString) -> Outcome<Queue> {
    let redis = Redis::open(url, RedisOptions::default())?;
    let hour = Duration::from_hours(1);
    let config = QueueConfig {
        retry: RetryPolicy {
            base: hour,
            cap: hour,
            max_attempts: 16,
        },
        ..QueueConfig::default()
    };
    Ok(Queue::new(&redis, config)?)
}

/// The limit: a message of the same length, published and heard, as often and as far apart.
async fn publish(system: &System) -> Outcome<Histogram<u64>> {
    let client = redis::Client::open(system.redis.url().expose_secret())?;
    let mut pubsub = client.get_async_pubsub().await?;
    pubsub.subscribe("bare").await?;
    let mut messages = pubsub.on_message();
    let mut redis = system::connect(&system.redis).await?;
    let text = format!("scheduled fulfil:cs_test_{:056}", 0);
    let mut latencies = Histogram::new(3)?;
    for _ in 0..MEASURED {
        let began = Instant::now();
        let publish = redis::cmd("PUBLISH").arg("bare").arg(&text).to_owned();
        let (published, message) = tokio::join!(publish.query_async::<usize>(&mut redis), messages.next());
        published?;
        message.ok_or("the subscription has ended")?;
        latencies.record(nanoseconds(began.elapsed()))?;
        tokio::time::sleep(APART).await;
    }
    Ok(latencies)
}

/// Takes as many open files as the streams of one process need.
fn allow_files(files: u64) -> Outcome<()> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if hard < files {
        return Err(format!(
            "{STREAMS} streams need {files} open files, and the hard limit is {hard}: raise it (ulimit -Hn)"
        )
        .into());
    }
    if soft < files {
        setrlimit(Resource::RLIMIT_NOFILE, files, hard)?;
    }
    Ok(())
}
