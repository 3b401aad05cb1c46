//! What classic operations do to accounts and trustlines, and how each fails.

use stellar_xdr::{
    Asset, BumpSequenceOp, ChangeTrustOp, DataValue, LedgerKey, LedgerKeyData, ManageDataOp,
    Operation, OperationBody, SequenceNumber, SetOptionsOp, Signer, SignerKey, String32, String64,
    Uint256,
};

use super::kit::*;
use crate::ledger::TransactionStatus;

/// What comes of `operation` by Ann, in a world where she and Bob have lumens and USDC, and Cat has lumens only.
fn outcome(operation: Operation) -> String {
    let (ann, bob, cat) = (key(1), key(2), key(3));
    let world = World::with_usdc(&[&ann, &bob]);
    let root = world.ledger.root();
    world.apply(world.sign(world.tx(&root, vec![create(&id(&cat), 2 * XLM)]), &[&root]));
    let record = world.run(world.sign(world.tx(&ann, vec![operation]), &[&ann]));
    words(&record.result)
}

fn failed(operation: Operation) -> String {
    let words = outcome(operation);
    words
        .strip_prefix("TxFailed(")
        .and_then(|rest| rest.strip_suffix(')'))
        .expect(&words)
        .to_owned()
}

#[test]
fn each_failure_of_a_payment_has_its_code() {
    let nobody = id(&key(9));
    assert_eq!(failed(pay(&nobody, Asset::Native, 1)), "Payment(NoDestination)");
    assert_eq!(failed(pay(&id(&key(2)), Asset::Native, 1000 * XLM)), "Payment(Underfunded)");
    assert_eq!(failed(pay(&id(&key(3)), usdc(), 1)), "Payment(NoTrust)");
    assert_eq!(failed(pay(&id(&key(2)), usdc(), 1000 * XLM + 1)), "Payment(Underfunded)");
    assert_eq!(failed(by_issuer_of_nothing()), "Payment(SrcNoTrust)");
    assert_eq!(outcome(pay(&id(&key(2)), usdc(), XLM)), "TxSuccess(Payment(Success))");
}

/// A payment in an asset that the sender does not hold, to its issuer, who needs no trustline.
fn by_issuer_of_nothing() -> Operation {
    let Asset::CreditAlphanum4(mut asset) = usdc() else { panic!("a short code") };
    asset.issuer = id(&key(2));
    pay(&id(&key(2)), Asset::CreditAlphanum4(asset), 1)
}

#[test]
fn each_failure_of_a_creation_has_its_code() {
    assert_eq!(failed(create(&id(&key(2)), XLM)), "CreateAccount(AlreadyExist)");
    assert_eq!(failed(create(&id(&key(9)), XLM - 1)), "CreateAccount(LowReserve)");
    assert_eq!(failed(create(&id(&key(9)), 1000 * XLM)), "CreateAccount(Underfunded)");
    assert_eq!(outcome(create(&id(&key(9)), XLM)), "TxSuccess(CreateAccount(Success))");
}

#[test]
fn a_created_account_starts_at_its_ledgers_sequence_numbers() {
    let ann = key(1);
    let world = World::with(&[&ann]);
    let account = world.account(&id(&ann));
    assert_eq!((account.balance, account.seq_num), (1000 * XLM, SequenceNumber(2 << 32)));
    assert_eq!(account.thresholds.0, [1, 0, 0, 0]);
}

#[test]
fn a_full_line_takes_no_more() {
    let (ann, bob) = (key(1), key(2));
    let world = World::with_usdc(&[&ann, &bob]);
    let narrow = world.tx(&bob, vec![trust(1000 * XLM + 5)]);
    world.apply(world.sign(narrow, &[&bob]));
    let payment =
        |amount| world.sign(world.tx(&ann, vec![pay(&id(&bob), usdc(), amount)]), &[&ann]);
    assert_eq!(words(&world.run(payment(6)).result), "TxFailed(Payment(LineFull))");
    world.apply(payment(5));
    assert_eq!(world.usdc_of(&id(&bob)), 1000 * XLM + 5);
    assert_eq!(world.usdc_of(&id(&ann)), 1000 * XLM - 5);
}

