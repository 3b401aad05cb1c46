//! Who may call a priced route without a payment, and who asks too often: security groups H and I, and plain use.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ed25519_dalek::{Signer as _, SigningKey};
use http::{HeaderValue, Method, StatusCode, header};
use serde_json::{Value, json};
use sha2::Digest as _;
use tollgate::{client::Overrides, protocol::money::Amount, telemetry::Clock};
use tollgate_sandbox::Method as Call;

use crate::{
    upstream::{Script, Upstream},
    world::{Agent, Answer, PRICE, Plan, World, read, still},
};

const KEY: &str = "a key that a customer has had for years";

/// A world whose one priced route has these keys besides.
async fn world(route: &str, top: &str) -> World {
    let routes = format!(
        "  - {{ name: weather, match: GET /weather, price: \"$0.001\", accept: [x402], timeout: 5s, {route} }}\n  \
         - {{ name: health, match: GET /health, free: true }}"
    );
    let listen = format!("listen: 127.0.0.1:0\n{top}");
    let plan = Plan { listen: &listen, routes: &routes, clock: still(), ..Plan::default() };
    World::build(plan).await
}

async fn ask_with(agent: &Agent, name: &'static str, value: &str) -> Answer {
    let mut request = agent.request(Method::GET, "/weather");
    request.headers_mut().append(name, HeaderValue::try_from(value).unwrap());
    read(agent.client.exchange(request).await.unwrap()).await
}

fn key_rule() -> String {
    let key = KEY.replace(' ', "-");
    let digest = hex_of(&key);
    format!("allow: [{{ api_key: {{ keys: [{{ sha256: {digest} }}] }} }}]")
}

fn hex_of(key: &str) -> String {
    hex::encode(sha2::Sha256::digest(key))
}

#[tokio::test]
async fn h02_a_customer_with_a_key_passes_and_a_stranger_with_headers_pays() {
    let world = world(&key_rule(), "").await;
    let (agent, before) = (world.agent(), world.payee_usdc());
    let key = KEY.replace(' ', "-");
    let told = ask_with(&agent, "x-api-key", &key).await;
    assert_eq!(told.status, StatusCode::OK, "{told:?}");
    // Nobody else is handed it by a cache on the way.
    assert_eq!(told.headers[header::CACHE_CONTROL], "private");
    assert_eq!(world.upstream.hits().len(), 1);
    for (name, value) in [
        ("x-api-key", "a-key-that-a-customer-had-for-years"),
        ("x-api_key", &*key),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-gateway-payer", "anybody"),
        ("authorization", "Bearer anything"),
    ] {
        ask_with(&agent, name, value).await.assert_refused("Payment required");
    }
    assert_eq!(world.upstream.hits().len(), 1);
    agent.pay("/weather").await.assert_paid();
    assert_eq!(world.payee_usdc() - before, PRICE);
    // Who has both is not charged, and may pay another time.
    let credential = agent.sign("/weather", &Overrides::default()).await;
    let mut request = agent.request(Method::GET, "/weather");
    request.headers_mut().insert("x-api-key", HeaderValue::try_from(key).unwrap());
    let told = read(agent.client.present(request, &credential).await.unwrap()).await;
    assert_eq!((told.status, told.settlement().is_none()), (StatusCode::OK, true));
    assert_eq!(world.payee_usdc() - before, PRICE);
    agent.present("/weather", &credential).await.assert_paid();
    assert_eq!(world.payee_usdc() - before, 2 * PRICE);
    world.end().await;
}

#[tokio::test]
async fn i08_unpaid_answers_have_a_budget_of_their_own_and_payments_go_past_it() {
    let world = world("limits: { unpaid_rps_per_ip: 3 }", "").await;
    let agent = world.agent();
    let credential = agent.sign("/weather", &Overrides::default()).await;
    for _ in 0..2 {
        agent.ask(Method::GET, "/weather").await.assert_refused("Payment required");
    }
    for forged in ["192.0.2.1", "192.0.2.2"] {
        // Whatever a header says, the connection's address is counted.
        let told = ask_with(&agent, "x-forwarded-for", forged).await;
        assert_eq!(told.status, StatusCode::TOO_MANY_REQUESTS, "{told:?}");
        assert_eq!(told.headers[header::RETRY_AFTER], "1");
        assert!(!told.headers.contains_key("payment-required"));
    }
    assert_eq!(agent.ask(Method::GET, "/health").await.status, StatusCode::OK);
    agent.present("/weather", &credential).await.assert_paid();
    world.pass(Duration::from_secs(5)).await;
    agent.ask(Method::GET, "/weather").await.assert_refused("Payment required");
    world.end().await;
}

