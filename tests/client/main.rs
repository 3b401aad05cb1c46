//! The paying client against a server that asks for money and the ledger that the money is on.

#![expect(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    reason = "a test ends where it finds something else"
)]

mod channel;
mod charge;
mod choice;
mod command;
mod life;
mod push;

mod stub;
mod toll;

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use serde_json::{Value, json};
use stellar_xdr as xdr;
use tollgate::{
    client::{
        Challenge, Client, Error, Event, Limit, Method, Mode, Offer, Overrides, Settings, Until,
        X402Offer,
    },
    ledger::{
        Http,
        rpc::{AuthMode, Rpc, Simulation, Submission},
        signer::Seed,
    },
    protocol::{
        money::Amount,
        stellar::{Address, Network},
        transfer::{Expected, Transfer},
        x402::{self, PAYMENT_REQUIRED, PAYMENT_RESPONSE, Payload},
    },
};
use tollgate_sandbox::{Clock, DevAccount, Options, Sandbox};

use self::stub::{Asked, Stub, whole};

async fn sandbox() -> Sandbox {
    Sandbox::start(Options { clock: Clock::Manual, ..Options::default() }).await.unwrap()
}

fn settings(sandbox: &Sandbox, payer: &DevAccount) -> Settings {
    Settings {
        seed: Seed::from_bytes(payer.key().as_bytes()),
        network: Network::Testnet,
        rpc_url: sandbox.rpc_url().parse().unwrap(),
        limit: None,
        method: Method::Any,
        mode: Mode::Pull,
        patience: Duration::from_secs(10),
    }
}

fn client(sandbox: &Sandbox) -> Client {
    Client::new(settings(sandbox, &sandbox.accounts().zero_xlm_payer))
}

fn amount(units: i128) -> Amount {
    Amount::from_units(units).unwrap()
}

/// One way to pay 10,000 units of USDC to the recipient.
fn accepted(sandbox: &Sandbox) -> Value {
    json!({
        "scheme": "exact",
        "network": "stellar:testnet",
        "amount": "10000",
        "asset": sandbox.usdc_contract(),
        "payTo": sandbox.accounts().recipient.address(),
        "maxTimeoutSeconds": 60,
        "extra": { "areFeesSponsored": true, "quote": "a quote" },
    })
}

fn challenge(accepts: &[Value]) -> Response<Bytes> {
    let message = json!({
        "x402Version": 2,
        "error": "Payment required",
        "resource": { "url": "http://a/thing", "description": "A thing", "mimeType": "text/plain", "tags": ["x"] },
        "accepts": accepts,
        "extensions": { "bazaar": { "info": { "a": [1, 2] } } },
    });
    answer(StatusCode::PAYMENT_REQUIRED, PAYMENT_REQUIRED, x402::encode(&message))
}

fn answer(
    status: StatusCode,
    name: http::HeaderName,
    value: impl Into<http::HeaderValue>,
) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from_static(b"the thing"));
    *response.status_mut() = status;
    response.headers_mut().insert(name, value.into());
    response
}

fn settled() -> Response<Bytes> {
    let settlement = json!({
        "success": true, "transaction": "ab".repeat(32), "network": "stellar:testnet", "payer": "G",
    });
    answer(StatusCode::OK, PAYMENT_RESPONSE, x402::encode(&settlement))
}

/// Asks for `accepts` and takes any payment.
async fn shop(accepts: Vec<Value>) -> Stub {
    Stub::start(move |asked| {
        Some(if asked.payment().is_some() { settled() } else { challenge(&accepts) })
    })
    .await
}

