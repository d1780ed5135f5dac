//! `GET /api/user/subscriptions`: the customer's passes.

use actix_web::{HttpRequest, HttpResponse, web};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::status::timestamp;
use super::{CustomerApi, Refusal};
use crate::money::Money;
use crate::store::{Pass, Subscription};

pub(super) async fn list(api: web::Data<CustomerApi>, request: HttpRequest) -> Result<HttpResponse, Refusal> {
    let credential = api.credential(&request).await?;
    let customer = api.customer(&request, &credential).await?;
    let tenant = api.tenant(&request).await?;
    let passes = api.customers.passes(&customer, &tenant).await?;
    // From the cache: the shop's time zone, and the passes of its catalog.
    let whole = api.customers.tenants.whole(&tenant.slug).await?;
    let catalog = whole.as_ref().map_or(&[][..], |tenant| &tenant.passes);
    let now = api.customers.clock.now();
    let is_active = |one: &&Subscription| one.is_active && one.end_date > now;
    let (active, expired): (Vec<_>, Vec<_>) = passes.iter().partition(is_active);
    let jsons = |passes: Vec<&Subscription>| -> Vec<Value> {
        passes
            .into_iter()
            .map(|one| subscription_json(one, catalog, now))
            .collect()
    };
    Ok(HttpResponse::Ok().json(json!({
        "activeSubscriptions": jsons(active),
        "expiredSubscriptions": jsons(expired),
        "timeZone": whole.as_ref().map(|tenant| &tenant.time_zone),
    })))
}

fn subscription_json(one: &Subscription, catalog: &[Pass], now: DateTime<Utc>) -> Value {
    let mut json = json!({
        "_id": one.id,
        "type": one.kind,
        "passName": one.pass_name,
        "passId": one.pass_id,
        "startDate": timestamp(one.start_date),
        "endDate": timestamp(one.end_date),
        "isActive": one.is_active,
        "purchasePrice": major(one.purchase_price),
        "currency": one.currency,
        "daysRemaining": days_left(one.end_date, now),
        "isExpired": one.end_date <= now,
    });
    if let Some(clips) = one.remaining_clips {
        json["remainingClips"] = clips.into();
    }
    if let Some(pass) = catalog.iter().find(|pass| pass.id == one.pass_id) {
        json["originalPass"] = json!({"name": pass.name, "type": pass.kind});
    }
    json
}

/// Rounded up: a pass that ends this evening has one day left.
fn days_left(end: DateTime<Utc>, now: DateTime<Utc>) -> i64 {
    let left = (end - now).max(TimeDelta::zero());
    left.num_milliseconds().div_euclid(86_400_000) + i64::from(left.num_milliseconds() % 86_400_000 > 0)
}

/// In major units, as the contract has prices: `1500`, `1499.5`.
fn major(price: Money) -> Value {
    let unit = 10_i64.pow(price.currency.exponent());
    if price.amount % unit == 0 {
        return (price.amount / unit).into();
    }
    #[expect(clippy::cast_precision_loss, reason = "no price comes near 2^53")]
    let exact = price.amount as f64 / unit as f64;
    exact.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_shown_in_major_units_and_zero_and_three_decimal_currencies_are_right() {
        let major = |amount, currency: &str| {
            let currency = currency.parse().unwrap();
            major(Money { amount, currency }).to_string()
        };
        assert_eq!(major(150_000, "nok"), "1500");
        assert_eq!(major(149_950, "nok"), "1499.5");
        assert_eq!(major(1_500, "jpy"), "1500");
        assert_eq!(major(1_234, "kwd"), "1.234");
        assert_eq!(major(0, "nok"), "0");
    }

    #[test]
    fn a_begun_day_is_a_day_left_and_an_ended_pass_has_none() {
        let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let left = |seconds| days_left(now + TimeDelta::seconds(seconds), now);
        assert_eq!(
            [left(-5), left(0), left(1), left(86_400), left(86_401)],
            [0, 0, 1, 1, 2]
        );
    }
}
