//! Finds out what became of payments whose requests are gone: cut off by a crash, or left with an unknown outcome.
//!
//! Nothing is sent again here. A transaction that landed makes its payment one that may be presented for its delivery; one
//! that never will makes it refused, with no money moved. Whatever cannot be told yet is asked for again, less and less
//! often. A payer that comes back meanwhile is served as ever: who resolves first has resolved.

use std::{collections::HashMap, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::road::Configured;
use crate::{
    pay::Denied,
    store::{ClaimKey, Store},
};

/// Looks after the pending payments of `store` until `stop`.
pub(super) async fn resume(
    store: Store,
    current: Arc<ArcSwap<Configured>>,
    stop: CancellationToken,
) {
    let mut resumer = Resumer { store, current, asked: HashMap::new(), known: None };
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = resumer.turn() => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(PAUSE) => {}
        }
    }
}

struct Resumer {
    store: Store,
    current: Arc<ArcSwap<Configured>>,
    /// When each pending payment is asked for next, and how long after that.
    asked: HashMap<ClaimKey, (Instant, Duration)>,
    /// How many were pending when the log last told.
    known: Option<usize>,
}

impl Resumer {
    /// Asks for each pending payment whose time has come, one after the other: there is no hurry, and the ledger's server
    /// has those to serve who wait.
    async fn turn(&mut self) {
        let (mut after, mut seen, mut left) = (None, HashMap::new(), 0_usize);
        loop {
            let page = match self.store.pending(after).await {
                Ok(page) => page,
                Err(error) => {
                    warn!(%error, "pending payments cannot be listed");
                    return;
                }
            };
            let Some(last) = page.last() else { break };
            after = Some(last.key);
            for pending in &page {
                let now = Instant::now();
                let (due, pause) =
                    self.asked.get(&pending.key).copied().unwrap_or((now, SHORT_PAUSE));
                if due > now {
                    left = left.saturating_add(1);
                    seen.insert(pending.key, (due, pause));
                    continue;
                }
                let methods = self.current.load().guard.methods().clone();
                match methods.resume(pending).await {
                    Ok(()) => {
                        info!(key = ?pending.key, "the outcome of a pending payment is known")
                    }
                    Err(denied) => {
                        left = left.saturating_add(1);
                        let next = pause.saturating_mul(2).min(LONG_PAUSE);
                        let due = now.checked_add(pause).unwrap_or(now);
                        seen.insert(pending.key, (due, next));
                        tracing::debug!(key = ?pending.key, detail = reason(&denied), "still pending");
                    }
                }
            }
        }
        self.asked = seen;
        if self.known != Some(left) && (left > 0 || self.known.is_some()) {
            warn!(payments = left, "payments whose outcome is not known yet");
        }
        self.known = (left > 0).then_some(left);
    }
}

fn reason(denied: &Denied) -> &str {
    match denied {
        Denied::Refused(refusal) => &refusal.detail,
        Denied::Failed(fault) => &fault.detail,
        Denied::Replayed(_) => "delivered",
        Denied::Later(_) => "its payer pays too often",
    }
}

/// Between two looks at what is pending.
const PAUSE: Duration = Duration::from_secs(2);
/// Before a payment is asked for the second time: about a ledger.
const SHORT_PAUSE: Duration = Duration::from_secs(5);
/// Between two asks for a payment that has long been pending.
const LONG_PAUSE: Duration = Duration::from_secs(300);
