//! A private Redis with a bucket in it.

use secrecy::ExposeSecret;
use surepass::queue::{Redis, RedisOptions, TokenBucket, TokenBucketOptions};
use surepass::stripe_rate_limit;
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
    pub(crate) fn bucket(&self, rate: u32, burst: u32) -> TokenBucket {
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

macro_rules! script {
    ($file:literal) => {
        concat!(
            include_str!("../../../crates/queue/src/scripts/prelude.lua"),
            include_str!(concat!("../../../crates/queue/src/scripts/", $file))
        )
    };
}

/// A place as the script answers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TakenPlace {
    pub(crate) round: String,
    /// In µs since 1970.
    pub(crate) due: u64,
}

/// The bucket's scripts, by a clock that the test sets.
pub(crate) struct SetClock {
    connection: redis::Connection,
    take: redis::Script,
    slow: redis::Script,
    /// In µs since 1970.
    pub(crate) now: u64,
}

impl SetClock {
    pub(crate) fn new(world: &World) -> Self {
        let clock = "{ math.floor(ARGV[#ARGV] / 1000000), ARGV[#ARGV] % 1000000 }";
        let set = |source: &str| redis::Script::new(&source.replacen("redis.call('TIME')", clock, 1));
        Self {
            connection: world.connection(),
            take: set(script!("token_bucket_take.lua")),
            slow: set(script!("token_bucket_slow_down.lua")),
            now: 1_700_000_000_000_000,
        }
    }

    /// A place and the wait for it in µs, ten seconds at most.
    pub(crate) fn place(&mut self, rate: u32, burst: u32, held: Option<&TakenPlace>) -> (TakenPlace, u64) {
        let mut call = self.take.key("{surepass:stripe}:bucket");
        call.arg("{surepass:stripe}:")
            .arg(rate)
            .arg(burst)
            .arg(10_000_000);
        match held {
            Some(place) => call.arg(&place.round).arg(place.due),
            None => call.arg("").arg(0),
        };
        call.arg(self.now);
        let (has, wait, round, due): (u8, u64, String, u64) = call.invoke(&mut self.connection).unwrap();
        assert_eq!(has, 1, "no place for {wait} µs");
        (TakenPlace { round, due }, wait)
    }

    pub(crate) fn pause(&mut self, seconds: u64) {
        let mut call = self.slow.key("{surepass:stripe}:bucket");
        call.arg("{surepass:stripe}:")
            .arg(seconds * 1_000_000)
            .arg(self.now);
        let _: i64 = call.invoke(&mut self.connection).unwrap();
    }
}

fn connection(url: &str) -> redis::Connection {
    redis::Client::open(url).unwrap().get_connection().unwrap()
}

pub(crate) fn now(connection: &mut redis::Connection) -> u64 {
    let (seconds, micros): (u64, u64) = redis::cmd("TIME").query(connection).unwrap();
    seconds * 1_000_000 + micros
}

pub(crate) fn bucket(url: &str, rate: u32, burst: u32) -> TokenBucket {
    let redis = Redis::open(&url.to_owned().into(), RedisOptions::default()).unwrap();
    let options = TokenBucketOptions {
        burst,
        ..stripe_rate_limit::options("surepass", rate)
    };
    TokenBucket::new(&redis, options).unwrap()
}
