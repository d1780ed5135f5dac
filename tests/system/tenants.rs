//! `/webhooks/stripe/{tenant}`: a tenant's own secrets.

use serde_json::json;
use surepass::store::WebhookSecrets;

use support::answer::Answer;
use support::program::eventually;
use support::shop::{COMPLETED, Shop, WEBHOOK_SECRET};

const PLATFORM: &str = WEBHOOK_SECRET;
const OWN: &str = "whsec_HemmeligYoga";
const ROLLED: &str = "whsec_HemmeligYogaNew";

/// Adds a tenant `yoga` with a webhook endpoint of its own.
async fn import_yoga(shop: &Shop, secrets: &[&str]) {
    let catalog = json!({"tenants": [{
        "id": "tenant-2", "slug": "yoga", "name": "Yoga", "timeZone": "Europe/Oslo", "webhookSecrets": secrets,
        "passes": [{"id": "pass-10", "name": "10 classes", "type": "multi", "classesLimit": 10, "price": 150_000,
            "currency": "nok", "validityType": "days", "validityDays": 90, "isActive": true}],
    }]});
    let file = shop.file("yoga.json", &catalog.to_string());
    let imported = shop
        .surepass(&["catalog", "import", file.to_str().unwrap()])
        .await;
    assert!(imported.status.success(), "{imported:?}");
}

#[tokio::test]
async fn a_tenants_own_secret_is_taken_at_its_own_endpoint_and_refused_elsewhere() {
    let shop = Shop::open().await;
    import_yoga(&shop, &[OWN]).await;
    let yoga = || shop.session().with("tenantId", Some("tenant-2"));

    let session = yoga();
    assert_eq!(
        shop.deliver_to("yoga", OWN, session.event(COMPLETED, 1)).await,
        Answer::accepted()
    );
    let refused = shop
        .deliver_to("yoga", PLATFORM, yoga().event(COMPLETED, 1))
        .await;
    assert_eq!(refused.refusal(), (400, "invalid_signature"));
    let refused = shop
        .deliver_to("studio", OWN, shop.session().event(COMPLETED, 1))
        .await;
    assert_eq!(refused.refusal(), (400, "invalid_signature"));
    let body = yoga().event(COMPLETED, 1);
    let header = support::shop::signed(OWN, &body);
    assert_eq!(
        shop.post(body, Some(&header)).await.refusal(),
        (400, "invalid_signature")
    );

    // A tenant without secrets of its own takes the platform's, at its own path too.
    let studio = shop.session();
    assert_eq!(
        shop.deliver_to("studio", PLATFORM, studio.event(COMPLETED, 1))
            .await,
        Answer::accepted()
    );
    shop.settled().await;
    assert_eq!(
        shop.fulfilled().await,
        [session.session_id(), studio.session_id()]
    );
    let of_yoga = shop
        .json(&["subscriptions", "list", "--json", "--tenant", "yoga"])
        .await;
    assert_eq!(of_yoga.as_array().unwrap().len(), 1);
    assert_eq!(of_yoga[0]["tenant"], "tenant-2");
}

#[tokio::test]
async fn the_path_of_an_unknown_tenant_is_a_404() {
    let shop = Shop::open().await;
    for slug in ["nobody", "STUDIO", "studio%20", "tenant-1"] {
        let answer = shop
            .deliver_to(slug, PLATFORM, shop.session().event(COMPLETED, 1))
            .await;
        assert_eq!(answer.refusal(), (404, "unknown_tenant"), "{slug}");
    }
    assert_eq!(shop.counts().await.done, 0);
}

#[tokio::test]
async fn while_the_store_is_away_a_tenant_that_is_not_known_yet_is_a_503_and_never_unknown() {
    let mut shop = Shop::prepare("").await;
    // A database that takes connections and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("postgres://surepass@{}/surepass", silent.local_addr().unwrap());
    shop.set("DATABASE_URL", &address);
    shop.start_server().await;
    let session = shop.session();
    let answer = shop.deliver_to("yoga", OWN, session.event(COMPLETED, 1)).await;
    assert_eq!(answer.refusal(), (503, "unavailable"));
    // The platform's own endpoint needs no store.
    assert_eq!(shop.buy(&session).await, Answer::accepted());
}

#[tokio::test]
async fn what_names_no_tenant_and_is_dead_is_fulfilled_when_it_comes_by_a_tenants_path() {
    let shop = Shop::open().await;
    import_yoga(&shop, &[OWN]).await;
    let session = shop.session().with("tenantId", None);
    assert_eq!(shop.buy(&session).await, Answer::accepted());
    shop.settled().await;
    let job = format!("fulfil:{}", session.session_id());
    let reason = shop.queue().death(&job).await.unwrap();
    assert_eq!(reason.as_deref(), Some("unresolved_tenant"));
    // Stripe tells both endpoints of it, each by an event of its own.
    let answer = shop.deliver_to("yoga", OWN, session.event(COMPLETED, 2)).await;
    assert_eq!(answer, Answer::accepted());
    shop.settled().await;
    assert_eq!(shop.subscriptions().await[0]["tenant"], "tenant-2");
    assert_eq!(shop.counts().await.dead, 0);
}