/// Puts the transfer of a payment on the ledger, as a facilitator would.
async fn settle(sandbox: &Sandbox, transfer: &Transfer) -> bool {
    let sponsor = Seed::from_bytes(sandbox.accounts().sponsor.key().as_bytes());
    let url = sandbox.rpc_url().parse().unwrap();
    let rpc = Rpc::new(Http::new(), url, Network::Testnet);
    let account = rpc.accounts(&[sponsor.account()]).await.unwrap().remove(0);
    let mut tx = xdr::Transaction {
        source_account: sponsor.account().to_muxed(),
        fee: 1_000_000,
        seq_num: xdr::SequenceNumber(account.seq_num.0 + 1),
        cond: xdr::Preconditions::None,
        memo: xdr::Memo::None,
        operations: vec![transfer.operation()].try_into().unwrap(),
        ext: xdr::TransactionExt::V0,
    };
    let envelope = |tx: &xdr::Transaction, signatures: Vec<_>| {
        xdr::TransactionEnvelope::Tx(xdr::TransactionV1Envelope {
            tx: tx.clone(),
            signatures: signatures.try_into().unwrap(),
        })
    };
    let simulated = rpc.simulate(&envelope(&tx, vec![]), AuthMode::Enforce).await.unwrap();
    let Simulation::Success(simulated) = simulated else { return false };
    tx.ext = xdr::TransactionExt::V1(simulated.data);
    let signature = sponsor.sign(&rpc.hash(&envelope(&tx, vec![])).unwrap().0);
    let sent = rpc.send(&envelope(&tx, vec![signature])).await.unwrap();
    assert_eq!(sent, Submission::Pending);
    sandbox.close_ledger().await;
    true
}

/// The offer of a challenge that has this one way to pay.
fn offer(client: &Client, accepted: Value) -> X402Offer {
    let challenge = Challenge::of(&challenge(&[accepted])).unwrap().unwrap();
    let Offer::X402(offer) = client.choose(&challenge).unwrap() else { panic!("x402") };
    offer
}

fn transfer_of(asked: &Asked) -> Transfer {
    let payload = Payload::decode(&asked.payment().unwrap()).unwrap();
    Transfer::parse(&payload.transaction).unwrap()
}

#[tokio::test]
async fn what_is_asked_is_paid_once_and_settles_on_the_ledger() {
    let sandbox = sandbox().await;
    let accounts = sandbox.accounts();
    let shop = shop(vec![accepted(&sandbox)]).await;
    let mut events = Vec::new();
    let paid =
        client(&sandbox).send(shop.get(), |event| events.push(format!("{event:?}"))).await.unwrap();
    assert_eq!(paid.response.status(), StatusCode::OK);
    assert_eq!(whole(paid.response.into_body()).await, "the thing");
    let payment = paid.payment.unwrap();
    assert_eq!(payment.offer.money().to_string(), "0.001 USDC");
    assert_eq!(payment.settlement.unwrap().transaction, "ab".repeat(32));
    let names: Vec<_> = events.iter().map(|event| event.split('(').next().unwrap()).collect();
    assert_eq!(names, ["Asked", "Signed", "Settled"]);

    let asked = shop.asked();
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[0].payment(), None);
    // What the server said comes back as it said it.
    let payload = Payload::decode(&asked[1].payment().unwrap()).unwrap();
    assert_eq!(payload.accepted, accepted(&sandbox));
    assert_eq!(payload.json["resource"]["tags"], json!(["x"]));
    assert_eq!(payload.json["extensions"], json!({ "bazaar": { "info": { "a": [1, 2] } } }));

    let transfer = transfer_of(&asked[1]);
    let expected = Expected {
        network: Network::Testnet,
        asset: Network::Testnet.usdc().contract,
        payee: accounts.recipient.address().parse().unwrap(),
        amount: amount(10_000),
    };
    transfer.check(&expected, &[]).unwrap();
    transfer.check_signature(Network::Testnet).unwrap();
    let (payer, payee) = (accounts.zero_xlm_payer.address(), accounts.recipient.address());
    let before = (sandbox.usdc_balance(&payer).unwrap(), sandbox.usdc_balance(&payee).unwrap());
    assert!(settle(&sandbox, &transfer).await);
    let after = (sandbox.usdc_balance(&payer).unwrap(), sandbox.usdc_balance(&payee).unwrap());
    assert_eq!(after, (before.0 - 10_000, before.1 + 10_000));
    assert!(!settle(&sandbox, &transfer).await, "one authorization moves money once");
    sandbox.shutdown().await;
}

