//! The hosted page, on which a buyer pays or does not. Works without scripts.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, LOCATION, REFERRER_POLICY};
use actix_web::{HttpResponse, web};
use iso_currency::Currency;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde::Deserialize;

use crate::checkout::Method;
use crate::objects::{Buyer, LineItem, Payment, Session, Status};
use crate::sandbox::Sandbox;
use crate::world::Cause;

const STYLE: &str = include_str!("page.css");
/// How long Checkout waits for the answers to the webhook before it sends the buyer back.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the buyer sent.
#[derive(Deserialize)]
pub(crate) struct Choice {
    #[serde(default)]
    email: String,
    pay: Way,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Way {
    Card,
    Transfer,
}

/// `GET /pay/{session}`
pub(crate) async fn show(id: web::Path<String>, sandbox: web::Data<Sandbox>) -> HttpResponse {
    let found = sandbox.world().session_anywhere(&id);
    match found {
        Some((_, session)) => page(StatusCode::OK, &of_session(&session, None)),
        None => page(StatusCode::NOT_FOUND, &nothing()),
    }
}

/// `POST /pay/{session}`: pays, waits for the webhook's answers, and sends the buyer back to the shop.
pub(crate) async fn pay(
    id: web::Path<String>,
    choice: web::Form<Choice>,
    sandbox: web::Data<Sandbox>,
) -> HttpResponse {
    let Some((scope, session)) = sandbox.world().session_anywhere(&id) else {
        return page(StatusCode::NOT_FOUND, &nothing());
    };
    let typed = choice.email.trim();
    let email = match known_email(&session) {
        Some(email) => Some(email.to_owned()),
        None if typed.contains('@') => Some(typed.to_owned()),
        None => {
            let markup = of_session(&session, Some("Please enter your email address."));
            return page(StatusCode::UNPROCESSABLE_ENTITY, &markup);
        }
    };
    let method = match choice.pay {
        Way::Transfer if takes_transfers(&session) => Method::Transfer,
        _ => Method::Card,
    };
    let buyer = Buyer { email, name: None };
    let cause = Cause::now(sandbox.clock.now());
    let paid = sandbox.world().pay(&scope, &session.id, method, buyer, &cause);
    sandbox.changed();
    if let Ok(events) = paid {
        sandbox.until(PATIENCE, |world| world.answered(&events)).await;
        return back_to_shop(&session);
    }
    // Sent twice, or too late: the page tells how things stand.
    let now = sandbox.world().session_anywhere(&id);
    match now {
        Some((_, session)) if session.status == Status::Complete => back_to_shop(&session),
        Some((_, session)) => page(StatusCode::CONFLICT, &of_session(&session, None)),
        None => page(StatusCode::NOT_FOUND, &nothing()),
    }
}

fn back_to_shop(session: &Session) -> HttpResponse {
    HttpResponse::SeeOther()
        .insert_header((LOCATION, success_url(session)))
        .insert_header((CACHE_CONTROL, "no-store"))
        .finish()
}

fn success_url(session: &Session) -> String {
    session.success_url.replace("{CHECKOUT_SESSION_ID}", &session.id)
}

fn known_email(session: &Session) -> Option<&str> {
    session.email().map(String::as_str)
}

/// A card always works here; a transfer only where the seller takes one that settles later.
fn takes_transfers(session: &Session) -> bool {
    session.amount > 0 && session.payment_method_types.iter().any(|kind| kind != "card")
}

fn page(status: StatusCode, body: &Markup) -> HttpResponse {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "Pay · Surepass sandbox" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                p.note role="note" { "Sandbox: no money moves here." }
                main { (body) }
            }
        }
    };
    // No form-action: browsers apply it to where a form's answer leads, too, and that is the shop.
    HttpResponse::build(status)
        .insert_header((
            CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'",
        ))
        .insert_header((REFERRER_POLICY, "no-referrer"))
        .insert_header((CACHE_CONTROL, "no-store"))
        .content_type("text/html; charset=utf-8")
        .body(page.into_string())
}

fn nothing() -> Markup {
    html! {
        div.card {
            h1 { "There is nothing to pay here" }
            p.said { "No such purchase: the address may be cut off, or the sandbox has restarted since." }
        }
    }
}

fn of_session(session: &Session, complaint: Option<&str>) -> Markup {
    html! {
        div.card {
            h1 { (heading(session)) }
            p.total { (money(session.amount, &session.currency)) }
            ul aria-label="What is bought" {
                @for item in &session.line_items { (line(item)) }
            }
            @match session.status {
                Status::Open => (form(session, complaint)),
                Status::Complete => {
                    p.said { (settled(session)) }
                    a.back href=(success_url(session)) { "Back to the shop" }
                }
                Status::Expired => { p.said { "This page has expired, and nothing was paid." } }
            }
        }
        p.foot.soft { (session.id) }
    }
}

fn heading(session: &Session) -> &'static str {
    match session.status {
        Status::Open if session.amount == 0 => "To pay: nothing",
        Status::Open => "To pay",
        Status::Complete => "Done",
        Status::Expired => "Expired",
    }
}

fn settled(session: &Session) -> &'static str {
    match session.payment {
        Payment::Paid => "This purchase is paid.",
        Payment::NotRequired => "This purchase is complete; there was nothing to pay.",
        Payment::Unpaid => "The bank transfer is on its way.",
    }
}

fn line(item: &LineItem) -> Markup {
    html! {
        li {
            span {
                (item.description)
                @if item.quantity > 1 { span.soft { " × " (item.quantity) } }
            }
            span { (money(item.amount(), &item.price.currency)) }
        }
    }
}

fn form(session: &Session, complaint: Option<&str>) -> Markup {
    let free = session.amount == 0;
    html! {
        form method="post" action={ "/pay/" (session.id) } {
            @if let Some(email) = known_email(session) {
                p.soft { "For " (email) }
            } @else {
                label for="email" { "Email" }
                input #email name="email" type="email" autocomplete="email" required
                    aria-describedby="why" aria-invalid=[complaint.map(|_| "true")];
                p.hint #why role=[complaint.map(|_| "alert")] {
                    (complaint.unwrap_or("For the receipt."))
                }
            }
            button.first type="submit" name="pay" value="card" { @if free { "Get it" } @else { "Pay" } }
            @if takes_transfers(session) {
                button type="submit" name="pay" value="transfer" { "Pay by bank transfer" small { "settles later" } }
            }
        }
        @if let Some(url) = &session.cancel_url { a.cancel href=(url) { "Cancel" } }
    }
}

/// In major units, with as many decimals as ISO 4217 gives the currency.
fn money(amount: i64, currency: &str) -> String {
    let code = currency.to_uppercase();
    let decimals = Currency::from_code(&code).and_then(Currency::exponent);
    let decimals = usize::from(decimals.unwrap_or(2));
    let digits = format!("{amount:0width$}", width = decimals + 1);
    match digits.split_at(digits.len() - decimals) {
        (whole, "") => format!("{whole} {code}"),
        (whole, part) => format!("{whole}.{part} {code}"),
    }
}
