//! What every TLS connection to elsewhere trusts: Mozilla's CAs, so that a machine without any certificates will do, and
//! those that the variables `SSL_CERT_FILE` and `SSL_CERT_DIR` name. They are read once: a change takes a restart.

use std::error::Error;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::{env, fs, io};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::CertificateDer;
use rustls::{CertificateError, ClientConfig, RootCertStore};
use rustls_native_certs::{CertificateResult, ErrorKind, load_certs_from_paths};
use url::Url;

use crate::address::{QUOTED, is_quoted};

const FILE: &str = "SSL_CERT_FILE";
const FOLDERS: &str = "SSL_CERT_DIR";

/// Why the certificates that a variable names cannot be trusted; begins with its name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable} {problem}")]
pub struct TrustError {
    variable: &'static str,
    problem: String,
}

type Certificates = Vec<CertificateDer<'static>>;

static NAMED: LazyLock<Result<Certificates, TrustError>> =
    LazyLock::new(|| read(env::var_os(FILE), env::var_os(FOLDERS)));

static HTTPS: LazyLock<ClientConfig> = LazyLock::new(|| {
    let mut roots = RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    roots.add_parsable_certificates(NAMED.as_deref().unwrap_or_default().iter().cloned());
    install();
    ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth()
});

/// Makes ring the process' cryptography. reqwest panics without any where no TLS is handed in, and so does what
/// makes an HTTP client of its own.
pub fn install() {
    if CryptoProvider::get_default().is_none() {
        // Another thread may have done it in between.
        let _: Result<(), Arc<CryptoProvider>> = ring::default_provider().install_default();
    }
}

/// Checks what the variables name. A program that needs TLS refuses to start without the certificates that it was given;
/// one that does not need it has no use for them.
///
/// # Errors
/// [`TrustError`], with the likely cause.
pub fn check() -> Result<(), TrustError> {
    NAMED.as_ref().map(drop).map_err(Clone::clone)
}

/// [`check`], where such an address needs TLS.
///
/// # Errors
/// [`TrustError`].
pub fn check_for(url: &Url) -> Result<(), TrustError> {
    if url.scheme() == "https" { check() } else { Ok(()) }
}

/// For HTTPS. Trusts Mozilla's CAs only where [`check`] fails.
#[must_use]
pub fn https() -> ClientConfig {
    HTTPS.clone()
}

/// The named certificates as PEM, for what trusts Mozilla's CAs already; `None` where no variable is set.
///
/// # Errors
/// [`TrustError`].
pub fn named_pem() -> Result<Option<String>, TrustError> {
    let named = NAMED.as_ref().map_err(Clone::clone)?;
    Ok((!named.is_empty()).then(|| pem(named)))
}

/// The named certificates and Mozilla's as PEM, for what would trust the named ones only; `None` where no variable is set.
///
/// # Errors
/// [`TrustError`].
pub fn whole_pem() -> Result<Option<String>, TrustError> {
    install();
    let named = named_pem()?;
    Ok(named.map(|named| pem(webpki_root_certs::TLS_SERVER_ROOT_CERTS) + &named))
}

/// Certificates as PEM.
#[must_use]
pub fn pem(certificates: &[CertificateDer<'_>]) -> String {
    let block = |certificate: &CertificateDer<'_>| {
        format!(
            "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
            STANDARD.encode(certificate)
        )
    };
    certificates.iter().map(block).collect()
}

fn read(file: Option<OsString>, folders: Option<OsString>) -> Result<Certificates, TrustError> {
    let is_set = |value: &OsString| !value.to_string_lossy().trim().is_empty();
    let mut certificates = Vec::new();
    if let Some(file) = file.filter(is_set) {
        let wrong = |problem| TrustError {
            variable: FILE,
            problem,
        };
        certificates = of_file(Path::new(&file)).map_err(wrong)?;
    }
    if let Some(folders) = folders.filter(is_set) {
        let wrong = |problem| TrustError {
            variable: FOLDERS,
            problem,
        };
        let folders: Vec<_> = env::split_paths(&folders).collect();
        certificates.extend(of_folders(&folders).map_err(wrong)?);
    }
    Ok(certificates)
}

/// The certificates in a PEM file.
///
/// # Errors
/// What is wrong with the file, in words that follow the name of a setting.
pub fn of_file(path: &Path) -> Result<Certificates, String> {
    let found = load_certs_from_paths(Some(path), None);
    let unreadable = unreadable(&found);
    let certificates = usable(found);
    if !certificates.is_empty() {
        return Ok(certificates);
    }
    let shown = path.display();
    Err(match unreadable {
        _ if is_quoted(&path.to_string_lossy()) => QUOTED.to_owned(),
        Some(error) => format!("names {shown}, which cannot be read ({error}): correct or unset it"),
        None => format!("names {shown}, {}", what_instead(path)),
    })
}

fn unreadable(found: &CertificateResult) -> Option<String> {
    found.errors.iter().find_map(|error| match &error.kind {
        ErrorKind::Io { inner, .. } => Some(inner.to_string()),
        _ => None,
    })
}

