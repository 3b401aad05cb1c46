//! Group B: which transaction pays a charge, pulled with and without a sponsor, and which one does not.

use stellar_xdr as xdr;
use tollgate::{
    client::{Overrides, charge::seal},
    ledger::signer::Seed,
    protocol::{
        money::Amount,
        stellar::{Address, ContractId, Network},
        transfer,
    },
};
use tollgate_sandbox::Method as Rpc;

use super::{
    forge::{Forge, invocation, sign, unsigned},
    shop::{Form, customers, open},
};
use crate::{
    forge::{Case, account_of, address_of, case, credentials_of, set_argument},
    world::World,
};

#[tokio::test]
async fn b01_b02_only_the_one_call_of_a_contract_pays_a_charge() {
    let world = open().await;
    for form in Form::PULLED {
        let forge = Forge::new(&world, form).await;
        let honest = forge.tx.operations[0].clone();
        let payment = operation(xdr::OperationBody::Payment(xdr::PaymentOp {
            destination: account_of(&world.sandbox.accounts().recipient.secret()).to_muxed(),
            asset: xdr::Asset::Native,
            amount: 10_000,
        }));
        let bump = operation(xdr::OperationBody::BumpSequence(xdr::BumpSequenceOp {
            bump_to: xdr::SequenceNumber(i64::MAX),
        }));
        let host = |host_function| {
            operation(xdr::OperationBody::InvokeHostFunction(xdr::InvokeHostFunctionOp {
                host_function,
                auth: xdr::VecM::default(),
            }))
        };
        let creation = xdr::CreateContractArgs {
            contract_id_preimage: xdr::ContractIdPreimage::Asset(xdr::Asset::Native),
            executable: xdr::ContractExecutable::StellarAsset,
        };
        let extension =
            xdr::ExtendFootprintTtlOp { ext: xdr::ExtensionPoint::V0, extend_to: 1_000_000 };
        let restoring = xdr::RestoreFootprintOp { ext: xdr::ExtensionPoint::V0 };
        let code = vec![0; 64].try_into().unwrap();
        let cases = [
            ("none", vec![]),
            ("twice", vec![honest.clone(), honest.clone()]),
            ("a payment behind it", vec![honest.clone(), payment.clone()]),
            ("another before it", vec![bump.clone(), honest]),
            ("a payment alone", vec![payment.clone()]),
            ("a hundred", vec![payment; 100]),
            ("upload", vec![host(xdr::HostFunction::UploadContractWasm(code))]),
            ("creation", vec![host(xdr::HostFunction::CreateContract(creation))]),
            ("extension", vec![operation(xdr::OperationBody::ExtendFootprintTtl(extension))]),
            ("restoring", vec![operation(xdr::OperationBody::RestoreFootprint(restoring))]),
        ];
        let reason = "wrong_operation";
        let cases = cases.map(|(what, ops)| case(what, reason, forge.with_operations(ops)));
        forge.refused_then_served(&world, cases.into()).await;
    }
    world.end().await;
}

#[tokio::test]
async fn b03_b04_b05_b06_only_the_transfer_that_was_asked_pays_a_charge() {
    let world = open().await;
    for form in Form::PULLED {
        let forge = Forge::new(&world, form).await;
        let mut cases = Vec::new();
        for name in ["approve", "transfer_from", "burn", "Transfer", "mint", ""] {
            let renamed = forge.called(|call| {
                call.function_name = xdr::ScSymbol(name.try_into().unwrap());
            });
            cases.push(case(name, "wrong_function_name", renamed));
        }
        for count in [0, 2, 4] {
            let resized = forge.called(|call| {
                let mut args = call.args.to_vec();
                args.resize(count, xdr::ScVal::Void);
                call.args = args.try_into().unwrap();
            });
            cases.push(case(count, "wrong_function_name", resized));
        }
        for value in [
            xdr::ScVal::from(10_000_u128),
            xdr::ScVal::from(1_u128 << 127),
            xdr::ScVal::I64(10_000),
            xdr::ScVal::String(xdr::ScString("10000".try_into().unwrap())),
            xdr::ScVal::Void,
        ] {
            let what = format!("{value:?}");
            let retyped = forge.called(|call| set_argument(call, 2, value));
            cases.push(case(what, "wrong_amount", retyped));
        }
        for units in [9_999, 10_001, 0, -1, -10_000, i128::MAX, i128::MIN] {
            let paid = forge.called(|call| set_argument(call, 2, xdr::ScVal::from(units)));
            cases.push(case(units, "wrong_amount", paid));
        }
        cases.extend(parties(&world, &forge));
        forge.refused_then_served(&world, cases).await;
    }
    world.end().await;
}

