//! A small shop, to show by example how one ties in: it signs its customer in at Surepass, sells through Checkout with the
//! customer's page to come back to, and embeds the widget.
//!
//! It is a server of this process: a part of neither Surepass, whose tokens it signs, nor the sandbox, which is Stripe and
//! knows no shop's secret; and as a program of its own nobody would start it.

mod checkout;
mod pages;
mod token;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use actix_web::dev::{Server, ServerHandle};
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, LOCATION, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use actix_web::middleware::DefaultHeaders;
use actix_web::{App, HttpResponse, HttpServer, web};
use maud::Markup;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::clock::Clock;
use crate::config::Settings;
use crate::up::{Place, UpError, beside};

use checkout::Checkout;
use token::Signer;

/// Where it is, if nobody else listens there.
const HERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 12_112);
/// One call of Stripe's sandbox.
const PATIENCE: Duration = Duration::from_secs(10);
/// The customer's page of the sample catalogue's tenant.
const PAGE: &str = "/studio/subscriptions";
const HTML: &str = "text/html; charset=utf-8";

const STYLE: &str = include_str!("shop.css");
const SCRIPT: &str = include_str!("shop.js");

/// The shop with its address and the secret that it shares with Surepass, before it opens.
pub(in crate::up) struct Shop {
    listener: TcpListener,
    address: SocketAddr,
    secret: SecretString,
}

impl Shop {
    /// On a free port of this machine, with a secret that no other process has.
    pub(in crate::up) fn bind(settings: &Settings) -> Result<Self, UpError> {
        let any = SocketAddr::new(HERE.ip(), 0);
        let listener = TcpListener::bind(beside(settings, HERE)).or_else(|_| TcpListener::bind(any));
        let told = |error| UpError::Io("the demo's shop".to_owned(), error);
        let listener = listener.map_err(told)?;
        Ok(Self {
            address: listener.local_addr().map_err(told)?,
            listener,
            secret: hex::encode(rand::random::<[u8; 32]>()).into(),
        })
    }

    pub(in crate::up) fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(in crate::up) fn jwt_secret(&self) -> SecretString {
        self.secret.clone()
    }

    /// What Surepass must be told of it.
    pub(in crate::up) fn settings(&self) -> Vec<(&'static str, SecretString)> {
        let origin = self.origin();
        let sign_in = format!("{origin}/sign-in?return={{return}}");
        vec![
            ("SUREPASS_JWT_SECRET", self.secret.clone()),
            ("SUREPASS_SIGN_IN_URL", sign_in.into()),
            ("SUREPASS_ALLOWED_ORIGINS", origin.into()),
        ]
    }

    /// Opens it, until the handle stops it.
    pub(in crate::up) fn open(self, place: &Place, settings: &Settings) -> Result<ServerHandle, UpError> {
        let origin = self.origin();
        let told = |error| UpError::Io(origin.clone(), error);
        let server = self.server(place, settings)?.map_err(told)?;
        let handle = server.handle();
        tokio::spawn(server);
        Ok(handle)
    }

    fn server(self, place: &Place, settings: &Settings) -> Result<io::Result<Server>, UpError> {
        let surepass = format!("http://{}", place.address);
        let counter = web::Data::new(Counter {
            signer: Signer::new(&self.secret, &settings.customers, Clock::system()),
            checkout: Checkout {
                http: crate::http_client::http().no_proxy().timeout(PATIENCE).build()?,
                stripe: place.stripe(),
            },
            origin: self.origin(),
            surepass,
        });
        let server = HttpServer::new(move || {
            App::new()
                .app_data(counter.clone())
                .wrap(counter.headers())
                .route("/", web::get().to(front))
                .route("/sign-in", web::get().to(sign_in))
                .route("/buy", web::post().to(buy))
                .route("/widget", web::get().to(widget))
                .route("/token", web::get().to(token))
                .route("/shop.css", web::get().to(style))
                .route("/shop.js", web::get().to(script))
        });
        let server = server.workers(1).disable_signals().shutdown_timeout(1);
        Ok(server.listen(self.listener).map(HttpServer::run))
    }
}

