use ed25519_dalek::SigningKey;
use proptest::prelude::*;

use super::*;

mod signed;

/// The payment that the unmodified `@x402/stellar` 2.9.0 client made of the seed 0x01×32 (clock 2026-01-01, ledger 1,000,000).
const VECTOR_A: &str = include_str!("vector_a.txt");

const MAX_FEE: u32 = 100_000;
const MIN_FEE: u32 = 45_000;

pub(super) fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

pub(super) fn account(seed: u8) -> AccountId {
    AccountId(key(seed).verifying_key().to_bytes())
}

fn expected() -> Expected {
    Expected {
        network: Network::Testnet,
        asset: Network::Testnet.usdc().contract,
        payee: Address::Account(account(3)),
        amount: Amount::from_units(10_000).unwrap(),
    }
}

/// The transfer of vector A.
pub(super) fn transfer() -> Transfer {
    Transfer::parse(VECTOR_A).unwrap()
}

fn envelope() -> xdr::TransactionV1Envelope {
    let bytes = STANDARD.decode(VECTOR_A).unwrap();
    match xdr::TransactionEnvelope::from_xdr(bytes, xdr::Limits::none()).unwrap() {
        xdr::TransactionEnvelope::Tx(envelope) => envelope,
        _ => unreachable!(),
    }
}

fn base64(envelope: xdr::TransactionEnvelope) -> String {
    STANDARD.encode(envelope.to_xdr(xdr::Limits::none()).unwrap())
}

/// All checks that need no ledger, as a facilitator with the key 0x02×32 makes them at ledger 1,000,000.
fn judge(text: &str) -> Result<Transfer, Error> {
    let transfer = Transfer::parse(text)?;
    transfer.check(&expected(), &[account(2), account(4)])?;
    transfer.check_fee(MIN_FEE, MAX_FEE)?;
    transfer.check_time(1_767_225_600, 12)?;
    transfer.check_signature(Network::Testnet)?;
    transfer.check_life(1_000_000, 60, 3)?;
    Ok(transfer)
}

/// The verdict over vector A after `change`.
fn changed(change: impl FnOnce(&mut xdr::TransactionV1Envelope)) -> Result<Transfer, Error> {
    let mut envelope = envelope();
    change(&mut envelope);
    judge(&base64(xdr::TransactionEnvelope::Tx(envelope)))
}

/// The verdict over vector A after `change` of its operation's call, in the operation and in the authorization alike,
/// signed anew by the payer.
fn called(change: impl Fn(&mut xdr::InvokeContractArgs)) -> Result<Transfer, Error> {
    changed(|envelope| {
        invoke(envelope, |op| {
            let xdr::HostFunction::InvokeContract(call) = &mut op.host_function else {
                unreachable!()
            };
            change(call);
            let mut entry = op.auth[0].clone();
            entry.root_invocation = root_invocation(call.clone());
            sign_authorization(&mut entry, &key(1), Network::Testnet).unwrap();
            op.auth = vec![entry].try_into().unwrap();
        });
    })
}

/// The verdict over vector A after `change` of its authorization, signed anew by the payer.
fn authorized(change: impl Fn(&mut xdr::SorobanAuthorizationEntry)) -> Result<Transfer, Error> {
    changed(|envelope| {
        invoke(envelope, |op| {
            let mut entry = op.auth[0].clone();
            change(&mut entry);
            if sign_authorization(&mut entry, &key(1), Network::Testnet).is_err() {
                assert!(!matches!(entry.credentials, xdr::SorobanCredentials::Address(_)));
            }
            op.auth = vec![entry].try_into().unwrap();
        });
    })
}

fn invoke(
    envelope: &mut xdr::TransactionV1Envelope,
    change: impl FnOnce(&mut xdr::InvokeHostFunctionOp),
) {
    let mut operations = envelope.tx.operations.to_vec();
    let xdr::OperationBody::InvokeHostFunction(op) = &mut operations[0].body else {
        unreachable!()
    };
    change(op);
    envelope.tx.operations = operations.try_into().unwrap();
}

