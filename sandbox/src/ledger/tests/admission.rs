//! Refusals on the way in, each with the code that a client acts on, and the way round it.

use stellar_xdr::{
    DecoratedSignature, Duration, LedgerBounds, Memo, Operation, OperationBody, Preconditions,
    PreconditionsV2, SequenceNumber, SetOptionsOp, Signature, SignatureHint, Signer, SignerKey,
    TimeBounds, TimePoint, Transaction, TransactionEnvelope, TransactionExt, TransactionV0,
    TransactionV0Envelope, TransactionV0Ext, TransactionV1Envelope, Uint256,
};

use super::kit::*;
use crate::ledger::xdr::{list, sha256};
use crate::ledger::{Submission, TransactionStatus};

fn v2() -> PreconditionsV2 {
    PreconditionsV2 {
        time_bounds: None,
        ledger_bounds: None,
        min_seq_num: None,
        min_seq_age: Duration(0),
        min_seq_ledger_gap: 0,
        extra_signers: list(Vec::new()),
    }
}

fn between(min_time: u64, max_time: u64) -> Preconditions {
    Preconditions::Time(TimeBounds { min_time: TimePoint(min_time), max_time: TimePoint(max_time) })
}

fn ledgers(min_ledger: u32, max_ledger: u32) -> Preconditions {
    Preconditions::V2(PreconditionsV2 {
        ledger_bounds: Some(LedgerBounds { min_ledger, max_ledger }),
        ..v2()
    })
}

/// What happens to one lumen paid from Ann to Bob when `change` has had its way with the transaction.
fn answer(change: impl Fn(&mut Transaction)) -> String {
    let (ann, bob) = (key(1), key(2));
    let world = World::with(&[&ann, &bob]);
    let mut tx = world.tx(&ann, vec![pay(&id(&bob), stellar_xdr::Asset::Native, XLM)]);
    change(&mut tx);
    match world.ledger.submit(world.sign(tx, &[&ann])) {
        Submission::Pending { .. } => "Pending".to_owned(),
        Submission::Error { result, .. } => words(&result),
        other => format!("{other:?}"),
    }
}

#[test]
fn a_sound_payment_is_admitted() {
    assert_eq!(answer(|_| {}), "Pending");
}

