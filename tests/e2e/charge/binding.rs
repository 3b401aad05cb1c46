//! Group A: a charge buys what its challenge priced, and nothing else.

use http::{HeaderValue, Method, StatusCode};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tollgate::{
    client::{ChargeOffer, Credential, Overrides},
    protocol::{
        mpp::{self, ChallengeId, Opaque, Secrets, timestamp},
        stellar::Network,
    },
};

use super::shop::{Form, open, plan, refused};
use crate::{
    forge::Spent,
    world::{Agent, Answer, Plan, World},
};

#[tokio::test]
async fn a06_a07_a_charge_buys_neither_a_dear_route_nor_a_sibling_nor_another_method() {
    let world = open().await;
    let agent = world.agent();
    for form in Form::ALL {
        let credential = form.payment(&agent).await;
        for path in ["/dear", "/sibling", "/other", "/both", "/weather", "/own"] {
            if path != form.path() {
                refused(&world, path, &credential, "invalid_challenge").await;
            }
        }
        for method in [Method::POST, Method::PUT] {
            let spent = Spent::of(&world);
            let path = if form == Form::Sponsored { "/order" } else { "/own" };
            let answer = agent.present_with(method.clone(), path, &credential).await;
            match path {
                "/order" if method == Method::PUT => {
                    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
                }
                _ => answer.assert_refused("invalid_challenge"),
            }
            assert_eq!(Spent::of(&world), spent);
        }
        agent.present(form.path(), &credential).await.assert_charge_paid();
        // What it bought, it bought: no other query of the same route.
        let other = format!("{}?another=1", form.path());
        refused(&world, &other, &credential, "duplicate_settlement").await;
    }
    let dear = agent.sign_charge("/dear", &Overrides::default()).await;
    agent.present("/dear", &dear).await.assert_charge_paid();
    assert_eq!(world.upstream.hits().len(), 4);
    world.end().await;
}

#[tokio::test]
async fn a10_a11_a_challenge_that_is_not_ours_to_the_letter_is_refused() {
    let world = open().await;
    let agent = world.agent();
    let offer = note_offer(&agent, NOTE).await;
    let honest = agent.client.sign_charge(&offer, &Overrides::default()).await.unwrap();
    type Change = fn(&mut mpp::Challenge);
    let flips: [(&str, Change); 8] = [
        ("id", |says| says.id = ChallengeId::new(flipped(says.id.as_str()))),
        ("realm", |says| says.realm = flipped(&says.realm)),
        ("method", |says| says.method = flipped(&says.method)),
        ("intent", |says| says.intent = flipped(&says.intent)),
        ("request", |says| says.request = flipped(&says.request)),
        ("expires", |says| says.expires = says.expires.as_deref().map(flipped)),
        ("digest", |says| says.digest = says.digest.as_deref().map(flipped)),
        ("opaque", |says| says.opaque = says.opaque.as_deref().map(flipped)),
    ];
    let others: [(&str, Change); 6] = [
        ("no digest", |says| says.digest = None),
        ("no end", |says| says.expires = None),
        ("no scope", |says| says.opaque = None),
        ("an empty id", |says| says.id = ChallengeId::new(String::new())),
        ("a later end", |says| says.expires = Some(timestamp::write(u64::from(u32::MAX) * 1_000))),
        ("a lower price", |says| {
            let mut request = mpp::charge::Request::decode(&says.request).unwrap();
            request.amount = tollgate::protocol::money::Amount::from_units(1).unwrap();
            says.request = request.encode();
        }),
    ];
    let spent = Spent::of(&world);
    for (what, change) in flips.into_iter().chain(others) {
        let mut forged = honest.as_charge().unwrap().clone();
        change(&mut forged.challenge);
        let answer = note(&agent, &Credential::charge(forged), NOTE).await;
        assert_eq!(answer.status, 402, "{what}: {answer:?}");
        answer.assert_refused("invalid_challenge");
        assert_eq!(answer.json()["type"], "https://paymentauth.org/problems/invalid-challenge");
        let fresh = answer.charges();
        assert_eq!(fresh.len(), 1, "{what}");
        assert_ne!(fresh[0].id.as_str(), offer.challenge.id.as_str(), "{what}");
    }
    // Without any id at all, and under the secret of somebody else.
    let mut missing = json_of(&honest);
    missing["challenge"].as_object_mut().unwrap().remove("id");
    let answer = agent.send(Method::POST, "/note", &[payment(&missing)], NOTE).await;
    answer.assert_refused("invalid_challenge");
    let mut foreign = honest.as_charge().unwrap().clone();
    foreign.challenge = reissued(&offer, &Secrets::new("x".repeat(32).into(), None).unwrap());
    note(&agent, &Credential::charge(foreign), NOTE).await.assert_refused("invalid_challenge");
    assert_eq!(Spent::of(&world), spent);
    note(&agent, &honest, NOTE).await.assert_charge_paid();
    world.end().await;
}

