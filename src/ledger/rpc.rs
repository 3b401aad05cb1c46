//! A thin client of the Stellar RPC: the methods that payments need, typed.
//!
//! It believes the server about the state of the ledger, which it cannot check, and about nothing that it can: a
//! transaction must hash to what was asked for, and its result must say what its status says.
//! Source: Stellar RPC, JSON-RPC methods.

mod answer;
mod wire;

#[cfg(any(test, fuzzing))]
pub(crate) mod door;

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri, header};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use stellar_xdr as xdr;
use xdr::{LedgerEntryData, LedgerKey, TransactionEnvelope};

pub use self::answer::{
    AuthMode, Event, EventPage, EventQuery, LedgerMark, LiveEntry, Lookup, Simulated, Simulation,
    Snapshot, Start, Submission, Transaction,
};
use super::{Http, HttpError};
use crate::{
    protocol::{
        json as strict,
        stellar::{AccountId, Network, TxHash},
    },
    telemetry::timings::{self, Timings},
};

/// A Stellar RPC server of one network. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Rpc {
    http: Http,
    url: Uri,
    network: Network,
    timings: Timings,
}

impl Rpc {
    /// A client of the server at `url`, which must serve `network` (see [`Rpc::check_network`]).
    #[must_use]
    pub fn new(http: Http, url: Uri, network: Network) -> Self {
        Self { http, url, network, timings: Timings::default() }
    }

    /// How long its calls took.
    #[must_use]
    pub const fn timings(&self) -> &Timings {
        &self.timings
    }

    /// The network whose passphrase hashes are checked against.
    #[must_use]
    pub const fn network(&self) -> Network {
        self.network
    }

    /// Where the server is, for messages: without the path, which is where providers put their keys.
    #[must_use]
    pub fn place(&self) -> String {
        let scheme = self.url.scheme_str().unwrap_or_default();
        let host = self.url.host().unwrap_or_default();
        match self.url.port() {
            Some(port) => format!("{scheme}://{host}:{port}"),
            None => format!("{scheme}://{host}"),
        }
    }

    /// Checks that the server serves this client's network.
    ///
    /// # Errors
    /// [`Error::WrongNetwork`], or what kept it from answering.
    pub async fn check_network(&self) -> Result<(), Error> {
        let answer: wire::Network = self.call("getNetwork", Value::Null, SMALL).await?;
        if answer.passphrase == self.network.passphrase() {
            Ok(())
        } else {
            Err(Error::WrongNetwork { expected: self.network })
        }
    }

    /// The URL of the friendbot, which gives lumens to new accounts of a test network; `None` where there is none.
    ///
    /// # Errors
    /// What kept the server from answering.
    pub async fn friendbot(&self) -> Result<Option<String>, Error> {
        let answer: wire::Network = self.call("getNetwork", Value::Null, SMALL).await?;
        Ok(answer.friendbot_url.filter(|url| !url.is_empty()))
    }

    /// The latest closed ledger.
    ///
    /// Asked by looking up a hash that nothing has: `getLatestLedger` may carry megabytes of that ledger's metadata, and
    /// older servers do not tell when it closed.
    ///
    /// # Errors
    /// What kept the server from answering.
    pub async fn latest_ledger(&self) -> Result<LedgerMark, Error> {
        match self.transaction(TxHash([0; 32])).await? {
            Lookup::NotFound { latest, .. } => Ok(latest),
            Lookup::Applied(_) => Err(garbage("getTransaction", "status")),
        }
    }

    /// What most of the recent Soroban transactions bid for inclusion at most, in stroops: the 90th percentile.
    ///
    /// # Errors
    /// What kept the server from answering.
    pub async fn inclusion_fee(&self) -> Result<u32, Error> {
        let answer: wire::FeeStats = self.call("getFeeStats", Value::Null, SMALL).await?;
        answer.inclusion().map_err(|what| garbage("getFeeStats", what))
    }

