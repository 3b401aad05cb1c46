//! Time, figures and the access log.
//!
//! The one place that reads the wall clock, so that tests can set it.

pub mod metrics;
pub mod traffic;

pub mod access;
pub mod trace;

pub mod label;
pub mod level;

pub mod histogram;
pub mod page;
pub mod timings;
pub mod worth;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// The wall clock. Clones share it.
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

    /// The time now, in whole seconds since 1970.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.now_ms().div_euclid(1_000)
    }

    /// The time now, in milliseconds since 1970.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the clock that the others are told to use"
    )]
    pub fn now_ms(&self) -> u64 {
        match &self.0 {
            Some(seconds) => seconds.load(Ordering::Relaxed).saturating_mul(1_000),
            // A clock before 1970 is as wrong as one at 1970, and everything fails closed at 0.
            None => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
            }
        }
    }
}
