//! Decides which certificates a PostgreSQL server may present.

use std::path::Path;

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use url::Url;

use super::StoreError;
use crate::address::masked;
use crate::tls;

/// The parameter that names a file of certificates, and its other spellings.
const PARAMETERS: [&str; 3] = ["sslrootcert", "ssl-root-cert", "ssl-ca"];
const VARIABLE: &str = "PGSSLROOTCERT";

/// Adds [`tls`]'s roots to a connection, and those of the address or `PGSSLROOTCERT`. As in libpq,
/// `sslmode=require` checks the certificate only if such a file is named.
///
/// # Errors
/// [`StoreError::Address`]: a named file is missing, or contains no certificate.
pub(super) fn trusting(options: PgConnectOptions, url: &str) -> Result<PgConnectOptions, StoreError> {
    let own = named_in(url);
    let options = match (options.get_ssl_mode(), &own) {
        (PgSslMode::VerifyCa | PgSslMode::VerifyFull, _) => options,
        (PgSslMode::Require, Some(_)) => options.ssl_mode(PgSslMode::VerifyCa),
        _ => return Ok(options),
    };
    let wrong = |problem| StoreError::Address(format!("`{}` needs TLS, but {problem}", masked(url)));
    let mut pem = tls::named_pem()
        .map_err(|error| wrong(error.to_string()))?
        .unwrap_or_default();
    match own {
        Some((_, text)) if text.trim_start().starts_with("-----BEGIN") => pem += &text,
        Some((name, path)) => {
            let certificates = tls::of_file(Path::new(&path));
            pem += &tls::pem(&certificates.map_err(|problem| wrong(format!("{name} {problem}")))?);
        }
        None => {}
    }
    // sqlx also trusts Mozilla's roots.
    Ok(if pem.is_empty() {
        options
    } else {
        options.ssl_root_cert_from_pem(pem.into_bytes())
    })
}

/// The file in the address, or else in the environment, with the setting's name.
fn named_in(url: &str) -> Option<(&'static str, String)> {
    let url = Url::parse(url).ok()?;
    let named = url
        .query_pairs()
        .filter(|(name, _)| PARAMETERS.contains(&name.as_ref()));
    let named = named.last().map(|(_, value)| (PARAMETERS[0], value.into_owned()));
    named.or_else(|| Some((VARIABLE, std::env::var(VARIABLE).ok()?)))
}
