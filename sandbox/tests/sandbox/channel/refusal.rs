//! What a channel refuses, in the simulation and on the ledger.

use ed25519_dalek::SigningKey;
use stellar_xdr::{
    ContractEventBody, ContractId, DiagnosticEvent, Hash, HostFunction, OperationBody, ScError,
    ScVal, SorobanAuthorizedFunction, Transaction,
};
use tollgate_sandbox::{DevAccount, FundError, OpenChannel};

use super::kit::{
    Channel, TRAPPED, WAITING_LEDGERS, channel, commitment, invoke, land, prepared, result, signed,
};
use crate::support::assemble;

#[tokio::test]
async fn amounts_below_zero_are_refused() {
    let it = channel(100).await;
    let negative = vec![(-1_i128).into()];
    for (caller, function, args) in [
        (it.payer(), "top_up", negative.clone()),
        (it.payer(), "prepare_commitment", negative),
        (it.payee(), "settle", it.committed(-1)),
        (it.payee(), "close", it.committed(-1)),
    ] {
        assert_eq!(it.refused(caller, function, args).await, "Error(Contract, #1)", "{function}");
    }
    let (payee, token) = (it.payee().address(), it.sandbox.usdc_contract());
    let wanted = OpenChannel {
        payer: it.payer(),
        payee: &payee,
        token: &token,
        commitment_key: [1; 32],
        deposit: -1,
        refund_waiting_ledgers: 1,
    };
    let Err(FundError::Simulate(failure)) = it.sandbox.open_channel(&wanted).await else {
        panic!("expected a refusal by the host")
    };
    // The message is that of the deployment; the constructor's own refusal stands in the diagnostics.
    let refusal = ScVal::Error(ScError::Contract(1));
    let told = |event: &DiagnosticEvent| {
        let ContractEventBody::V0(body) = &event.event.body;
        body.topics.contains(&refusal)
    };
    assert!(failure.events.iter().any(told), "{failure:?}");
}

#[tokio::test]
async fn a_commitment_beyond_the_deposit_is_refused_by_the_token() {
    let it = channel(100).await;
    let before = it.holdings();
    for function in ["settle", "close"] {
        let refused = it.refused(it.payee(), function, it.committed(101)).await;
        assert_eq!(refused, "Error(Contract, #10)");
    }
    let refused = it.refused(it.payee(), "settle", it.committed(i128::MAX)).await;
    assert_eq!(refused, "Error(Contract, #10)");
    assert_eq!(it.holdings(), before);

    it.sandbox.top_up(&it.id, it.payer(), 1).await.unwrap();
    it.succeed(it.payee(), "settle", it.committed(101)).await;
    assert_eq!(it.holdings(), [0, before[1] - 1, 101]);
}

#[tokio::test]
async fn a_signature_that_is_not_the_keys_over_these_bytes_traps() {
    let it = channel(100).await;
    let (key, other_key) = (SigningKey::from_bytes(&[1; 32]), SigningKey::from_bytes(&[2; 32]));
    let other_channel = commitment(&ContractId(Hash([2; 32])), 30);
    let own = commitment(&it.id, 30);
    let pubnet = {
        let mut bytes = own.clone();
        let network = bytes.len() - 32;
        bytes[network..].copy_from_slice(
            &hex::decode("7ac33997544e3175d266bd022439b22cdb16508c01163f26e5cb2a3e1045a979")
                .unwrap(),
        );
        bytes
    };
    let wrong = [
        ("another key", signed(30, &other_key, &own)),
        ("another channel", signed(30, &key, &other_channel)),
        ("another network", signed(30, &key, &pubnet)),
        ("another total", signed(31, &key, &own)),
        ("a total that pays nothing", signed(0, &key, &own)),
    ];
    for function in ["settle", "close"] {
        let honest = honest(&it, function).await;
        for (what, args) in &wrong {
            let refused = it.refused(it.payee(), function, args.clone()).await;
            assert_eq!(refused, "Error(Crypto, InvalidInput)", "{function}, {what}");
        }
        let forced = with_args(honest, &wrong[0].1);
        let found = land(&it.sandbox, it.payee(), forced).await;
        assert_eq!(result(&found), TRAPPED, "{function}");
    }
    assert_eq!(it.holdings()[2], 0);

    let right = honest(&it, "settle").await;
    assert_eq!(land(&it.sandbox, it.payee(), right).await["status"], "SUCCESS");
    assert_eq!(it.holdings()[2], 30);
}

#[tokio::test]
async fn only_whose_it_is_may_call() {
    let it = channel(100).await;
    let before = it.holdings();
    let [payer, payee] = [it.payer(), it.payee()];
    let thief = &it.sandbox.accounts().sponsor;
    let top_up = vec![7_i128.into()];
    for (function, args, callers) in [
        ("settle", it.committed(30), [thief, payer]),
        ("close", it.committed(30), [thief, payer]),
        ("top_up", top_up, [thief, payee]),
        ("close_start", vec![], [thief, payee]),
    ] {
        for caller in callers {
            assert_eq!(unsigned(&it, caller, function, args.clone()).await, TRAPPED, "{function}");
        }
    }
    it.succeed(payer, "close_start", vec![]).await;
    it.sandbox.skip_ledgers(WAITING_LEDGERS).await;
    for caller in [thief, payee] {
        assert_eq!(unsigned(&it, caller, "refund", vec![]).await, TRAPPED);
    }
    assert_eq!(it.holdings(), before);
}

/// Sends a call by `caller` without the authorization of whom the contract asks for it, and answers its result.
async fn unsigned(it: &Channel, caller: &DevAccount, function: &str, args: Vec<ScVal>) -> String {
    let call = invoke(&it.id, function, args);
    let (draft, simulated) = prepared(&it.sandbox, caller, call).await.unwrap();
    let found = land(&it.sandbox, caller, assemble(draft, &simulated)).await;
    result(&found)
}

/// The payee's call of `function` with a commitment to 30, ready to be signed.
async fn honest(it: &Channel, function: &str) -> Transaction {
    let call = invoke(&it.id, function, it.committed(30));
    let (draft, simulated) = prepared(&it.sandbox, it.payee(), call).await.unwrap();
    assemble(draft, &simulated)
}

/// `transaction` with other arguments, authorized with them: so that it gets as far as the ledger.
fn with_args(mut transaction: Transaction, args: &[ScVal]) -> Transaction {
    let mut operations = transaction.operations.to_vec();
    let OperationBody::InvokeHostFunction(call) = &mut operations[0].body else {
        panic!("expected a call")
    };
    let mut auth = call.auth.to_vec();
    let SorobanAuthorizedFunction::ContractFn(authorized) = &mut auth[0].root_invocation.function
    else {
        panic!("expected an authorized call")
    };
    let HostFunction::InvokeContract(invoked) = &mut call.host_function else {
        panic!("expected a contract's function")
    };
    (authorized.args, invoked.args) = (args.try_into().unwrap(), args.try_into().unwrap());
    call.auth = auth.try_into().unwrap();
    transaction.operations = operations.try_into().unwrap();
    transaction
}
