//! A private Redis with a bucket in it.

use secrecy::ExposeSecret;
use surepass::queue::{Bucket, BucketOptions, Redis, RedisOptions};
use surepass::up::{RedisServer, RedisServerOptions};
use tempfile::TempDir;

pub(crate) struct World {
    pub(crate) server: RedisServer,
    _folder: TempDir,
}

impl World {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = RedisServerOptions {
            folder: folder.path().to_owned(),
            append_fsync: None,
            debug: false,
        };
        Self {
            server: RedisServer::start(options).await.unwrap(),
            _folder: folder,
        }
    }

    /// A bucket with a connection of its own, as another process would have it.
    pub(crate) fn bucket(&self, rate: u32, burst: u32) -> Bucket {
        bucket(self.server.url().expose_secret(), rate, burst)
    }

    /// Redis' clock, in µs since 1970.
    pub(crate) fn now(&self) -> u64 {
        now(&mut self.connection())
    }

    pub(crate) fn connection(&self) -> redis::Connection {
        connection(self.server.url().expose_secret())
    }

    pub(crate) fn field(&self, name: &str) -> Option<String> {
        redis::Cmd::hget("{surepass:stripe}:bucket", name)
            .query(&mut self.connection())
            .unwrap()
    }

    pub(crate) fn set(&self, name: &str, value: u64) {
        redis::Cmd::hset("{surepass:stripe}:bucket", name, value)
            .exec(&mut self.connection())
            .unwrap();
    }
}

fn connection(url: &str) -> redis::Connection {
    redis::Client::open(url).unwrap().get_connection().unwrap()
}

pub(crate) fn now(connection: &mut redis::Connection) -> u64 {
    let (seconds, micros): (u64, u64) = redis::cmd("TIME").query(connection).unwrap();
    seconds * 1_000_000 + micros
}

pub(crate) fn bucket(url: &str, rate: u32, burst: u32) -> Bucket {
    let redis = Redis::open(&url.to_owned().into(), RedisOptions::default()).unwrap();
    let options = BucketOptions {
        burst,
        ..BucketOptions::stripe("surepass", rate)
    };
    Bucket::new(&redis, options).unwrap()
}
