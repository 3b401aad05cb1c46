//! Calling, creating and uploading contracts, through the host in its enforcing mode.

use soroban_env_host::budget::Budget;
use soroban_env_host::e2e_invoke::{
    LedgerEntryChange, TtlLedgerEntryMeta, entry_size_for_rent, extract_rent_changes,
    invoke_host_function,
};
use soroban_env_host::fees::compute_rent_fee;
use soroban_env_host::ledger_info::get_key_durability;
use soroban_env_host::{Host, HostError};
use stellar_xdr::{
    ContractDataDurability, ContractEvent, ContractIdPreimage, HostFunction, InvokeHostFunctionOp,
    InvokeHostFunctionResult as Outcome, InvokeHostFunctionSuccessPreImage, LedgerEntry,
    LedgerEntryData, LedgerKey, Limits, ReadXdr, ScError, ScErrorCode, ScVal,
};

use super::resource::{archived, fees};
use super::{Effect, Scene};
use crate::ledger::classic::is_valid_asset;
use crate::ledger::event::diagnostic;
use crate::ledger::network::{
    MAX_ENTRY_BYTES_CODE, MAX_ENTRY_BYTES_DATA, MIN_PERSISTENT_TTL, Network, TX_MAX_EVENTS_BYTES,
    TX_MEMORY_LIMIT,
};
use crate::ledger::store::{Read, Working};
use crate::ledger::xdr::{count, encode, hash, list, sha256};

pub(super) fn check(operation: &InvokeHostFunctionOp) -> Option<Outcome> {
    let malformed = match &operation.host_function {
        HostFunction::UploadContractWasm(wasm) => count(wasm.len()) > MAX_ENTRY_BYTES_CODE,
        HostFunction::CreateContract(args) => names_bad_asset(&args.contract_id_preimage),
        HostFunction::CreateContractV2(args) => names_bad_asset(&args.contract_id_preimage),
        HostFunction::InvokeContract(_) => false,
    };
    malformed.then_some(Outcome::Malformed)
}

pub(super) fn apply(
    state: &mut Working,
    scene: &Scene<'_>,
    operation: &InvokeHostFunctionOp,
    effect: &mut Effect,
) -> Outcome {
    match run(state, scene, operation, effect) {
        Ok(done) => done,
        Err(failed) => {
            *effect = Effect {
                diagnostics: std::mem::take(&mut effect.diagnostics),
                ..Effect::default()
            };
            failed
        }
    }
}

fn run(
    state: &mut Working,
    scene: &Scene<'_>,
    operation: &InvokeHostFunctionOp,
    effect: &mut Effect,
) -> Result<Outcome, Outcome> {
    let resources = &scene.data.resources;
    let budget = budget(scene.network, u64::from(resources.instructions));
    let inputs = load(state, scene, effect)?;
    let auth: Vec<_> = operation.auth.iter().map(encode).collect();
    let source =
        scene.frame.tx.operations.first().map_or_else(
            || scene.frame.source(),
            |operation| scene.frame.operation_source(operation),
        );
    let invoked = invoke_host_function(
        &budget,
        true,
        encode(&operation.host_function),
        encode(resources),
        &inputs.restored,
        encode(&source),
        auth.into_iter(),
        scene.network.ledger_info(scene.header.sequence, scene.header.close_time),
        inputs.entries.into_iter(),
        seed(scene),
        &mut effect.diagnostics,
        None,
        Some(scene.modules.clone()),
    );
    let failure = |_: HostError| failure(&budget, resources.instructions);
    let invoked = invoked.map_err(failure)?;
    let value = invoked.encoded_invoke_result.map_err(failure)?;
    write(state, scene, &invoked.ledger_changes, effect)?;

    let events_size = invoked
        .encoded_contract_events
        .iter()
        .chain([&value])
        .fold(0_u32, |size, bytes| size.saturating_add(count(bytes.len())));
    if events_size > TX_MAX_EVENTS_BYTES {
        return Err(limit(
            effect,
            "total events size exceeds network config maximum",
            events_size,
            TX_MAX_EVENTS_BYTES,
        ));
    }
    let rent = compute_rent_fee(
        &extract_rent_changes(&invoked.ledger_changes),
        &scene.network.config.rent_fee_configuration,
        scene.header.sequence,
    );
    if !charge(scene, effect, events_size, rent) {
        return Err(Outcome::InsufficientRefundableFee);
    }
    let decoded = invoked
        .encoded_contract_events
        .iter()
        .map(|bytes| ContractEvent::from_xdr(bytes, Limits::none()))
        .collect::<Result<Vec<_>, _>>();
    let (Ok(events), Ok(return_value)) = (decoded, ScVal::from_xdr(&value, Limits::none())) else {
        return Err(Outcome::Trapped);
    };
    let image = InvokeHostFunctionSuccessPreImage {
        return_value: return_value.clone(),
        events: list(events.clone()),
    };
    effect.events = events;
    effect.return_value = Some(return_value);
    Ok(Outcome::Success(hash(&image)))
}

