//! Ledgers as they close: order, headers, history, events, fee bumps and the faults that a test asks for.

use stellar_xdr::{
    Asset, ContractEventBody, LedgerCloseMeta, Memo, MuxedAccount, MuxedAccountMed25519,
    OperationBody, PaymentOp, Preconditions, ScMap, ScMapEntry, ScVal, TimeBounds, TimePoint,
    TransactionEventStage, TransactionMeta, Uint256,
};

use super::kit::*;
use crate::ledger::xdr::{hash, i128, list, string, symbol};
use crate::ledger::{
    ApplyFault, EventRecord, Ledger, LedgerConfig, LedgerMark, Submission, TransactionStatus,
};

fn topics(event: &EventRecord) -> (Vec<ScVal>, ScVal) {
    let ContractEventBody::V0(body) = &event.event.body;
    (body.topics.to_vec(), body.data.clone())
}

#[test]
fn a_header_names_the_one_before_it_and_the_meta_holds_it() {
    let world = World::with(&[&key(1)]);
    let first = world.ledger.latest();
    world.close();
    let second = world.ledger.latest();
    assert_eq!(second.sequence, first.sequence + 1);
    assert_eq!(second.header.previous_ledger_hash, first.hash);
    assert_eq!(second.hash, hash(&second.header));
    assert_eq!(second.header.ledger_version, 30);
    let LedgerCloseMeta::V2(meta) = &second.meta else { panic!("the second version") };
    assert_eq!(
        (&meta.ledger_header.header, &meta.ledger_header.hash),
        (&second.header, &second.hash)
    );
}

#[test]
fn time_does_not_run_backwards() {
    let ledger = Ledger::new(LedgerConfig::new(PASSPHRASE, START));
    assert_eq!(ledger.close(START + 5).close_time, START + 5);
    assert_eq!(ledger.close(START + 3).close_time, START + 5);
}

#[test]
fn a_closed_ledger_is_announced() {
    let ledger = Ledger::new(LedgerConfig::new(PASSPHRASE, START));
    let mut closed = ledger.closed();
    assert_eq!(*closed.borrow_and_update(), 1);
    ledger.close(START + 1);
    assert!(closed.has_changed().unwrap());
    assert_eq!(*closed.borrow_and_update(), 2);
}

#[test]
fn history_and_old_states_are_bounded() {
    let mut config = LedgerConfig::new(PASSPHRASE, START);
    (config.kept_ledgers, config.kept_snapshots) = (3, 2);
    let ledger = Ledger::new(config);
    for second in 1..=5 {
        ledger.close(START + second);
    }
    assert_eq!(ledger.latest().sequence, 6);
    assert_eq!(ledger.oldest(), LedgerMark { sequence: 4, close_time: START + 3 });
    assert!(ledger.snapshot_at(4).is_none());
    assert_eq!(ledger.snapshot_at(5).unwrap().ledger().sequence, 5);
}

#[test]
fn history_is_bounded_by_transactions_too() {
    let (ann, bob) = (key(1), key(2));
    let mut config = LedgerConfig::new(PASSPHRASE, START);
    config.kept_transactions = 2;
    let ledger = Ledger::new(config);
    let world = World { ledger, now: std::cell::Cell::new(START) };
    let root = world.ledger.root();
    let creations = vec![create(&id(&ann), 1000 * XLM), create(&id(&bob), 1000 * XLM)];
    let first = world.apply(world.sign(world.tx(&root, creations), &[&root]));
    let payment = || world.sign(world.tx(&ann, vec![pay(&id(&bob), Asset::Native, 1)]), &[&ann]);
    let second = world.apply(payment());
    assert!(world.ledger.transaction(&first.hash).is_some());
    world.apply(payment());
    assert!(world.ledger.transaction(&first.hash).is_none());
    assert!(world.ledger.transaction(&second.hash).is_some());
    assert_eq!(world.ledger.oldest().sequence, second.ledger);
}