    /// The entries under `keys`, at most [`MOST_ENTRIES`], with their keys; those that do not exist are left out.
    ///
    /// # Errors
    /// What kept the server from answering.
    pub async fn entries(
        &self,
        keys: &[LedgerKey],
    ) -> Result<Vec<(LedgerKey, LedgerEntryData)>, Error> {
        let found = self.entries_under(keys).await?.entries.unwrap_or_default();
        let decode =
            |entry: &wire::Entry| Some((wire::decode(&entry.key)?, wire::decode(&entry.xdr)?));
        found.iter().map(decode).collect::<Option<_>>().ok_or_else(|| garbage(ENTRIES, "entries"))
    }

    /// The entries under `keys`, at most [`MOST_ENTRIES`], all as of one ledger; those that do not exist are left out.
    ///
    /// # Errors
    /// What kept the server from answering.
    pub async fn snapshot(&self, keys: &[LedgerKey]) -> Result<Snapshot, Error> {
        self.entries_under(keys).await?.snapshot().map_err(|what| garbage(ENTRIES, what))
    }

    async fn entries_under(&self, keys: &[LedgerKey]) -> Result<wire::Entries, Error> {
        let keys: Vec<String> = keys.iter().map(wire::encode).collect();
        self.call(ENTRIES, json!({ "keys": keys }), LARGE).await
    }

    /// The accounts among `accounts`, at most [`MOST_ENTRIES`], that exist.
    ///
    /// # Errors
    /// What kept the server from answering.
    pub async fn accounts(&self, accounts: &[AccountId]) -> Result<Vec<xdr::AccountEntry>, Error> {
        let key = |account: &AccountId| {
            LedgerKey::Account(xdr::LedgerKeyAccount { account_id: account.to_xdr() })
        };
        let keys: Vec<LedgerKey> = accounts.iter().map(key).collect();
        let found = self.entries(&keys).await?;
        Ok(found
            .into_iter()
            .filter_map(|(_, data)| match data {
                LedgerEntryData::Account(entry) => Some(entry),
                _ => None,
            })
            .collect())
    }

    /// Runs `envelope` against the latest ledger without changing it.
    ///
    /// # Errors
    /// What kept the server from answering; a transaction that would fail is a [`Simulation::Failure`].
    pub async fn simulate(
        &self,
        envelope: &TransactionEnvelope,
        mode: AuthMode,
    ) -> Result<Simulation, Error> {
        let mut params = json!({ "transaction": wire::encode(envelope) });
        if let (Some(mode), Some(params)) = (mode.as_str(), params.as_object_mut()) {
            params.insert("authMode".to_owned(), mode.into());
        }
        let answer: wire::Simulation = self.call("simulateTransaction", params, LARGE).await?;
        answer.read().map_err(|what| garbage("simulateTransaction", what))
    }

    /// Sends a signed transaction to the network; sending the same one again is safe.
    ///
    /// # Errors
    /// What kept the server from answering: see [`Error::surely_unsent`].
    pub async fn send(&self, envelope: &TransactionEnvelope) -> Result<Submission, Error> {
        const METHOD: &str = "sendTransaction";
        let params = json!({ "transaction": wire::encode(envelope) });
        let answer: wire::Sent = self.call(METHOD, params, SMALL).await?;
        if answer.hash.parse().ok() != self.hash(envelope) {
            return Err(garbage(METHOD, "hash"));
        }
        answer.read().map_err(|what| garbage(METHOD, what))
    }

    /// The hash of `envelope` on this network; a fee bump has its own. `None` if it cannot be encoded.
    #[must_use]
    pub fn hash(&self, envelope: &TransactionEnvelope) -> Option<TxHash> {
        envelope.hash(self.network.id()).ok().map(TxHash)
    }

    /// Looks up a transaction by its hash.
    ///
    /// # Errors
    /// What kept the server from answering, and an answer that is about another transaction or contradicts itself.
    pub async fn transaction(&self, hash: TxHash) -> Result<Lookup, Error> {
        const METHOD: &str = "getTransaction";
        let params = json!({ "hash": hash.to_string() });
        let answer: wire::Found = self.call(METHOD, params, LARGE).await?;
        answer.read(hash, self.network).map_err(|what| garbage(METHOD, what))
    }

