//! The state of a ledger: a persistent map, so that a snapshot costs nothing.

use std::sync::Arc;

use imbl::OrdMap;
use stellar_xdr::{LedgerEntry, LedgerKey};

use super::record::ClosedLedger;

/// An entry as a reader finds it.
#[derive(Clone, Debug)]
pub struct Found {
    /// The key asked for.
    pub key: LedgerKey,
    /// The entry.
    pub entry: LedgerEntry,
    /// The last ledger in which a contract entry lives; may be past for an archived one.
    pub live_until: Option<u32>,
}

/// The state as of one closed ledger; clones share it.
#[derive(Clone)]
pub struct Snapshot {
    ledger: Arc<ClosedLedger>,
    entries: OrdMap<LedgerKey, Stored>,
}

#[derive(Clone)]
struct Stored {
    entry: Arc<LedgerEntry>,
    live_until: Option<u32>,
}

impl Snapshot {
    /// The ledger whose state this is.
    pub fn ledger(&self) -> &ClosedLedger {
        &self.ledger
    }

    /// The entries under `keys`; keys without an entry are left out.
    pub fn entries(&self, keys: &[LedgerKey]) -> Vec<Found> {
        keys.iter()
            .filter_map(|key| {
                let stored = self.entries.get(key)?;
                Some(Found {
                    key: key.clone(),
                    entry: stored.entry.as_ref().clone(),
                    live_until: stored.live_until,
                })
            })
            .collect()
    }
}