#[test]
fn an_old_state_stays_as_it_was() {
    let (ann, bob) = (key(1), key(2));
    let world = World::with(&[&ann, &bob]);
    let before = world.ledger.snapshot();
    let tx = world.tx(&ann, vec![pay(&id(&bob), Asset::Native, XLM)]);
    world.apply(world.sign(tx, &[&ann]));
    let key = crate::ledger::account::key(&id(&bob));
    let balance = |found: Vec<crate::ledger::Found>| match &found[0].entry.data {
        stellar_xdr::LedgerEntryData::Account(account) => account.balance,
        other => panic!("expected an account, got {other:?}"),
    };
    assert_eq!(balance(before.entries(std::slice::from_ref(&key))), 1000 * XLM);
    assert_eq!(balance(world.ledger.entries(std::slice::from_ref(&key))), 1001 * XLM);
    let sequence = before.ledger().sequence;
    assert_eq!(balance(world.ledger.snapshot_at(sequence).unwrap().entries(&[key])), 1000 * XLM);
}

#[test]
fn a_fee_bump_charges_its_payer_and_is_found_by_both_hashes() {
    let (ann, bob, payer) = (key(1), key(2), key(3));
    let world = World::with(&[&ann, &bob, &payer]);
    let inner = world.sign(world.tx(&ann, vec![pay(&id(&bob), Asset::Native, XLM)]), &[&ann]);
    let inner_hash = world.hash(&inner);
    let envelope = world.bump(inner, &payer, 5000);
    let record = world.apply(envelope.clone());
    assert!(record.is_fee_bump());
    assert_eq!(record.hash, world.hash(&envelope));
    assert_eq!(record.envelope, envelope);
    assert_eq!(words(&record.result), "TxFeeBumpInnerSuccess(TxSuccess)");
    assert_eq!(record.result.fee_charged, 200);
    assert_eq!(world.balance(&ann), 999 * XLM);
    assert_eq!(world.balance(&payer), 1000 * XLM - 200);
    assert_eq!(world.ledger.transaction(&inner_hash).unwrap().hash, record.hash);
    assert_eq!(world.ledger.oldest().sequence, 1);
}

#[test]
fn a_fee_bump_whose_inner_transaction_fails_is_charged_all_the_same() {
    let (ann, payer) = (key(1), key(3));
    let world = World::with(&[&ann, &payer]);
    let inner = world.sign(world.tx(&ann, vec![pay(&id(&key(9)), Asset::Native, XLM)]), &[&ann]);
    let record = world.run(world.bump(inner, &payer, 5000));
    assert_eq!(record.status, TransactionStatus::Failed);
    assert_eq!(words(&record.result), "TxFeeBumpInnerFailed(TxFailed)");
    assert_eq!(world.balance(&payer), 1000 * XLM - 200);
}

#[test]
fn events_tell_fees_and_movements_with_ids_in_order() {
    let (ann, bob) = (key(1), key(2));
    let world = World::with_usdc(&[&ann, &bob]);
    let tx = world.tx(
        &ann,
        vec![
            pay(&id(&bob), Asset::Native, XLM),
            pay(&id(&bob), usdc(), 5),
            pay(&issuer(), usdc(), 3),
        ],
    );
    let record = world.apply(world.sign(tx, &[&ann]));
    let events = world.ledger.events(record.ledger, record.ledger);
    let ledger = u64::from(record.ledger) << 32;
    let ids: Vec<_> = events.iter().map(|event| event.id.clone()).collect();
    let expected = [ledger, ledger | 1 << 12, ledger | 1 << 12 | 1, ledger | 1 << 12 | 2];
    assert_eq!(ids, expected.map(|id| format!("{id:019}-0000000000")));
    assert!(ids.is_sorted());
    let usdc_name = string(&format!("USDC:{ISSUER}"));
    let expected = [
        (vec![symbol("fee"), address(&ann)], i128(300)),
        (vec![symbol("transfer"), address(&ann), address(&bob), string("native")], i128(XLM)),
        (vec![symbol("transfer"), address(&ann), address(&bob), usdc_name.clone()], i128(5)),
        (vec![symbol("burn"), address(&ann), usdc_name], i128(3)),
    ];
    assert_eq!(events.iter().map(topics).collect::<Vec<_>>(), expected);
    assert_eq!(record.transaction_events[0].stage, TransactionEventStage::BeforeAllTxs);
    assert_eq!(record.contract_events.len(), 3);
    assert!(world.ledger.events(record.ledger + 1, u32::MAX).is_empty());
    assert!(world.ledger.events(1, u32::MAX).len() > events.len());
}