#[test]
fn each_reason_for_refusal_has_its_code() {
    // Ledger 2 created Ann, so this is about ledger 3; it closes at START + 2.
    type Change = fn(&mut Transaction);
    let cases: &[(&str, Change, &str)] = &[
        ("no operation", |tx| tx.operations = list(Vec::new()), "TxMissingOperation"),
        ("sequence too low", |tx| tx.seq_num.0 -= 1, "TxBadSeq"),
        ("sequence too high", |tx| tx.seq_num.0 += 1, "TxBadSeq"),
        ("fee too low", |tx| tx.fee = 99, "TxInsufficientFee"),
        ("more fee than needed", |tx| tx.fee = u32::MAX, "Pending"),
        ("too early", |tx| tx.cond = between(START + 2, 0), "TxTooEarly"),
        ("early enough", |tx| tx.cond = between(START + 1, 0), "Pending"),
        ("too late", |tx| tx.cond = between(0, START), "TxTooLate"),
        ("late enough", |tx| tx.cond = between(0, START + 1), "Pending"),
        ("before its ledgers", |tx| tx.cond = ledgers(4, 0), "TxTooEarly"),
        ("first of its ledgers", |tx| tx.cond = ledgers(3, 0), "Pending"),
        ("after its ledgers", |tx| tx.cond = ledgers(0, 3), "TxTooLate"),
        ("last of its ledgers", |tx| tx.cond = ledgers(0, 4), "Pending"),
        (
            "a gap that minSeqNum does not allow",
            |tx| {
                tx.seq_num.0 += 5;
                let min_seq_num = Some(SequenceNumber(tx.seq_num.0 - 1));
                tx.cond = Preconditions::V2(PreconditionsV2 { min_seq_num, ..v2() });
            },
            "TxBadSeq",
        ),
        (
            "a gap that minSeqNum allows",
            |tx| {
                let min_seq_num = Some(SequenceNumber(tx.seq_num.0 - 1));
                tx.seq_num.0 += 5;
                tx.cond = Preconditions::V2(PreconditionsV2 { min_seq_num, ..v2() });
            },
            "Pending",
        ),
        (
            "an account too young in seconds",
            |tx| {
                let min_seq_age = Duration(START + 2);
                tx.cond = Preconditions::V2(PreconditionsV2 { min_seq_age, ..v2() });
            },
            "TxBadMinSeqAgeOrGap",
        ),
        (
            "an account too young in ledgers",
            |tx| {
                tx.cond = Preconditions::V2(PreconditionsV2 { min_seq_ledger_gap: 4, ..v2() });
            },
            "TxBadMinSeqAgeOrGap",
        ),
        (
            "the same extra signer twice",
            |tx| {
                let signer = SignerKey::Ed25519(Uint256([7; 32]));
                let extra_signers = list(vec![signer.clone(), signer]);
                tx.cond = Preconditions::V2(PreconditionsV2 { extra_signers, ..v2() });
            },
            "TxMalformed",
        ),
        (
            "an extra signer that did not sign",
            |tx| {
                let extra_signers = list(vec![SignerKey::Ed25519(Uint256([7; 32]))]);
                tx.cond = Preconditions::V2(PreconditionsV2 { extra_signers, ..v2() });
            },
            "TxBadAuth",
        ),
        (
            "contract data on a classic transaction",
            |tx| {
                let data = stellar_xdr::SorobanTransactionData {
                    ext: stellar_xdr::SorobanTransactionDataExt::V0,
                    resources: stellar_xdr::SorobanResources {
                        footprint: stellar_xdr::LedgerFootprint {
                            read_only: list(Vec::new()),
                            read_write: list(Vec::new()),
                        },
                        instructions: 0,
                        disk_read_bytes: 0,
                        write_bytes: 0,
                    },
                    resource_fee: 0,
                };
                tx.ext = TransactionExt::V1(data);
            },
            "TxMalformed",
        ),
        (
            "an operation that the sandbox does not have",
            |tx| tx.operations = list(vec![operation(OperationBody::Inflation)]),
            "TxFailed(OpNotSupported)",
        ),
        (
            "an operation for an account that did not sign",
            |tx| {
                let operations = tx.operations.iter().map(|op| by(&key(2), op.clone()));
                tx.operations = list(operations.collect());
            },
            "TxFailed(OpBadAuth)",
        ),
        (
            "a payment of nothing",
            |tx| {
                let nothing = pay(&id(&key(2)), stellar_xdr::Asset::Native, 0);
                tx.operations = list(vec![nothing]);
            },
            "TxFailed(Payment(Malformed))",
        ),
    ];
    for (case, change, expected) in cases {
        assert_eq!(answer(change), *expected, "{case}");
    }
}

#[test]
fn signatures_must_be_right_sufficient_and_all_needed() {
    let (ann, bob) = (key(1), key(2));
    let world = World::with(&[&ann, &bob]);
    let tx = || world.tx(&ann, vec![pay(&id(&bob), stellar_xdr::Asset::Native, XLM)]);
    assert_eq!(words(&world.refused(world.sign(tx(), &[]))), "TxBadAuth");
    assert_eq!(words(&world.refused(world.sign(tx(), &[&bob]))), "TxBadAuth");
    assert_eq!(words(&world.refused(world.sign(tx(), &[&ann, &bob]))), "TxBadAuthExtra");
    assert_eq!(words(&world.refused(world.sign(tx(), &[&ann, &ann]))), "TxBadAuthExtra");
    let mut changed = tx();
    changed.memo = Memo::Id(7);
    let TransactionEnvelope::Tx(signed) = world.sign(tx(), &[&ann]) else { panic!("plain") };
    let forged = TransactionV1Envelope { tx: changed, signatures: signed.signatures };
    assert_eq!(words(&world.refused(TransactionEnvelope::Tx(forged))), "TxBadAuth");
    world.apply(world.sign(tx(), &[&ann]));
}

#[test]
fn an_account_that_does_not_exist_cannot_act() {
    let world = World::new();
    let tx = world.tx(&key(1), vec![pay(&id(&key(2)), stellar_xdr::Asset::Native, XLM)]);
    assert_eq!(words(&world.refused(world.sign(tx, &[&key(1)]))), "TxNoAccount");
}

#[test]
fn the_fee_must_be_at_hand_above_the_reserve() {
    let ann = key(1);
    let world = World::new();
    let root = world.ledger.root();
    world.apply(world.sign(world.tx(&root, vec![create(&id(&ann), XLM)]), &[&root]));
    let tx = world.tx(&ann, vec![pay(&id(&root), stellar_xdr::Asset::Native, 1)]);
    assert_eq!(words(&world.refused(world.sign(tx, &[&ann]))), "TxInsufficientBalance");
    world.apply(
        world
            .sign(world.tx(&root, vec![pay(&id(&ann), stellar_xdr::Asset::Native, 101)]), &[&root]),
    );
    let tx = world.tx(&ann, vec![pay(&id(&root), stellar_xdr::Asset::Native, 1)]);
    world.apply(world.sign(tx, &[&ann]));
}

