//! The methods that only read: health, network, latest ledger, entries, fees.

use serde::{Deserialize, Serialize};
use stellar_xdr::{LedgerEntryType, LedgerKey};

use super::message::Error;
use super::time::UnixText;
use super::view::View;
use super::xdr;
use crate::ledger::PROTOCOL_VERSION;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Health {
    status: &'static str,
    latest_ledger: u32,
    latest_ledger_close_time: u64,
    oldest_ledger: u32,
    oldest_ledger_close_time: u64,
    ledger_retention_window: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Network<'a> {
    friendbot_url: &'a str,
    passphrase: &'a str,
    protocol_version: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct VersionInfo {
    version: &'static str,
    commit_hash: &'static str,
    build_timestamp: &'static str,
    captive_core_version: &'static str,
    protocol_version: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LatestLedger {
    id: String,
    protocol_version: u32,
    sequence: u32,
    close_time: UnixText,
    header_xdr: String,
    metadata_xdr: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EntriesQuery {
    keys: Vec<String>,
    xdr_format: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entries {
    entries: Vec<Entry>,
    latest_ledger: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    key: String,
    /// The entry's data alone, without the ledger that last changed it.
    xdr: String,
    ext_xdr: String,
    last_modified_ledger_seq: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    live_until_ledger_seq: Option<u32>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FeeStats {
    soroban_inclusion_fee: FeeDistribution,
    inclusion_fee: FeeDistribution,
    latest_ledger: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FeeDistribution {
    max: String,
    min: String,
    mode: String,
    p10: String,
    p20: String,
    p30: String,
    p40: String,
    p50: String,
    p60: String,
    p70: String,
    p80: String,
    p90: String,
    p95: String,
    p99: String,
    transaction_count: String,
    ledger_count: u32,
}

pub(super) fn health(view: &View) -> Result<Health, Error> {
    let (latest, oldest) = (view.latest_mark(), view.oldest_mark());
    Ok(Health {
        status: "healthy",
        latest_ledger: latest.sequence,
        latest_ledger_close_time: latest.close_time,
        oldest_ledger: oldest.sequence,
        oldest_ledger_close_time: oldest.close_time,
        ledger_retention_window: latest.sequence.saturating_sub(oldest.sequence).saturating_add(1),
    })
}

pub(super) fn network<'a>(view: &'a View, friendbot: &'a str) -> Result<Network<'a>, Error> {
    Ok(Network {
        friendbot_url: friendbot,
        passphrase: view.ledger().passphrase(),
        protocol_version: PROTOCOL_VERSION,
    })
}

pub(super) fn version_info() -> Result<VersionInfo, Error> {
    Ok(VersionInfo {
        version: concat!("tollgate-sandbox ", env!("CARGO_PKG_VERSION")),
        commit_hash: "",
        build_timestamp: "",
        captive_core_version: "none: soroban-env-host in process",
        protocol_version: PROTOCOL_VERSION,
    })
}

pub(super) fn latest_ledger(view: &View) -> Result<LatestLedger, Error> {
    let ledger = view.snapshot().ledger();
    Ok(LatestLedger {
        id: hex::encode(ledger.hash.0),
        protocol_version: PROTOCOL_VERSION,
        sequence: ledger.sequence,
        close_time: UnixText(ledger.close_time),
        header_xdr: xdr::encode(&ledger.header)?,
        metadata_xdr: xdr::encode(&ledger.meta)?,
    })
}

pub(super) fn ledger_entries(view: &View, query: EntriesQuery) -> Result<Entries, Error> {
    xdr::only_base64(query.xdr_format.as_deref())?;
    if query.keys.len() > KEYS {
        return Err(Error::invalid_params(format!(
            "key count ({}) exceeds maximum supported ({KEYS})",
            query.keys.len()
        )));
    }
    let keys = query
        .keys
        .iter()
        .enumerate()
        .map(|(index, text)| parse_key(index, text))
        .collect::<Result<Vec<_>, _>>()?;
    let entries = view.snapshot().entries(&keys).into_iter().map(|found| {
        Ok(Entry {
            key: xdr::encode(&found.key)?,
            xdr: xdr::encode(&found.entry.data)?,
            ext_xdr: xdr::encode(&found.entry.ext)?,
            last_modified_ledger_seq: found.entry.last_modified_ledger_seq,
            live_until_ledger_seq: found.live_until,
        })
    });
    Ok(Entries {
        entries: entries.collect::<Result<_, _>>()?,
        latest_ledger: view.latest_mark().sequence,
    })
}

/// The fees to bid. Nobody outbids anybody here, so that every percentile is the network's base fee.
pub(super) fn fee_stats(view: &View) -> Result<FeeStats, Error> {
    let latest = view.latest_mark().sequence;
    let first = latest.saturating_sub(FEE_LEDGERS).max(view.oldest_mark().sequence);
    let records = || (first..=latest).flat_map(|sequence| view.ledger().transactions_in(sequence));
    let base_fee = view.snapshot().ledger().header.base_fee;
    let soroban =
        records().filter(|record| super::transaction::is_soroban(&record.envelope)).count();
    let classic = records().count().saturating_sub(soroban);
    let ledgers = latest.saturating_sub(first).saturating_add(1);
    Ok(FeeStats {
        soroban_inclusion_fee: FeeDistribution::flat(base_fee, soroban, ledgers),
        inclusion_fee: FeeDistribution::flat(base_fee, classic, ledgers),
        latest_ledger: latest,
    })
}

impl FeeDistribution {
    fn flat(fee: u32, transactions: usize, ledgers: u32) -> Self {
        let fee = || fee.to_string();
        Self {
            max: fee(),
            min: fee(),
            mode: fee(),
            p10: fee(),
            p20: fee(),
            p30: fee(),
            p40: fee(),
            p50: fee(),
            p60: fee(),
            p70: fee(),
            p80: fee(),
            p90: fee(),
            p95: fee(),
            p99: fee(),
            transaction_count: transactions.to_string(),
            ledger_count: ledgers,
        }
    }
}

fn parse_key(index: usize, text: &str) -> Result<LedgerKey, Error> {
    let key: LedgerKey = xdr::decode(text).ok_or_else(|| {
        Error::invalid_params(format!("cannot unmarshal key value {text} at index {index}"))
    })?;
    if key.discriminant() == LedgerEntryType::Ttl {
        return Err(Error::invalid_params("ledger ttl entries cannot be queried directly"));
    }
    Ok(key)
}

/// The keys that one call may ask for, as on a real node.
const KEYS: usize = 200;

/// The ledgers that the fee statistics look back over.
const FEE_LEDGERS: u32 = 49;
