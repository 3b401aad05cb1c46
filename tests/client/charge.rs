//! What a charge is paid with, as the server gets it.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header::WWW_AUTHENTICATE};
use secrecy::SecretString;
use serde_json::Map;
use stellar_xdr as xdr;
use tollgate::{
    client::{Challenge, ChargeOffer, Client, Error, Event, Limit, Method, Mode, Offer, Overrides},
    protocol::{
        mpp::{
            self, ChallengeId, PAYMENT_RECEIPT, Parts, Receipt, Secrets,
            charge::{CredentialType, Payload, Request},
        },
        stellar::{AccountId, Network},
        transfer::{Expected, Pulled},
    },
    telemetry::Clock,
};
use tollgate_sandbox::Sandbox;

use super::{amount, answer, client, push::while_ledgers_close, sandbox, settings, stub::Stub};

/// What a server asks: 10,000 units of USDC to the recipient, its fee not paid.
pub(crate) fn request(sandbox: &Sandbox) -> Request {
    Request {
        amount: amount(10_000),
        currency: Network::Testnet.usdc().contract,
        recipient: sandbox.accounts().recipient.address().parse().unwrap(),
        external_id: None,
        network: Network::Testnet,
        fee_payer: false,
        credential_types: vec![CredentialType::Transaction, CredentialType::SignedHash],
    }
}

/// The same, its fee paid.
pub(crate) fn sponsored(sandbox: &Sandbox) -> Request {
    let credential_types = vec![CredentialType::Transaction];
    Request { fee_payer: true, credential_types, ..request(sandbox) }
}

/// A challenge that ends in five minutes.
pub(crate) fn challenge(request: &Request) -> mpp::Challenge {
    let secret = SecretString::from("a-secret-of-thirty-two-bytes-and-more");
    let secrets = Secrets::new(secret, []).unwrap();
    let parts = Parts {
        realm: "a",
        method: "stellar",
        intent: "charge",
        request: request.encode(),
        description: Some("A thing"),
        body: None,
        expires_ms: Clock::system().now_ms() + 300_000,
        header: mpp::CredentialHeader::default(),
        opaque: None,
    };
    mpp::Challenge::issue(&secrets, parts)
}

/// A 402 with these values of `WWW-Authenticate`.
pub(crate) fn refused(values: impl IntoIterator<Item = HeaderValue>) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::PAYMENT_REQUIRED;
    for value in values {
        response.headers_mut().append(WWW_AUTHENTICATE, value);
    }
    response
}

/// A paid answer.
pub(crate) fn receipt() -> Response<Bytes> {
    let receipt = Receipt {
        method: "stellar".to_owned(),
        reference: "cd".repeat(32),
        timestamp_ms: 0,
        external_id: None,
        extra: Map::new(),
    };
    answer(StatusCode::OK, PAYMENT_RECEIPT, receipt.encode())
}

/// Asks for a charge and takes any payment.
pub(crate) async fn shop(challenge: &mpp::Challenge) -> Stub {
    let asking = challenge.to_header();
    Stub::start(move |asked| {
        Some(if asked.charge().is_some() { receipt() } else { refused([asking.clone()]) })
    })
    .await
}

/// The offer of a charge.
pub(crate) fn offer(client: &Client, challenge: &mpp::Challenge) -> ChargeOffer {
    let challenge = Challenge::of(&refused([challenge.to_header()])).unwrap().unwrap();
    let Offer::Charge(offer) = client.choose(&challenge).unwrap() else { panic!("a charge") };
    *offer
}

fn expected(request: &Request) -> Expected {
    let Request { network, currency, recipient, amount, .. } = *request;
    Expected { network, asset: currency, payee: recipient, amount }
}

