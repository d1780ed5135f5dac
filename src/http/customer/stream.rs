//! `GET /api/user/subscription-status/stream`: what became of a purchase, as server-sent events while it changes.

mod hang_up;

use std::convert::Infallible;
use std::time::Duration;

use actix_web::http::header::{CACHE_CONTROL, ContentEncoding, HeaderName};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures::stream;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use self::hang_up::HangUp;
use super::status::{active_alone, told};
use super::visit::Credential;
use super::{Door, LAST_EVENT_ID, Refusal};
use crate::customer::{self, FollowError, Follower, Following, Next, Sight, Status};

/// When a browser whose stream has broken comes again.
const COME_AGAIN: Duration = Duration::from_secs(2);
/// When those come again whom this server ends as it stops: spread over so long, as they all have to go elsewhere.
const COME_ELSEWHERE: Duration = Duration::from_secs(4);
/// When to come again where this server has no room.
const FULL: Duration = Duration::from_secs(15);
/// Keeps proxies from taking a quiet stream for a dead one. A comment: no browser shows it to a page.
const HEARTBEAT: Bytes = Bytes::from_static(b":\n\n");

#[derive(Deserialize)]
pub(super) struct Asked {
    #[serde(rename = "sessionId")]
    session: String,
    /// A browser's `EventSource` sends no headers of a page's choice.
    tenant: Option<String>,
}

pub(super) async fn open(
    door: web::Data<Door>,
    request: HttpRequest,
    asked: Result<web::Query<Asked>, actix_web::Error>,
) -> Result<HttpResponse, Refusal> {
    let credential = door.credential(&request).await?;
    let asked = asked.map_err(|_| Refusal::NoSession).and_then(|asked| {
        let asked = asked.into_inner();
        let is_session = customer::is_session_id(asked.session.trim());
        is_session.then_some(asked).ok_or(Refusal::NoSession)
    });
    let follower = if credential == Credential::None && asked.is_ok() {
        door.within_limits(&request).await?;
        Follower::Alone(door.address(&request))
    } else {
        Follower::Customer(door.customer(&request, &credential).await?)
    };
    let asked = asked?;
    let tenant = door.tenant_or(&request, asked.tenant.as_deref()).await?;
    let session = asked.session.trim().to_owned();
    let following = door.customers.follow(follower, tenant, session)?;
    let last = request.headers().get(LAST_EVENT_ID);
    let mut events = Events {
        last: last.map(|id| id.as_bytes().to_owned()),
        door,
        following,
        over: false,
    };
    // Before the answer begins: what stands in the way can still be told by its status.
    let first = loop {
        match events.following.next(&events.door.customers).await {
            Next::Seen(sight) => match events.news(&sight) {
                None if events.over => return Ok(nothing_more()),
                news => break news,
            },
            Next::Quiet => {}
            Next::Missed(error) => return Err(error.into()),
            Next::Over => return Err(Refusal::Unauthorized),
            Next::Stopping => return Err(Refusal::Unavailable),
        }
    };
    let begin = encoded(russe::Event::Retry(COME_AGAIN)) + &first.unwrap_or_default();
    let first = stream::iter([Ok::<_, Infallible>(Bytes::from(begin))]);
    let rest = stream::unfold(events, |events| async {
        let (part, events) = events.part().await?;
        Some((Ok(part), events))
    });
    Ok(HttpResponse::Ok()
        .content_type(russe::MEDIA_TYPE_STR)
        // Whoever compresses gathers first, and so does nginx.
        .insert_header(ContentEncoding::Identity)
        .insert_header((CACHE_CONTROL, "no-store, no-transform"))
        .insert_header((HeaderName::from_static("x-accel-buffering"), "no"))
        // When it ends the client is to go to whichever server there is then.
        .force_close()
        .streaming(HangUp::new(futures::StreamExt::chain(first, rest))))
}

/// To who knows how it ended and comes again all the same: a browser does not do so after this.
fn nothing_more() -> HttpResponse {
    HttpResponse::NoContent().finish()
}

/// The rest of a stream.
struct Events {
    door: web::Data<Door>,
    following: Following,
    /// The id of what the client knows.
    last: Option<Vec<u8>>,
    over: bool,
}

impl Events {
    /// What is sent next. Whoever does not read is not sent any: what comes meanwhile is one look later.
    async fn part(mut self) -> Option<(Bytes, Self)> {
        while !self.over {
            match self.following.next(&self.door.customers).await {
                Next::Seen(sight) => {
                    if let Some(news) = self.news(&sight) {
                        return Some((news.into(), self));
                    }
                }
                Next::Missed(error) => {
                    tracing::debug!(%error, "status of a streamed purchase could not be read; the stream tries again");
                }
                Next::Quiet => return Some((HEARTBEAT, self)),
                Next::Over => return None,
                Next::Stopping => {
                    self.over = true;
                    let after = COME_ELSEWHERE.mul_f64(self.door.customers.live.noise().clamp(0.1, 1.0));
                    return Some((encoded(russe::Event::Retry(after)).into(), self));
                }
            }
        }
        None
    }

    /// The event that tells this, unless the client knows it; and the end, if it is final.
    fn news(&mut self, sight: &Sight) -> Option<String> {
        let told = match sight {
            Sight::Status(status) => told(status, self.door.customers.clock.now()),
            Sight::Active(active) => active_alone(*active),
        };
        let id = id(self.following.session(), &told);
        self.over = is_final(sight);
        if self.last.as_deref() == Some(id.as_bytes()) {
            return None;
        }
        let mut event = encoded(russe::Event::Message(russe::Message {
            event: Some("status".into()),
            data: told.to_string().into(),
            id: Some(id.as_str().into()),
            retry: None,
        }));
        if self.over {
            event += &encoded(russe::Event::Message(russe::Message {
                event: Some("end".into()),
                // A browser passes over an event without data.
                data: "{}".into(),
                id: None,
                retry: None,
            }));
        }
        self.last = Some(id.into_bytes());
        Some(event)
    }
}

/// Another one for anything else that is told, of this session or another.
fn id(session: &str, told: &Value) -> String {
    let digest = Sha256::new()
        .chain_update(session)
        .chain_update([0])
        .chain_update(told.to_string())
        .finalize();
    hex::encode(&digest[..8])
}

/// Whether nothing else comes after it by itself.
fn is_final(sight: &Sight) -> bool {
    match sight {
        Sight::Active(active) => *active,
        Sight::Status(status) => matches!(
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
    // Only an id or a name with a line break cannot be encoded; ours are hexadecimal and words.
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
