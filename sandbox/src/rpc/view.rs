//! The state and history that a call sees: the latest closed ledger's, or an older one's when reads are made stale.

use std::sync::Arc;

use stellar_xdr::Hash;

use crate::ledger::{Ledger, LedgerMark, Snapshot, TransactionRecord};

/// What one call sees.
pub(super) struct View {
    ledger: Ledger,
    snapshot: Snapshot,
    hides_transactions: bool,
}

impl View {
    /// As of the latest closed ledger.
    pub(super) fn latest(ledger: &Ledger) -> Self {
        Self { ledger: ledger.clone(), snapshot: ledger.snapshot(), hides_transactions: false }
    }

    /// As of `ledgers` before, or of the oldest state that is kept.
    pub(super) fn behind(ledger: &Ledger, ledgers: u32) -> Self {
        let latest = ledger.latest().sequence;
        let wanted = latest.saturating_sub(ledgers);
        let snapshot = (wanted..=latest).find_map(|sequence| ledger.snapshot_at(sequence));
        let snapshot = snapshot.unwrap_or_else(|| ledger.snapshot());
        Self { snapshot, ..Self::latest(ledger) }
    }

    /// As of the latest closed ledger, whose transactions are not there yet.
    pub(super) fn without_transactions(ledger: &Ledger) -> Self {
        Self { hides_transactions: true, ..Self::latest(ledger) }
    }

    /// The ledger itself, for what no view hides: submission, the passphrase.
    pub(super) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The applied transaction with this hash, an outer or an inner one.
    pub(super) fn transaction(&self, hash: &Hash) -> Option<Arc<TransactionRecord>> {
        if self.hides_transactions { None } else { self.ledger.transaction(hash) }
    }

    /// The state.
    pub(super) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The latest ledger of this view.
    pub(super) fn latest_mark(&self) -> LedgerMark {
        let ledger = self.snapshot.ledger();
        LedgerMark { sequence: ledger.sequence, close_time: ledger.close_time }
    }

    /// The oldest ledger whose history is kept.
    pub(super) fn oldest_mark(&self) -> LedgerMark {
        self.ledger.oldest()
    }
}
