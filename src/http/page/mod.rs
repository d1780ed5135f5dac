//! The customer's page, `/{tenant}/subscriptions`: rendered here, works without a script, and is enhanced by `surepass.js`.

mod accent;
mod address;
mod assets;
mod error_pages;
mod format;
mod i18n;
mod language;
mod markup;
mod missing_pass_form;
mod passes;
mod purchase;
mod sign_in;

use std::path::Path;
use std::sync::Arc;

use actix_web::guard::fn_guard;
use actix_web::http::Method;
use actix_web::http::StatusCode;
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_LANGUAGE, CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, VARY,
    X_FRAME_OPTIONS,
};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, Route, web};
use maud::Markup;

use super::customer::{CustomerApi, Refusal};
use super::read;
use crate::identity::Customer;
use crate::store::{KnownTenant, StoreError, Tenant};

use address::{Bought, PageQuery};
use assets::Assets;
use language::{Languages, Reader};
use markup::Below;

pub use i18n::LocaleError;

/// Scripts and styles of our own files only; forms to this server only; no frames. Another site never gets the address, which
/// may hold a session's id. (`no-referrer` would make browsers send our own form with `Origin: null`.)
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
const REFERRERS: &str = "same-origin";
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");

/// Everything that the pages need.
#[derive(Debug)]
pub(super) struct Page {
    api: Arc<CustomerApi>,
    languages: Languages,
    assets: Assets,
}

impl Page {
    /// `folder`: that of the settings, whose `locales` add languages.
    ///
    /// # Errors
    /// [`LocaleError`].
    pub(super) fn new(api: Arc<CustomerApi>, folder: &Path) -> Result<Self, LocaleError> {
        let languages = Languages::load(folder)?;
        let assets = Assets::new(&languages);
        Ok(Self {
            api,
            languages,
            assets,
        })
    }
}

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .route("/assets/{name}", read().to(assets::show))
        .route("/widget.js", read().to(assets::widget))
        .service(
            web::resource("/{tenant}/subscriptions")
                .route(read().to(show))
                .route(web::post().to(missing_pass_form::sync)),
        );
}

/// The route by which another site's page signs its customer in with a form.
pub(super) fn sign_in() -> Route {
    web::post().guard(fn_guard(sign_in::is_form)).to(sign_in::begin)
}

/// `GET /{tenant}/subscriptions`
async fn show(page: web::Data<Page>, slug: web::Path<String>, request: HttpRequest) -> HttpResponse {
    let query = PageQuery::read(&request);
    let reader = page.languages.reader(&request, query.lang.as_deref());
    let visit = match page.visit(&request, &slug).await {
        Ok(visit) => visit,
        Err(refused) => {
            return match (&refused.why, &refused.tenant, &query.bought) {
                (Refusal::Unauthorized, Some(tenant), Some(bought)) => {
                    page.confirm_alone(&reader, tenant, &query, bought).await
                }
                _ => page.refuse(&reader, &refused, Some(&slug), &query),
            };
        }
    };
    // First the purchase, then the passes, so that a page that says "active" shows the pass.
    let message = match &query.bought {
        Some(bought) => purchase::message(&page, &reader, &visit, bought).await,
        None => purchase::of_sync(&reader, query.synced),
    };
    let tenant = &visit.tenant;
    let held = match page.api.customers.passes(&visit.customer, &visit.known).await {
        Ok(held) => held,
        Err(error) => {
            let refused = Refused::of(error.into(), Some(tenant.clone()));
            return page.refuse(&reader, &refused, Some(&slug), &query);
        }
    };
    // After a checkout the status of the purchase already does what a sync would.
    if *request.method() == Method::GET && query.bought.is_none() {
        visit.sync_quietly(&page);
    }
    let now = page.api.customers.clock.now();
    let passes = passes::list(&reader, tenant, &held, now);
    let below = Below::Passes(passes);
    let markup = markup::customers_page(&page, &reader, tenant, &query, &message, &below);
    answer(StatusCode::OK, &reader, markup)
}

