//! Which certificates a PostgreSQL may show.

use std::path::Path;

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use url::Url;

use super::StoreError;
use crate::address::masked;
use crate::tls;

/// The parameter that names a file of certificates, and its other spellings.
const PARAMETERS: [&str; 3] = ["sslrootcert", "ssl-root-cert", "ssl-ca"];
const VARIABLE: &str = "PGSSLROOTCERT";

/// Lets connections trust what [`tls`] does, and what the address or `PGSSLROOTCERT` names besides. As for libpq,
/// `sslmode=require` looks at the certificate only where such a file is named.
///
/// # Errors
/// [`StoreError::Address`]: a file that is named is not there, or holds no certificate.
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
    // sqlx trusts Mozilla's besides.
    Ok(if pem.is_empty() {
        options
    } else {
        options.ssl_root_cert_from_pem(pem.into_bytes())
    })
}

/// What the address names, else the environment, with the name of the setting.
fn named_in(url: &str) -> Option<(&'static str, String)> {
    let url = Url::parse(url).ok()?;
    let named = url
        .query_pairs()
        .filter(|(name, _)| PARAMETERS.contains(&name.as_ref()));
    let named = named.last().map(|(_, value)| (PARAMETERS[0], value.into_owned()));
    named.or_else(|| Some((VARIABLE, std::env::var(VARIABLE).ok()?)))
}
