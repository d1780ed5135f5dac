//! Detects a Stripe list that repeats itself, across slices and processes.

use serde::{Deserialize, Serialize};

/// Brent's algorithm over the cursors of a list. It keeps one cursor and two counters, whatever the list's
/// length. A cycle of `n` pages is detected after at most `3 n` pages.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct CycleDetector {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    remembered: Option<String>,
    /// Cursors seen since `remembered`.
    #[serde(default)]
    steps: u64,
    /// After this many cursors another one is remembered.
    #[serde(default)]
    limit: u64,
}

impl CycleDetector {
    pub(super) fn is_new(&self) -> bool {
        self.limit == 0
    }

    /// Takes the next cursor. Returns true if the list was here before.
    pub(super) fn is_cycle(&mut self, cursor: &str) -> bool {
        if self.remembered.as_deref() == Some(cursor) {
            return true;
        }
        self.steps += 1;
        if self.steps >= self.limit {
            self.remembered = Some(cursor.to_owned());
            self.limit = self.limit.max(1).saturating_mul(2);
            self.steps = 0;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Through JSON at each step, as the slices of a run keep it.
    fn steps_until_cycle(cursors: impl Iterator<Item = usize>) -> Option<usize> {
        let mut detector = CycleDetector::default();
        for (n, cursor) in cursors.enumerate() {
            let json = serde_json::to_string(&detector).unwrap();
            detector = serde_json::from_str(&json).unwrap();
            if detector.is_cycle(&format!("cs_{cursor}")) {
                return Some(n + 1);
            }
        }
        None
    }

    proptest! {
        #[test]
        fn every_circle_is_detected_within_three_rounds(tail in 0..200_usize, length in 1..200_usize) {
            let cursors = (0..tail).chain((0..).map(|n| tail + n % length));
            let steps = steps_until_cycle(cursors.take(10_000));
            prop_assert!(steps.is_some_and(|steps| steps <= 3 * (tail + length)), "{steps:?}");
        }

        #[test]
        fn a_list_without_a_circle_is_read_to_its_end(length in 0..2_000_usize) {
            prop_assert_eq!(steps_until_cycle(0..length), None);
        }
    }
}
