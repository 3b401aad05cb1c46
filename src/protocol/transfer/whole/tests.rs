use ed25519_dalek::Signer as _;

use super::*;
use crate::protocol::{
    money::Amount,
    transfer::{
        authorization, sign_authorization,
        tests::{account, key},
        transfer_call, unsigned_envelope,
    },
};

const NETWORK: Network = Network::Testnet;
const PAYER: u8 = 3;
const PAYEE: u8 = 1;
const SPONSOR: u8 = 9;

fn expected() -> Expected {
    Expected {
        network: NETWORK,
        asset: NETWORK.usdc().contract,
        payee: Address::Account(account(PAYEE)),
        amount: Amount::from_units(10_000).unwrap(),
    }
}

/// A payer's own transaction, not signed yet, after `change`.
fn unsigned(change: impl FnOnce(&mut xdr::Transaction)) -> xdr::Transaction {
    let Expected { asset, payee, amount, .. } = expected();
    let call = transfer_call(asset, Address::Account(account(PAYER)), payee, amount);
    let entry = xdr::SorobanAuthorizationEntry {
        credentials: xdr::SorobanCredentials::SourceAccount,
        root_invocation: root_invocation(call.clone()),
    };
    let operation = invocation(call, vec![entry]);
    let xdr::TransactionEnvelope::Tx(envelope) = unsigned_envelope(operation, None, 100, 1_000)
    else {
        unreachable!()
    };
    let mut tx = envelope.tx;
    tx.source_account = account(PAYER).to_muxed();
    change(&mut tx);
    tx
}

fn invocation(
    call: xdr::InvokeContractArgs,
    auth: Vec<xdr::SorobanAuthorizationEntry>,
) -> xdr::Operation {
    xdr::Operation {
        source_account: None,
        body: xdr::OperationBody::InvokeHostFunction(xdr::InvokeHostFunctionOp {
            host_function: xdr::HostFunction::InvokeContract(call),
            auth: auth.try_into().unwrap(),
        }),
    }
}

fn signature(seed: u8, hash: [u8; 32]) -> xdr::DecoratedSignature {
    let account = account(seed);
    xdr::DecoratedSignature {
        hint: xdr::SignatureHint(*account.0.last_chunk().unwrap()),
        signature: xdr::Signature(key(seed).sign(&hash).to_bytes().to_vec().try_into().unwrap()),
    }
}

fn signed(tx: xdr::Transaction, seed: u8) -> xdr::TransactionV1Envelope {
    let signatures = vec![signature(seed, tx.hash(NETWORK.id()).unwrap())].try_into().unwrap();
    xdr::TransactionV1Envelope { tx, signatures }
}

fn plain(tx: xdr::Transaction) -> xdr::TransactionEnvelope {
    xdr::TransactionEnvelope::Tx(signed(tx, PAYER))
}

fn bumped(tx: xdr::Transaction, by: u8, signer: u8) -> xdr::TransactionEnvelope {
    let bump = xdr::FeeBumpTransaction {
        fee_source: account(by).to_muxed(),
        fee: 1_000,
        inner_tx: xdr::FeeBumpTransactionInnerTx::Tx(signed(tx, PAYER)),
        ext: xdr::FeeBumpTransactionExt::V0,
    };
    let signatures = vec![signature(signer, bump.hash(NETWORK.id()).unwrap())].try_into().unwrap();
    xdr::TransactionEnvelope::TxFeeBump(xdr::FeeBumpTransactionEnvelope { tx: bump, signatures })
}

/// As a transaction on the ledger.
fn read(envelope: xdr::TransactionEnvelope) -> Result<Whole, Error> {
    Whole::landed(envelope, NETWORK)
}

/// All rules that need no ledger.
fn judge(envelope: xdr::TransactionEnvelope) -> Result<(), Error> {
    let whole = Whole::to_send(envelope, NETWORK)?;
    whole.check(&expected(), &[account(SPONSOR)])?;
    whole.check_signatures()?;
    whole.check_time(900, 1, 1_000)
}

/// The auth entries of a transaction, to be changed.
fn auth_of(
    tx: &mut xdr::Transaction,
    change: impl FnOnce(&mut Vec<xdr::SorobanAuthorizationEntry>),
) {
    let mut operation = tx.operations[0].clone();
    let xdr::OperationBody::InvokeHostFunction(invoke) = &mut operation.body else {
        unreachable!()
    };
    let mut auth = invoke.auth.to_vec();
    change(&mut auth);
    invoke.auth = auth.try_into().unwrap();
    tx.operations = vec![operation].try_into().unwrap();
}