fn names_bad_asset(preimage: &ContractIdPreimage) -> bool {
    matches!(preimage, ContractIdPreimage::Asset(asset) if !is_valid_asset(asset))
}

/// What the host is given: the footprint's entries in its order, and which of them come back from the archive.
struct Inputs {
    entries: Vec<(Option<Vec<u8>>, Option<TtlLedgerEntryMeta>)>,
    restored: Vec<u32>,
}

fn load(state: &Working, scene: &Scene<'_>, effect: &mut Effect) -> Result<Inputs, Outcome> {
    let footprint = &scene.data.resources.footprint;
    let mut inputs = Inputs { entries: Vec::new(), restored: Vec::new() };
    let mut disk_read_bytes = 0_u32;
    let read_only = footprint.read_only.iter().map(|key| (None, key));
    let read_write = footprint.read_write.iter().enumerate();
    for (place, key) in read_only.chain(read_write.map(|(place, key)| (Some(count(place)), key))) {
        let Some(stored) = state.stored(key) else {
            inputs.entries.push((None, None));
            continue;
        };
        let durability = get_key_durability(key);
        let is_live = stored.is_live(scene.header.sequence);
        if !is_live && durability == Some(ContractDataDurability::Temporary) {
            inputs.entries.push((None, None));
            continue;
        }
        let bytes = encode(stored.entry.as_ref());
        let length = count(bytes.len());
        let mut live_until = stored.live_until;
        if !is_live {
            let listed = place.filter(|place| archived(scene.data).contains(place));
            let Some(place) = listed else {
                effect.diagnostics.push(diagnostic(
                    ScError::Storage(ScErrorCode::InvalidInput),
                    "trying to access an archived contract entry that the transaction does not restore",
                    &[],
                ));
                return Err(Outcome::EntryArchived);
            };
            inputs.restored.push(place);
            live_until = Some(restored_until(scene.header.sequence));
        }
        if !is_live || durability.is_none() {
            disk_read_bytes = disk_read_bytes.saturating_add(length);
            let declared = scene.data.resources.disk_read_bytes;
            if disk_read_bytes > declared {
                return Err(limit(
                    effect,
                    "operation byte-read resources exceeds amount specified",
                    disk_read_bytes,
                    declared,
                ));
            }
        }
        let ttl = live_until.map(|live_until_ledger| TtlLedgerEntryMeta {
            live_until_ledger,
            entry_size_for_rent: rent_size(scene.network, &stored.entry, length),
        });
        inputs.entries.push((Some(bytes), ttl));
    }
    Ok(inputs)
}

fn write(
    state: &mut Working,
    scene: &Scene<'_>,
    changes: &[LedgerEntryChange],
    effect: &mut Effect,
) -> Result<(), Outcome> {
    let mut write_bytes = 0_u32;
    for change in changes {
        let Ok(key) = LedgerKey::from_xdr(&change.encoded_key, Limits::none()) else {
            return Err(Outcome::Trapped);
        };
        let live_until = change.ttl_change.as_ref().map(|ttl| ttl.new_live_until_ledger);
        if change.read_only {
            if let Some(ttl) = &change.ttl_change
                && ttl.new_live_until_ledger > ttl.old_live_until_ledger
            {
                state.set_live_until(&key, ttl.new_live_until_ledger);
            }
            continue;
        }
        let Some(bytes) = &change.encoded_new_value else {
            if state.stored(&key).is_some() {
                state.remove(&key);
            }
            continue;
        };
        let length = count(bytes.len());
        let most = max_entry_bytes(&key);
        if length > most {
            return Err(limit(effect, "entry size exceeds network config maximum", length, most));
        }
        write_bytes = write_bytes.saturating_add(length);
        let declared = scene.data.resources.write_bytes;
        if write_bytes > declared {
            return Err(limit(
                effect,
                "operation byte-write resources exceeds amount specified",
                write_bytes,
                declared,
            ));
        }
        let Ok(entry) = LedgerEntry::from_xdr(bytes, Limits::none()) else {
            return Err(Outcome::Trapped);
        };
        if let LedgerEntryData::ContractCode(code) = &entry.data {
            remember_module(scene, &code.code);
        }
        state.put(entry.data, live_until);
    }
    Ok(())
}

