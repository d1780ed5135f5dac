//! A server's own `/metrics`, apart from what the world reaches.

use std::net::SocketAddr;

use actix_web::dev::Server;
use actix_web::http::header::X_CONTENT_TYPE_OPTIONS;
use actix_web::middleware::DefaultHeaders;
use actix_web::{App, HttpServer, web};

use super::metrics::{MetricsPage, routes};

/// Binds the address. One that is taken (a second server on this machine) costs the metrics, not the server.
pub(super) fn start(bind: SocketAddr, page: &MetricsPage) -> Option<Server> {
    let page = page.clone();
    let server = HttpServer::new(move || {
        App::new()
            .wrap(DefaultHeaders::new().add((X_CONTENT_TYPE_OPTIONS, "nosniff")))
            .app_data(web::Data::new(page.clone()))
            .configure(routes)
    })
    .workers(1)
    .disable_signals()
    .bind(bind)
    .inspect_err(|error| {
        tracing::warn!(%bind, %error, "/metrics cannot listen: set SUREPASS_SERVER_METRICS_BIND to a free address");
    })
    .ok()?;
    if let Some(address) = server.addrs().first() {
        tracing::debug!(%address, "listening: GET /metrics");
    }
    Some(server.run())
}