    /// A page of contract events.
    ///
    /// # Errors
    /// What kept the server from answering; [`Error::Refused`] where its history does not reach back far enough.
    pub async fn events(&self, query: &EventQuery) -> Result<EventPage, Error> {
        let answer: wire::Events = self.call("getEvents", query.to_json(), LARGE).await?;
        answer.read().map_err(|what| garbage("getEvents", what))
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: &'static str,
        params: Value,
        cap: usize,
    ) -> Result<T, Error> {
        let began = Instant::now();
        let answered = self.answer(method, params, cap).await;
        self.timings.note(method, timings::outcome(&answered), began.elapsed());
        answered
    }

    async fn answer<T: DeserializeOwned>(
        &self,
        method: &'static str,
        params: Value,
        cap: usize,
    ) -> Result<T, Error> {
        let mut call = json!({ "jsonrpc": "2.0", "id": 1, "method": method });
        if let (false, Some(call)) = (params.is_null(), call.as_object_mut()) {
            call.insert("params".to_owned(), params);
        }
        let request = Request::builder()
            .method(Method::POST)
            .uri(self.url.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .body(Bytes::from(call.to_string()))
            .map_err(|_| garbage(method, "request"))?;
        let (status, body) = self
            .http
            .send(request, TIMEOUT, cap)
            .await
            .map_err(|source| Error::Unreachable { method, source })?;
        read_answer(method, status, &body)
    }
}

/// The result within the answer to `method`.
fn read_answer<T: DeserializeOwned>(
    method: &'static str,
    status: StatusCode,
    body: &[u8],
) -> Result<T, Error> {
    let answer: wire::Answer = match strict::from_slice(body) {
        Ok(answer) => answer,
        Err(_) if status != StatusCode::OK => return Err(Error::Status { method, status }),
        Err(_) => return Err(garbage(method, "JSON-RPC")),
    };
    match (answer.result, answer.error) {
        (_, Some(error)) => {
            Err(Error::Refused { method, code: error.code, message: error.message })
        }
        (Some(result), None) if status == StatusCode::OK => {
            serde_json::from_value(result).map_err(|_| garbage(method, "result"))
        }
        _ if status != StatusCode::OK => Err(Error::Status { method, status }),
        _ => Err(garbage(method, "result")),
    }
}

/// Why there is no usable answer of the RPC server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No answer came.
    #[error("the Stellar RPC did not answer `{method}`")]
    Unreachable {
        /// Which call.
        method: &'static str,
        /// Why not.
        source: HttpError,
    },
    /// An HTTP error without a JSON-RPC answer.
    #[error("the Stellar RPC answered `{method}` with status {status}")]
    Status {
        /// Which call.
        method: &'static str,
        /// The status.
        status: StatusCode,
    },
    /// A JSON-RPC error.
    #[error("the Stellar RPC refused `{method}` with code {code}: {message}")]
    Refused {
        /// Which call.
        method: &'static str,
        /// The JSON-RPC code.
        code: i64,
        /// The server's words, for the log.
        message: String,
    },
    /// An answer that cannot be read, or that contradicts itself.
    #[error("the Stellar RPC answered `{method}` with nonsense (`{what}`)")]
    Garbage {
        /// Which call.
        method: &'static str,
        /// The member that is wrong.
        what: &'static str,
    },
    /// The server is of another network.
    #[error("the Stellar RPC does not serve {expected}")]
    WrongNetwork {
        /// The network asked for.
        expected: Network,
    },
}

impl Error {
    /// Whether the call surely had no effect.
    #[must_use]
    pub const fn surely_unsent(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { source: HttpError::Connect, .. } | Self::WrongNetwork { .. }
        )
    }
}

const fn garbage(method: &'static str, what: &'static str) -> Error {
    Error::Garbage { method, what }
}

/// The server of the testnet that everybody may ask; pubnet has none.
pub const TESTNET_URL: &str = "https://soroban-testnet.stellar.org";
/// As many ledger entries as one call may ask for.
pub const MOST_ENTRIES: usize = 200;

const ENTRIES: &str = "getLedgerEntries";
const TIMEOUT: Duration = Duration::from_secs(10);
/// Answers of a few numbers.
const SMALL: usize = 256 << 10;
/// Answers with ledger entries, metadata or lists of events.
const LARGE: usize = 1 << 20;
