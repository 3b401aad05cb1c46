//! Whether the Stellar RPC can be relied on: it answers, it serves our network, and its ledger is of now.
//!
//! A ledger that seems old is one whose server lags, or whose clock and ours are apart. Either way nothing that is judged by
//! time can be judged rightly.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use super::rpc::{Error, LedgerMark, Rpc};
use crate::telemetry::Clock;

/// What keeps the RPC from being relied on.
pub(super) enum Trouble {
    /// It did not answer this time.
    Silent(Error),
    /// Something that an operator can mend.
    Told(String),
}

/// Looks at the RPC once; `network_checked` remembers that it serves the right network.
pub(super) async fn look(
    rpc: &Rpc,
    clock: &Clock,
    network_checked: &mut bool,
) -> Result<LedgerMark, Trouble> {
    if !*network_checked {
        rpc.check_network().await?;
        *network_checked = true;
    }
    let latest = rpc.latest_ledger().await?;
    if let Some(closed) = latest.closed_at {
        let age = clock.now().saturating_sub(closed);
        if age > STALE_SECONDS {
            let place = rpc.place();
            return Err(Trouble::Told(format!(
                "the Stellar RPC lags, or this machine's clock is ahead: its latest ledger is {age} seconds old \
                 ({place}): see `stellar.rpc_url`"
            )));
        }
    }
    Ok(latest)
}

/// The sentence for an operator about an RPC that does not answer.
pub(super) fn silent(rpc: &Rpc, error: &Error) -> String {
    format!("{error} ({}): see `stellar.rpc_url`", rpc.place())
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        match error {
            Error::WrongNetwork { .. } => Self::Told(error.to_string()),
            error => Self::Silent(error),
        }
    }
}

/// Looks at the RPC all the time. Clones share what it has seen.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    /// Whose payments need it, for the log.
    rail: &'static str,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    trouble: Option<String>,
    /// The latest ledger, and when it was heard of first.
    latest: Option<(u32, Instant)>,
}

impl Watch {
    /// Starts looking, on `tasks`, until `stop`.
    pub(super) fn start(
        rail: &'static str,
        rpc: Rpc,
        clock: Clock,
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let trouble = Some("the Stellar RPC is not asked yet".to_owned());
        let watch = Self { rail, state: Arc::new(Mutex::new(State { trouble, latest: None })) };
        let seen = watch.clone();
        tasks.spawn(async move {
            let (mut network_checked, mut failures) = (false, 0_u32);
            loop {
                let asked = Instant::now();
                let trouble = tokio::select! {
                    () = stop.cancelled() => return,
                    looked = look(&rpc, &clock, &mut network_checked) => match looked {
                        Ok(latest) => {
                            seen.hear(latest.sequence, asked);
                            None
                        }
                        Err(Trouble::Told(trouble)) => Some(trouble),
                        Err(Trouble::Silent(error)) => Some(silent(&rpc, &error)),
                    },
                };
                failures = if trouble.is_some() { failures.saturating_add(1) } else { 0 };
                // One lost answer is no outage.
                if failures != 1 || !network_checked {
                    seen.set(trouble);
                }
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = sleep(PAUSE) => {}
                }
            }
        });
        watch
    }

    /// What keeps the RPC from being relied on now.
    pub(super) fn trouble(&self) -> Option<String> {
        self.state().trouble.clone()
    }

    /// The latest ledger that was heard of, and when for the first time.
    pub(super) fn latest(&self) -> Option<(u32, Instant)> {
        self.state().latest
    }

    fn hear(&self, sequence: u32, asked: Instant) {
        let latest = &mut self.state().latest;
        if latest.is_none_or(|(before, _)| before < sequence) {
            *latest = Some((sequence, asked));
        }
    }

    fn set(&self, trouble: Option<String>) {
        let mut state = self.state();
        let slot = &mut state.trouble;
        match (&*slot, &trouble) {
            (before, Some(now)) if before.as_ref() != Some(now) => {
                warn!(rail = self.rail, reason = now, "payments cannot be taken");
            }
            (Some(_), None) => info!(rail = self.rail, "payments can be taken"),
            _ => {}
        }
        *slot = trouble;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(3);
/// How old the latest ledger may be: a dozen of the network's five seconds.
const STALE_SECONDS: u64 = 60;
