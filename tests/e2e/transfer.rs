//! Group B: which transaction pays, and which one does not.

use stellar_xdr as xdr;
use tollgate::{
    ledger::signer::Seed,
    protocol::{
        money::Amount,
        stellar::{Address, ContractId, Network},
        transfer,
    },
};

use tollgate_sandbox::{Clock, Method};

use crate::{
    forge::{Case, Forge, Spent, credentials_of, invocation, served, set_argument},
    world::{Plan, World, until},
};

fn case(
    what: impl ToString,
    reason: &'static str,
    credential: tollgate::client::Credential,
) -> Case {
    (what.to_string(), reason, credential)
}

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

#[tokio::test]
async fn b10_only_the_payers_own_signature_pays() {
    let world = World::start().await;
    let forge = Forge::new(&world).await;
    let thief: Seed = world.sandbox.accounts().zero_xlm_payer.secret().parse().unwrap();
    let payer = account_of(&world.sandbox.accounts().payer.secret());
    let entry = forge.entry();
    let with_signature = |signature: xdr::ScVal| {
        let mut entry = entry.clone();
        credentials_of(&mut entry).signature = signature;
        forge.with_auth(vec![entry])
    };
    let mut by_thief = entry.clone();
    thief.sign_authorization(&mut by_thief, Network::Testnet).unwrap();
    let mut of_source = entry.clone();
    of_source.credentials = xdr::SorobanCredentials::SourceAccount;
    let missing = "invalid_exact_stellar_payload_missing_payer_signature";
    let cases = vec![
        case("none", "invalid_exact_stellar_payload_no_auth_entries", forge.with_auth(vec![])),
        case(
            "two",
            "invalid_exact_stellar_payload_malformed",
            forge.with_auth(vec![entry.clone(), entry.clone()]),
        ),
        case(
            "of the source",
            "invalid_exact_stellar_payload_unsupported_credential_type",
            forge.with_auth(vec![of_source]),
        ),
        case("not signed", missing, with_signature(xdr::ScVal::Void)),
        case("zeros", missing, with_signature(transfer::account_signature(payer, [0; 64]))),
        case("by another key", missing, forge.with_auth(vec![by_thief])),
    ];
    forge.refused_then_served(world, cases).await;
}

#[tokio::test]
async fn b11_an_authorization_of_more_than_the_transfer_does_not_pay() {
    let world = World::start().await;
    let forge = Forge::new(&world).await;
    let payer = address_of(&world.sandbox.accounts().payer.secret());
    let thief = address_of(&world.sandbox.accounts().zero_xlm_payer.secret());
    let usdc = Network::Testnet.usdc().contract;
    let call =
        |units| transfer::transfer_call(usdc, payer, thief, Amount::from_units(units).unwrap());
    let drain = forge.authorized(|entry| {
        let nested = transfer::authorization(call(1), payer, 0, 0).root_invocation;
        entry.root_invocation.sub_invocations = vec![nested].try_into().unwrap();
    });
    let other = forge.authorized(|entry| {
        entry.root_invocation = transfer::authorization(call(10_000), payer, 0, 0).root_invocation;
    });
    let cases = vec![
        case("a nested call", "invalid_exact_stellar_payload_has_subinvocations", drain),
        case("another call", "invalid_exact_stellar_payload_missing_payer_auth", other),
    ];
    forge.refused_then_served(world, cases).await;
}