#[tokio::test]
async fn a15_a_challenge_of_one_realm_does_not_pay_in_another() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "k".repeat(40)).unwrap();
    let payments = |realm: &str| {
        let path = secret.path().display();
        format!(
            ", mpp: {{ realm: {realm}, secret_key: {{ file: \"{path}\" }}, charge: {{ sponsored: true }} }}"
        )
    };
    let (a, b) = (payments("a.example.com"), payments("b.example.com"));
    let world = World::build(Plan { payments: &a, ..plan() }).await;
    for form in Form::ALL {
        let credential = form.payment(&world.agent()).await;
        world.reload(&Plan { payments: &b, ..plan() });
        refused(&world, form.path(), &credential, "invalid_challenge").await;
        world.reload(&Plan { payments: &a, ..plan() });
        world.agent().present(form.path(), &credential).await.assert_charge_paid();
    }
    world.end().await;
}

#[tokio::test]
async fn a16_a_charge_of_another_network_is_refused() {
    let world = open().await;
    let agent = world.agent();
    for form in Form::PULLED {
        let credential = form.payment(&agent).await;
        let mut elsewhere = credential.as_charge().unwrap().clone();
        let source = elsewhere.source.unwrap();
        elsewhere.source = Some(source.replace(":testnet:", ":pubnet:"));
        let elsewhere = Credential::charge(elsewhere);
        refused(&world, form.path(), &elsewhere, "network_mismatch").await;
        let overrides = Overrides {
            network: Some(Network::Pubnet),
            resources: Some(resources(&agent, form).await),
            ..Overrides::default()
        };
        let signed = agent.sign_charge(form.path(), &overrides).await;
        refused(&world, form.path(), &signed, "missing_payer_signature").await;
        agent.present(form.path(), &credential).await.assert_charge_paid();
    }
    world.end().await;
}

#[tokio::test]
async fn a19_a_payment_that_is_bound_to_a_body_buys_its_request_with_no_other() {
    let world = open().await;
    let agent = world.agent();
    let offer = note_offer(&agent, NOTE).await;
    assert!(offer.challenge.digest.is_some());
    let by_charge = agent.client.sign_charge(&offer, &Overrides::default()).await.unwrap();
    let challenge = unpaid(&agent, NOTE).await;
    let wanted = tollgate::client::Wanted::by(tollgate::client::Method::X402, Network::Testnet);
    let Ok(tollgate::client::Offer::X402(x402)) = challenge.choose(&wanted) else { panic!() };
    let by_x402 = agent.client.sign_x402(&x402, &Overrides::default()).await.unwrap();
    let spent = Spent::of(&world);
    for (credential, reason) in
        [(&by_charge, "invalid_challenge"), (&by_x402, "No matching payment requirements")]
    {
        for body in [&b"another"[..], b"", b"a notE", b"a note "] {
            note(&agent, credential, body).await.assert_refused(reason);
        }
        let chunked = chunked(&world, credential, b"another").await;
        assert!(chunked.starts_with("HTTP/1.1 402"), "{chunked}");
        assert!(chunked.contains(reason), "{chunked}");
        assert_eq!(Spent::of(&world), spent);
    }
    note(&agent, &by_x402, NOTE).await.assert_paid();
    // The very body in chunks is the very body.
    let paid = chunked(&world, &by_charge, NOTE).await;
    assert!(paid.starts_with("HTTP/1.1 200"), "{paid}");
    assert!(world.upstream.hits().iter().all(|hit| hit.body == NOTE));
    assert_eq!(world.upstream.hits().len(), 2);
    world.end().await;
}

