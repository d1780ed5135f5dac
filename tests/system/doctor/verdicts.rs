//! The doctor's first line: whether somebody has paid and has no pass, or waits too long for one.

use std::process::Output;

use surepass::stripe::signature::sign;

use crate::doctor::fixture::Fixture;
use support::program::{Program, SUREPASS, WORKER, awaited, run, stdout};
use support::shop::Shop;

const SECRET: &str = "whsec_HemmeligSignaturOfThisEndpoint";

/// Everything before the first empty line.
fn verdict(output: &Output) -> String {
    let page = stdout(output);
    let first = page.split("\n\n").next().unwrap_or_default();
    assert!(first.lines().all(|line| line.chars().count() <= 80), "{page}");
    first.replace('\n', " ")
}

async fn first_line(shop: &Shop) -> (i32, String) {
    let output = shop.surepass(&["doctor"]).await;
    (output.status.code().unwrap(), verdict(&output))
}

#[tokio::test]
async fn a_customer_who_paid_and_is_a_dead_letter_is_the_first_line() {
    let checkup = Fixture::new(true).await;
    let session = checkup.shop.session().with("passId", Some("no-such-pass"));
    let session = session.with("passName", None);
    checkup.shop.buy_as(SECRET, &session).await;
    checkup.shop.worked_off().await;
    assert_eq!(
        first_line(&checkup.shop).await,
        (
            1,
            "1 paid purchase has no pass: unresolved_pass (1); next: `surepass unmatched list`".to_owned()
        )
    );
}

#[tokio::test]
async fn customers_who_wait_while_the_queue_is_paused_are_the_first_line() {
    let checkup = Fixture::new(true).await;
    let shop = &checkup.shop;
    assert!(
        shop.surepass(&["jobs", "pause", "fulfil", "--why", "a test"])
            .await
            .status
            .success()
    );
    for _ in 0..2 {
        shop.buy_as(SECRET, &shop.session()).await;
    }
    assert_eq!(first_line(shop).await.0, 0, "nobody has waited for long yet");
    shop.enqueued_earlier(3).await;
    assert_eq!(
        first_line(shop).await,
        (
            1,
            "2 paid purchases have waited for up to 3 min: the queue is paused; next: `surepass jobs resume fulfil`"
                .to_owned()
        )
    );
}

#[tokio::test]
async fn a_key_of_the_queue_that_something_else_has_overwritten_is_the_first_line_by_its_name() {
    let checkup = Fixture::new(false).await;
    let shop = &checkup.shop;
    let key = shop.queue().key("dead");
    shop.redis(&["SET", &key, "x"]).await.unwrap();
    assert_eq!(
        first_line(shop).await,
        (
            1,
            format!(
                "Redis responds, but the queue's data in it is broken (`{key}` is a string and should be a zset): purchases are \
                 not fulfilled until it is repaired; next: move it away: `redis-cli RENAME '{key}' '{key}.broken'`"
            )
        )
    );
    shop.redis(&["RENAME", &key, &format!("{key}.broken")])
        .await
        .unwrap();
    let repaired = first_line(shop).await.1;
    assert!(!repaired.contains("broken"), "{repaired}");
}

/// What a full disk does, without one: no file of the program may grow beyond 48 kB.
fn on_a_full_disk(shop: &Shop, program: &str, arguments: &[&str]) -> tokio::process::Command {
    let script = "trap '' XFSZ; ulimit -f 96; exec \"$@\"";
    let shell = [&["-c", script, "sh", program], arguments].concat();
    shop.command_of("/bin/sh", &shell)
}

#[tokio::test]
async fn purchases_that_fail_on_a_full_disk_are_the_first_line() {
    let checkup = Fixture::new(false).await;
    let shop = &checkup.shop;
    let worker = Program::start(on_a_full_disk(shop, &WORKER, &["--no-cron"]));
    worker.says(r#""message":"working""#).await;
    for _ in 0..3 {
        shop.buy_as(SECRET, &shop.session()).await;
    }
    let failed = async {
        while shop.counts().await.scheduled < 3 {
            tokio::task::yield_now().await;
        }
    };
    awaited("three purchases that are tried again later", failed).await;
    shop.enqueued_earlier(3).await;
    let output = run(on_a_full_disk(shop, &SUREPASS, &["doctor"])).await;
    assert_eq!(output.status.code(), Some(1));
    let first = verdict(&output);
    let expected = "3 paid purchases have waited for up to 3 min: the store refuses writes: ";
    assert!(
        first.starts_with(expected) && first.contains("; next: free space (`df -h "),
        "{first}"
    );
}

#[tokio::test]
async fn webhooks_that_are_all_refused_are_the_first_line() {
    let mut checkup = Fixture::new(true).await;
    for _ in 0..8 {
        let session = checkup.shop.session();
        let answer = checkup
            .shop
            .buy_as("whsec_HemmeligAnotherEndpointsSecret", &session)
            .await;
        assert_eq!(answer.status, 400);
    }
    // As one whose clock is wrong gets it: another reason, with a cure of its own.
    let old = sign(&SECRET.into(), 1_700_000_000, b"{}");
    checkup.shop.post(b"{}".to_vec(), Some(&old)).await;
    // Without a signature it is not from Stripe.
    checkup.shop.post(b"{}".to_vec(), None).await;
    let counted = async {
        while checkup
            .shop
            .queue()
            .refusals(surepass::clock::Clock::system().now())
            .await
            .unwrap()
            .len()
            < 3
        {
            tokio::task::yield_now().await;
        }
    };
    awaited("the count of what was refused", counted).await;
    let (status, first) = first_line(&checkup.shop).await;
    assert_eq!(status, 1);
    assert!(
        first.starts_with(
            "9 webhooks were rejected in the last 10 minutes, none accepted: invalid_signature (8), stale_timestamp (1); \
             next: copy the endpoint's signing secret"
        ) && first.ends_with("; and synchronise this machine's clock (NTP)"),
        "{first}"
    );

    // Another one that is accepted shows that the secret is right: strangers can send anything.
    let session = checkup.shop.session();
    checkup.shop.buy_as(SECRET, &session).await;
    checkup.shop.settled().await;
    let found = checkup.doctor().await;
    assert_eq!(found.wrong(), <[String; 0]>::default());
    found.says("rejected in the last 10 minutes, others accepted");
    checkup.shop.set("SUREPASS_ADMIN_TOKEN", "");
    checkup
        .doctor()
        .await
        .says("Purchases/passes: every known paid purchase has its pass");
}
