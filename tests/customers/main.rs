//! What customers see and do: server, worker, Redis and store as they run, tokens by npm's `jose`, `surepass-sandbox` for
//! Stripe, and the page in Chromium.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed"
)]

mod browser;
mod chromium;
mod event_stream;
mod fixture;
mod hostile;
mod limits;
mod page;
mod page_bought;
mod page_forms;
mod page_states;
mod page_words;
mod passes;
mod reader;
mod script;
mod sign_in;
mod status;
mod status_stream;
mod stream_access;
mod stripe;
mod sync;
mod tokens;
mod unknown;
mod unmatched;