/// A customer at a tenant's page.
struct Visit {
    customer: Customer,
    tenant: Arc<Tenant>,
    known: KnownTenant,
}

/// Why there is no page, and the tenant whose page it would be.
struct Refused {
    why: Refusal,
    tenant: Option<Arc<Tenant>>,
}

impl Refused {
    fn of(why: Refusal, tenant: Option<Arc<Tenant>>) -> Self {
        Self { why, tenant }
    }
}

impl Page {
    /// Authenticates the customer and finds the tenant. Without a sign-in the tenant is in the error, for its page.
    async fn visit(&self, request: &HttpRequest, slug: &str) -> Result<Visit, Refused> {
        let nobodys = |why| Refused::of(why, None);
        let customer = match self.api.credential(request).await {
            Ok(credential) => self.api.customer(request, &credential).await,
            Err(refusal) => Err(refusal),
        };
        if let Err(why @ Refusal::TooMany(_)) = customer {
            return Err(nobodys(why));
        }
        let tenant = self.tenant(slug).await.map_err(|error| nobodys(error.into()))?;
        let tenant = tenant.ok_or_else(|| nobodys(Refusal::UnknownTenant))?;
        match customer {
            Ok(customer) => Ok(Visit {
                customer,
                known: KnownTenant::of(&tenant),
                tenant,
            }),
            Err(why) => Err(Refused::of(why, Some(tenant))),
        }
    }

    async fn tenant(&self, slug: &str) -> Result<Option<Arc<Tenant>>, StoreError> {
        if slug.len() > super::customer::LONGEST_SLUG {
            return Ok(None);
        }
        self.api.customers.tenants.whole(slug).await
    }

    /// The page for a customer who returns from checkout without a sign-in: it may have expired while they paid, or the phone
    /// opened another browser. As in the API, the session's id shows whether the purchase is active, and nothing else.
    async fn confirm_alone(
        &self,
        reader: &Reader<'_>,
        tenant: &Tenant,
        query: &PageQuery,
        bought: &Bought,
    ) -> HttpResponse {
        let message = purchase::message_without_sign_in(self, reader, &KnownTenant::of(tenant), bought).await;
        let below = Below::SignIn(error_pages::sign_in(self, reader, Some(&tenant.slug), query));
        let markup = markup::customers_page(self, reader, tenant, query, &message, &below);
        answer(StatusCode::OK, reader, markup)
    }

    fn refuse(
        &self,
        reader: &Reader,
        refused: &Refused,
        slug: Option<&str>,
        query: &PageQuery,
    ) -> HttpResponse {
        error_pages::refusal(self, reader, refused, slug, query)
    }
}

impl Visit {
    /// Starts a quiet sync of the customer, at most once a minute, in the background.
    fn sync_quietly(&self, page: &Page) {
        let customers = page.api.customers.clone();
        let (customer, tenant) = (self.customer.clone(), self.known.clone());
        if customers.stripe.is_none() {
            return;
        }
        tokio::spawn(async move {
            if let Err(error) = customers.start_quiet_sync(&customer, &tenant).await {
                tracing::warn!(%error, "the sync of a visit could not be enqueued; the next visit tries again");
            }
        });
    }
}

/// A page with its security headers.
fn answer(status: StatusCode, reader: &Reader, markup: Markup) -> HttpResponse {
    protected(HttpResponse::build(status), reader).body(markup.into_string())
}

fn protected(mut response: HttpResponseBuilder, reader: &Reader) -> HttpResponseBuilder {
    response
        .content_type("text/html; charset=utf-8")
        .insert_header((CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((REFERRER_POLICY, REFERRERS))
        .insert_header((X_FRAME_OPTIONS, "DENY"))
        .insert_header((OPENER_POLICY, "same-origin"))
        // It belongs to one customer and changes at any moment.
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header((CONTENT_LANGUAGE, reader.language.tag.as_str()))
        .insert_header((VARY, "Accept-Language, Authorization, Cookie"));
    response
}