fn credentials_of(
    entry: &mut xdr::SorobanAuthorizationEntry,
) -> &mut xdr::SorobanAddressCredentials {
    match &mut entry.credentials {
        xdr::SorobanCredentials::Address(credentials) => credentials,
        _ => unreachable!(),
    }
}

fn set_argument(call: &mut xdr::InvokeContractArgs, at: usize, value: xdr::ScVal) {
    let mut args = call.args.to_vec();
    args[at] = value;
    call.args = args.try_into().unwrap();
}

fn operation(body: xdr::OperationBody) -> xdr::Operation {
    xdr::Operation { source_account: None, body }
}

fn with_operations(operations: Vec<xdr::Operation>) -> Result<Transfer, Error> {
    changed(|envelope| envelope.tx.operations = operations.try_into().unwrap())
}

fn payment() -> xdr::Operation {
    operation(xdr::OperationBody::Payment(xdr::PaymentOp {
        destination: account(9).to_muxed(),
        asset: xdr::Asset::Native,
        amount: 1,
    }))
}

#[test]
fn the_reference_clients_payment_is_read_and_passes() {
    let transfer = judge(VECTOR_A).unwrap();
    assert_eq!(transfer.payer(), Address::Account(account(1)));
    assert_eq!(
        transfer.payer().to_string(),
        "GCFIRY65OQE7DFP5KLNS2PF2LVZMUZYJX4OZIEQ36N2IQANUB5XVYOJR"
    );
    assert_eq!(transfer.movement().payee, expected().payee);
    assert_eq!(transfer.movement().amount.units(), 10_000);
    assert_eq!(transfer.movement().asset, expected().asset);
    assert_eq!(transfer.nonce(), 1_234_567_890_123_456_789);
    assert_eq!(transfer.expiration_ledger(), 1_000_012);
    assert_eq!(transfer.time_bounds(), TimeBounds { min: 0, max: 1_767_225_900 });
    let hash = preimage_hash(&transfer.authorization(), Network::Testnet).unwrap();
    assert_eq!(
        hex::encode(hash),
        "76b5259ed1f59a2f37f60a39836e6a8628ef205a4658a364b9a71b6b3bb5054d"
    );
    assert_eq!(
        hex::encode(envelope().hash(Network::Testnet.id()).unwrap()),
        "7d3e7704ab26fb0a373e1af0eb223b4af9a313ed5b2bc5bcfdefaee1a67a79fe"
    );
}

#[test]
fn our_own_builders_make_the_reference_clients_bytes() {
    let expected = expected();
    let payer = Address::Account(account(1));
    let call = transfer_call(expected.asset, payer, expected.payee, expected.amount);
    let mut entry = authorization(call.clone(), payer, 1_234_567_890_123_456_789, 1_000_012);
    sign_authorization(&mut entry, &key(1), Network::Testnet).unwrap();
    let op = xdr::InvokeHostFunctionOp {
        host_function: xdr::HostFunction::InvokeContract(call),
        auth: vec![entry].try_into().unwrap(),
    };
    let xdr::TransactionExt::V1(data) = envelope().tx.ext else { unreachable!() };
    let built = unsigned_envelope(
        operation(xdr::OperationBody::InvokeHostFunction(op)),
        Some(data),
        45_100,
        1_767_225_900,
    );
    assert_eq!(base64(built), VECTOR_A);
}

#[test]
fn the_operation_goes_on_as_the_client_signed_it() {
    let transfer = judge(VECTOR_A).unwrap();
    assert_eq!([transfer.operation()], envelope().tx.operations.as_slice());
}

