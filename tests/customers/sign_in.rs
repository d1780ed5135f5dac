//! The shop's sign-in service: `jose` makes its keys and signs its tokens, and a server of the tests' own tells the keys.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;

use support::program::awaited;
use support::shop::now;

pub(crate) const ISSUER: &str = "https://id.example.com/";
pub(crate) const AUDIENCE: &str = "studio";

pub(crate) struct SignIn {
    jose: Mutex<Option<Jose>>,
    keys: Arc<Mutex<Vec<Value>>>,
    /// How often the keys were asked for.
    asked: Arc<AtomicUsize>,
    manner: Arc<Mutex<Manner>>,
    address: SocketAddr,
    server: JoinHandle<()>,
    _child: Child,
}

/// How the server of the keys answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    Good,
    /// A whole and right JWKS, of more bytes than anyone needs.
    Huge,
    /// Nothing comes.
    Silent,
    /// To a place that tells the keys.
    Elsewhere,
    /// With an error, and the keys.
    Sorry,
    /// With JSON that is no JWKS.
    Odd,
}

struct Jose {
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl SignIn {
    /// With a key `rsa` for RS256 and a key `ec` for ES256.
    pub(crate) async fn start() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        assert!(
            root.join(".tools/node/node_modules/jose").exists(),
            "jose is not installed: run `make test`, or `scripts/install.sh test` once"
        );
        let mut path = root.join(".tools/bin").into_os_string();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        let mut child = Command::new("node")
            .arg(root.join("tests/peers/tokens.mjs"))
            .env("PATH", path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let jose = Jose {
            orders: child.stdin.take().unwrap(),
            answers: BufReader::new(child.stdout.take().unwrap()).lines(),
        };
        let (keys, asked) = <(Arc<Mutex<Vec<Value>>>, Arc<AtomicUsize>)>::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let manner = Arc::new(Mutex::new(Manner::Good));
        let server = tokio::spawn(serve(listener, keys.clone(), asked.clone(), manner.clone()));
        let sign_in = Self {
            jose: Mutex::new(Some(jose)),
            keys,
            asked,
            manner,
            address,
            server,
            _child: child,
        };
        sign_in.new_key("rsa", "RS256").await;
        sign_in.new_key("ec", "ES256").await;
        sign_in
    }

    pub(crate) fn jwks_url(&self) -> String {
        format!("http://{}/jwks.json", self.address)
    }

    /// Makes a key and tells it to whoever asks.
    pub(crate) async fn new_key(&self, name: &str, algorithm: &str) {
        let key = self.secret_key(name, algorithm).await;
        self.keys.lock().unwrap().push(key);
    }

    /// Makes a key that nobody is told of.
    pub(crate) async fn secret_key(&self, name: &str, algorithm: &str) -> Value {
        self.order(json!({"key": name, "alg": algorithm})).await
    }

    /// Tells only the keys of these names from now on.
    pub(crate) fn tell_only(&self, names: &[&str]) {
        let told = |key: &Value| key["kid"].as_str().is_some_and(|name| names.contains(&name));
        self.keys.lock().unwrap().retain(told);
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// Nobody answers at its address any more.
    pub(crate) async fn goes_down(&mut self) {
        self.server.abort();
        let _ = (&mut self.server).await;
    }

    pub(crate) fn answers(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }

    pub(crate) async fn comes_up(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        let (keys, asked, manner) = (self.keys.clone(), self.asked.clone(), self.manner.clone());
        self.server = tokio::spawn(serve(listener, keys, asked, manner));
    }

    /// A good token of a user, valid for five minutes.
    pub(crate) async fn token(&self, user: &str) -> String {
        self.signed("rsa", claims(user)).await
    }

    pub(crate) async fn signed(&self, key: &str, claims: Value) -> String {
        self.token_of(json!({"sign": key, "claims": claims})).await
    }

    /// What `tests/peers/tokens.mjs` makes of an order.
    pub(crate) async fn token_of(&self, order: Value) -> String {
        self.order(order).await.as_str().unwrap().to_owned()
    }

    async fn order(&self, order: Value) -> Value {
        let mut jose = self.jose.lock().unwrap().take().expect("one order at a time");
        jose.orders
            .write_all(format!("{order}\n").as_bytes())
            .await
            .unwrap();
        let line = awaited("jose's answer", jose.answers.next_line()).await;
        *self.jose.lock().unwrap() = Some(jose);
        serde_json::from_str(&line.unwrap().expect("an answer")).unwrap()
    }
}

impl Drop for SignIn {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// The claims of a good token, with an email that is theirs: `USER@example.com`.
pub(crate) fn claims(user: &str) -> Value {
    json!({
        "sub": user, "email": format!("{user}@example.com"), "email_verified": true,
        "iss": ISSUER, "aud": AUDIENCE, "iat": now().timestamp(), "exp": now().timestamp() + 300
    })
}

/// The same with one of them exchanged; `null` takes it out.
pub(crate) fn claims_with(user: &str, name: &str, value: Value) -> Value {
    let mut claims = claims(user);
    let all = claims.as_object_mut().unwrap();
    all.remove(name);
    if !value.is_null() {
        all.insert(name.to_owned(), value);
    }
    claims
}

async fn serve(
    listener: TcpListener,
    keys: Arc<Mutex<Vec<Value>>>,
    asked: Arc<AtomicUsize>,
    manner: Arc<Mutex<Manner>>,
) {
    while let Ok((connection, _)) = listener.accept().await {
        asked.fetch_add(1, Ordering::SeqCst);
        let body = json!({"keys": *keys.lock().unwrap()}).to_string();
        tokio::spawn(tell(connection, body, *manner.lock().unwrap()));
    }
}

async fn tell(mut connection: TcpStream, body: String, manner: Manner) {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let mut part = [0; 1_024];
        match connection.read(&mut part).await {
            Ok(0) | Err(_) => return,
            Ok(read) => request.extend_from_slice(&part[..read]),
        }
    }
    let was_sent_on = request.starts_with(b"GET /elsewhere ");
    let (line, body) = match manner {
        Manner::Silent => {
            // Until the other side gives up.
            let _ = connection.read(&mut [0; 1]).await;
            return;
        }
        Manner::Huge => ("200 OK", format!("{body}{}", " ".repeat(1 << 20))),
        Manner::Elsewhere if !was_sent_on => ("302 Found\r\nLocation: /elsewhere", body),
        Manner::Sorry => ("500 Internal Server Error", body),
        Manner::Odd => ("200 OK", "{\"keys\":\"none\"}".to_owned()),
        Manner::Good | Manner::Elsewhere => ("200 OK", body),
    };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {line}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    let _ = connection.write_all(format!("{head}{body}").as_bytes()).await;
    let _ = connection.shutdown().await;
}
