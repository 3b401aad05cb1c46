//! Group B: what a client put on the ledger itself pays its own challenge, once, and nobody else's.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use stellar_xdr::{self as xdr, ReadXdr as _, WriteXdr as _};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpSocket,
};
use tollgate::{
    client::{ChargeOffer, Credential, Overrides, charge::seal},
    ledger::signer::Seed,
    protocol::{
        money::Amount,
        mpp::charge::signed_hash_message,
        stellar::{Address, Network, TxHash},
    },
};
use tollgate_sandbox::{Fault, Method as Rpc, Moment, Times};

use super::{
    forge::Forge,
    shop::{Form, customers, open, plan, refused},
};
use crate::{
    forge::Spent,
    world::{PRICE, Plan, World, read, still},
};

#[tokio::test]
async fn b18_b19_a_hash_pays_for_nobody_but_its_payer() {
    let world = open().await;
    let [(agent, seed), (robber, thief)] = customers(&world).await;
    let offer = agent.charge_offer_of(Method::GET, "/own").await;
    // The thief asked in time, too.
    let stolen = robber.charge_offer_of(Method::GET, "/own").await;
    let other = agent.charge_offer_of(Method::GET, "/own").await;
    let honest = Form::Pushed.payment_of(&agent, &offer).await;
    let hash = honest.pushed().unwrap();
    let of_payer = offer.source(Address::Account(seed.account()));
    let of_thief = offer.source(Address::Account(thief.account()));
    let signed = |offer: &ChargeOffer, by: &Seed, text: &str, source: &str| {
        let payload = json!({
            "type": "signedHash",
            "hash": hash.to_string(),
            "sourceSignature": hex::encode(by.sign_message(text.as_bytes())),
        });
        says(offer, &payload, Some(source))
    };
    let message = |offer: &ChargeOffer| signed_hash_message(&offer.challenge.id, &hash);
    let upper = format!("{}:{}", offer.challenge.id, hash.to_string().to_uppercase());
    let bare = json!({ "type": "hash", "hash": hash.to_string() });
    let (bad, other_payer) = ("bad_source_signature", "source_mismatch");
    let cases = [
        ("a bare hash", "invalid_payload", says(&offer, &bare, Some(&of_payer))),
        ("stolen, a bare hash", "invalid_payload", says(&stolen, &bare, Some(&of_thief))),
        ("stolen", other_payer, signed(&stolen, &thief, &message(&stolen), &of_thief)),
        ("stolen, as the payer", bad, signed(&stolen, &thief, &message(&stolen), &of_payer)),
        ("the payer's word replayed", bad, signed(&stolen, &seed, &message(&offer), &of_payer)),
        ("signed by another", bad, signed(&offer, &thief, &message(&offer), &of_payer)),
        ("over upper case", bad, signed(&offer, &seed, &upper, &of_payer)),
        ("over another id", bad, signed(&offer, &seed, &message(&other), &of_payer)),
        ("over the hash alone", bad, signed(&offer, &seed, &hash.to_string(), &of_payer)),
        ("of nobody", "invalid_payload", says(&offer, honest.payload(), None)),
    ];
    for (what, reason, credential) in &cases {
        let answer = refused(&world, "/own", credential, reason).await;
        assert_eq!(answer.status, 402, "{what}");
    }
    // None of them has burned the hash.
    agent.present("/own", &honest).await.assert_charge_paid();
    assert_eq!(world.upstream.hits().len(), 1);
    world.end().await;
}

#[tokio::test]
async fn b21_a_hash_is_64_digits_and_not_older_than_its_challenge() {
    let world = World::build(Plan { clock: still(), ..plan() }).await;
    let [(agent, seed), _] = customers(&world).await;
    let honest = Form::Pushed.payment(&agent).await;
    let hash = honest.pushed().unwrap();
    // Paid a while ago, perhaps for something else.
    world.pass(Duration::from_secs(40)).await;
    world.until_ready().await;
    let later = agent.charge_offer_of(Method::GET, "/own").await;
    refused(&world, "/own", &later.push(hash, &seed), "transaction_too_old").await;
    let own = honest.as_charge().unwrap();
    let text = hash.to_string();
    for form in [format!("0x{text}"), format!("{text:.63}"), format!("{text}0"), format!(" {text}")]
    {
        let mut malformed = own.clone();
        malformed.payload.as_mut().unwrap()["hash"] = form.into();
        refused(&world, "/own", &Credential::charge(malformed), "invalid_payload").await;
    }
    // Upper case names the same transaction, and pays once all the same.
    let mut upper = own.clone();
    upper.payload.as_mut().unwrap()["hash"] = text.to_uppercase().into();
    let upper = Credential::charge(upper);
    agent.present("/own", &upper).await.assert_charge_paid();
    for again in [&upper, &honest] {
        refused(&world, "/own", again, "duplicate_settlement").await;
    }
    world.end().await;
}

