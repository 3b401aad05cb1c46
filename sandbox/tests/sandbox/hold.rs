//! Holds: a call stands still at an exact place, whoever waits for it, until the test says how it goes on.

use serde_json::{Value, json};
use stellar_xdr::{Hash, TransactionEnvelope};
use tollgate_sandbox::{Fault, Method, Moment, Sandbox, Times};

use crate::support::{
    base64, by_hand, call, next, payment, request, send, sign, transaction, try_call,
};

async fn signed_payment(sandbox: &Sandbox) -> (TransactionEnvelope, Hash) {
    let (payer, payee) = (&sandbox.accounts().payer, &sandbox.accounts().recipient);
    let envelope = sign(sandbox, next(sandbox, payer, payment(payee, 5)).await, payer);
    let hash = Hash(envelope.hash(sandbox.ledger().network_id().0).unwrap());
    (envelope, hash)
}

fn send_body(envelope: &TransactionEnvelope) -> String {
    let params = json!({ "transaction": base64(envelope) });
    json!({ "jsonrpc": "2.0", "id": 1, "method": "sendTransaction", "params": params }).to_string()
}

/// Waits until the call stands at the hold, which must not be answered before.
async fn stands<T: std::fmt::Debug>(hold: &tollgate_sandbox::Hold, call: impl Future<Output = T>) {
    tokio::select! {
        answer = call => panic!("expected no answer yet, got {answer:?}"),
        () = hold.arrived() => {}
    }
}

#[tokio::test]
async fn a_call_held_before_its_effect_has_none_until_it_is_released() {
    let sandbox = by_hand().await;
    let (envelope, hash) = signed_payment(&sandbox).await;
    let hold = sandbox.faults().hold(Method::SendTransaction, Moment::BeforeEffect);
    let mut sending = std::pin::pin!(send(&sandbox, &envelope));
    stands(&hold, sending.as_mut()).await;
    assert!(!sandbox.ledger().is_pending(&hash));
    assert_eq!((hold.calls(), sandbox.calls(Method::SendTransaction)), (1, 1));
    // Other methods go on.
    call(&sandbox, "getHealth", json!({})).await;

    hold.release();
    assert_eq!(sending.await["status"], "PENDING");
    assert!(sandbox.ledger().is_pending(&hash));
    assert_eq!(send(&sandbox, &envelope).await["status"], "DUPLICATE", "it holds no more");
}

#[tokio::test]
async fn a_call_held_after_its_effect_has_it_and_its_answer_waits() {
    let sandbox = by_hand().await;
    let (envelope, hash) = signed_payment(&sandbox).await;
    let hold = sandbox.faults().hold(Method::SendTransaction, Moment::AfterEffect);
    let mut sending = std::pin::pin!(send(&sandbox, &envelope));
    stands(&hold, sending.as_mut()).await;
    assert!(sandbox.ledger().is_pending(&hash));
    sandbox.close_ledger().await;
    drop(hold);
    assert_eq!(sending.await["status"], "PENDING", "the answer is of the moment before");
}

