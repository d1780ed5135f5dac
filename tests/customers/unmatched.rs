//! What a customer is told of a purchase that a person must look at, or has.

use futures::StreamExt;
use serde_json::{Value, json};

use crate::fixture::{Fixture, of};
use support::program::{awaited, stderr};

/// The studio with an address for those who need a person.
async fn open() -> Fixture {
    let studio = Fixture::open().await;
    let catalog = std::fs::read_to_string(support::shop::EXAMPLE_CATALOG).unwrap();
    let name = "name = \"Studio One\"\n";
    assert!(catalog.contains(name));
    let reachable = catalog.replace(name, &format!("{name}supportEmail = \"help@studio.example\"\n"));
    let file = studio.shop.file("reachable.toml", &reachable);
    surepass(&studio, &["catalog", "import", file.to_str().unwrap()]).await;
    studio
}

async fn surepass(studio: &Fixture, arguments: &[&str]) {
    let output = studio.shop.surepass(arguments).await;
    assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
}

/// A purchase that Stripe knows and that names nothing of ours.
async fn nameless(studio: &Fixture) -> String {
    let order = json!({"outcome": "paid", "guests": true, "email": "kari@example.com", "webhooks": "none",
        "metadata": {"userId": "kari", "tenantId": "tenant-1"}});
    studio.stripe.session_with(order).await
}

