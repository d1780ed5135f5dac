//! Who calls, from where, and for which tenant.

use std::net::{IpAddr, SocketAddr};

use actix_web::HttpRequest;
use actix_web::http::Method;
use actix_web::http::header::{AUTHORIZATION, HOST, HeaderName, ORIGIN};
use url::{Origin, Url};

use super::{Door, Refusal, TENANT_SLUG};
use crate::identity::Customer;
use crate::queue::{Caller, RateLimit};
use crate::store::KnownTenant;

/// The cookie that carries a token; `__Host-`: the browser takes it over TLS only, for this host and no other.
pub(super) const COOKIE: &str = "__Host-surepass";
/// The same on this machine, where there is no TLS.
pub(super) const LOCAL_COOKIE: &str = "surepass";
/// The longest slug, in bytes.
pub(in crate::http) const LONGEST_SLUG: usize = 100;

/// Where a token came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::http) enum Credential {
    /// `Authorization`: nobody's browser sends it by itself.
    Bearer(String),
    /// The cookie: a browser sends it whoever's page makes the call.
    Cookie(String),
    None,
}

impl Credential {
    /// The token that a call carries. `Err`: an `Authorization` that is no bearer token.
    fn of(door: &Door, request: &HttpRequest) -> Result<Self, Refusal> {
        let mut headers = request.headers().get_all(AUTHORIZATION);
        if let Some(header) = headers.next() {
            let text = header.to_str().map_err(|_| Refusal::Unauthorized)?;
            let (scheme, token) = text.split_once(' ').ok_or(Refusal::Unauthorized)?;
            if !scheme.eq_ignore_ascii_case("bearer") || headers.next().is_some() {
                return Err(Refusal::Unauthorized);
            }
            return Ok(Self::Bearer(token.trim().to_owned()));
        }
        Ok(request
            .cookie(door.cookie_name(request))
            .map_or(Self::None, |cookie| Self::Cookie(cookie.value().to_owned())))
    }
}

impl Door {
    /// What a call has to show for itself. One whose `Authorization` is no bearer token counts, too.
    pub(in crate::http) async fn credential(&self, request: &HttpRequest) -> Result<Credential, Refusal> {
        if !self.identity.is_configured() {
            return Err(Refusal::NotConfigured);
        }
        let credential = Credential::of(self, request);
        if credential.is_err() {
            self.within_limits(request).await?;
        }
        credential
    }

    /// The customer who calls, within the limits of calls. Every call counts, also one that is refused. The address is
    /// counted before the token is looked at: to verify one costs more than to make one up.
    pub(in crate::http) async fn customer(
        &self,
        request: &HttpRequest,
        credential: &Credential,
    ) -> Result<Customer, Refusal> {
        self.within_limits(request).await?;
        let customer = match credential {
            Credential::Bearer(token) | Credential::Cookie(token) => self.identity.verify(token).await?,
            Credential::None => return Err(Refusal::Unauthorized),
        };
        self.user_within_limits(&customer).await?;
        let is_safe = matches!(*request.method(), Method::GET | Method::HEAD);
        if matches!(credential, Credential::Cookie(_)) && !is_safe && !self.is_own_page(request) {
            tracing::info!(
                "request with a cookie rejected: its Origin is neither SUREPASS_PUBLIC_URL nor in SUREPASS_ALLOWED_ORIGINS"
            );
            return Err(Refusal::OtherSite);
        }
        Ok(self.customers.proven(customer).await)
    }

    /// Counts a call of an address.
    pub(in crate::http) async fn within_limits(&self, request: &HttpRequest) -> Result<(), Refusal> {
        let limit = RateLimit {
            name: "address",
            per_minute: self.settings.address_requests_per_minute,
        };
        match self.address(request).map(Caller::address) {
            Some(address) => self.count(limit, &address).await,
            None => Ok(()),
        }
    }

    /// Counts a call of a customer.
    async fn user_within_limits(&self, customer: &Customer) -> Result<(), Refusal> {
        let limit = RateLimit {
            name: "user",
            per_minute: self.settings.requests_per_minute,
        };
        self.count(limit, &Caller::user(&customer.id)).await
    }