#[tokio::test]
async fn b13_an_authorization_lives_neither_too_short_nor_too_long() {
    let world = World::build(Plan { ledgers: Clock::Manual, ..Plan::default() }).await;
    let agent = world.agent();
    let living = |forge: &Forge, expires: u32| {
        forge.authorized(|entry| credentials_of(entry).signature_expiration_ledger = expires)
    };
    // A route that waits 5 seconds for its upstream needs two ledgers; the offer allows 60 seconds at five a ledger,
    // and two ledgers more for a payer whose node was ahead.
    for lives in [2, 14] {
        let forge = Forge::new(&world).await;
        let credential = living(&forge, world.ledger() + lives);
        let sent = world.sandbox.calls(Method::SendTransaction);
        let presented = agent.presenting(http::Method::GET, "/weather", &credential);
        until("it is sent", || world.sandbox.calls(Method::SendTransaction) > sent).await;
        world.while_ledgers_close(presented).await.unwrap().assert_paid();
    }
    let forge = Forge::new(&world).await;
    let current = world.ledger();
    let over = "invalid_exact_stellar_payload_auth_already_expired";
    let far = "invalid_exact_stellar_signature_expiration_too_far";
    let cases = [
        (0, over),
        (current - 1, over),
        (current, over),
        (current + 1, over),
        (current + 15, far),
        (u32::MAX, far),
    ];
    let spent = Spent::of(&world);
    for (expires, reason) in cases {
        agent.present("/weather", &living(&forge, expires)).await.assert_refused(reason);
    }
    assert_eq!(Spent::of(&world), spent);
    world.end().await;
}

#[tokio::test]
async fn a16_a_signature_for_another_network_does_not_pay() {
    let world = World::start().await;
    let forge = Forge::new(&world).await;
    let mut entry = forge.entry();
    let payer: Seed = world.sandbox.accounts().payer.secret().parse().unwrap();
    payer.sign_authorization(&mut entry, Network::Pubnet).unwrap();
    let reason = "invalid_exact_stellar_payload_missing_payer_signature";
    let cases = vec![case("pubnet", reason, forge.with_auth(vec![entry]))];
    forge.refused_then_served(world, cases).await;
}

#[tokio::test]
async fn b15_a_client_that_declares_great_fees_is_refused() {
    let world = World::start().await;
    let forge = Forge::new(&world).await;
    let data = |change: &dyn Fn(&mut xdr::SorobanTransactionData)| {
        forge.changed(|envelope| match &mut envelope.tx.ext {
            xdr::TransactionExt::V1(data) => change(data),
            xdr::TransactionExt::V0 => unreachable!(),
        })
    };
    let above = "invalid_exact_stellar_payload_fee_exceeds_maximum";
    let entry = xdr::LedgerKey::Account(xdr::LedgerKeyAccount {
        account_id: account_of(&world.sandbox.accounts().payer.secret()).to_xdr(),
    });
    let cases = vec![
        // The fee drain: the reference facilitator adds the client's resource fee to the fee that it has capped.
        case("the fee drain", above, data(&|data| data.resource_fee = 100_000_000)),
        case(
            "a negative fee",
            "invalid_exact_stellar_payload_malformed",
            data(&|data| {
                data.resource_fee = -1;
            }),
        ),
        case("10 XLM", above, forge.changed(|envelope| envelope.tx.fee = 100_000_000)),
        case(
            "a fee too low to be honest",
            "invalid_exact_stellar_payload_fee_below_minimum",
            forge.changed(|envelope| envelope.tx.fee = 100),
        ),
        case(
            "a bloated footprint",
            "invalid_exact_stellar_payload_malformed",
            data(&|data| {
                data.resources.footprint.read_write = vec![entry.clone(); 100].try_into().unwrap();
            }),
        ),
    ];
    forge.refused_then_served(world, cases).await;
}

#[tokio::test]
async fn b15_what_a_client_declares_within_bounds_costs_the_sponsor_nothing_more() {
    let world = World::start().await;
    let agent = world.agent();
    let mut costs = Vec::new();
    for lavish in [false, true] {
        let forge = Forge::new(&world).await;
        let credential = forge.changed(|envelope| {
            if lavish {
                envelope.tx.fee = 200_000;
                envelope.tx.memo = xdr::Memo::Hash(xdr::Hash([7; 32]));
                if let xdr::TransactionExt::V1(data) = &mut envelope.tx.ext {
                    data.resource_fee = 199_000;
                    data.resources.instructions = 90_000_000;
                    data.resources.write_bytes = 100_000;
                }
            }
        });
        let before = world.sponsor_xlm();
        served(&world, &agent, &credential).await;
        costs.push(before - world.sponsor_xlm());
    }
    assert!((1..=50_000).contains(&costs[0]), "{costs:?} stroops");
    // The rent of a nonce's entry differs a little with how long it lives.
    assert!((costs[1] - costs[0]).abs() < 1_000, "{costs:?} stroops");
    world.end().await;
}

