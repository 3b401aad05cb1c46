//! The state and history that a call sees: the latest closed ledger's, or an older one's when reads are made stale.

use crate::ledger::{Ledger, LedgerMark, Snapshot};

/// What one call sees.
pub(super) struct View {
    ledger: Ledger,
    snapshot: Snapshot,
}

impl View {
    /// As of the latest closed ledger.
    pub(super) fn latest(ledger: &Ledger) -> Self {
        Self { ledger: ledger.clone(), snapshot: ledger.snapshot() }
    }

    /// As of `ledgers` before, or of the oldest state that is kept.
    pub(super) fn behind(ledger: &Ledger, ledgers: u32) -> Self {
        let latest = ledger.latest().sequence;
        let wanted = latest.saturating_sub(ledgers);
        let snapshot = (wanted..=latest).find_map(|sequence| ledger.snapshot_at(sequence));
        Self { ledger: ledger.clone(), snapshot: snapshot.unwrap_or_else(|| ledger.snapshot()) }
    }

    /// The ledger itself, for what no view hides: submission, the passphrase.
    pub(super) fn ledger(&self) -> &Ledger {
        &self.ledger
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
