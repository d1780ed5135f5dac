//! SIGTERM, once and twice, to a server and to a worker that have their hands full.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::join_all;
use nix::sys::signal::Signal;
use surepass::up::sample::SampleSession;

use support::answer::Answer;
use support::customers::Customers;
use support::shop::{COMPLETED, Shop};

/// A shop whose worker is in the middle of eight jobs, since the store is locked.
async fn busy(settings: &str) -> (Shop, Vec<SampleSession>, support::shop::mishaps::StoreLock) {
    let shop = Shop::open_with(settings).await;
    let lock = shop.lock_store().await;
    let sessions: Vec<_> = (0..8).map(|_| shop.session()).collect();
    for session in &sessions {
        assert_eq!(shop.buy(session).await, Answer::accepted());
    }
    shop.running(8).await;
    (shop, sessions, lock)
}

/// All of them are fulfilled, each at its first attempt: a job handed back is not at fault.
async fn fulfilled_at_first_attempt(shop: &Shop, sessions: &[SampleSession]) {
    shop.settled().await;
    let ids: Vec<_> = sessions.iter().map(SampleSession::session_id).collect();
    assert_eq!(shop.fulfilled().await, ids);
    for id in ids {
        assert_eq!(shop.attempts(&format!("fulfil:{id}")).await, 1);
    }
}

#[tokio::test]
async fn after_sigterm_a_server_finishes_its_open_requests_and_exits_0() {
    let mut shop = Shop::open_with("[server]\nredis_timeout_ms = 20000").await;
    shop.signal_redis(Signal::SIGSTOP);
    let sessions: Vec<_> = (0..20).map(|_| shop.session()).collect();
    let open = join_all(
        sessions
            .iter()
            .map(|session| shop.try_deliver(0, session.event(COMPLETED, 1))),
    );
    let sigterm = async {
        // New connections go to each thread in turn, and each answers after it has read what came before.
        for _ in 0..8 {
            assert_eq!(shop.get(0, "/healthz").await, 200);
        }
        let server = &shop.servers[0].program;
        server.signal(Signal::SIGTERM);
        server.says("finishing open requests").await;
        shop.signal_redis(Signal::SIGCONT);
    };
    let (answers, ()) = tokio::join!(open, sigterm);
    for answer in answers {
        assert_eq!(answer.unwrap(), Answer::accepted());
    }
    assert!(shop.servers[0].program.ended().await.success());
    shop.settled().await;
    assert_eq!(shop.subscriptions().await.len(), 20);
}

#[tokio::test]
async fn sigterm_to_a_server_under_load_loses_and_doubles_nothing() {
    let mut shop = Shop::open().await;
    shop.start_server().await;
    let customers = Customers::default();
    let sigterm = async {
        customers.wait_for(&customers.accepted, 50).await;
        shop.servers[0].program.signal(Signal::SIGTERM);
        customers.wait_for(&customers.refused, 1).await;
        customers.closed.store(true, Ordering::Relaxed);
    };
    tokio::join!(customers.buy(&shop), sigterm);
    assert!(shop.servers[0].program.ended().await.success());
    customers.all_get_their_passes(&shop, 1, Duration::ZERO).await;
}

#[tokio::test]
async fn after_sigterm_a_worker_finishes_its_running_jobs_and_exits_0() {
    let (mut shop, sessions, lock) = busy("").await;
    shop.workers[0].signal(Signal::SIGTERM);
    shop.workers[0].says("running jobs finish").await;
    // It takes no new ones.
    let late = shop.session();
    assert_eq!(shop.buy(&late).await, Answer::accepted());
    lock.release().await;
    assert!(shop.workers[0].ended().await.success());
    let counts = shop.counts().await;
    assert_eq!((counts.running, counts.waiting, counts.done), (0, 1, 8));
    shop.start_worker().await;
    fulfilled_at_first_attempt(&shop, &[sessions, vec![late]].concat()).await;
}

#[tokio::test]
async fn when_the_grace_ends_with_the_store_locked_running_jobs_go_back_and_the_worker_exits_0() {
    let (mut shop, sessions, lock) = busy("[worker]\ngrace_seconds = 1").await;
    shop.workers[0].signal(Signal::SIGTERM);
    assert!(shop.workers[0].ended().await.success());
    let counts = shop.counts().await;
    assert_eq!((counts.running, counts.waiting, counts.done), (0, 8, 0));
    lock.release().await;
    shop.start_worker().await;
    fulfilled_at_first_attempt(&shop, &sessions).await;
}

#[tokio::test]
async fn a_second_sigterm_ends_a_worker_at_once_with_nothing_lost() {
    // Neither the grace nor the lease would end within this test.
    let (mut shop, sessions, lock) =
        busy("[worker]\ngrace_seconds = 3600\n[queue]\nlease_seconds = 3600").await;
    shop.workers[0].signal(Signal::SIGTERM);
    shop.workers[0].says("running jobs finish").await;
    shop.workers[0].signal(Signal::SIGTERM);
    assert!(shop.workers[0].ended().await.success());
    let counts = shop.counts().await;
    assert_eq!((counts.running, counts.waiting, counts.done), (0, 8, 0));
    lock.release().await;
    shop.start_worker().await;
    fulfilled_at_first_attempt(&shop, &sessions).await;
}

#[tokio::test]
async fn sigterm_to_one_of_two_workers_under_load_loses_and_doubles_nothing() {
    let mut shop = Shop::open().await;
    shop.start_worker().await;
    let customers = Customers::default();
    let sigterm = async {
        customers.wait_for(&customers.accepted, 50).await;
        shop.workers[0].signal(Signal::SIGTERM);
        customers.wait_for(&customers.accepted, 50).await;
        customers.closed.store(true, Ordering::Relaxed);
    };
    tokio::join!(customers.buy(&shop), sigterm);
    assert!(shop.workers[0].ended().await.success());
    customers.all_get_their_passes(&shop, 0, Duration::ZERO).await;
}
