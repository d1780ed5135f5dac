//! `expand[]`: an id gives way to the object that it names.

use serde_json::{Value, json};

use super::customers::customer;
use super::error::ApiError;
use crate::world::{Objects, Scope, World};

/// As in Stripe: so many steps deep, where `data` of a list counts as none.
const DEEPEST: usize = 4;
/// How many line items come with a session; the rest is at its `/line_items`.
const LINE_ITEMS: usize = 10;

/// Expands one path, such as `data.payment_intent.latest_charge`, in an answer.
///
/// # Errors
/// A path that is too deep, or that leads to what cannot be expanded.
pub(super) fn expand(world: &World, scope: &Scope, answer: &mut Value, path: &str) -> Result<(), ApiError> {
    let steps: Vec<_> = path.split('.').collect();
    let counted = steps.iter().skip_while(|step| **step == "data").count();
    if counted > DEEPEST {
        let message = format!("You cannot expand more than {DEEPEST} levels of a property ({path}).");
        return Err(ApiError::invalid(message).param("expand"));
    }
    world
        .find(scope, |objects| Some(walk(objects, answer, &steps, path)))
        .unwrap_or(Ok(()))
}

fn walk(objects: &Objects, value: &mut Value, steps: &[&str], path: &str) -> Result<(), ApiError> {
    let Some((step, rest)) = steps.split_first() else {
        return Ok(());
    };
    if let Value::Array(elements) = value {
        return elements
            .iter_mut()
            .try_for_each(|element| walk(objects, element, steps, path));
    }
    add_list(objects, value, step);
    let refused = || {
        let hint = if steps.first() == Some(&"data") || *step != path.split('.').next().unwrap_or_default() {
            String::new()
        } else {
            format!(" You may want to try expanding 'data.{path}' instead.")
        };
        let message = format!("This property cannot be expanded ({path}).{hint}");
        ApiError::invalid(message).param("expand")
    };
    let Some(field) = value.get_mut(*step) else {
        return Err(refused());
    };
    match field {
        Value::Null => return Ok(()),
        Value::String(id) => match objects.object(id) {
            Some(object) => *field = object,
            None => return Err(refused()),
        },
        Value::Array(_) | Value::Object(_) => {}
        _ => return Err(refused()),
    }
    walk(objects, field, rest, path)
}

/// Puts a list in that is there only when it is asked for.
fn add_list(objects: &Objects, value: &mut Value, step: &str) {
    let id = value["id"].as_str().unwrap_or_default().to_owned();
    let list = match (value["object"].as_str(), step) {
        (Some("checkout.session"), "line_items") => objects.sessions.get(&id).map(|session| {
            let items = session.line_items.iter().take(LINE_ITEMS);
            let data: Vec<_> = items.map(crate::objects::LineItem::json).collect();
            json!({
                "object": "list", "data": data, "has_more": session.line_items.len() > LINE_ITEMS,
                "url": format!("/v1/checkout/sessions/{id}/line_items")
            })
        }),
        (Some("charge"), "refunds") => {
            let refunds = objects.refunds.tagged(&("charge", id.clone()));
            let mut data: Vec<_> = refunds.map(|refund| refund.json()).collect();
            data.reverse();
            Some(json!({
                "object": "list", "data": data, "has_more": false, "url": format!("/v1/charges/{id}/refunds")
            }))
        }
        _ => None,
    };
    if let Some(list) = list
        && value.get(step).is_none()
    {
        value[step] = list;
    }
}

impl Objects {
    /// The object that an id names, told by its prefix.
    fn object(&self, id: &str) -> Option<Value> {
        let (prefix, _) = id.split_once('_')?;
        match prefix {
            "cus" => customer(self, id),
            "pi" => self.payment_intents.get(id).map(|it| it.json()),
            "ch" => self.charges.get(id).map(|it| it.json()),
            "re" => self.refunds.get(id).map(|it| it.json()),
            "price" => self.prices.get(id).map(|it| it.json()),
            "prod" => self.products.get(id).map(|it| it.json()),
            "cs" => self.sessions.get(id).map(|it| it.json()),
            _ => None,
        }
    }
}
