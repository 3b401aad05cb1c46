//! Faults on request: each happens as often as armed, to the method it is armed for, and then no more.

use std::time::Duration;

use http::StatusCode;
use serde_json::json;
use stellar_xdr::TransactionEnvelope;
use tollgate_sandbox::{Fault, Method, Sandbox, Times};

use crate::support::{
    account, base64, by_hand, call, next, payment, request, send, sign, transaction, try_call,
};

async fn signed_payment(sandbox: &Sandbox) -> TransactionEnvelope {
    let (payer, payee) = (&sandbox.accounts().payer, &sandbox.accounts().recipient);
    sign(sandbox, next(sandbox, payer, payment(payee, 5)).await, payer)
}

fn send_body(envelope: &TransactionEnvelope) -> String {
    let params = json!({ "transaction": base64(envelope) });
    json!({ "jsonrpc": "2.0", "id": 1, "method": "sendTransaction", "params": params }).to_string()
}

#[tokio::test]
async fn an_error_is_answered_as_often_as_armed_and_to_its_method_only() {
    let sandbox = by_hand().await;
    let fault = Fault::Error { code: -32603, message: "the node is sick".into() };
    sandbox.faults().arm(Method::GetHealth, Times::Next(2), fault);
    for expected in [false, false, true] {
        assert!(try_call(&sandbox, "getNetwork", json!({})).await.is_ok());
        assert_eq!(try_call(&sandbox, "getHealth", json!({})).await.is_ok(), expected);
    }
}

#[tokio::test]
async fn a_fault_for_any_method_lasts_until_it_is_cleared() {
    let sandbox = by_hand().await;
    let fault = Fault::Http { status: 503, body: "<html>busy</html>".into() };
    sandbox.faults().arm(None, Times::Always, fault);
    for method in ["getHealth", "getNetwork"] {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method }).to_string();
        let (status, body) = request("POST", sandbox.rpc_url(), body).await.unwrap();
        assert_eq!(
            (status, &body[..]),
            (StatusCode::SERVICE_UNAVAILABLE, &b"<html>busy</html>"[..])
        );
    }
    assert_eq!(sandbox.faults().clear(), 1);
    call(&sandbox, "getHealth", json!({})).await;
}

#[tokio::test]
async fn a_dropped_call_has_no_effect_and_a_dropped_answer_has() {
    let sandbox = by_hand().await;
    let envelope = signed_payment(&sandbox).await;
    sandbox.faults().arm(Method::SendTransaction, Times::Next(1), Fault::Drop);
    sandbox.faults().arm(Method::SendTransaction, Times::Next(1), Fault::DropAnswer);

    assert!(request("POST", sandbox.rpc_url(), send_body(&envelope)).await.is_err());
    let hash = envelope.hash(sandbox.ledger().network_id().0).unwrap();
    let hash = stellar_xdr::Hash(hash);
    assert!(!sandbox.ledger().is_pending(&hash));
    assert!(request("POST", sandbox.rpc_url(), send_body(&envelope)).await.is_err());
    assert!(sandbox.ledger().is_pending(&hash));
    assert_eq!(send(&sandbox, &envelope).await["status"], "DUPLICATE");
}

#[tokio::test]
async fn a_delayed_answer_keeps_its_effect_when_the_caller_is_gone() {
    let sandbox = by_hand().await;
    let envelope = signed_payment(&sandbox).await;
    let hash = stellar_xdr::Hash(envelope.hash(sandbox.ledger().network_id().0).unwrap());
    let long = Duration::from_secs(60);
    sandbox.faults().arm(Method::SendTransaction, Times::Next(1), Fault::DelayAnswer(long));
    let sending = request("POST", sandbox.rpc_url(), send_body(&envelope));
    let admitted = async {
        while !sandbox.ledger().is_pending(&hash) {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        answer = sending => panic!("expected no answer yet, got {answer:?}"),
        () = admitted => {}
    }
}

#[tokio::test]
async fn a_delayed_call_is_answered_late() {
    let sandbox = by_hand().await;
    let delay = Duration::from_millis(50);
    sandbox.faults().arm(Method::GetHealth, Times::Next(1), Fault::Delay(delay));
    let started = tokio::time::Instant::now();
    call(&sandbox, "getHealth", json!({})).await;
    assert!(tokio::time::Instant::now() - started >= delay);
}

#[tokio::test]
async fn try_again_later_forgets_the_transaction() {
    let sandbox = by_hand().await;
    let envelope = signed_payment(&sandbox).await;
    sandbox.faults().arm(Method::SendTransaction, Times::Next(1), Fault::TryAgainLater);
    let refused = send(&sandbox, &envelope).await;
    assert_eq!(refused["status"], "TRY_AGAIN_LATER");
    let sent = send(&sandbox, &envelope).await;
    assert_eq!(sent["status"], "PENDING");
    assert_eq!(sent["hash"], refused["hash"]);
}

#[tokio::test]
async fn stale_reads_answer_from_ledgers_ago() {
    let sandbox = by_hand().await;
    let payer = &sandbox.accounts().payer;
    let before = account(&sandbox, payer).await.unwrap();
    let sent = send(&sandbox, &signed_payment(&sandbox).await).await;
    sandbox.close_ledger().await;
    sandbox.close_ledger().await;

    sandbox.faults().arm(None, Times::Always, Fault::Stale { ledgers: 2 });
    assert_eq!(call(&sandbox, "getLatestLedger", json!({})).await["sequence"], 3);
    assert_eq!(account(&sandbox, payer).await.unwrap(), before);
    let unseen = transaction(&sandbox, &sent).await;
    assert_eq!((&unseen["status"], &unseen["latestLedger"]), (&json!("NOT_FOUND"), &json!(3)));
    sandbox.faults().clear();
    assert_eq!(call(&sandbox, "getLatestLedger", json!({})).await["sequence"], 5);
    assert_ne!(account(&sandbox, payer).await.unwrap(), before);
    assert_eq!(transaction(&sandbox, &sent).await["status"], "SUCCESS");
}

#[tokio::test]
async fn a_transaction_fails_on_request_and_is_charged() {
    let sandbox = by_hand().await;
    let (payer, payee) =
        (sandbox.accounts().payer.address(), sandbox.accounts().recipient.address());
    sandbox.faults().fail_transactions(1, |_| true);
    let sent = send(&sandbox, &signed_payment(&sandbox).await).await;
    assert_eq!(sent["status"], "PENDING");
    sandbox.close_ledger().await;
    assert_eq!(transaction(&sandbox, &sent).await["status"], "FAILED");
    assert_eq!(sandbox.xlm_balance(&payer), Some(1_000_000_000 - 100));
    assert_eq!(sandbox.xlm_balance(&payee), Some(1_000_000_000));

    let sent = send(&sandbox, &signed_payment(&sandbox).await).await;
    sandbox.close_ledger().await;
    assert_eq!(transaction(&sandbox, &sent).await["status"], "SUCCESS");
}

#[tokio::test]
async fn a_transaction_vanishes_on_request_and_may_be_sent_again() {
    let sandbox = by_hand().await;
    let envelope = signed_payment(&sandbox).await;
    sandbox.faults().lose_transactions(1, |_| true);
    let sent = send(&sandbox, &envelope).await;
    assert_eq!(sent["status"], "PENDING");
    sandbox.close_ledger().await;
    assert_eq!(transaction(&sandbox, &sent).await["status"], "NOT_FOUND");

    assert_eq!(send(&sandbox, &envelope).await["status"], "PENDING");
    sandbox.close_ledger().await;
    assert_eq!(transaction(&sandbox, &sent).await["status"], "SUCCESS");
}
