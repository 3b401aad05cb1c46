//! The resources that a contract transaction declares: whether they fit the network, and what they cost.

use soroban_env_host::fees::{TransactionResources, compute_transaction_resource_fee};
use soroban_env_host::ledger_info::get_key_durability;
use stellar_xdr::{
    ContractDataDurability, DiagnosticEvent, LedgerKey, Memo, MuxedAccount, OperationBody, ScError,
    ScErrorCode, SorobanCredentials, SorobanTransactionData, SorobanTransactionDataExt,
};

use crate::ledger::event::diagnostic;
use crate::ledger::frame::Frame;
use crate::ledger::network::{
    MAX_KEY_BYTES, Network, TX_MAX_BYTES, TX_MAX_DISK_READ_BYTES, TX_MAX_DISK_READ_ENTRIES,
    TX_MAX_FOOTPRINT_ENTRIES, TX_MAX_INSTRUCTIONS, TX_MAX_WRITE_BYTES, TX_MAX_WRITE_ENTRIES,
};
use crate::ledger::xdr::{count, size};

/// What the declared resources cost, in stroops: what is spent in any case, and what the events cost of the rest.
pub(in crate::ledger) fn fees(
    frame: &Frame,
    data: &SorobanTransactionData,
    network: &Network,
    events_size: u32,
) -> (i64, i64) {
    let resources = TransactionResources {
        instructions: data.resources.instructions,
        disk_read_entries: disk_reads(frame, data),
        write_entries: count(data.resources.footprint.read_write.len()),
        disk_read_bytes: data.resources.disk_read_bytes,
        write_bytes: data.resources.write_bytes,
        contract_events_size_bytes: events_size,
        transaction_size_bytes: frame.size,
    };
    compute_transaction_resource_fee(&resources, &network.config.fee_configuration)
}

/// Refuses resources that the network does not give, or that are not paid for, and says which.
pub(in crate::ledger) fn check(
    frame: &Frame,
    data: &SorobanTransactionData,
    network: &Network,
) -> Result<(), Box<DiagnosticEvent>> {
    let budget = ScError::Budget(ScErrorCode::ExceededLimit);
    let storage = ScError::Storage(ScErrorCode::ExceededLimit);
    let footprint = &data.resources.footprint;
    let entries = footprint.read_only.len().saturating_add(footprint.read_write.len());
    let limits = [
        (
            budget.clone(),
            "transaction instructions resources exceed network config limit",
            data.resources.instructions,
            TX_MAX_INSTRUCTIONS,
        ),
        (
            storage.clone(),
            "transaction byte-read resources exceed network config limit",
            data.resources.disk_read_bytes,
            TX_MAX_DISK_READ_BYTES,
        ),
        (
            storage.clone(),
            "transaction byte-write resources exceed network config limit",
            data.resources.write_bytes,
            TX_MAX_WRITE_BYTES,
        ),
        (
            storage.clone(),
            "the number of entries in transaction footprint exceeds the network config limit",
            count(entries),
            TX_MAX_FOOTPRINT_ENTRIES,
        ),
        (
            storage.clone(),
            "transaction entry-disk-read resources exceed network config limit",
            disk_reads(frame, data),
            TX_MAX_DISK_READ_ENTRIES,
        ),
        (
            storage,
            "transaction entry-write resources exceed network config limit",
            count(footprint.read_write.len()),
            TX_MAX_WRITE_ENTRIES,
        ),
        (budget, "total transaction size exceeds network config limit", frame.size, TX_MAX_BYTES),
    ];
    for (error, message, asked, limit) in limits {
        if asked > limit {
            return refuse(error, message, &[asked.into(), limit.into()]);
        }
    }
    check_keys(data)?;
    check_archived(data)?;
    check_memo(frame)?;
    check_fee(frame, data, network)
}

fn check_keys(data: &SorobanTransactionData) -> Result<(), Box<DiagnosticEvent>> {
    let footprint = &data.resources.footprint;
    let mut keys: Vec<_> = footprint.read_only.iter().chain(footprint.read_write.iter()).collect();
    for key in &keys {
        match key {
            LedgerKey::Account(_)
            | LedgerKey::Trustline(_)
            | LedgerKey::ContractData(_)
            | LedgerKey::ContractCode(_) => {}
            _ => {
                return refuse(
                    ScError::Storage(ScErrorCode::UnexpectedType),
                    "transaction footprint contains unsupported ledger key type",
                    &[],
                );
            }
        }
        let bytes = size(*key);
        if bytes > MAX_KEY_BYTES {
            return refuse(
                ScError::Storage(ScErrorCode::ExceededLimit),
                "transaction footprint key exceeds network config limit",
                &[bytes.into(), MAX_KEY_BYTES.into()],
            );
        }
    }
    keys.sort();
    let entries = keys.len();
    keys.dedup();
    if keys.len() < entries {
        return refuse(
            ScError::Storage(ScErrorCode::InvalidInput),
            "Found duplicate key in the Soroban footprint; every key across read-only and read-write footprints has \
             to be unique.",
            &[],
        );
    }
    Ok(())
}

