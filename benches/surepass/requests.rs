//! Webhooks as Stripe sends them, signed beforehand: the generator of load does nothing but send.

use secrecy::SecretString;
use surepass::clock::Clock;
use surepass::fulfil::Purchase;
use surepass::ingest::{Triage, triage};
use surepass::store::CreatedVia;
use surepass::stripe::Event;
use surepass::stripe::signature::sign;
use surepass::up::sample::SampleSession;

use crate::Outcome;

pub(crate) const SECRET: &str = "whsec_benchmark";
const COMPLETED: &str = "checkout.session.completed";

/// Sessions with ids as random as Stripe's: they decide where rows go in an index. `seed` keeps sets apart.
pub(crate) fn sessions(count: usize, seed: u64) -> impl Iterator<Item = SampleSession> {
    let created = Clock::system().now();
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (0..count).map(move |_| {
        let unique: String = (0..23).map(|_| letter(&mut state)).collect();
        SampleSession::ten_classes(unique, created)
    })
}

/// The next of 62, by `splitmix64`.
fn letter(state: &mut u64) -> char {
    const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    LETTERS[usize::try_from((mixed ^ (mixed >> 31)) % 62).unwrap_or_default()] as char
}

pub(crate) fn body(session: &SampleSession) -> Vec<u8> {
    session.event(COMPLETED, 1)
}

/// What the intake makes of such a session.
pub(crate) fn purchases(count: usize, seed: u64) -> Outcome<Vec<Purchase>> {
    sessions(count, seed)
        .map(
            |session| match triage(&Event::parse(&body(&session))?, None, CreatedVia::Webhook) {
                Triage::Fulfil(purchase) => Ok(purchase),
                Triage::Ignore(why) => Err(why.into()),
            },
        )
        .collect()
}

/// Requests ready to be sent, all in one piece of memory.
#[derive(Debug)]
pub(crate) struct Requests {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    sessions: Vec<String>,
    largest_body: usize,
}

impl Requests {
    pub(crate) fn signed(count: usize, seed: u64) -> Self {
        let secret = SecretString::from(SECRET);
        // Ahead of time, so that the last round's are still fresh: a timestamp in the future passes.
        let timestamp = Clock::system().now().timestamp() + 86_400;
        let mut requests = Self {
            bytes: Vec::with_capacity(count * 3_800),
            ends: Vec::with_capacity(count),
            sessions: Vec::with_capacity(count),
            largest_body: 0,
        };
        for session in sessions(count, seed) {
            let body = body(&session);
            let head = format!(
                "POST /webhooks/stripe HTTP/1.1\r\nHost: localhost\r\nUser-Agent: Stripe/1.0 (+https://stripe.com/docs/webhooks)\r\n\
                 Accept: */*; q=0.5, application/xml\r\nContent-Type: application/json; charset=utf-8\r\n\
                 Stripe-Signature: {}\r\nContent-Length: {}\r\n\r\n",
                sign(&secret, timestamp, &body),
                body.len()
            );
            requests.bytes.extend_from_slice(head.as_bytes());
            requests.bytes.extend_from_slice(&body);
            requests.ends.push(requests.bytes.len());
            requests.sessions.push(session.session_id());
            requests.largest_body = requests.largest_body.max(body.len());
        }
        requests
    }

    pub(crate) fn get(&self, nth: usize) -> &[u8] {
        let from = nth.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[from..self.ends[nth]]
    }

    pub(crate) fn subscription_id(&self, nth: usize) -> String {
        format!("subscription-{}", self.sessions[nth])
    }

    pub(crate) fn body_bytes(&self) -> usize {
        self.largest_body
    }
}
