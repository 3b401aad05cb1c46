//! What happened: the closed ledgers that are kept, their transactions and their events.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use stellar_xdr::{ContractEvent, Hash, TransactionEventStage};

use super::config::LedgerConfig;
use super::record::{EventRecord, LedgerMark, TransactionRecord, TransactionStatus};
use super::xdr::count;

/// The kept ledgers, oldest first.
pub(super) struct History {
    kept_ledgers: usize,
    kept_transactions: usize,
    transactions: usize,
    ledgers: VecDeque<Page>,
    by_hash: HashMap<Hash, Arc<TransactionRecord>>,
}

/// One ledger's transactions.
struct Page {
    mark: LedgerMark,
    records: Vec<Arc<TransactionRecord>>,
}

impl History {
    /// An empty history with the bounds of `config`.
    pub(super) fn new(config: &LedgerConfig) -> Self {
        Self {
            kept_ledgers: config.kept_ledgers,
            kept_transactions: config.kept_transactions,
            transactions: 0,
            ledgers: VecDeque::new(),
            by_hash: HashMap::new(),
        }
    }

    /// Adds a closed ledger, and forgets the oldest ones if there are too many ledgers or transactions.
    pub(super) fn push(&mut self, mark: LedgerMark, records: Vec<TransactionRecord>) {
        let records: Vec<_> = records.into_iter().map(Arc::new).collect();
        for record in &records {
            self.by_hash.insert(record.hash.clone(), Arc::clone(record));
            if let Some(inner) = &record.inner_hash {
                self.by_hash.insert(inner.clone(), Arc::clone(record));
            }
        }
        self.transactions = self.transactions.saturating_add(records.len());
        self.ledgers.push_back(Page { mark, records });
        while self.ledgers.len() > 1
            && (self.ledgers.len() > self.kept_ledgers
                || self.transactions > self.kept_transactions)
        {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some(page) = self.ledgers.pop_front() else { return };
        self.transactions = self.transactions.saturating_sub(page.records.len());
        for record in page.records {
            for hash in [Some(&record.hash), record.inner_hash.as_ref()].into_iter().flatten() {
                // A hash may have come again in a newer ledger, as a fee bump's inner one can.
                if self.by_hash.get(hash).is_some_and(|kept| Arc::ptr_eq(kept, &record)) {
                    self.by_hash.remove(hash);
                }
            }
        }
    }

    pub(super) fn oldest(&self) -> Option<LedgerMark> {
        self.ledgers.front().map(|page| page.mark)
    }

    pub(super) fn transaction(&self, hash: &Hash) -> Option<Arc<TransactionRecord>> {
        self.by_hash.get(hash).cloned()
    }

    /// The transactions of ledger `sequence`, if it is kept.
    pub(super) fn transactions_in(&self, sequence: u32) -> Vec<Arc<TransactionRecord>> {
        self.pages(sequence, sequence).flat_map(|page| page.records.iter().cloned()).collect()
    }

    /// The events of the kept ledgers from `first` through `last`, in order of their ids.
    pub(super) fn events(&self, first: u32, last: u32) -> Vec<EventRecord> {
        self.pages(first, last).flat_map(events).collect()
    }

    fn pages(&self, first: u32, last: u32) -> impl Iterator<Item = &Page> {
        // Ledgers may have been skipped, so that a place does not follow from a sequence.
        let before = self.ledgers.partition_point(|page| page.mark.sequence < first);
        self.ledgers.iter().skip(before).take_while(move |page| page.mark.sequence <= last)
    }
}

/// The events of one ledger: fees before all, operations in their order, refunds after all.
fn events(page: &Page) -> Vec<EventRecord> {
    let mut events = Vec::new();
    let staged = |stage, tx| {
        page.records
            .iter()
            .flat_map(move |record| {
                record
                    .transaction_events
                    .iter()
                    .filter(move |event| event.stage == stage)
                    .map(move |event| (record, &event.event))
            })
            .enumerate()
            .map(move |(index, (record, event))| {
                place(record, Place { tx, operation: 0, index }, event)
            })
    };
    events.extend(staged(TransactionEventStage::BeforeAllTxs, 0));
    for record in &page.records {
        for (operation, emitted) in record.contract_events.iter().enumerate() {
            for (index, event) in emitted.iter().enumerate() {
                let place_of =
                    Place { tx: record.application_order, operation: count(operation), index };
                events.push(place(record, place_of, event));
            }
        }
    }
    events.extend(staged(TransactionEventStage::AfterAllTxs, LAST_TRANSACTION));
    events
}

/// Where in its ledger an event stands. Fees stand before the first transaction, refunds after the last.
struct Place {
    tx: u32,
    operation: u32,
    index: usize,
}

fn place(record: &TransactionRecord, place: Place, event: &ContractEvent) -> EventRecord {
    // SEP-35: 32 bits of ledger, 20 of transaction, 12 of operation.
    let operation_id =
        (u64::from(record.ledger) << 32) | (u64::from(place.tx) << 12) | u64::from(place.operation);
    EventRecord {
        id: format!("{operation_id:019}-{:010}", place.index),
        ledger: record.ledger,
        close_time: record.close_time,
        tx_hash: record.hash.clone(),
        transaction_index: record.application_order,
        operation_index: place.operation,
        in_successful_call: record.status == TransactionStatus::Success,
        event: event.clone(),
    }
}

/// The highest transaction number that an id can hold.
const LAST_TRANSACTION: u32 = (1 << 20) - 1;
