//! Settles each payment once, however often it is asked for.
//!
//! A payment is known by its payer and nonce, which the ledger takes once. Whoever asks while it is under way waits for
//! the same answer; whoever asks afterwards gets it again; where the fate is unknown, asking again is how it is found
//! out. Kept in memory and for a while: after a restart the ledger itself refuses what was settled.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::{
    ledger::{
        facilitator::{Outcome, Payment, SETTLEMENT_PENDING, SIMULATION_FAILED, Sent, VerifyError},
        own::Facilitator,
    },
    protocol::{stellar::TxHash, x402::Settlement},
    telemetry::Clock,
};

/// Where settlements are handed in. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Desk(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    facilitator: Facilitator,
    clock: Clock,
    tasks: TaskTracker,
    files: Mutex<HashMap<[u8; 32], File>>,
}

/// What is known of a payment.
#[derive(Clone, Debug)]
struct File {
    /// The payer's very signature: another one over the same nonce is another payment.
    authorization: stellar_xdr::SorobanAuthorizationEntry,
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    UnderWay(watch::Receiver<Option<Answer>>),
    /// Sent, and its fate not known.
    Unknown(Sent),
    /// Over, until this time in Unix seconds.
    Over {
        settlement: Settlement,
        keep_until: u64,
    },
}

/// `None` where the payment could not be judged.
type Answer = Option<Settlement>;

impl Desk {
    pub(super) fn new(facilitator: Facilitator, clock: Clock, tasks: TaskTracker) -> Self {
        Self(Arc::new(Inner { facilitator, clock, tasks, files: Mutex::default() }))
    }

    /// Settles `payment`, or tells how it was settled; `None` where it could not be judged, and nothing was sent.
    ///
    /// # Cancellation
    /// The settlement goes on.
    pub(super) async fn settle(&self, payment: Payment) -> Answer {
        // Before anything is filed under this payer's nonce: is it the payer who asks, and for this?
        let own = &self.0.facilitator;
        if let Err(VerifyError::Invalid(invalid)) = own.check_terms(&payment) {
            let reason = invalid.reason.into_owned();
            let payer = invalid.payer.map(|payer| payer.to_string());
            return Some(Settlement { payer, ..failure(&payment, reason, None) });
        }
        let mut answer = match self.file(payment) {
            Filed::Told(settlement) => return settlement,
            Filed::UnderWay(answer) => answer,
        };
        // A sender that is gone without an answer was a task that panicked.
        answer.wait_for(Option::is_some).await.ok().and_then(|answer| answer.clone()).flatten()
    }

    /// Finds the payment's file, or opens one and begins.
    fn file(&self, payment: Payment) -> Filed {
        let key = payment.transfer.claim_key(payment.expected.network);
        let authorization = payment.transfer.authorization();
        let now = self.0.clock.now();
        let mut files = self.lock();
        let unknown = match files.get(&key) {
            Some(file) if file.authorization != authorization => {
                let reason = SIMULATION_FAILED.to_owned();
                return Filed::Told(Some(failure(&payment, reason, None)));
            }
            Some(File { state: State::UnderWay(answer), .. }) => {
                return Filed::UnderWay(answer.clone());
            }
            Some(File { state: State::Over { settlement, keep_until }, .. })
                if *keep_until > now =>
            {
                return Filed::Told(Some(settlement.clone()));
            }
            Some(File { state: State::Unknown(sent), .. }) => Some(*sent),
            _ => None,
        };
        if unknown.is_none() && files.len() >= MOST_FILES {
            files.retain(|_, file| match &file.state {
                State::Over { keep_until, .. } => *keep_until > now,
                _ => true,
            });
            if files.len() >= MOST_FILES {
                warn!(payments = files.len(), "too many settlements at once");
                return Filed::Told(None);
            }
        }
        let (tell, answer) = watch::channel(None);
        let state = State::UnderWay(answer.clone());
        files.insert(key, File { authorization, state });
        drop(files);
        let desk = self.clone();
        self.0.tasks.spawn(async move {
            let mut open = Open { desk, key, state: None };
            let answer = open.desk.work(&payment, unknown, &mut open.state).await;
            drop(open);
            tell.send_replace(Some(answer));
        });
        Filed::UnderWay(answer)
    }

