//! Transactions over the RPC: simulated, sent, found, and their events.

use serde_json::json;
use stellar_xdr::{
    DiagnosticEvent, SorobanAuthorizationEntry, SorobanCredentials, TransactionEnvelope,
    TransactionMeta, TransactionResult, TransactionResultResult,
};
use tollgate_sandbox::DevAccount;

use crate::support::{
    assemble, base64, by_hand, call, from_base64, next, payment, send, sign, simulate, transaction,
    transfer, try_call,
};

#[tokio::test]
async fn a_payment_waits_for_a_ledger_and_is_found_in_it() {
    let sandbox = by_hand().await;
    let (payer, payee) = (&sandbox.accounts().payer, &sandbox.accounts().recipient);
    let envelope = sign(&sandbox, next(&sandbox, payer, payment(payee, 5)).await, payer);

    let sent = send(&sandbox, &envelope).await;
    assert_eq!(sent["status"], "PENDING");
    assert_eq!(sent["latestLedger"], 3);
    assert!(sent["latestLedgerCloseTime"].is_string());
    assert_eq!(send(&sandbox, &envelope).await["status"], "DUPLICATE");
    let waiting = transaction(&sandbox, &sent).await;
    assert_eq!(waiting["status"], "NOT_FOUND");
    assert_eq!((&waiting["latestLedger"], &waiting["oldestLedger"]), (&json!(3), &json!(1)));
    assert!(waiting.get("envelopeXdr").is_none() && waiting.get("resultXdr").is_none());
    assert_eq!((&waiting["ledger"], &waiting["createdAt"]), (&json!(0), &json!("0")));
    assert_eq!((&waiting["feeBump"], &waiting["events"]), (&json!(false), &json!({})));

    let closed = sandbox.close_ledger().await;
    let found = transaction(&sandbox, &sent).await;
    assert_eq!(found["status"], "SUCCESS");
    assert_eq!(found["txHash"], sent["hash"]);
    assert_eq!(found["ledger"], closed.sequence);
    assert_eq!(found["createdAt"], closed.close_time.to_string());
    assert_eq!(found["applicationOrder"], 1);
    assert_eq!(found["feeBump"], false);
    assert_eq!(found["envelopeXdr"], base64(&envelope));
    let result: TransactionResult = from_base64(found["resultXdr"].as_str().unwrap());
    assert_eq!(result.fee_charged, 100);
    assert!(matches!(
        from_base64(found["resultMetaXdr"].as_str().unwrap()),
        TransactionMeta::V4(_)
    ));
    assert_eq!(sandbox.xlm_balance(&payee.address()), Some(1_000_000_005));
    assert_eq!(sandbox.xlm_balance(&payer.address()), Some(1_000_000_000 - 105));
}

#[tokio::test]
async fn bounds_on_the_ledger_hide_a_transaction_outside_them() {
    let sandbox = by_hand().await;
    let (payer, payee) = (&sandbox.accounts().payer, &sandbox.accounts().recipient);
    let envelope = sign(&sandbox, next(&sandbox, payer, payment(payee, 5)).await, payer);
    let hash = send(&sandbox, &envelope).await["hash"].clone();
    sandbox.close_ledger().await;
    for (min, max, status) in
        [(4, 4, "SUCCESS"), (0, 9, "SUCCESS"), (5, 0, "NOT_FOUND"), (0, 3, "NOT_FOUND")]
    {
        let params = json!({ "hash": hash, "minLedger": min, "maxLedger": max });
        let found = call(&sandbox, "getTransaction", params).await;
        assert_eq!(found["status"], status, "{min} to {max}");
    }
    let params = json!({ "hash": hash, "minLedger": 5, "maxLedger": 4 });
    assert_eq!(try_call(&sandbox, "getTransaction", params).await.unwrap_err()["code"], -32602);
}

#[tokio::test]
async fn what_is_not_a_transaction_is_an_error_of_the_call() {
    let sandbox = by_hand().await;
    let params = json!({ "transaction": "AAAA" });
    let error = try_call(&sandbox, "sendTransaction", params.clone()).await.unwrap_err();
    assert_eq!(error, json!({ "code": -32602, "message": "invalid_xdr" }));
    let simulated = call(&sandbox, "simulateTransaction", params).await;
    assert_eq!(simulated["error"], "Could not unmarshal transaction");
    assert_eq!(simulated["latestLedger"], 3);
    for hash in ["", "00", "zz"] {
        let error = try_call(&sandbox, "getTransaction", json!({ "hash": hash.repeat(32) })).await;
        assert_eq!(error.is_err(), hash != "00");
    }
}

