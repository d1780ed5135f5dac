//! Who waits for a job hears when it stands elsewhere.

use futures::StreamExt;
use secrecy::ExposeSecret;
use surepass::queue::{Closed, JobError, JobEvents, JobWatch, RedisOptions};

use crate::silent_proxy::Way;
use crate::world::{PATIENCE, Size, World, act, hang, ok, quick, short_lease, work, works};

/// Waits for news of a job.
async fn news(watch: &mut JobWatch) {
    tokio::time::timeout(PATIENCE, watch.changed())
        .await
        .expect("no news came")
        .unwrap();
}

/// What is told, word for word.
struct Ear(redis::aio::PubSub);

impl Ear {
    async fn of(world: &World) -> Self {
        let client = redis::Client::open(world.server.url().expose_secret()).unwrap();
        let mut pubsub = client.get_async_pubsub().await.unwrap();
        pubsub.subscribe(world.queue.key("told")).await.unwrap();
        Self(pubsub)
    }

    async fn next(&mut self) -> Vec<String> {
        let mut messages = self.0.on_message();
        let message = tokio::time::timeout(PATIENCE, messages.next()).await;
        let text: String = message.expect("nothing told").unwrap().get_payload().unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wherever_a_job_comes_to_stand_is_told_by_its_state_and_id() {
    let mut config = short_lease();
    config.retry.max_attempts = 2;
    let world = World::new(config).await;
    let mut ear = Ear::of(&world).await;
    let fails = act(|job, attempt| async move {
        match (job.0.as_str(), attempt) {
            ("good", _) => Ok(()),
            ("hopeless", _) => Err(JobError::fail("test", "never").into()),
            _ => Err(JobError::retry("test", "not yet").into()),
        }
    });
    let worker = world.hire("w", Size::of(1, 0), fails);
    world.enqueue(work("good")).await;
    assert_eq!(ear.next().await, ["done good"]);
    world.enqueue(work("hopeless")).await;
    assert_eq!(ear.next().await, ["dead hopeless"]);
    world.enqueue(work("unlucky")).await;
    assert_eq!(ear.next().await, ["scheduled unlucky"]);
    assert_eq!(ear.next().await, ["dead unlucky"]);
    worker.stop().await;

    // By hand.
    world.queue.retry(&["unlucky".to_owned()]).await.unwrap();
    assert_eq!(ear.next().await, ["waiting unlucky"]);
    let script = crate::scripts::discard();
    let mut discard = crate::scripts::call(&script, &world.queue, &["sched", "dead", "lease", "stats"]);
    discard.arg("").arg(100).arg("hopeless").arg("unlucky");
    let _: Vec<String> = discard.invoke_async(&mut world.redis().await).await.unwrap();
    assert_eq!(ear.next().await, ["discarded hopeless", "discarded unlucky"]);

    // Its worker dies.
    world.enqueue(work("orphan")).await;
    let mut dying = world.hire("dying", Size::of(1, 0), hang());
    dying.next().await;
    dying.crash().await;
    let mut heir = world.hire("heir", Size::of(1, 0), ok());
    assert_eq!(ear.next().await, ["waiting orphan"]);
    heir.until_ended(1).await;
    assert_eq!(ear.next().await, ["done orphan"]);
    heir.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_settled_together_is_told_together() {
    let world = World::new(quick()).await;
    let mut ear = Ear::of(&world).await;
    world.queue.enqueue(&works(0..1_000)).await.unwrap();
    let _: () = world.ask(&["CONFIG", "RESETSTAT"]).await;
    let mut worker = world.hire("w", Size::of(256, 128), ok());
    worker.until_ended(1_000).await;
    let (mut messages, mut jobs) = (0, Vec::new());
    while jobs.len() < 1_000 {
        messages += 1;
        jobs.extend(ear.next().await);
    }
    jobs.sort();
    jobs.dedup();
    assert_eq!(jobs.len(), 1_000);
    // Beside claims and renewals, these are the calls that settled.
    let calls = world.command_calls().await;
    assert!(
        messages < 500 && messages <= calls["evalsha"],
        "{messages}: {calls:?}"
    );
    // Nothing waits a second time, so nobody is woken: all that is published is this.
    assert_eq!(calls["publish"], messages);
    worker.stop().await;
}

// One thread: all wait before the first connection is there.
#[tokio::test]
async fn each_who_waits_for_a_job_hears_of_it_and_of_no_other_within_one_subscription() {
    let world = World::new(quick()).await;
    let events = JobEvents::of(&world.queue);
    let mut first = events.watch("job-0").unwrap();
    let mut second = events.watch("job-0").unwrap();
    let mut other = events.watch("job-1").unwrap();
    // That somebody listens now is news, too.
    news(&mut first).await;
    news(&mut second).await;
    news(&mut other).await;
    // Without pushes these rounds would never end.
    for _ in 0..100 {
        world.enqueue(work("job-0")).await;
        let worker = world.hire("w", Size::of(1, 0), ok());
        news(&mut first).await;
        news(&mut second).await;
        worker.stop().await;
    }
    assert!(futures::FutureExt::now_or_never(other.changed()).is_none());
    let listeners: (String, usize) = world.ask(&["PUBSUB", "NUMSUB", &world.queue.key("told")]).await;
    assert_eq!(listeners.1, 1);

    // Who has gone leaves nothing behind.
    drop((first, second));
    assert!(!format!("{events:?}").contains("job-0"));
    assert!(format!("{events:?}").contains("job-1"));
    events.close();
    assert_eq!(other.changed().await, Err(Closed));
    assert_eq!(events.watch("job-2").unwrap_err(), Closed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_nobody_waits_nobody_listens() {
    let world = World::new(quick()).await;
    let events = JobEvents::of(&world.queue);
    let mut worker = world.hire("w", Size::of(1, 0), ok());
    world.enqueue(work("job")).await;
    worker.until_ended(1).await;
    let listeners: (String, usize) = world.ask(&["PUBSUB", "NUMSUB", &world.queue.key("told")]).await;
    assert_eq!(listeners.1, 0);
    let mut watch = events.watch("job").unwrap();
    news(&mut watch).await;
    worker.stop().await;
}

// One thread: all wait before the first connection is there.
#[tokio::test]
async fn who_waits_looks_again_after_a_gap_since_redis_forgets_what_nobody_hears() {
    let mut world = World::durable(quick()).await;
    let events = JobEvents::of(&world.queue);
    let mut all: Vec<_> = (0..200)
        .map(|n| events.watch(&format!("job-{n}")).unwrap())
        .collect();
    for watch in &mut all {
        news(watch).await;
    }
    // Nobody publishes anything here: all of it is news of the gap.
    let _: usize = world.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    for watch in &mut all {
        news(watch).await;
    }
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(i32::try_from(world.server.pid().unwrap()).unwrap()),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
    world.server.wait().await.unwrap();
    world.server.restart().await.unwrap();
    for watch in &mut all {
        news(watch).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_whose_other_end_has_vanished_without_a_word_is_given_up() {
    let world = World::new(quick()).await;
    let way = Way::to(&world).await;
    let queue = way.queue(&world, RedisOptions::default());
    let events = JobEvents::of(&queue);
    let mut watch = events.watch("job").unwrap();
    news(&mut watch).await;
    assert_eq!(way.connections(), 1);
    way.vanish().await;
    news(&mut watch).await;
    let mut worker = world.hire("w", Size::of(1, 0), ok());
    world.enqueue(work("job")).await;
    worker.until_ended(1).await;
    news(&mut watch).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_does_not_let_us_tell_settles_all_the_same() {
    let world = World::new(quick()).await;
    world.enqueue(work("job")).await;
    let channel = world.queue.key("told");
    // `wake` may be published, `told` not, as by a list of channels of before it was there.
    let _: () = world
        .ask(&[
            "ACL",
            "SETUSER",
            "default",
            "resetchannels",
            &format!("&{}", world.queue.key("wake")),
        ])
        .await;
    let mut worker = world.hire("w", Size::of(1, 0), ok());
    worker.until_ended(1).await;
    world.until_counts([0, 0, 0, 0]).await;
    assert_eq!(world.queue.counts().await.unwrap().done, 1);
    let log: Vec<redis::Value> = world.ask(&["ACL", "LOG"]).await;
    assert!(format!("{log:?}").contains(&channel), "{log:?}");
    worker.stop().await;
}
