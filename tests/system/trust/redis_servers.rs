//! `rediss://`, `rediss+sentinel://` and `rediss+cluster://`.

use std::path::Path;

use tempfile::TempDir;

use crate::trust::authority::{Authority, Certificate, Environment, NOT_TRUSTED, self_signed};
use support::program::WORKER;
use support::redis_node::{Node, free_port};
use support::shop::Shop;

const LIST: &[&str] = &["jobs", "list"];

/// A server that speaks TLS on a port of its own, and plainly on another one, for the test.
struct Secure {
    node: Node,
    tls_port: u16,
}

impl Secure {
    async fn start(folder: &Path, certificate: &Certificate, arguments: &[&str]) -> Self {
        let secure = Self::launch(folder, free_port(), certificate, arguments);
        secure.node.until(&["PING"], |pong: &String| pong == "PONG").await;
        secure
    }

    fn launch(folder: &Path, port: u16, certificate: &Certificate, arguments: &[&str]) -> Self {
        let tls_port = free_port();
        let (number, file) = (tls_port.to_string(), certificate.file.to_str().unwrap());
        let tls = [
            "--tls-port",
            &number,
            "--tls-cert-file",
            file,
            "--tls-key-file",
            certificate.key.to_str().unwrap(),
            "--tls-ca-cert-file",
            file,
            "--tls-auth-clients",
            "no",
        ];
        let node = Node::start(folder, port, &[&tls, arguments].concat());
        Self { node, tls_port }
    }

    fn url(&self, host: &str) -> String {
        format!("rediss://{host}:{}", self.tls_port)
    }
}

/// An authority, and a server with a certificate of it for `localhost`.
async fn server() -> (TempDir, Authority, Secure) {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let server = Secure::start(folder.path(), &authority.certificate(&["localhost"]), &[]).await;
    (folder, authority, server)
}

#[tokio::test]
async fn a_redis_of_a_private_ca_is_refused_with_how_to_fix_it_and_taken_once_the_ca_is_named() {
    let (folder, authority, server) = server().await;
    let url = server.url("localhost");
    let programs = Environment::new(folder.path(), &[("REDIS_URL", &url)]);
    let refusal = programs.refusal(&[], LIST).await;
    assert!(
        refusal.contains(&format!("REDIS_URL, `{url}`: Redis: {NOT_TRUSTED}")),
        "{refusal}"
    );
    programs.is_not_trusted("Redis", "connection").await;
    programs.is_not_trusted("Purchases", "passes").await;
    programs
        .works(&[("SSL_CERT_FILE", &authority.file())], LIST)
        .await;
    programs
        .works(&[("SSL_CERT_DIR", &authority.folder())], LIST)
        .await;
    let several = format!("/nowhere:{}", authority.folder());
    programs.works(&[("SSL_CERT_DIR", &several)], LIST).await;
    // An empty variable counts as unset: `${NAME:-}` in a compose file.
    let empty = [("SSL_CERT_FILE", ""), ("SSL_CERT_DIR", "")];
    assert!(programs.refusal(&empty, LIST).await.contains(NOT_TRUSTED));
}

#[tokio::test]
async fn a_ca_file_that_does_not_hold_the_servers_ca_is_named_in_the_error() {
    let (folder, _, server) = server().await;
    let url = server.url("localhost");
    let programs = Environment::new(folder.path(), &[("REDIS_URL", &url)]);
    let other = Authority::new();
    let certificate = self_signed(&other, false);
    let file = certificate.file.to_str().unwrap();
    let refusal = programs.refusal(&[("SSL_CERT_FILE", file)], LIST).await;
    let said = format!("its CA is neither one of Mozilla's nor in SSL_CERT_FILE={file} (UnknownIssuer)");
    assert!(refusal.contains(&said), "{refusal}");
    // It has the same name, and another key: a CA that was made anew.
    let refusal = programs.refusal(&[("SSL_CERT_FILE", &other.file())], LIST).await;
    assert!(
        refusal.contains(
            "a trusted CA has the name of its CA, and another key (BadSignature); set SSL_CERT_FILE="
        ),
        "{refusal}"
    );
}