fn weigh(signer: Option<Signer>, low: u32, medium: u32, high: u32) -> Operation {
    operation(OperationBody::SetOptions(SetOptionsOp {
        inflation_dest: None,
        clear_flags: None,
        set_flags: None,
        master_weight: Some(1),
        low_threshold: Some(low),
        med_threshold: Some(medium),
        high_threshold: Some(high),
        home_domain: None,
        signer,
    }))
}

#[test]
fn thresholds_add_up_the_weights_of_signers() {
    let (ann, bob) = (key(1), key(2));
    let world = World::with(&[&ann, &bob]);
    let second =
        Signer { key: SignerKey::Ed25519(Uint256(bob.verifying_key().to_bytes())), weight: 1 };
    world.apply(world.sign(world.tx(&ann, vec![weigh(Some(second), 1, 2, 2)]), &[&ann]));
    let payment = || world.tx(&ann, vec![pay(&id(&bob), stellar_xdr::Asset::Native, XLM)]);
    let alone = world.refused(world.sign(payment(), &[&ann]));
    assert_eq!(words(&alone), "TxFailed(OpBadAuth)");
    world.apply(world.sign(payment(), &[&ann, &bob]));
    let raise = world.tx(&ann, vec![weigh(None, 3, 3, 3)]);
    world.apply(world.sign(raise, &[&bob, &ann]));
    let locked = world.refused(world.sign(payment(), &[&ann, &bob]));
    assert_eq!(words(&locked), "TxBadAuth");
}

#[test]
fn a_preimage_signs_as_often_as_it_is_shown() {
    let (ann, bob) = (key(1), key(2));
    let world = World::with(&[&ann, &bob]);
    let secret = b"a secret".to_vec();
    let digest = sha256(&secret).0;
    let signer = Signer { key: SignerKey::HashX(Uint256(digest)), weight: 1 };
    world.apply(world.sign(world.tx(&ann, vec![weigh(Some(signer), 0, 0, 0)]), &[&ann]));
    let shown = |secret: &[u8]| {
        let tx = world.tx(&ann, vec![pay(&id(&bob), stellar_xdr::Asset::Native, XLM)]);
        let signature = DecoratedSignature {
            hint: SignatureHint(digest[28..].try_into().unwrap()),
            signature: Signature(secret.to_vec().try_into().unwrap()),
        };
        TransactionEnvelope::Tx(TransactionV1Envelope { tx, signatures: list(vec![signature]) })
    };
    assert_eq!(words(&world.refused(shown(b"a guess"))), "TxBadAuth");
    world.apply(shown(&secret));
    world.apply(shown(&secret));
}

#[test]
fn an_extra_signer_must_sign_too() {
    let (ann, bob) = (key(1), key(2));
    let world = World::with(&[&ann, &bob]);
    let mut tx = world.tx(&ann, vec![pay(&id(&bob), stellar_xdr::Asset::Native, XLM)]);
    let bobs = SignerKey::Ed25519(Uint256(bob.verifying_key().to_bytes()));
    let extra_signers = list(vec![bobs]);
    tx.cond = Preconditions::V2(PreconditionsV2 { extra_signers, ..v2() });
    assert_eq!(words(&world.refused(world.sign(tx.clone(), &[&ann]))), "TxBadAuth");
    world.apply(world.sign(tx, &[&ann, &bob]));
}

#[test]
fn a_preauthorized_transaction_is_good_once() {
    let (ann, bob) = (key(1), key(2));
    let world = World::with(&[&ann, &bob]);
    let mut later = world.tx(&ann, vec![pay(&id(&bob), stellar_xdr::Asset::Native, XLM)]);
    later.seq_num.0 += 1;
    let later = world.sign(later, &[]);
    let preauthorized =
        Signer { key: SignerKey::PreAuthTx(Uint256(world.hash(&later).0)), weight: 1 };
    world.apply(world.sign(world.tx(&ann, vec![weigh(Some(preauthorized), 0, 0, 0)]), &[&ann]));
    assert_eq!(world.account(&id(&ann)).signers.len(), 1);
    assert_eq!(world.account(&id(&ann)).num_sub_entries, 1);
    world.apply(later);
    assert_eq!(world.account(&id(&ann)).signers.len(), 0);
    assert_eq!(world.account(&id(&ann)).num_sub_entries, 0);
}