#[tokio::test]
async fn i08_payments_that_do_not_pay_have_no_budget_without_end_and_honest_ones_spend_none() {
    let world = world("limits: { unpaid_rps_per_ip: 2 }", "").await;
    let agent = world.agent();
    let mut honest = Vec::new();
    for _ in 0..3 {
        honest.push(agent.sign("/weather", &Overrides::default()).await);
        world.pass(Duration::from_secs(1)).await;
    }
    let cheap = Overrides { amount: Some(Amount::ONE), ..Overrides::default() };
    let junk = agent.sign("/weather", &cheap).await;
    // As many as it may ask in a second, and one more: who pays has as many as it likes.
    for credential in &honest {
        agent.present("/weather", credential).await.assert_paid();
    }
    let late = agent.sign("/weather", &Overrides::default()).await;
    for _ in 0..2 {
        let told = agent.present("/weather", &junk).await;
        assert_eq!(told.status, StatusCode::PAYMENT_REQUIRED, "{told:?}");
    }
    for credential in [&junk, &late] {
        let told = agent.present("/weather", credential).await;
        assert_eq!(told.status, StatusCode::TOO_MANY_REQUESTS, "{told:?}");
        assert!(!told.headers.contains_key("payment-required"));
        assert!(told.headers.contains_key(header::RETRY_AFTER));
    }
    assert_eq!(agent.ask(Method::GET, "/health").await.status, StatusCode::OK);
    world.pass(Duration::from_secs(5)).await;
    agent.present("/weather", &late).await.assert_paid();
    world.end().await;
}

#[tokio::test]
async fn i10_a_payer_that_pays_too_often_keeps_its_money_and_may_come_again() {
    let world = world("limits: { paid_rps_per_payer: 1 }", "").await;
    let (agent, before) = (world.agent(), world.payee_usdc());
    let payers = world.payers(1).await;
    let first = agent.sign("/weather", &Overrides::default()).await;
    let second = agent.sign("/weather", &Overrides::default()).await;
    agent.present("/weather", &first).await.assert_paid();
    let asked = world.sandbox.calls(Call::SimulateTransaction);
    for _ in 0..3 {
        let told = agent.present("/weather", &second).await;
        assert_eq!(told.status, StatusCode::TOO_MANY_REQUESTS, "{told:?}");
        let detail = told.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("; the payment was not looked at: present it again"), "{detail}");
    }
    assert_eq!(world.sandbox.calls(Call::SimulateTransaction), asked, "the ledger is not asked");
    assert_eq!((world.payee_usdc() - before, world.upstream.hits().len()), (PRICE, 1));
    // Another payer is another payer, at the same address.
    payers[0].pay("/weather").await.assert_paid();
    world.pass(Duration::from_secs(2)).await;
    agent.present("/weather", &second).await.assert_paid();
    assert_eq!(world.payee_usdc() - before, 3 * PRICE);
    world.end().await;
}

#[tokio::test]
async fn a_caller_has_its_quota_for_nothing_and_then_pays() {
    let world = world("free_quota: { requests: 2, per: 1h }", "").await;
    let agent = world.agent();
    for _ in 0..2 {
        let told = agent.ask(Method::GET, "/weather").await;
        assert_eq!((told.status, told.settlement().is_none()), (StatusCode::OK, true));
        assert_eq!(told.headers[header::CACHE_CONTROL], "private");
    }
    for forged in ["192.0.2.1", "192.0.2.2"] {
        ask_with(&agent, "x-forwarded-for", forged).await.assert_refused("Payment required");
    }
    agent.pay("/weather").await.assert_paid();
    world.pass(Duration::from_secs(3_601)).await;
    assert_eq!(agent.ask(Method::GET, "/weather").await.status, StatusCode::OK);
    world.end().await;
}

