//! What a press of "Missing Pass?" costs the store.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha2::Sha256;
use sqlx::{Connection, Executor, PgConnection};

use support::postgres::Cluster;
use support::program::PATIENCE;
use support::shop::{Shop, now};

/// The statements that PostgreSQL has logged so far.
async fn logged(cluster: &Cluster) -> Vec<String> {
    let mut connection = PgConnection::connect(&cluster.url("postgres")).await.unwrap();
    let log = "SELECT pg_read_file(current_setting('data_directory') || '/../log')";
    let log: String = sqlx::query_scalar(log).fetch_one(&mut connection).await.unwrap();
    let is_statement = |line: &&str| line.contains("LOG:  execute ") || line.contains("LOG:  statement: ");
    log.lines().filter(is_statement).map(str::to_owned).collect()
}

const SECRET: &str = "Hemmelig-noekkel-av-over-32-tegn";

fn token(user: &str) -> String {
    let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({"sub": user, "exp": now().timestamp() + 3_600});
    let signed = format!("{}.{}", part(json!({"alg": "HS256", "typ": "JWT"})), part(claims));
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

#[tokio::test]
async fn a_sync_that_is_waited_for_costs_a_few_statements_however_often_it_is_looked_at() {
    let cluster = Arc::new(Cluster::start());
    cluster.make("shop").await;
    let mut shop = Shop::empty("").await;
    shop.set("DATABASE_URL", &cluster.url("shop"));
    shop.set("SUREPASS_JWT_SECRET", SECRET);
    shop.import_example().await;
    let mut connection = PgConnection::connect(&cluster.url("postgres")).await.unwrap();
    connection
        .execute("ALTER DATABASE shop SET log_statement = 'all'")
        .await
        .unwrap();
    // No worker: the customer waits for as long as anybody does.
    shop.start_server().await;
    let before = logged(&cluster).await.len();
    let url = format!("http://{}/api/user/sync-subscriptions", shop.servers[0].address);
    let client = surepass::http_client::http().timeout(PATIENCE).build().unwrap();
    let request = client
        .post(url)
        .bearer_auth(token("kari"))
        .header("x-tenant-slug", "studio");
    let answer: serde_json::Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["processing"], true, "{answer}");
    let statements = logged(&cluster).await.split_off(before);
    assert!(
        (1..=40).contains(&statements.len()),
        "{}: {statements:#?}",
        statements.len()
    );
}