#[tokio::test]
async fn what_costs_nothing_is_not_paid() {
    let sandbox = sandbox().await;
    let free = Stub::start(|_| Some(Response::new(Bytes::from_static(b"free")))).await;
    let paid = client(&sandbox).send(free.get(), |_| panic!("nothing happens")).await.unwrap();
    assert!(paid.payment.is_none());
    // A 402 that is not x402's is an answer like any other; so is a redirect, which is not followed.
    for status in [StatusCode::PAYMENT_REQUIRED, StatusCode::FOUND] {
        let target = free.get().uri().to_string();
        let other = Stub::start(move |_| {
            let location = http::HeaderValue::try_from(&target).unwrap();
            Some(answer(status, header::LOCATION, location))
        })
        .await;
        let paid = client(&sandbox).send(other.get(), |_| panic!("nothing happens")).await.unwrap();
        assert_eq!(paid.response.status(), status);
        assert!(paid.payment.is_none());
    }
    assert_eq!(free.asked().len(), 1);
}

#[tokio::test]
async fn a_paid_request_is_the_unpaid_one_and_a_redirect_is_not_followed() {
    let sandbox = sandbox().await;
    let elsewhere = Stub::start(|_| Some(Response::new(Bytes::new()))).await;
    let target = elsewhere.get().uri().to_string();
    let accepts = vec![accepted(&sandbox)];
    let shop = Stub::start(move |asked| {
        let location = http::HeaderValue::try_from(&target).unwrap();
        Some(match asked.payment() {
            Some(_) => answer(StatusCode::SEE_OTHER, header::LOCATION, location),
            None => challenge(&accepts),
        })
    })
    .await;
    let mut request = shop.get();
    *request.method_mut() = http::Method::POST;
    *request.body_mut() = Bytes::from_static(b"\x00\xffbody");
    request.headers_mut().insert("x-mine", "1".parse().unwrap());
    let paid = client(&sandbox).send(request, |_| {}).await.unwrap();
    assert_eq!(paid.response.status(), StatusCode::SEE_OTHER);
    assert_eq!(elsewhere.asked().len(), 0, "a payment does not travel");
    for asked in shop.asked() {
        assert_eq!(asked.method, http::Method::POST);
        assert_eq!(asked.body, &b"\x00\xffbody"[..]);
        assert_eq!(asked.headers["x-mine"], "1");
    }
}

#[tokio::test]
async fn nothing_is_signed_above_the_limit_or_in_another_asset() {
    let sandbox = sandbox().await;
    let shop = shop(vec![accepted(&sandbox)]).await;
    let limited = |units, asset| {
        let limit = Some(Limit { amount: amount(units), asset });
        Client::new(Settings { limit, ..settings(&sandbox, &sandbox.accounts().payer) })
    };
    let usdc = Network::Testnet.usdc();
    let refused = limited(9_999, usdc.clone()).send(shop.get(), |_| {}).await.unwrap_err();
    assert_eq!(refused.to_string(), "0.001 USDC is asked, and at most 0.0009999 USDC may be paid");
    let refused = limited(i128::MAX, Network::Testnet.xlm()).send(shop.get(), |_| {}).await;
    let expected = format!(
        "none of the ways to pay can be used: it is in {}, not XLM",
        sandbox.usdc_contract()
    );
    assert_eq!(refused.unwrap_err().to_string(), expected);
    assert!(shop.asked().iter().all(|asked| asked.payment().is_none()));
    let paid = limited(10_000, usdc).send(shop.get(), |_| {}).await.unwrap();
    assert_eq!(paid.response.status(), StatusCode::OK);
}

