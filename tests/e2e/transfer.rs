//! Group B: which call pays, and which one does not.

use stellar_xdr as xdr;
use tollgate::{
    ledger::signer::Seed,
    protocol::stellar::{Address, ContractId, Network},
};
use tollgate_sandbox::Method;

use crate::{
    forge::{Case, Forge, account_of, address_of, case, credentials_of, set_argument},
    world::World,
};

#[tokio::test]
async fn b01_only_one_operation_pays() {
    let world = World::start().await;
    let forge = Forge::new(&world).await;
    let honest = forge.transaction().operations[0].clone();
    let payment = operation(xdr::OperationBody::Payment(xdr::PaymentOp {
        destination: account_of(&world.sandbox.accounts().payer.secret()).to_muxed(),
        asset: xdr::Asset::Native,
        amount: 1,
    }));
    let options = operation(xdr::OperationBody::SetOptions(xdr::SetOptionsOp {
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
    let reason = "invalid_exact_stellar_payload_wrong_operation";
    let cases = [
        ("none", vec![]),
        ("twice", vec![honest.clone(), honest.clone()]),
        ("a payment behind it", vec![honest.clone(), payment.clone()]),
        ("options before it", vec![options.clone(), honest]),
        ("a payment alone", vec![payment.clone()]),
        ("options alone", vec![options]),
        ("a hundred", vec![payment; 100]),
    ];
    let cases = cases.map(|(what, ops)| case(what, reason, forge.with_operations(ops)));
    let cases = cases.into();
    forge.refused_then_served(world, cases).await;
}

#[tokio::test]
async fn b02_only_the_call_of_a_contract_pays() {
    let world = World::start().await;
    let forge = Forge::new(&world).await;
    let host = |host_function| {
        xdr::OperationBody::InvokeHostFunction(xdr::InvokeHostFunctionOp {
            host_function,
            auth: xdr::VecM::default(),
        })
    };
    let code = vec![0; 64].try_into().unwrap();
    let creation = xdr::CreateContractArgs {
        contract_id_preimage: xdr::ContractIdPreimage::Asset(xdr::Asset::Native),
        executable: xdr::ContractExecutable::StellarAsset,
    };
    let extension =
        xdr::ExtendFootprintTtlOp { ext: xdr::ExtensionPoint::V0, extend_to: 1_000_000 };
    let restoring = xdr::RestoreFootprintOp { ext: xdr::ExtensionPoint::V0 };
    let reason = "invalid_exact_stellar_payload_wrong_operation";
    let cases = [
        ("upload", host(xdr::HostFunction::UploadContractWasm(code))),
        ("creation", host(xdr::HostFunction::CreateContract(creation))),
        ("extension", xdr::OperationBody::ExtendFootprintTtl(extension)),
        ("restoring", xdr::OperationBody::RestoreFootprint(restoring)),
    ];
    let cases = cases.map(|(what, body)| case(what, reason, forge.with_operation(body)));
    let cases = cases.into();
    forge.refused_then_served(world, cases).await;
}

#[tokio::test]
async fn b03_only_transfer_with_its_three_arguments_pays() {
    let world = World::start().await;
    let forge = Forge::new(&world).await;
    let mut cases = Vec::new();
    for name in ["approve", "transfer_from", "burn", "Transfer", "mint", ""] {
        let renamed = forge.called(|call| {
            call.function_name = xdr::ScSymbol(name.try_into().unwrap());
        });
        cases.push(case(name, "invalid_exact_stellar_payload_wrong_function_name", renamed));
    }
    for count in [0, 2, 4] {
        let resized = forge.called(|call| {
            let mut args = call.args.to_vec();
            args.resize(count, xdr::ScVal::Void);
            call.args = args.try_into().unwrap();
        });
        cases.push(case(count, "invalid_exact_stellar_payload_wrong_function_name", resized));
    }
    for value in [
        xdr::ScVal::from(10_000_u128),
        xdr::ScVal::I64(10_000),
        xdr::ScVal::U64(10_000),
        xdr::ScVal::String(xdr::ScString("10000".try_into().unwrap())),
        xdr::ScVal::Void,
    ] {
        let what = format!("{value:?}");
        let retyped = forge.called(|call| set_argument(call, 2, value));
        cases.push(case(what, "invalid_exact_stellar_payload_wrong_amount", retyped));
    }
    forge.refused_then_served(world, cases).await;
}

#[tokio::test]
async fn b04_only_the_exact_amount_pays() {
    let world = World::start().await;
    let forge = Forge::new(&world).await;
    let reason = "invalid_exact_stellar_payload_wrong_amount";
    let mut cases = Vec::new();
    for units in [9_999, 10_001, 0, -1, -10_000, i128::MAX, i128::MIN] {
        let paid = forge.called(|call| set_argument(call, 2, xdr::ScVal::from(units)));
        cases.push(case(units, reason, paid));
    }
    let huge = forge.called(|call| set_argument(call, 2, xdr::ScVal::from(1_u128 << 127)));
    cases.push(case("2^127", reason, huge));
    forge.refused_then_served(world, cases).await;
}

#[tokio::test]
async fn b05_only_the_payee_can_be_paid() {
    let world = World::start().await;
    let forge = Forge::new(&world).await;
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
        cases.push(case(what, "invalid_exact_stellar_payload_wrong_recipient", paid));
    }
    forge.refused_then_served(world, cases).await;
}

#[tokio::test]
async fn b06_another_token_is_never_even_run() {
    let world = World::start().await;
    let forge = Forge::new(&world).await;
    // A contract of the payer's own could tell of any transfer in its events. It is not called to tell.
    let own = ContractId([7; 32]);
    let reason = "invalid_exact_stellar_payload_wrong_asset";
    let mut cases = Vec::new();
    for (what, contract) in [
        ("the payer's own", own.to_xdr()),
        ("USDC of another network", Network::Pubnet.usdc().contract.to_xdr()),
        ("XLM", Network::Testnet.xlm().contract.to_xdr()),
        ("an account", address_of(&world.sandbox.accounts().payer.secret()).to_xdr()),
    ] {
        let paid = forge.called(|call| call.contract_address = contract);
        cases.push(case(what, reason, paid));
    }
    let agent = world.agent();
    let simulated = world.sandbox.calls(Method::SimulateTransaction);
    for (_, _, credential) in &cases {
        agent.present("/weather", credential).await.assert_refused(reason);
    }
    assert_eq!(world.sandbox.calls(Method::SimulateTransaction), simulated);
    forge.refused_then_served(world, cases).await;
}

#[tokio::test]
async fn b08_the_sponsor_is_no_party_to_a_payment() {
    let world = World::start().await;
    let forge = Forge::new(&world).await;
    let sponsor: Seed = world.sandbox.accounts().sponsor.secret().parse().unwrap();
    let cases = party_cases(&forge, "sponsor", &sponsor);
    forge.refused_then_served(world, cases).await;
}

#[tokio::test]
async fn b09_no_key_of_the_gateway_is_a_party_to_a_payment() {
    let world = World::start().await;
    let forge = Forge::new(&world).await;
    let sponsor: Seed = world.sandbox.accounts().sponsor.secret().parse().unwrap();
    let payee: Seed = world.sandbox.accounts().recipient.secret().parse().unwrap();
    let mut cases = party_cases(&forge, "payee", &payee);
    for index in [0, 31] {
        let lane = sponsor.derive(Network::Testnet, "lane", index);
        cases.extend(party_cases(&forge, &format!("lane {index}"), &lane));
    }
    forge.refused_then_served(world, cases).await;
}

/// Payments in which `seed`, which is not the payer's, is payer, source or authorizer.
fn party_cases(forge: &Forge, name: &str, seed: &Seed) -> Vec<Case> {
    let account = seed.account();
    let address = Address::Account(account).to_xdr();
    let muxed = xdr::MuxedAccount::MuxedEd25519(xdr::MuxedAccountMed25519 {
        id: 1,
        ed25519: xdr::Uint256(account.0),
    });
    let source = "invalid_exact_stellar_payload_unsafe_tx_or_op_source";
    let mut named = forge.entry();
    credentials_of(&mut named).address = address.clone();
    let nested = forge.authorized(|entry| {
        let mut beneath = entry.root_invocation.clone();
        if let xdr::SorobanAuthorizedFunction::ContractFn(call) = &mut beneath.function {
            set_argument(call, 0, xdr::ScVal::Address(address.clone()));
        }
        entry.root_invocation.sub_invocations = vec![beneath].try_into().unwrap();
    });
    vec![
        case(
            format!("{name} as payer"),
            "invalid_exact_stellar_payload_facilitator_is_payer",
            forge.called_by(seed, |call| {
                set_argument(call, 0, xdr::ScVal::Address(address.clone()));
            }),
        ),
        case(
            format!("{name} as source"),
            source,
            forge.changed(|envelope| envelope.tx.source_account = account.to_muxed()),
        ),
        case(
            format!("{name}, multiplexed, as source"),
            source,
            forge.changed(|envelope| envelope.tx.source_account = muxed),
        ),
        case(
            format!("{name} as the operation's source"),
            source,
            forge.changed(|envelope| {
                let mut operation = envelope.tx.operations[0].clone();
                operation.source_account = Some(account.to_muxed());
                envelope.tx.operations = vec![operation].try_into().unwrap();
            }),
        ),
        case(
            format!("{name} in the authorization"),
            "invalid_exact_stellar_payload_missing_payer_signature",
            forge.with_auth(vec![named]),
        ),
        case(
            format!("{name} beneath the authorization"),
            "invalid_exact_stellar_payload_has_subinvocations",
            nested,
        ),
    ]
}

fn operation(body: xdr::OperationBody) -> xdr::Operation {
    xdr::Operation { source_account: None, body }
}
