//! A way to Redis over TCP whose connections can go silent, as when a machine in between has vanished.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use secrecy::ExposeSecret;
use surepass::queue::{Queue, Redis, RedisOptions};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;

use crate::world::World;

pub(crate) struct Way {
    address: String,
    vanished: watch::Sender<u64>,
    connections: Arc<AtomicUsize>,
    silent: Arc<AtomicUsize>,
}

impl Way {
    pub(crate) async fn to(world: &World) -> Self {
        let target = world.server.url().expose_secret().to_owned();
        let target = target.trim_start_matches("redis+unix://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("redis://{}", listener.local_addr().unwrap());
        let vanished = watch::Sender::new(0);
        let (connections, silent) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (vanish, count, hushed) = (vanished.clone(), connections.clone(), silent.clone());
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let mut gone = vanish.subscribe();
                count.fetch_add(1, Ordering::SeqCst);
                let (target, hushed) = (target.clone(), hushed.clone());
                tokio::spawn(async move {
                    let mut redis = UnixStream::connect(&target).await.unwrap();
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut client, &mut redis) => {}
                        _ = gone.changed() => {}
                    }
                    hushed.fetch_add(1, Ordering::SeqCst);
                    // Open, and nothing comes any more.
                    silent_for_ever(client, redis).await;
                });
            }
        });
        Self {
            address,
            vanished,
            connections,
            silent,
        }
    }

    /// The same queue by this way.
    pub(crate) fn queue(&self, world: &World, options: RedisOptions) -> Queue {
        let redis = Redis::open(&self.address.clone().into(), options).unwrap();
        Queue::new(&redis, world.queue.config().clone()).unwrap()
    }

    /// How many connections have come this way.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// What is connected now is not closed, and never hears a word again. New connections work.
    pub(crate) async fn vanish(&self) {
        let connected = self.connections();
        self.vanished.send_modify(|times| *times += 1);
        while self.silent.load(Ordering::SeqCst) < connected {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn silent_for_ever(_client: TcpStream, _redis: UnixStream) {
    std::future::pending::<()>().await;
}
