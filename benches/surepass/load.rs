//! The generator of load: raw HTTP on keep-alive connections. It shares the cores with what it measures, the same for
//! all, so it does little: a write and a read for each request.

use std::cell::Cell;
use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::LocalSet;

use crate::Outcome;
use crate::report::float;
use crate::requests::Requests;

/// What a server can do when each connection sends the next request as soon as the last is answered.
#[derive(Debug)]
pub(crate) struct Peak {
    pub(crate) per_second: f64,
    /// p50 and p99, in ms.
    pub(crate) latency: (f64, f64),
}

struct Shared {
    requests: Arc<Requests>,
    next: Cell<usize>,
    /// Requests before this one warm up and do not count.
    counted: usize,
    end: usize,
    begun: Cell<Option<Instant>>,
    latencies: RefCell<Histogram<u64>>,
}

/// Sends the requests of `range`, each once, over so many connections.
pub(crate) fn peak(
    address: SocketAddr,
    requests: &Arc<Requests>,
    range: Range<usize>,
    connections: usize,
) -> Outcome<Peak> {
    let counted = range.start + range.len() / 8;
    let shared = Rc::new(Shared {
        requests: requests.clone(),
        next: Cell::new(range.start),
        counted,
        end: range.end,
        begun: Cell::new(None),
        latencies: RefCell::new(Histogram::new(3)?),
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    LocalSet::new().block_on(&runtime, async {
        let drivers: Vec<_> = (0..connections)
            .map(|_| tokio::task::spawn_local(drive(address, shared.clone())))
            .collect();
        for driver in drivers {
            driver.await??;
        }
        Outcome::Ok(())
    })?;
    let begun = shared.begun.get().ok_or("nothing was counted")?;
    let counted = u64::try_from(range.end - counted)?;
    Ok(Peak {
        per_second: float(counted) / begun.elapsed().as_secs_f64(),
        latency: quantiles(&shared.latencies.borrow()),
    })
}

async fn drive(address: SocketAddr, shared: Rc<Shared>) -> Outcome<()> {
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 4_096];
    loop {
        let nth = shared.next.get();
        if nth >= shared.end {
            return Ok(());
        }
        shared.next.set(nth + 1);
        let sent = Instant::now();
        if nth == shared.counted {
            shared.begun.set(Some(sent));
        }
        stream.write_all(shared.requests.get(nth)).await?;
        let mut filled = 0;
        loop {
            match Answer::read(&buffer[..filled])? {
                Answer::Partial => {}
                Answer::New => break,
                other => return Err(format!("answered with {other:?}").into()),
            }
            filled += match stream.read(&mut buffer[filled..]).await? {
                0 => return Err("the server closed the connection".into()),
                read => read,
            };
        }
        if nth >= shared.counted {
            shared
                .latencies
                .borrow_mut()
                .record(nanoseconds(sent.elapsed()))?;
        }
    }
}

/// Sends the requests of `range` at a fixed rate, whether the ones before are answered or not as far as there are
/// connections. Time counts from when a request was due, so a server that stalls pays for all that it keeps waiting.
/// After each answer, `watch` (one for each connection) waits for what else belongs to the request.
pub(crate) fn open_loop<W>(
    address: SocketAddr,
    requests: &Requests,
    range: Range<usize>,
    per_second: u32,
    connections: usize,
    watch: impl Fn() -> Outcome<W> + Sync,
) -> Outcome<Histogram<u64>>
where
    W: FnMut(usize) -> Outcome<()>,
{
    let interval = Duration::from_secs(1) / per_second;
    let begin = Instant::now() + Duration::from_millis(200);
    let one = |lane: usize| -> Outcome<Histogram<u64>> {
        // The kernel's default slack of 50 µs would be measured with the rest.
        nix::sys::prctl::set_timerslack(1)?;
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let mut watch = watch()?;
        let mut latencies = Histogram::new(3)?;
        let mut buffer = vec![0; 4_096];
        for nth in range.clone().skip(lane).step_by(connections) {
            let due = begin + interval * u32::try_from(nth - range.start)?;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            // As Stripe does: what was answered with 503 is sent again, and may have been taken the first time.
            let mut tries = 0;
            loop {
                match send(&mut stream, requests.get(nth), &mut buffer)? {
                    Answer::New => break,
                    Answer::Duplicate if tries > 0 => break,
                    Answer::Unavailable if tries < 100 => tries += 1,
                    other => return Err(format!("answered with {other:?}").into()),
                }
            }
            watch(nth)?;
            latencies.record(nanoseconds(due.elapsed()))?;
        }
        Ok(latencies)
    };
    std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..connections)
            .map(|lane| scope.spawn(move || one(lane)))
            .collect();
        let mut all = Histogram::new(3)?;
        for lane in lanes {
            all.add(lane.join().map_err(|_| "a connection's thread panicked")??)?;
        }
        Ok(all)
    })
}

/// Sends one request and waits for its answer.
fn send(stream: &mut TcpStream, request: &[u8], buffer: &mut [u8]) -> Outcome<Answer> {
    stream.write_all(request)?;
    let mut filled = 0;
    loop {
        match Answer::read(&buffer[..filled])? {
            Answer::Partial => {}
            whole => return Ok(whole),
        }
        filled += match stream.read(&mut buffer[filled..])? {
            0 => return Err("the server closed the connection".into()),
            read => read,
        };
    }
}

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// Not all of it is here.
    Partial,
    New,
    Duplicate,
    Unavailable,
}

impl Answer {
    fn read(answer: &[u8]) -> Outcome<Self> {
        let is_good = answer.starts_with(b"HTTP/1.1 200 ");
        Ok(if is_good && answer.ends_with(br#""duplicate":false}"#) {
            Self::New
        } else if is_good && answer.ends_with(br#""duplicate":true}"#) {
            Self::Duplicate
        } else if answer.starts_with(b"HTTP/1.1 503 ") && answer.ends_with(br#""}}"#) {
            Self::Unavailable
        } else if answer.len() > 1_024
            || (answer.len() > 12 && !is_good && !answer.starts_with(b"HTTP/1.1 503 "))
        {
            // Longer than any good answer, or another one: told rather than counted.
            return Err(format!("not accepted: {}", String::from_utf8_lossy(answer)).into());
        } else {
            Self::Partial
        })
    }
}

pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// p50 and p99, in ms.
pub(crate) fn quantiles(latencies: &Histogram<u64>) -> (f64, f64) {
    let at = |quantile| float(latencies.value_at_quantile(quantile)) / 1e6;
    (at(0.5), at(0.99))
}
