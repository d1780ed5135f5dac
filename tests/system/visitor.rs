//! Who walks through web pages as in a browser without scripts: reads them, follows links and redirects, sends forms, keeps
//! cookies.

use std::collections::BTreeMap;

use reqwest::header::{HeaderMap, LOCATION, ORIGIN, SET_COOKIE};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, Response};
use scraper::{ElementRef, Html, Selector};
use url::Url;
use url::form_urlencoded::Serializer;

use support::program::PATIENCE;

/// More redirects than any way through the shop has.
const MOST_HOPS: usize = 5;

pub(crate) struct Visitor {
    pub(crate) http: Client,
    /// Of this machine: cookies know no ports.
    cookies: BTreeMap<String, String>,
    pub(crate) at: Url,
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    html: String,
}

impl Visitor {
    pub(crate) fn new() -> Self {
        let http = surepass::http_client::http()
            .no_proxy()
            .timeout(PATIENCE)
            .redirect(Policy::none());
        Self {
            http: http.build().unwrap(),
            cookies: BTreeMap::new(),
            at: Url::parse("about:blank").unwrap(),
            status: 0,
            headers: HeaderMap::new(),
            html: String::new(),
        }
    }

    pub(crate) async fn visit(&mut self, address: &str) {
        let to = Url::parse(address).or_else(|_| self.at.join(address)).unwrap();
        self.go(self.http.get(to.clone()), to).await;
    }

    /// Follows the first link that a selector finds.
    pub(crate) async fn follow(&mut self, selector: &str) {
        let to = self.attribute(selector, "href").expect("it is there");
        self.visit(&to).await;
    }

    /// Presses the button with these words: sends its form.
    pub(crate) async fn press(&mut self, words: &str) {
        let (to, body) = self.form_of(words);
        let request = self
            .http
            .post(to.clone())
            .header(ORIGIN, self.at.origin().ascii_serialization())
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(body);
        self.go(request, to).await;
    }

    async fn go(&mut self, request: RequestBuilder, mut to: Url) {
        let mut response = self.send(request).await;
        for _ in 0..MOST_HOPS {
            let Some(next) = response.headers().get(LOCATION) else {
                break;
            };
            assert_eq!(response.status(), 303, "{to}");
            to = to.join(next.to_str().unwrap()).unwrap();
            response = self.send(self.http.get(to.clone())).await;
        }
        self.at = to;
        self.status = response.status().as_u16();
        self.headers = response.headers().clone();
        self.html = response.text().await.unwrap();
    }

    async fn send(&mut self, request: RequestBuilder) -> Response {
        let cookies: Vec<_> = self
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let response = request.header("Cookie", cookies.join("; ")).send().await.unwrap();
        for cookie in response.headers().get_all(SET_COOKIE) {
            let pair = cookie.to_str().unwrap().split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        response
    }

    /// Where a form goes, and what it says if this button is pressed.
    fn form_of(&self, words: &str) -> (Url, String) {
        let html = Html::parse_document(&self.html);
        let buttons = Selector::parse("form[method=post] button").unwrap();
        let button = html
            .select(&buttons)
            .find(|button| button.text().collect::<String>().trim() == words);
        let button = button.unwrap_or_else(|| panic!("no button `{words}` at {}: {}", self.at, self.html));
        let form = button
            .ancestors()
            .filter_map(ElementRef::wrap)
            .find(|element| element.value().name() == "form")
            .unwrap();
        let mut body = Serializer::new(String::new());
        let inputs = Selector::parse("input[name]").unwrap();
        for field in form.select(&inputs).chain([button]) {
            if let Some(name) = field.value().attr("name") {
                body.append_pair(name, field.value().attr("value").unwrap_or_default());
            }
        }
        let action = form.value().attr("action").unwrap_or_default();
        (self.at.join(action).unwrap(), body.finish())
    }

    pub(crate) fn attribute(&self, selector: &str, name: &str) -> Option<String> {
        let html = Html::parse_document(&self.html);
        let selector = Selector::parse(selector).unwrap();
        let element = html.select(&selector).next()?;
        element.value().attr(name).map(str::to_owned)
    }

    pub(crate) fn texts(&self, selector: &str) -> Vec<String> {
        let html = Html::parse_document(&self.html);
        let selector = Selector::parse(selector).unwrap();
        html.select(&selector)
            .map(|element| element.text().collect::<String>().trim().to_owned())
            .collect()
    }
}
