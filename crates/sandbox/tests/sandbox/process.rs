//! The sandbox as a program: how it starts, what it refuses, how it stops.

use nix::sys::signal::Signal;
use reqwest::Method;
use serde_json::json;

use support::program::{Program, command, run, stderr, stdout};
use support::stripe_sandbox::{SANDBOX, StripeSandbox};

#[tokio::test]
async fn its_help_says_that_no_money_moves() {
    let help = stdout(&run(command(&SANDBOX, &["--help"], &[])).await);
    assert!(help.contains("No money moves"), "{help}");
    assert!(help.contains("[default: 127.0.0.1:12111]"), "{help}");
}

#[tokio::test]
async fn what_cannot_be_is_refused_at_the_start_with_the_reason() {
    let taken = StripeSandbox::start(&[]).await;
    let address = taken.url.trim_start_matches("http://");
    for (arguments, status, words) in [
        (vec!["--bind", address], 1, "cannot listen on"),
        (
            vec!["--bind", "127.0.0.1:0", "--retry-scale=-1"],
            1,
            "--retry-scale",
        ),
        (
            vec!["--bind", "127.0.0.1:0", "--retry-scale=NaN"],
            1,
            "--retry-scale",
        ),
        (vec!["--faults", r#"{"deliveries":{"dorp":1}}"#], 2, "dorp"),
        (
            vec!["--bind", "127.0.0.1:0", "--faults", r#"{"api":{"error":200}}"#],
            1,
            "from 0 to 100",
        ),
    ] {
        let ended = run(command(&SANDBOX, &arguments, &[])).await;
        assert_eq!(
            ended.status.code(),
            Some(status),
            "{arguments:?}: {}",
            stderr(&ended)
        );
        assert!(
            stderr(&ended).contains(words),
            "{arguments:?}: {}",
            stderr(&ended)
        );
    }
}

#[tokio::test]
async fn told_to_stop_it_stops_though_a_call_hangs() {
    let mut program = Program::start(command(&SANDBOX, &["--bind", "127.0.0.1:0"], &[]));
    let line = program.says("listening on").await;
    let url = line.trim_start_matches("listening on ").to_owned();
    let client = surepass::http_client::http().no_proxy().build().unwrap();
    let order = client.request(Method::PUT, format!("{url}/_sandbox/faults"));
    let order = order.json(&json!({"api": {"hang": 100}})).send().await.unwrap();
    assert!(order.status().is_success());
    let hanging = tokio::spawn(client.get(format!("{url}/v1/events")).send());
    let hangs = async {
        loop {
            let log = client
                .get(format!("{url}/_sandbox/requests"))
                .send()
                .await
                .unwrap();
            if log.json::<serde_json::Value>().await.unwrap()["total"] == 1 {
                break;
            }
        }
    };
    support::program::awaited("the call that hangs", hangs).await;
    program.signal(Signal::SIGTERM);
    assert!(program.ended().await.success());
    assert!(hanging.await.unwrap().is_err(), "it got no answer");
}

#[tokio::test]
async fn an_endpoint_may_be_given_at_the_start_with_its_secret() {
    let mailbox = crate::mailbox::Mailbox::open();
    let sandbox = StripeSandbox::start(&["--webhook", &mailbox.url, "--webhook-secret", "whsec_given"]).await;
    sandbox.purchases(json!({"guests": true})).await;
    sandbox.delivered().await;
    let letters = mailbox.letters();
    assert_eq!(letters.len(), 3);
    let clock = sandbox
        .control(Method::GET, "clock", serde_json::Value::Null)
        .await;
    let now = clock["now"].as_str().unwrap().parse().unwrap();
    assert!(
        letters
            .iter()
            .all(|letter| letter.is_signed_with("whsec_given", now))
    );
}
