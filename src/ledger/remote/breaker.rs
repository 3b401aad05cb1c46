//! Stops asking a service that does not answer, and tries it again from time to time.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Opens after some failures in a row; while open, one call in a while goes through as a probe.
#[derive(Clone, Debug, Default)]
pub(super) struct Breaker(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    open_until: Option<Instant>,
    probing: bool,
}

/// Leave to call; say how it went. Dropped without a word, as by a caller that gave up, it counts for nothing.
#[derive(Debug)]
pub(super) struct Pass {
    breaker: Breaker,
    probe: bool,
}

impl Breaker {
    /// Leave to call, or how long to wait before asking again.
    pub(super) fn enter(&self) -> Result<Pass, Duration> {
        let mut state = self.lock();
        let Some(until) = state.open_until else {
            return Ok(Pass { breaker: self.clone(), probe: false });
        };
        let left = until.saturating_duration_since(Instant::now());
        if state.probing || !left.is_zero() {
            return Err(left.max(SHORTEST_WAIT));
        }
        state.probing = true;
        Ok(Pass { breaker: self.clone(), probe: true })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass {
    /// The service answered.
    pub(super) fn succeeded(self) {
        let mut state = self.breaker.lock();
        state.failures = 0;
        state.open_until = None;
    }

    /// It did not.
    pub(super) fn failed(self) {
        let mut state = self.breaker.lock();
        state.failures = state.failures.saturating_add(1);
        if state.failures >= FAILURES {
            state.open_until = Instant::now().checked_add(OPEN);
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if self.probe {
            self.breaker.lock().probing = false;
        }
    }
}

/// Fewer than any outage brings, more than bad luck.
const FAILURES: u32 = 5;
/// Short enough that a service is in use again within five seconds of its return.
const OPEN: Duration = Duration::from_secs(2);
const SHORTEST_WAIT: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn opened() -> Breaker {
        let breaker = Breaker::default();
        for _ in 0..FAILURES {
            breaker.enter().unwrap().failed();
        }
        breaker
    }

    #[tokio::test(start_paused = true)]
    async fn it_opens_after_failures_in_a_row_only() {
        let breaker = Breaker::default();
        for _ in 0..3 {
            for _ in 1..FAILURES {
                breaker.enter().unwrap().failed();
            }
            breaker.enter().unwrap().succeeded();
        }
        assert!(breaker.enter().is_ok());
        assert!(opened().enter().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn one_probe_at_a_time_decides() {
        let breaker = opened();
        assert!(breaker.enter().is_err());
        advance(OPEN).await;
        let probe = breaker.enter().unwrap();
        assert!(breaker.enter().is_err(), "one at a time");
        probe.failed();
        assert!(breaker.enter().is_err(), "open again");
        advance(OPEN).await;
        breaker.enter().unwrap().succeeded();
        assert!(breaker.enter().is_ok() && breaker.enter().is_ok(), "closed");
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_is_given_up_lets_another_one_try() {
        let breaker = opened();
        advance(OPEN).await;
        drop(breaker.enter().unwrap());
        assert!(breaker.enter().is_ok());
    }
}