/// The transaction of a payload.
fn transaction(credential: &mpp::Credential) -> String {
    match Payload::from_json(credential.payload.as_ref().unwrap()).unwrap() {
        Payload::Transaction(text) => text,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_sponsored_charge_is_paid_with_an_authorization_and_no_more() {
    let sandbox = sandbox().await;
    let asked = sponsored(&sandbox);
    let asking = challenge(&asked);
    let shop = shop(&asking).await;
    let mut events = Vec::new();
    let tell = |event: Event<'_>| events.push(format!("{event:?}"));
    let paid = client(&sandbox).send(shop.get(), tell).await.unwrap();
    assert_eq!(paid.response.status(), StatusCode::OK);
    assert_eq!(paid.payment.unwrap().settlement.unwrap().transaction, "cd".repeat(32));
    let names: Vec<_> = events.iter().map(|event| event.split('(').next().unwrap()).collect();
    assert_eq!(names, ["Asked", "Signed", "Settled"]);

    let said = shop.asked()[1].charge().unwrap();
    // Every field comes back as it was sent.
    assert_eq!(said.challenge.to_header(), asking.to_header());
    let payer = sandbox.accounts().zero_xlm_payer.address();
    assert_eq!(said.source, Some(format!("did:pkh:stellar:testnet:{payer}")));
    let text = transaction(&said);
    let Pulled::Unsigned(transfer) = Pulled::parse(&text, Network::Testnet).unwrap() else {
        panic!("of nobody's account");
    };
    transfer.check(&expected(&asked), &[]).unwrap();
    transfer.check_signature(Network::Testnet).unwrap();
    let offer = offer(&client(&sandbox), &asking);
    assert_eq!(
        (transfer.time_bounds().min, transfer.time_bounds().max),
        (0, offer.expires.unwrap())
    );
    let life = transfer.expiration_ledger() - sandbox.ledger().latest().sequence;
    assert!((45..=50).contains(&life), "{life} ledgers for 300 seconds");
    let envelope = xdr::ReadXdr::from_xdr_base64(&text, xdr::Limits::none());
    let xdr::TransactionEnvelope::Tx(envelope) = envelope.unwrap() else { panic!("plain") };
    assert_eq!(envelope.tx.source_account, AccountId([0; 32]).to_muxed());
    assert_eq!(envelope.tx.seq_num.0, 1);
    assert_eq!(envelope.signatures.len(), 0);
    assert_eq!(sandbox.calls(tollgate_sandbox::Method::SendTransaction), 0);
}

#[tokio::test]
async fn an_unsponsored_charge_is_paid_with_the_payers_own_transaction() {
    let sandbox = sandbox().await;
    let payer = &sandbox.accounts().payer;
    let client = Client::new(settings(&sandbox, payer));
    let asked = request(&sandbox);
    let asking = challenge(&asked);
    let shop = shop(&asking).await;
    client.send(shop.get(), |_| {}).await.unwrap();
    let said = shop.asked()[1].charge().unwrap();
    assert_eq!(said.source, Some(format!("did:pkh:stellar:testnet:{}", payer.address())));
    let Pulled::Whole(whole) = Pulled::parse(&transaction(&said), Network::Testnet).unwrap() else {
        panic!("the payer's own transaction")
    };
    whole.check(&expected(&asked), &[]).unwrap();
    whole.check_signatures().unwrap();
    assert_eq!(whole.source(), client.account());
    let account = client.rpc().accounts(&[client.account()]).await.unwrap().remove(0);
    assert_eq!(whole.sequence(), account.seq_num.0 + 1);
    assert_eq!(Some(whole.max_time()), offer(&client, &asking).expires);
    assert!(whole.resource_fee() > 0);
    assert_eq!(sandbox.calls(tollgate_sandbox::Method::SendTransaction), 0);

    // As it is, it lands.
    let landing = while_ledgers_close(&sandbox, client.land(whole.envelope()));
    assert_eq!(landing.await.unwrap(), whole.hash());
    assert_eq!(sandbox.usdc_balance(&sandbox.accounts().recipient.address()), Some(10_000));
}

#[tokio::test]
async fn only_who_wants_nothing_but_charges_says_so() {
    let sandbox = sandbox().await;
    for (method, told) in
        [(Method::Any, None), (Method::Charge, Some(HeaderValue::from_static("stellar/charge")))]
    {
        let shop = shop(&challenge(&sponsored(&sandbox))).await;
        let client = client(&sandbox).paying_by(method, Mode::Pull);
        client.send(shop.get(), |_| {}).await.unwrap();
        for asked in shop.asked() {
            assert_eq!(asked.headers.get("accept-payment"), told.as_ref());
        }
        // What the caller says itself is left as it is.
        let mut request = shop.get();
        let own = HeaderValue::from_static("tempo/*");
        request.headers_mut().insert("accept-payment", own.clone());
        client.send(request, |_| {}).await.unwrap();
        assert_eq!(shop.asked()[3].headers["accept-payment"], own);
    }
}

#[tokio::test]
async fn what_else_is_in_authorization_stays_there() {
    let sandbox = sandbox().await;
    let shop = shop(&challenge(&sponsored(&sandbox))).await;
    let mut request = shop.get();
    request.headers_mut().insert("authorization", "Bearer mine".parse().unwrap());
    client(&sandbox).send(request, |_| {}).await.unwrap();
    let asked = shop.asked().remove(1);
    let lines: Vec<_> = asked.headers.get_all("authorization").iter().collect();
    assert_eq!(lines.len(), 1, "one line");
    assert!(lines[0].to_str().unwrap().starts_with("Bearer mine, Payment "));
    assert!(asked.charge().is_some());
    // A payment that is there already is not replaced.
    let mut paid = shop.get();
    paid.headers_mut().insert("authorization", asked.headers["authorization"].clone());
    let error = client(&sandbox).send(paid, |_| {}).await.unwrap_err();
    assert!(matches!(error, Error::AlreadyPaid), "{error}");
    assert_eq!(shop.asked().len(), 2);
}

#[tokio::test]
async fn a_challenge_may_ask_for_the_payment_in_a_header_of_its_own() {
    let sandbox = sandbox().await;
    let header = mpp::CredentialHeader::PaymentAuthorization;
    let asking = mpp::Challenge { header, ..challenge(&sponsored(&sandbox)) };
    let shop = shop(&asking).await;
    let mut request = shop.get();
    request.headers_mut().insert("authorization", "Bearer mine".parse().unwrap());
    client(&sandbox).send(request, |_| {}).await.unwrap();
    let asked = shop.asked().remove(1);
    assert_eq!(asked.headers["authorization"], "Bearer mine");
    assert!(asked.headers.contains_key("payment-authorization"));
}

#[tokio::test]
async fn nothing_is_signed_for_a_charge_above_the_limit() {
    let sandbox = sandbox().await;
    let shop = shop(&challenge(&sponsored(&sandbox))).await;
    let limited = |units| {
        let limit = Some(Limit { amount: amount(units), asset: Network::Testnet.usdc() });
        let settings = settings(&sandbox, &sandbox.accounts().payer);
        Client::new(tollgate::client::Settings { limit, ..settings })
    };
    let refused = limited(9_999).send(shop.get(), |_| {}).await.unwrap_err();
    assert_eq!(refused.to_string(), "0.001 USDC is asked, and at most 0.0009999 USDC may be paid");
    assert_eq!(shop.asked().len(), 1);
    let paid = limited(10_000).send(shop.get(), |_| {}).await.unwrap();
    assert_eq!(paid.response.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_challenge_that_has_ended_is_not_paid() {
    let sandbox = sandbox().await;
    let asking = challenge(&sponsored(&sandbox));
    let shop = shop(&asking).await;
    let late = Clock::fixed(Clock::system().now() + 300);
    let error = client(&sandbox).by_clock(&late).send(shop.get(), |_| {}).await.unwrap_err();
    assert!(matches!(error, Error::Ended), "{error}");
    // One that says a year is held to an hour.
    let expires = Some("2999-01-01T00:00:00Z".to_owned());
    let long = mpp::Challenge { expires, id: ChallengeId::new("x".to_owned()), ..asking };
    let clock = Clock::fixed(Clock::system().now());
    let client = client(&sandbox).by_clock(&clock);
    let made = client.transaction(&offer(&client, &long), &Overrides::default()).await.unwrap();
    let xdr::TransactionEnvelope::Tx(envelope) = made.envelope else { panic!("plain") };
    let xdr::Preconditions::Time(bounds) = envelope.tx.cond else { panic!("bounds") };
    assert_eq!(bounds.max_time.0, clock.now() + 3_600);
}
