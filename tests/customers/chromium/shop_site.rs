//! The shop's own site, on another host than Surepass: it signs its customers in, and has the element on a page.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, OnceLock};

use actix_web::http::header::CONTENT_SECURITY_POLICY;
use actix_web::{App, HttpResponse, HttpServer, web};

use crate::chromium::fixture::token;

/// It runs until the test ends.
pub(crate) struct Site {
    address: SocketAddr,
    surepass: Arc<OnceLock<String>>,
}

type Surepass = web::Data<OnceLock<String>>;

impl Site {
    pub(crate) fn open() -> Self {
        let surepass = Arc::new(OnceLock::new());
        let shared = surepass.clone();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = HttpServer::new(move || {
            App::new()
                .app_data(web::Data::from(shared.clone()))
                .route("/sign-in", web::get().to(sign_in))
                .route("/passes", web::get().to(passes))
                .route("/passes.js", web::get().to(script))
                .route("/token", web::get().to(async || token("kari", 900)))
                .route("/favicon.ico", web::get().to(HttpResponse::NoContent))
        })
        .workers(1)
        .disable_signals()
        .listen(listener)
        .unwrap();
        tokio::spawn(server.run());
        Self { address, surepass }
    }

    /// Surepass is at 127.0.0.1, so this is another site to a browser.
    pub(crate) fn origin(&self) -> String {
        format!("http://localhost:{}", self.address.port())
    }

    /// Where Surepass is.
    pub(crate) fn meets(&self, surepass: String) {
        self.surepass.set(surepass).unwrap();
    }
}

fn page(surepass: &Surepass, lang: &str, body: &str) -> HttpResponse {
    let surepass = surepass.get().unwrap();
    let policy = format!(
        "default-src 'none'; script-src 'self' {surepass}; connect-src 'self' {surepass}; form-action {surepass}"
    );
    HttpResponse::Ok()
        .insert_header((CONTENT_SECURITY_POLICY, policy))
        .content_type("text/html; charset=utf-8")
        .body(
            format!(
                "<!doctype html><html lang={lang}><head><meta charset=utf-8><title>A shop</title>\
             <meta name=viewport content='width=device-width, initial-scale=1'>\
             <script src=SUREPASS/widget.js defer></script><script src=/passes.js defer></script></head>\
             <body><main><h1>A shop</h1>{body}</main></body></html>"
            )
            .replace("SUREPASS", surepass),
        )
}

async fn sign_in(surepass: Surepass) -> HttpResponse {
    let token = token("kari", 900);
    page(
        &surepass,
        "en",
        &format!(
            "<form method=post action=SUREPASS/api/user/session><input type=hidden name=token value={token}>\
             <input type=hidden name=next value=/studio/subscriptions><button>Sign in</button></form>"
        ),
    )
}

/// With the element; `?session_id=` is the one that it is to confirm, and `?lang=` what the page calls its language.
async fn passes(surepass: Surepass, query: web::Query<Vec<(String, String)>>) -> HttpResponse {
    let value = |wanted: &str| {
        query
            .iter()
            .find(|(name, _)| name == wanted)
            .map(|(_, value)| value)
    };
    let session = value("session_id").map_or_else(String::new, |session| format!("session={session}"));
    page(
        &surepass,
        value("lang").map_or("en", String::as_str),
        &format!("<surepass-passes tenant=studio api=SUREPASS {session}></surepass-passes>"),
    )
}

async fn script() -> HttpResponse {
    HttpResponse::Ok().content_type("text/javascript").body(
        "customElements.whenDefined('surepass-passes').then(() => {
             const element = document.querySelector('surepass-passes')
             if (element) element.token = async () => (await fetch('/token')).text()
         })",
    )
}