#[tokio::test]
async fn a23_two_payments_in_one_request_are_ambiguous_whatever_they_are() {
    let world = open().await;
    let agent = world.agent();
    let charge = agent.sign_charge("/both", &Overrides::default()).await;
    let other = agent.sign_charge("/both", &Overrides::default()).await;
    let x402 = agent.sign("/both", &Overrides::default()).await;
    let (a, b, x) = (charge.header().clone(), other.header().clone(), x402.header().clone());
    let both = [a.as_bytes(), b", ", b.as_bytes()].concat();
    let both = HeaderValue::from_bytes(&both).unwrap();
    let garbage = HeaderValue::from_static("Payment AAAA");
    let spent = Spent::of(&world);
    let cases = [
        vec![("authorization", a.clone()), ("authorization", b.clone())],
        vec![("authorization", a.clone()), ("authorization", a.clone())],
        vec![("authorization", both)],
        vec![("authorization", a.clone()), ("payment-authorization", b.clone())],
        vec![("payment-authorization", a.clone()), ("payment-authorization", b)],
        vec![("authorization", a.clone()), ("payment-signature", x.clone())],
        vec![("payment-authorization", a.clone()), ("payment-signature", x.clone())],
        vec![("payment-signature", x.clone()), ("payment-signature", x.clone())],
        vec![("authorization", garbage.clone()), ("authorization", a.clone())],
        vec![("authorization", garbage), ("payment-signature", x)],
    ];
    for path in ["/both", "/plain", "/weather"] {
        for headers in &cases {
            let answer = agent.send(Method::GET, path, headers, b"").await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path} {headers:?} {answer:?}");
            assert_eq!(answer.json()["reason"], "ambiguous_payment");
            assert_eq!(answer.headers["cache-control"], "no-store");
        }
    }
    assert_eq!(Spent::of(&world), spent);
    let bearer = HeaderValue::from_static("Bearer mine");
    let headers = [("authorization", bearer), ("authorization", a)];
    agent.send(Method::GET, "/both", &headers, b"").await.assert_charge_paid();
    agent.present("/both", &x402).await.assert_paid();
    assert_eq!(world.upstream.hits().len(), 2);
    world.end().await;
}

#[tokio::test]
async fn a25_a_payment_by_a_rail_that_the_route_does_not_take_is_refused() {
    let world = open().await;
    let agent = world.agent();
    let x402 = agent.sign("/plain", &Overrides::default()).await;
    let charge = agent.sign_charge("/weather", &Overrides::default()).await;
    refused(&world, "/weather", &x402, "No matching payment requirements").await;
    refused(&world, "/plain", &charge, "invalid_challenge").await;
    let spent = Spent::of(&world);
    for path in ["/both", "/weather"] {
        let old = [("x-payment", x402.header().clone())];
        let answer = agent.send(Method::GET, path, &old, b"").await;
        answer.assert_refused("invalid_x402_version");
    }
    assert_eq!(Spent::of(&world), spent);
    agent.present("/plain", &x402).await.assert_paid();
    agent.present("/weather", &charge).await.assert_charge_paid();
    world.end().await;
}

#[tokio::test]
async fn b27_h03_a_free_route_ignores_a_charge_and_no_upstream_sees_one() {
    let world = open().await;
    let agent = world.agent();
    let credential = agent.sign_charge("/weather", &Overrides::default()).await;
    let spent = (world.payee_usdc(), world.sponsor_xlm());
    let free = agent.present("/health", &credential).await;
    assert_eq!(free.status, StatusCode::OK);
    assert!(free.receipt().is_none());
    assert_eq!((world.payee_usdc(), world.sponsor_xlm()), spent);
    agent.present("/weather", &credential).await.assert_charge_paid();
    for hit in world.upstream.hits() {
        let text = format!("{:?}", hit.headers);
        assert!(!text.contains("ayment "), "{text}");
        assert!(!hit.headers.contains_key("authorization"));
    }
    world.end().await;
}

#[tokio::test]
async fn i01_i02_a_charge_that_cannot_be_read_gets_a_fresh_challenge() {
    let world = open().await;
    let agent = world.agent();
    let spent = Spent::of(&world);
    let deep = "[".repeat(10_000);
    let long = format!("{{\"challenge\":\"{}\"}}", "a".repeat(12_000));
    let tokens =
        ["", "***", "bnVsbA", "W10", "MQ", "IiI", "e30", "eyJhIjoxLCJhIjoyfQ", "In8_Ig", "Iv8i"];
    let texts = tokens.iter().map(|token| format!("Payment {token}"));
    let encoded = [
        "{\"challenge\":{}}",
        "\u{feff}{}",
        &deep,
        &long,
        "{\"challenge\":1}",
        "{\"challenge\":{},\"challenge\":{}}",
        "{\"a\":1e309}",
        "{\"a\":-0}",
        "{} x",
    ];
    let encoded = encoded.iter().map(|text| {
        use base64::Engine as _;
        format!("Payment {}", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text))
    });
    for text in texts.chain(encoded) {
        let headers = [("authorization", HeaderValue::try_from(&text).unwrap())];
        let answer = agent.send(Method::GET, "/weather", &headers, b"").await;
        answer.assert_refused("malformed_credential");
    }
    assert_eq!(Spent::of(&world), spent);
    let honest = Form::Sponsored.payment(&agent).await;
    agent.present("/weather", &honest).await.assert_charge_paid();
    world.end().await;
}

