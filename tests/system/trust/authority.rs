//! Certificates of a private CA, and programs of ours that may or may not know it.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use serde_json::Value;
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use support::program::{SUREPASS, command, run, stderr, stdout};

/// What every refusal of a certificate of unknown origin says.
pub(crate) const NOT_TRUSTED: &str = "its certificate is not trusted: it is self-signed or from a private CA (UnknownIssuer); set SSL_CERT_FILE=/path/to/ca.pem";

/// A CA that nobody knows, with its files in a folder of its own.
pub(crate) struct Authority {
    folder: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A server's certificate and key, as PEM files.
pub(crate) struct Certificate {
    pub(crate) file: PathBuf,
    pub(crate) key: PathBuf,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "A private CA");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        std::fs::create_dir(folder.path().join("certs")).unwrap();
        std::fs::write(folder.path().join("certs/ours.pem"), issuer.pem()).unwrap();
        Self { folder, issuer }
    }

    /// The file with its certificate.
    pub(crate) fn file(&self) -> String {
        self.path("ca.pem")
    }

    /// A folder in which its certificate lies.
    pub(crate) fn folder(&self) -> String {
        self.path("certs")
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// For a server of these names or addresses.
    pub(crate) fn certificate(&self, names: &[&str]) -> Certificate {
        self.sign(names, |_| ())
    }

    /// Valid no longer.
    pub(crate) fn expired_certificate(&self, names: &[&str]) -> Certificate {
        self.sign(names, |params| {
            params.not_before = date_time_ymd(2019, 1, 1);
            params.not_after = date_time_ymd(2020, 1, 1);
        })
    }

    fn sign(&self, names: &[&str], change: impl Fn(&mut CertificateParams)) -> Certificate {
        let mut params =
            CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let signed = params.signed_by(&key, &self.issuer).unwrap();
        self.keep(&signed.pem(), &key)
    }

    fn keep(&self, certificate: &str, key: &KeyPair) -> Certificate {
        let folder = tempfile::tempdir_in(&self.folder).unwrap().keep();
        let kept = Certificate {
            file: folder.join("server.pem"),
            key: folder.join("server.key"),
        };
        std::fs::write(&kept.file, certificate).unwrap();
        std::fs::write(&kept.key, key.serialize_pem()).unwrap();
        kept
    }
}

/// Signed by itself, for `localhost`; `is_ca` as `openssl req -x509` makes it.
pub(crate) fn self_signed(authority: &Authority, is_ca: bool) -> Certificate {
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    if is_ca {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    authority.keep(&certificate.pem(), &key)
}

impl Certificate {
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        surepass::tls::install();
        let certificate = CertificateDer::from_pem_file(&self.file).unwrap();
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate],
                PrivateKeyDer::from_pem_file(&self.key).unwrap(),
            )
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// The environment of a program, with no store and no Stripe but for what is set.
pub(crate) struct Environment(Vec<(String, String)>);

impl Environment {
    pub(crate) fn new(folder: &Path, set: &[(&str, &str)]) -> Self {
        let database = format!("sqlite://{}", folder.join("surepass.db").display());
        let config = folder.join("config");
        std::fs::create_dir_all(&config).unwrap();
        let mut environment = Self(Vec::new());
        environment.set("SUREPASS_CONFIG", config.to_str().unwrap());
        environment.set("DATABASE_URL", &database);
        for (name, value) in set {
            environment.set(name, value);
        }
        environment
    }

    fn set(&mut self, name: &str, value: &str) {
        self.0.retain(|(known, _)| known != name);
        self.0.push((name.to_owned(), value.to_owned()));
    }

    /// Runs `surepass` with these settings more.
    pub(crate) async fn run(&self, more: &[(&str, &str)], arguments: &[&str]) -> Output {
        let mut environment = Self(self.0.clone());
        for (name, value) in more {
            environment.set(name, value);
        }
        run(command(&SUREPASS, arguments, &environment.0)).await
    }

    /// That it works.
    pub(crate) async fn works(&self, more: &[(&str, &str)], arguments: &[&str]) {
        let output = self.run(more, arguments).await;
        assert!(output.status.success(), "{more:?}: {}", stderr(&output));
    }

    /// What it says where it does not.
    pub(crate) async fn refusal(&self, more: &[(&str, &str)], arguments: &[&str]) -> String {
        let output = self.run(more, arguments).await;
        assert_eq!(output.status.code(), Some(1), "{more:?}: {}", stdout(&output));
        stderr(&output)
    }

    /// How the doctor finds `group/name`: level, message and advice.
    pub(crate) async fn finding(&self, more: &[(&str, &str)], group: &str, name: &str) -> [String; 3] {
        let output = self.run(more, &["doctor", "--json"]).await;
        let document: Value = serde_json::from_str(&stdout(&output)).unwrap();
        let checks = document["checks"].as_array().unwrap();
        let found = checks
            .iter()
            .find(|check| check["group"] == group && check["name"] == name);
        let found = found.unwrap_or_else(|| panic!("no {group}/{name} in {document:#}"));
        ["level", "message", "mend"].map(|word| found[word].as_str().unwrap_or_default().to_owned())
    }

    /// That the doctor finds it wrong, and says how to get the certificate trusted.
    pub(crate) async fn is_not_trusted(&self, group: &str, name: &str) {
        let [level, message, mend] = self.finding(&[], group, name).await;
        assert_eq!(level, "error");
        assert!(message.contains(NOT_TRUSTED), "{message}");
        assert!(mend.contains("set SSL_CERT_FILE"), "{mend}");
    }
}