#[test]
fn trust_is_given_changed_and_withdrawn() {
    let (ann, bob) = (key(1), key(2));
    let world = World::with_usdc(&[&ann, &bob]);
    let set =
        |limit| words(&world.run(world.sign(world.tx(&ann, vec![trust(limit)]), &[&ann])).result);
    assert_eq!(set(0), "TxFailed(ChangeTrust(InvalidLimit))");
    assert_eq!(set(1000 * XLM - 1), "TxFailed(ChangeTrust(InvalidLimit))");
    assert_eq!(set(1000 * XLM), "TxSuccess(ChangeTrust(Success))");
    assert_eq!(world.account(&id(&ann)).num_sub_entries, 1);
    world.apply(world.sign(world.tx(&ann, vec![pay(&issuer(), usdc(), 1000 * XLM)]), &[&ann]));
    assert_eq!(set(0), "TxSuccess(ChangeTrust(Success))");
    assert_eq!(world.account(&id(&ann)).num_sub_entries, 0);
    assert_eq!(set(0), "TxFailed(ChangeTrust(InvalidLimit))");
}

#[test]
fn trust_needs_an_issuer_and_a_reserve() {
    let (ann, poor) = (key(1), key(2));
    let world = World::with(&[&ann]);
    let root = world.ledger.root();
    world.apply(world.sign(world.tx(&root, vec![create(&id(&poor), XLM + 200)]), &[&root]));
    let trusting = |person: &_| {
        let envelope = world.sign(world.tx(person, vec![trust(1)]), &[person]);
        words(&world.run(envelope).result)
    };
    assert_eq!(trusting(&ann), "TxFailed(ChangeTrust(NoIssuer))");
    world.apply(world.sign(world.tx(&root, vec![create(&issuer(), XLM)]), &[&root]));
    assert_eq!(trusting(&poor), "TxFailed(ChangeTrust(LowReserve))");
    assert_eq!(trusting(&ann), "TxSuccess(ChangeTrust(Success))");
}

#[test]
fn malformed_lines_are_refused_on_the_way_in() {
    let world = World::with(&[&key(1)]);
    let OperationBody::ChangeTrust(ChangeTrustOp { line, .. }) = trust(1).body else {
        panic!("a line")
    };
    for bad in [
        ChangeTrustOp { line, limit: -1 },
        ChangeTrustOp { line: stellar_xdr::ChangeTrustAsset::Native, limit: 1 },
    ] {
        let tx = world.tx(&key(1), vec![operation(OperationBody::ChangeTrust(bad))]);
        let refused = world.refused(world.sign(tx, &[&key(1)]));
        assert_eq!(words(&refused), "TxFailed(ChangeTrust(Malformed))");
    }
}

fn merge(to: &ed25519_dalek::SigningKey) -> Operation {
    operation(OperationBody::AccountMerge(id(to).into()))
}

#[test]
fn an_account_merges_when_it_owns_nothing() {
    let (ann, bob) = (key(1), key(2));
    let world = World::with_usdc(&[&ann, &bob]);
    let cat = key(3);
    let root = world.ledger.root();
    world.apply(world.sign(world.tx(&root, vec![create(&id(&cat), 2 * XLM)]), &[&root]));
    let owner = world.run(world.sign(world.tx(&ann, vec![merge(&bob)]), &[&ann]));
    assert_eq!(words(&owner.result), "TxFailed(AccountMerge(HasSubEntries))");
    let nobody = world.run(world.sign(world.tx(&cat, vec![merge(&key(9))]), &[&cat]));
    assert_eq!(words(&nobody.result), "TxFailed(AccountMerge(NoAccount))");
    let merged = world.apply(world.sign(world.tx(&cat, vec![merge(&bob)]), &[&cat]));
    assert_eq!(words(&merged.result), "TxSuccess(AccountMerge(Success(19999800)))");
    let tx = world.tx(&cat, vec![merge(&bob)]);
    assert_eq!(words(&world.refused(world.sign(tx, &[&cat]))), "TxNoAccount");
}

#[test]
fn an_account_does_not_merge_with_sequence_numbers_of_the_future() {
    let (ann, bob) = (key(1), key(2));
    let world = World::with(&[&ann, &bob]);
    let far = BumpSequenceOp { bump_to: SequenceNumber(1 << 40) };
    world.apply(
        world.sign(world.tx(&ann, vec![operation(OperationBody::BumpSequence(far))]), &[&ann]),
    );
    assert_eq!(world.account(&id(&ann)).seq_num, SequenceNumber(1 << 40));
    let merged = world.run(world.sign(world.tx(&ann, vec![merge(&bob)]), &[&ann]));
    assert_eq!(words(&merged.result), "TxFailed(AccountMerge(SeqnumTooFar))");
}