#[test]
fn b01_other_than_one_operation_is_refused() {
    let call = envelope().tx.operations[0].clone();
    assert!(with_operations(vec![call.clone()]).is_ok());
    let set_options = operation(xdr::OperationBody::SetOptions(xdr::SetOptionsOp {
        inflation_dest: None,
        clear_flags: None,
        set_flags: None,
        master_weight: None,
        low_threshold: None,
        med_threshold: None,
        high_threshold: None,
        home_domain: None,
        signer: None,
    }));
    for operations in [
        vec![],
        vec![call.clone(), call.clone()],
        [vec![call.clone()], vec![payment(); 99]].concat(),
        vec![call.clone(), payment()],
        vec![payment(), call],
        vec![payment()],
        vec![set_options],
    ] {
        assert_eq!(with_operations(operations), Err(Error::WrongOperation));
    }
}

#[test]
fn b02_other_soroban_operations_are_refused() {
    let upload = xdr::HostFunction::UploadContractWasm(b"\0asm".to_vec().try_into().unwrap());
    let create = xdr::HostFunction::CreateContract(xdr::CreateContractArgs {
        contract_id_preimage: xdr::ContractIdPreimage::Asset(xdr::Asset::Native),
        executable: xdr::ContractExecutable::StellarAsset,
    });
    for host_function in [upload, create] {
        let verdict =
            changed(|envelope| invoke(envelope, |op| op.host_function = host_function.clone()));
        assert_eq!(verdict, Err(Error::WrongOperation));
    }
    let extend = xdr::OperationBody::ExtendFootprintTtl(xdr::ExtendFootprintTtlOp {
        ext: xdr::ExtensionPoint::V0,
        extend_to: 1,
    });
    let restore = xdr::OperationBody::RestoreFootprint(xdr::RestoreFootprintOp {
        ext: xdr::ExtensionPoint::V0,
    });
    for body in [extend, restore] {
        assert_eq!(with_operations(vec![operation(body)]), Err(Error::WrongOperation));
    }
}

#[test]
fn b03_another_function_or_other_arguments_are_refused() {
    assert!(called(|_| ()).is_ok());
    for name in ["approve", "transfer_from", "burn", "Transfer", "transfer_", ""] {
        let verdict = called(|call| call.function_name = xdr::ScSymbol(name.try_into().unwrap()));
        assert_eq!(verdict, Err(Error::WrongFunction), "{name}");
    }
    for count in [0, 2, 4] {
        let verdict = called(|call| {
            let mut args = call.args.to_vec();
            args.resize(count, xdr::ScVal::Void);
            call.args = args.try_into().unwrap();
        });
        assert_eq!(verdict, Err(Error::WrongFunction), "{count} arguments");
    }
    let text = || xdr::ScVal::String(xdr::ScString("10000".try_into().unwrap()));
    for value in [
        xdr::ScVal::from(10_000_u128),
        xdr::ScVal::I64(10_000),
        xdr::ScVal::U32(10_000),
        xdr::ScVal::Void,
        text(),
    ] {
        let verdict = called(|call| set_argument(call, 2, value.clone()));
        assert_eq!(verdict, Err(Error::WrongAmount), "{value:?}");
    }
    for at in [0, 1] {
        let verdict = called(|call| set_argument(call, at, text()));
        assert_eq!(verdict, Err(Error::Malformed), "argument {at}");
    }
}

#[test]
fn b04_any_other_amount_is_refused() {
    let of = |units: i128| called(|call| set_argument(call, 2, xdr::ScVal::from(units)));
    assert!(of(10_000).is_ok());
    for units in [9_999, 10_001, 0, -1, -10_000, i128::MAX, i128::MIN] {
        assert_eq!(of(units), Err(Error::WrongAmount), "{units}");
    }
    let big = called(|call| set_argument(call, 2, xdr::ScVal::from(1_u128 << 127)));
    assert_eq!(big, Err(Error::WrongAmount));
    let nothing = Expected { amount: Amount::ZERO, ..expected() };
    let mut free = judge(VECTOR_A).unwrap();
    free.movement.amount = Amount::ZERO;
    assert_eq!(free.check(&nothing, &[]), Err(Error::WrongAmount));
}

