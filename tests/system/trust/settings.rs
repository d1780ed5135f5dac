//! `SSL_CERT_FILE` and `SSL_CERT_DIR` as settings: checked by whoever needs TLS, and by nobody else.

use crate::trust::authority::{Authority, Environment};
use support::program::{stderr, stdout};

const HTTPS: (&str, &str) = ("STRIPE_API_BASE", "https://localhost:9");
const KEY: (&str, &str) = ("STRIPE_SECRET_KEY", "rk_test_12345678");

#[tokio::test]
async fn a_file_or_folder_that_holds_no_certificate_is_refused_by_name_with_the_likely_cause() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let programs = Environment::new(folder.path(), &[HTTPS, KEY]);
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (absent, quoted) = (path("nowhere.pem"), format!("\"{}\"", authority.file()));
    let key = authority.certificate(&["localhost"]).key.display().to_string();
    let (text, der, empty) = (path("notes"), path("ca.der"), path("empty"));
    std::fs::write(&text, "nothing\n").unwrap();
    std::fs::write(&der, [0x30, 0x82, 1, 1]).unwrap();
    std::fs::create_dir(&empty).unwrap();
    for (variable, value, cause) in [
        (
            "SSL_CERT_FILE",
            &absent,
            "which cannot be read (No such file or directory (os error 2)): correct or unset it",
        ),
        ("SSL_CERT_FILE", &quoted, "is in quotes"),
        (
            "SSL_CERT_FILE",
            &key,
            "which holds a private key and no certificate",
        ),
        (
            "SSL_CERT_FILE",
            &text,
            "which holds no usable certificate (PEM, -----BEGIN CERTIFICATE-----)",
        ),
        (
            "SSL_CERT_FILE",
            &der,
            "which is not PEM: `openssl x509 -inform der -in ",
        ),
        (
            "SSL_CERT_DIR",
            &absent,
            "which cannot be read (No such file or directory (os error 2)): correct or unset it",
        ),
        (
            "SSL_CERT_DIR",
            &empty,
            "which holds no certificate (PEM, -----BEGIN CERTIFICATE-----)",
        ),
    ] {
        let refusal = programs.refusal(&[(variable, value)], &["migrate"]).await;
        assert!(
            refusal.starts_with(&format!("surepass: {variable} ")) && refusal.contains(cause),
            "{variable}={value}: {refusal}"
        );
    }
}

#[tokio::test]
async fn each_thing_that_needs_tls_is_refused_without_what_to_trust_and_nothing_else_is() {
    let folder = tempfile::tempdir().unwrap();
    let programs = Environment::new(folder.path(), &[("SSL_CERT_FILE", "/nowhere.pem")]);
    let said = "SSL_CERT_FILE names /nowhere.pem, which cannot be read";
    let needs: [(_, _, &[&str]); 6] = [
        ("REDIS_URL", "rediss://localhost:9", &["jobs", "list"]),
        ("REDIS_URL", "rediss+cluster://localhost:9", &["jobs", "list"]),
        ("REDIS_URL", "rediss+sentinel://localhost:9/m", &["jobs", "list"]),
        (
            "DATABASE_URL",
            "postgres://localhost:9/x?sslmode=verify-full",
            &["migrate"],
        ),
        ("SUREPASS_JWKS_URL", "https://localhost:9/keys", &["migrate"]),
        ("RUST_LOG", "info", &["healthcheck", "https://localhost:9/"]),
    ];
    for (name, value, arguments) in needs {
        let refusal = programs.refusal(&[(name, value)], arguments).await;
        assert!(refusal.contains(said), "{value}: {refusal}");
    }
    // The doctor's first line names the variable, too.
    let doctor = programs
        .run(&[("REDIS_URL", "rediss://localhost:9")], &["doctor"])
        .await;
    let page = stdout(&doctor).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        page.starts_with(&format!("not known: REDIS_URL needs TLS, but {said}")),
        "{page}"
    );
    assert!(!page.contains("correct REDIS_URL"), "{page}");
    let collector = [("OTEL_EXPORTER_OTLP_ENDPOINT", "https://localhost:9")];
    let refusal = programs.refusal(&collector, &["serve"]).await;
    assert!(
        refusal.contains("OTEL_EXPORTER_OTLP_ENDPOINT cannot be used: it needs TLS, but")
            && refusal.contains(said),
        "{refusal}"
    );

    // Without a key nobody asks Stripe; sqlite:// and redis:// need no TLS.
    programs.works(&[HTTPS], &["migrate"]).await;
    programs.works(&[], &["catalog", "list"]).await;
    let output = programs.run(&[], &["healthcheck", "http://127.0.0.1:9/"]).await;
    assert!(!stderr(&output).contains("SSL_CERT_FILE"), "{}", stderr(&output));
}
