//! Parts of a program that must not end before it does.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// Between the end of a part and its next start.
const PAUSE: Duration = Duration::from_secs(1);

/// Runs a part of the program until `stop`. One that ends before that, or panics, is logged and started again.
pub async fn keep_running<Running>(part: &'static str, stop: &CancellationToken, start: impl Fn() -> Running)
where
    Running: Future<Output = ()> + Send + 'static,
{
    loop {
        let ended = tokio::spawn(start()).await;
        if stop.is_cancelled() {
            return;
        }
        match ended {
            Ok(()) => tracing::error!(part, "ended too early; starting it again"),
            Err(error) => tracing::error!(part, %error, "failed; starting it again"),
        }
        if stop
            .run_until_cancelled(tokio::time::sleep(PAUSE))
            .await
            .is_none()
        {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_part_that_panics_or_ends_is_started_again_until_the_program_stops() {
        let stop = CancellationToken::new();
        let starts = Arc::new(AtomicU32::new(0));
        keep_running("test", &stop, || {
            let (stop, start) = (stop.clone(), starts.fetch_add(1, Ordering::Relaxed));
            async move {
                match start {
                    0 => panic!("the first one fails"),
                    1 => {}
                    _ => stop.cancel(),
                }
            }
        })
        .await;
        assert_eq!(starts.load(Ordering::Relaxed), 3);
    }
}
