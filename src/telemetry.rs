//! Time and logs.
//!
//! The one place that reads the wall clock, so that tests can set it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// The wall clock, in whole seconds since 1970. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Clock(Option<Arc<AtomicU64>>);

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub const fn system() -> Self {
        Self(None)
    }

    /// A clock that stands still at `seconds` until [`Clock::advance`] moves it.
    #[must_use]
    pub fn fixed(seconds: u64) -> Self {
        Self(Some(Arc::new(AtomicU64::new(seconds))))
    }

    /// Moves a fixed clock forward; the machine's clock goes on by itself.
    pub fn advance(&self, by: Duration) {
        if let Some(seconds) = &self.0 {
            seconds.fetch_add(by.as_secs(), Ordering::Relaxed);
        }
    }

    /// The time now.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the clock that the others are told to use"
    )]
    pub fn now(&self) -> u64 {
        match &self.0 {
            Some(seconds) => seconds.load(Ordering::Relaxed),
            // A clock before 1970 is as wrong as one at 1970, and everything fails closed at 0.
            None => SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        }
    }
}