/// What the shop sells with.
struct Counter {
    signer: Signer,
    checkout: Checkout,
    /// Its own address.
    origin: String,
    surepass: String,
}

impl Counter {
    /// As strict as a shop can be that embeds the widget: its script and its calls are all that need a word.
    fn headers(&self) -> DefaultHeaders {
        let Self {
            surepass, checkout, ..
        } = self;
        let stripe = &checkout.stripe;
        let policy = format!(
            "default-src 'none'; script-src 'self' {surepass}; connect-src 'self' {surepass}; style-src 'self'; \
             img-src data:; form-action 'self' {surepass} {stripe}; base-uri 'none'; frame-ancestors 'none'"
        );
        DefaultHeaders::new()
            .add((CONTENT_SECURITY_POLICY, policy))
            // Not `no-referrer` or `same-origin`: browsers would send the form of the sign-in with `Origin: null`.
            .add((REFERRER_POLICY, "strict-origin-when-cross-origin"))
            .add((X_CONTENT_TYPE_OPTIONS, "nosniff"))
            // Its pages hold a token.
            .add((CACHE_CONTROL, "no-store"))
    }
}

/// What the address of the sign-in says.
#[derive(Deserialize)]
struct SignIn {
    /// Where the customer wants to go on Surepass; it checks that itself.
    #[serde(rename = "return")]
    to: Option<String>,
}

/// What the form of the shop says.
#[derive(Deserialize)]
struct Order {
    back: Back,
}

/// Where the customer comes back to from Checkout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Back {
    /// The customer's page of Surepass.
    Page,
    /// The shop's own page with the widget.
    Widget,
}

/// What the address of the page with the widget says.
#[derive(Deserialize)]
struct Embedded {
    session_id: Option<String>,
}

async fn front(counter: web::Data<Counter>) -> HttpResponse {
    page(pages::front(&counter, &counter.signer.token()))
}

/// Where Surepass sends who is not signed in.
async fn sign_in(counter: web::Data<Counter>, asked: web::Query<SignIn>) -> HttpResponse {
    let to = asked.to.as_deref().unwrap_or(PAGE);
    page(pages::sign_in(&counter, &counter.signer.token(), to))
}

/// Opens a Checkout Session and sends the customer there. What is not paid expires by itself.
async fn buy(counter: web::Data<Counter>, order: web::Form<Order>) -> HttpResponse {
    let success_url = match order.back {
        Back::Page => format!("{}{PAGE}?success=true", counter.surepass),
        Back::Widget => format!("{}/widget?success=true", counter.origin),
    };
    let opened = counter.checkout.open(&success_url, &counter.origin).await;
    match opened {
        Ok(url) => HttpResponse::SeeOther().insert_header((LOCATION, url)).finish(),
        Err(error) => {
            tracing::warn!(%error, "the demo's shop could not create a Checkout Session");
            let sorry = pages::sorry().into_string();
            HttpResponse::BadGateway().content_type(HTML).body(sorry)
        }
    }
}

async fn widget(counter: web::Data<Counter>, asked: web::Query<Embedded>) -> HttpResponse {
    page(pages::widget(&counter, asked.session_id.as_deref()))
}

/// A token for the widget. Pages of other origins can ask for it, too, but not read the answer.
async fn token(counter: web::Data<Counter>) -> HttpResponse {
    let token = counter.signer.token();
    HttpResponse::Ok()
        .content_type("text/plain; charset=utf-8")
        .body(token.expose_secret().to_owned())
}

/// A token of a customer, as the shop's sign-in would give it; the demo's scenes are customers, too.
pub(super) fn token_of(place: &Place, settings: &Settings, user: &str, email: &str) -> SecretString {
    let secret = place.jwt_secret.clone().unwrap_or_default();
    Signer::new(&secret, &settings.customers, Clock::system()).token_of(user, email)
}

async fn style() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/css; charset=utf-8")
        .body(STYLE)
}

async fn script() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/javascript; charset=utf-8")
        .body(SCRIPT)
}

fn page(markup: Markup) -> HttpResponse {
    HttpResponse::Ok().content_type(HTML).body(markup.into_string())
}
