//! What the Stellar RPC says, as types that cannot be half true.

use std::collections::HashMap;

use serde_json::{Value, json};
use stellar_xdr as xdr;

use super::wire;
use crate::protocol::stellar::{ContractId, TxHash};

/// A closed ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LedgerMark {
    /// Its sequence.
    pub sequence: u32,
    /// When it closed, in Unix seconds, where the server tells.
    pub closed_at: Option<u64>,
}

/// Entries of the ledger as they stood together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The ledger after which they stood so.
    pub ledger: u32,
    /// Those that were asked for and exist.
    pub entries: HashMap<xdr::LedgerKey, LiveEntry>,
}

/// An entry, and how long it lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveEntry {
    /// What it holds.
    pub data: xdr::LedgerEntryData,
    /// The last ledger in which it can be used without being restored; `None` if it lives for ever.
    pub live_until: Option<u32>,
}

/// What a simulation does about authorizations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMode {
    /// Finds out which ones the transaction needs.
    Record,
    /// Checks those that it carries: signature, nonce, expiry.
    Enforce,
    /// Nothing, and a server refuses to be told more: the transaction calls no contract.
    Absent,
}

impl AuthMode {
    pub(super) const fn as_str(self) -> Option<&'static str> {
        match self {
            Self::Record => Some("record"),
            Self::Enforce => Some("enforce"),
            Self::Absent => None,
        }
    }
}

/// What a transaction would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Simulation {
    /// It would succeed.
    Success(Box<Simulated>),
    /// It would fail.
    Failure {
        /// The host's words, for the log.
        error: String,
        /// The ledger it ran against.
        ledger: u32,
    },
}

impl Simulation {
    /// The ledger it ran against.
    #[must_use]
    pub const fn ledger(&self) -> u32 {
        match self {
            Self::Success(simulated) => simulated.ledger,
            Self::Failure { ledger, .. } => *ledger,
        }
    }
}

/// What a successful transaction needs and does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Simulated {
    /// The resources to declare, resource fee included.
    pub data: xdr::SorobanTransactionData,
    /// The least resource fee, in stroops.
    pub min_resource_fee: u32,
    /// The contract events it would emit; diagnostic ones are left out.
    pub events: Vec<xdr::ContractEvent>,
    /// The keys of the entries it would create, change or delete, where the server tells.
    pub changed: Vec<xdr::LedgerKey>,
    /// The authorizations it needs, when recorded.
    pub authorizations: Vec<xdr::SorobanAuthorizationEntry>,
    /// What the call would return, where the server tells.
    pub returned: Option<xdr::ScVal>,
    /// Whether archived entries have to be restored before.
    pub needs_restore: bool,
    /// The ledger it ran against.
    pub ledger: u32,
}

/// What the network's node said to a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Submission {
    /// It waits for a ledger.
    Pending,
    /// It waits already, or has landed.
    Duplicate,
    /// The queue is full, or holds another transaction of its source; this one is not in it.
    TryAgainLater,
    /// It is not valid, and is not in the queue.
    Refused(xdr::TransactionResultCode),
}

/// What is known of a hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// Nothing, in the history that the server keeps.
    NotFound {
        /// Its last ledger.
        latest: LedgerMark,
        /// Its first ledger.
        oldest: u32,
        /// When that closed, in Unix seconds, where the server tells.
        oldest_closed_at: Option<u64>,
    },
    /// The transaction was applied.
    Applied(Box<Transaction>),
}

/// An applied transaction, checked to be the one asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// Whether it did what it says; a failed one costs its fee and moves nothing.
    pub success: bool,
    /// The ledger it landed in.
    pub ledger: u32,
    /// When that ledger closed, in Unix seconds, where the server tells.
    pub closed_at: Option<u64>,
    /// When the server's latest ledger closed, in Unix seconds, where it tells.
    pub latest_closed_at: Option<u64>,
    /// What was charged, in stroops.
    pub fee_charged: i64,
    /// The transaction itself.
    pub envelope: xdr::TransactionEnvelope,
    /// The contract events of its operations; empty if it failed.
    pub events: Vec<xdr::ContractEvent>,
    /// The nonces of authorizations that it used up, with whose they were; none if it failed.
    pub nonces: Vec<(xdr::ScAddress, i64)>,
}