/// To others than the payee, and in other tokens than the asked one.
fn parties(world: &World, forge: &Forge) -> Vec<Case> {
    let accounts = world.sandbox.accounts();
    let payee = account_of(&accounts.recipient.secret());
    let muxed = xdr::MuxedEd25519Account { id: 7, ed25519: xdr::Uint256(payee.0) };
    let mut cases = Vec::new();
    for (what, address) in [
        ("a stranger", address_of(&accounts.zero_xlm_payer.secret()).to_xdr()),
        ("the payer", address_of(&accounts.payer.secret()).to_xdr()),
        ("the sponsor", address_of(&accounts.sponsor.secret()).to_xdr()),
        ("a contract", ContractId(payee.0).to_xdr()),
        ("the payee, multiplexed", xdr::ScAddress::MuxedAccount(muxed)),
    ] {
        let paid = forge.called(|call| set_argument(call, 1, xdr::ScVal::Address(address)));
        cases.push(case(what, "wrong_recipient", paid));
    }
    for (what, contract) in [
        ("a token of the payer's own", ContractId([7; 32]).to_xdr()),
        ("USDC of another network", Network::Pubnet.usdc().contract.to_xdr()),
        ("XLM", Network::Testnet.xlm().contract.to_xdr()),
        ("an account", address_of(&accounts.payer.secret()).to_xdr()),
    ] {
        let paid = forge.called(|call| call.contract_address = contract);
        cases.push(case(what, "wrong_asset", paid));
    }
    cases
}

#[tokio::test]
async fn b06_another_token_is_never_even_run_for_a_charge() {
    let world = open().await;
    for form in Form::PULLED {
        let forge = Forge::new(&world, form).await;
        let own = ContractId([7; 32]).to_xdr();
        let other = forge.called(|call| call.contract_address = own);
        let asked = world.sandbox.calls(Rpc::SimulateTransaction);
        let answer = forge.agent.present(form.path(), &other).await;
        answer.assert_refused("wrong_asset");
        assert_eq!(world.sandbox.calls(Rpc::SimulateTransaction), asked);
        forge.refused_then_served(&world, Vec::new()).await;
    }
    world.end().await;
}

#[tokio::test]
async fn b08_b09_no_key_of_the_gateway_is_a_party_to_a_charge() {
    let world = open().await;
    let sponsor: Seed = world.sandbox.accounts().sponsor.secret().parse().unwrap();
    let payee: Seed = world.sandbox.accounts().recipient.secret().parse().unwrap();
    let lane = |index| sponsor.derive(Network::Testnet, "lane", index);
    let keys = [("sponsor", sponsor.clone()), ("lane", lane(0)), ("last lane", lane(31))];
    for form in Form::PULLED {
        let forge = Forge::new(&world, form).await;
        let mut cases = Vec::new();
        for (name, seed) in &keys {
            cases.extend(ours(&forge, name, seed));
            cases.push(case(
                format!("{name} pays the fee"),
                "malformed",
                forge.with(&forge.bumped(seed)),
            ));
        }
        let to_itself = forge.called_by(&payee, |call| {
            let payee = Address::Account(payee.account()).to_xdr();
            set_argument(call, 0, xdr::ScVal::Address(payee));
        });
        let reason = match form {
            Form::Sponsored => "facilitator_is_payer",
            // Nothing but its source can pay without an authorization of its own.
            Form::Own | Form::Pushed => "missing_payer_signature",
        };
        cases.push(case("the payee pays itself", reason, to_itself));
        forge.refused_then_served(&world, cases).await;
    }
    world.end().await;
}

