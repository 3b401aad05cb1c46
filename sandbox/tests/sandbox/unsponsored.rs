//! Transactions that payers send themselves, with the authorization of their source account; and who else may pay their
//! fees, or send them first.

use serde_json::{Value, json};
use stellar_xdr::{
    ContractEvent, ContractEventBody, InnerTransactionResultResult, ScSymbol, ScVal,
    SorobanAuthorizationEntry, SorobanCredentials, Transaction, TransactionEnvelope,
    TransactionEvent, TransactionMeta, TransactionResult, TransactionResultResult,
};
use tollgate_sandbox::Sandbox;

use crate::support::{
    assemble, base64, bump, by_hand, call, from_base64, hash_of, next, send, sign, simulate,
    transaction, transfer,
};

/// The payer's transfer of `units`, with what its simulation found, not signed yet.
async fn prepared(sandbox: &Sandbox, units: u64) -> Transaction {
    let (payer, payee) = (&sandbox.accounts().payer, &sandbox.accounts().recipient);
    let draft = next(sandbox, payer, transfer(sandbox, payer, payee, units, vec![])).await;
    let simulated = simulate(sandbox, &draft).await;
    assert!(simulated.get("error").is_none(), "{simulated}");
    assemble(draft, &simulated)
}

async fn signed(sandbox: &Sandbox, units: u64) -> TransactionEnvelope {
    sign(sandbox, prepared(sandbox, units).await, &sandbox.accounts().payer)
}

async fn found(sandbox: &Sandbox, hash: &str) -> Value {
    call(sandbox, "getTransaction", json!({ "hash": hash })).await
}

fn result_of(answer: &Value, member: &str) -> TransactionResult {
    from_base64(answer[member].as_str().unwrap())
}

/// Stroops that an account of the sandbox holds, and units of USDC.
fn holdings(sandbox: &Sandbox, address: &str) -> (i64, i128) {
    (sandbox.xlm_balance(address).unwrap(), sandbox.usdc_balance(address).unwrap())
}

#[tokio::test]
async fn a_transfer_is_simulated_before_anything_of_its_envelope_is_right() {
    let sandbox = by_hand().await;
    let mut draft = prepared(&sandbox, 10_000).await;
    // Neither the sequence number nor the fee nor a signature matters to a simulation, nor resources found before.
    (draft.seq_num.0, draft.fee) = (0, 0);
    let envelope = base64(&TransactionEnvelope::from(draft));
    for (mode, error) in [
        (json!(null), None),
        (json!("enforce"), None),
        (json!("record"), Some("cannot set authMode to 'record' with an auth footprint")),
    ] {
        let mut params = json!({ "transaction": envelope });
        if !mode.is_null() {
            params["authMode"] = mode;
        }
        let simulated = call(&sandbox, "simulateTransaction", params).await;
        assert_eq!(simulated["error"].as_str(), error, "{simulated}");
        if error.is_none() {
            let entry: SorobanAuthorizationEntry =
                from_base64(simulated["results"][0]["auth"][0].as_str().unwrap());
            assert_eq!(entry.credentials, SorobanCredentials::SourceAccount);
        }
    }
}

#[tokio::test]
async fn what_a_payer_sent_is_found_with_all_that_it_did() {
    let sandbox = by_hand().await;
    let (payer, payee) =
        (sandbox.accounts().payer.address(), sandbox.accounts().recipient.address());
    let before = (holdings(&sandbox, &payer), holdings(&sandbox, &payee));
    let envelope = signed(&sandbox, 10_000).await;
    let sent = send(&sandbox, &envelope).await;
    let closed = sandbox.close_ledger().await;

    let found = transaction(&sandbox, &sent).await;
    assert_eq!((&found["status"], &found["feeBump"]), (&json!("SUCCESS"), &json!(false)));
    assert_eq!(
        (&found["ledger"], &found["applicationOrder"]),
        (&json!(closed.sequence), &json!(1))
    );
    assert_eq!(found["txHash"], hash_of(&sandbox, &envelope));
    assert_eq!(found["envelopeXdr"], base64(&envelope));
    let TransactionMeta::V4(meta) = from_base64(found["resultMetaXdr"].as_str().unwrap()) else {
        panic!("the fourth version")
    };
    assert_eq!(meta.soroban_meta.unwrap().return_value, Some(ScVal::Void));
    // By operation, in the meta as beside it: one event, of the transfer.
    let of_meta: Vec<_> = meta.operations[0].events.iter().map(base64).collect();
    assert_eq!(found["events"]["contractEventsXdr"], json!([of_meta]));
    let event: ContractEvent = from_base64(&of_meta[0]);
    let ContractEventBody::V0(body) = event.body;
    assert_eq!(body.topics[0], ScVal::Symbol(ScSymbol("transfer".try_into().unwrap())));
    assert_eq!((of_meta.len(), body.topics.len(), body.data), (1, 4, ScVal::from(10_000_i128)));
    let fees = found["events"]["transactionEventsXdr"].as_array().unwrap();
    assert_eq!(fees.len(), 2, "what was charged, and what came back");
    for fee in fees {
        let _: TransactionEvent = from_base64(fee.as_str().unwrap());
    }

    let charged = result_of(&found, "resultXdr").fee_charged;
    let after = (holdings(&sandbox, &payer), holdings(&sandbox, &payee));
    assert_eq!(after.0, (before.0.0 - charged, before.0.1 - 10_000));
    assert_eq!(after.1, (before.1.0, before.1.1 + 10_000));
}

