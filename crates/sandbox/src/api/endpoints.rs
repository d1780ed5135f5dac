//! Webhook endpoints.

use secrecy::ExposeSecret;
use serde_json::json;

use super::call::{Answer, Call};
use super::error::ApiError;
use super::params::merge;
use crate::delivery::new_secret;
use crate::objects::Endpoint;

/// As many as Stripe allows.
const MOST: usize = 16;

pub(super) fn create(call: &mut Call<'_>) -> Answer {
    let url = call.params.required("url")?;
    let enabled_events = call.params.texts("enabled_events")?;
    let api_version = call.params.text("api_version")?;
    let description = call.params.text("description")?;
    let connect = call.params.boolean("connect")?.unwrap_or(false);
    let metadata = call.params.metadata("metadata")?.unwrap_or_default();
    call.params.finish()?;
    check_url(&url)?;
    if enabled_events.is_empty() {
        let error = ApiError::invalid("Missing required param: enabled_events.");
        return Err(error.code("parameter_missing").param("enabled_events"));
    }
    if call.objects().endpoints.len() >= MOST {
        return Err(ApiError::invalid(format!(
            "You have reached the maximum of {MOST} webhook endpoints."
        )));
    }
    let endpoint = Endpoint {
        id: call.world.ids.long("we_1"),
        created: call.cause.at,
        livemode: call.scope.livemode,
        url,
        enabled_events,
        disabled: false,
        api_version,
        description,
        metadata,
        connect,
        secret: new_secret(call.world),
        rolled: None,
    };
    let endpoint = call.objects().endpoints.insert(endpoint);
    let mut json = endpoint.json();
    json["secret"] = json!(endpoint.secret.expose_secret());
    Ok(json)
}

pub(super) fn update(call: &mut Call<'_>, id: &str) -> Answer {
    let url = call.params.text("url")?;
    let enabled_events = call.params.texts("enabled_events")?;
    let description = call.params.text("description")?;
    let disabled = call.params.boolean("disabled")?;
    let metadata = call.params.metadata("metadata")?;
    call.params.finish()?;
    if let Some(url) = &url {
        check_url(url)?;
    }
    let change = |endpoint: &mut Endpoint| {
        if let Some(url) = url {
            endpoint.url = url;
        }
        if !enabled_events.is_empty() {
            endpoint.enabled_events = enabled_events;
        }
        if description.is_some() {
            endpoint.description = description;
        }
        if let Some(disabled) = disabled {
            endpoint.disabled = disabled;
        }
        if let Some(changes) = metadata {
            merge(&mut endpoint.metadata, changes);
        }
    };
    let changed = call.objects().endpoints.change(id, change);
    changed.map(|endpoint| endpoint.json()).ok_or_else(|| unknown(id))
}

pub(super) fn retrieve(call: &mut Call<'_>, id: &str) -> Answer {
    call.params.finish()?;
    let endpoint = call.objects().endpoints.get(id);
    endpoint
        .map(|endpoint| endpoint.json())
        .ok_or_else(|| unknown(id))
}

pub(super) fn delete(call: &mut Call<'_>, id: &str) -> Answer {
    call.params.finish()?;
    let gone = call.objects().endpoints.remove(id);
    gone.map(|_| json!({"id": id, "object": "webhook_endpoint", "deleted": true}))
        .ok_or_else(|| unknown(id))
}

pub(super) fn list(call: &mut Call<'_>) -> Answer {
    call.list(|objects| &mut objects.endpoints, Vec::new(), Endpoint::json)
}

fn unknown(id: &str) -> ApiError {
    ApiError::missing("webhook endpoint", id, "webhook_endpoint")
}

/// Unlike Stripe's, a sandbox's endpoints are usually on this machine, without TLS.
fn check_url(url: &str) -> Result<(), ApiError> {
    let fits =
        url::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    if fits {
        return Ok(());
    }
    let error = ApiError::invalid("Invalid URL: An explicit scheme (such as https) must be provided.");
    Err(error.code("url_invalid").param("url"))
}
