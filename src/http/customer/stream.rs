//! `GET /api/user/subscription-status/stream`: the status of a purchase as server-sent events, pushed when it changes.

mod disconnect;

use std::convert::Infallible;
use std::time::Duration;

use actix_web::http::header::{CACHE_CONTROL, ContentEncoding, HeaderName};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures::stream;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use self::disconnect::DisconnectProbe;
use super::auth::Credential;
use super::status::{json_without_sign_in, status_json};
use super::{CustomerApi, LAST_EVENT_ID, Refusal};
use crate::customer::{self, FollowError, Follower, Next, Snapshot, Status, StatusStream};

/// When a browser reconnects after its stream broke.
const RECONNECT_AFTER: Duration = Duration::from_secs(2);
/// When browsers reconnect after a graceful shutdown: spread over this time, because all go to the remaining servers.
const RECONNECT_ELSEWHERE: Duration = Duration::from_secs(4);
/// When to try again if the limit of open streams is reached.
const FULL: Duration = Duration::from_secs(15);
/// Keeps proxies from closing a quiet stream. It is a comment, so browsers do not pass it on to the page.
const HEARTBEAT: Bytes = Bytes::from_static(b":\n\n");

#[derive(Deserialize)]
pub(super) struct StreamQuery {
    #[serde(rename = "sessionId")]
    session: String,
    /// For a browser's `EventSource`, which cannot send a header of the page's choice.
    tenant: Option<String>,
}

pub(super) async fn open(
    api: web::Data<CustomerApi>,
    request: HttpRequest,
    query: Result<web::Query<StreamQuery>, actix_web::Error>,
) -> Result<HttpResponse, Refusal> {
    let credential = api.credential(&request).await?;
    let query = query.map_err(|_| Refusal::NoSession).and_then(|query| {
        let query = query.into_inner();
        let is_session = customer::is_session_id(query.session.trim());
        is_session.then_some(query).ok_or(Refusal::NoSession)
    });
    let follower = if credential == Credential::None && query.is_ok() {
        api.within_limits(&request).await?;
        Follower::Anonymous(api.address(&request))
    } else {
        Follower::Customer(api.customer(&request, &credential).await?)
    };
    let query = query?;
    let tenant = api.tenant_or(&request, query.tenant.as_deref()).await?;
    let session = query.session.trim().to_owned();
    let stream = api.customers.follow(follower, tenant, session)?;
    let last = request.headers().get(LAST_EVENT_ID);
    let mut events = Events {
        last: last.map(|id| id.as_bytes().to_owned()),
        api,
        stream,
        over: false,
    };
    // Before the response begins, so that an error can still have its HTTP status.
    let first = loop {
        match events.stream.next(&events.api.customers).await {
            Next::Seen(snapshot) => match events.event(&snapshot) {
                None if events.over => return Ok(already_known()),
                event => break event,
            },
            Next::Quiet => {}
            Next::Missed(error) => return Err(error.into()),
            Next::Over => return Err(Refusal::Unauthorized),
            Next::Stopping => return Err(Refusal::Unavailable),
        }
    };
    let begin = encoded(russe::Event::Retry(RECONNECT_AFTER)) + &first.unwrap_or_default();
    let first = stream::iter([Ok::<_, Infallible>(Bytes::from(begin))]);
    let rest = stream::unfold(events, |events| async {
        let (part, events) = events.part().await?;
        Some((Ok(part), events))
    });
    Ok(HttpResponse::Ok()
        .content_type(russe::MEDIA_TYPE_STR)
        // Compression would buffer, and so would nginx.
        .insert_header(ContentEncoding::Identity)
        .insert_header((CACHE_CONTROL, "no-store, no-transform"))
        .insert_header((HeaderName::from_static("x-accel-buffering"), "no"))
        // After the stream the client should reconnect through the load balancer.
        .force_close()
        .streaming(DisconnectProbe::new(futures::StreamExt::chain(first, rest))))
}

/// For a client that already has the final status: 204 stops a browser from reconnecting.
fn already_known() -> HttpResponse {
    HttpResponse::NoContent().finish()
}

/// The rest of a stream.
struct Events {
    api: web::Data<CustomerApi>,
    stream: StatusStream,
    /// The id of the last event that the client received.
    last: Option<Vec<u8>>,
    over: bool,
}

impl Events {
    /// The next part to send. It is made only when the client has read the last one, so nothing piles up.
    async fn part(mut self) -> Option<(Bytes, Self)> {
        while !self.over {
            match self.stream.next(&self.api.customers).await {
                Next::Seen(snapshot) => {
                    if let Some(event) = self.event(&snapshot) {
                        return Some((event.into(), self));
                    }
                }
                Next::Missed(error) => {
                    tracing::debug!(%error, "status of a streamed purchase could not be read; the stream tries again");
                }
                Next::Quiet => return Some((HEARTBEAT, self)),
                Next::Over => return None,
                Next::Stopping => {
                    self.over = true;
                    let after =
                        RECONNECT_ELSEWHERE.mul_f64(self.api.customers.streams.noise().clamp(0.1, 1.0));
                    return Some((encoded(russe::Event::Retry(after)).into(), self));
                }
            }
        }
        None
    }

    /// The event of this snapshot, unless the client already has it; followed by `end` if it is final.
    fn event(&mut self, snapshot: &Snapshot) -> Option<String> {
        let json = match snapshot {
            Snapshot::Status(status) => status_json(status, self.api.customers.clock.now()),
            Snapshot::Active(active) => json_without_sign_in(*active),
        };
        let id = event_id(self.stream.session(), &json);
        self.over = is_final(snapshot);
        if self.last.as_deref() == Some(id.as_bytes()) {
            return None;
        }
        let mut event = encoded(russe::Event::Message(russe::Message {
            event: Some("status".into()),
            data: json.to_string().into(),
            id: Some(id.as_str().into()),
            retry: None,
        }));
        if self.over {
            event += &encoded(russe::Event::Message(russe::Message {
                event: Some("end".into()),
                // A browser ignores an event without data.
                data: "{}".into(),
                id: None,
                retry: None,
            }));
        }
        self.last = Some(id.into_bytes());
        Some(event)
    }
}

/// A hash of the session and its status, so that a client that reconnects gets only what is new.
fn event_id(session: &str, json: &Value) -> String {
    let digest = Sha256::new()
        .chain_update(session)
        .chain_update([0])
        .chain_update(json.to_string())
        .finalize();
    hex::encode(&digest[..8])
}

/// Whether the status does not change by itself any more.
fn is_final(snapshot: &Snapshot) -> bool {
    match snapshot {
        Snapshot::Active(active) => *active,
        Snapshot::Status(status) => matches!(
            status,
            Status::Active(_)
                | Status::Failed { .. }
                | Status::Declined
                | Status::Expired
                | Status::NotAPass
                | Status::Closed(_)
                | Status::Refunded(_)
        ),
    }
}

fn encoded(event: russe::Event) -> String {
    // Fails only for an id or a name with a line break; ours have none.
    event
        .into_bytestring()
        .map(|text| text.to_string())
        .unwrap_or_default()
}

impl From<FollowError> for Refusal {
    fn from(error: FollowError) -> Self {
        match error {
            FollowError::Full => Self::Full(FULL),
            FollowError::TooMany => Self::TooMany(FULL),
            FollowError::Closed(_) => Self::Unavailable,
        }
    }
}
