//! Which certificates a Redis may show.

use redis::{Client, ConnectionAddr, ConnectionInfo, TlsCertificates};

use super::super::QueueError;
use super::address::Address;
use surepass_base::tls;

/// Lets every connection of an address that asks for TLS trust what [`tls`] does.
///
/// # Errors
/// [`QueueError::Trust`].
pub(super) fn trust(address: &mut Address) -> Result<(), QueueError> {
    match address {
        Address::Fixed(node) => trust_at(node),
        Address::Cluster(nodes) => nodes.iter_mut().try_for_each(trust_at),
        Address::Sentinel(sentinels) => {
            if sentinels.tls.is_some() {
                sentinels.certificates = trusted()?;
            }
            sentinels.nodes.iter_mut().try_for_each(trust_at)
        }
    }
}

fn trust_at(node: &mut ConnectionInfo) -> Result<(), QueueError> {
    if matches!(node.addr(), ConnectionAddr::TcpTls { .. })
        && let Some(certificates) = trusted()?
    {
        let client = Client::build_with_tls(node.clone(), certificates)?;
        *node = client.get_connection_info().clone();
    }
    Ok(())
}

/// `None`: Mozilla's, which redis-rs brings itself.
fn trusted() -> Result<Option<TlsCertificates>, QueueError> {
    let whole = tls::whole_pem()?;
    Ok(whole.map(|whole| TlsCertificates {
        client_tls: None,
        root_cert: Some(whole.into_bytes()),
    }))
}