#[tokio::test]
async fn a_wrong_sequence_is_answered_with_its_result() {
    let sandbox = by_hand().await;
    let (payer, payee) = (&sandbox.accounts().payer, &sandbox.accounts().recipient);
    let mut wrong = next(&sandbox, payer, payment(payee, 5)).await;
    wrong.seq_num.0 += 1;
    let sent = send(&sandbox, &sign(&sandbox, wrong, payer)).await;
    assert_eq!(sent["status"], "ERROR");
    let result: TransactionResult = from_base64(sent["errorResultXdr"].as_str().unwrap());
    assert_eq!(result.result, TransactionResultResult::TxBadSeq);
}

#[tokio::test]
async fn a_transfer_is_simulated_assembled_sent_and_leaves_one_event() {
    let sandbox = by_hand().await;
    let (payer, payee) = (&sandbox.accounts().payer, &sandbox.accounts().recipient);
    let body = transfer(&sandbox, payer, payee, 10_000, vec![]);
    let draft = next(&sandbox, payer, body).await;

    let simulated = simulate(&sandbox, &draft).await;
    assert!(simulated.get("error").is_none(), "{simulated}");
    assert_eq!(simulated["latestLedger"], 3);
    let auth: SorobanAuthorizationEntry =
        from_base64(simulated["results"][0]["auth"][0].as_str().unwrap());
    assert_eq!(auth.credentials, SorobanCredentials::SourceAccount);
    for event in simulated["events"].as_array().unwrap() {
        let _: DiagnosticEvent = from_base64(event.as_str().unwrap());
    }
    let changes = simulated["stateChanges"].as_array().unwrap();
    assert!(changes.iter().all(|change| change["type"] == "updated"), "{changes:?}");
    assert!(changes.iter().all(|change| change["before"] != change["after"]));

    let sent = send(&sandbox, &sign(&sandbox, assemble(draft, &simulated), payer)).await;
    assert_eq!(sent["status"], "PENDING", "{sent}");
    let closed = sandbox.close_ledger().await;
    let found = transaction(&sandbox, &sent).await;
    assert_eq!(found["status"], "SUCCESS", "{found}");
    assert_eq!(found["events"]["contractEventsXdr"][0].as_array().unwrap().len(), 1);
    assert_eq!(sandbox.usdc_balance(&payee.address()), Some(10_000));
    assert_eq!(sandbox.usdc_balance(&payer.address()), Some(10_000_000_000 - 10_000));

    let filters = json!([{ "type": "contract", "contractIds": [sandbox.usdc_contract()] }]);
    let events =
        call(&sandbox, "getEvents", json!({ "startLedger": closed.sequence, "filters": filters }))
            .await;
    let events = events["events"].as_array().unwrap();
    assert_eq!(events.len(), 1, "{events:?}");
    let event = &events[0];
    assert_eq!(event["txHash"], sent["hash"]);
    assert_eq!(event["contractId"], sandbox.usdc_contract());
    assert_eq!(event["type"], "contract");
    assert_eq!(event["inSuccessfulContractCall"], true);
    assert_eq!((&event["transactionIndex"], &event["operationIndex"]), (&json!(1), &json!(0)));
    assert_eq!(event["topic"].as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn events_are_paged_by_limit_and_cursor() {
    let sandbox = by_hand().await;
    let (payer, payee) = (&sandbox.accounts().payer, &sandbox.accounts().recipient);
    for _ in 0..3 {
        let draft = next(&sandbox, payer, transfer(&sandbox, payer, payee, 1, vec![])).await;
        let simulated = simulate(&sandbox, &draft).await;
        send(&sandbox, &sign(&sandbox, assemble(draft, &simulated), payer)).await;
        sandbox.close_ledger().await;
    }
    let filters = json!([{ "contractIds": [sandbox.usdc_contract()] }]);
    let page = |paging| {
        let mut params = json!({ "filters": filters });
        for (key, value) in serde_json::Map::clone(json!(paging).as_object().unwrap()) {
            params[key] = value;
        }
        let sandbox = &sandbox;
        async move { call(sandbox, "getEvents", params).await }
    };
    let first = page(json!({ "startLedger": 4, "pagination": { "limit": 2 } })).await;
    let ids = |page: &serde_json::Value| {
        let events = page["events"].as_array().unwrap();
        events.iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&first).len(), 2);
    assert_eq!(first["cursor"], *ids(&first).last().unwrap());
    let second = page(json!({ "pagination": { "cursor": first["cursor"], "limit": 2 } })).await;
    assert_eq!(ids(&second).len(), 1);
    assert!(ids(&second)[0] > ids(&first)[1]);
    let third = page(json!({ "pagination": { "cursor": second["cursor"] } })).await;
    assert_eq!(ids(&third).len(), 0);
    // The end of an exhausted range is where a follower goes on when more has happened.
    let only_first = page(json!({ "startLedger": 4, "endLedger": 5 })).await;
    assert_eq!(ids(&only_first), ids(&first)[..1]);
    let rest = page(json!({ "pagination": { "cursor": only_first["cursor"] } })).await;
    assert_eq!(ids(&rest).len(), 2);
}

#[tokio::test]
async fn a_transfer_to_an_account_without_trustline_is_a_result_with_an_error() {
    let sandbox = by_hand().await;
    let (payer, stranger) = (&sandbox.accounts().payer, DevAccount::from_label("stranger"));
    sandbox.create_account(&stranger, 100_000_000).await.unwrap();
    let draft = next(&sandbox, payer, transfer(&sandbox, payer, &stranger, 1, vec![])).await;
    let simulated = simulate(&sandbox, &draft).await;
    assert!(simulated["error"].as_str().unwrap().contains("Error(Contract, #13)"), "{simulated}");
    assert!(!simulated["events"].as_array().unwrap().is_empty());
    assert!(simulated.get("transactionData").is_none());
}

#[tokio::test]
async fn modes_that_do_not_fit_are_results_with_an_error() {
    let sandbox = by_hand().await;
    let (payer, payee) = (&sandbox.accounts().payer, &sandbox.accounts().recipient);
    let draft = next(&sandbox, payer, transfer(&sandbox, payer, payee, 1, vec![])).await;
    let draft = base64(&TransactionEnvelope::from(draft));
    for (mode, fits) in [("record", true), ("record_allow_nonroot", true), ("maybe", false)] {
        let params = json!({ "transaction": draft, "authMode": mode });
        let simulated = call(&sandbox, "simulateTransaction", params).await;
        assert_eq!(simulated.get("error").is_none(), fits, "{mode}: {simulated}");
    }
}

#[tokio::test]
async fn address_credentials_are_the_older_kind_unless_the_newer_is_asked_for() {
    let sandbox = by_hand().await;
    let (payer, payee, sponsor) =
        (&sandbox.accounts().payer, &sandbox.accounts().recipient, &sandbox.accounts().sponsor);
    let draft = next(&sandbox, sponsor, transfer(&sandbox, payer, payee, 1, vec![])).await;
    let draft = base64(&TransactionEnvelope::from(draft));
    for (upgraded, newer) in [(json!(null), false), (json!(false), false), (json!(true), true)] {
        let mut params = json!({ "transaction": draft });
        if !upgraded.is_null() {
            params["useUpgradedAuth"] = upgraded;
        }
        let simulated = call(&sandbox, "simulateTransaction", params).await;
        let entry: SorobanAuthorizationEntry =
            from_base64(simulated["results"][0]["auth"][0].as_str().unwrap());
        match entry.credentials {
            SorobanCredentials::Address(_) => assert!(!newer),
            SorobanCredentials::AddressV2(_) => assert!(newer),
            other => panic!("expected address credentials, got {other:?}"),
        }
    }
}

#[tokio::test]
async fn transactions_are_listed_by_ledger_and_cursor() {
    let sandbox = by_hand().await;
    let (payer, payee) = (&sandbox.accounts().payer, &sandbox.accounts().recipient);
    for from in [payer, payee] {
        let body = payment(&sandbox.accounts().sponsor, 1);
        send(&sandbox, &sign(&sandbox, next(&sandbox, from, body).await, from)).await;
    }
    sandbox.close_ledger().await;
    let all = call(&sandbox, "getTransactions", json!({ "startLedger": 4 })).await;
    assert_eq!(all["transactions"].as_array().unwrap().len(), 2);
    assert!(all["transactions"][0]["createdAt"].is_u64());
    let pagination = json!({ "startLedger": 4, "pagination": { "limit": 1 } });
    let one = call(&sandbox, "getTransactions", pagination).await;
    assert_eq!(one["transactions"], json!([all["transactions"][0]]));
    let pagination = json!({ "pagination": { "cursor": one["cursor"] } });
    let two = call(&sandbox, "getTransactions", pagination).await;
    assert_eq!(two["transactions"], json!([all["transactions"][1]]));
}

#[tokio::test]
async fn what_happened_before_ledgers_were_skipped_is_found_after_them() {
    let sandbox = by_hand().await;
    let (payer, payee) = (&sandbox.accounts().payer, &sandbox.accounts().recipient);
    let pay = async || {
        let envelope = sign(&sandbox, next(&sandbox, payer, payment(payee, 5)).await, payer);
        send(&sandbox, &envelope).await["hash"].clone()
    };
    let before = pay().await;
    let first = sandbox.close_ledger().await.sequence;
    let after = pay().await;
    assert_eq!(sandbox.skip_ledgers(5000).await.sequence, first + 5000);

    let found = call(&sandbox, "getTransactions", json!({ "startLedger": first })).await;
    let listed: Vec<_> = found["transactions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|found| (found["txHash"].clone(), found["ledger"].clone()))
        .collect();
    assert_eq!(listed, [(before, json!(first)), (after, json!(first + 5000))]);
}
