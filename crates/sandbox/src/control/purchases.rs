//! Many purchases in one go, as if their buyers had clicked.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix_web::web::Data;
use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};

use super::{When, bad_request};
use crate::checkout::Method;
use crate::objects::{Buyer, Customer, LineItem, Metadata, Price, Product, Session};
use crate::sandbox::Sandbox;
use crate::world::{Cause, Scope, Webhooks, World};

/// How many are made before others have their turn.
const AT_A_TIME: usize = 200;
/// Seconds from the creation of a session to its payment, where that is in the past.
const HESITATION: i64 = 5;

/// What to make. In texts `{n}` is the number of the purchase, `{c}` that of its customer.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Order {
    /// 1 to 200,000.
    count: usize,
    /// The number of the first.
    first: usize,
    /// How many customers share the purchases, in turns; none: each purchase has its own.
    customers: Option<usize>,
    /// The buyers are guests: their sessions name no customer.
    guests: bool,
    email: String,
    name: String,
    metadata: BTreeMap<String, String>,
    client_reference_id: Option<String>,
    /// A price that is there; none: one is made of the next three.
    price: Option<String>,
    /// Minor units.
    amount: i64,
    currency: String,
    product: String,
    /// The sessions' `created` are spread over this window, the oldest first; none: now.
    created_from: Option<When>,
    created_to: Option<When>,
    account: Option<String>,
    livemode: bool,
    outcome: Outcome,
    webhooks: Webhooks,
    success_url: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Paid,
    /// A bank transfer that has not settled.
    Unpaid,
    /// A bank transfer that has settled.
    Settled,
    /// A bank transfer that has failed.
    Failed,
    Open,
    Expired,
}

impl Default for Order {
    fn default() -> Self {
        Self {
            count: 1,
            first: 0,
            customers: None,
            guests: false,
            email: "buyer{c}@example.com".to_owned(),
            name: "Buyer {c}".to_owned(),
            metadata: BTreeMap::new(),
            client_reference_id: None,
            price: None,
            amount: 150_000,
            currency: "nok".to_owned(),
            product: "10 classes".to_owned(),
            created_from: None,
            created_to: None,
            account: None,
            livemode: false,
            outcome: Outcome::Paid,
            webhooks: Webhooks::Deliver,
            success_url: "http://127.0.0.1/success?session_id={CHECKOUT_SESSION_ID}".to_owned(),
        }
    }
}

pub(super) async fn make(order: web::Json<Order>, sandbox: Data<Sandbox>) -> HttpResponse {
    let order = order.into_inner();
    let now = sandbox.clock.now();
    let instant = |when: Option<When>| when.map_or(Some(now), When::instant);
    let (Some(from), Some(to)) = (instant(order.created_from), instant(order.created_to)) else {
        return bad_request("created_from and created_to are Unix seconds or RFC 3339");
    };
    if from > to || to > now {
        return bad_request("created_from comes before created_to, and neither is in the future");
    }
    if !(1..=200_000).contains(&order.count) || order.customers == Some(0) || order.amount < 0 {
        return bad_request("count is from 1 to 200,000, customers from 1, amount from 0");
    }
    let scope = Scope {
        account: order.account.clone(),
        livemode: order.livemode,
    };
    let price = {
        let mut world = sandbox.world();
        if let Some(account) = &order.account {
            world.connect(account.clone(), now.timestamp(), None);
        }
        match price(&mut world, &scope, &order, now.timestamp()) {
            Some(price) => price,
            None => return bad_request("there is no such price"),
        }
    };
    let window = i128::from((to - from).num_seconds());
    let mut made = Vec::with_capacity(order.count);
    for nth in 0..order.count {
        let share = window * nth as i128 / order.count as i128;
        let at = from.timestamp() + i64::try_from(share).unwrap_or(0);
        let cause = Cause {
            at,
            webhooks: order.webhooks,
            ..Cause::now(now)
        };
        let purchase = Purchase {
            order: &order,
            scope: &scope,
            number: order.first + nth,
        };
        made.push(purchase.make(&mut sandbox.world(), &price, cause));
        if nth % AT_A_TIME == AT_A_TIME - 1 {
            sandbox.changed();
            tokio::task::yield_now().await;
        }
    }
    sandbox.changed();
    HttpResponse::Ok().json(Answer { sessions: made })
}

fn price(world: &mut World, scope: &Scope, order: &Order, at: i64) -> Option<(Arc<Price>, String)> {
    if let Some(id) = &order.price {
        return world.find(scope, |objects| {
            let price = objects.prices.get(id)?.clone();
            let name = objects.products.get(&price.product)?.name.clone();
            Some((price, name))
        });
    }
    let product = Product {
        id: world.ids.short("prod_"),
        created: at,
        livemode: scope.livemode,
        name: order.product.clone(),
        description: None,
        active: true,
        metadata: Metadata::new(),
    };
    let price = Price {
        id: world.ids.long("price_1"),
        created: at,
        livemode: scope.livemode,
        product: product.id.clone(),
        unit_amount: order.amount,
        currency: order.currency.to_lowercase(),
        nickname: None,
        active: true,
        metadata: Metadata::new(),
    };
    let objects = world.objects(scope);
    objects.products.insert(product);
    Some((objects.prices.insert(price), order.product.clone()))
}