#[tokio::test]
async fn a_held_call_is_carried_out_though_its_caller_is_gone() {
    let sandbox = by_hand().await;
    let (envelope, hash) = signed_payment(&sandbox).await;
    let hold = sandbox.faults().hold(Method::SendTransaction, Moment::BeforeEffect);
    stands(&hold, request("POST", sandbox.rpc_url(), send_body(&envelope))).await;
    // The connection is closed by now; an answered call shows that the server had the time to see it.
    call(&sandbox, "getHealth", json!({})).await;
    assert!(!sandbox.ledger().is_pending(&hash));
    hold.release();
    while !sandbox.ledger().is_pending(&hash) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_discarded_call_is_answered_by_a_closed_connection() {
    for (moment, has_effect) in [(Moment::BeforeEffect, false), (Moment::AfterEffect, true)] {
        let sandbox = by_hand().await;
        let (envelope, hash) = signed_payment(&sandbox).await;
        let hold = sandbox.faults().hold(Method::SendTransaction, moment);
        let mut sending = std::pin::pin!(request("POST", sandbox.rpc_url(), send_body(&envelope)));
        stands(&hold, sending.as_mut()).await;
        hold.discard();
        assert!(sending.await.is_err());
        assert_eq!(sandbox.ledger().is_pending(&hash), has_effect, "{moment:?}");
    }
}

#[tokio::test]
async fn every_call_of_the_method_is_held_and_then_meets_the_faults_that_are_armed() {
    let sandbox = by_hand().await;
    let hold = sandbox.faults().hold(Method::GetLatestLedger, Moment::BeforeEffect);
    let calls = async {
        tokio::join!(
            try_call(&sandbox, "getLatestLedger", json!({})),
            try_call(&sandbox, "getLatestLedger", json!({})),
        )
    };
    let mut calls = std::pin::pin!(calls);
    tokio::select! {
        answers = calls.as_mut() => panic!("expected no answers yet, got {answers:?}"),
        () = hold.arrived_times(2) => {}
    }
    sandbox.close_ledger().await;
    let fault = Fault::Error { code: -32603, message: "late".into() };
    sandbox.faults().arm(Method::GetLatestLedger, Times::Next(1), fault);
    assert_eq!(sandbox.faults().clear(), 1, "a hold is not disarmed");
    let fault = Fault::Error { code: -32603, message: "later".into() };
    sandbox.faults().arm(Method::GetLatestLedger, Times::Next(1), fault);
    hold.release();
    let (one, other) = calls.await;
    let [good, bad]: [Vec<Value>; 2] = [
        [&one, &other].into_iter().filter_map(|answer| answer.clone().ok()).collect(),
        [one, other].into_iter().filter_map(Result::err).collect(),
    ];
    assert_eq!(
        (good[0]["sequence"].clone(), bad[0]["message"].clone()),
        (json!(4), json!("later"))
    );
}

#[tokio::test]
async fn a_sandbox_shuts_down_though_a_call_is_held() {
    let sandbox = by_hand().await;
    let hold = sandbox.faults().hold(Method::GetHealth, Moment::BeforeEffect);
    let url = sandbox.rpc_url().to_owned();
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "getHealth" }).to_string();
    let ending = async {
        hold.arrived().await;
        sandbox.shutdown().await;
    };
    let (answer, ()) = tokio::join!(request("POST", &url, body), ending);
    assert!(answer.is_err());
    drop(hold);
}

#[tokio::test]
async fn a_transaction_that_is_there_is_not_found_as_often_as_armed() {
    let sandbox = by_hand().await;
    let (envelope, _) = signed_payment(&sandbox).await;
    let sent = send(&sandbox, &envelope).await;
    let closed = sandbox.close_ledger().await;
    sandbox.faults().arm(Method::GetTransaction, Times::Next(2), Fault::NotFound);
    for expected in ["NOT_FOUND", "NOT_FOUND", "SUCCESS"] {
        let found = transaction(&sandbox, &sent).await;
        assert_eq!(found["status"], expected);
        assert_eq!(found["latestLedger"], closed.sequence, "the node does not say that it lags");
    }
}

#[tokio::test]
async fn a_delayed_transaction_waits_for_its_ledger() {
    let sandbox = by_hand().await;
    let (envelope, hash) = signed_payment(&sandbox).await;
    let until = sandbox.ledger().latest().sequence + 3;
    sandbox.faults().delay_transactions(1, until, |_| true);
    let sent = send(&sandbox, &envelope).await;
    assert_eq!(sent["status"], "PENDING");
    for _ in 0..2 {
        sandbox.close_ledger().await;
        assert_eq!(transaction(&sandbox, &sent).await["status"], "NOT_FOUND");
        assert_eq!(send(&sandbox, &envelope).await["status"], "DUPLICATE");
    }
    assert!(sandbox.ledger().is_pending(&hash));
    assert_eq!(sandbox.close_ledger().await.sequence, until);
    let found = transaction(&sandbox, &sent).await;
    assert_eq!((&found["status"], &found["ledger"]), (&json!("SUCCESS"), &json!(until)));
    assert!(!sandbox.ledger().is_pending(&hash));
}
