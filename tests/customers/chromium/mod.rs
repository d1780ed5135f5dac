//! The customer's page in Chromium, on the whole system: server, worker, Redis and store as they run, and
//! `surepass-sandbox` for Stripe's hosted page, API and webhooks. Pictures of each state are put into
//! `target/screenshots`.

mod browser;
mod button;
mod harness;
mod looks;
mod measure;
mod notices;
mod plain;
mod portraits;
mod purchases;
mod site;
mod strangers;
mod stream;
mod studio;
mod tab;
mod widget;
mod wire;