#[test]
fn a_movement_tells_who_within_the_receiver_is_meant() {
    let (ann, bob) = (key(1), key(2));
    let world = World::with(&[&ann, &bob]);
    let data = |memo: Memo, destination: MuxedAccount| {
        let payment = PaymentOp { destination, asset: Asset::Native, amount: 9 };
        let mut tx = world.tx(&ann, vec![operation(OperationBody::Payment(payment))]);
        tx.memo = memo;
        let record = world.apply(world.sign(tx, &[&ann]));
        let ContractEventBody::V0(body) = &record.contract_events[0][0].body;
        body.data.clone()
    };
    let named = |id: ScVal| {
        ScVal::Map(Some(ScMap(list(vec![
            ScMapEntry { key: symbol("amount"), val: i128(9) },
            ScMapEntry { key: symbol("to_muxed_id"), val: id },
        ]))))
    };
    let plain = MuxedAccount::from(id(&bob));
    let muxed = MuxedAccount::MuxedEd25519(MuxedAccountMed25519 {
        id: 77,
        ed25519: Uint256(bob.verifying_key().to_bytes()),
    });
    assert_eq!(data(Memo::None, plain.clone()), i128(9));
    assert_eq!(data(Memo::Id(5), plain.clone()), named(ScVal::U64(5)));
    assert_eq!(data(Memo::Text("rent".try_into().unwrap()), plain), named(string("rent")));
    assert_eq!(data(Memo::Id(5), muxed), named(ScVal::U64(77)));
    assert_eq!(world.balance(&bob), 1000 * XLM + 36);
}

#[test]
fn the_meta_of_a_payment_tells_what_it_changed() {
    let (ann, bob) = (key(1), key(2));
    let world = World::with(&[&ann, &bob]);
    let tx = world.tx(&ann, vec![pay(&id(&bob), Asset::Native, XLM)]);
    let record = world.apply(world.sign(tx, &[&ann]));
    let TransactionMeta::V4(meta) = &record.meta else { panic!("the fourth version") };
    let names = |changes: &stellar_xdr::LedgerEntryChanges| {
        changes.0.iter().map(|change| change.name()).collect::<Vec<_>>()
    };
    assert_eq!(names(&meta.tx_changes_before), ["State", "Updated"]);
    assert_eq!(names(&meta.operations[0].changes), ["State", "Updated", "State", "Updated"]);
    assert_eq!(meta.soroban_meta, None);
}

#[test]
fn an_armed_fault_makes_the_next_transaction_fail_and_only_that() {
    let (ann, bob) = (key(1), key(2));
    let world = World::with(&[&ann, &bob]);
    let payment = |person: &_, to: &_| {
        world.sign(world.tx(person, vec![pay(&id(to), Asset::Native, XLM)]), &[person])
    };
    world.ledger.arm(ApplyFault::Fail, 1, |_| true);
    let record = world.run(payment(&ann, &bob));
    assert_eq!(words(&record.result), "TxFailed(OpExceededWorkLimit)");
    assert_eq!(world.balance(&ann), 1000 * XLM - 100);
    world.apply(payment(&ann, &bob));
}

