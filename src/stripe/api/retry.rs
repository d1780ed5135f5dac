//! When a failed call is made again.

use std::time::Duration;

use super::error::{Problem, StripeError};

/// A longer wait than this is not slept through: a job that waits in Redis holds no slot.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// The first delay of the exponential, and its longest.
const BASE: Duration = Duration::from_millis(500);
const CAP: Duration = Duration::from_secs(5);
/// The longest `Retry-After` that is believed.
const LONGEST_RETRY_AFTER: Duration = Duration::from_hours(1);

/// How long to wait before the next attempt; `None`: there is none. `failed` attempts have been made, of `attempts`;
/// `noise` is from 0 to 1.
pub(super) fn delay(error: &StripeError, failed: u32, attempts: u32, noise: f64) -> Option<Duration> {
    if failed >= attempts || !can_help(error.problem()) {
        return None;
    }
    let exact = BASE.saturating_mul(2_u32.saturating_pow(failed.saturating_sub(1).min(16)));
    let jittered = exact.min(CAP).mul_f64(0.5 + 0.5 * noise.clamp(0.0, 1.0));
    let delay = error.retry_after().map_or(jittered, |asked| asked.max(jittered));
    (delay <= LONGEST_WAIT).then_some(delay)
}

/// Stripe's own rule: what `Stripe-Should-Retry` says, else broken connections, 409, 429 and what is Stripe's fault.
fn can_help(problem: &Problem) -> bool {
    match problem {
        Problem::Refused(refusal) => refusal
            .should_retry
            .unwrap_or(matches!(refusal.status, 408 | 409 | 425 | 429 | 500..)),
        Problem::Network(_) | Problem::Timeout(_) | Problem::Body(_) => true,
        Problem::TooLong(_)
        | Problem::Cursor(_)
        | Problem::Request(_)
        | Problem::Pace(_)
        | Problem::Busy(_) => false,
    }
}

/// What `Retry-After` says in seconds, as Stripe writes it; an hour at most.
pub(super) fn retry_after(header: &str) -> Option<Duration> {
    let seconds: f64 = header.trim().parse().ok()?;
    let asked = Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST_RETRY_AFTER);
    (seconds >= 0.0).then(|| asked.min(LONGEST_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::super::error::Refusal;
    use super::*;

    fn refused(status: u16, should_retry: Option<bool>, retry_after: Option<u64>) -> StripeError {
        let refusal = Refusal {
            status,
            should_retry,
            retry_after: retry_after.map(Duration::from_secs),
            ..Refusal::default()
        };
        StripeError::new(String::new(), Problem::Refused(Box::new(refusal)), 1)
    }

    #[test]
    fn stripe_should_retry_goes_before_the_status() {
        for status in [400, 401, 402, 403, 404, 405, 301] {
            assert_eq!(delay(&refused(status, None, None), 1, 4, 0.0), None, "{status}");
            assert!(
                delay(&refused(status, Some(true), None), 1, 4, 0.0).is_some(),
                "{status}"
            );
        }
        for status in [408, 409, 425, 429, 500, 502, 503, 504, 599] {
            assert!(
                delay(&refused(status, None, None), 1, 4, 0.0).is_some(),
                "{status}"
            );
            assert_eq!(
                delay(&refused(status, Some(false), None), 1, 4, 0.0),
                None,
                "{status}"
            );
        }
    }

    #[test]
    fn a_delay_is_half_a_second_doubled_each_time_up_to_five_seconds_with_jitter_and_at_least_retry_after() {
        let ms = |failed, noise, after| {
            delay(&refused(500, None, after), failed, 20, noise).map(|delay| delay.as_millis())
        };
        let whole: Vec<_> = (1..=6).map(|failed| ms(failed, 1.0, None).unwrap()).collect();
        assert_eq!(whole, [500, 1000, 2000, 4000, 5000, 5000]);
        assert_eq!(ms(1, 0.0, None), Some(250));
        assert_eq!(ms(1, 0.0, Some(2)), Some(2000));
        assert_eq!(ms(4, 1.0, Some(2)), Some(4000));
        assert_eq!(ms(19, 1.0, None), Some(5000));
    }

    #[test]
    fn a_longer_retry_after_comes_back_as_an_error_for_the_job_to_be_rescheduled() {
        let error = refused(429, None, Some(11));
        assert_eq!(delay(&error, 1, 4, 0.0), None);
        assert!(error.is_transient());
        assert_eq!(error.retry_after(), Some(Duration::from_secs(11)));
    }

    #[test]
    fn attempts_are_counted_with_the_first() {
        assert_eq!(delay(&refused(500, None, None), 1, 1, 0.0), None);
        assert_eq!(delay(&refused(500, None, None), 4, 4, 0.0), None);
        assert!(delay(&refused(500, None, None), 3, 4, 0.0).is_some());
    }

    #[test]
    fn a_retry_after_that_is_no_number_of_seconds_is_none_and_a_huge_one_is_an_hour() {
        let hour = Some(Duration::from_hours(1));
        let cases = [
            ("0", Some(Duration::ZERO)),
            (" 3 ", Some(Duration::from_secs(3))),
            ("0.5", Some(Duration::from_millis(500))),
            ("1e300", hour),
            ("inf", hour),
            ("99999999999999999999", hour),
            ("-1", None),
            ("NaN", None),
            ("", None),
            ("Wed, 21 Oct 2026 07:28:00 GMT", None),
        ];
        for (header, expected) in cases {
            assert_eq!(retry_after(header), expected, "{header}");
        }
    }
}
