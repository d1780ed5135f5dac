//! The shop's pages. Each says in small print how it is done.

use maud::{DOCTYPE, Markup, html};
use secrecy::{ExposeSecret, SecretString};

use super::token::NAME;
use super::{Counter, PAGE};

/// The code of the example, as the page with the widget shows it.
const EMBEDDING: &str = r#"<script src="https://passes.example/widget.js" defer></script>
<surepass-passes tenant="studio" session="cs_…"></surepass-passes>"#;
const TOKEN: &str = r#"document.querySelector("surepass-passes").token =
  async () => (await fetch("/token")).text();"#;

pub(super) fn front(counter: &Counter, token: &SecretString) -> Markup {
    let body = html! {
        p.lead { "A small shop that does what yours does. " (NAME) " is its only customer, and no money moves." }
        section {
            h2 { "1. Sign in" }
            (handover(counter, token, PAGE))
            p.how { "The shop signs a token for " (NAME) ", and posts it as a form to "
                code { "/api/user/session" } ", which stores it in a cookie and redirects to her passes. If shop and Surepass share a site, a "
                "script can make the same call, and she stays here." }
        }
        section {
            h2 { "2. Buy" }
            div.offer {
                p { strong { "10 classes" } " kr 1500" }
                form method="post" action="/buy" {
                    button name="back" value="page" { "Buy 10 classes" }
                }
            }
            p.how { "The shop opens a Checkout Session with " code { "passId" } ", " code { "userId" } " and " code { "tenantId" }
                " in its metadata. Its success URL is " code { "…" (PAGE) "?success=true&session_id={CHECKOUT_SESSION_ID}" }
                "." }
        }
        section {
            h2 { "3. See the pass" }
            p { a href={ (counter.surepass) (PAGE) } { (NAME) "’s passes" } " are a page of Surepass. "
                a href="/widget" { "The widget" } " shows them on a page of the shop." }
        }
    };
    page("Studio One", &body)
}

pub(super) fn sign_in(counter: &Counter, token: &SecretString, to: &str) -> Markup {
    let body = html! {
        p.lead { "Your passes are safe. Sign in to see them." }
        (handover(counter, token, to))
    };
    page("Sign in", &body)
}

/// The form that takes a customer of the shop to Surepass, signed in.
fn handover(counter: &Counter, token: &SecretString, next: &str) -> Markup {
    html! {
        form method="post" action={ (counter.surepass) "/api/user/session" } data-sign-in {
            input type="hidden" name="token" value=(token.expose_secret());
            input type="hidden" name="next" value=(next);
            button { "Sign in as " (NAME) }
        }
        p role="status" data-signed-in {}
    }
}

pub(super) fn widget(counter: &Counter, session: Option<&str>) -> Markup {
    let body = html! {
        p.lead { "A page of the shop, with " (NAME) "’s passes in it." }
        surepass-passes tenant="studio" lang="en" session=[session] {}
        script src={ (counter.surepass) "/widget.js" } defer {}
        section {
            h2 { "Try it" }
            form method="post" action="/buy" {
                button.second name="back" value="widget" { "Buy 10 classes and return here" }
            }
        }
        section {
            h2 { "How it works" }
            pre { code { (EMBEDDING) } }
            p.how { "The shop’s script passes the token: " }
            pre { code { (TOKEN) } }
            p.how { "Surepass lists this origin in " code { "customers.allowed_origins" } ". Colours are custom properties, as in "
                code { "shop.css" } ". The widget has no other style, script or image that a "
                "Content-Security-Policy would have to allow." }
            p { a href="/" { "Back to the shop" } }
        }
    };
    page("The widget", &body)
}

pub(super) fn sorry() -> Markup {
    let body = html! {
        p.lead { "You were not charged: the checkout is not responding. Please try again." }
        p { a href="/" { "Back to the shop" } }
    };
    page("One moment, please", &body)
}

fn page(title: &str, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " · the demo’s shop" }
                link rel="icon" href="data:,";
                link rel="stylesheet" href="/shop.css";
                script src="/shop.js" defer {}
            }
            body {
                main {
                    h1 { (title) }
                    (body)
                }
            }
        }
    }
}
