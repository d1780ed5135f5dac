//! Ids that look like Stripe's. The same seed gives the same ids in the same order.

use rand::SeedableRng;
use rand::distr::{Alphanumeric, SampleString};
use rand::rngs::StdRng;

/// Makes ids. 14 random letters and digits at least: no two are alike.
#[derive(Debug)]
pub(crate) struct Ids(StdRng);

impl Ids {
    pub(crate) fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    /// `prefix` and `length` letters and digits.
    pub(crate) fn next(&mut self, prefix: &str, length: usize) -> String {
        let mut id = prefix.to_owned();
        Alphanumeric.append_string(&mut self.0, &mut id, length);
        id
    }

    /// `cs_test_a1…` or `cs_live_a1…`, 66 characters.
    pub(crate) fn session(&mut self, livemode: bool) -> String {
        self.next(if livemode { "cs_live_a1" } else { "cs_test_a1" }, 56)
    }

    /// `cus_…`, `prod_…`: short ones.
    pub(crate) fn short(&mut self, prefix: &str) -> String {
        self.next(prefix, 14)
    }

    /// `pi_3…`, `ch_3…`, `evt_1…`: long ones, where `prefix` holds the digit.
    pub(crate) fn long(&mut self, prefix: &str) -> String {
        self.next(prefix, 23)
    }
}
