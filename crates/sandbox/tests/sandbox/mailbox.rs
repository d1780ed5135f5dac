//! A webhook endpoint that keeps what it is sent.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::web::{Bytes, Data};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use chrono::{DateTime, Utc};
use secrecy::SecretString;
use serde_json::Value;
use surepass::stripe::signature::Verifier;
use tokio::sync::watch;

use support::program::awaited;

pub(crate) struct Mailbox {
    pub(crate) url: String,
    inner: Arc<Inner>,
    server: actix_web::dev::ServerHandle,
}

struct Inner {
    letters: watch::Sender<Vec<Letter>>,
    /// What the next letters are answered; 200 where nothing is said.
    answers: Mutex<VecDeque<(u16, Duration)>>,
}

#[derive(Debug, Clone)]
pub(crate) struct Letter {
    pub(crate) signature: String,
    pub(crate) body: Bytes,
    pub(crate) event: Value,
}

impl Letter {
    /// Whether it is signed with this secret, as of `now`.
    pub(crate) fn is_signed_with(&self, secret: &str, now: DateTime<Utc>) -> bool {
        let verifier = Verifier::new(&[SecretString::from(secret)]).unwrap();
        verifier
            .verify(Some(self.signature.as_bytes()), &self.body, now)
            .is_ok()
    }

    pub(crate) fn kind(&self) -> &str {
        self.event["type"].as_str().unwrap()
    }
}

impl Mailbox {
    pub(crate) fn open() -> Self {
        let inner = Arc::new(Inner {
            letters: watch::Sender::new(Vec::new()),
            answers: Mutex::default(),
        });
        let shared = Data::from(inner.clone());
        let server = HttpServer::new(move || {
            App::new()
                .app_data(shared.clone())
                .default_service(web::to(receive))
        });
        let server = server.workers(1).disable_signals().bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/webhooks", server.addrs()[0]);
        let server = server.run();
        let handle = server.handle();
        tokio::spawn(server);
        Self {
            url,
            inner,
            server: handle,
        }
    }

    /// Says what the next letters are answered, after how long.
    pub(crate) fn will_answer(&self, answers: &[(u16, Duration)]) {
        self.inner.answers.lock().unwrap().extend(answers);
    }

    pub(crate) fn letters(&self) -> Vec<Letter> {
        self.inner.letters.borrow().clone()
    }

    /// Waits until so many letters have come.
    pub(crate) async fn holds(&self, count: usize) -> Vec<Letter> {
        let mut letters = self.inner.letters.subscribe();
        let come = letters.wait_for(|letters| letters.len() >= count);
        awaited(&format!("{count} letters"), come).await.unwrap().clone()
    }

    pub(crate) async fn close(self) {
        self.server.stop(false).await;
    }
}

async fn receive(request: HttpRequest, body: Bytes, inner: Data<Inner>) -> HttpResponse {
    let letter = Letter {
        signature: request
            .headers()
            .get("stripe-signature")
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned(),
        event: serde_json::from_slice(&body).unwrap(),
        body,
    };
    let answer = inner.answers.lock().unwrap().pop_front();
    let (status, after) = answer.unwrap_or((200, Duration::ZERO));
    inner.letters.send_modify(|letters| letters.push(letter));
    tokio::time::sleep(after).await;
    let mut answer = HttpResponse::build(StatusCode::from_u16(status).unwrap());
    answer.insert_header(("Location", "/elsewhere")).finish()
}
