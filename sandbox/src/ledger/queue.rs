//! Transactions that wait for the next ledger, at most one for each source account.
//!
//! A fee bump that bids ten times as much takes the place of what waits. Source: stellar-core's `TransactionQueue`.

use std::cmp::Ordering;
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
    /// One with the same sequence number waits, and this fee bump does not bid enough to take its place.
    Underbid {
        /// The full fee that would do, in stroops.
        least: i64,
    },
}

impl Queue {
    pub(super) fn gate(&self, frame: &Frame) -> Gate {
        let Some(other) = self.by_source.get(&frame.source()) else { return Gate::Open };
        let same = other.frame.full_hash() == frame.full_hash()
            || (frame.bump.is_none() && other.frame.hash == frame.hash);
        if same {
            return Gate::Duplicate;
        }
        let is_bump = frame.bump.is_some();
        match frame.tx.seq_num.0.cmp(&other.frame.tx.seq_num.0) {
            Ordering::Less => Gate::Overtaken,
            Ordering::Equal if is_bump => match least_to_replace(frame, &other.frame) {
                least if frame.full_fee() < least => Gate::Underbid { least },
                _ => Gate::Open,
            },
            Ordering::Equal | Ordering::Greater => Gate::Occupied,
        }
    }

    /// What the fee source of `frame` would pay for all that waits once `frame` does, in stroops.
    pub(super) fn fees_with(&self, frame: &Frame) -> i64 {
        let payer = frame.fee_source();
        let replaced = self.by_source.get(&frame.source()).map(|waiting| &waiting.frame);
        let freed = replaced.filter(|old| old.fee_source() == payer).map_or(0, Frame::full_fee);
        self.fees_of(&payer).saturating_sub(freed).saturating_add(frame.full_fee())
    }

    /// Adds a transaction that the gate let in, in the place of the one that it outbids.
    pub(super) fn add(&mut self, mut waiting: Waiting) {
        waiting.fault = self.next_fault(&waiting.frame.envelope);
        let waiting = Arc::new(waiting);
        let replaced = self.by_source.insert(waiting.frame.source(), Arc::clone(&waiting));
        let place = replaced.and_then(|old| {
            self.release_fees(&old);
            self.waiting.iter_mut().find(|waiting| Arc::ptr_eq(waiting, &old))
        });
        match place {
            Some(place) => *place = Arc::clone(&waiting),
            None => self.waiting.push(Arc::clone(&waiting)),
        }
        let fees = self.fees.entry(waiting.frame.fee_source()).or_default();
        *fees = fees.saturating_add(waiting.frame.full_fee());
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

    /// Forgets transactions that were applied or dropped, but for those that were replaced meanwhile.
    pub(super) fn remove(&mut self, gone: &[Arc<Waiting>]) {
        for gone in gone {
            if self.holds(gone) {
                self.by_source.remove(&gone.frame.source());
                self.release_fees(gone);
            }
        }
        let waiting = std::mem::take(&mut self.waiting);
        self.waiting = waiting.into_iter().filter(|waiting| self.holds(waiting)).collect();
    }

    /// Whether a transaction with this hash waits; a fee bump has two.
    pub(super) fn contains(&self, hash: &Hash) -> bool {
        self.waiting
            .iter()
            .any(|waiting| waiting.frame.full_hash() == hash || waiting.frame.hash == *hash)
    }

    pub(super) const fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn arm(&mut self, fault: ArmedFault) {
        self.faults.push(fault);
    }

    fn holds(&self, waiting: &Arc<Waiting>) -> bool {
        let kept = self.by_source.get(&waiting.frame.source());
        kept.is_some_and(|kept| Arc::ptr_eq(kept, waiting))
    }

    fn fees_of(&self, payer: &AccountId) -> i64 {
        self.fees.get(payer).copied().unwrap_or(0)
    }

    fn release_fees(&mut self, gone: &Waiting) {
        let payer = gone.frame.fee_source();
        let left = self.fees_of(&payer).saturating_sub(gone.frame.full_fee());
        if left > 0 {
            self.fees.insert(payer, left);
        } else {
            self.fees.remove(&payer);
        }
    }

    fn next_fault(&mut self, envelope: &TransactionEnvelope) -> Option<ApplyFault> {
        let armed = self.faults.iter_mut().find(|armed| (armed.matches)(envelope))?;
        let fault = armed.fault;
        armed.left = armed.left.saturating_sub(1);
        self.faults.retain(|armed| armed.left > 0);
        Some(fault)
    }
}

/// The full fee with which `frame` takes the place of `old`: ten times its bid for an operation, and the resources.
fn least_to_replace(frame: &Frame, old: &Frame) -> i64 {
    let of_old = i128::from(old.operation_count());
    let bid = i128::from(old.inclusion_fee())
        .saturating_mul(frame.operation_count().into())
        .saturating_mul(TIMES_THE_BID);
    // Rounded up.
    let bid = bid.saturating_add(of_old).saturating_sub(1).checked_div(of_old);
    let bid = bid.and_then(|bid| i64::try_from(bid).ok()).unwrap_or(i64::MAX);
    bid.saturating_add(frame.resource_fee())
}

const TIMES_THE_BID: i128 = 10;
