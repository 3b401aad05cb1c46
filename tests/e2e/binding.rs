//! Group A: a payment buys what its challenge priced, and nothing else.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode};
use serde_json::{Value, json};
use tollgate::client::{Credential, Overrides};

use crate::{
    forge::Spent,
    world::{World, read},
};

#[tokio::test]
async fn a06_a_cheap_payment_does_not_buy_a_dear_route() {
    let world = World::start().await;
    let (agent, spent) = (world.agent(), Spent::of(&world));
    let cheap = agent.sign("/weather", &Overrides::default()).await;
    agent.present("/dear", &cheap).await.assert_refused("No matching payment requirements");
    assert_eq!(Spent::of(&world), spent);
    let dear = agent.sign("/dear", &Overrides::default()).await;
    agent.present("/dear", &dear).await.assert_paid();
    assert_eq!(world.upstream.hits().len(), 1);
    world.end().await;
}

#[tokio::test]
async fn a07_a_payment_does_not_buy_a_sibling_at_the_same_price() {
    let world = World::start().await;
    let (agent, spent) = (world.agent(), Spent::of(&world));
    let credential = agent.sign("/weather", &Overrides::default()).await;
    agent.present("/sibling", &credential).await.assert_refused("No matching payment requirements");
    assert_eq!(Spent::of(&world), spent);
    agent.present("/weather", &credential).await.assert_paid();
    world.end().await;
}

#[tokio::test]
async fn a16_a_payment_of_another_network_is_refused() {
    let world = World::start().await;
    let (agent, spent) = (world.agent(), Spent::of(&world));
    let offer = agent.offer("/weather").await;
    let mut accepted = offer.requirements.to_json();
    accepted["network"] = json!("stellar:pubnet");
    let overrides = Overrides { accepted: Some(accepted), ..Overrides::default() };
    let credential = agent.client.sign_x402(&offer, &overrides).await.unwrap();
    agent.present("/weather", &credential).await.assert_refused("No matching payment requirements");
    assert_eq!(Spent::of(&world), spent);
    agent.pay("/weather").await.assert_paid();
    world.end().await;
}

#[tokio::test]
async fn a17_an_echo_that_changes_the_offer_is_refused() {
    let world = World::start().await;
    let (agent, spent) = (world.agent(), Spent::of(&world));
    let other = world.sandbox.accounts().payer.address();
    let xlm = "CDLZFC3SYJYDZT7K67VZ75HPJVIEUVNIXF47ZG2FB2RMQQVU2HHGCYSC";
    let changes: [(&str, Value); 6] = [
        ("amount", json!("1")),
        ("payTo", json!(other)),
        ("asset", json!(xlm)),
        ("maxTimeoutSeconds", json!(600)),
        ("scheme", json!("upto")),
        ("extra", json!({"areFeesSponsored": true})),
    ];
    for (member, value) in changes {
        let offer = agent.offer("/weather").await;
        let mut accepted = offer.requirements.to_json();
        accepted[member] = value;
        let overrides = Overrides { accepted: Some(accepted), ..Overrides::default() };
        let credential = agent.client.sign_x402(&offer, &overrides).await.unwrap();
        let answer = agent.present("/weather", &credential).await;
        answer.assert_refused("No matching payment requirements");
    }
    assert_eq!(Spent::of(&world), spent);
    // Its twin: an echo that only adds to `extra` is the offer.
    let offer = agent.offer("/weather").await;
    let mut accepted = offer.requirements.to_json();
    accepted["extra"]["added"] = json!(1);
    let overrides = Overrides { accepted: Some(accepted), ..Overrides::default() };
    let credential = agent.client.sign_x402(&offer, &overrides).await.unwrap();
    agent.present("/weather", &credential).await.assert_paid();
    world.end().await;
}

#[tokio::test]
async fn a23_two_payments_in_one_request_are_ambiguous() {
    let world = World::start().await;
    let (agent, spent) = (world.agent(), Spent::of(&world));
    let credential = agent.sign("/weather", &Overrides::default()).await;
    let mut request = agent.request(Method::GET, "/weather");
    for _ in 0..2 {
        request.headers_mut().append("payment-signature", credential.header().clone());
    }
    let answer = read(agent.client.exchange(request).await.unwrap()).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(Spent::of(&world), spent);
    agent.present("/weather", &credential).await.assert_paid();
    world.end().await;
}

