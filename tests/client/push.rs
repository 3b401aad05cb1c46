//! Charges that the payer puts on the ledger before it asks again.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use http::{StatusCode, header::RETRY_AFTER};
use stellar_xdr as xdr;
use tokio::time::sleep;
use tollgate::{
    client::{Client, Error, Event, Method, Mode, Overrides, Settings},
    protocol::{
        mpp::charge::{Payload, check_signed_hash},
        stellar::TxHash,
    },
    telemetry::Clock,
};
use tollgate_sandbox::{Fault, Method as Rpc, Sandbox, Times};

use super::{
    answer,
    charge::{challenge, offer, receipt, refused, request, shop, sponsored},
    sandbox, settings,
    stub::{Asked, Stub},
};

fn pusher(sandbox: &Sandbox) -> Client {
    Client::new(settings(sandbox, &sandbox.accounts().payer)).paying_by(Method::Charge, Mode::Push)
}

/// Closes ledgers until `work` is done.
pub(crate) async fn while_ledgers_close<T>(sandbox: &Sandbox, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = sleep(Duration::from_millis(50)) => drop(sandbox.close_ledger().await),
        }
    }
}

fn hash_of(asked: &Asked) -> TxHash {
    let said = asked.charge().unwrap();
    match Payload::from_json(said.payload.as_ref().unwrap()).unwrap() {
        Payload::SignedHash { hash, .. } => hash,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_push_is_on_the_ledger_before_it_is_presented_and_signed_for_its_challenge() {
    let sandbox = sandbox().await;
    let client = pusher(&sandbox);
    let asking = challenge(&request(&sandbox));
    let shop = shop(&asking).await;
    let mut events = Vec::new();
    let sending = client.send(shop.get(), |event| events.push(format!("{event:?}")));
    let paid = while_ledgers_close(&sandbox, sending).await.unwrap();
    assert_eq!(paid.response.status(), StatusCode::OK);
    let names: Vec<_> = events.iter().map(|event| event.split('(').next().unwrap()).collect();
    assert_eq!(names, ["Asked", "Signed", "Submitted", "Settled"]);

    let said = shop.asked()[1].charge().unwrap();
    let payload = Payload::from_json(said.payload.as_ref().unwrap()).unwrap();
    let Payload::SignedHash { hash, signature } = payload else { panic!("{payload:?}") };
    assert_eq!(events[2], format!("Submitted({hash})"));
    check_signed_hash(client.account(), &asking.id, &hash, &signature).unwrap();
    let payer = sandbox.accounts().payer.address();
    assert_eq!(said.source, Some(format!("did:pkh:stellar:testnet:{payer}")));
    let found = client.rpc().transaction(hash).await.unwrap();
    assert!(matches!(found, tollgate::ledger::rpc::Lookup::Applied(applied) if applied.success));
    assert_eq!(sandbox.usdc_balance(&sandbox.accounts().recipient.address()), Some(10_000));
    assert_eq!(sandbox.calls(Rpc::SendTransaction), 1);
}

#[tokio::test]
async fn what_was_pushed_is_presented_until_it_is_answered() {
    let sandbox = sandbox().await;
    let presented = AtomicU32::new(0);
    let asking = challenge(&request(&sandbox)).to_header();
    let shop = Stub::start(move |asked| {
        if asked.charge().is_none() {
            return Some(refused([asking.clone()]));
        }
        match presented.fetch_add(1, Ordering::Relaxed) {
            // No answer at all, then one without a time to wait, then one with it.
            0 => None,
            1 => Some(answer(StatusCode::SERVICE_UNAVAILABLE, "x".parse().unwrap(), 1)),
            2 => Some(answer(StatusCode::SERVICE_UNAVAILABLE, RETRY_AFTER, 1)),
            _ => Some(receipt()),
        }
    })
    .await;
    let mut pending = 0;
    let client = pusher(&sandbox);
    let sending = client.send(shop.get(), |event| {
        pending += u32::from(matches!(event, Event::Pending { .. }));
    });
    let paid = while_ledgers_close(&sandbox, sending).await.unwrap();
    assert_eq!((paid.response.status(), pending), (StatusCode::OK, 3));
    let asked = shop.asked();
    assert_eq!(asked.len(), 5);
    for again in &asked[2..] {
        assert_eq!(again.headers["authorization"], asked[1].headers["authorization"]);
    }
    assert_eq!(sandbox.calls(Rpc::SendTransaction), 1, "one payment");
}

#[tokio::test]
async fn a_push_that_nobody_answers_tells_its_hash() {
    let sandbox = sandbox().await;
    let asking = challenge(&request(&sandbox)).to_header();
    let shop =
        Stub::start(move |asked| asked.charge().is_none().then(|| refused([asking.clone()]))).await;
    let settings = settings(&sandbox, &sandbox.accounts().payer);
    let client = Client::new(Settings { patience: Duration::from_secs(1), ..settings })
        .paying_by(Method::Charge, Mode::Push);
    let sending = client.send(shop.get(), |_| {});
    let error = while_ledgers_close(&sandbox, sending).await.unwrap_err();
    let hash = hash_of(&shop.asked()[1]);
    let expected = format!("transaction {hash} has paid, but the paid request got no answer");
    assert_eq!(error.to_string(), expected);
    assert!(error.may_have_paid());
}

#[tokio::test]
async fn a_push_of_unknown_fate_is_neither_presented_nor_made_again() {
    let sandbox = sandbox().await;
    let shop = shop(&challenge(&request(&sandbox))).await;
    let clock = Clock::fixed(Clock::system().now());
    let client = pusher(&sandbox).by_clock(&clock);
    // It is taken, and the RPC has not seen it land when nobody waits any longer.
    let mut submitted = None;
    let observe = |event: Event<'_>| {
        if let Event::Submitted(hash) = event {
            submitted = Some(hash);
        }
    };
    let waiting = async {
        while sandbox.calls(Rpc::SendTransaction) == 0 {
            sleep(Duration::from_millis(10)).await;
        }
        clock.advance(Duration::from_secs(3_600));
    };
    let (sent, ()) = tokio::join!(client.send(shop.get(), observe), waiting);
    let error = sent.unwrap_err();
    let hash = submitted.unwrap();
    let expected = format!(
        "it is not known whether transaction {hash} has paid: look for it before you pay again"
    );
    assert_eq!(error.to_string(), expected);
    assert!(error.may_have_paid());
    assert_eq!(shop.asked().len(), 1);
    // It did pay.
    sandbox.close_ledger().await;
    assert_eq!(sandbox.usdc_balance(&sandbox.accounts().recipient.address()), Some(10_000));
}

#[tokio::test]
async fn a_push_that_moves_nothing_says_so_and_presents_nothing() {
    let sandbox = sandbox().await;
    let client = pusher(&sandbox);
    let shop = shop(&challenge(&request(&sandbox))).await;
    sandbox.faults().fail_transactions(1, |_| true);
    let error = while_ledgers_close(&sandbox, client.send(shop.get(), |_| {})).await.unwrap_err();
    assert!(matches!(error, Error::Failed { .. }), "{error}");
    assert!(!error.may_have_paid());

    // A node that takes nothing: nothing is out.
    let down = Fault::Error { code: -32_603, message: "down".to_owned() };
    sandbox.faults().arm(Rpc::GetTransaction, Times::Next(1), down);
    let error = client.send(shop.get(), |_| {}).await.unwrap_err();
    assert!(matches!(error, Error::Rpc(_)), "{error}");
    let sent = sandbox.calls(Rpc::SendTransaction);
    assert_eq!(sent, 1);

    // The network refuses a sequence number that is gone.
    let offer = offer(&client, &challenge(&request(&sandbox)));
    let gone = Overrides { sequence: Some(1), ..Overrides::default() };
    let error = client.push_charge(&offer, &gone).await.unwrap_err();
    assert!(
        matches!(error, Error::NotTaken { code: xdr::TransactionResultCode::TxBadSeq, .. }),
        "{error}"
    );
    assert_eq!(shop.asked().len(), 2);
    assert!(shop.asked().iter().all(|asked| asked.charge().is_none()));
    let honest = Overrides::default();
    let pushing = client.push_charge(&offer, &honest);
    assert!(while_ledgers_close(&sandbox, pushing).await.is_ok());
}

#[tokio::test]
async fn a_sponsored_charge_is_not_pushed() {
    let sandbox = sandbox().await;
    let shop = shop(&challenge(&sponsored(&sandbox))).await;
    let error = pusher(&sandbox).send(shop.get(), |_| {}).await.unwrap_err();
    let expected = "none of the ways to pay can be used: the server pays its fee and sends the transaction itself, so it cannot be pushed";
    assert_eq!(error.to_string(), expected);
    assert_eq!(shop.asked().len(), 1);
    assert_eq!(sandbox.calls(Rpc::SendTransaction), 0);
}
