//! The shape of the RPC: JSON-RPC itself, and the methods that read.

use http::StatusCode;
use serde_json::{Value, json};
use stellar_xdr::{Hash, LedgerCloseMeta, LedgerHeader, LedgerKey, LedgerKeyAccount, LedgerKeyTtl};
use tollgate_sandbox::Method;

use crate::support::{
    account, account_id, base64, by_hand, call, from_base64, post, request, try_call,
};

#[tokio::test]
async fn what_is_not_a_call_gets_the_error_that_json_rpc_has_for_it() {
    let sandbox = by_hand().await;
    for (body, id, code) in [
        ("{", json!(null), -32700),
        ("7", json!(null), -32600),
        ("[]", json!(null), -32600),
        (r#"{"id":1,"method":"getHealth"}"#, json!(1), -32600),
        (r#"{"jsonrpc":"2.0","id":"a"}"#, json!("a"), -32600),
        (r#"{"jsonrpc":"2.0","id":{},"method":"getHealth"}"#, json!(null), -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"getWeather"}"#, json!(1), -32601),
        (r#"{"jsonrpc":"2.0","id":1,"method":"getTransaction","params":[1]}"#, json!(1), -32602),
        (r#"{"jsonrpc":"2.0","id":1,"method":"getTransaction"}"#, json!(1), -32602),
    ] {
        let (status, answer) = request("POST", sandbox.rpc_url(), body).await.unwrap();
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(status, StatusCode::OK);
        assert_eq!(answer["error"]["code"], code, "{body}");
        assert_eq!(answer["id"], id, "{body}");
        assert!(answer.get("result").is_none());
    }
}

#[tokio::test]
async fn a_batch_is_answered_call_by_call_and_notifications_are_not() {
    let sandbox = by_hand().await;
    let answer = post(
        &sandbox,
        &json!([
            { "jsonrpc": "2.0", "id": 1, "method": "getHealth" },
            { "jsonrpc": "2.0", "method": "getHealth" },
            { "jsonrpc": "2.0", "id": "b", "method": "nothing" },
        ]),
    )
    .await;
    let answers = answer.as_array().unwrap();
    assert_eq!(answers.len(), 2);
    assert_eq!(
        (&answers[0]["id"], &answers[0]["result"]["status"]),
        (&json!(1), &json!("healthy"))
    );
    assert_eq!((&answers[1]["id"], &answers[1]["error"]["code"]), (&json!("b"), &json!(-32601)));

    let notification = json!({ "jsonrpc": "2.0", "method": "getHealth" }).to_string();
    let (status, body) = request("POST", sandbox.rpc_url(), notification).await.unwrap();
    assert_eq!((status, body.len()), (StatusCode::NO_CONTENT, 0));
    assert_eq!(sandbox.calls(Method::GetHealth), 3);
}

#[tokio::test]
async fn a_body_over_a_mebibyte_is_refused() {
    let sandbox = by_hand().await;
    let (status, _) = request("POST", sandbox.rpc_url(), vec![b' '; (1 << 20) + 1]).await.unwrap();
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn health_network_and_version_say_what_clients_read() {
    let sandbox = by_hand().await;
    let health = call(&sandbox, "getHealth", json!({})).await;
    assert_eq!(health["status"], "healthy");
    assert_eq!(health["latestLedger"], 3);
    assert!(health["latestLedgerCloseTime"].is_u64() && health["oldestLedgerCloseTime"].is_u64());
    assert_eq!(health["oldestLedger"], 1);

    let network = call(&sandbox, "getNetwork", json!(null)).await;
    assert_eq!(
        network,
        json!({
            "friendbotUrl": sandbox.friendbot_url(),
            "passphrase": "Test SDF Network ; September 2015",
            "protocolVersion": 30,
        })
    );
    let version = call(&sandbox, "getVersionInfo", json!({})).await;
    assert_eq!(version["protocolVersion"], 30);
}

#[tokio::test]
async fn the_latest_ledger_comes_with_xdr_that_decodes_to_the_same_ledger() {
    let sandbox = by_hand().await;
    let closed = sandbox.close_ledger().await;
    let latest = call(&sandbox, "getLatestLedger", json!({})).await;
    assert_eq!(latest["sequence"], closed.sequence);
    assert_eq!(latest["id"], hex::encode(closed.hash.0));
    assert_eq!(latest["closeTime"], closed.close_time.to_string());
    assert_eq!(latest["protocolVersion"], 30);
    let header: LedgerHeader = from_base64(latest["headerXdr"].as_str().unwrap());
    assert_eq!(header.ledger_seq, closed.sequence);
    let LedgerCloseMeta::V2(meta) = from_base64(latest["metadataXdr"].as_str().unwrap()) else {
        panic!("expected a close meta V2");
    };
    assert_eq!(meta.ledger_header.header, header);
}

#[tokio::test]
async fn fees_to_bid_are_strings() {
    let sandbox = by_hand().await;
    let fees = call(&sandbox, "getFeeStats", json!({})).await;
    assert_eq!(fees["inclusionFee"]["p99"], "100");
    // The bootstrap: one transaction of accounts, the USDC contract, the code of channels and of their factory.
    assert_eq!(fees["inclusionFee"]["transactionCount"], "1");
    assert_eq!(fees["sorobanInclusionFee"]["transactionCount"], "3");
    assert_eq!(fees["latestLedger"], 3);
}

#[tokio::test]
async fn ledger_entries_are_data_without_the_frame_and_missing_ones_are_left_out() {
    let sandbox = by_hand().await;
    let payer = &sandbox.accounts().payer;
    assert_eq!(account(&sandbox, payer).await.unwrap().balance, 1_000_000_000);

    let nobody = tollgate_sandbox::DevAccount::from_label("nobody");
    let keys = [&nobody, payer]
        .map(|of| base64(&LedgerKey::Account(LedgerKeyAccount { account_id: account_id(of) })));
    let found = call(&sandbox, "getLedgerEntries", json!({ "keys": keys })).await;
    let entries = found["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0]["key"], keys[1]);
    assert_eq!(entries[0]["lastModifiedLedgerSeq"], 2);
    assert!(entries[0].get("liveUntilLedgerSeq").is_none());
    assert_eq!(found["latestLedger"], 3);
}

#[tokio::test]
async fn keys_that_cannot_be_asked_for_are_refused() {
    let sandbox = by_hand().await;
    let ttl = base64(&LedgerKey::Ttl(LedgerKeyTtl { key_hash: Hash([0; 32]) }));
    for keys in [json!([ttl]), json!(["not XDR"]), json!(vec!["AAAA"; 201]), json!(null)] {
        let error = try_call(&sandbox, "getLedgerEntries", json!({ "keys": keys })).await;
        assert_eq!(error.unwrap_err()["code"], -32602);
    }
}

#[tokio::test]
async fn formats_other_than_base64_are_refused_and_not_ignored() {
    let sandbox = by_hand().await;
    let hash = "00".repeat(32);
    let params = |format| json!({ "hash": hash, "xdrFormat": format });
    let error = try_call(&sandbox, "getTransaction", params("json")).await.unwrap_err();
    assert_eq!(error["code"], -32602);
    assert_eq!(call(&sandbox, "getTransaction", params("base64")).await["status"], "NOT_FOUND");
}

#[tokio::test]
async fn events_outside_the_kept_range_or_with_two_ways_to_page_are_refused() {
    let sandbox = by_hand().await;
    let cursor = "0000000012884905984-0000000001";
    for (params, code) in [
        (json!({ "startLedger": 99, "filters": [] }), -32600),
        (json!({ "filters": [] }), -32602),
        (json!({ "startLedger": 2, "pagination": { "cursor": cursor } }), -32602),
        (json!({ "startLedger": 2, "pagination": { "limit": 10_001 } }), -32602),
        (json!({ "startLedger": 2, "filters": [{ "type": "diagnostic" }] }), -32602),
        (json!({ "startLedger": 2, "filters": [{ "contractIds": ["CABC"] }] }), -32602),
        (json!({ "startLedger": 2, "filters": [{}, {}, {}, {}, {}, {}] }), -32602),
    ] {
        let error = try_call(&sandbox, "getEvents", params.clone()).await.unwrap_err();
        assert_eq!(error["code"], code, "{params}");
    }
    let none = call(&sandbox, "getEvents", json!({ "startLedger": 3, "endLedger": 3 })).await;
    assert_eq!(none["events"], json!([]));
}

#[tokio::test]
async fn pages_from_anywhere_may_call() {
    let sandbox = by_hand().await;
    let (status, _) = request("OPTIONS", sandbox.rpc_url(), "").await.unwrap();
    assert_eq!(status, StatusCode::NO_CONTENT);
    let (status, _) = request("GET", sandbox.rpc_url(), "").await.unwrap();
    assert_eq!(status, StatusCode::OK);
    let (status, _) = request("PUT", sandbox.rpc_url(), "").await.unwrap();
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
}
