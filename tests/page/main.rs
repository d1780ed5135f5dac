//! The customer's page in Chromium, on the whole system: server, worker, Redis and store as they run, and
//! `surepass-sandbox` for Stripe's hosted page, API and webhooks. Pictures of each state are put into
//! `target/screenshots`.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed"
)]

#[path = "../support/answer.rs"]
#[expect(dead_code, reason = "other test programs use more of it")]
mod answer;
mod browser;
mod button;
mod harness;
mod looks;
mod measure;
mod notices;
mod plain;
mod portraits;
#[path = "../support/program.rs"]
#[expect(dead_code, reason = "other test programs use more of it")]
mod program;
mod purchases;
#[path = "../support/shop/mod.rs"]
#[expect(dead_code, reason = "other test programs use more of it")]
mod shop;
mod site;
mod strangers;
mod stream;
#[path = "../support/stripe_sandbox.rs"]
#[expect(dead_code, reason = "other test programs use more of it")]
mod stripe_sandbox;
mod studio;
mod tab;
mod widget;
mod wire;