#[tokio::test]
async fn a25_version_1_is_refused() {
    let world = World::start().await;
    let (agent, spent) = (world.agent(), Spent::of(&world));
    let credential = agent.sign("/weather", &Overrides::default()).await;
    let mut old = credential.payload().clone();
    old["x402Version"] = json!(1);
    let answer = agent.present("/weather", &Credential::x402(old)).await;
    answer.assert_refused("invalid_payload");
    let mut request = agent.request(Method::GET, "/weather");
    request.headers_mut().insert("x-payment", credential.header().clone());
    let answer = read(agent.client.exchange(request).await.unwrap()).await;
    answer.assert_refused("invalid_x402_version");
    assert_eq!(Spent::of(&world), spent);
    agent.present("/weather", &credential).await.assert_paid();
    world.end().await;
}

#[tokio::test]
async fn i01_i02_a_credential_that_cannot_be_read_gets_a_fresh_challenge() {
    let world = World::start().await;
    let (agent, spent) = (world.agent(), Spent::of(&world));
    let honest = agent.sign("/weather", &Overrides::default()).await.payload().to_string();
    let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
    let long = format!("{{\"x402Version\":2,\"a\":\"{}\"}}", "a".repeat(12_000));
    let encoded = [
        "null",
        "[]",
        "1",
        "\"\"",
        "{}",
        "{\"a\":1,\"a\":2}",
        "\u{feff}{}",
        &format!("\u{feff}{honest}"),
        &format!("{honest} x"),
        honest.strip_suffix('}').unwrap(),
        &honest.replacen('{', "{\"x402Version\":2,", 1),
        &honest.replacen('{', "{\"a\":1e309,", 1),
        &deep,
        &long,
    ]
    .map(|text| STANDARD.encode(text));
    let raw = ["Payment", "***", "bnVsbA"].map(str::to_owned);
    let invalid = STANDARD.encode(b"{\"a\":\"\xff\"}");
    for text in raw.into_iter().chain(encoded).chain([invalid]) {
        let mut request = agent.request(Method::GET, "/weather");
        let value = HeaderValue::try_from(&text).unwrap();
        request.headers_mut().insert("payment-signature", value);
        let answer = read(agent.client.exchange(request).await.unwrap()).await;
        answer.assert_refused("invalid_payload");
    }
    // An empty one is none.
    let mut request = agent.request(Method::GET, "/weather");
    request.headers_mut().insert("payment-signature", HeaderValue::from_static(""));
    let answer = read(agent.client.exchange(request).await.unwrap()).await;
    answer.assert_refused("Payment required");
    assert_eq!(Spent::of(&world), spent);
    agent.pay_with(Method::POST, "/order", Bytes::from_static(b"x")).await.assert_paid();
    world.end().await;
}

#[tokio::test]
async fn i02_an_amount_that_is_no_text_is_not_the_one_that_was_asked() {
    let world = World::start().await;
    let (agent, spent) = (world.agent(), Spent::of(&world));
    let credential = agent.sign("/weather", &Overrides::default()).await;
    let amount = credential.payload()["accepted"]["amount"].clone();
    let number: u64 = amount.as_str().unwrap().parse().unwrap();
    for other in [
        json!(number),
        json!(9_007_199_254_740_993_u64),
        json!(-0.0),
        json!(null),
        json!([amount]),
        json!(format!("{number}.0")),
        json!(format!("+{number}")),
        json!(format!("0{number}")),
        json!("1e309"),
    ] {
        let mut payload = credential.payload().clone();
        payload["accepted"]["amount"] = other.clone();
        let answer = agent.present("/weather", &Credential::x402(payload)).await;
        assert_eq!(answer.status, StatusCode::PAYMENT_REQUIRED, "{other}: {answer:?}");
    }
    assert_eq!(Spent::of(&world), spent);
    agent.present("/weather", &credential).await.assert_paid();
    world.end().await;
}