/// A purchase that was made.
#[derive(Debug, Serialize)]
struct Made {
    id: String,
    number: usize,
    created: Option<i64>,
    customer: Option<String>,
    email: String,
    payment_intent: Option<String>,
    payment_status: &'static str,
    /// The session's own events.
    events: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Answer {
    sessions: Vec<Made>,
}

/// One of many.
struct Purchase<'a> {
    order: &'a Order,
    scope: &'a Scope,
    number: usize,
}

impl Purchase<'_> {
    fn fill(&self, template: &str) -> String {
        let customer = match self.order.customers {
            Some(customers) => self.number % customers,
            None => self.number,
        };
        template
            .replace("{n}", &self.number.to_string())
            .replace("{c}", &customer.to_string())
    }

    fn make(&self, world: &mut World, (price, description): &(Arc<Price>, String), cause: Cause) -> Made {
        let Self { order, scope, .. } = *self;
        let email = self.fill(&order.email);
        let name = self.fill(&order.name);
        let customer = (!order.guests).then(|| self.customer(world, &email, &name, &cause));
        let item = LineItem {
            id: world.ids.long("li_1"),
            description: description.clone(),
            quantity: 1,
            price: price.clone(),
        };
        let metadata = order.metadata.iter();
        let metadata = metadata.map(|(key, value)| (key.clone(), self.fill(value)));
        let session = Session {
            customer: customer.clone(),
            metadata: metadata.collect(),
            client_reference_id: order.client_reference_id.as_deref().map(|text| self.fill(text)),
            payment_method_types: vec!["card".to_owned(), "sepa_debit".to_owned()],
            success_url: order.success_url.clone(),
            ..world.draft(scope, vec![item], &cause)
        };
        let id = session.id.clone();
        match order.outcome {
            Outcome::Open => drop(world.open(scope, session)),
            // Nothing is to expire later.
            _ => drop(world.objects(scope).sessions.insert(session)),
        }
        let cause = Cause {
            at: (cause.at + HESITATION).min(cause.now.timestamp()),
            ..cause
        };
        let buyer = Buyer {
            email: Some(email.clone()),
            name: Some(name),
        };
        let events = self.carry_out(world, &id, buyer, &cause);
        let session = world.find(scope, |objects| objects.sessions.get(&id).cloned());
        Made {
            number: self.number,
            created: session.as_ref().map(|session| session.created),
            payment_intent: session
                .as_ref()
                .and_then(|session| session.payment_intent.clone()),
            payment_status: session.map_or("", |session| session.payment.as_str()),
            id,
            customer,
            email,
            events,
        }
    }

    /// The session's own events; a session that was just opened can be paid, settled and expired.
    fn carry_out(&self, world: &mut World, id: &str, buyer: Buyer, cause: &Cause) -> Vec<String> {
        let scope = self.scope;
        let mut events = Vec::new();
        let outcome = self.order.outcome;
        match outcome {
            Outcome::Open => {}
            Outcome::Expired => events.extend(world.expire(scope, id, cause).unwrap_or_default()),
            Outcome::Paid => {
                events.extend(
                    world
                        .pay(scope, id, Method::Card, buyer, cause)
                        .unwrap_or_default(),
                );
            }
            Outcome::Unpaid | Outcome::Settled | Outcome::Failed => {
                events.extend(
                    world
                        .pay(scope, id, Method::Transfer, buyer, cause)
                        .unwrap_or_default(),
                );
            }
        }
        if matches!(outcome, Outcome::Settled | Outcome::Failed) {
            let arrives = outcome == Outcome::Settled;
            events.extend(world.settle(scope, id, arrives, cause).unwrap_or_default());
        }
        events
    }

    /// The customer with this email, or a new one.
    fn customer(&self, world: &mut World, email: &str, name: &str, cause: &Cause) -> String {
        let tag = ("email", email.to_owned());
        let known = world.find(self.scope, |objects| {
            objects
                .customers
                .tagged(&tag)
                .next()
                .map(|customer| customer.id.clone())
        });
        if let Some(id) = known {
            return id;
        }
        let customer = Customer {
            id: world.ids.short("cus_"),
            created: cause.at,
            livemode: self.scope.livemode,
            email: Some(email.to_owned()),
            name: Some(name.to_owned()),
            phone: None,
            description: None,
            metadata: Metadata::new(),
        };
        world.add_customer(self.scope, customer, cause)
    }
}
