//! What a ledger is told at its start.

use stellar_xdr::AccountId;

/// What a ledger is told at its start.
#[derive(Clone, Debug)]
pub struct LedgerConfig {
    /// The network passphrase; its SHA-256 is the network id and the seed of the root account.
    pub passphrase: String,
    /// Unix time in seconds of the genesis ledger.
    pub start_time: u64,
    /// How many closed ledgers keep their transactions and events.
    pub kept_ledgers: usize,
    /// How many transactions are kept at most; the oldest ledgers go first.
    pub kept_transactions: usize,
    /// How many closed ledgers keep their whole state, for reads that lag.
    pub kept_snapshots: usize,
    /// Accounts whose signatures [`Ledger::submit_unsigned`](super::Ledger::submit_unsigned) does without.
    pub trusted: Vec<AccountId>,
}

impl LedgerConfig {
    /// The settings for `passphrase`, with a history of 10,000 ledgers or 20,000 transactions, and 16 old states.
    pub fn new(passphrase: impl Into<String>, start_time: u64) -> Self {
        Self {
            passphrase: passphrase.into(),
            start_time,
            kept_ledgers: 10_000,
            kept_transactions: 20_000,
            kept_snapshots: 16,
            trusted: Vec::new(),
        }
    }
}

/// The protocol version of every ledger: the one that the linked host runs.
pub const PROTOCOL_VERSION: u32 = 30;