#[test]
fn a_vanished_transaction_is_accepted_and_never_found() {
    let (ann, bob) = (key(1), key(2));
    let world = World::with(&[&ann, &bob]);
    let envelope = world.sign(world.tx(&ann, vec![pay(&id(&bob), Asset::Native, XLM)]), &[&ann]);
    let hash = world.hash(&envelope);
    let of_ann = hash.clone();
    let network = world.ledger.network_id();
    world.ledger.arm(ApplyFault::Vanish, 1, move |envelope| {
        envelope.hash(network.0).is_ok_and(|hash| hash == of_ann.0)
    });
    let other = world.sign(world.tx(&bob, vec![pay(&id(&ann), Asset::Native, 1)]), &[&bob]);
    assert_eq!(world.ledger.submit(envelope.clone()), Submission::Pending { hash: hash.clone() });
    world.apply(other);
    assert!(world.ledger.transaction(&hash).is_none());
    assert!(!world.ledger.is_pending(&hash));
    world.apply(envelope);
}

#[test]
fn a_transaction_that_is_made_to_wait_lets_the_others_pass() {
    let (ann, bob) = (key(1), key(2));
    let world = World::with(&[&ann, &bob]);
    let late = world.sign(world.tx(&ann, vec![pay(&id(&bob), Asset::Native, XLM)]), &[&ann]);
    let hash = world.hash(&late);
    let until = world.ledger.latest().sequence + 2;
    world.ledger.arm(ApplyFault::Wait { until }, 1, |_| true);
    assert_eq!(world.ledger.submit(late), Submission::Pending { hash: hash.clone() });
    let other = || world.sign(world.tx(&bob, vec![pay(&id(&ann), Asset::Native, 1)]), &[&bob]);
    world.apply(other());
    assert!(world.ledger.is_pending(&hash) && world.ledger.transaction(&hash).is_none());
    world.apply(other());
    assert_eq!(world.ledger.transaction(&hash).unwrap().ledger, until);
    assert!(!world.ledger.is_pending(&hash));
}

#[test]
fn a_transaction_that_waited_too_long_is_dropped() {
    let (ann, bob) = (key(1), key(2));
    let world = World::with(&[&ann, &bob]);
    let mut tx = world.tx(&ann, vec![pay(&id(&bob), Asset::Native, XLM)]);
    let latest = world.ledger.latest();
    let bounds = TimeBounds { min_time: TimePoint(0), max_time: TimePoint(latest.close_time + 6) };
    tx.cond = Preconditions::Time(bounds);
    let late = world.sign(tx, &[&ann]);
    let hash = world.hash(&late);
    world.ledger.arm(ApplyFault::Wait { until: latest.sequence + 2 }, 1, |_| true);
    assert_eq!(world.ledger.submit(late), Submission::Pending { hash: hash.clone() });
    world.ledger.close(latest.close_time + 5);
    assert!(world.ledger.is_pending(&hash));
    world.ledger.close(latest.close_time + 10);
    assert!(world.ledger.transaction(&hash).is_none() && !world.ledger.is_pending(&hash));
}

#[test]
fn a_ledger_that_closes_while_others_submit_loses_nothing() {
    let people: Vec<_> = (1..=16).map(key).collect();
    let world = World::with(&people.iter().collect::<Vec<_>>());
    let ledger = world.ledger.clone();
    let envelopes: Vec<_> = people
        .iter()
        .map(|person| {
            let root = id(&world.ledger.root());
            world.sign(world.tx(person, vec![pay(&root, Asset::Native, 1)]), &[person])
        })
        .collect();
    let hashes: Vec<_> = envelopes.iter().map(|envelope| world.hash(envelope)).collect();
    std::thread::scope(|scope| {
        for envelope in envelopes {
            let ledger = &ledger;
            scope.spawn(move || {
                assert!(matches!(ledger.submit(envelope), Submission::Pending { .. }));
            });
        }
        for second in 0..4 {
            ledger.close(START + 10 + second);
        }
    });
    world.now.set(START + 20);
    world.close();
    for hash in hashes {
        assert_eq!(ledger.transaction(&hash).unwrap().status, TransactionStatus::Success);
    }
}
