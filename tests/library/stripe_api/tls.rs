//! TLS: Stripe is believed only with a certificate that somebody whom this machine trusts has signed.

use std::process::Stdio;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::process::Command;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use url::Url;

use support::stripe_faults::{Fake, PATIENCE, client, ok, options};

const CHILD: &str = "SUREPASS_TEST_STRIPE_OVER_TLS";

/// A server at `localhost` with a certificate of an authority of its own, whose certificate is answered as PEM.
async fn server() -> (Fake, String) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    surepass::tls::install();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let fake = Fake::behind(Some(acceptor), |_, _| ok(r#"{"id":"ch_1","amount":7}"#)).await;
    (fake, authority.pem())
}

fn at(fake: &Fake, host: &str) -> Url {
    let port = fake.base.port().unwrap();
    format!("https://{host}:{port}").parse().unwrap()
}

async fn ask(base: &Url) -> String {
    let once = |base: &Url| surepass::stripe::api::ClientOptions {
        attempts: 1,
        ..options(base)
    };
    match client(base, once).account(None).charge("ch_1").await {
        Ok(charge) => format!("amount {:?}", charge.unwrap().amount),
        Err(error) => format!("refused: {error}"),
    }
}

#[tokio::test]
async fn a_server_whose_certificate_nobody_here_trusts_never_gets_the_key() {
    let (fake, _) = server().await;
    let said = ask(&at(&fake, "localhost")).await;
    assert!(said.contains("certificate"), "{said}");
    assert!(fake.asked().is_empty());
}

#[tokio::test]
async fn an_authority_that_ssl_cert_file_names_is_trusted_for_its_own_host_names_only() {
    let (fake, authority) = server().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("authority.pem");
    std::fs::write(&file, authority).unwrap();
    for (host, expected) in [("localhost", "amount Some(7)"), ("127.0.0.1", "certificate")] {
        let child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "stripe_api::tls::child_that_asks_over_tls",
                "--nocapture",
            ])
            .env("SSL_CERT_FILE", &file)
            .env(CHILD, at(&fake, host).as_str())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(PATIENCE, child)
            .await
            .expect("it ends")
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let said = said.lines().find_map(|line| line.split_once("said: ")).unwrap().1;
        assert!(said.contains(expected), "{host}: {said}");
    }
    assert_eq!(fake.asked().len(), 1);
}

#[tokio::test]
async fn child_that_asks_over_tls() {
    if let Ok(base) = std::env::var(CHILD) {
        println!("said: {}", ask(&base.parse().unwrap()).await);
    }
}
