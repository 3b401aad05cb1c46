//! When ledgers close: on a timer, or by hand.
//!
//! The one place of the sandbox that reads the time of day.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::blocking;
use crate::ledger::{ClosedLedger, Ledger};

/// What closes ledgers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// One ledger each interval.
    Interval(Duration),
    /// Only [`Sandbox::close_ledger`](crate::Sandbox::close_ledger), friendbot and the faucet close ledgers.
    Manual,
}

impl Default for Clock {
    /// One second: unmodified x402 clients let an authorization live for 12 ledgers.
    fn default() -> Self {
        Self::Interval(Duration::from_secs(1))
    }
}

/// The Unix time in seconds.
#[expect(clippy::disallowed_methods, reason = "the sandbox's one clock")]
pub(crate) fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Closes a ledger. `None` if the ledger panicked or the runtime is going down.
pub(crate) async fn close(ledger: &Ledger, now: u64) -> Option<Arc<ClosedLedger>> {
    close_after(ledger, 0, now).await
}

/// As [`close`], when `skipped` ledgers have passed at once.
pub(crate) async fn close_after(
    ledger: &Ledger,
    skipped: u32,
    now: u64,
) -> Option<Arc<ClosedLedger>> {
    let ledger = ledger.clone();
    blocking::run(move || ledger.close_after(skipped, now)).await
}

/// Closes a ledger each `interval` until `stop`.
pub(crate) async fn run(ledger: Ledger, interval: Duration, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(interval);
    // A machine that was asleep must not close a burst of ledgers: authorizations live for a number of them.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        if close(&ledger, unix_now()).await.is_none() {
            tracing::error!("a ledger did not close: the sandbox stands still");
            return;
        }
    }
}
