//! Extending the life of contract entries, and bringing them back from the archive.

use soroban_env_host::fees::{LedgerEntryRentChange, compute_rent_fee};
use soroban_env_host::ledger_info::get_key_durability;
use stellar_xdr::{
    ContractDataDurability, DiagnosticEvent, ExtendFootprintTtlOp, ExtendFootprintTtlResult,
    LedgerKey, RestoreFootprintResult, ScError, ScErrorCode, SorobanTransactionData,
};

use super::invoke::{charge, max_entry_bytes, rent_size, restored_until};
use super::{Effect, Scene};
use crate::ledger::event::diagnostic;
use crate::ledger::network::MAX_ENTRY_TTL;
use crate::ledger::store::{Read, Stored, Working};
use crate::ledger::xdr::size;

pub(super) fn check_extend(
    operation: &ExtendFootprintTtlOp,
    data: &SorobanTransactionData,
) -> Option<ExtendFootprintTtlResult> {
    let footprint = &data.resources.footprint;
    let sound = footprint.read_write.is_empty()
        && footprint.read_only.iter().all(|key| get_key_durability(key).is_some())
        && operation.extend_to < MAX_ENTRY_TTL;
    (!sound).then_some(ExtendFootprintTtlResult::Malformed)
}

/// Makes the read-only entries live at least `extend_to` ledgers more. Archived and missing ones are passed over.
pub(super) fn extend(
    state: &mut Working,
    scene: &Scene<'_>,
    operation: &ExtendFootprintTtlOp,
    effect: &mut Effect,
) -> ExtendFootprintTtlResult {
    let sequence = scene.header.sequence;
    let until = sequence.saturating_add(operation.extend_to);
    let mut rents = Vec::new();
    for key in scene.data.resources.footprint.read_only.iter() {
        let Some(stored) = state.stored(key).filter(|stored| stored.is_live(sequence)) else {
            continue;
        };
        let Some(old) = stored.live_until.filter(|old| *old < until) else { continue };
        let size = rent_size(scene.network, &stored.entry, size(stored.entry.as_ref()));
        rents.push(rent_change(key, size, size, old, until));
        state.set_live_until(key, until);
    }
    if charge_rent(scene, effect, &rents) {
        ExtendFootprintTtlResult::Success
    } else {
        ExtendFootprintTtlResult::InsufficientRefundableFee
    }
}

pub(super) fn check_restore(data: &SorobanTransactionData) -> Option<RestoreFootprintResult> {
    let footprint = &data.resources.footprint;
    let sound = footprint.read_only.is_empty()
        && footprint
            .read_write
            .iter()
            .all(|key| get_key_durability(key) == Some(ContractDataDurability::Persistent));
    (!sound).then_some(RestoreFootprintResult::Malformed)
}

/// Brings the archived entries of the read-write footprint back. Live and missing ones are passed over.
pub(super) fn restore(
    state: &mut Working,
    scene: &Scene<'_>,
    effect: &mut Effect,
) -> RestoreFootprintResult {
    let until = restored_until(scene.header.sequence);
    let resources = &scene.data.resources;
    let mut rents = Vec::new();
    let mut bytes = 0_u32;
    for key in resources.footprint.read_write.iter() {
        let archived = |stored: &&Stored| !stored.is_live(scene.header.sequence);
        let Some(stored) = state.stored(key).filter(archived) else { continue };
        let length = size(stored.entry.as_ref());
        bytes = bytes.saturating_add(length);
        // Every byte restored is read once and written once.
        let declared = resources.disk_read_bytes.min(resources.write_bytes);
        if bytes > declared || length > max_entry_bytes(key) {
            effect.diagnostics.push(exceeded(bytes, declared));
            return RestoreFootprintResult::ResourceLimitExceeded;
        }
        let size = rent_size(scene.network, &stored.entry, length);
        rents.push(rent_change(key, 0, size, 0, until));
        state.set_live_until(key, until);
    }
    if charge_rent(scene, effect, &rents) {
        RestoreFootprintResult::Success
    } else {
        RestoreFootprintResult::InsufficientRefundableFee
    }
}

fn charge_rent(scene: &Scene<'_>, effect: &mut Effect, rents: &[LedgerEntryRentChange]) -> bool {
    let config = &scene.network.config.rent_fee_configuration;
    let rent = compute_rent_fee(rents, config, scene.header.sequence);
    charge(scene, effect, 0, rent)
}

fn rent_change(
    key: &LedgerKey,
    old_size_bytes: u32,
    new_size_bytes: u32,
    old_live_until_ledger: u32,
    new_live_until_ledger: u32,
) -> LedgerEntryRentChange {
    LedgerEntryRentChange {
        is_persistent: get_key_durability(key) == Some(ContractDataDurability::Persistent),
        is_code_entry: matches!(key, LedgerKey::ContractCode(_)),
        old_size_bytes,
        new_size_bytes,
        old_live_until_ledger,
        new_live_until_ledger,
    }
}

fn exceeded(used: u32, declared: u32) -> DiagnosticEvent {
    diagnostic(
        ScError::Budget(ScErrorCode::ExceededLimit),
        "operation byte-read or byte-write resources exceeds amount specified",
        &[used.into(), declared.into()],
    )
}