    /// Without Redis nothing is counted: who holds a pass can see it all the same.
    async fn count(&self, limit: RateLimit, whom: &Caller) -> Result<(), Refusal> {
        match self.customers.limiter.take((limit, whom), None).await {
            Ok(None) => Ok(()),
            Ok(Some(wait)) => Err(Refusal::TooMany(wait)),
            Err(error) => {
                tracing::warn!(%error, "customer requests cannot be counted; they are allowed without a limit");
                Ok(())
            }
        }
    }

    /// The tenant that `x-tenant-slug` names.
    pub(super) async fn tenant(&self, request: &HttpRequest) -> Result<KnownTenant, Refusal> {
        self.tenant_or(request, None).await
    }

    /// The same where a call without that header may name its tenant in another way.
    pub(super) async fn tenant_or(
        &self,
        request: &HttpRequest,
        named: Option<&str>,
    ) -> Result<KnownTenant, Refusal> {
        let slug = match request.headers().get(TENANT_SLUG) {
            Some(slug) => slug.to_str().map_err(|_| Refusal::UnknownTenant)?,
            None => named.ok_or(Refusal::NoTenant)?,
        };
        let slug = slug.trim();
        match slug.len() {
            0 => return Err(Refusal::NoTenant),
            1..=LONGEST_SLUG => {}
            _ => return Err(Refusal::UnknownTenant),
        }
        let found = self.customers.tenants.by_slug(slug).await?;
        found.ok_or(Refusal::UnknownTenant)
    }

    /// Who connects, or whom the proxy names who connects. Of several addresses only the last is the proxy's own word.
    pub(super) fn address(&self, request: &HttpRequest) -> Option<IpAddr> {
        let told = || {
            let header = self.settings.address_header.as_deref()?;
            let told = request.headers().get_all(header).last()?.to_str().ok()?;
            let last = told.rsplit(',').next()?.trim();
            // Some gateways add the port.
            last.parse()
                .ok()
                .or_else(|| Some(last.parse::<SocketAddr>().ok()?.ip()))
        };
        told().or_else(|| request.peer_addr().map(|peer| peer.ip()))
    }

    /// The name of the cookie that carries the token of who calls.
    pub(super) fn cookie_name(&self, request: &HttpRequest) -> &'static str {
        if self.is_local(request) {
            LOCAL_COOKIE
        } else {
            COOKIE
        }
    }

    /// Whether the browser comes without TLS, as only one on this machine may. A proxy may write `Host` anew, so what is set
    /// counts more.
    fn is_local(&self, request: &HttpRequest) -> bool {
        match &self.public {
            Some(public) => public.scheme() != "https",
            None => is_local_host(request),
        }
    }

    /// Whether a page of this server or of an allowed origin makes the call, as the browser shows: a page cannot forge it.
    /// Scheme, host and port must be the same.
    pub(in crate::http) fn is_own_page(&self, request: &HttpRequest) -> bool {
        let Some(origin) = text(request, ORIGIN) else {
            return text(request, HeaderName::from_static("sec-fetch-site")) == Some("same-origin");
        };
        let own = match &self.public {
            Some(public) => Some(public.origin()),
            None => seen_origin(request),
        };
        own.is_some_and(|own| own.is_tuple() && own.ascii_serialization() == origin)
            || self
                .settings
                .allowed_origins
                .iter()
                .any(|allowed| allowed == origin)
    }
}

fn text(request: &HttpRequest, name: HeaderName) -> Option<&str> {
    request.headers().get(name)?.to_str().ok()
}

/// Where the browser has found us, as far as it can be seen here: we speak no TLS, and a proxy that does names the scheme.
/// No page can have another site's browser send that header with a form.
fn seen_origin(request: &HttpRequest) -> Option<Origin> {
    let scheme = match text(request, HeaderName::from_static("x-forwarded-proto")) {
        None | Some("http") => "http",
        Some("https") => "https",
        Some(_) => return None,
    };
    let host = text(request, HOST)?;
    Some(Url::parse(&format!("{scheme}://{host}/")).ok()?.origin())
}

/// Whether the browser has called for this machine.
fn is_local_host(request: &HttpRequest) -> bool {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    let host = host.unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, port)| {
        if port.bytes().all(|byte| byte.is_ascii_digit()) {
            name
        } else {
            host
        }
    });
    matches!(name, "localhost" | "127.0.0.1" | "[::1]")
}
