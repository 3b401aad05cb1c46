//! Contracts: the USDC contract with real authorization, its refusals, and what it costs.

use stellar_xdr::{
    ContractDataDurability, ContractEventType, Hash, LedgerKey, Memo, ScAddress, ScVal,
    SorobanCredentials, SorobanTransactionMetaExt, StateArchivalSettings, Transaction,
    TransactionExt, TransactionMeta,
};

use super::kit::*;
use crate::ledger::xdr::{i128, list, string};
use crate::ledger::{ApplyFault, AuthMode, SimulateOptions, SimulationFailure, TransactionStatus};

#[test]
fn the_usdc_contract_has_its_testnet_address() {
    let (ann, bob) = (key(1), key(2));
    let world = World::with_usdc(&[&ann, &bob]);
    let expected = "CBIELTK6YBZJU5UP2WWQEUCYKLPU6AUNZ2BQ4WWFEIE3USCIHMXQDAMA";
    assert_eq!(usdc_contract().to_string(), expected);
    let name = world.prepare(world.tx(&ann, vec![call("name", Vec::new())]));
    let record = world.apply(world.sign(name, &[&ann]));
    assert_eq!(return_value(&record.meta), Some(string(&format!("USDC:{ISSUER}"))));
}

fn return_value(meta: &TransactionMeta) -> Option<ScVal> {
    let TransactionMeta::V4(meta) = meta else { panic!("the fourth version") };
    meta.soroban_meta.as_ref().expect("a contract transaction").return_value.clone()
}

#[test]
fn a_transfer_with_the_source_account_moves_usdc_and_tells_so() {
    let (ann, bob) = (key(1), key(2));
    let world = World::with_usdc(&[&ann, &bob]);
    let before = world.balance(&ann);
    let tx = world.prepare(world.tx(&ann, vec![transfer(&ann, &bob, 10_000)]));
    let offered = i64::from(tx.fee);
    let record = world.apply(world.sign(tx, &[&ann]));
    assert_eq!(world.usdc_of(&id(&ann)), 1000 * XLM - 10_000);
    assert_eq!(world.usdc_of(&id(&bob)), 1000 * XLM + 10_000);
    assert_eq!(return_value(&record.meta), Some(ScVal::Void));
    assert_eq!(record.contract_events.len(), 1);
    assert_eq!(record.contract_events[0].len(), 1);
    assert_eq!(record.contract_events[0][0].type_, ContractEventType::Contract);
    assert!(record.result.fee_charged < offered, "what was not used comes back");
    assert_eq!(world.balance(&ann), before - record.result.fee_charged);
    let TransactionMeta::V4(meta) = &record.meta else { panic!("the fourth version") };
    let SorobanTransactionMetaExt::V1(fees) = &meta.soroban_meta.as_ref().unwrap().ext else {
        panic!("fees")
    };
    assert_eq!(
        record.result.fee_charged,
        100 + fees.total_non_refundable_resource_fee_charged
            + fees.total_refundable_resource_fee_charged,
    );
}

#[test]
fn a_transfer_costs_less_than_the_reference_clients_allow() {
    let world = sponsored_world();
    let own = world.prepare(world.tx(&key(1), vec![transfer(&key(1), &key(2), 10_000)]));
    // The shape of an x402 payment: the holder's entry, good for a minute of ledgers, in a sponsor's transaction.
    for tx in [own, sponsored(&world, 12)] {
        assert!((5_000..50_000).contains(&tx.fee), "{}", tx.fee);
    }
}

/// A transfer from Ann to Bob that a sponsor submits, with Ann's entry good until `expires` ledgers from now.
fn sponsored(world: &World, expires: u32) -> Transaction {
    let (ann, bob, sponsor) = (key(1), key(2), key(3));
    let tx = world.prepare(world.tx(&sponsor, vec![transfer(&ann, &bob, 10_000)]));
    let [entry] = &auth_of(&tx)[..] else { panic!("one entry") };
    let expires = world.ledger.latest().sequence + expires;
    let signed = world.authorize(entry.clone(), &ann, expires);
    let mut again = with_auth(tx, vec![signed]);
    again.ext = TransactionExt::V0;
    world.prepare(again)
}