/// Payments in which `seed`, which is the gateway's, is payer, source or authorizer.
fn ours(forge: &Forge, name: &str, seed: &Seed) -> Vec<Case> {
    let account = seed.account();
    let address = Address::Account(account).to_xdr();
    let muxed = xdr::MuxedAccount::MuxedEd25519(xdr::MuxedAccountMed25519 {
        id: 1,
        ed25519: xdr::Uint256(account.0),
    });
    let sourced = |source: xdr::MuxedAccount| {
        let mut tx = forge.tx.clone();
        tx.source_account = source;
        // The gateway's own signature, which nobody else has, would not help.
        forge.with(&seal(tx, &[seed, &forge.seed], Network::Testnet).unwrap())
    };
    let paid = forge.called_by(seed, |call| {
        set_argument(call, 0, xdr::ScVal::Address(address.clone()));
    });
    let nested = forge.authorized(|entry| {
        let mut beneath = entry.root_invocation.clone();
        if let xdr::SorobanAuthorizedFunction::ContractFn(call) = &mut beneath.function {
            set_argument(call, 0, xdr::ScVal::Address(address.clone()));
        }
        entry.root_invocation.sub_invocations = vec![beneath].try_into().unwrap();
    });
    let mut by_operation = forge.tx.operations[0].clone();
    by_operation.source_account = Some(account.to_muxed());
    let is_own = forge.form == Form::Own;
    let mut cases = vec![
        case(
            format!("{name} as payer"),
            if is_own { "missing_payer_signature" } else { "facilitator_is_payer" },
            paid,
        ),
        case(format!("{name} beneath the authorization"), "has_subinvocations", nested),
        case(
            format!("{name} as the operation's source"),
            "unsafe_tx_or_op_source",
            forge.with_operations(vec![by_operation]),
        ),
    ];
    for (what, source) in [("plain", account.to_muxed()), ("multiplexed", muxed)] {
        // An authorization by the source is the payer's no more once another is the source.
        let reason = if is_own { "missing_payer_signature" } else { "unsafe_tx_or_op_source" };
        cases.push(case(format!("{name} as source, {what}"), reason, sourced(source)));
    }
    cases
}

