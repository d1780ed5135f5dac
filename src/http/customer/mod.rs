//! The customers' routes, `/api/user/…`: the status of a purchase (once, or as a stream), their passes, a sync.

mod auth;
mod build;
mod refusal;
pub(super) mod session;
mod status;
mod stream;
mod subscriptions;
pub(super) mod sync;

use std::sync::Arc;

use actix_cors::Cors;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use actix_web::middleware::DefaultHeaders;
use actix_web::{Error, HttpResponse, Route, Scope, web};
use url::Url;

use super::read;
use crate::config::CustomerSettings;
use crate::customer::Customers;
use crate::identity::Identity;

pub(super) use auth::LONGEST_SLUG;
pub(super) use refusal::Refusal;

/// The longest body of these routes, in bytes. It holds a session's id.
const LARGEST_BODY: usize = 4_096;
/// How long a browser may cache the answer to a preflight request, in seconds.
const PREFLIGHT_SECONDS: usize = 3_600;
const TENANT_SLUG: &str = "x-tenant-slug";
/// The id of the last event that a client of a stream received.
const LAST_EVENT_ID: &str = "last-event-id";

/// Everything that the customers' routes need; also authenticates and rate limits their callers.
#[derive(Debug)]
pub(super) struct CustomerApi {
    pub(super) customers: Customers,
    pub(super) identity: Identity,
    pub(super) settings: CustomerSettings,
    /// The public address of this server, if it is set.
    pub(super) public: Option<Url>,
}

/// The routes, for `App::service`. `sign_in`: the page's route for a sign-in by form, under the same path as ours by token.
pub(super) fn scope(
    api: Arc<CustomerApi>,
    sign_in: Route,
) -> Scope<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<impl MessageBody>,
        Error = Error,
        InitError = (),
    >,
> {
    let cors = cors(&api.settings);
    web::scope("/api/user")
        .app_data(web::Data::from(api))
        .app_data(web::PayloadConfig::new(LARGEST_BODY))
        .route("/subscription-status", web::post().to(status::show))
        .route("/subscription-status/stream", web::get().to(stream::open))
        .route("/sync-subscriptions", web::post().to(sync::run))
        .route("/subscriptions", read().to(subscriptions::list))
        .route("/session", sign_in)
        .route("/session", web::post().to(session::begin))
        .route("/session", web::delete().to(session::end))
        .default_service(web::to(unknown))
        // Answers belong to one customer and change at any moment.
        .wrap(DefaultHeaders::new().add((CACHE_CONTROL, "no-store")))
        .wrap(cors)
}

/// For the allowed origins, with credentials. If there are none, no page of another site can read an answer.
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
