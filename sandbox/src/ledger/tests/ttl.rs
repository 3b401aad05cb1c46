//! Contract entries live for a time, are archived, extended and restored.

use stellar_xdr::{
    ExtendFootprintTtlOp, ExtensionPoint, LedgerEntryChange, LedgerFootprint, LedgerKey, Operation,
    OperationBody, RestoreFootprintOp, SorobanResources, SorobanTransactionData,
    SorobanTransactionDataExt, Transaction, TransactionExt, TransactionMeta,
};

use super::kit::*;
use crate::ledger::xdr::list;
use crate::ledger::{SimulateOptions, account};

/// The instance of the USDC contract.
fn instance() -> LedgerKey {
    LedgerKey::ContractData(stellar_xdr::LedgerKeyContractData {
        contract: usdc_contract(),
        key: stellar_xdr::ScVal::LedgerKeyContractInstance,
        durability: stellar_xdr::ContractDataDurability::Persistent,
    })
}

fn live_until(world: &World) -> u32 {
    world.ledger.entries(&[instance()])[0].live_until.unwrap()
}

/// A world in which the USDC contract has been archived.
fn archived() -> World {
    let world = World::with_usdc(&[&key(1), &key(2)]);
    world.jump(live_until(&world) + 1);
    world
}

fn footprint_only(world: &World, body: OperationBody, keys: &[LedgerKey]) -> Transaction {
    let restores = matches!(body, OperationBody::RestoreFootprint(_));
    let keys = list(keys.to_vec());
    let none = list(Vec::new());
    let (read_only, read_write) = if restores { (none, keys) } else { (keys, none) };
    let operation = Operation { source_account: None, body };
    let mut tx = world.tx(&key(1), vec![operation]);
    tx.ext = TransactionExt::V1(SorobanTransactionData {
        ext: SorobanTransactionDataExt::V0,
        resources: SorobanResources {
            footprint: LedgerFootprint { read_only, read_write },
            instructions: 0,
            disk_read_bytes: 0,
            write_bytes: 0,
        },
        resource_fee: 0,
    });
    tx
}

fn restore() -> OperationBody {
    OperationBody::RestoreFootprint(RestoreFootprintOp { ext: ExtensionPoint::V0 })
}

fn extend(extend_to: u32) -> OperationBody {
    OperationBody::ExtendFootprintTtl(ExtendFootprintTtlOp { ext: ExtensionPoint::V0, extend_to })
}

#[test]
fn a_new_persistent_entry_lives_as_long_as_the_network_says() {
    let world = World::with_usdc(&[]);
    let deployed_in = world.ledger.latest().sequence;
    assert_eq!(live_until(&world), deployed_in + 120_960 - 1);
}

#[test]
fn life_is_extended_for_a_rent() {
    let world = World::with_usdc(&[&key(1)]);
    let tx = world.prepare(footprint_only(&world, extend(200_000), &[instance()]));
    let record = world.apply(world.sign(tx, &[&key(1)]));
    assert_eq!(live_until(&world), record.ledger + 200_000);
    assert!(record.result.fee_charged > 1000);
    let again = world.prepare(footprint_only(&world, extend(1000), &[instance()]));
    let cheap = world.apply(world.sign(again, &[&key(1)]));
    assert_eq!(live_until(&world), record.ledger + 200_000);
    assert!(cheap.result.fee_charged < record.result.fee_charged);
}

#[test]
fn life_is_not_extended_beyond_the_limit_or_for_classic_entries() {
    let world = World::with_usdc(&[&key(1)]);
    let sound = world.prepare(footprint_only(&world, extend(1000), &[instance()]));
    let with = |keys: Vec<LedgerKey>, extend_to| {
        let mut tx = sound.clone();
        let TransactionExt::V1(data) = &mut tx.ext else { panic!("contract data") };
        data.resources.footprint.read_only = list(keys);
        data.resource_fee += 10_000;
        tx.fee += 10_000;
        let body = extend(extend_to);
        tx.operations = list(vec![Operation { source_account: None, body }]);
        words(&world.refused(world.sign(tx, &[&key(1)])))
    };
    let malformed = "TxFailed(ExtendFootprintTtl(Malformed))";
    assert_eq!(with(vec![instance()], 3_110_400), malformed);
    assert_eq!(with(vec![account::key(&id(&key(1)))], 1000), malformed);
    world.apply(world.sign(sound, &[&key(1)]));
}

