//! The JSON of the Stellar RPC's answers, and how it is read.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::Value;
use stellar_xdr as xdr;
use xdr::{LedgerEntryData, ReadXdr, WriteXdr};

use super::answer::{
    Event, EventPage, LedgerMark, LiveEntry, Lookup, Simulated, Simulation as Verdict, Snapshot,
    Submission, Transaction,
};
use crate::protocol::stellar::{Network as Chain, TxHash};

/// The member of an answer that is wrong.
type Wrong = &'static str;

#[derive(Deserialize)]
pub(super) struct Answer {
    pub(super) result: Option<Value>,
    pub(super) error: Option<Refusal>,
}

#[derive(Deserialize)]
pub(super) struct Refusal {
    pub(super) code: i64,
    #[serde(default)]
    pub(super) message: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Network {
    pub(super) passphrase: String,
    #[serde(default)]
    pub(super) friendbot_url: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FeeStats {
    soroban_inclusion_fee: Percentiles,
}

#[derive(Deserialize)]
struct Percentiles {
    p90: String,
}

impl FeeStats {
    /// What most bid for inclusion at most, in stroops.
    pub(super) fn inclusion(&self) -> Result<u32, Wrong> {
        self.soroban_inclusion_fee.p90.parse().map_err(|_| "p90")
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entries {
    pub(super) entries: Option<Vec<Entry>>,
    latest_ledger: Option<u32>,
}

impl Entries {
    /// The entries and the ledger that they are of.
    pub(super) fn snapshot(self) -> Result<Snapshot, Wrong> {
        let ledger = self.latest_ledger.ok_or("latestLedger")?;
        let read = |entry: &Entry| {
            let live_until = entry.live_until_ledger_seq;
            Some((decode(&entry.key)?, LiveEntry { data: decode(&entry.xdr)?, live_until }))
        };
        let entries = self.entries.unwrap_or_default().iter().map(read).collect::<Option<_>>();
        Ok(Snapshot { ledger, entries: entries.ok_or("entries")? })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) xdr: String,
    live_until_ledger_seq: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Simulation {
    error: Option<String>,
    transaction_data: Option<String>,
    min_resource_fee: Option<String>,
    #[serde(default)]
    events: Option<Vec<String>>,
    #[serde(default)]
    results: Option<Vec<HostResult>>,
    #[serde(default)]
    state_changes: Option<Vec<Change>>,
    restore_preamble: Option<Value>,
    latest_ledger: u32,
}

#[derive(Deserialize)]
struct HostResult {
    /// What the call returns.
    #[serde(default)]
    xdr: Option<String>,
    #[serde(default)]
    auth: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Change {
    key: String,
}

impl Simulation {
    pub(super) fn read(self) -> Result<Verdict, Wrong> {
        let ledger = self.latest_ledger;
        if let Some(error) = self.error {
            return Ok(Verdict::Failure { error, ledger });
        }
        let data: xdr::SorobanTransactionData =
            self.transaction_data.as_deref().and_then(decode).ok_or("transactionData")?;
        let min_resource_fee =
            self.min_resource_fee.and_then(|fee| fee.parse().ok()).ok_or("minResourceFee")?;
        let events: Vec<xdr::DiagnosticEvent> =
            decode_all(self.events.unwrap_or_default()).ok_or("events")?;
        let events = events
            .into_iter()
            .filter(|event| event.event.type_ == xdr::ContractEventType::Contract)
            .map(|event| event.event)
            .collect();
        let results = self.results.unwrap_or_default();
        let returned = results.first().and_then(|result| decode(result.xdr.as_deref()?));
        let auth = results.into_iter().flat_map(|result| result.auth.unwrap_or_default());
        let changes = self.state_changes.unwrap_or_default();
        Ok(Verdict::Success(Box::new(Simulated {
            data,
            min_resource_fee,
            events,
            changed: decode_all(changes.into_iter().map(|change| change.key))
                .ok_or("stateChanges")?,
            authorizations: decode_all(auth).ok_or("auth")?,
            returned,
            needs_restore: self.restore_preamble.is_some_and(|preamble| !preamble.is_null()),
            ledger,
        })))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Sent {
    status: String,
    pub(super) hash: String,
    error_result_xdr: Option<String>,
}

impl Sent {
    pub(super) fn read(&self) -> Result<Submission, Wrong> {
        match self.status.as_str() {
            "PENDING" => Ok(Submission::Pending),
            "DUPLICATE" => Ok(Submission::Duplicate),
            "TRY_AGAIN_LATER" => Ok(Submission::TryAgainLater),
            "ERROR" => {
                let result: xdr::TransactionResult =
                    self.error_result_xdr.as_deref().and_then(decode).ok_or("errorResultXdr")?;
                match code(&result.result) {
                    (false, code) => Ok(Submission::Refused(code)),
                    (true, _) => Err("errorResultXdr"),
                }
            }
            _ => Err("status"),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Found {
    status: String,
    ledger: Option<u32>,
    #[serde(default)]
    created_at: Value,
    envelope_xdr: Option<String>,
    result_xdr: Option<String>,
    result_meta_xdr: Option<String>,
    latest_ledger: u32,
    #[serde(default)]
    latest_ledger_close_time: Value,
    oldest_ledger: u32,
    #[serde(default)]
    oldest_ledger_close_time: Value,
}

impl Found {
    /// Reads the answer about `hash`; what it says must be about that transaction, and agree with itself.
    pub(super) fn read(self, hash: TxHash, network: Chain) -> Result<Lookup, Wrong> {
        let success = match self.status.as_str() {
            "SUCCESS" => true,
            "FAILED" => false,
            "NOT_FOUND" => {
                let closed_at = seconds(&self.latest_ledger_close_time);
                let latest = LedgerMark { sequence: self.latest_ledger, closed_at };
                let oldest_closed_at = seconds(&self.oldest_ledger_close_time);
                return Ok(Lookup::NotFound {
                    latest,
                    oldest: self.oldest_ledger,
                    oldest_closed_at,
                });
            }
            _ => return Err("status"),
        };
        let envelope: xdr::TransactionEnvelope =
            self.envelope_xdr.as_deref().and_then(decode).ok_or("envelopeXdr")?;
        if !hashes(&envelope, network).contains(&Some(hash.0)) {
            return Err("envelopeXdr");
        }
        let result: xdr::TransactionResult =
            self.result_xdr.as_deref().and_then(decode).ok_or("resultXdr")?;
        if code(&result.result).0 != success {
            return Err("resultXdr");
        }
        let (events, nonces) = if success {
            let meta = self.result_meta_xdr.as_deref().and_then(decode).ok_or("resultMetaXdr")?;
            effects(meta)
        } else {
            (Vec::new(), Vec::new())
        };
        Ok(Lookup::Applied(Box::new(Transaction {
            success,
            ledger: self.ledger.ok_or("ledger")?,
            closed_at: seconds(&self.created_at),
            latest_closed_at: seconds(&self.latest_ledger_close_time),
            fee_charged: result.fee_charged,
            envelope,
            events,
            nonces,
        })))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Events {
    events: Option<Vec<RawEvent>>,
    cursor: Option<String>,
    latest_ledger: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawEvent {
    ledger: u32,
    tx_hash: String,
    value: String,
    #[serde(default = "yes")]
    in_successful_contract_call: bool,
}

const fn yes() -> bool {
    true
}

impl Events {
    pub(super) fn read(self) -> Result<EventPage, Wrong> {
        let events = self.events.unwrap_or_default();
        let full = events.len() >= EventPage::LIMIT;
        let event = |event: RawEvent| {
            Ok(Event {
                ledger: event.ledger,
                transaction: event.tx_hash.parse().map_err(|_| "txHash")?,
                value: decode(&event.value).ok_or("value")?,
            })
        };
        Ok(EventPage {
            events: events
                .into_iter()
                .filter(|event| event.in_successful_contract_call)
                .map(event)
                .collect::<Result<_, Wrong>>()?,
            next: self.cursor.filter(|cursor| full && !cursor.is_empty()),
            latest: self.latest_ledger,
        })
    }
}

/// The base64 of a value's XDR.
pub(super) fn encode(value: &impl WriteXdr) -> String {
    let bytes =
        value.to_xdr(xdr::Limits::none()).expect("XDR of bounded lists is written without limits");
    STANDARD.encode(bytes)
}

/// A value from the base64 of its XDR, which it must fill.
pub(super) fn decode<T: ReadXdr>(text: &str) -> Option<T> {
    let bytes = STANDARD.decode(text).ok()?;
    let limits = xdr::Limits { depth: MAX_DEPTH, len: bytes.len() };
    T::from_xdr(bytes, limits).ok()
}

fn decode_all<T: ReadXdr>(texts: impl IntoIterator<Item = String>) -> Option<Vec<T>> {
    texts.into_iter().map(|text| decode(&text)).collect()
}

/// Unix seconds, which some methods tell as a number and some as text.
fn seconds(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

/// Whether the transaction succeeded, and its code: of a fee bump those of the transaction inside.
fn code(result: &xdr::TransactionResultResult) -> (bool, xdr::TransactionResultCode) {
    use xdr::TransactionResultResult as Outer;
    let code = match result {
        Outer::TxFeeBumpInnerSuccess(pair) | Outer::TxFeeBumpInnerFailed(pair) => {
            pair.result.result.discriminant()
        }
        result => result.discriminant(),
    };
    let bumped = !matches!(result, Outer::TxFeeBumpInnerFailed(_));
    (bumped && code == xdr::TransactionResultCode::TxSuccess, code)
}

/// The hashes by which a transaction is known: a fee bump by its own and by that of the transaction inside.
fn hashes(envelope: &xdr::TransactionEnvelope, network: Chain) -> [Option<[u8; 32]>; 2] {
    let inner = match envelope {
        xdr::TransactionEnvelope::TxFeeBump(bump) => match &bump.tx.inner_tx {
            xdr::FeeBumpTransactionInnerTx::Tx(inner) => inner.hash(network.id()).ok(),
        },
        _ => None,
    };
    [envelope.hash(network.id()).ok(), inner]
}

/// What a successful transaction did: the contract events it emitted, and the nonces it used up.
fn effects(meta: xdr::TransactionMeta) -> (Vec<xdr::ContractEvent>, Vec<(xdr::ScAddress, i64)>) {
    let (mut events, mut nonces) = (Vec::new(), Vec::new());
    match meta {
        xdr::TransactionMeta::V3(meta) => {
            events.extend(meta.soroban_meta.into_iter().flat_map(|meta| Vec::from(meta.events)));
            for operation in &*meta.operations {
                nonces.extend(used_nonces(&operation.changes));
            }
        }
        xdr::TransactionMeta::V4(meta) => {
            for operation in Vec::from(meta.operations) {
                nonces.extend(used_nonces(&operation.changes));
                events.extend(Vec::from(operation.events));
            }
        }
        _ => {}
    }
    events.retain(|event| event.type_ == xdr::ContractEventType::Contract);
    (events, nonces)
}

/// A nonce is used up by writing an entry under it, which nothing else ever does.
fn used_nonces(changes: &xdr::LedgerEntryChanges) -> impl Iterator<Item = (xdr::ScAddress, i64)> {
    changes.iter().filter_map(|change| {
        use xdr::LedgerEntryChange::{Created, Updated};
        let (Created(entry) | Updated(entry)) = change else { return None };
        let LedgerEntryData::ContractData(entry) = &entry.data else { return None };
        match &entry.key {
            xdr::ScVal::LedgerKeyNonce(key) => Some((entry.contract.clone(), key.nonce)),
            _ => None,
        }
    })
}

/// As deep as the host itself reads.
const MAX_DEPTH: u32 = 500;
