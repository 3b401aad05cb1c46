//! The state of a ledger: a persistent map, so that a snapshot costs nothing, and layers of changes that can be undone.

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::OrdMap;
use soroban_env_host::ledger_info::get_key_durability;
use stellar_xdr::{
    ContractDataDurability, LedgerEntry, LedgerEntryChange, LedgerEntryChanges, LedgerEntryData,
    LedgerEntryExt, LedgerKey, TtlEntry,
};

use super::record::ClosedLedger;
use super::xdr::{hash, list};

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
    pub(super) ledger: Arc<ClosedLedger>,
    pub(super) entries: Entries,
}

impl Snapshot {
    /// The ledger whose state this is.
    pub fn ledger(&self) -> &ClosedLedger {
        &self.ledger
    }

    /// The entries under `keys`; keys without an entry, or with a temporary one that has expired, are left out.
    pub fn entries(&self, keys: &[LedgerKey]) -> Vec<Found> {
        keys.iter()
            .filter_map(|key| {
                let stored = self.entries.get(key)?;
                if is_expired(key, stored, self.ledger.sequence) {
                    return None;
                }
                Some(Found {
                    key: key.clone(),
                    entry: stored.entry.as_ref().clone(),
                    live_until: stored.live_until,
                })
            })
            .collect()
    }
}

/// All entries of a ledger.
pub(super) type Entries = OrdMap<Arc<LedgerKey>, Stored>;

/// An entry with its time to live.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stored {
    pub(super) entry: Arc<LedgerEntry>,
    pub(super) live_until: Option<u32>,
}

impl Stored {
    pub(super) fn is_live(&self, sequence: u32) -> bool {
        self.live_until.is_none_or(|live_until| live_until >= sequence)
    }
}

/// Forgets temporary entries that have expired: spent nonces would otherwise fill the memory.
pub(super) fn evict(entries: &mut Entries, sequence: u32) {
    let expired: Vec<_> = entries
        .iter()
        .filter(|(key, stored)| is_expired(key, stored, sequence))
        .map(|(key, _)| Arc::clone(key))
        .collect();
    for key in expired {
        entries.remove(&key);
    }
}

/// Whether the entry was temporary and is gone for good. An expired persistent one is archived, and can come back.
fn is_expired(key: &LedgerKey, stored: &Stored, sequence: u32) -> bool {
    !stored.is_live(sequence) && get_key_durability(key) == Some(ContractDataDurability::Temporary)
}

/// Where entries are looked up.
pub(super) trait Read {
    fn stored(&self, key: &LedgerKey) -> Option<&Stored>;
}

impl Read for Entries {
    fn stored(&self, key: &LedgerKey) -> Option<&Stored> {
        self.get(key)
    }
}

/// The state while a ledger is made: the entries and layers of changes over them, as nested transactions.
pub(super) struct Working {
    sequence: u32,
    entries: Entries,
    layers: Vec<Layer>,
}

/// Changed entries; `None` is a deletion.
type Layer = BTreeMap<Arc<LedgerKey>, Option<Stored>>;

impl Working {
    /// A working copy of `entries` for ledger `sequence`.
    pub(super) fn new(entries: Entries, sequence: u32) -> Self {
        Self { sequence, entries, layers: Vec::new() }
    }

    /// The entries with all that was committed.
    pub(super) fn into_entries(self) -> Entries {
        self.entries
    }

    /// Opens a layer: what follows can be undone up to here.
    pub(super) fn begin(&mut self) {
        self.layers.push(Layer::new());
    }

    /// Undoes the newest layer.
    pub(super) fn rollback(&mut self) {
        self.layers.pop();
    }

    /// Merges the newest layer into what lies below it, and tells what it changed.
    pub(super) fn commit(&mut self) -> LedgerEntryChanges {
        let Some(layer) = self.layers.pop() else { return LedgerEntryChanges::default() };
        let mut changes = Vec::new();
        for (key, after) in &layer {
            describe(key, self.stored(key), after.as_ref(), self.sequence, &mut changes);
        }
        self.layers.push(layer);
        self.merge();
        LedgerEntryChanges(list(changes))
    }