#[tokio::test]
async fn a_quota_is_not_used_up_by_what_brings_nothing() {
    let world = world("mode: observe, free_quota: { requests: 1, per: 1h }", "").await;
    let agent = world.agent();
    let preflight = || {
        let mut request = agent.request(Method::OPTIONS, "/weather");
        for (name, value) in
            [("origin", "https://app.example"), ("access-control-request-method", "GET")]
        {
            request.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        request
    };
    for _ in 0..3 {
        read(agent.client.exchange(preflight()).await.unwrap()).await;
    }
    // What is private was had for nothing, what is not was observed.
    let is_private = |told: &Answer| told.headers.contains_key(header::CACHE_CONTROL);
    let slow = Script { delay: Duration::from_secs(6), ..Script::default() };
    world.upstream.play(slow);
    let told = agent.ask(Method::GET, "/weather").await;
    assert_eq!(told.status, StatusCode::GATEWAY_TIMEOUT, "{told:?}");
    world.upstream.play(Script::default());
    assert!(is_private(&agent.ask(Method::GET, "/weather").await));
    assert!(!is_private(&agent.ask(Method::GET, "/weather").await));
    world.end().await;
}

#[tokio::test]
async fn a_quota_of_keys_is_each_keys_own_and_nobody_elses() {
    let (one, other) = (hex_of("one"), hex_of("other"));
    let rule = format!(
        "free_quota: {{ requests: 1, per: 1h, api_key: {{ header: X-Key, keys: [{{ sha256: {one} }}, {{ sha256: {other} }}] }} }}"
    );
    let world = world(&rule, "").await;
    let agent = world.agent();
    for key in ["one", "other"] {
        assert_eq!(ask_with(&agent, "x-key", key).await.status, StatusCode::OK);
        ask_with(&agent, "x-key", key).await.assert_refused("Payment required");
    }
    ask_with(&agent, "x-key", "a stranger's").await.assert_refused("Payment required");
    agent.ask(Method::GET, "/weather").await.assert_refused("Payment required");
    world.end().await;
}

/// A token of the issuer's, signed with the key of this name.
fn token(key: &str) -> String {
    let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let header = json!({ "alg": "EdDSA", "kid": key });
    let claims =
        json!({ "iss": "https://id.example", "aud": "api", "exp": Clock::system().now() + 600 });
    let message = format!("{}.{}", encode(&header), encode(&claims));
    let signature = signing_key(key).sign(message.as_bytes());
    format!("Bearer {message}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
}

fn signing_key(key: &str) -> SigningKey {
    SigningKey::from_bytes(&sha2::Sha256::digest(key).into())
}

/// What the issuer publishes.
fn publishes(keys: &[&str]) -> Script {
    let jwk = |key: &&str| {
        let x = URL_SAFE_NO_PAD.encode(signing_key(key).verifying_key().as_bytes());
        json!({ "kty": "OKP", "crv": "Ed25519", "x": x, "kid": key })
    };
    let set = json!({ "keys": keys.iter().map(jwk).collect::<Vec<_>>() });
    Script { body: set.to_string().into_bytes().leak(), ..Script::default() }
}

#[tokio::test]
async fn a_customer_with_a_token_is_not_asked_to_pay_while_its_keys_are_not_known() {
    let issuer = Upstream::start().await;
    issuer.play(Script { status: StatusCode::BAD_GATEWAY, ..Script::default() });
    let rule = format!(
        "allow: [{{ jwt: {{ issuer: \"https://id.example\", audience: api, jwks_url: \"http://{}/jwks\" }} }}]",
        issuer.address
    );
    let routes = format!(
        "  - {{ name: weather, match: GET /weather, price: \"$0.001\", accept: [x402], timeout: 5s, {rule} }}"
    );
    let world = World::with_routes(&routes).await;
    let agent = world.agent();
    let ask = |token: String| {
        let agent = &agent;
        async move { ask_with(agent, "authorization", &token).await }
    };
    let told = ask(token("one")).await;
    assert_eq!(told.status, StatusCode::SERVICE_UNAVAILABLE, "{told:?}");
    assert!(told.headers.contains_key(header::RETRY_AFTER));
    ask("Bearer nothing".to_owned()).await.assert_refused("Payment required");
    issuer.play(publishes(&["one"]));
    let until_passes = async |key: &str| {
        for _ in 0..100 {
            let told = ask(token(key)).await;
            if told.status == StatusCode::OK {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        panic!("not in time: {key}");
    };
    until_passes("one").await;
    ask(token("two")).await.assert_refused("Payment required");
    // One that is used from now on is fetched as soon as it is named.
    issuer.play(publishes(&["one", "two"]));
    until_passes("two").await;
    ask(token("three")).await.assert_refused("Payment required");
    world.end().await;
}

#[tokio::test]
async fn a_route_that_observes_refuses_nobody_and_takes_no_money() {
    let top = "mode: observe\npublic_url: https://api.example";
    let world = world("limits: { unpaid_rps_per_ip: 1 }", top).await;
    let (agent, before) = (world.agent(), world.payee_usdc());
    for _ in 0..3 {
        assert_eq!(agent.ask(Method::GET, "/weather").await.status, StatusCode::OK);
    }
    // Not even who came without TLS, or with what is no payment.
    for (name, value) in [("x-forwarded-proto", "http"), ("payment-signature", "nothing")] {
        let told = ask_with(&agent, name, value).await;
        assert_eq!((told.status, told.settlement().is_none()), (StatusCode::OK, true), "{name}");
    }
    assert_eq!(world.payee_usdc(), before);
    // Once it asks for its price it does.
    let hits = world.upstream.hits().len();
    world.reload_routes(crate::world::ROUTES);
    agent.ask(Method::GET, "/weather").await.assert_refused("Payment required");
    assert_eq!(world.upstream.hits().len(), hits);
    world.end().await;
}
