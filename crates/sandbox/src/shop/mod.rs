//! A small shop, to show by example how one connects: it signs its customer in at Surepass, sells through Checkout with the
//! customer's page to come back to, and embeds the widget. `surepass up --demo` opens it.
//!
//! It uses the sandbox as it would use Stripe, over HTTP.

mod checkout;
mod pages;
mod token;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, LOCATION, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use actix_web::middleware::DefaultHeaders;
use actix_web::{App, HttpResponse, HttpServer, web};
use maud::Markup;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::sandbox::Sandbox;
use checkout::Checkout;
use token::{Customer, Signer};

/// How long Stripe may take to create a session.
const PATIENCE: Duration = Duration::from_secs(10);
/// The customer's page of the sample catalog's tenant.
const PAGE: &str = "/studio/subscriptions";
const HTML: &str = "text/html; charset=utf-8";

const STYLE: &str = include_str!("shop.css");
const SCRIPT: &str = include_str!("shop.js");

/// The demo's shop.
#[derive(clap::Args, Debug, Default)]
pub(crate) struct Options {
    /// Open a small shop at this address. It sells passes through the sandbox, to show how a shop connects to Surepass
    #[arg(long, value_name = "ADDRESS", requires_all = ["surepass", "jwt_secret"])]
    shop: Option<SocketAddr>,
    /// Address of Surepass, where the shop sends its customers
    #[arg(long, value_name = "URL", requires = "shop")]
    surepass: Option<String>,
    /// Secret that signs the tokens of the shop's customers: the one that Surepass verifies them with
    #[arg(
        long,
        value_name = "SECRET",
        env = "SUREPASS_JWT_SECRET",
        hide_env_values = true
    )]
    jwt_secret: Option<SecretString>,
    /// Issuer (`iss`) of the shop's tokens, if Surepass requires one
    #[arg(long, value_name = "ISSUER", requires = "shop")]
    jwt_issuer: Option<String>,
    /// Audience (`aud`) of the shop's tokens, if Surepass requires one
    #[arg(long, value_name = "AUDIENCE", requires = "shop")]
    jwt_audience: Option<String>,
}

impl Options {
    /// The shop, ready to run; `None` where none was asked for. `stripe`: the sandbox's own address.
    pub(crate) fn open(self, stripe: &str, sandbox: Arc<Sandbox>) -> io::Result<Option<Server>> {
        let Some(address) = self.shop else {
            return Ok(None);
        };
        let listener = TcpListener::bind(address)?;
        let origin = format!("http://{}", listener.local_addr()?);
        println!("the shop is at {origin}");
        let counter = web::Data::new(Counter {
            signer: Signer {
                secret: self.jwt_secret.unwrap_or_default(),
                issuer: self.jwt_issuer,
                audience: self.jwt_audience,
                sandbox,
            },
            checkout: Checkout {
                http: crate::http_client(PATIENCE).map_err(io::Error::other)?,
                stripe: stripe.to_owned(),
            },
            origin,
            surepass: self.surepass.unwrap_or_default(),
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
        Ok(Some(server.listen(listener)?.run()))
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
    /// As strict as a shop that embeds the widget can be: only its script and its calls need permission.
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
/// The query of the sign-in page.
#[derive(Deserialize)]
struct SignIn {
    /// Where the customer wants to go on Surepass; it checks that itself.
    #[serde(rename = "return")]
    to: Option<String>,
}

/// The form that buys.
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

/// The query of the page with the widget.
#[derive(Deserialize)]
struct Embedded {
    session_id: Option<String>,
}

async fn front(counter: web::Data<Counter>) -> HttpResponse {
    page(pages::front(
        &counter,
        &counter.signer.token(&Customer::default()),
    ))
}

/// Where Surepass sends customers who are not signed in.
async fn sign_in(counter: web::Data<Counter>, asked: web::Query<SignIn>) -> HttpResponse {
    let to = asked.to.as_deref().unwrap_or(PAGE);
    page(pages::sign_in(
        &counter,
        &counter.signer.token(&Customer::default()),
        to,
    ))
}

/// Creates a Checkout Session and redirects the customer to it.
async fn buy(counter: web::Data<Counter>, order: web::Form<Order>) -> HttpResponse {
    let success_url = match order.back {
        Back::Page => format!("{}{PAGE}?success=true", counter.surepass),
        Back::Widget => format!("{}/widget?success=true", counter.origin),
    };
    let opened = counter
        .checkout
        .open(&Customer::default(), &success_url, &counter.origin)
        .await;
    match opened {
        Ok(url) => HttpResponse::SeeOther().insert_header((LOCATION, url)).finish(),
        Err(error) => {
            eprintln!("the shop cannot create a Checkout Session: {error}");
            let sorry = pages::sorry().into_string();
            HttpResponse::BadGateway().content_type(HTML).body(sorry)
        }
    }
}

async fn widget(counter: web::Data<Counter>, asked: web::Query<Embedded>) -> HttpResponse {
    page(pages::widget(&counter, asked.session_id.as_deref()))
}

/// A token for the widget; of another customer where the query names one, as the demo's scenes do. Pages of other origins can ask
/// for it, too, but not read the answer.
async fn token(counter: web::Data<Counter>, customer: Option<web::Query<Customer>>) -> HttpResponse {
    let customer = customer.map(web::Query::into_inner).unwrap_or_default();
    let token = counter.signer.token(&customer);
    HttpResponse::Ok()
        .content_type("text/plain; charset=utf-8")
        .body(token.expose_secret().to_owned())
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