#[tokio::test]
async fn b23_only_a_bare_transaction_without_signatures_pays() {
    let world = World::start().await;
    let forge = Forge::new(&world).await;
    let payer: Seed = world.sandbox.accounts().payer.secret().parse().unwrap();
    let signature = payer.sign(&[7; 32]);
    let inner = |signatures: Vec<xdr::DecoratedSignature>| xdr::TransactionV1Envelope {
        tx: forge.transaction(),
        signatures: signatures.try_into().unwrap(),
    };
    let bump = |source: &Seed| {
        forge.sealed(&xdr::TransactionEnvelope::TxFeeBump(xdr::FeeBumpTransactionEnvelope {
            tx: xdr::FeeBumpTransaction {
                fee_source: source.account().to_muxed(),
                fee: 200_000,
                inner_tx: xdr::FeeBumpTransactionInnerTx::Tx(inner(vec![signature.clone()])),
                ext: xdr::FeeBumpTransactionExt::V0,
            },
            signatures: vec![signature.clone()].try_into().unwrap(),
        }))
    };
    let sponsor: Seed = world.sandbox.accounts().sponsor.secret().parse().unwrap();
    let signed = forge.sealed(&xdr::TransactionEnvelope::Tx(inner(vec![signature.clone()])));
    let malformed = "invalid_exact_stellar_payload_malformed";
    let cases = vec![
        case("bumped by the sponsor", malformed, bump(&sponsor)),
        case("bumped by the payer", malformed, bump(&payer)),
        case("signed", "invalid_exact_stellar_payload_has_envelope_signatures", signed),
    ];
    forge.refused_then_served(world, cases).await;
}

#[tokio::test]
async fn b24_the_clients_own_time_bounds_must_include_now() {
    let world = World::start().await;
    let forge = Forge::new(&world).await;
    let now = tollgate::telemetry::Clock::system().now();
    let bounded = |min, max| {
        forge.changed(|envelope| {
            envelope.tx.cond = xdr::Preconditions::Time(xdr::TimeBounds {
                min_time: xdr::TimePoint(min),
                max_time: xdr::TimePoint(max),
            });
        })
    };
    let malformed = "invalid_exact_stellar_payload_malformed";
    let cases = vec![
        case("over", malformed, bounded(0, now - 1)),
        case("not begun", malformed, bounded(now + 600, now + 900)),
        case("never", malformed, bounded(now + 600, now - 600)),
    ];
    let without_end = Forge::new(&world).await;
    let agent = world.agent();
    let credential = without_end.changed(|envelope| envelope.tx.cond = xdr::Preconditions::None);
    served(&world, &agent, &credential).await;
    forge.refused_then_served(world, cases).await;
}

#[tokio::test]
async fn what_is_called_must_be_what_was_signed() {
    let world = World::start().await;
    let forge = Forge::new(&world).await;
    // The operation says one thing, the payer's signature another: the oldest trick.
    let missing = "invalid_exact_stellar_payload_missing_payer_auth";
    let thief = address_of(&world.sandbox.accounts().zero_xlm_payer.secret());
    let altered = forge.changed(|envelope| {
        invocation(envelope, |op| {
            if let xdr::HostFunction::InvokeContract(call) = &mut op.host_function {
                set_argument(call, 1, xdr::ScVal::Address(thief.to_xdr()));
            }
        });
    });
    forge.refused_then_served(world, vec![case("payee", missing, altered)]).await;
}

fn operation(body: xdr::OperationBody) -> xdr::Operation {
    xdr::Operation { source_account: None, body }
}

fn account_of(secret: &str) -> tollgate::protocol::stellar::AccountId {
    secret.parse::<Seed>().unwrap().account()
}

fn address_of(secret: &str) -> Address {
    Address::Account(account_of(secret))
}
