//! The middleware of all requests: tracks what a connection waits for, and adds the security headers.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Payload, ResponseHead, Service, ServiceRequest, ServiceResponse};
use actix_web::error::PayloadError;
use actix_web::http::Version;
use actix_web::http::header::{
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
};
use actix_web::{Error, HttpMessage};
use bytes::Bytes;
use futures::Stream;
use url::Url;

use super::connection_limits::{Awaits, Connection};

/// For a page without a policy of its own: our stylesheet, and nothing else.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);
const NO_SNIFFING: HeaderValue = HeaderValue::from_static("nosniff");
/// A year. Not for other hosts below this one: they need not be ours.
const ONLY_TLS: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// The headers of every answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct SafetyHeaders {
    /// Browsers reach this server by TLS.
    is_tls: bool,
}

impl SafetyHeaders {
    pub(super) fn new(public_url: Option<&Url>) -> Self {
        let is_tls = public_url.is_some_and(|url| url.scheme() == "https");
        Self { is_tls }
    }

    fn add_to(self, head: &mut ResponseHead) {
        let headers = head.headers_mut();
        headers.insert(X_CONTENT_TYPE_OPTIONS, NO_SNIFFING);
        if self.is_tls {
            headers.insert(STRICT_TRANSPORT_SECURITY, ONLY_TLS);
        }
        let kind = headers.get(CONTENT_TYPE);
        let is_page = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
        if is_page && !headers.contains_key(CONTENT_SECURITY_POLICY) {
            headers.insert(CONTENT_SECURITY_POLICY, POLICY);
        }
    }
}

/// Serves a request, for `App::wrap_fn`.
pub(super) fn serve<S>(
    mut request: ServiceRequest,
    service: &S,
    headers: SafetyHeaders,
) -> impl Future<Output = Result<ServiceResponse<Answering>, Error>> + use<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<BoxBody>, Error = Error>,
{
    let connection = request.request().conn_data::<Rc<Connection>>().cloned();
    if let Some(connection) = &connection {
        match request.take_payload() {
            Payload::None => connection.awaits(Awaits::Answer),
            payload => {
                connection.awaits(Awaits::Body);
                let connection = connection.clone();
                let payload = Box::pin(Arriving { payload, connection });
                request.set_payload(Payload::Stream { payload });
            }
        }
    }
    let answering = service.call(request);
    async move {
        let response = answering.await?;
        let knows_chunks = response.request().version() >= Version::HTTP_11;
        Ok(response.map_body(|head, body| {
            headers.add_to(head);
            head.no_chunking(!knows_chunks);
            Answering { body, connection }
        }))
    }
}

/// A body on its way to us.
struct Arriving {
    payload: Payload,
    connection: Rc<Connection>,
}

impl Stream for Arriving {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = Pin::new(&mut self.payload).poll_next(cx);
        match &polled {
            Poll::Ready(None) => self.connection.awaits(Awaits::Answer),
            Poll::Ready(Some(Err(_))) if self.connection.is_late() => {
                return Poll::Ready(Some(Err(PayloadError::Io(io::ErrorKind::TimedOut.into()))));
            }
            _ => {}
        }
        polled
    }
}

/// Whether a body did not come in time.
pub(super) fn is_too_slow(error: &PayloadError) -> bool {
    matches!(error, PayloadError::Io(error) if error.kind() == io::ErrorKind::TimedOut)
}

/// An answer's body; when it is over the connection waits for its next request.
#[derive(Debug)]
pub(super) struct Answering {
    body: BoxBody,
    connection: Option<Rc<Connection>>,
}

impl MessageBody for Answering {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(cx)
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        if let Some(connection) = &self.connection {
            connection.awaits(Awaits::Head);
        }
    }
}