/// The entries to restore must be named in order, and be persistent entries of the read-write footprint.
fn check_archived(data: &SorobanTransactionData) -> Result<(), Box<DiagnosticEvent>> {
    let error = ScError::Storage(ScErrorCode::InvalidInput);
    let mut last = None;
    for index in archived(data) {
        if last.is_some_and(|last| *index <= last) {
            return refuse(error, "archivedSorobanEntries must be sorted in ascending order", &[]);
        }
        last = Some(*index);
        let key = usize::try_from(*index)
            .ok()
            .and_then(|index| data.resources.footprint.read_write.get(index));
        let Some(key) = key else {
            return refuse(
                error,
                "archivedSorobanEntries index is out of bounds",
                &[(*index).into()],
            );
        };
        if get_key_durability(key) != Some(ContractDataDurability::Persistent) {
            return refuse(
                error,
                "archivedSorobanEntries index points to a non-persistent entry",
                &[(*index).into()],
            );
        }
    }
    Ok(())
}

/// Whoever authorizes by entry does not sign the memo or the multiplexed source, so these must not be there.
fn check_memo(frame: &Frame) -> Result<(), Box<DiagnosticEvent>> {
    let Some(operation) = frame.tx.operations.first() else { return Ok(()) };
    let OperationBody::InvokeHostFunction(invoke) = &operation.body else { return Ok(()) };
    let is_muxed = |account: &MuxedAccount| matches!(account, MuxedAccount::MuxedEd25519(_));
    let marked = frame.tx.memo != Memo::None
        || is_muxed(&frame.tx.source_account)
        || operation.source_account.as_ref().is_some_and(is_muxed);
    let by_entry =
        invoke.auth.iter().any(|entry| entry.credentials != SorobanCredentials::SourceAccount);
    if marked && by_entry {
        return refuse(
            ScError::Auth(ScErrorCode::InvalidInput),
            "non-source auth Soroban transactions may not use memos or muxed source accounts",
            &[],
        );
    }
    Ok(())
}

fn check_fee(
    frame: &Frame,
    data: &SorobanTransactionData,
    network: &Network,
) -> Result<(), Box<DiagnosticEvent>> {
    let error = ScError::Storage(ScErrorCode::ExceededLimit);
    let declared = data.resource_fee;
    // A fee bump pays for both, so there the outer fee counts.
    let full = frame.full_fee();
    if declared > full {
        return refuse(
            error,
            "transaction `sorobanData.resourceFee` is higher than the full transaction fee",
            &[declared.unsigned_abs(), full.unsigned_abs()],
        );
    }
    let (non_refundable, _) = fees(frame, data, network, 0);
    if declared < non_refundable {
        return refuse(
            error,
            "transaction `sorobanData.resourceFee` is lower than the actual Soroban resource fee",
            &[declared.unsigned_abs(), non_refundable.unsigned_abs()],
        );
    }
    Ok(())
}

/// The places, in the read-write footprint, of entries that the transaction restores.
pub(super) fn archived(data: &SorobanTransactionData) -> &[u32] {
    match &data.ext {
        SorobanTransactionDataExt::V0 => &[],
        SorobanTransactionDataExt::V1(ext) => ext.archived_soroban_entries.as_slice(),
    }
}

/// Entries that are read from disk: classic ones, archived ones, and all that a restore names.
fn disk_reads(frame: &Frame, data: &SorobanTransactionData) -> u32 {
    let footprint = &data.resources.footprint;
    let restores = frame
        .tx
        .operations
        .first()
        .is_some_and(|operation| matches!(operation.body, OperationBody::RestoreFootprint(_)));
    if restores {
        return count(footprint.read_write.len());
    }
    let keys = footprint.read_only.iter().chain(footprint.read_write.iter());
    let classic = keys.filter(|key| get_key_durability(key).is_none()).count();
    count(classic.saturating_add(archived(data).len()))
}

fn refuse(error: ScError, message: &str, numbers: &[u64]) -> Result<(), Box<DiagnosticEvent>> {
    Err(Box::new(diagnostic(error, message, numbers)))
}
