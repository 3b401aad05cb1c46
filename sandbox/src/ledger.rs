//! The ledger core: accounts, trustlines, contracts, transactions and ledgers that close when told to.
//!
//! It decides what a transaction does and what its result says, with the real Soroban host for contracts. It knows no
//! clock, no socket and no JSON: time is an argument of [`Ledger::close`], and every type here is XDR or plain Rust.
//! It is a substitute for a network, not a validator: no consensus, no surge pricing, no order book, no claimable
//! balances; an operation that it does not carry out answers `opNOT_SUPPORTED`.

mod config;
mod record;
mod store;

mod admission;
mod queue;

mod apply;
mod classic;
mod soroban;

mod history;
mod simulate;

mod account;
mod event;
mod frame;
mod header;
mod host;
mod network;
mod outcome;
mod signature;
mod xdr;

#[cfg(test)]
#[expect(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    reason = "the amounts are small, and where one overflowed, the test would fail"
)]
mod tests;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ed25519_dalek::SigningKey;
use soroban_env_host::ModuleCache;
use stellar_xdr::{AccountId, Hash, LedgerKey, TransactionEnvelope};
use tokio::sync::watch;

use self::admission::Header;
use self::apply::{Applied, Surroundings};
pub use self::config::{LedgerConfig, PROTOCOL_VERSION};
use self::frame::Frame;
use self::history::History;
use self::network::Network;
use self::outcome::{Refusal, Verdict};
use self::queue::{ArmedFault, Gate, Queue, Waiting};
pub use self::record::{
    ApplyFault, AuthMode, ClosedLedger, EventRecord, LedgerMark, RestorePreamble, SimulateOptions,
    Simulation, SimulationFailure, StateChange, Submission, TransactionRecord, TransactionStatus,
};
pub use self::store::{Found, Snapshot};
use self::xdr::sha256;

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
    network: Network,
    modules: ModuleCache,
    /// Held for the whole of a close, so that closes follow each other.
    closing: Mutex<()>,
    /// Held for moments only.
    state: Mutex<State>,
    closed: watch::Sender<u32>,
}

struct State {
    /// The newest states, oldest first; the last is that of the latest closed ledger.
    snapshots: VecDeque<Snapshot>,
    head: Snapshot,
    history: History,
    queue: Queue,
}

impl Ledger {
    /// Makes a ledger whose first closed ledger holds one account, [`Ledger::root`], with all lumens.
    pub fn new(config: LedgerConfig) -> Self {
        let network = Network::new(sha256(config.passphrase.as_bytes()));
        let modules =
            host::modules().expect("an empty cache needs no more than the default budget");
        let head = header::genesis(&config, &network);
        let mut history = History::new(&config);
        history.push(LedgerMark { sequence: 1, close_time: config.start_time }, Vec::new());
        let state = State {
            snapshots: VecDeque::from([head.clone()]),
            head,
            history,
            queue: Queue::default(),
        };
        let (closed, _) = watch::channel(1);
        Self {
            inner: Arc::new(Inner {
                config,
                network,
                modules,
                closing: Mutex::new(()),
                state: Mutex::new(state),
                closed,
            }),
        }
    }

    /// The passphrase that transactions sign over.
    pub fn passphrase(&self) -> &str {
        &self.inner.config.passphrase
    }

    /// SHA-256 of the passphrase.
    pub fn network_id(&self) -> Hash {
        self.inner.network.id.clone()
    }

    /// The key of the genesis account, which holds all lumens: its seed is the network id, as in stellar-core.
    pub fn root(&self) -> SigningKey {
        header::root(&self.inner.network)
    }

    /// Watches the sequence of the latest closed ledger, so that a caller can await "ledger N closed".
    pub fn closed(&self) -> watch::Receiver<u32> {
        self.inner.closed.subscribe()
    }

    /// The latest closed ledger.
    pub fn latest(&self) -> Arc<ClosedLedger> {
        Arc::clone(&self.state().head.ledger)
    }

    /// The oldest ledger whose transactions and events are still kept.
    pub fn oldest(&self) -> LedgerMark {
        let state = self.state();
        let ClosedLedger { sequence, close_time, .. } = *state.head.ledger;
        state.history.oldest().unwrap_or(LedgerMark { sequence, close_time })
    }

    /// The state as of the latest closed ledger; costs O(1).
    pub fn snapshot(&self) -> Snapshot {
        self.state().head.clone()
    }

