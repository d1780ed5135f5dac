//! The worker's own `/healthz` and `/readyz`.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use actix_web::{App, HttpServer, web};
use surepass::http::health::{self, Health};
use surepass::queue::Queue;
use surepass::store::Store;

/// Serves on a thread of its own until the process ends. An address that is taken (a second worker on this machine)
/// costs the endpoint, not the worker.
pub(crate) fn serve(bind: SocketAddr, queue: &Queue, store: &Arc<dyn Store>) {
    let health = Health::new(queue.clone(), store.clone());
    let listener = match TcpListener::bind(bind) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::warn!(%bind, %error, "no /healthz and /readyz of this worker: set SUREPASS_METRICS_BIND to a free address");
            return;
        }
    };
    let server = HttpServer::new(move || {
        App::new()
            .app_data(web::Data::new(health.clone()))
            .configure(health::routes)
    })
    .workers(1)
    .disable_signals()
    .listen(listener);
    match server {
        Ok(server) => {
            tokio::spawn(server.run());
        }
        Err(error) => tracing::warn!(%bind, %error, "no /healthz and /readyz of this worker"),
    }
}
