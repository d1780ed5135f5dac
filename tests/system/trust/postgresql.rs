//! PostgreSQL, by `sslmode`.

use std::os::unix::fs::{PermissionsExt, chown};

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Executor};

use crate::trust::authority::{Authority, Environment, NOT_TRUSTED};
use support::postgres::Cluster;

const MIGRATE: &[&str] = &["migrate"];

/// A server with a certificate for `localhost`.
async fn server(authority: &Authority) -> Cluster {
    let cluster = Cluster::start();
    let certificate = authority.certificate(&["localhost"]);
    // The server takes its key only from a file that nobody else may read.
    let place = tempfile::tempdir().unwrap();
    let (file, key) = (place.path().join("server.pem"), place.path().join("server.key"));
    for (from, to) in [(&certificate.file, &file), (&certificate.key, &key)] {
        std::fs::copy(from, to).unwrap();
    }
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    if let Some((user, group)) = cluster.user {
        for path in [place.path(), &file, &key] {
            chown(path, Some(user), Some(group)).unwrap();
        }
    }
    let options: PgConnectOptions = cluster.url("postgres").parse().unwrap();
    let mut connection = options.connect().await.unwrap();
    for set in [
        format!("ssl_cert_file = '{}'", file.display()),
        format!("ssl_key_file = '{}'", key.display()),
        "ssl = on".to_owned(),
    ] {
        let set = AssertSqlSafe(format!("ALTER SYSTEM SET {set}"));
        connection.execute(set).await.unwrap();
    }
    cluster.kill();
    cluster.run_server();
    cluster
}

#[tokio::test]
async fn a_postgresql_of_a_private_ca_is_refused_with_how_to_fix_it_and_taken_once_the_ca_is_named() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let cluster = server(&authority).await;
    let address = |host: &str, parameters: &str| {
        let plain = cluster.url("postgres").replace("127.0.0.1", host);
        format!("{plain}?{parameters}")
    };
    let (file, certs) = (authority.file(), authority.folder());
    let programs = |url: &str| Environment::new(folder.path(), &[("DATABASE_URL", url)]);
    for mode in ["verify-full", "verify-ca"] {
        let programs = programs(&address("localhost", &format!("sslmode={mode}")));
        let refusal = programs.refusal(&[], MIGRATE).await;
        let said = format!("DATABASE_URL: the store is not available: {NOT_TRUSTED}");
        assert!(refusal.contains(&said), "{refusal}");
        programs.is_not_trusted("Store", "connection").await;
        programs.works(&[("SSL_CERT_FILE", &file)], MIGRATE).await;
        programs.works(&[("SSL_CERT_DIR", &certs)], MIGRATE).await;
    }

    // What the address itself names holds too, beside what the variables do.
    let other = Authority::new();
    let named = |mode: &str, file: &str| address("localhost", &format!("sslmode={mode}&sslrootcert={file}"));
    for mode in ["verify-full", "require"] {
        programs(&named(mode, &file)).works(&[], MIGRATE).await;
        let beside = [("SSL_CERT_FILE", file.as_str())];
        programs(&named(mode, &other.path("certs/ours.pem")))
            .works(&beside, MIGRATE)
            .await;
    }
    let refusal = programs(&named("verify-full", "/nowhere.pem"))
        .refusal(&[], MIGRATE)
        .await;
    assert!(
        refusal.contains("needs TLS, but sslrootcert names /nowhere.pem, which cannot be read (No such file"),
        "{refusal}"
    );

    // As for libpq: `require` encrypts, and looks at the certificate only where the address names a CA.
    programs(&address("localhost", "sslmode=require"))
        .works(&[], MIGRATE)
        .await;
    let refusal = programs(&named("require", &other.file()))
        .refusal(&[], MIGRATE)
        .await;
    assert!(refusal.contains("its certificate is not trusted"), "{refusal}");

    let trusting = [("SSL_CERT_FILE", file.as_str())];
    let full = programs(&address("127.0.0.1", "sslmode=verify-full"));
    let refusal = full.refusal(&trusting, MIGRATE).await;
    assert!(refusal.contains(r#"not valid for name "127.0.0.1""#), "{refusal}");
    programs(&address("127.0.0.1", "sslmode=verify-ca"))
        .works(&trusting, MIGRATE)
        .await;
}