#[test]
fn an_account_has_one_transaction_waiting() {
    let (ann, bob) = (key(1), key(2));
    let world = World::with(&[&ann, &bob]);
    let payment = |amount, ahead| {
        let mut tx = world.tx(&ann, vec![pay(&id(&bob), stellar_xdr::Asset::Native, amount)]);
        tx.seq_num.0 += ahead;
        world.sign(tx, &[&ann])
    };
    let first = payment(1, 0);
    let hash = world.hash(&first);
    assert_eq!(world.ledger.submit(first.clone()), Submission::Pending { hash: hash.clone() });
    assert!(world.ledger.is_pending(&hash));
    assert_eq!(world.ledger.submit(first), Submission::Duplicate { hash: hash.clone() });
    for other in [payment(2, 0), payment(2, 1)] {
        let later = Submission::TryAgainLater { hash: world.hash(&other) };
        assert_eq!(world.ledger.submit(other), later);
    }
    assert_eq!(words(&world.refused(payment(2, -1))), "TxBadSeq");
    world.close();
    assert!(!world.ledger.is_pending(&hash));
    assert_eq!(world.ledger.transaction(&hash).unwrap().status, TransactionStatus::Success);
    world.apply(payment(2, 0));
}

#[test]
fn a_fee_bump_takes_the_place_of_what_it_outbids_tenfold() {
    let (ann, bob, payer) = (key(1), key(2), key(3));
    let world = World::with(&[&ann, &bob, &payer]);
    let inner = world.tx(&ann, vec![pay(&id(&bob), stellar_xdr::Asset::Native, XLM)]);
    let inner = world.sign(inner, &[&ann]);
    let pending = |envelope: &_| Submission::Pending { hash: world.hash(envelope) };
    assert_eq!(world.ledger.submit(inner.clone()), pending(&inner));
    // A bid of 100 for one operation: ten times as much for two.
    let refused = world.refused(world.bump(inner.clone(), &payer, 1_999));
    assert_eq!((words(&refused).as_str(), refused.fee_charged), ("TxInsufficientFee", 2_000));
    let bump = world.bump(inner.clone(), &payer, 2_000);
    assert_eq!(world.ledger.submit(bump.clone()), pending(&bump));
    let refused = world.refused(world.bump(inner.clone(), &bob, 19_999));
    assert_eq!((words(&refused).as_str(), refused.fee_charged), ("TxInsufficientFee", 20_000));
    let again = Submission::Duplicate { hash: world.hash(&inner) };
    assert_eq!(world.ledger.submit(inner.clone()), again);

    let other = world.tx(&bob, vec![pay(&id(&ann), stellar_xdr::Asset::Native, 1)]);
    world.apply(world.sign(other, &[&bob]));
    let record = world.ledger.transaction(&world.hash(&inner)).unwrap();
    assert_eq!(record.hash, world.hash(&bump));
    assert_eq!(world.balance(&ann), 999 * XLM + 1, "another paid the fee");
    assert_eq!(world.balance(&payer), 1000 * XLM - 200);
    assert!(!world.ledger.is_pending(&world.hash(&bump)));
    assert_eq!(words(&world.refused(inner)), "TxBadSeq");
}

#[test]
fn a_transaction_that_was_applied_cannot_come_again() {
    let (ann, bob) = (key(1), key(2));
    let world = World::with(&[&ann, &bob]);
    let tx = world.tx(&ann, vec![pay(&id(&bob), stellar_xdr::Asset::Native, XLM)]);
    let envelope = world.sign(tx, &[&ann]);
    world.apply(envelope.clone());
    assert_eq!(words(&world.refused(envelope)), "TxBadSeq");
}

#[test]
fn a_transaction_whose_time_passes_while_it_waits_is_dropped() {
    let (ann, bob) = (key(1), key(2));
    let world = World::with(&[&ann, &bob]);
    let mut tx = world.tx(&ann, vec![pay(&id(&bob), stellar_xdr::Asset::Native, XLM)]);
    tx.cond = between(0, world.now.get() + 1);
    let envelope = world.sign(tx, &[&ann]);
    let hash = world.hash(&envelope);
    assert!(matches!(world.ledger.submit(envelope), Submission::Pending { .. }));
    world.ledger.close(world.now.get() + 2);
    assert!(world.ledger.transaction(&hash).is_none());
    assert!(!world.ledger.is_pending(&hash));
    assert_eq!(world.balance(&ann), 1000 * XLM);
}

