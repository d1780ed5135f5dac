//! How a worker that serves several queues splits its slots.

/// As many slots for each queue as its weight asks for, of `concurrency` in all; each has one at least. They are its own:
/// however much waits in one queue, it takes nothing of another's. Answers in the order of `weights`.
#[must_use]
pub fn slots(concurrency: usize, weights: &[u32]) -> Vec<usize> {
    let weights: Vec<usize> = weights.iter().map(|weight| (*weight).max(1) as usize).collect();
    let sum: usize = weights.iter().sum();
    let mut slots: Vec<usize> = weights
        .iter()
        .map(|weight| (concurrency * weight / sum).max(1))
        .collect();
    // What rounding leaves over goes to the heaviest.
    let over = concurrency.saturating_sub(slots.iter().sum());
    if let Some(heaviest) = (0..slots.len()).max_by_key(|queue| weights[*queue]) {
        slots[heaviest] += over;
    }
    slots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_split_by_weight_none_is_left_over_and_no_queue_goes_without() {
        assert_eq!(slots(512, &[10]), [512]);
        assert_eq!(slots(512, &[10, 1]), [466, 46]);
        assert_eq!(slots(100, &[1, 1, 1]).iter().sum::<usize>(), 100);
        assert_eq!(slots(2, &[1_000, 1]), [1, 1]);
        assert_eq!(slots(1, &[10, 1]), [1, 1]);
        assert_eq!(slots(5, &[]), [0; 0]);
    }
}
