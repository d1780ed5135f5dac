//! A stream as a page sees it, read byte by byte as a browser reads it.

use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::fixture::{Fixture, STREAM};
use support::program::awaited;

/// An event as a browser gives it to a page.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) data: Value,
}

/// An open stream.
pub(crate) struct Listening {
    pub(crate) response: reqwest::Response,
    unread: Vec<u8>,
    /// The last `id` so far, as a browser keeps it.
    pub(crate) last_id: String,
    pub(crate) retries: Vec<u64>,
    pub(crate) comments: usize,
}

impl Listening {
    fn to(response: reqwest::Response) -> Self {
        Self {
            response,
            unread: Vec::new(),
            last_id: String::new(),
            retries: Vec::new(),
            comments: 0,
        }
    }

    /// The next event; `None`: the stream has ended in good order.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        awaited("an event", async {
            loop {
                let block = self.block().await?;
                if let Some(event) = self.read(&block) {
                    return Some(event);
                }
            }
        })
        .await
    }

    pub(crate) async fn event(&mut self) -> Event {
        self.next().await.expect("the stream has ended")
    }

    /// The next event, which must be this one.
    pub(crate) async fn expect(&mut self, state: &str) -> Event {
        let event = self.event().await;
        assert_eq!(
            (event.name.as_str(), &event.data["state"]),
            ("status", &json!(state)),
            "{event:?}"
        );
        event
    }

    /// Reads until this state is told.
    pub(crate) async fn until(&mut self, state: &str) -> Event {
        loop {
            let event = self.event().await;
            if event.data["state"] == state {
                return event;
            }
        }
    }

    /// That it is over, and nothing follows.
    pub(crate) async fn expect_end(&mut self) {
        let event = self.event().await;
        assert_eq!((event.name.as_str(), event.data), ("end", json!({})));
        assert_eq!(self.next().await, None);
    }

    /// All until it ends by itself.
    pub(crate) async fn rest(&mut self) -> Vec<Event> {
        let mut all = Vec::new();
        while let Some(event) = self.next().await {
            all.push(event);
        }
        all
    }

    /// The next lines up to an empty one.
    pub(crate) async fn block(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.unread.windows(2).position(|two| two == b"\n\n") {
                let block: Vec<u8> = self.unread.drain(..end + 2).collect();
                return Some(String::from_utf8(block).unwrap());
            }
            let Some(more) = self.response.chunk().await.expect("it ends in good order") else {
                assert_eq!(self.unread, b"", "it ends after an event");
                return None;
            };
            self.unread.extend_from_slice(&more);
        }
    }

    /// As the standard says (HTML, 9.2.6).
    pub(crate) fn read(&mut self, block: &str) -> Option<Event> {
        let (mut name, mut data) = ("message", None::<String>);
        for line in block.lines().filter(|line| !line.is_empty()) {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "" => self.comments += 1,
                "event" => name = value,
                "id" => value.clone_into(&mut self.last_id),
                "retry" => self.retries.push(value.parse().unwrap()),
                "data" => {
                    let data = data.get_or_insert_default();
                    assert!(data.is_empty(), "one line of data");
                    data.push_str(value);
                }
                _ => panic!("{line}"),
            }
        }
        let data = data?;
        Some(Event {
            name: name.to_owned(),
            id: self.last_id.clone(),
            data: serde_json::from_str(&data).unwrap(),
        })
    }
}

impl Fixture {
    /// As a page asks that has a token at hand.
    pub(crate) fn stream(&self, server: usize, token: Option<&str>, session: &str) -> RequestBuilder {
        let path = format!("{STREAM}?sessionId={session}&tenant=studio");
        let request = self.request_to(server, Method::GET, &path);
        match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    pub(crate) async fn listen(&self, request: RequestBuilder) -> Listening {
        let response = awaited("a stream", request.send()).await.unwrap();
        assert_eq!(response.status(), 200);
        Listening::to(response)
    }

    /// Asks until there is room.
    pub(crate) async fn until_let_in(&self, token: &str, session: &str) -> Listening {
        awaited("room for a stream", async {
            loop {
                let response = self.stream(0, Some(token), session).send().await.unwrap();
                if response.status() == 200 {
                    return Listening::to(response);
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await
    }

    pub(crate) async fn follow(&self, token: &str, session: &str) -> Listening {
        self.listen(self.stream(0, Some(token), session)).await
    }
}
