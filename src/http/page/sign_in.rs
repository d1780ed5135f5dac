//! `POST /api/user/session` as a form: another site's page sends its customer here with the token; the customer is signed in and
//! redirected to `next`.

use actix_web::cookie::Cookie;
use actix_web::guard::GuardContext;
use actix_web::http::header::{CONTENT_TYPE, LOCATION};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use url::Url;

use super::address::PageQuery;
use super::{Page, Refused};
use crate::http::customer::{CustomerApi, Refusal, session};

/// The longest `next`, in bytes.
const LONGEST_NEXT: usize = 2_000;

/// What the form sends.
#[derive(Deserialize)]
pub(super) struct Form {
    token: String,
    next: String,
}

/// Whether a call is a form's.
pub(super) fn is_form(call: &GuardContext<'_>) -> bool {
    let kind = call.head().headers().get(CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

/// Puts the token into the cookie and redirects. Only for forms of our own pages or an allowed origin: any other site could sign
/// its visitor in as another user.
pub(super) async fn begin(
    page: web::Data<Page>,
    request: HttpRequest,
    form: Result<web::Form<Form>, actix_web::Error>,
) -> HttpResponse {
    match signed_in(&page.api, &request, form).await {
        Ok((cookie, next)) => HttpResponse::SeeOther()
            .cookie(cookie)
            .insert_header((LOCATION, next))
            .finish(),
        Err(why) => {
            let reader = page.languages.reader(&request, None);
            page.refuse(&reader, &Refused::of(why, None), None, &PageQuery::default())
        }
    }
}

async fn signed_in(
    api: &CustomerApi,
    request: &HttpRequest,
    form: Result<web::Form<Form>, actix_web::Error>,
) -> Result<(Cookie<'static>, String), Refusal> {
    let read = match form {
        _ if !api.is_own_page(request) => Err(Refusal::OtherSite),
        Ok(form) => match local_path(&form.next) {
            Some(next) => Ok((form.into_inner().token, next)),
            None => Err(Refusal::Next),
        },
        Err(error) if matches!(Refusal::of_body(&error), Refusal::TooSlow) => Err(Refusal::TooSlow),
        Err(_) => Err(Refusal::Form),
    };
    let (token, next) = match read {
        Ok(read) => read,
        // Every request counts, also a refused one.
        Err(refusal) => {
            api.within_limits(request).await?;
            return Err(refusal);
        }
    };
    Ok((session::cookie_for(api, request, &token).await?, next))
}

/// The address, if it is on this server whatever a browser makes of its slashes and control characters.
fn local_path(next: &str) -> Option<String> {
    const HERE: &str = "https://here.invalid";
    if next.len() > LONGEST_NEXT || !next.starts_with('/') || next.contains(['\\', '\t', '\r', '\n']) {
        return None;
    }
    let here = Url::parse(HERE).ok()?;
    let there = here.join(next).ok()?;
    let path = &there[url::Position::BeforePath..];
    (there.origin() == here.origin() && !path.starts_with("//")).then(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_next_that_points_elsewhere_is_refused() {
        for elsewhere in [
            "",
            "studio",
            "//evil.example.com",
            "/\\evil.example.com",
            "\\\\evil.example.com",
            "/\t/evil.example.com",
            "https://evil.example.com/",
            "javascript:alert(1)",
            "data:text/html,x",
            " /studio",
            "/\r\nSet-Cookie: a=b",
            "///evil.example.com",
            "/.//evil.example.com/..//",
        ] {
            assert_eq!(local_path(elsewhere), None, "{elsewhere}");
        }
        let long = format!("/{}", "a".repeat(LONGEST_NEXT));
        assert_eq!(local_path(&long), None);
        let fine = "/studio/subscriptions?success=true&session_id=cs_test_1#passes";
        assert_eq!(local_path(fine).as_deref(), Some(fine));
    }
}
