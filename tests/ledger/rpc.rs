//! A Stellar RPC that answers badly: what its client makes of it.

use std::time::{Duration, Instant};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use stellar_xdr as xdr;
use tollgate::{
    ledger::{
        Http, HttpError,
        rpc::{AuthMode, Error, Lookup, Rpc, Simulation, Submission},
        signer::Seed,
    },
    protocol::{
        stellar::{Network, TxHash},
        transfer::unsigned_envelope,
    },
};

use super::{
    stub::{Reply, Stub},
    support::{World, settle, settled},
};

fn client(url: &str) -> Rpc {
    Rpc::new(Http::new(), url.parse().unwrap(), Network::Testnet)
}

fn result(result: Value) -> Reply {
    Reply::Json(200, json!({"jsonrpc": "2.0", "id": 1, "result": result}))
}

async fn answering(reply: Reply) -> (Stub, Rpc) {
    let stub = Stub::start(move |_| reply.clone()).await;
    let rpc = client(&stub.url);
    (stub, rpc)
}

fn text(value: &impl xdr::WriteXdr) -> String {
    STANDARD.encode(value.to_xdr(xdr::Limits::none()).unwrap())
}

/// A transaction that pays nobody, and its hash.
fn transaction(fee: u32) -> (xdr::TransactionEnvelope, TxHash) {
    let operation = xdr::Operation { source_account: None, body: xdr::OperationBody::Inflation };
    let envelope = unsigned_envelope(operation, None, fee, 0);
    let hash = TxHash(envelope.hash(Network::Testnet.id()).unwrap());
    (envelope, hash)
}

fn bump(inner: xdr::TransactionEnvelope) -> (xdr::TransactionEnvelope, TxHash) {
    let xdr::TransactionEnvelope::Tx(inner) = inner else { unreachable!() };
    let tx = xdr::FeeBumpTransaction {
        fee_source: Seed::from_bytes(&[2; 32]).account().to_muxed(),
        fee: 400,
        inner_tx: xdr::FeeBumpTransactionInnerTx::Tx(inner),
        ext: xdr::FeeBumpTransactionExt::V0,
    };
    let signatures = xdr::VecM::default();
    let envelope =
        xdr::TransactionEnvelope::TxFeeBump(xdr::FeeBumpTransactionEnvelope { tx, signatures });
    let hash = TxHash(envelope.hash(Network::Testnet.id()).unwrap());
    (envelope, hash)
}

fn outcome(result: xdr::TransactionResultResult) -> xdr::TransactionResult {
    xdr::TransactionResult { fee_charged: 100, result, ext: xdr::TransactionResultExt::V0 }
}

fn bumped(success: bool, inner: xdr::InnerTransactionResultResult) -> xdr::TransactionResult {
    let pair = xdr::InnerTransactionResultPair {
        transaction_hash: xdr::Hash([0; 32]),
        result: xdr::InnerTransactionResult {
            fee_charged: 0,
            result: inner,
            ext: xdr::InnerTransactionResultExt::V0,
        },
    };
    outcome(if success {
        xdr::TransactionResultResult::TxFeeBumpInnerSuccess(pair)
    } else {
        xdr::TransactionResultResult::TxFeeBumpInnerFailed(pair)
    })
}

fn found(status: &str, envelope: &xdr::TransactionEnvelope, of: &xdr::TransactionResult) -> Reply {
    let meta = xdr::TransactionMeta::V3(xdr::TransactionMetaV3 {
        ext: xdr::ExtensionPoint::V0,
        tx_changes_before: xdr::LedgerEntryChanges(xdr::VecM::default()),
        operations: xdr::VecM::default(),
        tx_changes_after: xdr::LedgerEntryChanges(xdr::VecM::default()),
        soroban_meta: None,
    });
    result(json!({"status": status, "ledger": 7, "latestLedger": 9, "oldestLedger": 1,
        "envelopeXdr": text(envelope), "resultXdr": text(of), "resultMetaXdr": text(&meta)}))
}

const NONE: fn() -> xdr::VecM<xdr::OperationResult> = xdr::VecM::default;

#[tokio::test]
async fn d06_an_answer_about_another_transaction_is_refused() {
    let (envelope, hash) = transaction(100);
    let (_, other) = transaction(200);
    let good = outcome(xdr::TransactionResultResult::TxSuccess(NONE()));
    let (_stub, rpc) = answering(found("SUCCESS", &envelope, &good)).await;
    assert!(matches!(rpc.transaction(hash).await, Ok(Lookup::Applied(found)) if found.success));
    let refused = rpc.transaction(other).await;
    assert_eq!(refused, Err(Error::Garbage { method: "getTransaction", what: "envelopeXdr" }));
}