#[tokio::test]
async fn another_hosts_certificate_and_an_expired_one_are_told_as_such() {
    let (folder, authority, server) = server().await;
    let file = authority.file();
    let trusting = [("SSL_CERT_FILE", file.as_str())];
    let by_address = server.url("127.0.0.1");
    let programs = Environment::new(folder.path(), &[("REDIS_URL", &by_address)]);
    let refusal = programs.refusal(&trusting, LIST).await;
    assert!(
        refusal.contains(r#"certificate not valid for name "127.0.0.1"; certificate is only valid for DnsName("localhost")"#),
        "{refusal}"
    );
    let expired = authority.expired_certificate(&["localhost"]);
    let expired = Secure::start(folder.path(), &expired, &[]).await;
    let expired = expired.url("localhost");
    let refusal = programs
        .refusal(&[trusting[0], ("REDIS_URL", &expired)], LIST)
        .await;
    assert!(refusal.contains("certificate expired"), "{refusal}");
    for wrong in [&refusal, &programs.refusal(&trusting, LIST).await] {
        assert!(!wrong.contains("not trusted"), "{wrong}");
    }
}

#[tokio::test]
async fn a_self_signed_certificate_is_taken_by_naming_itself_unless_it_is_a_cas() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let leaf = self_signed(&authority, false);
    let server = Secure::start(folder.path(), &leaf, &[]).await;
    let url = server.url("localhost");
    let programs = Environment::new(folder.path(), &[("REDIS_URL", &url)]);
    assert!(programs.refusal(&[], LIST).await.contains(NOT_TRUSTED));
    let file = leaf.file.to_str().unwrap();
    programs.works(&[("SSL_CERT_FILE", file)], LIST).await;

    let ca = self_signed(&authority, true);
    let server = Secure::start(folder.path(), &ca, &[]).await;
    let url = server.url("localhost");
    let file = ca.file.to_str().unwrap();
    let refusal = programs
        .refusal(&[("REDIS_URL", &url), ("SSL_CERT_FILE", file)], LIST)
        .await;
    assert!(
        refusal.contains(
            "it is a CA's own, which no server can use (CaUsedAsEndEntity); give the server a certificate"
        ),
        "{refusal}"
    );
}

#[tokio::test]
async fn sentinels_and_the_master_they_name_are_trusted_as_one_server_is() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let certificate = authority.certificate(&["127.0.0.1"]);
    let master = Secure::start(folder.path(), &certificate, &[]).await;
    let port = free_port();
    let own = folder.path().join(port.to_string());
    std::fs::create_dir(&own).unwrap();
    let monitor = format!("sentinel monitor shop 127.0.0.1 {} 1\n", master.tls_port);
    std::fs::write(own.join("redis.conf"), monitor).unwrap();
    // Sentinels speak TLS to those they watch.
    let watching = [
        "--sentinel",
        "--tls-replication",
        "yes",
        "--tls-ca-cert-file",
        &authority.file(),
    ];
    let sentinel = Secure::launch(folder.path(), port, &certificate, &watching);
    let is_up = |info: &String| info.contains("name=shop,status=ok");
    sentinel.node.until(&["INFO", "sentinel"], is_up).await;

    let url = format!("rediss+sentinel://127.0.0.1:{}/shop", sentinel.tls_port);
    let programs = Environment::new(folder.path(), &[("REDIS_URL", &url)]);
    assert!(programs.refusal(&[], LIST).await.contains(NOT_TRUSTED));
    programs
        .works(&[("SSL_CERT_FILE", &authority.file())], LIST)
        .await;
    programs
        .works(&[("SSL_CERT_DIR", &authority.folder())], LIST)
        .await;
}

#[tokio::test]
async fn a_clusters_node_and_those_it_points_at_are_trusted_as_one_server_is() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let certificate = authority.certificate(&["127.0.0.1"]);
    // Its nodes speak TLS among themselves, too: only then do they point at each other's port for it.
    let own = authority.file();
    let cluster = [
        "--cluster-enabled",
        "yes",
        "--tls-cluster",
        "yes",
        "--tls-ca-cert-file",
        &own,
    ];
    let owner = Secure::start(folder.path(), &certificate, &cluster).await;
    let other = Secure::start(folder.path(), &certificate, &cluster).await;
    let all: String = owner.node.ask(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]).await;
    assert_eq!(all, "OK");
    let port = owner.tls_port.to_string();
    let met: String = other.node.ask(&["CLUSTER", "MEET", "127.0.0.1", &port]).await;
    assert_eq!(met, "OK");
    let is_whole = |info: &String| info.contains("cluster_state:ok");
    other.node.until(&["CLUSTER", "INFO"], is_whole).await;

    // The one that holds nothing: it sends everybody on.
    let url = format!("rediss+cluster://127.0.0.1:{}", other.tls_port);
    let programs = Environment::new(folder.path(), &[("REDIS_URL", &url)]);
    assert!(programs.refusal(&[], LIST).await.contains(NOT_TRUSTED));
    programs
        .works(&[("SSL_CERT_FILE", &authority.file())], LIST)
        .await;
    programs
        .works(&[("SSL_CERT_DIR", &authority.folder())], LIST)
        .await;
}

#[tokio::test]
async fn programs_that_run_log_how_to_fix_it() {
    let (_folder, authority, server) = server().await;
    let mut shop = Shop::at(&server.url("localhost"), "");
    let worker = shop.launch(&WORKER, &["--no-cron"]);
    worker.says(NOT_TRUSTED).await;
    shop.set("SSL_CERT_FILE", &authority.file());
    shop.import_example().await;
    let worker = shop.launch(&WORKER, &["--no-cron"]);
    worker.says(r#""message":"working""#).await;
    shop.start_server().await;
    assert!(!worker.said().contains(NOT_TRUSTED));
}