#[test]
fn b05_another_recipient_is_refused() {
    let to = |address: xdr::ScAddress| {
        called(|call| set_argument(call, 1, xdr::ScVal::Address(address.clone())))
    };
    assert!(to(Address::Account(account(3)).to_xdr()).is_ok());
    let muxed = xdr::ScAddress::MuxedAccount(xdr::MuxedEd25519Account {
        id: 7,
        ed25519: xdr::Uint256(account(3).0),
    });
    for address in [
        Address::Account(account(9)).to_xdr(),
        Address::Account(account(1)).to_xdr(),
        ContractId(account(3).0).to_xdr(),
        muxed,
    ] {
        assert_eq!(to(address.clone()), Err(Error::WrongRecipient), "{address:?}");
    }
}

#[test]
fn b06_another_token_is_refused() {
    let of = |asset: ContractId| called(|call| call.contract_address = asset.to_xdr());
    assert!(of(Network::Testnet.usdc().contract).is_ok());
    assert_eq!(of(Network::Pubnet.usdc().contract), Err(Error::WrongAsset));
    assert_eq!(of(Network::Testnet.xlm().contract), Err(Error::WrongAsset));
    let account = called(|call| call.contract_address = Address::Account(account(9)).to_xdr());
    assert_eq!(account, Err(Error::WrongAsset));
}

#[test]
fn b08_our_keys_never_pay_or_source() {
    assert!(changed(|envelope| envelope.tx.source_account = account(9).to_muxed()).is_ok());
    for ours in [2, 4] {
        let source = changed(|envelope| envelope.tx.source_account = account(ours).to_muxed());
        assert_eq!(source, Err(Error::UnsafeSource));
        let muxed = xdr::MuxedAccount::MuxedEd25519(xdr::MuxedAccountMed25519 {
            id: 1,
            ed25519: xdr::Uint256(account(ours).0),
        });
        let source = changed(|envelope| envelope.tx.source_account = muxed.clone());
        assert_eq!(source, Err(Error::UnsafeSource));
    }
    for source in [2, 9] {
        let mut op = envelope().tx.operations[0].clone();
        op.source_account = Some(account(source).to_muxed());
        assert_eq!(with_operations(vec![op]), Err(Error::UnsafeSource), "operation source");
    }
}

#[test]
fn b09_no_key_of_the_gateway_can_be_the_payer() {
    let transfer = judge(VECTOR_A).unwrap();
    let payer = account(1);
    assert_eq!(transfer.check(&expected(), &[account(2), account(4)]), Ok(()));
    for excluded in [[payer, account(2)], [account(2), payer]] {
        assert_eq!(transfer.check(&expected(), &excluded), Err(Error::FacilitatorIsPayer));
    }
    let to_itself = Expected { payee: Address::Account(payer), ..expected() };
    assert_eq!(transfer.check(&to_itself, &[]), Err(Error::FacilitatorIsPayer));
}

#[test]
fn b15_a_fee_out_of_bounds_is_refused() {
    let transfer = judge(VECTOR_A).unwrap();
    assert_eq!(transfer.check_fee(45_000, 100_000), Ok(()));
    assert_eq!(transfer.check_fee(45_000, 45_000), Err(Error::FeeAboveMaximum));
    assert_eq!(transfer.check_fee(60_000, 100_000), Err(Error::FeeBelowMinimum));
    let drain = changed(|envelope| {
        let xdr::TransactionExt::V1(data) = &mut envelope.tx.ext else { unreachable!() };
        data.resource_fee = 100_000_000;
    });
    assert_eq!(drain, Err(Error::FeeAboveMaximum));
    let bloated = changed(|envelope| {
        let xdr::TransactionExt::V1(data) = &mut envelope.tx.ext else { unreachable!() };
        let entry =
            xdr::LedgerKey::Account(xdr::LedgerKeyAccount { account_id: account(1).to_xdr() });
        data.resources.footprint.read_write = vec![entry; 100].try_into().unwrap();
    });
    assert_eq!(bloated, Err(Error::TooManyResources));
}