#[tokio::test]
async fn d06_a_status_that_its_result_denies_is_refused() {
    use xdr::{InnerTransactionResultResult as Inner, TransactionResultResult as Outer};
    let (plain, hash) = transaction(100);
    let (wrapped, outer) = bump(plain.clone());
    let fails = || outcome(Outer::TxFailed(NONE()));
    let succeeds = || outcome(Outer::TxSuccess(NONE()));
    for (status, envelope, hash, result, agrees) in [
        ("SUCCESS", &plain, hash, succeeds(), true),
        ("FAILED", &plain, hash, fails(), true),
        ("SUCCESS", &plain, hash, fails(), false),
        ("FAILED", &plain, hash, succeeds(), false),
        ("SUCCESS", &wrapped, outer, bumped(true, Inner::TxSuccess(NONE())), true),
        ("FAILED", &wrapped, outer, bumped(false, Inner::TxFailed(NONE())), true),
        ("SUCCESS", &wrapped, outer, bumped(false, Inner::TxFailed(NONE())), false),
        ("SUCCESS", &wrapped, outer, bumped(true, Inner::TxFailed(NONE())), false),
        ("SUCCESS", &wrapped, outer, bumped(false, Inner::TxSuccess(NONE())), false),
        ("success", &plain, hash, succeeds(), false),
    ] {
        let (_stub, rpc) = answering(found(status, envelope, &result)).await;
        let verdict = rpc.transaction(hash).await;
        assert_eq!(verdict.is_ok(), agrees, "{status} {:?}: {verdict:?}", result.result.name());
    }
}

#[tokio::test]
async fn d06_a_submission_must_echo_the_hash_of_what_was_sent() {
    let (envelope, hash) = transaction(100);
    let (_, other) = transaction(200);
    let sent = |status: &str, hash: TxHash| {
        result(json!({"status": status, "hash": hash.to_string(), "latestLedger": 9}))
    };
    let (_stub, rpc) = answering(sent("PENDING", hash)).await;
    assert_eq!(rpc.send(&envelope).await, Ok(Submission::Pending));
    for reply in [sent("PENDING", other), sent("DONE", hash), sent("ERROR", hash)] {
        let (_stub, rpc) = answering(reply).await;
        assert!(matches!(rpc.send(&envelope).await, Err(Error::Garbage { .. })));
    }
    for (inner, code) in [
        (
            bumped(false, xdr::InnerTransactionResultResult::TxBadSeq),
            xdr::TransactionResultCode::TxBadSeq,
        ),
        (outcome(xdr::TransactionResultResult::TxTooLate), xdr::TransactionResultCode::TxTooLate),
    ] {
        let reply = result(json!({"status": "ERROR", "hash": hash.to_string(), "latestLedger": 9,
            "errorResultXdr": text(&inner)}));
        let (_stub, rpc) = answering(reply).await;
        assert_eq!(rpc.send(&envelope).await, Ok(Submission::Refused(code)));
    }
}

#[tokio::test]
async fn d08_a_server_that_floods_drips_or_lies_costs_what_was_allowed() {
    let (envelope, _) = transaction(100);
    let twice = r#"{"jsonrpc":"2.0","id":1,"result":{"latestLedger":1,"error":"a","error":"b"}}"#;
    for (reply, what) in [
        (Reply::Flood, "flood"),
        (Reply::Text(200, "a: b", "[".repeat(900_000)), "deep"),
        (Reply::Text(200, "a: b", twice.to_owned()), "twice"),
        (Reply::Text(302, "location: http://127.0.0.1:9/", String::new()), "elsewhere"),
        (Reply::Text(200, "a: b", "<html>".to_owned()), "html"),
        (result(json!({"latestLedger": 1})), "empty"),
        (result(json!({"latestLedger": 1, "transactionData": "!", "minResourceFee": "1"})), "XDR"),
        (Reply::Json(503, json!({})), "503"),
        (Reply::Cut, "cut"),
    ] {
        let (_stub, rpc) = answering(reply).await;
        let begun = Instant::now();
        let verdict = rpc.simulate(&envelope, AuthMode::Enforce).await;
        assert!(verdict.is_err(), "{what}: {verdict:?}");
        assert!(begun.elapsed() < Duration::from_secs(5), "{what}");
    }
    let fails = result(json!({"latestLedger": 1, "error": "HostError"}));
    let (_stub, rpc) = answering(fails).await;
    let failure = Simulation::Failure { error: "HostError".to_owned(), ledger: 1 };
    assert_eq!(rpc.simulate(&envelope, AuthMode::Enforce).await, Ok(failure));
}

#[tokio::test]
async fn d09_nothing_is_sent_to_a_server_that_is_down() {
    let rpc = client("http://127.0.0.1:9");
    let (envelope, _) = transaction(100);
    let error = rpc.send(&envelope).await.unwrap_err();
    let source = HttpError::Connect;
    assert_eq!(error, Error::Unreachable { method: "sendTransaction", source });
    assert!(error.surely_unsent());
    let (_stub, rpc) = answering(Reply::Cut).await;
    assert!(!rpc.send(&envelope).await.unwrap_err().surely_unsent());
}

#[tokio::test]
async fn a_fee_bump_is_found_by_its_own_hash_and_by_the_one_inside() {
    let world = World::start(Duration::from_millis(500)).await;
    let facilitator = world.ready(1).await;
    let payment = world.payment(&world.payer()).await;
    let outer = settled(settle(&facilitator, &payment).await).transaction;
    let Lookup::Applied(found) = world.rpc.transaction(outer).await.unwrap() else {
        panic!("not found")
    };
    let xdr::TransactionEnvelope::TxFeeBump(bump) = &found.envelope else { panic!("no bump") };
    let xdr::FeeBumpTransactionInnerTx::Tx(inner) = &bump.tx.inner_tx;
    let inside = TxHash(inner.hash(Network::Testnet.id()).unwrap());
    assert_ne!(inside, outer);
    assert_eq!(world.rpc.transaction(inside).await.unwrap(), Lookup::Applied(found));
}
