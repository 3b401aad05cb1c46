//! Faults on request: what an RPC node or a network does wrong, done on purpose, so that a test can see the answer.
//!
//! A fault is armed for a method and a number of calls; a [`Hold`] stops calls until it is released. Faults of the
//! transport and of the RPC live here; a transaction that fails, vanishes or comes late is the ledger's ([`Ledger::arm`]).

mod hold;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use stellar_xdr::TransactionEnvelope;

pub use self::hold::{Hold, Moment};

pub(crate) use self::hold::{Holds, Way};

use crate::ledger::{ApplyFault, Ledger};
use crate::rpc::Method;

/// What goes wrong with a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is handled only after this time; a caller that hangs up before leaves no trace.
    Delay(Duration),
    /// It takes effect at once, and the answer comes after this time.
    DelayAnswer(Duration),
    /// The connection is closed; the call takes no effect.
    Drop,
    /// It takes effect, and the connection is closed without an answer.
    DropAnswer,
    /// The answer is this JSON-RPC error; the call takes no effect.
    Error {
        /// The JSON-RPC code, as -32603.
        code: i64,
        /// The message.
        message: String,
    },
    /// The answer is this HTTP answer, whatever it is; the call takes no effect.
    Http {
        /// The status code.
        status: u16,
        /// The body, sent as `application/json`.
        body: String,
    },
    /// `sendTransaction` answers `TRY_AGAIN_LATER` and forgets the transaction; other methods are as usual.
    TryAgainLater,
    /// `getTransaction` answers `NOT_FOUND` as of the latest ledger, whatever is in it: a node whose index is behind its
    /// ledgers. Other methods are as usual.
    NotFound,
    /// Reads answer from a state this many ledgers ago, or the oldest that is kept.
    Stale {
        /// How many ledgers ago.
        ledgers: u32,
    },
}

/// How often a fault happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// With the next so many calls.
    Next(u32),
    /// Until [`Faults::clear`].
    Always,
}

/// The faults that are armed; clones share them.
#[derive(Clone)]
pub struct Faults {
    armed: Arc<Mutex<Vec<Armed>>>,
    holds: Holds,
    ledger: Ledger,
}

struct Armed {
    method: Option<Method>,
    times: Times,
    fault: Fault,
}

impl Faults {
    pub(crate) fn new(ledger: Ledger) -> Self {
        Self { armed: Arc::default(), holds: Holds::default(), ledger }
    }

    /// Arms `fault` for calls of `method`, or of any method with `None`. Of several that match, the first armed happens.
    pub fn arm(&self, method: impl Into<Option<Method>>, times: Times, fault: Fault) {
        if times != Times::Next(0) {
            self.lock().push(Armed { method: method.into(), times, fault });
        }
    }

    /// Stops every call of `method` at `moment` from now on, until the hold is released or dropped.
    ///
    /// A stopped call counts as one that has come ([`Sandbox::calls`](crate::Sandbox::calls)), and meets the faults that are
    /// armed when it goes on. Calls of this process itself, as by the faucet, are not stopped.
    pub fn hold(&self, method: Method, moment: Moment) -> Hold {
        self.holds.add(method, moment)
    }

    /// Makes the next `count` transactions that `matches` accepts be applied and fail: their fees are charged.
    pub fn fail_transactions(
        &self,
        count: u32,
        matches: impl Fn(&TransactionEnvelope) -> bool + Send + Sync + 'static,
    ) {
        self.ledger.arm(ApplyFault::Fail, count, matches);
    }

    /// Makes the next `count` transactions that `matches` accepts be accepted and then never be found.
    pub fn lose_transactions(
        &self,
        count: u32,
        matches: impl Fn(&TransactionEnvelope) -> bool + Send + Sync + 'static,
    ) {
        self.ledger.arm(ApplyFault::Vanish, count, matches);
    }

    /// Makes the next `count` transactions that `matches` accepts wait for ledger `until`: no earlier one holds them.
    ///
    /// Until then they are pending: not found, and a `DUPLICATE` when sent again. One that is not valid any more when its
    /// ledger comes, because of a bound on its time, say, is dropped then.
    pub fn delay_transactions(
        &self,
        count: u32,
        until: u32,
        matches: impl Fn(&TransactionEnvelope) -> bool + Send + Sync + 'static,
    ) {
        self.ledger.arm(ApplyFault::Wait { until }, count, matches);
    }

    /// Disarms every fault of the RPC but the holds, and says how many were still armed.
    pub fn clear(&self) -> usize {
        std::mem::take(&mut *self.lock()).len()
    }

    /// The fault that this call meets.
    pub(crate) fn meet(&self, method: Method) -> Option<Fault> {
        let mut armed = self.lock();
        let at = armed.iter().position(|one| one.method.is_none_or(|of| of == method))?;
        let found = armed.get_mut(at)?;
        let fault = found.fault.clone();
        match &mut found.times {
            Times::Always => {}
            Times::Next(left) => {
                *left = left.saturating_sub(1);
                if *left == 0 {
                    armed.remove(at);
                }
            }
        }
        Some(fault)
    }

    /// The holds that calls may come to.
    pub(crate) fn holds(&self) -> &Holds {
        &self.holds
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Armed>> {
        self.armed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
