//! Others' fakes of Stripe, as programs on this machine.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use support::program::eventually;

use surepass::stripe::api::{Client, ClientOptions, Unpaced, http};
use tokio::process::{Child, Command};
use url::Url;

use support::ports::free_port;
use support::stripe_faults::options;

pub(crate) struct Peer {
    pub(crate) base: Url,
    pub(crate) http: reqwest::Client,
    _child: Child,
}

impl Peer {
    /// Starts `program script PORT`; `installed` is what it needs of `.tools`.
    pub(crate) async fn start(program: &str, script: &str, installed: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        assert!(
            root.join(installed).exists(),
            "{installed} is not installed: run `make test`, or `scripts/install.sh test` once"
        );
        let port = free_port();
        let mut path = root.join(".tools/bin").into_os_string();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        let child = Command::new(program)
            .arg(root.join(script))
            .arg(port.to_string())
            .env("PATH", path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run {program} ({error}): run `scripts/install.sh test`"));
        let peer = Self {
            base: format!("http://127.0.0.1:{port}").parse().unwrap(),
            http: http().unwrap(),
            _child: child,
        };
        eventually("it starts", async || {
            peer.http.get(peer.base.clone()).send().await.is_ok()
        })
        .await;
        peer
    }

    pub(crate) fn client(&self) -> Client {
        // Neither takes a restricted key.
        let options = ClientOptions {
            key: "sk_test_123456".into(),
            attempts: 1,
            ..options(&self.base)
        };
        Client::new(self.http.clone(), options, Arc::new(Unpaced))
    }

    /// Does what a shop does, as a form, and answers what Stripe would.
    pub(crate) async fn post(&self, path: &str, form: &[(&str, &str)]) -> serde_json::Value {
        let mut body = url::form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(form);
        let request = self
            .http
            .post(self.base.join(path).unwrap())
            .bearer_auth("sk_test_123456");
        let request = request.header("Content-Type", "application/x-www-form-urlencoded");
        let answer = request.body(body.finish()).send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }
}