#[tokio::test]
async fn b04_b05_b06_what_landed_must_be_the_transfer_that_was_asked() {
    let world = open().await;
    let [(agent, seed), (_, thief)] = customers(&world).await;
    let to_thief = Address::Account(thief.account());
    let units = |units| Amount::from_units(units);
    for (overrides, reason) in [
        (Overrides { amount: units(9_999), ..Overrides::default() }, "wrong_amount"),
        (Overrides { amount: units(10_001), ..Overrides::default() }, "wrong_amount"),
        (Overrides { payee: Some(to_thief), ..Overrides::default() }, "wrong_recipient"),
    ] {
        let pushed = agent.push_charge("/own", &overrides).await;
        refused(&world, "/own", &pushed, reason).await;
    }
    // A transaction of another kind.
    let offer = agent.charge_offer_of(Method::GET, "/own").await;
    let found = agent.client.rpc().accounts(&[seed.account()]).await.unwrap();
    let classic = xdr::Transaction {
        source_account: seed.account().to_muxed(),
        fee: 1_000,
        seq_num: xdr::SequenceNumber(found[0].seq_num.0 + 1),
        cond: xdr::Preconditions::None,
        memo: xdr::Memo::None,
        operations: vec![xdr::Operation {
            source_account: None,
            body: xdr::OperationBody::BumpSequence(xdr::BumpSequenceOp {
                bump_to: xdr::SequenceNumber(0),
            }),
        }]
        .try_into()
        .unwrap(),
        ext: xdr::TransactionExt::V0,
    };
    let envelope = seal(classic, &[&seed], Network::Testnet).unwrap();
    let hash = agent.client.land(&envelope).await.unwrap();
    refused(&world, "/own", &offer.push(hash, &seed), "wrong_operation").await;
    let honest = Form::Pushed.payment(&agent).await;
    agent.present("/own", &honest).await.assert_charge_paid();
    world.end().await;
}

#[tokio::test]
async fn b22_hashes_of_nothing_hold_nobody_up() {
    let world = World::build(Plan { clock: still(), ..plan() }).await;
    let [(agent, seed), (legit, _)] = customers(&world).await;
    // One that failed moved nothing, and never will.
    let offer = agent.charge_offer_of(Method::GET, "/own").await;
    let made = agent.client.transaction(&offer, &Overrides::default()).await.unwrap();
    world.sandbox.faults().fail_transactions(1, |_| true);
    agent.client.land(&made.envelope).await.unwrap_err();
    let failed = offer.push(agent.client.hash(&made.envelope).unwrap(), &seed);
    refused(&world, "/own", &failed, "transaction_failed").await;

    // A hundred that nobody knows: told at once to come again, since a server may be behind its ledger.
    let unknown = |n: u8| offer.push(TxHash([n; 32]), &seed);
    let hashes: Vec<Credential> = (0..100).map(unknown).collect();
    let spent = Spent::of(&world);
    let looked = world.sandbox.calls(Rpc::GetTransaction);
    let flood = join_all(hashes.iter().map(|hash| agent.present("/own", hash)));
    let honest = Form::Sponsored.payment(&legit).await;
    let started = Instant::now();
    let (answers, paid) = tokio::join!(flood, legit.present("/weather", &honest));
    println!("a hundred hashes of nothing and a payment: {:?}", started.elapsed());
    paid.assert_charge_paid();
    for answer in &answers {
        answer.assert_pending();
    }
    let looked = world.sandbox.calls(Rpc::GetTransaction) - looked;
    assert!(looked <= 100 + 20, "{looked}: nothing is polled for");
    assert_eq!(world.upstream.hits().len(), 1);
    // Once the challenge has ended they are refused, all together.
    world.pass(Duration::from_secs(301)).await;
    world.until_ready().await;
    let after = Spent::of(&world);
    assert_ne!(after, spent);
    for hash in hashes.iter().take(5) {
        refused(&world, "/own", hash, "transaction_not_found").await;
    }
    let again = Form::Pushed.payment(&legit).await;
    legit.present("/own", &again).await.assert_charge_paid();
    world.end().await;
}

