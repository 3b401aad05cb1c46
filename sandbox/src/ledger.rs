//! The ledger core: accounts, trustlines, contracts, transactions and ledgers that close when told to.
//!
//! It decides what a transaction does and what its result says, with the real Soroban host for contracts. It knows no
//! clock, no socket and no JSON: time is an argument of [`Ledger::close`], and every type here is XDR or plain Rust.
//! It is a substitute for a network, not a validator: no consensus, no surge pricing, no order book, no claimable
//! balances; an operation that it does not carry out answers `opNOT_SUPPORTED`.

mod config;
mod network;
mod record;
mod store;
mod xdr;

use std::sync::Arc;

use ed25519_dalek::SigningKey;
use stellar_xdr::{Hash, LedgerKey, TransactionEnvelope};
use tokio::sync::watch;

pub use self::config::{LedgerConfig, PROTOCOL_VERSION};
pub use self::record::{
    ApplyFault, AuthMode, ClosedLedger, EventRecord, LedgerMark, RestorePreamble, SimulateOptions,
    Simulation, SimulationFailure, StateChange, Submission, TransactionRecord, TransactionStatus,
};
pub use self::store::{Found, Snapshot};

/// A handle on one ledger; clones share it.
///
/// Every method is synchronous and may take milliseconds (`simulate`, `close`): call those two through `spawn_blocking`.
/// None holds a lock while the host runs, so reads never wait for a close.
#[derive(Clone)]
pub struct Ledger {
    inner: Arc<Inner>,
}

struct Inner {
    config: LedgerConfig,
    closed: watch::Sender<u32>,
}

impl Ledger {
    /// Makes a ledger whose first closed ledger holds one account, [`Ledger::root`], with all lumens.
    pub fn new(config: LedgerConfig) -> Self {
        let (closed, _) = watch::channel(1);
        Self { inner: Arc::new(Inner { config, closed }) }
    }

    /// The passphrase that transactions sign over.
    pub fn passphrase(&self) -> &str {
        &self.inner.config.passphrase
    }

    /// SHA-256 of the passphrase.
    pub fn network_id(&self) -> Hash {
        todo!()
    }

    /// The key of the genesis account, which holds all lumens: its seed is the network id, as in stellar-core.
    pub fn root(&self) -> SigningKey {
        todo!()
    }

    /// Watches the sequence of the latest closed ledger, so that a caller can await "ledger N closed".
    pub fn closed(&self) -> watch::Receiver<u32> {
        self.inner.closed.subscribe()
    }

    /// The latest closed ledger.
    pub fn latest(&self) -> Arc<ClosedLedger> {
        todo!()
    }

    /// The oldest ledger whose transactions and events are still kept.
    pub fn oldest(&self) -> LedgerMark {
        todo!()
    }

    /// The state as of the latest closed ledger; costs O(1).
    pub fn snapshot(&self) -> Snapshot {
        todo!()
    }

    /// The state as of ledger `sequence`, if it is one of the few most recent ([`LedgerConfig::kept_snapshots`]).
    pub fn snapshot_at(&self, _sequence: u32) -> Option<Snapshot> {
        todo!()
    }

    /// The entries under `keys` in the latest closed ledger; keys without an entry are left out.
    pub fn entries(&self, keys: &[LedgerKey]) -> Vec<Found> {
        self.snapshot().entries(keys)
    }

    /// Admits `envelope` for the next ledger, or says why not, as stellar-core's transaction queue does.
    pub fn submit(&self, _envelope: TransactionEnvelope) -> Submission {
        todo!()
    }

    /// As [`Ledger::submit`], but the signatures of [`LedgerConfig::trusted`] accounts count as given.
    ///
    /// The sandbox's one deviation: nobody has the key of the testnet USDC issuer, so the bootstrap and the faucet mint
    /// and deploy through this door. Everything else about the transaction is checked and applied as usual. In-process only.
    pub fn submit_unsigned(&self, _envelope: TransactionEnvelope) -> Submission {
        todo!()
    }

    /// Whether the transaction waits for the next ledger. A fee bump is found by its own hash and by its inner one.
    pub fn is_pending(&self, _hash: &Hash) -> bool {
        todo!()
    }

    /// The applied transaction with this hash. A fee bump is found by its own hash and by its inner one.
    pub fn transaction(&self, _hash: &Hash) -> Option<Arc<TransactionRecord>> {
        todo!()
    }

    /// The applied transactions of ledger `sequence`, in order of application; empty when it is not kept.
    pub fn transactions_in(&self, _sequence: u32) -> Vec<Arc<TransactionRecord>> {
        todo!()
    }

    /// The events of the kept ledgers from `first` through `last`, in order of their ids.
    pub fn events(&self, _first: u32, _last: u32) -> Vec<EventRecord> {
        todo!()
    }

    /// Runs the one Soroban operation of `envelope` against the latest closed ledger without changing it.
    ///
    /// # Errors
    /// [`SimulationFailure`] when the host refuses it, or when the envelope is not one Soroban operation.
    pub fn simulate(
        &self,
        envelope: &TransactionEnvelope,
        options: SimulateOptions,
    ) -> Result<Simulation, SimulationFailure> {
        self.simulate_at(&self.snapshot(), envelope, options)
    }

    /// As [`Ledger::simulate`], against an older state: what an RPC node that lags would answer.
    ///
    /// # Errors
    /// As [`Ledger::simulate`].
    pub fn simulate_at(
        &self,
        _snapshot: &Snapshot,
        _envelope: &TransactionEnvelope,
        _options: SimulateOptions,
    ) -> Result<Simulation, SimulationFailure> {
        todo!()
    }

    /// Closes a ledger over what was admitted and returns it.
    ///
    /// `now` is the Unix time in seconds; the close time is `now`, or the previous one if that is later.
    pub fn close(&self, _now: u64) -> Arc<ClosedLedger> {
        todo!()
    }

    /// Makes the next `count` admitted transactions that `matches` accepts meet `fault`. For tests.
    pub fn arm(
        &self,
        _fault: ApplyFault,
        _count: u32,
        _matches: impl Fn(&TransactionEnvelope) -> bool + Send + Sync + 'static,
    ) {
        todo!()
    }
}