    /// Merges the newest layer into what lies below it.
    pub(super) fn merge(&mut self) {
        let Some(layer) = self.layers.pop() else { return };
        if let Some(below) = self.layers.last_mut() {
            below.extend(layer);
            return;
        }
        for (key, after) in layer {
            match after {
                Some(stored) => self.entries.insert(key, stored),
                None => self.entries.remove(&key),
            };
        }
    }

    /// Writes `data`, with the current ledger as that of its last change.
    pub(super) fn put(&mut self, data: LedgerEntryData, live_until: Option<u32>) {
        let entry =
            LedgerEntry { last_modified_ledger_seq: self.sequence, data, ext: LedgerEntryExt::V0 };
        let key = Arc::new(entry.to_key());
        self.write(key, Some(Stored { entry: Arc::new(entry), live_until }));
    }

    /// Changes how long the entry under `key` lives, and nothing else.
    pub(super) fn set_live_until(&mut self, key: &LedgerKey, live_until: u32) {
        let Some(stored) = self.stored(key) else { return };
        let stored = Stored { entry: stored.entry.clone(), live_until: Some(live_until) };
        self.write(Arc::new(key.clone()), Some(stored));
    }

    /// Deletes the entry under `key`.
    pub(super) fn remove(&mut self, key: &LedgerKey) {
        self.write(Arc::new(key.clone()), None);
    }

    fn write(&mut self, key: Arc<LedgerKey>, value: Option<Stored>) {
        if self.layers.is_empty() {
            self.begin();
            self.write(key, value);
            self.merge();
        } else if let Some(layer) = self.layers.last_mut() {
            layer.insert(key, value);
        }
    }
}

impl Read for Working {
    fn stored(&self, key: &LedgerKey) -> Option<&Stored> {
        for layer in self.layers.iter().rev() {
            if let Some(written) = layer.get(key) {
                return written.as_ref();
            }
        }
        self.entries.get(key)
    }
}

/// Adds what happened to one entry, in the words of the transaction meta.
fn describe(
    key: &LedgerKey,
    before: Option<&Stored>,
    after: Option<&Stored>,
    sequence: u32,
    changes: &mut Vec<LedgerEntryChange>,
) {
    let entry = |stored: &Stored| stored.entry.as_ref().clone();
    match (before, after) {
        (None, None) => {}
        (None, Some(after)) => {
            changes.push(LedgerEntryChange::Created(entry(after)));
            if let Some(ttl) = ttl_entry(key, after, sequence) {
                changes.push(LedgerEntryChange::Created(ttl));
            }
        }
        (Some(before), None) => {
            changes.push(LedgerEntryChange::State(entry(before)));
            changes.push(LedgerEntryChange::Removed(key.clone()));
            if let Some(ttl) = ttl_entry(key, before, before.entry.last_modified_ledger_seq) {
                let ttl_key = ttl.to_key();
                changes.push(LedgerEntryChange::State(ttl));
                changes.push(LedgerEntryChange::Removed(ttl_key));
            }
        }
        (Some(before), Some(after)) => {
            let restored = !before.is_live(sequence)
                && get_key_durability(key) == Some(ContractDataDurability::Persistent);
            if restored {
                changes.push(LedgerEntryChange::Restored(entry(before)));
            }
            if before.entry != after.entry {
                if !restored {
                    changes.push(LedgerEntryChange::State(entry(before)));
                }
                changes.push(LedgerEntryChange::Updated(entry(after)));
            }
            if before.live_until == after.live_until {
                return;
            }
            let old = ttl_entry(key, before, before.entry.last_modified_ledger_seq);
            let new = ttl_entry(key, after, sequence);
            match (old, new) {
                (Some(_), Some(new)) if restored => changes.push(LedgerEntryChange::Restored(new)),
                (Some(old), Some(new)) => {
                    changes.push(LedgerEntryChange::State(old));
                    changes.push(LedgerEntryChange::Updated(new));
                }
                _ => {}
            }
        }
    }
}

/// The separate entry in which a network keeps the time to live.
fn ttl_entry(
    key: &LedgerKey,
    stored: &Stored,
    last_modified_ledger_seq: u32,
) -> Option<LedgerEntry> {
    let live_until_ledger_seq = stored.live_until?;
    Some(LedgerEntry {
        last_modified_ledger_seq,
        data: LedgerEntryData::Ttl(TtlEntry { key_hash: hash(key), live_until_ledger_seq }),
        ext: LedgerEntryExt::V0,
    })
}