fn sponsored_world() -> World {
    World::with_usdc(&[&key(1), &key(2), &key(3)])
}

#[test]
fn a_third_party_submits_what_the_holder_signed() {
    let world = sponsored_world();
    let tx = sponsored(&world, 10);
    world.apply(world.sign(tx, &[&key(3)]));
    assert_eq!(world.usdc_of(&id(&key(2))), 1000 * XLM + 10_000);
}

/// Submits a transaction as it is, where a simulation of it would have failed already, and expects a trap.
fn trapped(world: &World, tx: Transaction) {
    let sponsor = key(3);
    let before = (world.balance(&sponsor), world.usdc_of(&id(&key(1))));
    let record = world.run(world.sign(tx, &[&sponsor]));
    assert_eq!(words(&record.result), "TxFailed(InvokeHostFunction(Trapped))");
    assert!(record.result.fee_charged > 100, "the fee is charged");
    assert_eq!(world.balance(&sponsor), before.0 - record.result.fee_charged);
    assert_eq!(world.usdc_of(&id(&key(1))), before.1);
    assert!(!record.diagnostics.is_empty());
}

#[test]
fn a_nonce_is_good_once() {
    let world = sponsored_world();
    let tx = sponsored(&world, 10);
    world.apply(world.sign(tx.clone(), &[&key(3)]));
    let mut replay = tx;
    replay.seq_num.0 += 1;
    let simulated = simulate(&world, &replay).unwrap_err();
    assert!(simulated.message.starts_with("HostError: Error(Auth, ExistingValue)"), "{simulated}");
    trapped(&world, replay);
}

/// Nonces on the ledger.
fn nonces(world: &World) -> usize {
    let snapshot = world.ledger.snapshot();
    let is_nonce = |key: &&std::sync::Arc<LedgerKey>| {
        matches!(key.as_ref(), LedgerKey::ContractData(data)
            if data.durability == ContractDataDurability::Temporary)
    };
    snapshot.entries.keys().filter(is_nonce).count()
}

#[test]
fn a_nonce_is_forgotten_when_its_entry_has_expired() {
    let world = sponsored_world();
    let tx = sponsored(&world, 10);
    world.apply(world.sign(tx, &[&key(3)]));
    world.jump(1022);
    world.close();
    assert_eq!(nonces(&world), 1);
    world.close();
    assert_eq!(nonces(&world), 0);
}

#[test]
fn an_entry_expires() {
    let world = sponsored_world();
    let tx = sponsored(&world, 1);
    world.close();
    world.close();
    let simulated = simulate(&world, &tx).unwrap_err();
    assert!(simulated.message.starts_with("HostError: Error(Auth, InvalidInput)"), "{simulated}");
    trapped(&world, tx);
}

#[test]
fn an_entry_is_good_in_its_last_ledger() {
    let world = sponsored_world();
    let tx = sponsored(&world, 2);
    world.close();
    world.apply(world.sign(tx, &[&key(3)]));
}

#[test]
fn a_tampered_entry_is_refused() {
    let world = sponsored_world();
    let tx = sponsored(&world, 10);
    let mut auth = auth_of(&tx);
    let SorobanCredentials::Address(credentials) = &mut auth[0].credentials else {
        panic!("an address")
    };
    credentials.signature_expiration_ledger += 1;
    let tampered = with_auth(tx.clone(), auth);
    let simulated = simulate(&world, &tampered).unwrap_err();
    assert!(simulated.message.starts_with("HostError: Error(Auth, InvalidAction)"), "{simulated}");
    trapped(&world, tampered);
    let mut untampered = tx;
    untampered.seq_num.0 += 1;
    world.apply(world.sign(untampered, &[&key(3)]));
}

#[test]
fn an_entry_does_not_stretch_to_another_amount() {
    let world = sponsored_world();
    let tx = sponsored(&world, 10);
    let mut more = tx.clone();
    let auth = auth_of(&tx);
    more.operations = list(vec![transfer(&key(1), &key(2), 20_000)]);
    trapped(&world, with_auth(more, auth));
}