/// What a transfer of `form` takes, which the RPC would not say of one that fails.
async fn resources(agent: &Agent, form: Form) -> stellar_xdr::SorobanTransactionData {
    let offer = agent.charge_offer_of(Method::GET, form.path()).await;
    let made = agent.client.transaction(&offer, &Overrides::default()).await.unwrap();
    match made.envelope {
        stellar_xdr::TransactionEnvelope::Tx(envelope) => match envelope.tx.ext {
            stellar_xdr::TransactionExt::V1(data) => data,
            stellar_xdr::TransactionExt::V0 => panic!("no resources"),
        },
        other => panic!("{other:?}"),
    }
}

/// What POST /note of `body` costs.
async fn unpaid(agent: &Agent, body: &'static [u8]) -> tollgate::client::Challenge {
    let request = agent.request(Method::POST, "/note").map(|_| body.into());
    agent.client.challenge(request).await.unwrap().unwrap()
}

async fn note_offer(agent: &Agent, body: &'static [u8]) -> ChargeOffer {
    let wanted = tollgate::client::Wanted::by(tollgate::client::Method::Charge, Network::Testnet);
    match unpaid(agent, body).await.choose(&wanted).unwrap() {
        tollgate::client::Offer::Charge(offer) => *offer,
        tollgate::client::Offer::X402(offer) => panic!("{offer:?}"),
    }
}

async fn note(agent: &Agent, credential: &Credential, body: &'static [u8]) -> Answer {
    let request = agent.request(Method::POST, "/note").map(|_| body.into());
    crate::world::read(agent.client.present(request, credential).await.unwrap()).await
}

/// Sends POST /note with `body` in chunks of one byte, and reads what comes until the end.
async fn chunked(world: &World, credential: &Credential, body: &[u8]) -> String {
    let address = world.gateway.addresses()[0];
    let mut stream = TcpStream::connect(address).await.unwrap();
    let name = credential.name();
    let value = credential.header().to_str().unwrap();
    let head = format!(
        "POST /note HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{name}: {value}\r\n\
         transfer-encoding: chunked\r\n\r\n"
    );
    let mut text = head.into_bytes();
    for byte in body {
        text.extend([b"1\r\n", &[*byte][..], b"\r\n"].concat());
    }
    text.extend(b"0\r\n\r\n");
    stream.write_all(&text).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// The same text with its middle character another one of its kind.
fn flipped(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let at = bytes.len() / 2;
    bytes[at] = if bytes[at] == b'1' { b'2' } else { b'1' };
    String::from_utf8(bytes).unwrap()
}

/// What a credential says, as JSON.
fn json_of(credential: &Credential) -> Value {
    use base64::Engine as _;
    let value = credential.header().to_str().unwrap();
    let token = value.strip_prefix("Payment ").unwrap();
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(token).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

fn payment(says: &Value) -> (&'static str, HeaderValue) {
    use base64::Engine as _;
    let token = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(says.to_string());
    ("authorization", HeaderValue::try_from(format!("Payment {token}")).unwrap())
}

/// The challenge of `offer`, as another server would have issued it.
fn reissued(offer: &ChargeOffer, secrets: &Secrets) -> mpp::Challenge {
    let theirs = &offer.challenge;
    let opaque = Opaque::decode(theirs.opaque.as_deref().unwrap()).unwrap();
    let parts = mpp::Parts {
        realm: &theirs.realm,
        method: mpp::charge::METHOD,
        intent: mpp::charge::INTENT,
        request: offer.request.encode(),
        description: theirs.description.as_deref(),
        body: Some(Sha256::digest(NOTE).into()),
        expires_ms: timestamp::read(theirs.expires.as_deref().unwrap()).unwrap(),
        header: theirs.header,
        opaque: Some(&opaque),
    };
    mpp::Challenge::issue(secrets, parts)
}

const NOTE: &[u8] = b"a note";