#[test]
fn data_is_written_and_deleted() {
    let ann = key(1);
    let world = World::with(&[&ann]);
    let name = String64("greeting".try_into().unwrap());
    let write = |value: Option<&[u8]>| {
        let data_value = value.map(|value| DataValue(value.to_vec().try_into().unwrap()));
        let op = ManageDataOp { data_name: name.clone(), data_value };
        let envelope =
            world.sign(world.tx(&ann, vec![operation(OperationBody::ManageData(op))]), &[&ann]);
        words(&world.run(envelope).result)
    };
    let data_name = name.clone();
    let entry_key = LedgerKey::Data(LedgerKeyData { account_id: id(&ann), data_name });
    assert_eq!(write(None), "TxFailed(ManageData(NameNotFound))");
    assert_eq!(write(Some(b"hello")), "TxSuccess(ManageData(Success))");
    assert_eq!(world.ledger.entries(std::slice::from_ref(&entry_key)).len(), 1);
    assert_eq!(world.account(&id(&ann)).num_sub_entries, 1);
    assert_eq!(write(None), "TxSuccess(ManageData(Success))");
    assert_eq!(world.ledger.entries(&[entry_key]).len(), 0);
    assert_eq!(world.account(&id(&ann)).num_sub_entries, 0);
}

fn options(change: impl Fn(&mut SetOptionsOp)) -> Operation {
    let mut op = SetOptionsOp {
        inflation_dest: None,
        clear_flags: None,
        set_flags: None,
        master_weight: None,
        low_threshold: None,
        med_threshold: None,
        high_threshold: None,
        home_domain: None,
        signer: None,
    };
    change(&mut op);
    operation(OperationBody::SetOptions(op))
}

#[test]
fn options_are_set_or_refused_with_their_code() {
    let own = SignerKey::Ed25519(Uint256(key(1).verifying_key().to_bytes()));
    let other = SignerKey::HashX(Uint256([7; 32]));
    let domain = |text: &str| Some(String32(text.try_into().unwrap()));
    let cases = [
        (options(|op| op.home_domain = domain("example.com")), "TxSuccess(SetOptions(Success))"),
        (
            options(|op| op.signer = Some(Signer { key: other.clone(), weight: 1 })),
            "TxSuccess(SetOptions(Success))",
        ),
        (
            options(|op| op.inflation_dest = Some(id(&key(9)))),
            "TxFailed(SetOptions(InvalidInflation))",
        ),
        (options(|op| op.set_flags = Some(8)), "TxFailed(SetOptions(AuthRevocableRequired))"),
    ];
    for (op, expected) in cases {
        assert_eq!(outcome(op), expected);
    }
    let world = World::with(&[&key(1)]);
    let refusals = [
        (options(|op| op.home_domain = domain("a\u{7}")), "InvalidHomeDomain"),
        (options(|op| op.med_threshold = Some(256)), "ThresholdOutOfRange"),
        (options(|op| op.set_flags = Some(16)), "UnknownFlag"),
        (options(|op| (op.set_flags, op.clear_flags) = (Some(1), Some(1))), "BadFlags"),
        (options(|op| op.signer = Some(Signer { key: own.clone(), weight: 1 })), "BadSigner"),
    ];
    for (op, expected) in refusals {
        let tx = world.tx(&key(1), vec![op]);
        let refused = world.refused(world.sign(tx, &[&key(1)]));
        assert_eq!(words(&refused), format!("TxFailed(SetOptions({expected}))"));
    }
}

#[test]
fn a_transaction_with_one_failing_operation_does_nothing_but_cost() {
    let (ann, bob) = (key(1), key(2));
    let world = World::with(&[&ann, &bob]);
    let before = world.account(&id(&ann));
    let tx = world.tx(
        &ann,
        vec![
            pay(&id(&bob), Asset::Native, XLM),
            pay(&id(&key(9)), Asset::Native, XLM),
            pay(&id(&bob), Asset::Native, XLM),
        ],
    );
    let record = world.run(world.sign(tx, &[&ann]));
    assert_eq!(record.status, TransactionStatus::Failed);
    let expected = "TxFailed(Payment(Success), Payment(NoDestination), Payment(Success))";
    assert_eq!(words(&record.result), expected);
    assert_eq!(record.result.fee_charged, 300);
    let after = world.account(&id(&ann));
    assert_eq!(after.balance, before.balance - 300);
    assert_eq!(after.seq_num.0, before.seq_num.0 + 1);
    assert_eq!(world.balance(&bob), 1000 * XLM);
}

#[test]
fn operations_act_for_their_own_sources() {
    let (ann, bob) = (key(1), key(2));
    let world = World::with(&[&ann, &bob]);
    let swap = vec![
        pay(&id(&bob), Asset::Native, 5 * XLM),
        by(&bob, pay(&id(&ann), Asset::Native, 7 * XLM)),
    ];
    world.apply(world.sign(world.tx(&ann, swap), &[&ann, &bob]));
    assert_eq!(world.balance(&ann), 1002 * XLM - 200);
    assert_eq!(world.balance(&bob), 998 * XLM);
}
