//! The customer's page in Chromium, on the whole system: server, worker, Redis and store as they run, and
//! `surepass-sandbox` for Stripe's hosted page, API and webhooks. Pictures of each state are put into
//! `target/screenshots`.

mod access;
mod appearance;
mod bad_proxy;
mod browser;
mod button;
mod error_pages;
mod fixture;
mod harness;
mod measure;
mod purchases;
mod screenshots;
mod shop_site;
mod stream;
mod tab;
mod widget;
mod without_javascript;