    /// The state as of ledger `sequence`, if it is one of the few most recent ([`LedgerConfig::kept_snapshots`]).
    pub fn snapshot_at(&self, sequence: u32) -> Option<Snapshot> {
        let state = self.state();
        state.snapshots.iter().find(|snapshot| snapshot.ledger.sequence == sequence).cloned()
    }

    /// The entries under `keys` in the latest closed ledger; keys without an entry are left out.
    pub fn entries(&self, keys: &[LedgerKey]) -> Vec<Found> {
        self.snapshot().entries(keys)
    }

    /// Admits `envelope` for the next ledger, or says why not, as stellar-core's transaction queue does.
    pub fn submit(&self, envelope: TransactionEnvelope) -> Submission {
        self.admit(envelope, false)
    }

    /// As [`Ledger::submit`], but the signatures of [`LedgerConfig::trusted`] accounts count as given.
    ///
    /// The sandbox's one deviation: nobody has the key of the testnet USDC issuer, so the bootstrap and the faucet mint
    /// and deploy through this door. Everything else about the transaction is checked and applied as usual. In-process only.
    pub fn submit_unsigned(&self, envelope: TransactionEnvelope) -> Submission {
        self.admit(envelope, true)
    }

    /// Whether the transaction waits for the next ledger. A fee bump is found by its own hash and by its inner one.
    pub fn is_pending(&self, hash: &Hash) -> bool {
        self.state().queue.contains(hash)
    }

    /// How many transactions wait for a ledger.
    pub fn waiting(&self) -> usize {
        self.state().queue.len()
    }

    /// The applied transaction with this hash. A fee bump is found by its own hash and by its inner one.
    pub fn transaction(&self, hash: &Hash) -> Option<Arc<TransactionRecord>> {
        self.state().history.transaction(hash)
    }

    /// The applied transactions of ledger `sequence`, in order of application; empty when it is not kept.
    pub fn transactions_in(&self, sequence: u32) -> Vec<Arc<TransactionRecord>> {
        self.state().history.transactions_in(sequence)
    }

    /// The events of the kept ledgers from `first` through `last`, in order of their ids.
    pub fn events(&self, first: u32, last: u32) -> Vec<EventRecord> {
        self.state().history.events(first, last)
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
        snapshot: &Snapshot,
        envelope: &TransactionEnvelope,
        options: SimulateOptions,
    ) -> Result<Simulation, SimulationFailure> {
        simulate::simulate(snapshot, envelope, options, &self.inner.network)
    }

    /// Closes a ledger over what was admitted and returns it.
    ///
    /// `now` is the Unix time in seconds; the close time is `now`, or the previous one if that is later.
    pub fn close(&self, now: u64) -> Arc<ClosedLedger> {
        self.close_after(0, now)
    }

    /// As [`Ledger::close`], when `skipped` ledgers have passed at once, empty and without a trace: entries age by them.
    pub fn close_after(&self, skipped: u32, now: u64) -> Arc<ClosedLedger> {
        let inner = &*self.inner;
        let _closing = inner.closing.lock().unwrap_or_else(PoisonError::into_inner);
        let (head, waiting, sequence) = {
            let state = self.state();
            let sequence = state.head.ledger.sequence.saturating_add(1).saturating_add(skipped);
            (state.head.clone(), state.queue.due(sequence), sequence)
        };
        let header = Header { sequence, close_time: now.max(head.ledger.close_time) };
        let mut applied = self.apply(&head, &waiting, header);
        let evictions_by = |sequence: u32| sequence / LEDGERS_BETWEEN_EVICTIONS;
        if evictions_by(header.sequence) != evictions_by(head.ledger.sequence) {
            store::evict(&mut applied.entries, header.sequence);
        }
        let closed = Arc::new(header::close(Some(&head.ledger), &applied, header));
        let snapshot = Snapshot { ledger: Arc::clone(&closed), entries: applied.entries };
        {
            let mut state = self.state();
            state.queue.remove(&waiting);
            let Header { sequence, close_time } = header;
            state.history.push(LedgerMark { sequence, close_time }, applied.records);
            state.snapshots.push_back(snapshot.clone());
            while state.snapshots.len() > inner.config.kept_snapshots.max(1) {
                state.snapshots.pop_front();
            }
            state.head = snapshot;
        }
        inner.closed.send_replace(header.sequence);
        closed
    }