#[test]
fn one_payer_pays_for_many_as_long_as_its_balance_lasts() {
    let (ann, bob, payer) = (key(1), key(2), key(3));
    let world = World::with(&[&ann, &bob, &payer]);
    let bumped = |person: &_| {
        let mut tx = world.tx(person, vec![pay(&id(&payer), stellar_xdr::Asset::Native, 1)]);
        tx.fee = 0;
        world.bump(world.sign(tx, &[person]), &payer, 600 * XLM)
    };
    assert!(matches!(world.ledger.submit(bumped(&ann)), Submission::Pending { .. }));
    assert_eq!(words(&world.refused(bumped(&bob))), "TxInsufficientBalance");
    world.close();
    assert!(matches!(world.ledger.submit(bumped(&bob)), Submission::Pending { .. }));
}

#[test]
fn a_fee_bump_is_refused_for_its_own_part_or_for_its_inner_one() {
    let (ann, bob, payer) = (key(1), key(2), key(3));
    let world = World::with(&[&ann, &bob, &payer]);
    let inner = |fee| {
        let mut tx = world.tx(&ann, vec![pay(&id(&bob), stellar_xdr::Asset::Native, XLM)]);
        tx.fee = fee;
        tx
    };
    let signed = |fee| world.sign(inner(fee), &[&ann]);
    assert_eq!(words(&world.refused(world.bump(signed(100), &payer, 199))), "TxInsufficientFee");
    let outbid = world.refused(world.bump(signed(1000), &payer, 1999));
    assert_eq!((words(&outbid).as_str(), outbid.fee_charged), ("TxInsufficientFee", 2000));
    let unknown = world.bump(signed(100), &key(9), 200);
    assert_eq!(words(&world.refused(unknown)), "TxNoAccount");
    let mut unsigned = world.bump(signed(100), &payer, 200);
    if let TransactionEnvelope::TxFeeBump(bump) = &mut unsigned {
        bump.signatures = list(Vec::new());
    }
    assert_eq!(words(&world.refused(unsigned)), "TxBadAuth");
    let inner_unsigned = world.bump(world.sign(inner(100), &[&bob]), &payer, 200);
    assert_eq!(words(&world.refused(inner_unsigned)), "TxFeeBumpInnerFailed(TxBadAuth)");
    let mut old = inner(100);
    old.seq_num.0 -= 1;
    let old = world.bump(world.sign(old, &[&ann]), &payer, 200);
    assert_eq!(words(&world.refused(old)), "TxFeeBumpInnerFailed(TxBadSeq)");
    assert!(matches!(
        world.ledger.submit(world.bump(signed(100), &payer, 200)),
        Submission::Pending { .. }
    ));
}

#[test]
fn an_envelope_of_the_first_version_is_taken_as_its_successor() {
    let (ann, bob) = (key(1), key(2));
    let world = World::with(&[&ann, &bob]);
    let tx = world.tx(&ann, vec![pay(&id(&bob), stellar_xdr::Asset::Native, XLM)]);
    let envelope = world.sign(tx.clone(), &[&ann]);
    let hash = world.hash(&envelope);
    let TransactionEnvelope::Tx(signed) = envelope else { panic!("plain") };
    let old = TransactionEnvelope::TxV0(TransactionV0Envelope {
        tx: TransactionV0 {
            source_account_ed25519: Uint256(ann.verifying_key().to_bytes()),
            fee: tx.fee,
            seq_num: tx.seq_num,
            time_bounds: None,
            memo: tx.memo,
            operations: tx.operations,
            ext: TransactionV0Ext::V0,
        },
        signatures: signed.signatures,
    });
    assert_eq!(world.ledger.submit(old), Submission::Pending { hash });
}

#[test]
fn only_a_trusted_account_needs_no_signature_and_only_through_its_door() {
    let (ann, bob) = (key(1), key(2));
    let world = World::with_usdc(&[&ann, &bob]);
    let mint = || world.sign(world.tx_of(&issuer(), vec![pay(&id(&ann), usdc(), 1)]), &[]);
    assert_eq!(words(&world.refused(mint())), "TxBadAuth");
    let theft = world.sign(world.tx(&ann, vec![pay(&id(&bob), usdc(), 1)]), &[]);
    let Submission::Error { result, .. } = world.ledger.submit_unsigned(theft) else {
        panic!("a refusal")
    };
    assert_eq!(words(&result), "TxBadAuth");
    world.apply_unsigned(mint());
}
