//! HTTP out of this machine, with TLS.

use std::sync::{Arc, LazyLock};

use rustls::crypto::{CryptoProvider, ring};
use rustls::{ClientConfig, RootCertStore};

/// Mozilla's roots, so that a machine without any certificates will do, and those that the variables `SSL_CERT_FILE` and
/// `SSL_CERT_DIR` name, for a proxy with roots of its own.
static TLS: LazyLock<ClientConfig> = LazyLock::new(|| {
    let mut roots = RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    let named = ["SSL_CERT_FILE", "SSL_CERT_DIR"];
    if named.iter().any(|name| std::env::var_os(name).is_some()) {
        let found = rustls_native_certs::load_native_certs();
        for error in found.errors {
            tracing::warn!(%error, "a certificate that SSL_CERT_FILE or SSL_CERT_DIR names cannot be read");
        }
        roots.add_parsable_certificates(found.certs);
    }
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

/// The beginning of an HTTP client that can do https.
#[expect(clippy::disallowed_methods, reason = "the one place that makes HTTP clients")]
pub fn http() -> reqwest::ClientBuilder {
    reqwest::Client::builder().tls_backend_preconfigured(TLS.clone())
}

/// The last cause of an error, in which reqwest and others keep what happened.
#[must_use]
pub fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