    /// Makes the next `count` admitted transactions that `matches` accepts meet `fault`. For tests.
    ///
    /// `matches` runs while the ledger is locked, so it must not call the ledger.
    pub fn arm(
        &self,
        fault: ApplyFault,
        count: u32,
        matches: impl Fn(&TransactionEnvelope) -> bool + Send + Sync + 'static,
    ) {
        if count > 0 {
            let matches = Box::new(matches);
            self.state().queue.arm(ArmedFault { fault, left: count, matches });
        }
    }

    fn admit(&self, envelope: TransactionEnvelope, trusted: bool) -> Submission {
        let network = &self.inner.network;
        let frame = Frame::new(envelope, &network.id);
        let hash = frame.full_hash().clone();
        let fee = frame.fee_to_quote();
        let (gate, head) = {
            let state = self.state();
            (state.queue.gate(&frame), state.head.clone())
        };
        let refuse = |frame: &Frame, refusal| Submission::Error {
            hash: hash.clone(),
            result: Box::new(Verdict::Refused(refusal).into_result(frame, fee)),
            diagnostics: Vec::new(),
        };
        let closed_gate = |gate, frame: &Frame| match gate {
            Gate::Open => None,
            Gate::Duplicate => Some(Submission::Duplicate { hash: hash.clone() }),
            Gate::Occupied => Some(Submission::TryAgainLater { hash: hash.clone() }),
            Gate::Overtaken => Some(refuse(frame, Refusal::BadSeq)),
            Gate::Underbid { least } => Some(Submission::Error {
                hash: hash.clone(),
                result: Box::new(Refusal::InsufficientFee.into_result(least)),
                diagnostics: Vec::new(),
            }),
        };
        if let Some(answer) = closed_gate(gate, &frame) {
            return answer;
        }
        let header = Header {
            sequence: head.ledger.sequence.saturating_add(1),
            close_time: head.ledger.close_time,
        };
        let accounts: &[AccountId] = if trusted { &self.inner.config.trusted } else { &[] };
        if let Err(rejection) =
            admission::validate(&frame, &head.entries, header, network, accounts)
        {
            return Submission::Error {
                hash,
                result: Box::new(rejection.result),
                diagnostics: rejection.diagnostics,
            };
        }
        let mut state = self.state();
        // Another of the same account may have come in between.
        if let Some(answer) = closed_gate(state.queue.gate(&frame), &frame) {
            return answer;
        }
        let payer = frame.fee_source();
        let due = state.queue.fees_with(&frame);
        if account::load(&head.entries, &payer).is_none_or(|payer| account::available(payer) < due)
        {
            return Submission::Error {
                hash,
                result: Box::new(Refusal::InsufficientBalance.into_result(fee)),
                diagnostics: Vec::new(),
            };
        }
        let validated_at = head.ledger.sequence;
        state.queue.add(Waiting { frame, trusted, fault: None, validated_at });
        Submission::Pending { hash }
    }

    /// Applies what waited, unless something is broken beyond one transaction: then nothing is applied.
    fn apply(&self, head: &Snapshot, waiting: &[Arc<Waiting>], header: Header) -> Applied {
        if waiting.is_empty() {
            return Applied::nothing(head);
        }
        let inner = &*self.inner;
        let surroundings = Surroundings {
            network: &inner.network,
            modules: &inner.modules,
            trusted: &inner.config.trusted,
            header,
        };
        let applied = host::on_big_stack(|| {
            let holds = |waiting: &&Arc<Waiting>| self.holds(waiting, head, header);
            let waiting: Vec<_> = waiting.iter().filter(holds).cloned().collect();
            apply::apply(head, &waiting, &surroundings)
        });
        applied.unwrap_or_else(|broken| {
            tracing::error!(error = %broken, "a ledger is closed without its transactions");
            Applied::nothing(head)
        })
    }

    /// Whether a transaction that waited is still to be applied in `header`. A network would not nominate it otherwise.
    fn holds(&self, waiting: &Waiting, head: &Snapshot, header: Header) -> bool {
        if waiting.fault == Some(ApplyFault::Vanish) {
            return false;
        }
        if waiting.validated_at == head.ledger.sequence {
            return admission::is_timely(&waiting.frame, header);
        }
        let trusted: &[AccountId] = if waiting.trusted { &self.inner.config.trusted } else { &[] };
        let network = &self.inner.network;
        admission::validate(&waiting.frame, &head.entries, header, network, trusted).is_ok()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How often expired temporary entries are looked for.
const LEDGERS_BETWEEN_EVICTIONS: u32 = 1024;
