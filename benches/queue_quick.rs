use apalis::layers::WorkerBuilderExt;
use apalis::prelude::*;
use std::sync::{Arc, atomic::*};
use std::time::*;
use surepass::queue::*;
use surepass::up::*;
struct Nothing(u64);
impl Job for Nothing {
    fn kind(&self) -> &'static str {
        "nothing"
    }
    fn key(&self) -> Option<String> {
        Some(format!(
            "fulfil:cs_test_a1WvnB3eDguI7dxy6llB3LBqeRB5l2QhNNr16hRCO6i5k0dAHJ{:012}",
            self.0
        ))
    }
    fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&self.0)
    }
    fn decode(_: &str, p: &[u8]) -> Result<Self, DecodeError> {
        Ok(Nothing(serde_json::from_slice(p)?))
    }
}
fn env(k: &str, d: usize) -> usize {
    std::env::var(k).ok().and_then(|v| v.parse().ok()).unwrap_or(d)
}
fn main() {
    let rt = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(env("T", 2))
        .enable_all()
        .build()
        .unwrap();
    rt.block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let s = RedisServer::start(RedisServerOptions {
            folder: dir.path().into(),
            append_fsync: None,
        })
        .await
        .unwrap();
        let redis = Redis::open(&s.url(), RedisOptions::default()).unwrap();
        let q = Queue::new(&redis, QueueConfig::default()).unwrap();
        let n = env("N", 100_000) as u64;
        for round in 0..3u64 {
            let t = Instant::now();
            for c in 0..n / 500 {
                let items: Vec<Item> = (0..500)
                    .map(|i| Item::job(&Nothing(round * n + c * 500 + i)).unwrap())
                    .collect();
                q.enqueue(&items).await.unwrap();
            }
            println!("enqueue {:.0}/s", n as f64 / t.elapsed().as_secs_f64());
            let cnt = Arc::new(AtomicU64::new(0));
            let c2 = cnt.clone();
            let conc = env("C", 256);
            let b = RedisBackend::<Nothing>::new(&q, &format!("w{round}"), conc, env("P", 128));
            let t = Instant::now();
            let w = WorkerBuilder::new(format!("b{round}").as_str())
                .backend(b)
                .concurrency(conc)
                .build(move |_j: Nothing, w: WorkerContext| {
                    let c = c2.clone();
                    async move {
                        if c.fetch_add(1, Ordering::Relaxed) + 1 == n {
                            w.stop().unwrap()
                        }
                        Ok::<_, JobError>(())
                    }
                });
            w.run().await.unwrap();
            println!(
                "drain {:.0}/s {:?}",
                n as f64 / t.elapsed().as_secs_f64(),
                q.counts().await.unwrap()
            );
        }
    });
}
