//! A customer who reads the page in a browser without scripts. It follows no redirect by itself, so that tests see each.

use reqwest::header::HeaderMap;
use reqwest::redirect::Policy;
use reqwest::{Client, Method};
use scraper::{Html, Selector};
use surepass::store::{Buyer, CreatedVia, NewSubscription, Subscription, SubscriptionType};

use crate::fixture::Fixture;
use support::program::PATIENCE;
use support::shop::now;

pub(crate) const PAGE: &str = "/studio/subscriptions";

pub(crate) struct Reader {
    http: Client,
    address: String,
    headers: Vec<(&'static str, String)>,
}

/// What a reader sees.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sight {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) html: String,
}

impl Reader {
    /// Who is not signed in.
    pub(crate) fn stranger(studio: &Fixture) -> Self {
        let http = surepass::http_client::http()
            .timeout(PATIENCE)
            .redirect(Policy::none());
        Self {
            http: http.build().unwrap(),
            address: format!("http://{}", studio.shop.servers[0].address),
            headers: Vec::new(),
        }
    }

    /// Who has this token in their cookie.
    pub(crate) fn with_cookie(studio: &Fixture, token: &str) -> Self {
        Self::stranger(studio).sending("Cookie", &format!("surepass={token}"))
    }

    /// A customer, signed in by cookie.
    pub(crate) async fn signed_in(studio: &Fixture, user: &str) -> Self {
        Self::with_cookie(studio, &studio.sign_in.token(user).await)
    }

    /// The same, with one more header.
    pub(crate) fn sending(mut self, name: &'static str, value: &str) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        self.headers.push((name, value.to_owned()));
        self
    }

    /// The origin of the server's own pages.
    pub(crate) fn own_origin(&self) -> &str {
        &self.address
    }

    pub(crate) async fn get(&self, path: &str) -> Sight {
        self.send(Method::GET, path, None).await
    }

    /// Sends a form from a page of this origin.
    pub(crate) async fn submit(&self, origin: &str, path: &str, form: &[(&str, &str)]) -> Sight {
        let mut body = url::form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(form);
        self.send(Method::POST, path, Some((origin, body.finish()))).await
    }

    pub(crate) async fn send(&self, method: Method, path: &str, form: Option<(&str, String)>) -> Sight {
        let mut request = self.http.request(method, format!("{}{path}", self.address));
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        if let Some((origin, body)) = form {
            request = request
                .header("Origin", origin)
                .header("Content-Type", "application/x-www-form-urlencoded")
                .body(body);
        }
        let response = request.send().await.unwrap();
        Sight {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            html: response.text().await.unwrap(),
        }
    }
}

impl Sight {
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap())
    }

    /// The texts of all elements that a selector finds, white space as a browser shows it.
    pub(crate) fn texts(&self, selector: &str) -> Vec<String> {
        let html = Html::parse_document(&self.html);
        let selector = Selector::parse(selector).unwrap();
        html.select(&selector)
            .map(|element| element.text().collect::<String>().trim().to_owned())
            .collect()
    }

    /// The text of the one element that a selector finds.
    pub(crate) fn text(&self, selector: &str) -> String {
        let mut texts = self.texts(selector);
        assert_eq!(texts.len(), 1, "{selector}: {texts:?} in {}", self.html);
        texts.remove(0)
    }

    /// The values of an attribute of all elements that a selector finds.
    pub(crate) fn attributes(&self, selector: &str, name: &str) -> Vec<String> {
        let html = Html::parse_document(&self.html);
        let selector = Selector::parse(selector).unwrap();
        html.select(&selector)
            .filter_map(|element| element.value().attr(name).map(str::to_owned))
            .collect()
    }

    pub(crate) fn attribute(&self, selector: &str, name: &str) -> Option<String> {
        self.attributes(selector, name).into_iter().next()
    }

    /// What the page says of a purchase or of a sync.
    pub(crate) fn message(&self) -> String {
        self.text("surepass-passes [role=status][aria-live=polite][data-message]")
    }

    /// The passes under a heading, the newest first, each as lines.
    pub(crate) fn passes(&self, list: &str) -> Vec<Vec<String>> {
        let html = Html::parse_document(&self.html);
        let passes = Selector::parse(&format!("#passes {list} > li")).unwrap();
        let lines = Selector::parse("h3, p").unwrap();
        html.select(&passes)
            .map(|pass| {
                pass.select(&lines)
                    .map(|line| line.text().collect::<String>())
                    .collect()
            })
            .collect()
    }

    /// Where a browser without scripts goes next by itself.
    pub(crate) fn refresh(&self) -> Option<String> {
        // A parser with scripting takes what is in <noscript> for text.
        let (_, rest) = self.html.split_once("<noscript>")?;
        let (inner, _) = rest.split_once("</noscript>")?;
        let inner = Html::parse_fragment(inner);
        let meta = Selector::parse("meta[http-equiv=refresh]").unwrap();
        let content = inner.select(&meta).next()?.value().attr("content")?;
        let (seconds, address) = content.split_once(";url=").unwrap();
        assert_eq!(seconds, "2", "{content}");
        Some(address.to_owned())
    }
}

pub(crate) const ACTIVE: &str = "ul:not(.over)";
pub(crate) const OVER: &str = "ul.over";

/// Gives a user of the studio a pass of ten classes, changed as told.
pub(crate) async fn hold(studio: &Fixture, user: &str, name: &str, change: impl FnOnce(&mut Subscription)) {
    let session = format!("cs_test_{name}");
    let price = surepass::money::Money {
        amount: 150_000,
        currency: "nok".parse().unwrap(),
    };
    let mut subscription = Subscription {
        id: Subscription::id_of(&session),
        user: String::new(),
        tenant: "tenant-1".to_owned(),
        kind: SubscriptionType::Clipcard,
        start_date: now(),
        end_date: now() + chrono::TimeDelta::days(90),
        remaining_clips: Some(10),
        pass_id: "pass-10".to_owned(),
        pass_name: "10 classes".to_owned(),
        purchase_price: price,
        original_price: None,
        final_price: None,
        discount_amount: None,
        promo_code: None,
        currency: price.currency,
        stripe_payment_id: Some(format!("pi_{name}")),
        stripe_session_id: session,
        stripe_customer_id: None,
        webhook_event_id: None,
        is_active: true,
        is_upgrade: false,
        upgraded_from_subscription_id: None,
        upgrade_cost: None,
        created_via: CreatedVia::Webhook,
        created_at: now(),
        updated_at: now(),
    };
    change(&mut subscription);
    subscription.currency = subscription.purchase_price.currency;
    let buyer = Buyer {
        user_id: Some(user.to_owned()),
        ..Buyer::default()
    };
    let new = Box::new(NewSubscription { subscription, buyer });
    studio
        .shop
        .store()
        .await
        .subscriptions()
        .create(new)
        .await
        .unwrap();
}