#[tokio::test]
async fn i10_who_asks_for_hashes_of_nothing_keeps_no_other_payer_from_being_heard() {
    let world = open().await;
    let [(agent, seed), (legit, _)] = customers(&world).await;
    let honest = Form::Pushed.payment(&legit).await;
    let offer = agent.charge_offer_of(Method::GET, "/own").await;
    let looked = || world.sandbox.calls(Rpc::GetTransaction);
    let hold = world.sandbox.faults().hold(Rpc::GetTransaction, Moment::BeforeEffect);
    let flood: Vec<_> = (0..192)
        .map(|n| agent.presenting(Method::GET, "/own", &offer.push(TxHash([n; 32]), &seed)))
        .collect();
    // Whatever there is room for is taken, and the rest is sent away.
    let is_full = || flood.iter().filter(|one| one.is_finished()).count() >= 100;
    crate::world::until("it is full", is_full).await;
    let before = looked();
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::new(127, 0, 0, 2), 0).into()).unwrap();
    let mut stream = socket.connect(world.gateway.addresses()[0]).await.unwrap();
    let request = format!(
        "GET /own HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: {}\r\n\r\n",
        honest.header().to_str().unwrap(),
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut first = [0; 12];
    tokio::select! {
        () = crate::world::until("it is heard", || looked() > before) => drop(hold),
        _ = stream.read_exact(&mut first) => panic!("{}", String::from_utf8_lossy(&first)),
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    for one in flood {
        one.await.unwrap().assert_pending();
    }
    world.end().await;
}

#[tokio::test]
async fn b08_what_a_key_of_the_gateway_sent_is_no_payment_of_a_customer() {
    let world = open().await;
    let [(agent, seed), _] = customers(&world).await;
    let before = agent.charge_offer_of(Method::GET, "/own").await;
    let sponsored = Form::Sponsored.payment(&agent).await;
    let paid = agent.present("/weather", &sponsored).await.assert_charge_paid();
    let hash: TxHash = paid.parse().unwrap();
    refused(&world, "/own", &before.push(hash, &seed), "unsafe_tx_or_op_source").await;
    let honest = Form::Pushed.payment_of(&agent, &before).await;
    agent.present("/own", &honest).await.assert_charge_paid();
    world.end().await;
}

#[tokio::test]
async fn one_transfer_pulled_or_pushed_in_either_order_is_one_delivery() {
    let world = open().await;
    let [(agent, seed), _] = customers(&world).await;
    let mut paid = 0;
    let payee = world.payee_usdc();
    for pulled_first in [true, false] {
        let other = agent.charge_offer_of(Method::GET, "/own").await;
        let forge = Forge::of(agent.clone(), seed.clone(), Form::Own, &Overrides::default()).await;
        let envelope = forge.envelope(forge.tx.clone());
        let hash = agent.client.hash(&envelope).unwrap();
        let pulled = forge.honest();
        let pushes = [forge.offer.push(hash, &seed), other.push(hash, &seed)];
        let elsewhere = other.pull(&envelope, Address::Account(seed.account())).unwrap();
        if pulled_first {
            agent.present("/own", &pulled).await.assert_charge_paid();
        } else {
            agent.client.land(&envelope).await.unwrap();
            // What has landed cannot be pulled any more, and is not lost for that.
            let spent = Spent::of(&world);
            let refused = agent.present("/own", &pulled).await;
            assert_eq!(refused.status, StatusCode::CONFLICT, "{refused:?}");
            assert_eq!(refused.reason(), "transaction_sent_already");
            assert_eq!(Spent::of(&world), spent);
            agent.present("/own", &pushes[0]).await.assert_charge_paid();
        }
        paid += PRICE;
        for again in [&pulled, &elsewhere, &pushes[0], &pushes[1]] {
            let answer = agent.present("/own", again).await;
            assert_eq!(answer.status, StatusCode::PAYMENT_REQUIRED, "{answer:?}");
            answer.assert_refused("duplicate_settlement");
        }
        assert_eq!(world.payee_usdc() - payee, paid);
    }
    assert_eq!(world.upstream.hits().len(), 2);
    world.end().await;
}

/// A credential for `offer` that says `payload`.
fn says(offer: &ChargeOffer, payload: &Value, source: Option<&str>) -> Credential {
    Credential::charge(offer.credential(payload, source.map(str::to_owned)))
}

#[tokio::test]
async fn b06_a_transaction_that_succeeded_and_tells_of_no_transfer_does_not_pay() {
    let world = open().await;
    let [(agent, _)] = customers(&world).await;
    let pushed = Form::Pushed.payment(&agent).await;
    let question = json!({
        "jsonrpc": "2.0", "id": 1, "method": "getTransaction",
        "params": { "hash": pushed.pushed().unwrap().to_string() },
    });
    let request = http::Request::post(world.sandbox.rpc_url())
        .header("content-type", "application/json")
        .body(question.to_string().into())
        .unwrap();
    let honest = read(agent.client.exchange(request).await.unwrap()).await.json();
    // As of a token that moves nothing and succeeds all the same; and of one that tells of it twice.
    let told = |change: &dyn Fn(Vec<xdr::ContractEvent>) -> Vec<xdr::ContractEvent>| {
        let mut other = honest.clone();
        let meta = &mut other["result"]["resultMetaXdr"];
        let limits = xdr::Limits::none();
        let read = xdr::TransactionMeta::from_xdr_base64(meta.as_str().unwrap(), limits).unwrap();
        let xdr::TransactionMeta::V4(mut read) = read else { panic!("{read:?}") };
        let mut operations = read.operations.to_vec();
        assert_eq!(operations[0].events.len(), 1, "the transfer's own");
        operations[0].events = change(operations[0].events.to_vec()).try_into().unwrap();
        read.operations = operations.try_into().unwrap();
        let changed = xdr::TransactionMeta::V4(read).to_xdr_base64(xdr::Limits::none()).unwrap();
        *meta = changed.into();
        Fault::Http { status: 200, body: other.to_string() }
    };
    let twice = told(&|events| [events.clone(), events].concat());
    for fault in [told(&|_| Vec::new()), twice] {
        world.sandbox.faults().arm(Rpc::GetTransaction, Times::Always, fault);
        refused(&world, "/own", &pushed, "no_transfer_events").await;
        world.sandbox.faults().clear();
    }
    agent.present("/own", &pushed).await.assert_charge_paid();
    world.end().await;
}
