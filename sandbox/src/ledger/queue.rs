//! Transactions that wait for the next ledger, at most one for each source account.
//!
//! Source: stellar-core's `TransactionQueue`. Replacing a waiting transaction by a fee bump of ten times its fee is left
//! out: it answers `TRY_AGAIN_LATER` as any second transaction of an account does.

use std::collections::HashMap;
use std::sync::Arc;

use stellar_xdr::{AccountId, Hash, TransactionEnvelope};

use super::frame::Frame;
use super::record::ApplyFault;

/// A transaction that was admitted.
pub(super) struct Waiting {
    pub(super) frame: Frame,
    /// Whether trusted accounts need not have signed it.
    pub(super) trusted: bool,
    /// What it was armed with.
    pub(super) fault: Option<ApplyFault>,
    /// The closed ledger that it was validated against.
    pub(super) validated_at: u32,
}

/// The queue.
#[derive(Default)]
pub(super) struct Queue {
    waiting: Vec<Arc<Waiting>>,
    by_source: HashMap<AccountId, Arc<Waiting>>,
    /// What each fee source would pay for all that waits, in stroops.
    fees: HashMap<AccountId, i64>,
    faults: Vec<ArmedFault>,
}

/// A fault for transactions to come.
pub(super) struct ArmedFault {
    pub(super) fault: ApplyFault,
    pub(super) left: u32,
    pub(super) matches: Box<dyn Fn(&TransactionEnvelope) -> bool + Send + Sync>,
}

/// What the queue says to a transaction, before it is validated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    Open,
    /// It waits already.
    Duplicate,
    /// Another transaction of its source account waits.
    Occupied,
    /// One with a later sequence number waits.
    Overtaken,
}

impl Queue {
    pub(super) fn gate(&self, frame: &Frame) -> Gate {
        let Some(other) = self.by_source.get(&frame.source()) else { return Gate::Open };
        let same = other.frame.full_hash() == frame.full_hash()
            || (frame.bump.is_none() && other.frame.hash == frame.hash);
        if same {
            Gate::Duplicate
        } else if frame.tx.seq_num.0 < other.frame.tx.seq_num.0 {
            Gate::Overtaken
        } else {
            Gate::Occupied
        }
    }

    /// What `payer` would pay for all that waits, in stroops.
    pub(super) fn fees_of(&self, payer: &AccountId) -> i64 {
        self.fees.get(payer).copied().unwrap_or(0)
    }

    /// Adds a transaction that the gate let in.
    pub(super) fn add(&mut self, mut waiting: Waiting) {
        waiting.fault = self.next_fault(&waiting.frame.envelope);
        let waiting = Arc::new(waiting);
        let fees = self.fees.entry(waiting.frame.fee_source()).or_default();
        *fees = fees.saturating_add(waiting.frame.full_fee());
        self.by_source.insert(waiting.frame.source(), Arc::clone(&waiting));
        self.waiting.push(waiting);
    }

    /// All that waits for ledger `sequence`. It keeps waiting until [`Queue::remove`], so that nobody takes its place while
    /// it is applied.
    pub(super) fn due(&self, sequence: u32) -> Vec<Arc<Waiting>> {
        let is_due = |waiting: &&Arc<Waiting>| match waiting.fault {
            Some(ApplyFault::Wait { until }) => until <= sequence,
            _ => true,
        };
        self.waiting.iter().filter(is_due).cloned().collect()
    }

    /// Forgets transactions that were applied or dropped: what [`Queue::due`] gave, in its order.
    pub(super) fn remove(&mut self, gone: &[Arc<Waiting>]) {
        for gone in gone {
            self.by_source.remove(&gone.frame.source());
            let payer = gone.frame.fee_source();
            let left = self.fees_of(&payer).saturating_sub(gone.frame.full_fee());
            if left > 0 {
                self.fees.insert(payer, left);
            } else {
                self.fees.remove(&payer);
            }
        }
        let mut gone = gone.iter().peekable();
        self.waiting.retain(|waiting| gone.next_if(|gone| Arc::ptr_eq(gone, waiting)).is_none());
    }

    /// Whether a transaction with this hash waits; a fee bump has two.
    pub(super) fn contains(&self, hash: &Hash) -> bool {
        self.waiting
            .iter()
            .any(|waiting| waiting.frame.full_hash() == hash || waiting.frame.hash == *hash)
    }

    pub(super) fn arm(&mut self, fault: ArmedFault) {
        self.faults.push(fault);
    }

    fn next_fault(&mut self, envelope: &TransactionEnvelope) -> Option<ApplyFault> {
        let armed = self.faults.iter_mut().find(|armed| (armed.matches)(envelope))?;
        let fault = armed.fault;
        armed.left = armed.left.saturating_sub(1);
        self.faults.retain(|armed| armed.left > 0);
        Some(fault)
    }
}