fn simulate(
    world: &World,
    tx: &Transaction,
) -> Result<crate::ledger::Simulation, SimulationFailure> {
    world.ledger.simulate(&world.sign(tx.clone(), &[]), SimulateOptions::default())
}

#[test]
fn a_simulation_names_the_contracts_error() {
    let (ann, bob, cat) = (key(1), key(2), key(4));
    let world = World::with_usdc(&[&ann, &bob]);
    let root = world.ledger.root();
    world.apply(world.sign(world.tx(&root, vec![create(&id(&cat), 10 * XLM)]), &[&root]));
    let error = |operation| {
        let failure = simulate(&world, &world.tx(&ann, vec![operation])).unwrap_err();
        assert_eq!(failure.ledger, world.ledger.latest().sequence);
        assert!(!failure.events.is_empty());
        failure.message.lines().next().unwrap().to_owned()
    };
    assert_eq!(error(transfer(&ann, &cat, 1)), "HostError: Error(Contract, #13)");
    assert_eq!(error(transfer(&ann, &bob, 2000 * XLM)), "HostError: Error(Contract, #10)");
}

#[test]
fn a_simulation_changes_nothing_and_tells_what_would_change() {
    let (ann, bob) = (key(1), key(2));
    let world = World::with_usdc(&[&ann, &bob]);
    let tx = world.tx(&ann, vec![transfer(&ann, &bob, 7)]);
    let found = simulate(&world, &tx).unwrap();
    assert_eq!(found.state_changes.len(), 2);
    assert_eq!(found.auth.len(), 1);
    assert_eq!(found.auth[0].credentials, SorobanCredentials::SourceAccount);
    assert_eq!(found.min_resource_fee, found.transaction_data.resource_fee);
    let emitted: Vec<_> = found
        .events
        .iter()
        .filter(|event| event.event.type_ == ContractEventType::Contract)
        .collect();
    assert_eq!(emitted.len(), 1);
    assert_eq!(world.usdc_of(&id(&bob)), 1000 * XLM);
}

#[test]
fn newer_credentials_come_only_when_asked_for() {
    let (ann, bob, sponsor) = (key(1), key(2), key(3));
    let world = World::with_usdc(&[&ann, &bob, &sponsor]);
    let envelope = world.sign(world.tx(&sponsor, vec![transfer(&ann, &bob, 7)]), &[]);
    let credentials = |use_upgraded_auth| {
        let options = SimulateOptions { use_upgraded_auth, ..SimulateOptions::default() };
        world.ledger.simulate(&envelope, options).unwrap().auth[0].credentials.name()
    };
    assert_eq!(credentials(false), "Address");
    assert_eq!(credentials(true), "AddressV2");
}

#[test]
fn newer_credentials_authorize_as_the_older_do() {
    let (ann, bob, sponsor) = (key(1), key(2), key(3));
    let world = sponsored_world();
    let tx = world.tx(&sponsor, vec![transfer(&ann, &bob, 7)]);
    let options = SimulateOptions { use_upgraded_auth: true, ..SimulateOptions::default() };
    let found = world.ledger.simulate(&world.sign(tx.clone(), &[]), options).unwrap();
    let expires = world.ledger.latest().sequence + 10;
    let signed = world.authorize(found.auth[0].clone(), &ann, expires);
    let tx = world.prepare(with_auth(tx, vec![signed]));
    world.apply(world.sign(tx, &[&sponsor]));
    assert_eq!(world.usdc_of(&id(&bob)), 1000 * XLM + 7);
}

#[test]
fn a_mode_of_simulation_can_be_chosen() {
    let (ann, bob, sponsor) = (key(1), key(2), key(3));
    let world = World::with_usdc(&[&ann, &bob, &sponsor]);
    let envelope = world.sign(world.tx(&sponsor, vec![transfer(&ann, &bob, 7)]), &[]);
    let with = |mode| {
        let options = SimulateOptions { auth_mode: Some(mode), ..SimulateOptions::default() };
        world.ledger.simulate(&envelope, options)
    };
    assert!(with(AuthMode::Record).is_ok());
    assert!(with(AuthMode::RecordAllowNonroot).is_ok());
    let enforced = with(AuthMode::Enforce).unwrap_err();
    assert!(enforced.message.starts_with("HostError: Error(Auth, InvalidAction)"), "{enforced}");
}