/// Takes events and rent out of the refundable fee; `false` if it does not suffice.
pub(super) fn charge(scene: &Scene<'_>, effect: &mut Effect, events_size: u32, rent: i64) -> bool {
    let (non_refundable, events_fee) = fees(scene.frame, scene.data, scene.network, events_size);
    let refundable = scene.data.resource_fee.saturating_sub(non_refundable);
    let spent = events_fee.saturating_add(rent);
    if spent > refundable {
        effect.diagnostics.push(diagnostic(
            ScError::Budget(ScErrorCode::ExceededLimit),
            "refundable resource fee was not sufficient to cover events and rent",
            &[refundable.unsigned_abs(), spent.unsigned_abs()],
        ));
        return false;
    }
    effect.refundable_fee = spent;
    effect.rent_fee = rent;
    true
}

/// The size of an entry as rent counts it: code counts with what it takes in memory.
pub(super) fn rent_size(network: &Network, entry: &LedgerEntry, length: u32) -> u32 {
    match &entry.data {
        LedgerEntryData::ContractCode(_) => {
            entry_size_for_rent(&budget(network, u64::MAX), entry, length).unwrap_or(length)
        }
        _ => length,
    }
}

/// The last ledger of an entry that is restored in ledger `sequence`.
pub(super) fn restored_until(sequence: u32) -> u32 {
    sequence.saturating_add(MIN_PERSISTENT_TTL.saturating_sub(1))
}

/// How large an entry may be.
pub(super) fn max_entry_bytes(key: &LedgerKey) -> u32 {
    match key {
        LedgerKey::ContractCode(_) => MAX_ENTRY_BYTES_CODE,
        LedgerKey::ContractData(_) => MAX_ENTRY_BYTES_DATA,
        _ => u32::MAX,
    }
}

/// Notes in the diagnostics that a declared resource did not suffice.
fn limit(effect: &mut Effect, message: &str, used: u32, declared: u32) -> Outcome {
    effect.diagnostics.push(diagnostic(
        ScError::Budget(ScErrorCode::ExceededLimit),
        message,
        &[used.into(), declared.into()],
    ));
    Outcome::ResourceLimitExceeded
}

/// Why the host stopped: out of what was declared, or for a reason of its own.
fn failure(budget: &Budget, instructions: u32) -> Outcome {
    let cpu = budget.get_cpu_insns_consumed().unwrap_or(0);
    let memory = budget.get_mem_bytes_consumed().unwrap_or(0);
    if cpu > u64::from(instructions) || memory > u64::from(TX_MEMORY_LIMIT) {
        Outcome::ResourceLimitExceeded
    } else {
        Outcome::Trapped
    }
}

fn budget(network: &Network, instructions: u64) -> Budget {
    let memory = u64::from(TX_MEMORY_LIMIT);
    Budget::try_from_configs_with_shadow_limits(
        instructions,
        memory,
        instructions.saturating_mul(10),
        memory.saturating_mul(2),
        network.config.cpu_cost_params.clone(),
        network.config.memory_cost_params.clone(),
    )
    .expect("the cost table has every kind of work that the host knows")
}

/// The seed of the contract's randomness: the transaction and the ledger, so that a test can be repeated.
fn seed(scene: &Scene<'_>) -> Vec<u8> {
    let mut bytes = scene.frame.hash.0.to_vec();
    bytes.extend(scene.header.sequence.to_be_bytes());
    sha256(&bytes).0.to_vec()
}

/// Compiles uploaded code once. Calls find it here: the host meters them as if it were cached, and fails if it is not.
fn remember_module(scene: &Scene<'_>, wasm: &[u8]) {
    let budget = budget(scene.network, u64::MAX);
    let host = Host::with_storage_and_budget(Default::default(), budget);
    let protocol = crate::ledger::PROTOCOL_VERSION;
    if let Err(error) = scene.modules.parse_and_cache_module_simple(&host, protocol, wasm) {
        tracing::warn!(?error, "uploaded code cannot be compiled");
    }
}