#[tokio::test]
async fn rule_3_a_purchase_that_names_another_tenant_than_its_path_is_that_tenants_and_no_dead_letter() {
    let shop = Shop::open().await;
    import_yoga(&shop, &[OWN]).await;
    let session = shop.session();
    assert_eq!(
        shop.deliver_to("yoga", OWN, session.event(COMPLETED, 1)).await,
        Answer::accepted()
    );
    shop.settled().await;
    assert!(shop.subscriptions().await.is_empty());
    assert_eq!((shop.counts().await.done, shop.counts().await.dead), (1, 0));
    // The same event at its own tenant's path is no double.
    let answer = shop
        .deliver_to("studio", PLATFORM, session.event(COMPLETED, 1))
        .await;
    assert_eq!(answer, Answer::accepted());
    shop.settled().await;
    assert_eq!(shop.fulfilled().await, [session.session_id()]);
    assert_eq!(shop.subscriptions().await[0]["tenant"], "tenant-1");
}

#[tokio::test]
async fn a_tenants_secret_takes_no_key_of_another_tenants_purchase() {
    let mut shop = Shop::prepare("").await;
    shop.start_server().await;
    import_yoga(&shop, &[OWN]).await;
    // Yoga names the studio's session, and its event, before the studio's own webhook comes.
    let session = shop.session();
    let forged = shop.deliver_to("yoga", OWN, session.event(COMPLETED, 1)).await;
    assert_eq!(forged, Answer::accepted());
    assert_eq!(shop.buy(&session).await, Answer::accepted());
    assert_eq!(shop.buy(&session).await, Answer::duplicate());
    shop.start_worker().await;
    shop.settled().await;
    assert_eq!(shop.fulfilled().await, [session.session_id()]);
    assert_eq!(shop.counts().await.dead, 0);
}

#[tokio::test]
async fn commands_take_a_bare_session_and_find_the_jobs_of_both_keys() {
    let mut shop = Shop::prepare("").await;
    shop.start_server().await;
    import_yoga(&shop, &[OWN]).await;
    let session = shop.session().with("passId", Some("pass-unheard-of"));
    let session = session.with("passName", None).with("tenantId", Some("tenant-2"));
    let id = session.session_id();
    shop.deliver_to("yoga", OWN, session.event(COMPLETED, 1)).await;
    let own = shop.json(&["jobs", "show", &id, "--json"]).await;
    assert_eq!(own["id"], json!(format!("fulfil:yoga:{id}")));
    shop.buy(&session).await;
    shop.start_worker().await;
    shop.settled().await;
    assert_eq!(shop.counts().await.dead, 2);
    let both = shop.json(&["jobs", "show", &id, "--json"]).await;
    let ids: Vec<_> = both.as_array().unwrap().iter().map(|life| &life["id"]).collect();
    assert_eq!(ids, [&format!("fulfil:{id}"), &format!("fulfil:yoga:{id}")]);
    let retried = shop.surepass(&["jobs", "retry", &id]).await;
    assert!(retried.status.success(), "{retried:?}");
    shop.settled().await;
    let discarded = shop.surepass(&["jobs", "discard", &id, "--why", "a test"]).await;
    assert!(discarded.status.success(), "{discarded:?}");
    assert_eq!(shop.counts().await.dead, 0);
}

#[tokio::test]
async fn a_secret_rolled_by_importing_again_takes_effect_while_the_server_runs() {
    let shop = Shop::open().await;
    import_yoga(&shop, &[OWN]).await;
    let send = async |secret| {
        let session = shop.session().with("tenantId", Some("tenant-2"));
        shop.deliver_to("yoga", secret, session.event(COMPLETED, 1)).await
    };
    assert_eq!(send(OWN).await, Answer::accepted());
    assert_eq!(send(ROLLED).await.refusal(), (400, "invalid_signature"));
    import_yoga(&shop, &[ROLLED]).await;
    for (secret, status) in [(ROLLED, 200), (OWN, 400)] {
        eventually(secret, async || send(secret).await.status == status).await;
    }
    assert_eq!(send(ROLLED).await, Answer::accepted());
}