/// What a file without a certificate in PEM has in it.
fn what_instead(path: &Path) -> String {
    const DER_SEQUENCE: u8 = 0x30;
    let content = fs::read(path).unwrap_or_default();
    if content.first() == Some(&DER_SEQUENCE) {
        let shown = path.display();
        return format!("which is not PEM: `openssl x509 -inform der -in {shown} -out ca.pem` converts it");
    }
    let holds = |text: &str| content.windows(text.len()).any(|part| part == text.as_bytes());
    if holds("PRIVATE KEY-----") {
        return "which holds a private key and no certificate: name the certificate's file".to_owned();
    }
    "which holds no usable certificate (PEM, -----BEGIN CERTIFICATE-----)".to_owned()
}

/// One of several folders may be missing, as for OpenSSL.
fn of_folders(folders: &[PathBuf]) -> Result<Certificates, String> {
    let mut problem = None;
    let mut certificates = Vec::new();
    for folder in folders.iter().filter(|folder| !folder.as_os_str().is_empty()) {
        let found = load_certs_from_paths(None, Some(folder));
        let shown = folder.display();
        let unreadable = unreadable(&found);
        let usable = usable(found);
        if usable.is_empty() {
            problem = Some(match unreadable {
                _ if is_quoted(&folder.to_string_lossy()) => QUOTED.to_owned(),
                Some(error) => format!("names {shown}, which cannot be read ({error}): correct or unset it"),
                None => {
                    format!("names {shown}, which holds no certificate (PEM, -----BEGIN CERTIFICATE-----)")
                }
            });
        }
        certificates.extend(usable);
    }
    match problem {
        Some(problem) if certificates.is_empty() => Err(problem),
        _ => Ok(certificates),
    }
}

/// Those that can be trusted: one that rustls cannot read must not cost the others.
fn usable(found: CertificateResult) -> Certificates {
    for error in found.errors.iter().filter(|_| !found.certs.is_empty()) {
        tracing::warn!(%error, "part of a certificate file cannot be read, and is left out");
    }
    let is_usable =
        |certificate: &CertificateDer<'static>| RootCertStore::empty().add(certificate.clone()).is_ok();
    found.certs.into_iter().filter(is_usable).collect()
}

/// How [`distrust`] begins.
const NOT_TRUSTED: &str = "its certificate is not trusted";

/// What happened, and what to do, where the error is that we do not trust the other side's certificate. `None` for all
/// others: an expired certificate or another host's names itself.
#[must_use]
pub fn distrust(error: &(dyn Error + 'static)) -> Option<String> {
    let set_it = "set SSL_CERT_FILE=/path/to/ca.pem, a PEM file with its CA's certificate (or itself, if self-signed), and restart";
    let (cause, next) = match certificate_error(error)? {
        CertificateError::UnknownIssuer => (format!("{} (UnknownIssuer)", unknown()), set_it),
        // As when a CA was made anew.
        CertificateError::BadSignature => (
            "a trusted CA has the name of its CA, and another key (BadSignature)".to_owned(),
            set_it,
        ),
        // webpki's error has no type here.
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => (
            "it is a CA's own, which no server can use (CaUsedAsEndEntity)".to_owned(),
            "give the server a certificate that this CA has signed, or a self-signed one without CA:TRUE (`openssl req -x509 \
             -addext basicConstraints=critical,CA:FALSE …`), and set SSL_CERT_FILE=/path/to/ca.pem",
        ),
        _ => return None,
    };
    Some(format!("{NOT_TRUSTED}: {cause}; {next}"))
}

fn unknown() -> String {
    if let Err(error) = check() {
        return format!("its CA is none of Mozilla's, and {error}");
    }
    let shown = |name: &str| {
        let value = env::var_os(name).filter(|value| !value.is_empty())?;
        Some(format!("{name}={}", value.display()))
    };
    let set: Vec<_> = [FILE, FOLDERS].into_iter().filter_map(shown).collect();
    if set.is_empty() {
        "it is self-signed or from a private CA".to_owned()
    } else {
        format!("its CA is neither one of Mozilla's nor in {}", set.join(" or "))
    }
}

/// What to do about an error that was told: one that tells it by itself needs no other advice.
#[must_use]
pub fn next_step<'a>(told: &str, otherwise: &'a str) -> &'a str {
    if told.contains(NOT_TRUSTED) {
        "set SSL_CERT_FILE as it says, for every program of this installation, and restart them"
    } else {
        otherwise
    }
}

/// [`distrust`], or else what the error says itself.
#[must_use]
pub fn told(error: &(dyn Error + 'static)) -> String {
    distrust(error).unwrap_or_else(|| error.to_string())
}

fn certificate_error<'a>(mut error: &'a (dyn Error + 'static)) -> Option<&'a CertificateError> {
    type Shared = Arc<dyn Error + Send + Sync>;
    loop {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return match tls {
                rustls::Error::InvalidCertificate(wrong) => Some(wrong),
                _ => None,
            };
        }
        // Neither of these names what it wraps as its source.
        error = if let Some(inner) = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            inner
        } else if let Some(shared) = error.downcast_ref::<Shared>() {
            shared.as_ref()
        } else {
            error.source()?
        };
    }
}
