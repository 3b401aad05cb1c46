//! What the ledger answers: closed ledgers, submissions, transactions, events, simulations.

use stellar_xdr::{
    ContractEvent, DiagnosticEvent, Hash, LedgerCloseMeta, LedgerEntry, LedgerHeader, LedgerKey,
    ScVal, SorobanAuthorizationEntry, SorobanTransactionData, TransactionEnvelope,
    TransactionEvent, TransactionMeta, TransactionResult,
};

/// A ledger's place in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LedgerMark {
    /// The ledger's sequence.
    pub sequence: u32,
    /// Its close time, Unix seconds.
    pub close_time: u64,
}

/// A closed ledger without its state.
#[derive(Clone, Debug)]
pub struct ClosedLedger {
    /// The ledger's sequence.
    pub sequence: u32,
    /// SHA-256 of the header.
    pub hash: Hash,
    /// Unix time in seconds.
    pub close_time: u64,
    /// The header.
    pub header: LedgerHeader,
    /// The close meta, V2, without the transactions: clients read only its header.
    pub meta: LedgerCloseMeta,
}

/// The answer to a submitted transaction. Source: Stellar RPC `sendTransaction`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Submission {
    /// It waits for the next ledger.
    Pending {
        /// The transaction's hash.
        hash: Hash,
    },
    /// It is waiting already.
    Duplicate {
        /// The transaction's hash.
        hash: Hash,
    },
    /// Another transaction of its source account is waiting.
    TryAgainLater {
        /// The transaction's hash.
        hash: Hash,
    },
    /// It is not valid; nothing was charged.
    Error {
        /// The transaction's hash.
        hash: Hash,
        /// Why, with the fee that would be charged.
        result: Box<TransactionResult>,
        /// What the validation had to say beyond the code.
        diagnostics: Vec<DiagnosticEvent>,
    },
}

/// How an applied transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionStatus {
    /// Its operations took effect.
    Success,
    /// Its fee was charged and its sequence number spent; nothing else took effect.
    Failed,
}

/// An applied transaction.
#[derive(Clone, Debug)]
pub struct TransactionRecord {
    /// How it ended.
    pub status: TransactionStatus,
    /// Its hash; a fee bump's outer one.
    pub hash: Hash,
    /// The hash of the inner transaction of a fee bump.
    pub inner_hash: Option<Hash>,
    /// The ledger that holds it.
    pub ledger: u32,
    /// That ledger's close time, Unix seconds.
    pub close_time: u64,
    /// Its place in the ledger, from 1.
    pub application_order: u32,
    /// The envelope as submitted.
    pub envelope: TransactionEnvelope,
    /// The result, with the fee after refunds.
    pub result: TransactionResult,
    /// What it changed, V4.
    pub meta: TransactionMeta,
    /// The host's account of a contract invocation, also of a failed one.
    pub diagnostics: Vec<DiagnosticEvent>,
    /// Events of the transaction itself: the fee and its refund (CAP-67).
    pub transaction_events: Vec<TransactionEvent>,
    /// Events by operation; empty for a failed transaction.
    pub contract_events: Vec<Vec<ContractEvent>>,
}

impl TransactionRecord {
    /// Whether it is a fee bump.
    pub fn is_fee_bump(&self) -> bool {
        self.inner_hash.is_some()
    }
}

/// An event with its place in history.
#[derive(Clone, Debug)]
pub struct EventRecord {
    /// The id of Stellar RPC `getEvents`: the operation's place (SEP-35, 19 digits) and the event's index (10 digits).
    pub id: String,
    /// The ledger that holds it.
    pub ledger: u32,
    /// That ledger's close time, Unix seconds.
    pub close_time: u64,
    /// The hash of its transaction.
    pub tx_hash: Hash,
    /// The transaction's place in the ledger, from 1.
    pub transaction_index: u32,
    /// The operation's place in the transaction, from 0.
    pub operation_index: u32,
    /// Whether its transaction succeeded; only a fee event can say no.
    pub in_successful_call: bool,
    /// The event.
    pub event: ContractEvent,
}

/// Which authorization a simulation works with. Source: Stellar RPC `simulateTransaction.authMode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMode {
    /// The entries given must suffice.
    Enforce,
    /// Entries are recorded; an address must be authorized in the root invocation.
    Record,
    /// Entries are recorded wherever an address is asked.
    RecordAllowNonroot,
}

/// What a simulation is told besides its transaction.
#[derive(Clone, Copy, Debug, Default)]
pub struct SimulateOptions {
    /// Instructions added to those that were measured.
    pub instruction_leeway: u64,
    /// `None`: [`AuthMode::Enforce`] when the operation has entries, else [`AuthMode::Record`].
    pub auth_mode: Option<AuthMode>,
    /// Record entries of the newer address credentials; older clients cannot decode those.
    pub use_upgraded_auth: bool,
}

/// What a simulation found.
#[derive(Clone, Debug)]
pub struct Simulation {
    /// The ledger that it ran against.
    pub ledger: u32,
    /// Footprint, resources and resource fee, to be set on the transaction.
    pub transaction_data: SorobanTransactionData,
    /// The resource fee in stroops.
    pub min_resource_fee: i64,
    /// The entries given or recorded; empty but for an invocation.
    pub auth: Vec<SorobanAuthorizationEntry>,
    /// The value returned; `None` but for an invocation.
    pub result: Option<ScVal>,
    /// Contract and diagnostic events.
    pub events: Vec<DiagnosticEvent>,
    /// What it would change.
    pub state_changes: Vec<StateChange>,
    /// What must be restored beforehand.
    pub restore_preamble: Option<RestorePreamble>,
}

/// One entry that a simulated transaction would create, change or delete.
#[derive(Clone, Debug)]
pub struct StateChange {
    /// The entry's key.
    pub key: LedgerKey,
    /// `None` if it would be created.
    pub before: Option<LedgerEntry>,
    /// `None` if it would be deleted.
    pub after: Option<LedgerEntry>,
}

/// A `RestoreFootprint` that must come first.
#[derive(Clone, Debug)]
pub struct RestorePreamble {
    /// Footprint, resources and resource fee of the restoring transaction.
    pub transaction_data: SorobanTransactionData,
    /// Its resource fee in stroops.
    pub min_resource_fee: i64,
}

/// Why a simulation has no result.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct SimulationFailure {
    /// The ledger that it ran against.
    pub ledger: u32,
    /// The host's error, as in `HostError: Error(Contract, #13)`, and its event log.
    pub message: String,
    /// Diagnostic events up to the failure.
    pub events: Vec<DiagnosticEvent>,
}

/// What an armed fault does to a transaction that was admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApplyFault {
    /// It is applied and fails: the fee is charged.
    Fail,
    /// It is dropped: accepted, then never found.
    Vanish,
    /// It keeps waiting until this ledger.
    Wait {
        /// The sequence of the first ledger that may hold it.
        until: u32,
    },
}