/// Fairness between tenants begins here: a job waits in its tenant's own line.
#[tokio::test]
async fn a_purchase_waits_in_its_tenants_line_named_by_path_or_metadata() {
    let mut shop = Shop::prepare("").await;
    shop.start_server().await;
    import_yoga(&shop, &[OWN]).await;
    let by_path = shop.session().with("tenantId", Some("tenant-2"));
    shop.deliver_to("yoga", OWN, by_path.event(COMPLETED, 1)).await;
    let by_metadata = shop.session();
    shop.deliver(by_metadata.event(COMPLETED, 1)).await;
    let hostile = shop.session().with("tenantId", Some("a b\n{c}:\u{1b}[31m"));
    shop.deliver(hostile.event(COMPLETED, 1)).await;

    let mut lines = Vec::new();
    for (prover, session) in [("yoga:", &by_path), ("", &by_metadata), ("", &hostile)] {
        lines.push(line_of(&shop, &format!("fulfil:{prover}{}", session.session_id())).await);
    }
    assert_eq!(lines[..2], ["yoga", "tenant-1"]);
    assert!(lines[2].starts_with('~') && lines[2].is_ascii(), "{lines:?}");
    assert!(
        lines[2]
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'~'),
        "{lines:?}"
    );
}

/// In whose line a job waits.
async fn line_of(shop: &Shop, id: &str) -> String {
    let queue = shop.queue();
    let text = |value| redis::from_redis_value::<Vec<String>>(value).unwrap();
    let turn = shop
        .redis(&["ZRANGE", &queue.key("turn"), "0", "-1"])
        .await
        .unwrap();
    for group in text(turn) {
        let line = queue.key(&format!("wait:{group}"));
        let waiting = shop.redis(&["LRANGE", &line, "0", "-1"]).await.unwrap();
        if text(waiting).iter().any(|waits| waits == id) {
            return group;
        }
    }
    panic!("{id} waits nowhere");
}

#[tokio::test]
async fn a_tenant_whose_stored_secret_is_unusable_lets_nobody_in_until_it_is_imported_again() {
    an_unusable_secret_lets_nobody_in(&format!("\"{OWN}\""), "is in quotes").await;
}

#[tokio::test]
async fn a_tenant_whose_stored_secret_is_blank_lets_nobody_in_and_the_log_and_the_doctor_say_so() {
    an_unusable_secret_lets_nobody_in(" ", "is empty").await;
}

async fn an_unusable_secret_lets_nobody_in(unusable: &str, why: &str) {
    let shop = Shop::open().await;
    import_yoga(&shop, &[OWN]).await;
    // As an older version has stored it.
    let store = shop.store().await;
    let mut tenants = store.catalog().all().await.unwrap();
    tenants.retain(|tenant| tenant.slug == "yoga");
    let stored = WebhookSecrets::from([(tenants[0].id.clone(), vec![unusable.into()])]);
    store.catalog().import(&tenants, &stored).await.unwrap();
    let session = shop.session().with("tenantId", Some("tenant-2"));
    let body = session.event(COMPLETED, 1);
    for secret in [OWN, unusable, PLATFORM] {
        assert!(
            shop.deliver_to("yoga", secret, body.clone())
                .await
                .is_come_again(),
            "{secret}"
        );
    }
    shop.servers[0]
        .program
        .says(&format!("a stored webhook secret {why}"))
        .await;
    let doctor = shop.surepass(&["doctor"]).await;
    let text = String::from_utf8_lossy(&doctor.stdout)
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    assert!(
        text.contains("webhooks of yoga get 503: a stored webhook secret") && text.contains(why),
        "{text}"
    );
    import_yoga(&shop, &[OWN]).await;
    eventually("it is let in", async || {
        shop.deliver_to("yoga", OWN, body.clone()).await == Answer::accepted()
    })
    .await;
}

#[tokio::test]
async fn only_the_intake_reads_secrets_and_only_those_of_the_endpoint_that_is_used() {
    let mut shop = Shop::prepare("").await;
    import_yoga(&shop, &[OWN]).await;
    shop.set("RUST_LOG", "info,surepass::sql=trace");
    shop.start_server().await;
    shop.start_worker().await;
    for stranger in ["a", "b", "c", "d", "e"] {
        let answer = shop
            .deliver_to(stranger, OWN, shop.session().event(COMPLETED, 1))
            .await;
        assert_eq!(answer.refusal(), (404, "unknown_tenant"));
    }
    for _ in 0..5 {
        let session = shop.session().with("tenantId", Some("tenant-2"));
        let answer = shop.deliver_to("yoga", OWN, session.event(COMPLETED, 1)).await;
        assert_eq!(answer, Answer::accepted());
    }
    shop.settled().await;
    assert_eq!(shop.subscriptions().await.len(), 5);
    let (server, worker) = (shop.servers[0].program.said(), shop.workers[0].said());
    let count = |said: &str, words: &str| said.lines().filter(|line| line.contains(words)).count();
    assert_eq!(
        count(&server, "webhook_secrets FROM tenants WHERE id"),
        1,
        "{server}"
    );
    assert_eq!(count(&server, "webhook_secrets"), 1, "{server}");
    assert_eq!(count(&server, "FROM passes"), 0, "{server}");
    assert_eq!(count(&worker, "webhook_secrets"), 0, "{worker}");
    assert_eq!(count(&worker, "FROM passes WHERE tenant_id = $1"), 1, "{worker}");
    assert_eq!(count(&worker, "FROM passes"), 1, "{worker}");
}
