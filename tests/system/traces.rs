//! One trace from the webhook's request through its job, as a real collector receives it.

use std::net::TcpListener;
use std::sync::Arc;

use actix_web::{App, HttpResponse, HttpServer, web};
use nix::sys::signal::Signal;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use prost::Message;
use surepass::up::sample::SampleSession;
use tokio::sync::watch;

use support::answer::Answer;
use support::program::awaited;
use support::shop::{COMPLETED, SECRET_WORD, Shop, WEBHOOK_SECRET, signed};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

/// A span, as it came.
#[derive(Debug, Clone)]
struct Span {
    service: String,
    name: String,
    trace: String,
    id: String,
    parent: String,
    failed: bool,
    attributes: Vec<(String, String)>,
}

impl Span {
    fn attribute(&self, key: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|(name, _)| name == key);
        found.map(|(_, value)| value.as_str())
    }
}

/// Receives spans by OTLP over HTTP, in protobuf.
struct Collector {
    address: String,
    spans: watch::Receiver<Vec<Span>>,
}

impl Collector {
    fn start() -> Self {
        let (sender, spans) = watch::channel(Vec::new());
        let sender = Arc::new(sender);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let server = HttpServer::new(move || {
            App::new()
                .app_data(web::Data::from(sender.clone()))
                .route("/v1/traces", web::post().to(receive))
        });
        tokio::spawn(
            server
                .workers(1)
                .disable_signals()
                .listen(listener)
                .unwrap()
                .run(),
        );
        Self { address, spans }
    }

    /// The span of this name whose attribute `session` is this.
    async fn span(&self, name: &str, session: &SampleSession) -> Span {
        let wanted = session.session_id();
        let is_it = |span: &&Span| span.name == name && span.attribute("session") == Some(&wanted);
        let mut spans = self.spans.clone();
        let come = spans.wait_for(|spans| spans.iter().any(|span| is_it(&span)));
        let come = awaited(&format!("the span `{name}`"), come).await.unwrap();
        come.iter().find(is_it).unwrap().clone()
    }
}

async fn receive(spans: web::Data<watch::Sender<Vec<Span>>>, body: web::Bytes) -> HttpResponse {
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    for resource in request.resource_spans {
        let told = texts(resource.resource.unwrap().attributes);
        let service = told.into_iter().find(|(key, _)| key == "service.name").unwrap().1;
        for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            assert!(span.events.is_empty(), "the log's lines stay here: {span:?}");
            let span = Span {
                service: service.clone(),
                name: span.name,
                trace: hex::encode(span.trace_id),
                id: hex::encode(span.span_id),
                parent: hex::encode(span.parent_span_id),
                failed: span.status.is_some_and(|status| status.code == 2),
                attributes: texts(span.attributes),
            };
            spans.send_modify(|spans| spans.push(span));
        }
    }
    HttpResponse::Ok().content_type("application/x-protobuf").finish()
}

fn texts(attributes: Vec<opentelemetry_proto::tonic::common::v1::KeyValue>) -> Vec<(String, String)> {
    let text = |value: Option<Value>| match value {
        Some(Value::StringValue(text)) => text,
        other => format!("{other:?}"),
    };
    attributes
        .into_iter()
        .map(|one| (one.key, text(one.value.and_then(|value| value.value))))
        .collect()
}

/// Buys with a `traceparent`.
async fn buy(shop: &Shop, session: &SampleSession, traceparent: &str) {
    let body = session.event(COMPLETED, 1);
    let client = surepass::http_client::http().build().unwrap();
    let request = client
        .post(format!("http://{}/webhooks/stripe", shop.servers[0].address))
        .header("Stripe-Signature", signed(WEBHOOK_SECRET, &body))
        .header("traceparent", traceparent)
        .body(body);
    let answer = Answer::read(request.send().await.unwrap()).await.unwrap();
    assert_eq!(answer, Answer::accepted());
}

