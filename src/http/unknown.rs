//! Unknown paths, and methods that a path does not accept.

use actix_web::http::StatusCode;
use actix_web::http::header::{ACCEPT, ALLOW, CACHE_CONTROL, HeaderValue};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;

/// The form of a response, by what its client accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Page,
    Json,
    Text,
}

impl Form {
    /// A page for a browser, which names `text/html`; JSON for machines; text for a client that accepts no JSON.
    fn of(accepts: Option<&HeaderValue>) -> Self {
        let Some(accepts) = accepts.and_then(|accepts| accepts.to_str().ok()) else {
            return Self::Json;
        };
        let mut kinds = accepts
            .split(',')
            .filter_map(|kind| kind.split(';').next().map(str::trim));
        kinds
            .find_map(|kind| match kind {
                "text/html" | "application/xhtml+xml" => Some(Self::Page),
                "application/json" | "application/*" | "*/*" => Some(Self::Json),
                "text/plain" | "text/*" => Some(Self::Text),
                _ => None,
            })
            .unwrap_or(Self::Text)
    }
}

/// For every path that has no route.
pub(super) async fn show(request: HttpRequest) -> HttpResponse {
    let message = "There is no page at this address. Check it for typing errors.";
    answer(
        &request,
        StatusCode::NOT_FOUND,
        "not_found",
        "Page not found",
        message,
    )
}

/// For a webhook's address with another method than POST, as when it is opened in a browser.
pub(super) async fn only_post(request: HttpRequest) -> HttpResponse {
    let message = "This is a webhook endpoint. It accepts POST requests from Stripe only: register this address in the \
                   Stripe Dashboard under Developers → Webhooks.";
    let mut response = answer(
        &request,
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "Webhook endpoint",
        message,
    );
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static("POST"));
    response
}

fn answer(request: &HttpRequest, status: StatusCode, code: &str, title: &str, message: &str) -> HttpResponse {
    let mut response = HttpResponse::build(status);
    response.insert_header((CACHE_CONTROL, "no-store"));
    match Form::of(request.headers().get(ACCEPT)) {
        Form::Page => response
            .content_type("text/html; charset=utf-8")
            .body(page(title, message)),
        Form::Json => response.json(json!({ "error": { "code": code, "message": message } })),
        Form::Text => response
            .content_type("text/plain; charset=utf-8")
            .body(format!("{message}\n")),
    }
}

/// Holds nothing of the request.
fn page(title: &str, message: &str) -> String {
    include_str!("unknown.html")
        .replace("{title}", title)
        .replace("{message}", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_gets_a_page_and_a_machine_what_it_reads() {
        let form = |accepts| Form::of(Some(&HeaderValue::from_static(accepts)));
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        assert_eq!(form(browser), Form::Page);
        assert_eq!(form("*/*"), Form::Json);
        assert_eq!(form("application/json"), Form::Json);
        assert_eq!(form("text/plain;q=0.5, text/css"), Form::Text);
        assert_eq!(form("image/png"), Form::Text);
        assert_eq!(Form::of(None), Form::Json);
    }
}