#[tokio::test]
async fn a_transfer_that_fails_on_the_ledger_tells_its_events_to_nobody() {
    let sandbox = by_hand().await;
    let (payer, payee) = (&sandbox.accounts().payer, &sandbox.accounts().recipient);
    let mut tx = prepared(&sandbox, 10_000).await;
    // With resources that suffice, and more money than there is.
    let all = u64::try_from(sandbox.usdc_balance(&payer.address()).unwrap()).unwrap();
    let body = transfer(&sandbox, payer, payee, all + 1, vec![]);
    tx.operations = next(&sandbox, payer, body).await.operations;
    let sent = send(&sandbox, &sign(&sandbox, tx, payer)).await;
    assert_eq!(sent["status"], "PENDING");
    sandbox.close_ledger().await;
    let found = transaction(&sandbox, &sent).await;
    assert_eq!(found["status"], "FAILED");
    assert!(found["events"].get("contractEventsXdr").is_none(), "{found}");
    assert!(!found["diagnosticEventsXdr"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn a_transfer_whose_fee_another_pays_is_found_by_both_hashes() {
    let sandbox = by_hand().await;
    let sponsor = &sandbox.accounts().sponsor;
    let payer = sandbox.accounts().payer.address();
    let before = (holdings(&sandbox, &payer), sandbox.xlm_balance(&sponsor.address()).unwrap());
    let inner = signed(&sandbox, 10_000).await;
    let outer = bump(&sandbox, &inner, sponsor, 100_000);
    let sent = send(&sandbox, &outer).await;
    assert_eq!(
        (&sent["status"], &sent["hash"]),
        (&json!("PENDING"), &json!(hash_of(&sandbox, &outer)))
    );
    sandbox.close_ledger().await;

    let by_inner = found(&sandbox, &hash_of(&sandbox, &inner)).await;
    let mut by_outer = found(&sandbox, &hash_of(&sandbox, &outer)).await;
    assert_eq!((&by_outer["status"], &by_outer["feeBump"]), (&json!("SUCCESS"), &json!(true)));
    assert_eq!(by_outer["envelopeXdr"], base64(&outer));
    assert_eq!(by_outer["events"]["contractEventsXdr"][0].as_array().unwrap().len(), 1);
    let result = result_of(&by_outer, "resultXdr");
    let TransactionResultResult::TxFeeBumpInnerSuccess(pair) = &result.result else {
        panic!("{result:?}")
    };
    assert_eq!(hex::encode(pair.transaction_hash.0), hash_of(&sandbox, &inner));
    assert!(matches!(pair.result.result, InnerTransactionResultResult::TxSuccess(_)));
    // A node answers under the hash that it was asked for, and with the same transaction.
    assert_eq!(by_inner["txHash"], hash_of(&sandbox, &inner));
    by_outer["txHash"] = by_inner["txHash"].clone();
    assert_eq!(by_inner, by_outer);

    assert_eq!(holdings(&sandbox, &payer), (before.0.0, before.0.1 - 10_000));
    let paid = before.1 - sandbox.xlm_balance(&sponsor.address()).unwrap();
    assert_eq!(paid, result.fee_charged);
}

#[tokio::test]
async fn of_a_transfer_and_its_fee_bump_one_lands_whoever_is_first() {
    for sends_inner_first in [true, false] {
        let sandbox = by_hand().await;
        let sponsor = &sandbox.accounts().sponsor;
        let payee = sandbox.accounts().recipient.address();
        let inner = signed(&sandbox, 10_000).await;
        let outer = bump(&sandbox, &inner, sponsor, 100_000);
        if sends_inner_first {
            assert_eq!(send(&sandbox, &inner).await["status"], "PENDING");
            let refused = send(&sandbox, &bump(&sandbox, &inner, sponsor, low_fee(&inner))).await;
            assert_eq!(refused["status"], "ERROR");
            let result = result_of(&refused, "errorResultXdr");
            assert_eq!(result.result, TransactionResultResult::TxInsufficientFee);
            assert_eq!(result.fee_charged, low_fee(&inner) + 1, "what would do");
        } else {
            assert_eq!(send(&sandbox, &outer).await["status"], "PENDING");
            assert_eq!(send(&sandbox, &inner).await["status"], "DUPLICATE");
        }
        sandbox.close_ledger().await;

        let landed = found(&sandbox, &hash_of(&sandbox, &inner)).await;
        assert_eq!(landed["status"], "SUCCESS");
        assert_eq!(landed["feeBump"], !sends_inner_first);
        let of_outer = found(&sandbox, &hash_of(&sandbox, &outer)).await;
        assert_eq!(of_outer["status"] == "SUCCESS", !sends_inner_first);
        for late in [&inner, &outer] {
            let refused = send(&sandbox, late).await;
            assert_eq!(refused["status"], "ERROR", "{refused}");
        }
        sandbox.close_ledger().await;
        assert_eq!(sandbox.usdc_balance(&payee), Some(10_000), "once");
    }
}

/// One stroop less than what takes the place of `inner`, which bids 100 for its one operation.
fn low_fee(inner: &TransactionEnvelope) -> i64 {
    let TransactionEnvelope::Tx(inner) = inner else { panic!("a plain transaction") };
    let resource_fee = i64::from(inner.tx.fee) - 100;
    resource_fee + 10 * 100 * 2 - 1
}
