//! Authenticates a customer's request: its token, its limits, its origin and its tenant.

use std::net::{IpAddr, SocketAddr};

use actix_web::HttpRequest;
use actix_web::http::Method;
use actix_web::http::header::{AUTHORIZATION, HOST, HeaderName, ORIGIN};
use url::{Origin, Url};

use super::{CustomerApi, Refusal, TENANT_SLUG};
use crate::identity::Customer;
use crate::queue::{Caller, RateLimit};
use crate::store::KnownTenant;

/// The cookie with the token. `__Host-`: the browser accepts it over TLS only, and for this host only.
pub(super) const COOKIE: &str = "__Host-surepass";
/// The same on localhost, without TLS.
pub(super) const LOCAL_COOKIE: &str = "surepass";
/// The longest slug, in bytes.
pub(in crate::http) const LONGEST_SLUG: usize = 100;

/// Where a token came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::http) enum Credential {
    /// From `Authorization`, which no browser sends by itself.
    Bearer(String),
    /// From the cookie, which a browser may send for another site's page.
    Cookie(String),
    None,
}

impl Credential {
    /// The token of a request. `Err`: an `Authorization` that is not a bearer token.
    fn of(api: &CustomerApi, request: &HttpRequest) -> Result<Self, Refusal> {
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
            .cookie(api.cookie_name(request))
            .map_or(Self::None, |cookie| Self::Cookie(cookie.value().to_owned())))
    }
}

impl CustomerApi {
    /// The credential of a request. A malformed one counts against the address's limit.
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

    /// The customer of a request, within the rate limits. Every request counts, also a refused one. The address is counted
    /// before the token is verified, because verifying one costs more than making one up.
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

    /// Counts a request against its address's limit.
    pub(in crate::http) async fn within_limits(&self, request: &HttpRequest) -> Result<(), Refusal> {
        let limit = RateLimit {
            name: "address",
            per_minute: *self.settings.address_requests_per_minute,
        };
        match self.address(request).map(Caller::address) {
            Some(address) => self.count(limit, &address).await,
            None => Ok(()),
        }
    }

    /// Counts a request against its customer's limit.
    async fn user_within_limits(&self, customer: &Customer) -> Result<(), Refusal> {
        let limit = RateLimit {
            name: "user",
            per_minute: *self.settings.requests_per_minute,
        };
        self.count(limit, &Caller::user(&customer.id)).await
    }

    /// Without Redis nothing is counted, so that customers can still see their passes.
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

    /// The tenant of `x-tenant-slug`, or else the one `named` in another way.
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

    /// The client's address: the peer's, or the one that the proxy's header gives. Of several, only the last one was added by
    /// our proxy.
    pub(super) fn address(&self, request: &HttpRequest) -> Option<IpAddr> {
        let forwarded = || {
            let header = self.settings.address_header.as_deref()?;
            let value = request.headers().get_all(header).last()?.to_str().ok()?;
            let last = value.rsplit(',').next()?.trim();
            // Some gateways append the port.
            last.parse()
                .ok()
                .or_else(|| Some(last.parse::<SocketAddr>().ok()?.ip()))
        };
        forwarded().or_else(|| request.peer_addr().map(|peer| peer.ip()))
    }

    /// The name of the cookie with the token.
    pub(super) fn cookie_name(&self, request: &HttpRequest) -> &'static str {
        if self.is_local(request) {
            LOCAL_COOKIE
        } else {
            COOKIE
        }
    }

    /// Whether the browser uses no TLS, which is accepted on localhost only. The setting wins over `Host`, which a proxy may
    /// rewrite.
    fn is_local(&self, request: &HttpRequest) -> bool {
        match &self.public {
            Some(public) => public.scheme() != "https",
            None => is_local_host(request),
        }
    }

    /// Whether a page of this server or of an allowed origin sent the request, by headers that a page cannot forge. Scheme, host
    /// and port must match.
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

/// The origin under which the browser reached us. We serve no TLS ourselves: a proxy that does names the scheme in a header,
/// which no page can make a browser send with a form.
fn seen_origin(request: &HttpRequest) -> Option<Origin> {
    let scheme = match text(request, HeaderName::from_static("x-forwarded-proto")) {
        None | Some("http") => "http",
        Some("https") => "https",
        Some(_) => return None,
    };
    let host = text(request, HOST)?;
    Some(Url::parse(&format!("{scheme}://{host}/")).ok()?.origin())
}

/// Whether the browser asked for localhost.
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
