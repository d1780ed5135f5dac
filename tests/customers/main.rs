//! Who is asking, and what they are told: server, worker, Redis and store as they run, tokens by npm's `jose`, and
//! `surepass-sandbox` for Stripe.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed"
)]

#[path = "../support/answer.rs"]
#[expect(dead_code, reason = "other test programs use more of it")]
mod answer;
mod browser;
mod cases;
mod hostile;
mod limits;
mod listening;
mod live;
mod live_doors;
mod page;
mod page_bought;
mod page_forms;
mod page_states;
mod page_words;
mod passes;
#[path = "../support/program.rs"]
#[expect(dead_code, reason = "other test programs use more of it")]
mod program;
mod reader;
#[path = "../support/shop/mod.rs"]
#[expect(dead_code, reason = "other test programs use more of it")]
mod shop;
mod sign_in;
#[path = "../support/snapshot.rs"]
mod snapshot;
mod status;
mod stripe;
#[path = "../support/stripe_sandbox.rs"]
#[expect(dead_code, reason = "other test programs use more of it")]
mod stripe_sandbox;
mod studio;
mod sync;
mod tokens;
mod unknown;
