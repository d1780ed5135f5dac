//! A tab of the browser, and what its user does and sees.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::chromium::browser::Browser;

pub(crate) struct Tab {
    id: u64,
    was_asked: bool,
}

/// What the page's element has said at a moment.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Said {
    /// Milliseconds since 1970.
    pub(crate) at: f64,
    pub(crate) state: String,
    pub(crate) message: String,
    /// How many passes were listed.
    pub(crate) passes: usize,
}

impl Tab {
    /// In a context of its own with these options of playwright's `newContext`.
    pub(crate) async fn open(options: Value) -> Self {
        Self::of(Browser::open(options).await)
    }

    /// Another one with the same cookies.
    pub(crate) async fn beside(&self) -> Self {
        Self::of(Browser::obeys(json!({"beside": self.id})).await.as_u64().unwrap())
    }

    fn of(id: u64) -> Self {
        Self { id, was_asked: false }
    }

    /// A method of playwright's Page.
    pub(crate) async fn does(&self, method: &str, with: Value) -> Value {
        Browser::obeys(json!({"tab": self.id, "do": method, "with": with})).await
    }

    // What its user does.

    /// Answers the status.
    pub(crate) async fn visit(&self, url: &str) -> u64 {
        let came = self.does("goto", json!([url])).await;
        came["status"].as_u64().unwrap()
    }

    pub(crate) async fn click(&self, selector: &str) {
        self.does("click", json!([selector])).await;
    }

    pub(crate) async fn fill(&self, selector: &str, text: &str) {
        self.does("fill", json!([selector, text])).await;
    }

    pub(crate) async fn press(&self, key: &str) {
        self.does("keyboard.press", json!([key])).await;
    }

    // What its user sees.

    /// Waits until it is visible.
    pub(crate) async fn sees(&self, selector: &str) {
        let order = json!({"tab": self.id, "do": "waitForSelector", "with": [selector]});
        if let Err(why) = Browser::tries(order).await {
            let said = self.evaluate("window.saidSoFar").await;
            panic!("{why}\nThe page has said: {said:#}");
        }
    }

    /// Waits until the page says this.
    pub(crate) async fn hears(&self, message: &str) {
        self.sees(&heard(message)).await;
    }

    pub(crate) async fn text(&self, selector: &str) -> String {
        let text = self.does("innerText", json!([selector])).await;
        text.as_str().unwrap().to_owned()
    }

    pub(crate) async fn count(&self, selector: &str) -> usize {
        let script = format!("document.querySelectorAll({}).length", json!(selector));
        serde_json::from_value(self.evaluate(&script).await).unwrap()
    }

    /// The address as it stands in the browser's bar.
    pub(crate) async fn address(&self) -> String {
        self.does("url", json!([])).await.as_str().unwrap().to_owned()
    }

    /// Waits until it stands there.
    pub(crate) async fn arrives(&self, address: &str) {
        self.does("waitForURL", json!([address])).await;
    }

    /// The value of an expression in the page, whatever its policy says of scripts.
    pub(crate) async fn evaluate(&self, expression: &str) -> Value {
        self.does("evaluate", json!([expression])).await
    }

    /// When this document came to be: another one after a reload.
    pub(crate) async fn birth(&self) -> f64 {
        self.evaluate("performance.timeOrigin").await.as_f64().unwrap()
    }

    /// All that the page's element has said since the document came to be, without repetition.
    pub(crate) async fn said(&self) -> Vec<Said> {
        serde_json::from_value(self.evaluate("window.saidSoFar").await).unwrap()
    }

    /// The messages of it, each once in a row.
    pub(crate) async fn messages(&self) -> Vec<String> {
        let mut messages: Vec<_> = self.said().await.into_iter().map(|said| said.message).collect();
        messages.retain(|message| !message.is_empty());
        messages.dedup();
        messages
    }

    // At the end.

    /// Closes its context. Nothing may have gone wrong in it: no error on the console, none in a script, nothing that the
    /// page's policy had to refuse, no dialog.
    pub(crate) async fn was_calm(self) {
        self.was_calm_but(&[]).await;
    }

    /// The same where the test itself has broken something: troubles that contain one of these words are its own.
    pub(crate) async fn was_calm_but(mut self, expected: &[&str]) {
        self.was_asked = true;
        let heard = self.heard().await;
        let troubles = heard["troubles"].as_array().unwrap().iter();
        let troubles: Vec<_> = troubles
            .map(|trouble| trouble.as_str().unwrap())
            .filter(|trouble| !expected.iter().any(|word| trouble.contains(word)))
            .collect();
        assert_eq!(troubles, Vec::<&str>::new());
        let origins = heard["origins"].as_array().unwrap().iter();
        for origin in origins.map(|origin| origin.as_str().unwrap()) {
            let is_local = ["http://127.0.0.1:", "http://localhost:"]
                .iter()
                .any(|local| origin.starts_with(local));
            assert!(is_local, "a page called {origin}");
        }
        Browser::obeys(json!({"tab": self.id, "close": true})).await;
    }

    async fn heard(&self) -> Value {
        Browser::obeys(json!({"tab": self.id, "heard": true})).await
    }

    pub(crate) async fn troubles(&self) -> Vec<String> {
        serde_json::from_value(self.heard().await["troubles"].take()).unwrap()
    }

    /// What axe-core has to say against what is shown.
    pub(crate) async fn axe(&self) -> Value {
        Browser::obeys(json!({"tab": self.id, "axe": "html"})).await
    }
}

impl Drop for Tab {
    fn drop(&mut self) {
        let fine = self.was_asked || std::thread::panicking();
        assert!(fine, "each tab is asked at the end whether it was calm");
    }
}

/// Where the page says this.
pub(crate) fn heard(message: &str) -> String {
    format!("surepass-passes [data-message]:has-text({})", json!(message))
}
