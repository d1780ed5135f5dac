//! What a customer sees where there is no page of theirs: calm words, and a way on.

use actix_web::http::header::RETRY_AFTER;
use actix_web::{HttpResponse, ResponseError};
use maud::{Markup, Render, html};
use url::form_urlencoded::byte_serialize;

use super::address::{self, Asked, Bought};
use super::language::Reader;
use super::markup::Frame;
use super::{Page, Refused, protected};
use crate::http::customer::Refusal;

/// The way on.
struct Link<'a> {
    words: &'a str,
    to: String,
}

pub(super) fn refusal(
    page: &Page,
    reader: &Reader,
    refused: &Refused,
    slug: Option<&str>,
    asked: &Asked,
) -> HttpResponse {
    let words = &reader.words().page;
    let here = slug.map(|slug| address::page(slug, reader, asked.bought.as_ref(), None));
    let back = |words| {
        let to = here.clone()?;
        Some(Link { words, to })
    };
    let (title, body) = match &refused.why {
        Refusal::Unauthorized => (&words.sign_in_title, sign_in(page, reader, slug, asked)),
        Refusal::UnknownTenant | Refusal::UnknownRoute | Refusal::NoTenant => {
            (&words.not_found_title, told(&words.not_found_text, None))
        }
        Refusal::TooMany(_) => (
            &words.too_many_title,
            told(&words.too_many_text, back(&words.again)),
        ),
        Refusal::OtherSite => (
            &words.forbidden_title,
            told(&words.forbidden_text, back(&words.to_passes)),
        ),
        Refusal::NotConfigured | Refusal::NoKey => (&words.off_title, told(&words.off_text, None)),
        Refusal::Unavailable | Refusal::Full(_) => {
            (&words.away_title, told(&words.away_text, back(&words.again)))
        }
        Refusal::NoSession
        | Refusal::TooLarge
        | Refusal::TooSlow
        | Refusal::TooLongForCookie
        | Refusal::Form
        | Refusal::Next => (&words.wrong_title, told(&words.wrong_text, None)),
    };
    let frame = Frame {
        page,
        reader,
        tenant: refused.tenant.as_deref(),
        slug,
        asked,
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

/// That somebody is to sign in, and where. Back from there they see what the address asks for, as if for the first time.
pub(super) fn sign_in(page: &Page, reader: &Reader, slug: Option<&str>, asked: &Asked) -> Markup {
    let words = &reader.words().page;
    let url = page.api.settings.sign_in_url.as_deref();
    let link = url.zip(slug).map(|(url, slug)| {
        let bought = asked.bought.clone().map(Bought::anew);
        let here = address::page(slug, reader, bought.as_ref(), None);
        Link {
            words: &reader.words().script.sign_in,
            to: sign_in_address(url, slug, &here),
        }
    });
    html! {
        (told(&words.sign_in_text, None))
        @match link {
            Some(link) => (link),
            None => (told(&words.sign_in_at_shop, None)),
        }
    }
}

fn told(text: &str, link: Option<Link>) -> Markup {
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

/// The shop's own sign-in, which sends its customer back to `here`.
fn sign_in_address(url: &str, tenant: &str, here: &str) -> String {
    let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    url.replace("{tenant}", &encoded(tenant))
        .replace("{return}", &encoded(here))
}