#[test]
fn b23_a_fee_bump_and_a_signed_envelope_are_refused() {
    let bump = xdr::TransactionEnvelope::TxFeeBump(xdr::FeeBumpTransactionEnvelope {
        tx: xdr::FeeBumpTransaction {
            fee_source: account(2).to_muxed(),
            fee: 90_200,
            inner_tx: xdr::FeeBumpTransactionInnerTx::Tx(envelope()),
            ext: xdr::FeeBumpTransactionExt::V0,
        },
        signatures: xdr::VecM::default(),
    });
    assert_eq!(judge(&base64(bump)), Err(Error::Malformed));
    let signed = changed(|envelope| {
        let signature = xdr::DecoratedSignature {
            hint: xdr::SignatureHint([0; 4]),
            signature: xdr::Signature(vec![0; 64].try_into().unwrap()),
        };
        envelope.signatures = vec![signature].try_into().unwrap();
    });
    assert_eq!(signed, Err(Error::EnvelopeSigned));
}

#[test]
fn b24_time_bounds_must_include_now() {
    let transfer = judge(VECTOR_A).unwrap();
    for (now, ledgers, verdict) in [
        (1_767_225_899, 0, Ok(())),
        (1_767_225_900, 0, Err(Error::OutOfTime)),
        (1_767_225_889, 2, Ok(())),
        (1_767_225_890, 2, Err(Error::OutOfTime)),
        (u64::MAX, u32::MAX, Err(Error::OutOfTime)),
    ] {
        assert_eq!(transfer.check_time(now, ledgers), verdict, "{now} {ledgers}");
    }
    let future = changed(|envelope| {
        envelope.tx.cond = xdr::Preconditions::Time(xdr::TimeBounds {
            min_time: xdr::TimePoint(1_767_225_601),
            max_time: xdr::TimePoint(0),
        });
    });
    assert_eq!(future, Err(Error::OutOfTime));
    assert!(changed(|envelope| envelope.tx.cond = xdr::Preconditions::None).is_ok());
    let more = changed(|envelope| {
        envelope.tx.cond = xdr::Preconditions::V2(xdr::PreconditionsV2 {
            time_bounds: None,
            ledger_bounds: None,
            min_seq_num: None,
            min_seq_age: xdr::Duration(0),
            min_seq_ledger_gap: 1,
            extra_signers: xdr::VecM::default(),
        });
    });
    assert_eq!(more, Err(Error::Preconditions));
}

#[test]
fn text_that_is_no_envelope_is_malformed() {
    let bytes = STANDARD.decode(VECTOR_A).unwrap();
    for end in 0..bytes.len() {
        let text = STANDARD.encode(&bytes[..end]);
        assert_eq!(Transfer::parse(&text), Err(Error::Malformed), "cut at {end}");
    }
    let longer = STANDARD.encode([bytes.as_slice(), &[0]].concat());
    // A length of 2^32 - 1 where the list of operations stands.
    let mut bomb = bytes.clone();
    bomb.splice(76..80, [0xff; 4]);
    let deep = [&bytes[..4], &[0; 20_000]].concat();
    for text in [
        String::new(),
        "AAAA".to_owned(),
        format!("{VECTOR_A}\n"),
        format!(" {VECTOR_A}"),
        VECTOR_A.replace('+', "-"),
        longer,
        STANDARD.encode(bomb),
        STANDARD.encode(deep),
        "A".repeat(1 << 20),
    ] {
        assert_eq!(Transfer::parse(&text), Err(Error::Malformed), "{text:.40}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(bytes: Vec<u8>) {
        prop_assert!(judge(&STANDARD.encode(bytes)).is_err());
    }

    #[test]
    fn no_change_of_a_byte_makes_another_payment_pass(at in 0..676_usize, bit in 0..8_u8) {
        let mut bytes = STANDARD.decode(VECTOR_A).unwrap();
        prop_assume!(at < bytes.len());
        bytes[at] ^= 1 << bit;
        // What the payer did not sign (source, fee, resources) may differ; what it signed may not.
        if let Ok(transfer) = judge(&STANDARD.encode(bytes)) {
            prop_assert_eq!(transfer.operation(), judge(VECTOR_A).unwrap().operation());
        }
    }
}
