//! `POST` and `DELETE /api/user/session`: a page puts its token into a cookie, and takes it out.

use actix_web::cookie::time::Duration;
use actix_web::cookie::{Cookie, SameSite};
use actix_web::{HttpRequest, HttpResponse, web};

use super::visit::{COOKIE, Credential};
use super::{Door, Refusal};

/// How long the cookie lives, in seconds, if its token does.
const LIFE: i64 = 3_600;
/// Browsers drop a cookie of more than 4,096 bytes, its name and attributes included.
const LONGEST: usize = 3_900;

/// Puts the token of the `Authorization` header into a cookie that no script can read.
pub(super) async fn begin(door: web::Data<Door>, request: HttpRequest) -> Result<HttpResponse, Refusal> {
    let token = match door.credential(&request).await? {
        Credential::Bearer(token) => token,
        // A cookie cannot prolong itself.
        Credential::Cookie(_) | Credential::None => {
            door.within_limits(&request).await?;
            return Err(Refusal::Unauthorized);
        }
    };
    let cookie = cookie_for(&door, &request, &token).await?;
    Ok(HttpResponse::NoContent().cookie(cookie).finish())
}

/// The cookie that carries a token, which is verified first. It lives no longer than the token does.
pub(in crate::http) async fn cookie_for(
    door: &Door,
    request: &HttpRequest,
    token: &str,
) -> Result<Cookie<'static>, Refusal> {
    let credential = Credential::Bearer(token.to_owned());
    let customer = door.customer(request, &credential).await?;
    if token.len() > LONGEST {
        return Err(Refusal::TooLongForCookie);
    }
    let left = customer
        .expires
        .saturating_sub(door.customers.clock.now().timestamp());
    Ok(cookie(door, request, token.to_owned(), left.clamp(1, LIFE)))
}

/// Takes the cookie out.
pub(super) async fn end(door: web::Data<Door>, request: HttpRequest) -> HttpResponse {
    HttpResponse::NoContent()
        .cookie(cookie(&door, &request, String::new(), 0))
        .finish()
}

/// `Lax`, not `Strict`: who comes back from Stripe's checkout comes from another site, and must be known on arrival. What
/// changes something is asked for by POST, which another site's page cannot send with it.
fn cookie(door: &Door, request: &HttpRequest, token: String, seconds: i64) -> Cookie<'static> {
    let name = door.cookie_name(request);
    Cookie::build(name, token)
        .path("/")
        .http_only(true)
        .secure(name == COOKIE)
        .same_site(SameSite::Lax)
        .max_age(Duration::seconds(seconds))
        .finish()
}
