//! The customers' error pages: what happened, and a link to go on.

use actix_web::http::header::RETRY_AFTER;
use actix_web::{HttpResponse, ResponseError};
use maud::{Markup, Render, html};
use url::form_urlencoded::byte_serialize;

use super::address::{self, Bought, PageQuery};
use super::language::Reader;
use super::markup::Frame;
use super::{Page, Refused, protected};
use crate::http::customer::Refusal;

/// A link to go on.
struct Link<'a> {
    words: &'a str,
    to: String,
}

pub(super) fn refusal(
    page: &Page,
    reader: &Reader,
    refused: &Refused,
    slug: Option<&str>,
    query: &PageQuery,
) -> HttpResponse {
    let words = &reader.words().page;
    let here = slug.map(|slug| address::page(slug, reader, query.bought.as_ref(), None));
    let back = |words| {
        let to = here.clone()?;
        Some(Link { words, to })
    };
    let (title, body) = match &refused.why {
        Refusal::Unauthorized => (&words.sign_in_title, sign_in(page, reader, slug, query)),
        Refusal::UnknownTenant | Refusal::UnknownRoute | Refusal::NoTenant => {
            (&words.not_found_title, paragraph(&words.not_found_text, None))
        }
        Refusal::TooMany(_) => (
            &words.too_many_title,
            paragraph(&words.too_many_text, back(&words.again)),
        ),
        Refusal::OtherSite => (
            &words.forbidden_title,
            paragraph(&words.forbidden_text, back(&words.to_passes)),
        ),
        Refusal::NotConfigured | Refusal::NoKey => (&words.off_title, paragraph(&words.off_text, None)),
        Refusal::Unavailable | Refusal::Full(_) => {
            (&words.away_title, paragraph(&words.away_text, back(&words.again)))
        }
        Refusal::NoSession
        | Refusal::TooLarge
        | Refusal::TooSlow
        | Refusal::TooLongForCookie
        | Refusal::Form
        | Refusal::Next => (&words.wrong_title, paragraph(&words.wrong_text, None)),
    };
    let frame = Frame {
        page,
        reader,
        tenant: refused.tenant.as_deref(),
        slug,
        query,
        title,
        refresh: None,
        script: false,
    };
    let mut response = HttpResponse::build(refused.why.status_code());
    if let Some(wait) = refused.why.error_response().headers().get(RETRY_AFTER) {
        response.insert_header((RETRY_AFTER, wait.clone()));
    }
    protected(response, reader).body(frame.around(&body).into_string())
}

/// Asks to sign in, and links to the shop's sign-in. It returns to this address, with the first look at a purchase.
pub(super) fn sign_in(page: &Page, reader: &Reader, slug: Option<&str>, query: &PageQuery) -> Markup {
    let words = &reader.words().page;
    let url = page.api.settings.sign_in_url.as_deref();
    let link = url.zip(slug).map(|(url, slug)| {
        let bought = query.bought.clone().map(Bought::anew);
        let here = address::page(slug, reader, bought.as_ref(), None);
        Link {
            words: &reader.words().script.sign_in,
            to: sign_in_address(url, slug, &here),
        }
    });
    html! {
        (paragraph(&words.sign_in_text, None))
        @match link {
            Some(link) => (link),
            None => (paragraph(&words.sign_in_at_shop, None)),
        }
    }
}

fn paragraph(text: &str, link: Option<Link>) -> Markup {
    html! {
        p { (text) }
        @if let Some(link) = link { (link) }
    }
}

impl Render for Link<'_> {
    fn render(&self) -> Markup {
        html! { p { a.button href=(self.to) { (self.words) } } }
    }
}

/// The address of the shop's own sign-in, which returns to `here`.
fn sign_in_address(url: &str, tenant: &str, here: &str) -> String {
    let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    url.replace("{tenant}", &encoded(tenant))
        .replace("{return}", &encoded(here))
}
