//! `POST` and `DELETE /api/user/session`: put a page's token into a cookie, and remove it.

use actix_web::cookie::time::Duration;
use actix_web::cookie::{Cookie, SameSite};
use actix_web::{HttpRequest, HttpResponse, web};

use super::auth::{COOKIE, Credential};
use super::{CustomerApi, Refusal};

/// The longest life of the cookie, in seconds.
const LIFE: i64 = 3_600;
/// Browsers drop a cookie of more than 4,096 bytes, its name and attributes included.
const LONGEST: usize = 3_900;

/// Puts the token of the `Authorization` header into a cookie that no script can read.
pub(super) async fn begin(
    api: web::Data<CustomerApi>,
    request: HttpRequest,
) -> Result<HttpResponse, Refusal> {
    let token = match api.credential(&request).await? {
        Credential::Bearer(token) => token,
        // A cookie cannot renew itself.
        Credential::Cookie(_) | Credential::None => {
            api.within_limits(&request).await?;
            return Err(Refusal::Unauthorized);
        }
    };
    let cookie = cookie_for(&api, &request, &token).await?;
    Ok(HttpResponse::NoContent().cookie(cookie).finish())
}

/// Verifies a token and puts it into a cookie. The cookie expires no later than the token.
pub(in crate::http) async fn cookie_for(
    api: &CustomerApi,
    request: &HttpRequest,
    token: &str,
) -> Result<Cookie<'static>, Refusal> {
    let credential = Credential::Bearer(token.to_owned());
    let customer = api.customer(request, &credential).await?;
    if token.len() > LONGEST {
        return Err(Refusal::TooLongForCookie);
    }
    let left = customer
        .expires
        .saturating_sub(api.customers.clock.now().timestamp());
    Ok(cookie(api, request, token.to_owned(), left.clamp(1, LIFE)))
}

/// Removes the cookie.
pub(super) async fn end(api: web::Data<CustomerApi>, request: HttpRequest) -> HttpResponse {
    HttpResponse::NoContent()
        .cookie(cookie(&api, &request, String::new(), 0))
        .finish()
}

/// `Lax`, not `Strict`: a customer who returns from Stripe's checkout comes from another site and must be signed in. Changes
/// need a POST, which another site's page cannot send with the cookie.
fn cookie(api: &CustomerApi, request: &HttpRequest, token: String, seconds: i64) -> Cookie<'static> {
    let name = api.cookie_name(request);
    Cookie::build(name, token)
        .path("/")
        .http_only(true)
        .secure(name == COOKIE)
        .same_site(SameSite::Lax)
        .max_age(Duration::seconds(seconds))
        .finish()
}