/// Asks until this address of the shop is told: the server reads a changed catalog after a moment.
async fn until_reachable(studio: &Fixture, token: &str, session: &str) -> Value {
    let asking = async {
        loop {
            let told = studio.told(token, session).await;
            if told["supportEmail"] == "help@studio.example" {
                return told;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    awaited("the shop's address", asking).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_case_that_a_person_closed_says_so_and_a_later_pass_for_the_session_wins() {
    let studio = Fixture::open().await;
    let token = studio.sign_in.token("kari").await;
    let named = of(studio.shop.session(), "kari");
    let session = named.session_id();
    let keys = ["type", "passId", "passName"];
    let nameless = keys
        .into_iter()
        .fold(named.clone(), |one, key| one.with(key, None));
    studio.shop.buy(&nameless).await;
    let open = studio.until(&token, &session, "unmatched").await;
    assert_eq!(open.get("closed"), None);
    surepass(
        &studio,
        &["unmatched", "close", &session, "--why", "paid in cash"],
    )
    .await;
    let told = studio.told(&token, &session).await;
    assert_eq!(
        [
            &told["found"],
            &told["processing"],
            &told["state"],
            &told["closed"]
        ],
        [&json!(false), &json!(false), &json!("unmatched"), &json!(true)]
    );
    assert_eq!(told["reference"], open["reference"]);
    let reference = told["reference"].as_str().unwrap();
    let message = told["message"].as_str().unwrap();
    assert!(
        message.contains("The shop has checked it and closed the case")
            && message.ends_with(&format!("Contact Studio One and quote {reference}.")),
        "{message}"
    );
    let ola = studio.sign_in.token("ola").await;
    assert_eq!(studio.told(&ola, &session).await["state"], "unknown");
    let mut listening = studio.follow(&token, &session).await;
    assert_eq!(listening.expect("unmatched").await.data, told);
    listening.expect_end().await;

    studio
        .shop
        .deliver(named.event("checkout.session.async_payment_succeeded", 2))
        .await;
    studio.until(&token, &session, "active").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_was_refunded_in_full_is_told_as_refunded_and_never_as_awaited() {
    let studio = open().await;
    let token = studio.sign_in.token("kari").await;
    let session = nameless(&studio).await;
    let reference = studio.until(&token, &session, "unmatched").await["reference"].clone();
    studio.stripe.refund(&session).await;
    surepass(&studio, &["sync", "--session", &session, "--tenant", "studio"]).await;
    let told = until_reachable(&studio, &token, &session).await;
    assert_eq!(
        [
            &told["found"],
            &told["processing"],
            &told["state"],
            &told["reference"]
        ],
        [&json!(false), &json!(false), &json!("refunded"), &reference]
    );
    assert_eq!(
        told["message"],
        "This payment was refunded in full, so there is no pass for it. Questions? Contact \
         help@studio.example."
    );
    let ola = studio.sign_in.token("ola").await;
    assert_eq!(studio.told(&ola, &session).await["state"], "unknown");
    let mut listening = studio.follow(&token, &session).await;
    assert_eq!(listening.expect("refunded").await.data, told);
    listening.expect_end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_purchase_shows_the_reference_and_the_shops_address_until_its_case_is_closed() {
    let studio = open().await;
    let token = studio.sign_in.token("kari").await;
    let dead = of(studio.shop.session(), "kari")
        .with("passId", Some("pass-none"))
        .with("passName", None);
    let session = dead.session_id();
    studio.shop.buy(&dead).await;
    studio.until(&token, &session, "failed").await;
    let told = until_reachable(&studio, &token, &session).await;
    assert_eq!(told["state"], "failed");
    let open = studio.shop.json(&["unmatched", "list", "--json"]).await;
    assert_eq!(told["reference"], open[0]["reference"]);
    let reference = told["reference"].as_str().unwrap();
    assert_eq!(
        told["message"],
        format!(
            "We received your payment but couldn't activate your pass yet. You won't be charged again. Contact \
             help@studio.example and quote {reference}."
        )
    );
    surepass(
        &studio,
        &["unmatched", "close", reference, "--why", "paid in cash"],
    )
    .await;
    let told = studio.told(&token, &session).await;
    assert_eq!(
        (&told["state"], &told["closed"], &told["reference"]),
        (&json!("unmatched"), &json!(true), &json!(reference))
    );
    assert_eq!(told.get("webhookError"), None);
}

/// The stream looks at each news of the job, and no look may make news.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_held_open_makes_at_most_two_runs_however_often_it_looks() {
    let studio = Fixture::open().await;
    let token = studio.sign_in.token("kari").await;
    let session = nameless(&studio).await;
    let mut listening = studio.follow(&token, &session).await;
    let unmatched = listening.until("unmatched").await;

    let job = format!("fulfil:{session}");
    let client = redis::Client::open(studio.shop.setting("REDIS_URL")).unwrap();
    let monitor = client.get_async_monitor().await.unwrap();
    let mut commands = monitor.into_on_message::<String>();
    let channel = studio.shop.queue().key("told");
    for _ in 0..10 {
        let news = format!("done {job}");
        studio.shop.redis(&["PUBLISH", &channel, &news]).await.unwrap();
        // Its own job's id is the last that a look asks Redis for.
        let own = format!("\"fulfil:studio:{session}\"");
        let looked = async { while !commands.next().await.unwrap().contains(&own) {} };
        awaited("a look", looked).await;
    }
    // One that comes by itself, after a quarter of a minute.
    while listening.comments == 0 {
        let block = awaited("a heartbeat", listening.block()).await.unwrap();
        assert_eq!(listening.read(&block), None, "nothing new: {}", unmatched.data);
    }
    studio.shop.settled().await;
    let counts = studio.shop.counts().await;
    assert!((1..=2).contains(&counts.done) && counts.dead == 0, "{counts:?}");
    let runs = studio.shop.store().await.lookback().runs(10).await.unwrap();
    assert!(runs.is_empty(), "{runs:?}");
}

/// What was paid for something else ends the stream at once, and never becomes a job.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_what_is_no_pass_ends_and_makes_no_job() {
    let studio = Fixture::open().await;
    let token = studio.sign_in.token("kari").await;
    let order = json!({"outcome": "paid", "guests": true, "email": "kari@example.com", "webhooks": "none",
        "metadata": {"type": "mug", "userId": "kari", "tenantId": "tenant-1"}});
    let session = studio.stripe.session_with(order).await;
    let mut listening = studio.follow(&token, &session).await;
    listening.expect("not_a_pass").await;
    listening.expect_end().await;
    assert_eq!(studio.shop.counts().await.done, 0);
}
