//! Faults 14 and 15 with the real program: two processes under one worker name, and a worker whose end nobody notices.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use secrecy::ExposeSecret;

use crate::world::{World, quick};
use support::ports::free_port;

struct Process {
    child: Child,
    port: u16,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    fn start(world: &World) -> Self {
        let port = free_port();
        let store = format!("sqlite://{}", world.folder().join("shop.db").display());
        let child = Command::new(&*support::program::WORKER)
            .env("REDIS_URL", world.server.url().expose_secret())
            .env("DATABASE_URL", store)
            .env("SUREPASS_CONFIG", world.folder())
            .env("SUREPASS_METRICS_BIND", format!("127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, port }
    }

    async fn until_status(&self, path: &str, status: u16) {
        let url = format!("http://127.0.0.1:{}{path}", self.port);
        let client = surepass::http_client::http()
            .timeout(Duration::from_secs(10))
            .build()
            .unwrap();
        let mut last = None;
        let asking = async {
            loop {
                last = client
                    .get(&url)
                    .send()
                    .await
                    .ok()
                    .map(|answer| answer.status().as_u16());
                if last == Some(status) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let ended = tokio::time::timeout(crate::world::PATIENCE, asking).await;
        assert!(ended.is_ok(), "{path} answers {last:?} instead of {status}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_14_two_processes_of_one_machine_never_share_a_worker_name() {
    let world = World::new(quick()).await;
    let processes = [
        Process::start(&world),
        Process::start(&world),
        Process::start(&world),
    ];
    for process in &processes {
        process.until_status("/readyz", 200).await;
    }
    let lease = world.queue.key("lease");
    let names = async {
        loop {
            let names: Vec<String> = world.ask(&["ZRANGE", &lease, "0", "-1"]).await;
            if names.len() >= 3 {
                return names;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let names = tokio::time::timeout(crate::world::PATIENCE, names)
        .await
        .expect("three workers under fewer than three names");
    assert_eq!(names.len(), 3, "{names:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_15_after_the_pool_has_died_the_process_lives_on_in_silence_readyz_tells_and_it_comes_back() {
    let mut world = World::durable(quick()).await;
    let mut process = Process::start(&world);
    process.until_status("/readyz", 200).await;
    let pid = nix::unistd::Pid::from_raw(i32::try_from(world.server.pid().unwrap()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    world.server.wait().await.unwrap();
    process.until_status("/readyz", 503).await;
    process.until_status("/healthz", 200).await;
    world.server.restart().await.unwrap();
    process.until_status("/readyz", 200).await;
    // Not only its endpoint is back: it takes a job, which it cannot read.
    let _: () = world
        .ask(&["SET", &world.queue.key("data:odd"), "fulfil 1 0 0\n"])
        .await;
    let _: () = world.ask(&["RPUSH", &world.queue.key("wait"), "odd"]).await;
    world.until_counts([0, 0, 0, 1]).await;
    assert!(process.child.try_wait().unwrap().is_none());
    // Told to end, it ends, in good order.
    let pid = nix::unistd::Pid::from_raw(i32::try_from(process.child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    let status = tokio::task::spawn_blocking(move || process.child.wait().unwrap())
        .await
        .unwrap();
    assert_eq!(status.code(), Some(0));
}