async fn traced_shop(endpoint: &str) -> Shop {
    let mut shop = Shop::prepare("").await;
    shop.set("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint);
    shop.set("OTEL_BSP_SCHEDULE_DELAY", "100");
    // The log's filter has no say in what is traced.
    shop.set("RUST_LOG", "info");
    shop.start_server().await;
    shop.start_worker().await;
    shop
}

#[tokio::test]
async fn trace_context_travels_from_the_webhook_request_through_the_job_to_the_collector() {
    let collector = Collector::start();
    let shop = traced_shop(&collector.address).await;

    let session = shop.session();
    buy(&shop, &session, &format!("00-{TRACE}-{CALLER}-01")).await;
    let webhook = collector.span("webhook", &session).await;
    assert_eq!(
        (webhook.service.as_str(), webhook.trace.as_str()),
        ("surepass", TRACE)
    );
    assert_eq!(webhook.parent, CALLER);
    let fulfil = collector.span("fulfil", &session).await;
    assert_eq!(
        (fulfil.service.as_str(), fulfil.trace.as_str()),
        ("surepass-worker", TRACE)
    );
    assert_eq!(fulfil.parent, webhook.id);
    assert!(!fulfil.failed);

    // Stripe sends no traceparent, and what is not valid counts as none: a trace begins here.
    let (without, invalid) = (shop.session(), shop.session());
    assert_eq!(shop.buy(&without).await, Answer::accepted());
    buy(&shop, &invalid, &format!("00-{}-{CALLER}-01", "0".repeat(32))).await;
    let mut traces = vec![TRACE.to_owned()];
    for session in [&without, &invalid] {
        let (webhook, fulfil) = (
            collector.span("webhook", session).await,
            collector.span("fulfil", session).await,
        );
        assert_eq!((webhook.parent.as_str(), &fulfil.parent), ("", &webhook.id));
        assert_eq!(webhook.trace, fulfil.trace);
        assert!(!traces.contains(&webhook.trace), "{traces:?}");
        traces.push(webhook.trace);
    }

    let unknown = shop
        .session()
        .with("passId", Some("no-such-pass"))
        .with("passName", None);
    buy(&shop, &unknown, &format!("00-{TRACE}-{CALLER}-01")).await;
    assert!(collector.span("fulfil", &unknown).await.failed);

    for span in collector.spans.borrow().iter() {
        for (key, value) in &span.attributes {
            for word in ["@", SECRET_WORD, "Nordmann"] {
                assert!(!value.contains(word), "`{word}` in {key} of {span:?}");
            }
        }
    }
}

#[tokio::test]
async fn without_a_collector_the_trace_travels_all_the_same_and_stands_in_both_logs() {
    let shop = Shop::open().await;
    buy(&shop, &shop.session(), &format!("00-{TRACE}-{CALLER}-01")).await;
    shop.settled().await;
    for program in [&shop.servers[0].program, &shop.workers[0]] {
        program.says(&format!(r#""trace":"{TRACE}""#)).await;
    }
}

#[tokio::test]
async fn a_collector_that_never_answers_delays_neither_request_nor_job_nor_the_end() {
    // Connections to it stand, and nothing ever comes back.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut shop = Shop::prepare("").await;
    shop.set(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        &format!("http://{}", silent.local_addr().unwrap()),
    );
    shop.set("OTEL_BSP_SCHEDULE_DELAY", "1");
    // Longer than any test waits: were it waited for, this one would fail.
    shop.set("OTEL_EXPORTER_OTLP_TIMEOUT", "600000");
    shop.start_server().await;
    shop.start_worker().await;
    for _ in 0..20 {
        assert_eq!(shop.buy(&shop.session()).await, Answer::accepted());
    }
    shop.settled().await;
    assert_eq!(shop.fulfilled().await.len(), 20);
    let (mut server, mut worker) = (shop.servers.remove(0).program, shop.workers.remove(0));
    for program in [&mut server, &mut worker] {
        program.signal(Signal::SIGTERM);
        assert!(program.ended().await.success());
    }
    shop.bury(server);
    shop.bury(worker);
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_used_is_refused_at_the_start_with_what_to_do() {
    let mut shop = Shop::prepare("").await;
    shop.set("OTEL_EXPORTER_OTLP_ENDPOINT", "grpc://collector.example.com:4317");
    let mut server = shop.launch_server();
    assert!(!server.ended().await.success());
    server.says("OTEL_EXPORTER_OTLP_ENDPOINT cannot be used").await;
}