#[tokio::test]
async fn the_first_way_that_can_be_paid_is_taken() {
    let sandbox = sandbox().await;
    let with = |name: &str, value: Value| {
        let mut accepted = accepted(&sandbox);
        accepted[name] = value;
        accepted
    };
    let unusable = vec![
        json!("nonsense"),
        with("scheme", json!("upto")),
        with("network", json!("eip155:8453")),
        with("network", json!("stellar:pubnet")),
        with("extra", json!({ "areFeesSponsored": false })),
        with(
            "payTo",
            json!("MA7QYNF7SOWQ3GLR2BGMZEHXAVIRZA4KVWLTJJFC7MGXUA74P7UJUAAAAAAAAAAAAACJUQ"),
        ),
        with("amount", json!(10_000)),
    ];
    let refused = shop(unusable.clone()).await;
    let error = client(&sandbox).send(refused.get(), |_| {}).await.unwrap_err();
    let Error::NoOffer { reasons } = error else { panic!("{error}") };
    assert_eq!(
        reasons,
        [
            "its scheme is `nothing`, not `exact`",
            "its scheme is `upto`, not `exact`",
            "it is on `eip155:8453`, not `stellar:testnet`",
            "it is on `stellar:pubnet`, not `stellar:testnet`",
            "its fees are not sponsored",
            "its `payTo` is not as the scheme says",
            "its `amount` is not as the scheme says",
        ]
    );
    assert_eq!(refused.asked().len(), 1);

    // A member that nobody knows, and a whole number written as a fraction, are echoed as they are.
    let mut odd = with("maxTimeoutSeconds", json!(60.0));
    odd["paymentFlow"] = json!("authorization");
    let two = with("amount", json!("20000"));
    let shop = shop([unusable, vec![odd.clone(), two]].concat()).await;
    client(&sandbox).send(shop.get(), |_| {}).await.unwrap();
    let payload = Payload::decode(&shop.asked()[1].payment().unwrap()).unwrap();
    assert_eq!(payload.accepted, odd);
}

#[tokio::test]
async fn a_pending_payment_is_presented_again_and_never_signed_anew() {
    let sandbox = sandbox().await;
    let accepts = vec![accepted(&sandbox)];
    let presented = AtomicU32::new(0);
    let shop = Stub::start(move |asked| {
        Some(match asked.payment() {
            None => challenge(&accepts),
            Some(_) if presented.fetch_add(1, Ordering::Relaxed) < 1 => {
                answer(StatusCode::SERVICE_UNAVAILABLE, header::RETRY_AFTER, 1)
            }
            Some(_) => settled(),
        })
    })
    .await;
    let mut waits = Vec::new();
    let paid = client(&sandbox)
        .send(shop.get(), |event| {
            if let Event::Pending { wait } = event {
                waits.push(wait.as_secs());
            }
        })
        .await
        .unwrap();
    assert_eq!(paid.response.status(), StatusCode::OK);
    assert_eq!(waits, [1]);
    let asked = shop.asked();
    assert_eq!(asked.len(), 3);
    assert_eq!(asked[1].payment(), asked[2].payment());

    // It is not waited for longer than agreed; the payment is handed out to be presented later.
    let accepts = vec![accepted(&sandbox)];
    let stuck = Stub::start(move |asked| {
        Some(match asked.payment() {
            None => challenge(&accepts),
            Some(_) => answer(StatusCode::SERVICE_UNAVAILABLE, header::RETRY_AFTER, 3_600),
        })
    })
    .await;
    let client = client(&sandbox);
    let paid = client.send(stuck.get(), |_| {}).await.unwrap();
    assert_eq!(paid.response.status(), StatusCode::SERVICE_UNAVAILABLE);
    let again = client.present(stuck.get(), &paid.payment.unwrap().credential).await.unwrap();
    assert_eq!(again.status(), StatusCode::SERVICE_UNAVAILABLE);
    let asked = stuck.asked();
    assert_eq!(asked[1].payment(), asked[2].payment());
}

#[tokio::test]
async fn a_paid_request_without_an_answer_says_that_money_may_have_moved() {
    let sandbox = sandbox().await;
    let accepts = vec![accepted(&sandbox)];
    let shop =
        Stub::start(move |asked| asked.payment().is_none().then(|| challenge(&accepts))).await;
    let error = client(&sandbox).send(shop.get(), |_| {}).await.unwrap_err();
    assert!(matches!(error, Error::Unanswered { .. }), "{error}");
    let gone = Request::get("http://127.0.0.1:1/").body(Bytes::new()).unwrap();
    let error = client(&sandbox).send(gone, |_| {}).await.unwrap_err();
    assert!(matches!(error, Error::Send { .. }), "{error}");
}