#[test]
fn instructions_can_be_given_leeway() {
    let (ann, bob) = (key(1), key(2));
    let world = World::with_usdc(&[&ann, &bob]);
    let envelope = world.sign(world.tx(&ann, vec![transfer(&ann, &bob, 7)]), &[]);
    let instructions = |instruction_leeway| {
        let options = SimulateOptions { instruction_leeway, ..SimulateOptions::default() };
        world.ledger.simulate(&envelope, options).unwrap().transaction_data.resources.instructions
    };
    assert_eq!(instructions(1_050_000), instructions(0) + 1_000_000);
}

#[test]
fn a_simulation_of_anything_else_says_what_it_takes() {
    let (ann, bob) = (key(1), key(2));
    let world = World::with_usdc(&[&ann, &bob]);
    let payment = pay(&id(&bob), usdc(), 1);
    let one = simulate(&world, &world.tx(&ann, vec![payment.clone()])).unwrap_err();
    assert_eq!(one.message, "Transaction contains unsupported operation type: Payment");
    let two = simulate(&world, &world.tx(&ann, vec![payment.clone(), payment])).unwrap_err();
    assert_eq!(two.message, "Transaction contains more than one operation");
}

/// What comes of a prepared transfer after `change`.
fn changed(change: impl Fn(&mut Transaction)) -> String {
    let (ann, bob) = (key(1), key(2));
    let world = World::with_usdc(&[&ann, &bob]);
    let mut tx = world.prepare(world.tx(&ann, vec![transfer(&ann, &bob, 7)]));
    change(&mut tx);
    match world.ledger.submit(world.sign(tx, &[&ann])) {
        crate::ledger::Submission::Error { result, .. } => words(&result),
        crate::ledger::Submission::Pending { hash } => {
            world.close();
            let result = &world.ledger.transaction(&hash).unwrap().result;
            words(result).replace(&hash_in(&words(result)), "…")
        }
        other => format!("{other:?}"),
    }
}

/// The hash that a success carries, to be left out of comparisons.
fn hash_in(words: &str) -> String {
    words
        .split("Success(")
        .nth(1)
        .map_or_else(|| "no hash".to_owned(), |rest| rest.trim_end_matches(')').to_owned() + ")")
}

fn data(tx: &mut Transaction) -> &mut stellar_xdr::SorobanTransactionData {
    let TransactionExt::V1(data) = &mut tx.ext else { panic!("contract data") };
    data
}

#[test]
fn declared_resources_are_held_to_the_limits_and_to_the_fee() {
    type Change = fn(&mut Transaction);
    let cases: &[(&str, Change, &str)] = &[
        ("no contract data", |tx| tx.ext = TransactionExt::V0, "TxMalformed"),
        ("a negative resource fee", |tx| data(tx).resource_fee = -1, "TxMalformed"),
        ("more fee declared than offered", |tx| tx.fee -= 101, "TxSorobanInvalid"),
        ("no fee for inclusion", |tx| tx.fee -= 1, "TxInsufficientFee"),
        (
            "too many instructions",
            |tx| data(tx).resources.instructions = 400_000_001,
            "TxSorobanInvalid",
        ),
        ("resources not paid for", |tx| data(tx).resource_fee = 1000, "TxSorobanInvalid"),
        (
            "the same key twice",
            |tx| {
                let footprint = &mut data(tx).resources.footprint;
                let mut keys = footprint.read_write.to_vec();
                keys.push(keys[0].clone());
                footprint.read_write = list(keys);
            },
            "TxSorobanInvalid",
        ),
        (
            "two operations",
            |tx| {
                tx.operations = list(vec![tx.operations[0].clone(), tx.operations[0].clone()]);
                tx.fee += 100;
            },
            "TxMalformed",
        ),
        (
            "too few instructions",
            |tx| data(tx).resources.instructions = 1000,
            "TxFailed(InvokeHostFunction(ResourceLimitExceeded))",
        ),
        (
            "too few bytes to write",
            |tx| data(tx).resources.write_bytes = 1,
            "TxFailed(InvokeHostFunction(ResourceLimitExceeded))",
        ),
        (
            "a footprint without an entry that it needs",
            |tx| data(tx).resources.footprint.read_write = list(Vec::new()),
            "TxFailed(InvokeHostFunction(Trapped))",
        ),
    ];
    for (case, change, expected) in cases {
        assert_eq!(changed(change), *expected, "{case}");
    }
}

