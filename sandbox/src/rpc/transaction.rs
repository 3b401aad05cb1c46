//! `sendTransaction`, `getTransaction`, `getTransactions`.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use stellar_xdr::{
    FeeBumpTransactionInnerTx, Hash, OperationBody, TransactionEnvelope, TransactionV1Envelope,
};

use super::message::{self, Error, Pagination};
use super::time::UnixText;
use super::view::View;
use super::xdr;
use crate::ledger::{Submission, TransactionRecord, TransactionStatus};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SendQuery {
    transaction: String,
    xdr_format: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Sent {
    status: &'static str,
    hash: String,
    latest_ledger: u32,
    latest_ledger_close_time: UnixText,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_result_xdr: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    diagnostic_events_xdr: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GetQuery {
    hash: String,
    #[serde(default)]
    min_ledger: u32,
    #[serde(default)]
    max_ledger: u32,
    xdr_format: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Got {
    status: &'static str,
    tx_hash: String,
    latest_ledger: u32,
    latest_ledger_close_time: UnixText,
    oldest_ledger: u32,
    oldest_ledger_close_time: UnixText,
    #[serde(flatten)]
    applied: Applied,
    /// 0 when it was not found.
    created_at: UnixText,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListQuery {
    #[serde(default)]
    start_ledger: u32,
    pagination: Option<Pagination>,
    xdr_format: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Listed {
    transactions: Vec<ListedTransaction>,
    latest_ledger: u32,
    latest_ledger_close_timestamp: u64,
    oldest_ledger: u32,
    oldest_ledger_close_timestamp: u64,
    cursor: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListedTransaction {
    status: &'static str,
    tx_hash: String,
    #[serde(flatten)]
    applied: Applied,
    /// A number here and a string in `getTransaction`, as on a real node.
    created_at: u64,
}

/// What is known of an applied transaction; of one that is not found, nought or left out, as on a real node.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Applied {
    application_order: u32,
    fee_bump: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    envelope_xdr: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    result_xdr: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    result_meta_xdr: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    diagnostic_events_xdr: Vec<String>,
    events: Events,
    ledger: u32,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Events {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    transaction_events_xdr: Vec<String>,
    /// By operation.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    contract_events_xdr: Vec<Vec<String>>,
}

pub(super) fn send(view: &View, query: SendQuery) -> Result<Sent, Error> {
    let envelope = submitted(&query)?;
    let (status, hash) = match view.ledger().submit(envelope) {
        Submission::Pending { hash } => ("PENDING", hash),
        Submission::Duplicate { hash } => ("DUPLICATE", hash),
        Submission::TryAgainLater { hash } => (TRY_AGAIN_LATER, hash),
        Submission::Error { hash, result, diagnostics } => {
            return Ok(Sent {
                error_result_xdr: Some(xdr::encode(result.as_ref())?),
                diagnostic_events_xdr: xdr::encode_all(&diagnostics)?,
                ..Sent::new(view, "ERROR", &hash)
            });
        }
    };
    Ok(Sent::new(view, status, &hash))
}

/// What `sendTransaction` answers when a fault makes the node refuse the transaction for now.
pub(super) fn try_again_later(view: &View, params: Option<Value>) -> Result<Value, Error> {
    let envelope = submitted(&message::params(params)?)?;
    let hash = envelope
        .hash(view.ledger().network_id().0)
        .map_err(|_| Error::invalid_params("invalid_hash"))?;
    message::result(Ok(Sent::new(view, TRY_AGAIN_LATER, &Hash(hash))))
}

pub(super) fn get(view: &View, query: GetQuery) -> Result<Got, Error> {
    xdr::only_base64(query.xdr_format.as_deref())?;
    let (min, max) = (query.min_ledger, query.max_ledger);
    if max != 0 && min > max {
        let error = format!("minLedger ({min}) must not exceed maxLedger ({max})");
        return Err(Error::invalid_params(error));
    }
    let hash = parse_hash(&query.hash)?;
    // Read before the ledger range: a transaction seen must be inside the range told.
    let latest =
        if max == 0 { view.latest_mark().sequence } else { max.min(view.latest_mark().sequence) };
    let record = view.transaction(&hash).filter(|record| (min..=latest).contains(&record.ledger));
    let (latest, oldest) = (view.latest_mark(), view.oldest_mark());
    Ok(Got {
        status: record.as_deref().map_or("NOT_FOUND", status),
        tx_hash: query.hash,
        latest_ledger: latest.sequence,
        latest_ledger_close_time: UnixText(latest.close_time),
        oldest_ledger: oldest.sequence,
        oldest_ledger_close_time: UnixText(oldest.close_time),
        created_at: UnixText(record.as_ref().map_or(0, |record| record.close_time)),
        applied: record.as_deref().map(applied).transpose()?.unwrap_or_default(),
    })
}

pub(super) fn list(view: &View, query: ListQuery) -> Result<Listed, Error> {
    xdr::only_base64(query.xdr_format.as_deref())?;
    let pagination = query.pagination.unwrap_or_default();
    let limit = pagination.limit.unwrap_or(LIST_DEFAULT);
    if limit == 0 || limit > LIST_MOST {
        return Err(Error::invalid_params(format!("limit must be between 1 and {LIST_MOST}")));
    }
    let (latest, oldest) = (view.latest_mark(), view.oldest_mark());
    // The cursor is the last transaction's place in all history: ledger and order of application (SEP-35).
    let after = match pagination.cursor {
        Some(_) if query.start_ledger != 0 => {
            return Err(Error::invalid_params("startLedger and cursor cannot both be set"));
        }
        Some(cursor) => {
            cursor.parse::<u64>().map_err(|_| Error::invalid_params("invalid cursor"))?
        }
        None => place(query.start_ledger, 0),
    };
    let first = u32::try_from(after.checked_shr(32).unwrap_or_default()).unwrap_or(u32::MAX);
    if !(oldest.sequence..=latest.sequence).contains(&first) {
        let range = format!("{} - {}", oldest.sequence, latest.sequence);
        let error =
            format!("start ledger must be between the oldest ledger and the latest: {range}");
        return Err(Error::invalid_request(error));
    }
    let found: Vec<_> = (first..=latest.sequence)
        .flat_map(|sequence| view.ledger().transactions_in(sequence))
        .filter(|record| place(record.ledger, record.application_order) > after)
        .take(limit)
        .collect();
    let cursor = found.last().map_or_else(
        || place(latest.sequence, 0).max(after),
        |record| place(record.ledger, record.application_order),
    );
    let listed = found.iter().map(|record| {
        Ok(ListedTransaction {
            status: status(record),
            tx_hash: hex::encode(record.hash.0),
            applied: applied(record)?,
            created_at: record.close_time,
        })
    });
    Ok(Listed {
        transactions: listed.collect::<Result<_, _>>()?,
        latest_ledger: latest.sequence,
        latest_ledger_close_timestamp: latest.close_time,
        oldest_ledger: oldest.sequence,
        oldest_ledger_close_timestamp: oldest.close_time,
        cursor: cursor.to_string(),
    })
}

/// Whether the transaction's operation is one of the three that Soroban has.
pub(super) fn is_soroban(envelope: &TransactionEnvelope) -> bool {
    let operations = match envelope {
        TransactionEnvelope::TxV0(_) => return false,
        TransactionEnvelope::Tx(TransactionV1Envelope { tx, .. }) => &tx.operations,
        TransactionEnvelope::TxFeeBump(bump) => {
            let FeeBumpTransactionInnerTx::Tx(inner) = &bump.tx.inner_tx;
            &inner.tx.operations
        }
    };
    operations.iter().any(|operation| {
        matches!(
            operation.body,
            OperationBody::InvokeHostFunction(_)
                | OperationBody::ExtendFootprintTtl(_)
                | OperationBody::RestoreFootprint(_)
        )
    })
}

impl Sent {
    fn new(view: &View, status: &'static str, hash: &Hash) -> Self {
        let latest = view.latest_mark();
        Self {
            status,
            hash: hex::encode(hash.0),
            latest_ledger: latest.sequence,
            latest_ledger_close_time: UnixText(latest.close_time),
            error_result_xdr: None,
            diagnostic_events_xdr: Vec::new(),
        }
    }
}

fn submitted(query: &SendQuery) -> Result<TransactionEnvelope, Error> {
    xdr::only_base64(query.xdr_format.as_deref())?;
    xdr::decode(&query.transaction).ok_or_else(|| Error::invalid_params("invalid_xdr"))
}

fn parse_hash(text: &str) -> Result<Hash, Error> {
    if text.len() != 64 {
        let error = format!("unexpected hash length ({})", text.len());
        return Err(Error::invalid_params(error));
    }
    let mut hash = [0; 32];
    hex::decode_to_slice(text, &mut hash)
        .map_err(|error| Error::invalid_params(format!("incorrect hash: {error}")))?;
    Ok(Hash(hash))
}

fn status(record: &TransactionRecord) -> &'static str {
    match record.status {
        TransactionStatus::Success => "SUCCESS",
        TransactionStatus::Failed => "FAILED",
    }
}

fn applied(record: &TransactionRecord) -> Result<Applied, Error> {
    let contract_events = record.contract_events.iter().map(xdr::encode_all);
    Ok(Applied {
        application_order: record.application_order,
        fee_bump: record.is_fee_bump(),
        envelope_xdr: xdr::encode(&record.envelope)?,
        result_xdr: xdr::encode(&record.result)?,
        result_meta_xdr: xdr::encode(&record.meta)?,
        diagnostic_events_xdr: xdr::encode_all(&record.diagnostics)?,
        events: Events {
            transaction_events_xdr: xdr::encode_all(&record.transaction_events)?,
            contract_events_xdr: contract_events.collect::<Result<_, _>>()?,
        },
        ledger: record.ledger,
    })
}

/// A transaction's place in all history. Source: SEP-35.
fn place(ledger: u32, application_order: u32) -> u64 {
    (u64::from(ledger) << 32) | (u64::from(application_order) << 12)
}

const TRY_AGAIN_LATER: &str = "TRY_AGAIN_LATER";
const LIST_DEFAULT: usize = 50;
const LIST_MOST: usize = 200;
