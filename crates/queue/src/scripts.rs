//! The Lua scripts: each moves jobs from one state to the next in one atomic step, by Redis' own clock.

use std::sync::LazyLock;

use redis::aio::ConnectionLike;
use redis::{Cmd, ErrorKind, FromRedisValue, RedisResult, ServerErrorKind, ToRedisArgs};

macro_rules! script {
    ($name:ident, $file:literal) => {
        pub(super) static $name: LazyLock<Script> = LazyLock::new(|| {
            Script(redis::Script::new(concat!(
                include_str!("scripts/prelude.lua"),
                include_str!(concat!("scripts/", $file))
            )))
        });
    };
}

script!(ENQUEUE, "enqueue.lua");
script!(CLAIM, "claim.lua");
script!(SETTLE, "settle.lua");
script!(RENEW, "renew.lua");
script!(RESYNC, "resync.lua");
script!(TRIM, "trim.lua");
script!(PREFIXES, "prefixes.lua");
script!(RECOVER, "recover.lua");
script!(RETRY, "retry.lua");
script!(REGISTER, "register.lua");
script!(INSPECT_SORTED, "inspect_sorted.lua");
script!(INSPECT_LINE, "inspect_line.lua");
script!(INSPECT_JOB, "inspect_job.lua");
script!(COUNTS, "counts.lua");
script!(OVERDUE, "overdue.lua");
script!(DISCARD, "discard.lua");
script!(TOKEN_BUCKET_TAKE, "token_bucket_take.lua");
script!(TOKEN_BUCKET_SLOW_DOWN, "token_bucket_slow_down.lua");
script!(LIMIT, "limit.lua");
script!(SINGLE_FLIGHT, "single_flight.lua");

/// A script that Redis keeps under its hash.
pub(super) struct Script(redis::Script);

/// A call of a script, written straight into the command: redis-rs' own `ScriptInvocation` keeps each argument in a
/// vector of its own, and a batch has thousands.
pub(super) struct Call {
    script: &'static Script,
    command: Cmd,
}

impl Script {
    /// A call with these keys; arguments follow.
    ///
    /// Behind them a key that never exists: while their slot moves from one node of a cluster to another, no node runs a
    /// call that names a missing key beside others. Without it a script would begin, and end half-way at the first key
    /// that has moved already.
    pub(super) fn on<const N: usize>(&'static self, keys: &[String; N]) -> Call {
        self.on_with_room(keys, 8, 256)
    }

    /// The same with room for so many arguments, of so many bytes in all: a large call need not grow.
    pub(super) fn on_with_room<const N: usize>(
        &'static self,
        keys: &[String; N],
        arguments: usize,
        bytes: usize,
    ) -> Call {
        let tag = keys.first().and_then(|key| key.split_inclusive('}').next());
        let keys_bytes: usize = keys.iter().map(String::len).sum();
        let mut command = Cmd::with_capacity(N + 4 + arguments, 128 + keys_bytes + bytes);
        command.arg("EVALSHA").arg(self.0.get_hash()).arg(N + 1).arg(keys);
        command.arg(tag.unwrap_or_default());
        Call {
            script: self,
            command,
        }
    }
}

impl Call {
    pub(super) fn arg(&mut self, argument: impl ToRedisArgs) -> &mut Self {
        self.command.arg(argument);
        self
    }

    /// Calls it; where Redis does not have the script (any more), loads it first.
    pub(super) async fn invoke_async<T: FromRedisValue>(
        &self,
        connection: &mut impl ConnectionLike,
    ) -> RedisResult<T> {
        match self.command.query_async(connection).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                self.script.0.load_async(connection).await?;
                self.command.query_async(connection).await
            }
            answer => answer,
        }
    }
}