#[test]
fn a_call_that_names_what_it_restores_succeeds() {
    let (ann, bob) = (key(1), key(2));
    let world = archived();
    let tx = world.prepare(world.tx(&ann, vec![transfer(&ann, &bob, 5)]));
    let TransactionExt::V1(data) = &tx.ext else { panic!("contract data") };
    assert!(matches!(data.ext, SorobanTransactionDataExt::V1(_)), "the simulation names it");
    let record = world.apply(world.sign(tx, &[&ann]));
    assert_eq!(world.usdc_of(&id(&bob)), 1000 * XLM + 5);
    assert_eq!(live_until(&world), record.ledger + 120_960 - 1);
    let TransactionMeta::V4(meta) = &record.meta else { panic!("the fourth version") };
    let restored = |change: &&LedgerEntryChange| matches!(change, LedgerEntryChange::Restored(_));
    assert_eq!(meta.operations[0].changes.0.iter().filter(restored).count(), 2);
}

#[test]
fn a_call_that_does_not_name_an_archived_entry_fails() {
    let (ann, bob) = (key(1), key(2));
    let world = archived();
    let mut tx = world.prepare(world.tx(&ann, vec![transfer(&ann, &bob, 5)]));
    let TransactionExt::V1(data) = &mut tx.ext else { panic!("contract data") };
    data.ext = SorobanTransactionDataExt::V0;
    let record = world.run(world.sign(tx, &[&ann]));
    assert_eq!(words(&record.result), "TxFailed(InvokeHostFunction(EntryArchived))");
    assert_eq!(world.usdc_of(&id(&bob)), 1000 * XLM);
}

#[test]
fn an_archived_entry_is_restored_by_its_own_operation() {
    let (ann, bob) = (key(1), key(2));
    let world = archived();
    let tx = world.prepare(footprint_only(&world, restore(), &[instance()]));
    let record = world.apply(world.sign(tx, &[&ann]));
    assert_eq!(live_until(&world), record.ledger + 120_960 - 1);
    let tx = world.prepare(world.tx(&ann, vec![transfer(&ann, &bob, 5)]));
    let TransactionExt::V1(data) = &tx.ext else { panic!("contract data") };
    assert_eq!(data.ext, SorobanTransactionDataExt::V0);
    world.apply(world.sign(tx, &[&ann]));
}

#[test]
fn a_restore_pays_its_rent_or_fails() {
    let world = archived();
    let mut tx = world.prepare(footprint_only(&world, restore(), &[instance()]));
    let TransactionExt::V1(data) = &mut tx.ext else { panic!("contract data") };
    data.resource_fee /= 2;
    let record = world.run(world.sign(tx, &[&key(1)]));
    let expected = "TxFailed(RestoreFootprint(InsufficientRefundableFee))";
    assert_eq!(words(&record.result), expected);
    assert!(live_until(&world) < record.ledger);
}

#[test]
fn extending_what_is_archived_asks_for_a_restore_first() {
    let world = archived();
    let tx = footprint_only(&world, extend(200_000), &[instance()]);
    let found = world.ledger.simulate(&world.sign(tx, &[]), SimulateOptions::default()).unwrap();
    let preamble = found.restore_preamble.expect("a preamble");
    let footprint = &preamble.transaction_data.resources.footprint;
    assert_eq!(footprint.read_write.as_slice(), [instance()]);
    assert!(preamble.min_resource_fee > 0);
}