#[tokio::test]
async fn what_cannot_be_read_or_paid_is_not_presented() {
    let sandbox = sandbox().await;
    let unreadable = Stub::start(|_| {
        let garbage = http::HeaderValue::from_static("e30=");
        Some(answer(StatusCode::PAYMENT_REQUIRED, PAYMENT_REQUIRED, garbage))
    })
    .await;
    let error = client(&sandbox).send(unreadable.get(), |_| {}).await.unwrap_err();
    assert!(matches!(error, Error::Challenge(_)), "{error}");

    // More than the payer has.
    let mut dear = accepted(&sandbox);
    dear["amount"] = json!("100000000000000");
    let shop = shop(vec![dear]).await;
    let error = client(&sandbox).send(shop.get(), |_| {}).await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error}");
    // A payment that is there already is not replaced.
    let mut paid = shop.get();
    paid.headers_mut().insert(x402::PAYMENT_SIGNATURE, "e30=".parse().unwrap());
    let error = client(&sandbox).send(paid, |_| {}).await.unwrap_err();
    assert!(matches!(error, Error::AlreadyPaid), "{error}");
    // An RPC of another network.
    let mut pubnet = accepted(&sandbox);
    pubnet["network"] = json!("stellar:pubnet");
    let pubnet = self::shop(vec![pubnet]).await;
    let settings = settings(&sandbox, &sandbox.accounts().payer);
    let lost = Client::new(Settings { network: Network::Pubnet, ..settings });
    let error = lost.send(pubnet.get(), |_| {}).await.unwrap_err();
    assert!(matches!(error, Error::Rpc(_)), "{error}");
    for stub in [unreadable, shop, pubnet] {
        assert!(stub.asked().iter().all(|asked| asked.payment().is_none()));
    }
}

#[tokio::test]
async fn an_authorization_lives_as_long_as_any_facilitator_allows_and_no_shorter_than_it_takes() {
    let sandbox = sandbox().await;
    let client = client(&sandbox);
    let latest = sandbox.ledger().latest().sequence;
    for (seconds, ledgers) in [(1, 3), (18, 3), (19, 4), (60, 10), (300, 50)] {
        let mut accepted = accepted(&sandbox);
        accepted["maxTimeoutSeconds"] = json!(seconds);
        let offer = offer(&client, accepted);
        let signed = client.sign_x402(&offer, &Overrides::default()).await.unwrap();
        assert_eq!(signed.holds_until(), Some(Until::Ledger(latest + ledgers)), "{seconds} s");
    }
}

#[tokio::test]
async fn a_test_can_change_each_part_of_a_payment() {
    let sandbox = sandbox().await;
    let client = client(&sandbox);
    let offer = offer(&client, accepted(&sandbox));
    let payee: Address = sandbox.accounts().payer.address().parse().unwrap();
    let overrides = Overrides {
        amount: Some(amount(7)),
        payee: Some(payee),
        nonce: Some(42),
        fee: Some(5),
        resource_fee: Some(9),
        expiration_ledger: Some(sandbox.ledger().latest().sequence + 99),
        max_time: Some(77),
        accepted: Some(json!({ "changed": true })),
        ..Overrides::default()
    };
    let signed = client.sign_x402(&offer, &overrides).await.unwrap();
    let payload = Payload::decode(signed.header().as_bytes()).unwrap();
    assert_eq!(payload.accepted, json!({ "changed": true }));
    let transfer = Transfer::parse(&payload.transaction).unwrap();
    assert_eq!(
        (transfer.movement().amount, transfer.movement().payee, transfer.nonce()),
        (amount(7), payee, 42)
    );
    assert_eq!(Some(transfer.expiration_ledger()), overrides.expiration_ledger);
    assert_eq!(transfer.time_bounds().max, 77);
    transfer.check_signature(Network::Testnet).unwrap();
    // Of another key, without asking a ledger that would refuse it.
    let forged = Overrides {
        payer: Some(payee),
        resources: Some(xdr::SorobanTransactionData {
            ext: xdr::SorobanTransactionDataExt::V0,
            resources: xdr::SorobanResources {
                footprint: xdr::LedgerFootprint {
                    read_only: xdr::VecM::default(),
                    read_write: xdr::VecM::default(),
                },
                instructions: 0,
                disk_read_bytes: 0,
                write_bytes: 0,
            },
            resource_fee: 0,
        }),
        ..Overrides::default()
    };
    let signed = client.sign_x402(&offer, &forged).await.unwrap();
    let payload = Payload::decode(signed.header().as_bytes()).unwrap();
    let transfer = Transfer::parse(&payload.transaction).unwrap();
    assert_eq!(transfer.payer(), payee);
    assert!(transfer.check_signature(Network::Testnet).is_err());
}