#[test]
fn a_memo_does_not_go_with_an_entry_that_does_not_sign_it() {
    let world = sponsored_world();
    let mut tx = sponsored(&world, 10);
    tx.memo = Memo::Id(7);
    assert_eq!(words(&world.refused(world.sign(tx.clone(), &[&key(3)]))), "TxSorobanInvalid");
    tx.memo = Memo::None;
    world.apply(world.sign(tx, &[&key(3)]));
}

#[test]
fn a_fee_bump_pays_for_a_contract_and_gets_the_rest_back() {
    let (ann, bob, payer) = (key(1), key(2), key(3));
    let world = World::with_usdc(&[&ann, &bob, &payer]);
    let (anns, payers) = (world.balance(&ann), world.balance(&payer));
    let tx = world.prepare(world.tx(&ann, vec![transfer(&ann, &bob, 7)]));
    let fee = i64::from(tx.fee) + 100;
    let record = world.apply(world.bump(world.sign(tx, &[&ann]), &payer, fee));
    assert_eq!(words(&record.result), "TxFeeBumpInnerSuccess(TxSuccess)");
    assert!(record.result.fee_charged < fee);
    assert_eq!(world.balance(&ann), anns);
    assert_eq!(world.balance(&payer), payers - record.result.fee_charged);
    assert_eq!(record.transaction_events.len(), 2);
}

#[test]
fn an_armed_fault_traps_a_contract_and_gives_back_what_it_did_not_use() {
    let world = sponsored_world();
    let tx = sponsored(&world, 10);
    world.ledger.arm(ApplyFault::Fail, 1, |_| true);
    let record = world.run(world.sign(tx, &[&key(3)]));
    assert_eq!(record.status, TransactionStatus::Failed);
    assert_eq!(words(&record.result), "TxFailed(InvokeHostFunction(Trapped))");
    assert!(record.result.fee_charged > 100);
    assert_eq!(world.usdc_of(&id(&key(2))), 1000 * XLM);
}

#[test]
fn the_networks_settings_can_be_read_from_the_ledger() {
    let world = World::new();
    let key = stellar_xdr::LedgerKey::ConfigSetting(stellar_xdr::LedgerKeyConfigSetting {
        config_setting_id: stellar_xdr::ConfigSettingId::StateArchival,
    });
    let found = world.ledger.entries(&[key]);
    let stellar_xdr::LedgerEntryData::ConfigSetting(
        stellar_xdr::ConfigSettingEntry::StateArchival(StateArchivalSettings {
            max_entry_ttl, ..
        }),
    ) = &found[0].entry.data
    else {
        panic!("the archival settings")
    };
    assert_eq!(*max_entry_ttl, 3_110_400);
}

#[test]
fn a_holder_can_be_a_contract() {
    let (ann, bob) = (key(1), key(2));
    let world = World::with_usdc(&[&ann, &bob]);
    let vault = ScVal::Address(ScAddress::Contract(stellar_xdr::ContractId(Hash([9; 32]))));
    let deposit = call("transfer", vec![address(&ann), vault.clone(), i128(25)]);
    let tx = world.prepare(world.tx(&ann, vec![deposit]));
    world.apply(world.sign(tx, &[&ann]));
    let tx = world.prepare(world.tx(&bob, vec![call("balance", vec![vault])]));
    let record = world.apply(world.sign(tx, &[&bob]));
    assert_eq!(return_value(&record.meta), Some(i128(25)));
    assert_eq!(world.usdc_of(&id(&ann)), 1000 * XLM - 25);
}