#[tokio::test]
async fn b10_b11_only_the_payers_own_signature_over_this_transfer_pays_a_charge() {
    let world = open().await;
    let thief: Seed = world.sandbox.accounts().zero_xlm_payer.secret().parse().unwrap();
    let payer = account_of(&world.sandbox.accounts().payer.secret());
    let missing = "missing_payer_signature";
    for form in Form::PULLED {
        let forge = Forge::new(&world, form).await;
        let entry = forge.entry();
        let mut altered = forge.tx.clone();
        invocation(&mut altered, |op| {
            if let xdr::HostFunction::InvokeContract(call) = &mut op.host_function {
                set_argument(call, 1, xdr::ScVal::Address(Address::Account(payer).to_xdr()));
            }
        });
        let mut cases = vec![
            case("none", "no_auth_entries", forge.with_auth(vec![])),
            case("two", "malformed", forge.with_auth(vec![entry.clone(), entry.clone()])),
            case("the call is another", "missing_payer_auth", forge.sealed(altered)),
        ];
        let usdc = Network::Testnet.usdc().contract;
        let to_thief = |units| {
            let (from, to) = (Address::Account(payer), Address::Account(thief.account()));
            transfer::transfer_call(usdc, from, to, Amount::from_units(units).unwrap())
        };
        let root = |units| {
            transfer::authorization(to_thief(units), Address::Account(payer), 0, 0).root_invocation
        };
        let drain = forge.authorized(|entry| {
            entry.root_invocation.sub_invocations = vec![root(1)].try_into().unwrap();
        });
        let other = forge.authorized(|entry| entry.root_invocation = root(10_000));
        cases.push(case("a nested call", "has_subinvocations", drain));
        cases.push(case("another call", "missing_payer_auth", other));
        match form {
            Form::Sponsored => {
                let with_signature = |signature: xdr::ScVal| {
                    let mut entry = entry.clone();
                    credentials_of(&mut entry).signature = signature;
                    forge.with_auth(vec![entry])
                };
                let mut by_thief = entry.clone();
                sign(&mut by_thief, &thief);
                let mut of_source = entry.clone();
                of_source.credentials = xdr::SorobanCredentials::SourceAccount;
                let zeros = transfer::account_signature(payer, [0; 64]);
                let unsupported = "unsupported_credential_type";
                cases.extend([
                    case("not signed", missing, with_signature(xdr::ScVal::Void)),
                    case("zeros", missing, with_signature(zeros)),
                    case("by another key", missing, forge.with_auth(vec![by_thief])),
                    case("of the source", unsupported, forge.with_auth(vec![of_source])),
                ]);
            }
            Form::Own | Form::Pushed => {
                let by = |seeds: &[&Seed], network| {
                    forge.with(&seal(forge.tx.clone(), seeds, network).unwrap())
                };
                let own = &forge.seed;
                cases.extend([
                    case("not signed", missing, forge.with(&unsigned(forge.tx.clone()))),
                    case("by another key", missing, by(&[&thief], Network::Testnet)),
                    case("for another network", missing, by(&[own], Network::Pubnet)),
                    // The network refuses a signature that is not needed.
                    case("by one more", missing, by(&[own, &thief], Network::Testnet)),
                    case("twice", missing, by(&[own, own], Network::Testnet)),
                ]);
            }
        }
        forge.refused_then_served(&world, cases).await;
    }
    world.end().await;
}

#[tokio::test]
async fn b10_who_is_not_the_source_of_a_transaction_pays_by_an_authorization_of_its_own() {
    let world = open().await;
    let [(agent, seed), (_, thief)] = customers(&world).await;
    let sponsored = Forge::of(agent.clone(), seed, Form::Sponsored, &Overrides::default()).await;
    // The payer's signed authorization in a transaction that somebody else sends and pays the fee of.
    let own = Forge::of(agent.clone(), thief.clone(), Form::Own, &Overrides::default()).await;
    let found = agent.client.rpc().accounts(&[thief.account()]).await.unwrap();
    let carried = |entry: xdr::SorobanAuthorizationEntry| {
        let mut tx = sponsored.tx.clone();
        tx.source_account = thief.account().to_muxed();
        tx.seq_num = xdr::SequenceNumber(found[0].seq_num.0 + 1);
        tx.fee = 1_000_000;
        invocation(&mut tx, |op| op.auth = vec![entry].try_into().unwrap());
        tx
    };
    let honest = carried(sponsored.entry());
    let mut of_source = sponsored.entry();
    of_source.credentials = xdr::SorobanCredentials::SourceAccount;
    let mut by_carrier = sponsored.entry();
    sign(&mut by_carrier, &thief);
    for (what, entry) in [("the source's", of_source), ("the carrier's", by_carrier)] {
        let refused = agent.present("/own", &own.sealed(carried(entry))).await;
        assert_eq!(refused.status, 402, "{what}");
        refused.assert_refused("missing_payer_signature");
    }
    // Its twin names the payer, and the sender is nobody's business.
    let credential =
        own.offer.pull(&own.envelope(honest), Address::Account(agent.client.account()));
    agent.present("/own", &credential.unwrap()).await.assert_charge_paid();
    world.end().await;
}

fn operation(body: xdr::OperationBody) -> xdr::Operation {
    xdr::Operation { source_account: None, body }
}
