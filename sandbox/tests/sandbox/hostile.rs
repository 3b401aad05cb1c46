//! Bytes from outside that are made to break something.

use serde_json::json;
use stellar_xdr::{HostFunction, OperationBody, ScVal, ScVec, Transaction, TransactionEnvelope};

use crate::support::{base64, by_hand, call, next, request, transfer, try_call};

#[tokio::test]
async fn a_transaction_nested_deeper_than_anything_valid_is_refused() {
    let sandbox = by_hand().await;
    let payer = &sandbox.accounts().payer;
    let draft = next(&sandbox, payer, transfer(&sandbox, payer, payer, 1, vec![])).await;
    for (depth, readable) in [(20, true), (55, true), (400, false), (20_000, false)] {
        let params = json!({ "transaction": with_nested_argument(draft.clone(), depth) });
        let simulated = call(&sandbox, "simulateTransaction", params.clone()).await;
        let error = simulated["error"].as_str().unwrap();
        assert_eq!(error != "Could not unmarshal transaction", readable, "{depth}: {error}");
        if !readable {
            assert!(try_call(&sandbox, "sendTransaction", params).await.is_err());
        }
    }
    call(&sandbox, "getHealth", json!({})).await;
}

#[tokio::test]
async fn json_nested_deeper_than_anything_valid_is_refused() {
    let sandbox = by_hand().await;
    let body = "[".repeat(100_000);
    let (_, answer) = request("POST", sandbox.rpc_url(), body).await.unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(answer["error"]["code"], -32700);
}

/// `draft`'s call with one argument, `depth` vectors deep, encoded on a stack that is large enough for it.
fn with_nested_argument(mut draft: Transaction, depth: usize) -> String {
    let write = move || {
        let mut operations = draft.operations.to_vec();
        if let OperationBody::InvokeHostFunction(invoke) = &mut operations[0].body
            && let HostFunction::InvokeContract(call) = &mut invoke.host_function
        {
            let around = |inner| ScVal::Vec(Some(ScVec(vec![inner].try_into().unwrap())));
            let nested = (0..depth).fold(ScVal::Void, |inner, _| around(inner));
            call.args = vec![nested].try_into().unwrap();
        }
        draft.operations = operations.try_into().unwrap();
        base64(&TransactionEnvelope::from(draft))
    };
    std::thread::Builder::new().stack_size(512 << 20).spawn(write).unwrap().join().unwrap()
}
