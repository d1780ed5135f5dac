//! What a customer sees where there is no page of theirs: calm words, and a way on.

use actix_web::http::header::RETRY_AFTER;
use actix_web::{HttpResponse, ResponseError};
use maud::html;
use url::form_urlencoded::byte_serialize;

use super::address::{self, Asked};
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
    let (title, text, link) = match &refused.why {
        Refusal::Unauthorized => {
            let url = page.door.settings.sign_in_url.as_deref();
            let link = url
                .zip(slug)
                .zip(here.as_deref())
                .map(|((url, slug), here)| Link {
                    words: reader.words().script.sign_in.as_str(),
                    to: sign_in_address(url, slug, here),
                });
            (&words.sign_in_title, &words.sign_in_text, link)
        }
        Refusal::UnknownTenant | Refusal::UnknownRoute | Refusal::NoTenant => {
            (&words.not_found_title, &words.not_found_text, None)
        }
        Refusal::TooMany(_) => (&words.too_many_title, &words.too_many_text, back(&words.again)),
        Refusal::OtherSite => (
            &words.forbidden_title,
            &words.forbidden_text,
            back(&words.to_passes),
        ),
        Refusal::NotConfigured | Refusal::NoKey => (&words.off_title, &words.off_text, None),
        Refusal::Unavailable | Refusal::Full(_) => (&words.away_title, &words.away_text, back(&words.again)),
        Refusal::NoSession
        | Refusal::TooLarge
        | Refusal::TooLongForCookie
        | Refusal::Form
        | Refusal::Next => (&words.wrong_title, &words.wrong_text, None),
    };
    let without_way = matches!(refused.why, Refusal::Unauthorized) && link.is_none();
    let body = html! {
        p { (text) }
        @if without_way { p { (words.sign_in_at_shop) } }
        @if let Some(link) = link {
            p { a.button href=(link.to) { (link.words) } }
        }
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

/// The shop's own sign-in, which sends its customer back to `here`.
fn sign_in_address(url: &str, tenant: &str, here: &str) -> String {
    let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    url.replace("{tenant}", &encoded(tenant))
        .replace("{return}", &encoded(here))
}
