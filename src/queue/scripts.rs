//! The Lua scripts: each moves jobs from one state to the next in one atomic step, by Redis' own clock.

use std::sync::LazyLock;

use redis::Script;

macro_rules! script {
    ($name:ident, $file:literal) => {
        pub(super) static $name: LazyLock<Script> = LazyLock::new(|| {
            Script::new(concat!(
                include_str!("scripts/prelude.lua"),
                include_str!(concat!("scripts/", $file))
            ))
        });
    };
}

script!(ENQUEUE, "enqueue.lua");
script!(CLAIM, "claim.lua");
script!(SETTLE, "settle.lua");
script!(RENEW, "renew.lua");
script!(RESYNC, "resync.lua");
script!(TRIM, "trim.lua");
script!(RETRY, "retry.lua");