/// An entry that the payer signed, for a transaction of anybody.
fn entry(nonce: i64) -> xdr::SorobanAuthorizationEntry {
    let Expected { asset, payee, amount, .. } = expected();
    let payer = Address::Account(account(PAYER));
    let call = transfer_call(asset, payer, payee, amount);
    let mut entry = authorization(call, payer, nonce, 100);
    sign_authorization(&mut entry, &key(PAYER), NETWORK).unwrap();
    entry
}

#[test]
fn b23_a_payers_own_transaction_pays_and_a_fee_bump_around_it_is_only_found() {
    assert_eq!(judge(plain(unsigned(|_| ()))), Ok(()));
    let bumped = bumped(unsigned(|_| ()), 7, 7);
    assert_eq!(judge(bumped.clone()), Err(Error::FeeBumped));
    assert_eq!(read(bumped).unwrap().check(&expected(), &[account(SPONSOR)]), Ok(()));
    let text = |envelope: &xdr::TransactionEnvelope| {
        use base64::Engine as _;
        let bytes = envelope.to_xdr(xdr::Limits::none()).unwrap();
        base64::engine::general_purpose::STANDARD.encode(bytes)
    };
    let envelope = plain(unsigned(|_| ()));
    let presented = super::super::Pulled::parse(&text(&envelope), NETWORK).unwrap();
    assert_eq!(presented, super::super::Pulled::Whole(Box::new(read(envelope).unwrap())));
}

#[test]
fn a_transaction_is_known_by_one_name_whatever_bumps_it() {
    let plain = read(plain(unsigned(|_| ()))).unwrap();
    let bumped = read(bumped(unsigned(|_| ()), 7, 7)).unwrap();
    assert_eq!(plain.claim_key(), bumped.claim_key());
    assert_ne!(plain.hash(), bumped.hash());
    // The ledger takes one transaction of a sequence number, whatever else it says.
    let dearer = read(super::tests::plain(unsigned(|tx| tx.fee = 101))).unwrap();
    assert_eq!(plain.claim_key(), dearer.claim_key());
    assert_ne!(plain.authorization_hash(), dearer.authorization_hash());
    let next = unsigned(|tx| tx.seq_num = xdr::SequenceNumber(2));
    assert_ne!(plain.claim_key(), read(super::tests::plain(next)).unwrap().claim_key());
}

#[test]
fn a_signed_entry_is_known_by_its_nonce_in_any_transaction() {
    let by = |source: u8, nonce| {
        let mut tx = unsigned(|tx| tx.source_account = account(source).to_muxed());
        auth_of(&mut tx, |auth| *auth = vec![entry(nonce)]);
        xdr::TransactionEnvelope::Tx(signed(tx, source))
    };
    let own = read(by(PAYER, 7)).unwrap();
    assert_eq!(judge(by(PAYER, 7)), Ok(()));
    assert_eq!(judge(by(5, 7)), Ok(()));
    assert_eq!(own.claim_key(), read(by(5, 7)).unwrap().claim_key());
    assert_ne!(own.claim_key(), read(by(PAYER, 8)).unwrap().claim_key());
    // As the sponsored form of the same authorization names it.
    let call = unsigned(|_| ());
    let xdr::OperationBody::InvokeHostFunction(invoke) = call.operations[0].body.clone() else {
        unreachable!()
    };
    let xdr::HostFunction::InvokeContract(call) = invoke.host_function else { unreachable!() };
    let sponsored = unsigned_envelope(invocation(call, vec![entry(7)]), None, 100, 1_000);
    let xdr::TransactionEnvelope::Tx(sponsored) = sponsored else { unreachable!() };
    let sponsored = super::super::Transfer::from_envelope(&sponsored).unwrap();
    assert_eq!(own.claim_key(), sponsored.claim_key(NETWORK));
}

#[test]
fn b01_b03_b04_b05_b06_only_the_transfer_that_was_asked_pays() {
    let other = |expected: Expected| read(plain(unsigned(|_| ()))).unwrap().check(&expected, &[]);
    assert_eq!(other(expected()), Ok(()));
    let amount = Amount::from_units(9_999).unwrap();
    assert_eq!(other(Expected { amount, ..expected() }), Err(Error::WrongAmount));
    let asset = NETWORK.xlm().contract;
    assert_eq!(other(Expected { asset, ..expected() }), Err(Error::WrongAsset));
    let payee = Address::Account(account(5));
    assert_eq!(other(Expected { payee, ..expected() }), Err(Error::WrongRecipient));
    let payee = Address::Account(account(PAYER));
    assert_eq!(other(Expected { payee, ..expected() }), Err(Error::FacilitatorIsPayer));

    let twice = unsigned(|tx| {
        tx.operations = vec![tx.operations[0].clone(); 2].try_into().unwrap();
    });
    assert_eq!(judge(plain(twice)), Err(Error::WrongOperation));
    let none = unsigned(|tx| tx.operations = xdr::VecM::default());
    assert_eq!(judge(plain(none)), Err(Error::WrongOperation));
}

