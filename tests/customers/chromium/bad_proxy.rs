//! A proxy between browser and server that treats some requests badly, as proxies do.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use support::program::awaited;

const STREAM: &[u8] = b"GET /api/user/subscription-status/stream";
const POLL: &[u8] = b"POST /api/user/subscription-status ";

#[derive(Debug, Clone, Copy)]
pub(crate) enum Manner {
    /// Carries all of it, until it is told to be down.
    Carries,
    /// Ends the connection on which a stream is asked for.
    CutsStreams,
    /// Passes the answer on when it has ended, as a proxy that buffers does: a stream's never.
    HoldsStreams,
    /// The same of what is polled, while streams pass.
    HoldsPolls,
}

pub(crate) struct Wire {
    address: SocketAddr,
    met: Arc<Notify>,
    is_down: watch::Sender<bool>,
    carrying: JoinHandle<()>,
}

impl Wire {
    pub(crate) async fn start(server: SocketAddr, manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let met = Arc::new(Notify::new());
        let (is_down, down) = watch::channel(false);
        let told = met.clone();
        let carrying = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (told, mut down) = (told.clone(), down.clone());
                tokio::spawn(async move {
                    tokio::select! {
                        () = carry(client, server, manner, told) => {}
                        _ = down.wait_for(|is_down| *is_down) => {}
                    }
                });
            }
        });
        Self {
            address,
            met,
            is_down,
            carrying,
        }
    }

    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Breaks every connection, and each that comes, until it is up again.
    pub(crate) fn is_down(&self, is_down: bool) {
        self.is_down.send_replace(is_down);
    }

    /// Waits until a stream has been asked for.
    pub(crate) async fn met_a_stream(&self) {
        awaited("a stream", self.met.notified()).await;
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.carrying.abort();
    }
}

/// Browsers send a request when the one before it on the connection is answered, so a request begins a read.
async fn carry(client: TcpStream, server: SocketAddr, manner: Manner, met: Arc<Notify>) {
    let Ok(server) = TcpStream::connect(server).await else {
        return;
    };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let (mut requests, mut answers) = (vec![0; 65_536], vec![0; 65_536]);
    let mut held: Option<Vec<u8>> = None;
    loop {
        tokio::select! {
            read = from_client.read(&mut requests) => {
                let Ok(read @ 1..) = read else { return };
                let request = &requests[..read];
                if request.starts_with(STREAM) {
                    met.notify_one();
                }
                match manner {
                    Manner::CutsStreams if request.starts_with(STREAM) => return,
                    Manner::HoldsStreams if request.starts_with(STREAM) => held = Some(Vec::new()),
                    Manner::HoldsPolls if request.starts_with(POLL) => held = Some(Vec::new()),
                    _ => {}
                }
                if to_server.write_all(request).await.is_err() { return }
            }
            read = from_server.read(&mut answers) => {
                let Ok(read @ 1..) = read else {
                    drop(to_client.write_all(&held.unwrap_or_default()).await);
                    return;
                };
                let answer = &answers[..read];
                match &mut held {
                    Some(held) => held.extend_from_slice(answer),
                    None => if to_client.write_all(answer).await.is_err() { return },
                }
            }
        }
    }
}
