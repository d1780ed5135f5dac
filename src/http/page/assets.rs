//! The page's script and stylesheets: compiled in, under addresses that change with their content.

use std::collections::BTreeMap;

use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, ETAG, EntityTag, Header, HeaderName, IfNoneMatch,
};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::language::Languages;
use super::{Page, accent};

/// One script, in the order in which its parts need each other.
const SCRIPT: &str = concat!(
    include_str!("script/i18n.js"),
    include_str!("script/api.js"),
    include_str!("script/confirmation.js"),
    include_str!("script/controller.js"),
    include_str!("script/widget.js"),
    include_str!("script/element.js"),
);
const STYLE: &str = include_str!("surepass.css");
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";

/// For an address with the hash of the content: it never changes.
const FOR_EVER: &str = "public, max-age=31536000, immutable";
/// For the plain address, which other sites embed: a new version arrives within minutes.
const FOR_MINUTES: &str = "public, max-age=300";
const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

#[derive(Debug)]
pub(super) struct Assets {
    script: Asset,
    style: Asset,
}

#[derive(Debug)]
struct Asset {
    body: Bytes,
    hash: String,
    kind: &'static str,
}

impl Asset {
    fn new(body: String, kind: &'static str) -> Self {
        let hash = hex::encode(&Sha256::digest(&body)[..8]);
        let body = Bytes::from(body);
        Self { body, hash, kind }
    }

    /// Any site may load it: it holds no customer's data.
    fn answer(&self, request: &HttpRequest) -> HttpResponse {
        let version = format!("v={}", self.hash);
        let is_named = request.query_string() == version;
        let tag = EntityTag::new_strong(self.hash.clone());
        let is_known = match IfNoneMatch::parse(request) {
            Ok(IfNoneMatch::Any) => true,
            Ok(IfNoneMatch::Items(tags)) => tags.iter().any(|known| known.weak_eq(&tag)),
            Err(_) => false,
        };
        let mut response = if is_known {
            HttpResponse::NotModified()
        } else {
            HttpResponse::Ok()
        };
        response
            .insert_header((CACHE_CONTROL, if is_named { FOR_EVER } else { FOR_MINUTES }))
            .insert_header((ETAG, tag.to_string()))
            .insert_header((ACCESS_CONTROL_ALLOW_ORIGIN, "*"))
            .insert_header((CROSS_ORIGIN_RESOURCE_POLICY, "cross-origin"));
        if is_known {
            return response.finish();
        }
        response.content_type(self.kind).body(self.body.clone())
    }
}

impl Assets {
    pub(super) fn new(languages: &Languages) -> Self {
        Self {
            script: Asset::new(script(languages), JAVASCRIPT),
            style: Asset::new(STYLE.to_owned(), CSS),
        }
    }

    pub(super) fn script_address(&self) -> String {
        format!("/assets/surepass.js?v={}", self.script.hash)
    }

    pub(super) fn style_address(&self) -> String {
        format!("/assets/surepass.css?v={}", self.style.hash)
    }
}

/// The script, in a scope of its own with its messages: `WORDS[tag][key]`.
fn script(languages: &Languages) -> String {
    let words: BTreeMap<&str, _> = languages
        .all()
        .map(|language| (language.tag.as_str(), &language.words.script))
        .collect();
    // Strings and tables of strings always fit into JSON.
    let words = serde_json::to_string(&words).unwrap_or_else(|_| "{}".to_owned());
    format!("(() => {{\n\"use strict\";\nconst WORDS = {words};\n{SCRIPT}\n}})();\n")
}

/// `GET /assets/{name}`
pub(super) async fn show(
    page: web::Data<Page>,
    name: web::Path<String>,
    request: HttpRequest,
) -> HttpResponse {
    match name.as_str() {
        "surepass.js" => page.assets.script.answer(&request),
        "surepass.css" => page.assets.style.answer(&request),
        name => match accent::sheet(name) {
            Some(sheet) => Asset::new(sheet, CSS).answer(&request),
            None => HttpResponse::NotFound().finish(),
        },
    }
}

/// `GET /widget.js`: the script under the name that other sites embed.
pub(super) async fn widget(page: web::Data<Page>, request: HttpRequest) -> HttpResponse {
    page.assets.script.answer(&request)
}