impl Transaction {
    /// Whether it used up exactly this authorization: one that is carried and not used authorizes nothing.
    #[must_use]
    pub fn used(&self, authorization: &xdr::SorobanAuthorizationEntry) -> bool {
        self.authorizations().any(|carried| carried == authorization)
            && nonce_of(authorization).is_some_and(|nonce| self.nonces.contains(&nonce))
    }

    /// How many nonces it used up for which it carries an authorization of this very call.
    #[must_use]
    pub fn uses_of(&self, call: &xdr::SorobanAuthorizedInvocation) -> usize {
        let is_for_call = |nonce: &&(xdr::ScAddress, i64)| {
            self.authorizations().any(|carried| {
                carried.root_invocation == *call && nonce_of(carried).as_ref() == Some(*nonce)
            })
        };
        self.nonces.iter().filter(is_for_call).count()
    }

    fn authorizations(&self) -> impl Iterator<Item = &xdr::SorobanAuthorizationEntry> {
        let operations = match &self.envelope {
            xdr::TransactionEnvelope::TxV0(envelope) => &envelope.tx.operations,
            xdr::TransactionEnvelope::Tx(envelope) => &envelope.tx.operations,
            xdr::TransactionEnvelope::TxFeeBump(envelope) => match &envelope.tx.inner_tx {
                xdr::FeeBumpTransactionInnerTx::Tx(envelope) => &envelope.tx.operations,
            },
        };
        operations.iter().flat_map(|operation| match &operation.body {
            xdr::OperationBody::InvokeHostFunction(invoke) => invoke.auth.as_slice(),
            _ => &[],
        })
    }
}

fn nonce_of(authorization: &xdr::SorobanAuthorizationEntry) -> Option<(xdr::ScAddress, i64)> {
    match &authorization.credentials {
        xdr::SorobanCredentials::Address(credentials) => {
            Some((credentials.address.clone(), credentials.nonce))
        }
        _ => None,
    }
}

/// Which events are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventQuery {
    /// Where to begin.
    pub start: Start,
    /// The contract that emitted them.
    pub contract: ContractId,
    /// Alternatives of topics, place by place; `None` is any topic.
    pub topics: Vec<Vec<Option<xdr::ScVal>>>,
}

/// Where a page of events begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// With this ledger.
    Ledger(u32),
    /// After the last page.
    Cursor(String),
}

impl EventQuery {
    pub(super) fn to_json(&self) -> Value {
        let segment = |topic: &Option<xdr::ScVal>| match topic {
            Some(value) => wire::encode(value),
            None => "*".to_owned(),
        };
        let topics: Vec<Vec<String>> =
            self.topics.iter().map(|topics| topics.iter().map(segment).collect()).collect();
        let filter = json!({
            "type": "contract",
            "contractIds": [self.contract.to_string()],
            "topics": topics,
        });
        let limit = EventPage::LIMIT;
        match &self.start {
            Start::Ledger(ledger) => json!({
                "startLedger": ledger,
                "filters": [filter],
                "pagination": { "limit": limit },
            }),
            Start::Cursor(cursor) => json!({
                "filters": [filter],
                "pagination": { "limit": limit, "cursor": cursor },
            }),
        }
    }
}

/// A page of events in the order of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventPage {
    /// The events, at most [`EventPage::LIMIT`].
    pub events: Vec<Event>,
    /// Where the next page begins, if this one was full.
    pub next: Option<String>,
    /// The server's latest ledger.
    pub latest: u32,
}

impl EventPage {
    /// How many events a page has at most.
    pub const LIMIT: usize = 100;
}

/// An event of a contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The ledger it was emitted in.
    pub ledger: u32,
    /// The transaction that emitted it.
    pub transaction: TxHash,
    /// Its value.
    pub value: xdr::ScVal,
}