#[test]
fn b08_b09_none_of_our_keys_pays_or_signs() {
    let ours = account(SPONSOR);
    let by_us = unsigned(|tx| {
        tx.source_account = ours.to_muxed();
        auth_of(tx, |auth| *auth = vec![entry(7)]);
    });
    assert_eq!(judge(plain(by_us)), Err(Error::UnsafeSource));
    let by_our_fee = read(bumped(unsigned(|_| ()), SPONSOR, SPONSOR)).unwrap();
    assert_eq!(by_our_fee.check(&expected(), &[ours]), Err(Error::UnsafeSource));
    let operation_by_us = unsigned(|tx| {
        let mut operation = tx.operations[0].clone();
        operation.source_account = Some(ours.to_muxed());
        tx.operations = vec![operation].try_into().unwrap();
    });
    assert_eq!(judge(plain(operation_by_us)), Err(Error::UnsafeSource));
}

#[test]
fn b10_b11_the_payer_has_to_have_signed_exactly_this_call() {
    let with = |change: fn(&mut Vec<xdr::SorobanAuthorizationEntry>)| {
        let mut tx = unsigned(|_| ());
        auth_of(&mut tx, change);
        judge(plain(tx))
    };
    assert_eq!(with(|_| ()), Ok(()));
    assert_eq!(with(|auth| auth.clear()), Err(Error::NoAuthorization));
    assert_eq!(with(|auth| auth.push(auth[0].clone())), Err(Error::ManyAuthorizations));
    assert_eq!(
        with(|auth| {
            let nested = auth[0].root_invocation.clone();
            auth[0].root_invocation.sub_invocations = vec![nested].try_into().unwrap();
        }),
        Err(Error::SubInvocations)
    );
    assert_eq!(
        with(|auth| {
            let other = transfer_call(
                NETWORK.xlm().contract,
                Address::Account(account(PAYER)),
                expected().payee,
                expected().amount,
            );
            auth[0].root_invocation = root_invocation(other);
        }),
        Err(Error::OtherCall)
    );
    assert_eq!(
        with(|auth| {
            auth[0] = entry(7);
            let xdr::SorobanCredentials::Address(credentials) = &mut auth[0].credentials else {
                unreachable!()
            };
            credentials.nonce = 8;
        }),
        Err(Error::BadSignature)
    );
    // A stranger's transaction cannot spend by being its source.
    let stranger = unsigned(|tx| tx.source_account = account(5).to_muxed());
    assert_eq!(
        judge(xdr::TransactionEnvelope::Tx(signed(stranger, 5))),
        Err(Error::MissingSignature)
    );
}

#[test]
fn an_envelope_without_the_signature_of_its_source_never_reaches_the_ledger() {
    let by_another = xdr::TransactionEnvelope::Tx(signed(unsigned(|_| ()), 5));
    assert_eq!(judge(by_another), Err(Error::NotSigned));
    let tx = unsigned(|_| ());
    let bare = xdr::TransactionV1Envelope { tx, signatures: xdr::VecM::default() };
    assert_eq!(judge(xdr::TransactionEnvelope::Tx(bare)), Err(Error::NotSigned));
    let mut twice = signed(unsigned(|_| ()), PAYER);
    twice.signatures = vec![twice.signatures[0].clone(); 2].try_into().unwrap();
    assert_eq!(judge(xdr::TransactionEnvelope::Tx(twice)), Err(Error::NotSigned));
    // Signed before it was changed.
    let mut changed = signed(unsigned(|_| ()), PAYER);
    changed.tx.fee = 101;
    assert_eq!(judge(xdr::TransactionEnvelope::Tx(changed)), Err(Error::NotSigned));
}

#[test]
fn b24_it_may_land_now_and_not_after_its_challenge() {
    let bounds = |min, max| {
        let tx = unsigned(|tx| {
            tx.cond = xdr::Preconditions::Time(xdr::TimeBounds {
                min_time: xdr::TimePoint(min),
                max_time: xdr::TimePoint(max),
            });
        });
        judge(plain(tx))
    };
    assert_eq!(bounds(0, 1_000), Ok(()));
    assert_eq!(bounds(0, 906), Ok(()));
    assert_eq!(bounds(0, 905), Err(Error::OutOfTime));
    assert_eq!(bounds(901, 1_000), Err(Error::OutOfTime));
    assert_eq!(bounds(0, 0), Err(Error::ExpiresTooLate));
    assert_eq!(bounds(0, 1_001), Err(Error::ExpiresTooLate));
    let none = unsigned(|tx| tx.cond = xdr::Preconditions::None);
    assert_eq!(judge(plain(none)), Err(Error::ExpiresTooLate));
}