    /// Settles, or finds out what became of what was sent; `state` is what to remember of it.
    async fn work(
        &self,
        payment: &Payment,
        unknown: Option<Sent>,
        state: &mut Option<State>,
    ) -> Answer {
        let (outcome, sent) = match unknown {
            Some(sent) => {
                *state = Some(State::Unknown(sent));
                (self.0.facilitator.resolve(payment, &sent).await, Some(sent))
            }
            None => match self.submit(payment, state).await {
                Ok(submitted) => submitted,
                Err(answer) => return answer,
            },
        };
        let settlement = match outcome {
            Outcome::Settled(settled) => {
                info!(transaction = %settled.transaction, "settled");
                Settlement {
                    success: true,
                    error_reason: None,
                    ..failure(payment, String::new(), Some(settled.transaction))
                }
            }
            Outcome::Rejected { reason, transaction } => {
                failure(payment, reason.into_owned(), transaction)
            }
            Outcome::Unknown { transaction, failure: why } => {
                warn!(detail = why.detail, "the fate of a settlement is unknown");
                let transaction = transaction.or_else(|| sent.and_then(|sent| sent.transaction));
                *state = sent.map(State::Unknown);
                return Some(failure(payment, SETTLEMENT_PENDING.to_owned(), transaction));
            }
            Outcome::Unsent(why) => {
                warn!(detail = why.detail, "a payment could not be settled");
                *state = None;
                return None;
            }
            Outcome::Stale | Outcome::Refused { .. } => {
                *state = None;
                return None;
            }
        };
        let kept = u64::from(payment.max_timeout_seconds).saturating_add(KEEP_SECONDS);
        let keep_until = self.0.clock.now().saturating_add(kept);
        *state = Some(State::Over { settlement: settlement.clone(), keep_until });
        Some(settlement)
    }

    /// Prepares and submits, anew when a transaction went stale. `Err` is an answer that needs no memory.
    async fn submit(
        &self,
        payment: &Payment,
        state: &mut Option<State>,
    ) -> Result<(Outcome, Option<Sent>), Answer> {
        for _ in 0..TRIES {
            let prepared = match self.0.facilitator.prepare(payment).await {
                Ok(prepared) => prepared,
                Err(VerifyError::Invalid(invalid)) => {
                    return Err(Some(failure(payment, invalid.reason.into_owned(), None)));
                }
                Err(VerifyError::Failed(why)) => {
                    warn!(detail = why.detail, "a payment could not be settled");
                    return Err(None);
                }
            };
            let sent = *prepared.sent();
            *state = Some(State::Unknown(sent));
            match self.0.facilitator.submit(payment, prepared).await {
                Outcome::Stale => *state = None,
                outcome => return Ok((outcome, Some(sent))),
            }
        }
        Err(None)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 32], File>> {
        self.0.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Filed {
    Told(Answer),
    UnderWay(watch::Receiver<Option<Answer>>),
}

/// A file that is being worked on; closed with what is to be remembered, also when the work breaks off.
struct Open {
    desk: Desk,
    key: [u8; 32],
    state: Option<State>,
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut files = self.desk.lock();
        match (files.get_mut(&self.key), self.state.take()) {
            (Some(file), Some(state)) => file.state = state,
            _ => {
                files.remove(&self.key);
            }
        }
    }
}

fn failure(payment: &Payment, reason: String, transaction: Option<TxHash>) -> Settlement {
    Settlement {
        success: false,
        error_reason: Some(reason),
        transaction: transaction.map(|hash| hash.to_string()).unwrap_or_default(),
        network: payment.expected.network.name().to_owned(),
        payer: Some(payment.transfer.payer().to_string()),
        amount: None,
    }
}

const TRIES: u32 = 5;
const MOST_FILES: usize = 10_000;
/// Longer than the authorization lives: what is kept for longer takes the place of others.
const KEEP_SECONDS: u64 = 300;
