//! The customers' routes, `/api/user/…`: what became of a purchase (at once, or as it changes), which passes they hold, a sync.

mod build;
mod refusal;
pub(super) mod session;
mod status;
mod stream;
mod subscriptions;
pub(super) mod sync;
mod visit;

use std::sync::Arc;

use actix_cors::Cors;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use actix_web::middleware::DefaultHeaders;
use actix_web::{Error, HttpResponse, Scope, web};
use url::Url;

use super::{page, read};
use crate::config::CustomerSettings;
use crate::customer::Customers;
use crate::identity::Identity;

pub(super) use refusal::Refusal;
pub(super) use visit::LONGEST_SLUG;

/// The longest body of these routes, in bytes: it holds a session's id.
const LARGEST_BODY: usize = 4_096;
/// For how long a browser need not ask again whether another site's page may call, in seconds.
const PREFLIGHT_SECONDS: usize = 3_600;
const TENANT_SLUG: &str = "x-tenant-slug";
/// What a client of a stream knows already.
const LAST_EVENT_ID: &str = "last-event-id";

/// What the routes answer from.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) customers: Customers,
    pub(super) identity: Identity,
    pub(super) settings: CustomerSettings,
    /// Where the world reaches this server, if somebody has said.
    pub(super) public: Option<Url>,
}

/// The routes, for `App::service`.
pub(super) fn scope(
    door: Arc<Door>,
) -> Scope<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<impl MessageBody>,
        Error = Error,
        InitError = (),
    >,
> {
    let cors = cors(&door.settings);
    web::scope("/api/user")
        .app_data(web::Data::from(door))
        .app_data(web::PayloadConfig::new(LARGEST_BODY))
        .route("/subscription-status", web::post().to(status::show))
        .route("/subscription-status/stream", web::get().to(stream::open))
        .route("/sync-subscriptions", web::post().to(sync::run))
        .route("/subscriptions", read().to(subscriptions::list))
        .route("/session", page::sign_in())
        .route("/session", web::post().to(session::begin))
        .route("/session", web::delete().to(session::end))
        .default_service(web::to(unknown))
        // Answers are one customer's, and are true for a moment.
        .wrap(DefaultHeaders::new().add((CACHE_CONTROL, "no-store")))
        .wrap(cors)
}

/// For the configured origins, and their cookies, too. With none no page of another site can read an answer.
fn cors(settings: &CustomerSettings) -> Cors {
    let cors = Cors::default()
        .allowed_methods(["GET", "POST", "DELETE"])
        .allowed_headers([
            AUTHORIZATION.as_str(),
            CONTENT_TYPE.as_str(),
            LAST_EVENT_ID,
            TENANT_SLUG,
        ])
        .expose_headers([RETRY_AFTER])
        .supports_credentials()
        .max_age(PREFLIGHT_SECONDS);
    settings
        .allowed_origins
        .iter()
        .fold(cors, |cors, origin| cors.allowed_origin(origin))
}

async fn unknown() -> Result<HttpResponse, Refusal> {
    Err(Refusal::UnknownRoute)
}
