//! Customers.

use serde_json::{Value, json};

use super::call::{Answer, Call};
use super::error::ApiError;
use super::params::{Params, merge};
use crate::objects::{Customer, Metadata};
use crate::world::Objects;

/// What a caller may say of a customer. `None` leaves a field as it is; empty text unsets it.
struct Changes {
    email: Option<String>,
    name: Option<String>,
    phone: Option<String>,
    description: Option<String>,
    metadata: Option<Metadata>,
}

impl Changes {
    fn read(params: &mut Params) -> Result<Self, ApiError> {
        let given = Self {
            email: params.text("email")?,
            name: params.text("name")?,
            phone: params.text("phone")?,
            description: params.text("description")?,
            metadata: params.metadata("metadata")?,
        };
        params.ignore(&["address", "shipping", "preferred_locales", "tax_exempt"]);
        params.finish()?;
        if let Some(email) = &given.email
            && !email.is_empty()
            && !email.contains('@')
        {
            let error = ApiError::invalid(format!("Invalid email address: {email}"));
            return Err(error.code("email_invalid").param("email"));
        }
        Ok(given)
    }

    fn put_into(self, customer: &mut Customer) {
        let fields = [
            (&mut customer.email, self.email),
            (&mut customer.name, self.name),
            (&mut customer.phone, self.phone),
            (&mut customer.description, self.description),
        ];
        for (field, given) in fields {
            if let Some(given) = given {
                *field = Some(given).filter(|text| !text.is_empty());
            }
        }
        match self.metadata {
            Some(changes) if changes.is_empty() => customer.metadata.clear(),
            Some(changes) => merge(&mut customer.metadata, changes),
            None => {}
        }
    }
}

pub(super) fn create(call: &mut Call<'_>) -> Answer {
    let given = Changes::read(&mut call.params)?;
    let mut customer = Customer {
        id: call.world.ids.short("cus_"),
        created: call.cause.at,
        livemode: call.scope.livemode,
        email: None,
        name: None,
        phone: None,
        description: None,
        metadata: Metadata::new(),
    };
    given.put_into(&mut customer);
    let json = customer.json();
    call.world.add_customer(&call.scope, customer, &call.cause);
    Ok(json)
}

pub(super) fn update(call: &mut Call<'_>, id: &str) -> Answer {
    let given = Changes::read(&mut call.params)?;
    let changed = call
        .objects()
        .customers
        .change(id, |customer| given.put_into(customer));
    changed
        .map(|customer| customer.json())
        .ok_or_else(|| ApiError::missing("customer", id, "id"))
}

pub(super) fn retrieve(call: &mut Call<'_>, id: &str) -> Answer {
    call.params.finish()?;
    let customer = customer(call.objects(), id);
    customer.ok_or_else(|| ApiError::missing("customer", id, "id"))
}

/// A customer, or what is left of a deleted one.
pub(super) fn customer(objects: &Objects, id: &str) -> Option<Value> {
    if objects.deleted_customers.contains(id) {
        return Some(json!({"id": id, "object": "customer", "deleted": true}));
    }
    objects.customers.get(id).map(|customer| customer.json())
}

pub(super) fn delete(call: &mut Call<'_>, id: &str) -> Answer {
    call.params.finish()?;
    let objects = call.objects();
    if objects.customers.remove(id).is_none() {
        return Err(ApiError::missing("customer", id, "id"));
    }
    objects.deleted_customers.insert(id.to_owned());
    Ok(customer(objects, id).unwrap_or_default())
}

pub(super) fn list(call: &mut Call<'_>) -> Answer {
    let email = call.params.text("email")?;
    let tags = email.map(|email| vec![("email", email)]).into_iter().collect();
    call.list(|objects| &mut objects.customers, tags, Customer::json)
}
