//! A server that answers as the test tells it to, faults and all, and remembers what it was asked.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use surepass::stripe::api::{Account, Client, ClientOptions, Pace, StripeError, Unpaced, http};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use url::Url;

/// How long anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_mins(1);
pub const KEY: &str = "rk_test_51SecretSecretSecret";

/// What the server does with a request.
#[derive(Debug, Clone)]
pub enum Reply {
    /// A whole answer: status, headers, body.
    Whole(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// The same, announced as longer than it is, and then the connection breaks.
    CutOff(Vec<u8>),
    /// The head at once, and then a byte each time that the test's time-out is nearly over.
    Drip(Vec<u8>),
    /// The head, and a body without end.
    Endless,
    /// Nothing, and the connection stays.
    Hang,
    /// The head of an answer, and then nothing.
    HeadOf(u16),
    /// Nothing, and the connection breaks.
    Close,
}

pub fn ok(body: impl Into<Vec<u8>>) -> Reply {
    Reply::Whole(200, Vec::new(), body.into())
}

pub fn status(status: u16) -> Reply {
    status_with(status, &[], r#"{"error":{"type":"api_error"}}"#)
}

pub fn status_with(status: u16, headers: &[(&'static str, &str)], body: &str) -> Reply {
    let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned()));
    Reply::Whole(status, headers.collect(), body.as_bytes().to_vec())
}

/// One request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    /// Which connection it came by, from 1 on.
    pub connection: usize,
    pub url: Url,
    /// Path and query as they were on the wire.
    pub target: String,
    headers: Vec<(String, String)>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self
            .headers
            .iter()
            .filter(|(header, _)| header.eq_ignore_ascii_case(name));
        values.next().map(|(_, value)| value.as_str())
    }

    pub fn query(&self, name: &str) -> Option<String> {
        let mut pairs = self.url.query_pairs();
        pairs
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
    }
}

type Answers = Arc<dyn Fn(&Request, usize) -> Reply + Send + Sync>;

pub struct Fake {
    pub base: Url,
    asked: Arc<Mutex<Vec<Request>>>,
}

impl Fake {
    /// Answers each request by what `answers` makes of it and of its number, from 1 on.
    pub async fn start(answers: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::behind(None, answers).await
    }

    /// The same behind TLS.
    pub async fn behind(
        tls: Option<TlsAcceptor>,
        answers: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let fake = Self {
            base: base.parse().unwrap(),
            asked: Arc::default(),
        };
        let answers: Answers = Arc::new(answers);
        let asked = Arc::clone(&fake.asked);
        tokio::spawn(async move {
            for connection in 1.. {
                let Ok((stream, _)) = listener.accept().await else {
                    return;
                };
                let (answers, asked) = (Arc::clone(&answers), Arc::clone(&asked));
                let serving = Serving {
                    connection,
                    answers,
                    asked,
                };
                match tls.clone() {
                    None => tokio::spawn(serving.serve(stream)),
                    Some(tls) => tokio::spawn(async move {
                        if let Ok(stream) = tls.accept(stream).await {
                            serving.serve(stream).await;
                        }
                    }),
                };
            }
        });
        fake
    }

    /// The same answer to everything.
    pub async fn always(reply: Reply) -> Self {
        Self::start(move |_, _| reply.clone()).await
    }

    /// The first answers in this order; the last one from then on.
    pub async fn in_order(replies: Vec<Reply>) -> Self {
        Self::start(move |_, number| replies.get(number - 1).or(replies.last()).unwrap().clone()).await
    }

    pub fn asked(&self) -> Vec<Request> {
        self.asked.lock().unwrap().clone()
    }

    pub fn account(&self) -> Account {
        client(&self.base, options).account(None)
    }
}

/// Four attempts, without jitter on top.
pub fn options(base: &Url) -> ClientOptions {
    ClientOptions {
        base: base.clone(),
        key: KEY.into(),
        attempts: 4,
        timeout: PATIENCE,
        noise: || 0.0,
    }
}

pub fn client(base: &Url, options: impl Fn(&Url) -> ClientOptions) -> Client {
    Client::new(http().unwrap(), options(base), Arc::new(Unpaced))
}

/// A pace that lets everything go, and remembers what it was told.
#[derive(Debug, Default)]
pub struct Told {
    pub turns: Mutex<usize>,
    pub slowed: Mutex<Vec<Duration>>,
}

#[async_trait::async_trait]
impl Pace for Told {
    async fn turn(&self) -> Result<(), StripeError> {
        *self.turns.lock().unwrap() += 1;
        Ok(())
    }

    async fn slow_down(&self, retry_after: Duration) {
        self.slowed.lock().unwrap().push(retry_after);
    }
}

struct Serving {
    connection: usize,
    answers: Answers,
    asked: Arc<Mutex<Vec<Request>>>,
}

impl Serving {
    async fn serve(self, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        while let Some(request) = read_request(&mut stream, self.connection).await {
            let number = {
                let mut asked = self.asked.lock().unwrap();
                asked.push(request.clone());
                asked.len()
            };
            let reply = (self.answers)(&request, number);
            if answer(&mut stream, reply).await.is_err() {
                return;
            }
        }
    }
}

async fn read_request(stream: &mut (impl AsyncRead + Unpin), connection: usize) -> Option<Request> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.lines();
    let target = lines.next()?.split(' ').nth(1)?.to_owned();
    let headers = lines.filter_map(|line| line.split_once(": "));
    Some(Request {
        connection,
        url: Url::parse("http://stripe.test").unwrap().join(&target).unwrap(),
        target,
        headers: headers
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
    })
}

/// Answers; an error ends the connection.
async fn answer(stream: &mut (impl AsyncWrite + Unpin), reply: Reply) -> std::io::Result<()> {
    let broken = || std::io::Error::other("as the test wants it");
    match reply {
        Reply::Whole(status, headers, body) => {
            let mut head = format!("HTTP/1.1 {status} Said\r\nContent-Length: {}\r\n", body.len());
            for (name, value) in headers {
                head.extend([name, ": ", &value, "\r\n"]);
            }
            head += "\r\n";
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(&body).await
        }
        Reply::CutOff(body) => {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len() + 1);
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(&body).await?;
            stream.flush().await?;
            Err(broken())
        }
        Reply::Drip(body) => {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all(head.as_bytes()).await?;
            for byte in body {
                stream.write_u8(byte).await?;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Ok(())
        }
        Reply::Endless => {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                .await?;
            let mut chunk = b"10000\r\n".to_vec();
            chunk.resize(chunk.len() + 0x10000, b' ');
            chunk.extend_from_slice(b"\r\n");
            loop {
                stream.write_all(&chunk).await?;
            }
        }
        Reply::Hang => std::future::pending().await,
        Reply::HeadOf(status) => {
            let head = format!("HTTP/1.1 {status} Said\r\nContent-Length: 7\r\n\r\n");
            stream.write_all(head.as_bytes()).await?;
            std::future::pending().await
        }
        Reply::Close => Err(broken()),
    }
}
