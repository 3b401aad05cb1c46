//! Paying from a channel: one commitment a request, one round trip from the second on, nothing lost when nothing comes.

use http::{HeaderValue, StatusCode};
use sha2::Digest as _;
use tollgate::{protocol::mpp::channel::Action, telemetry::Clock};
use tollgate_sandbox::Method as Call;

use crate::{
    payer::{asked, due},
    upstream::Script,
    world::{DEPOSIT, PRICE, Plan, World},
};

#[tokio::test]
async fn a_commitment_pays_for_a_request_and_the_answer_brings_the_next_challenge() {
    let world = World::start().await;
    let payer = world.payer().await;
    let first = payer.pay("/weather").await;
    assert_eq!(first.assert_channel_paid(), (PRICE, PRICE));
    assert_eq!(world.hits(), 1);
    let mut next = first.next().expect("a challenge for the next request");
    for n in 2..=5 {
        assert_eq!(asked(&next), ((n - 1) * PRICE, PRICE));
        let answer = payer.present("/weather", &payer.commit(&next, due(&next))).await;
        assert_eq!(answer.assert_channel_paid(), (n * PRICE, n * PRICE));
        next = answer.next().unwrap();
    }
    assert_eq!(world.hits(), 5);
    let account = world.end_and_read(payer.channel).await.unwrap();
    assert_eq!(account.standing().spent.units(), 5 * PRICE);
    assert_eq!(account.collectable().unwrap().commitment.amount.units(), 5 * PRICE);
}

#[tokio::test]
async fn nothing_of_a_payment_reaches_the_upstream() {
    let world = World::start().await;
    let payer = world.payer().await;
    payer.pay("/weather").await.assert_channel_paid();
    let hits = world.upstream.hits();
    for name in ["authorization", "payment-channel", "accept-payment"] {
        assert!(!hits[0].headers.contains_key(name), "{name}");
    }
    world.end().await;
}

#[tokio::test]
async fn what_the_upstream_does_not_deliver_is_not_spent_and_may_come_again() {
    let world = World::start().await;
    let payer = world.payer().await;
    let challenge = payer.challenge("/weather").await;
    let credential = payer.commit(&challenge, PRICE);
    world.upstream.play(Script { status: StatusCode::BAD_GATEWAY, ..Script::default() });
    let failed = payer.present("/weather", &credential).await;
    assert_eq!(failed.status, StatusCode::BAD_GATEWAY);
    assert!(failed.receipt().is_none() && failed.next().is_none(), "{failed:?}");
    world.upstream.play(Script::default());
    let other = payer.present("/sibling", &credential).await;
    other.assert_channel_refused("invalid-challenge", "invalid_challenge");
    let again = payer.present("/weather", &credential).await;
    assert_eq!(again.assert_channel_paid(), (PRICE, PRICE));
    assert_eq!(world.hits(), 2);
    world.end().await;
}

#[tokio::test]
async fn what_was_not_delivered_is_a_discount_on_the_next_request() {
    let world = World::start().await;
    let payer = world.payer().await;
    world.upstream.play(Script { status: StatusCode::NOT_FOUND, ..Script::default() });
    payer.pay("/weather").await;
    world.upstream.play(Script::default());
    let challenge = payer.challenge("/weather").await;
    assert_eq!(asked(&challenge), (PRICE, 1));
    let answer = payer.present("/weather", &payer.commit(&challenge, PRICE + 1)).await;
    assert_eq!(answer.assert_channel_paid(), (PRICE + 1, PRICE));
    world.end().await;
}

#[tokio::test]
async fn a_request_is_paid_without_a_ledger_call() {
    let world = World::start().await;
    let payer = world.payer().await;
    let mut next = payer.pay("/weather").await.next().unwrap();
    let before =
        world.sandbox.calls(Call::SimulateTransaction) + world.sandbox.calls(Call::SendTransaction);
    for _ in 0..20 {
        let answer = payer.present("/weather", &payer.commit(&next, due(&next))).await;
        answer.assert_channel_paid();
        next = answer.next().unwrap();
    }
    let after =
        world.sandbox.calls(Call::SimulateTransaction) + world.sandbox.calls(Call::SendTransaction);
    assert_eq!(before, after);
    world.end().await;
}

#[tokio::test]
async fn the_account_survives_a_restart() {
    let world = World::start().await;
    let mut payer = world.payer().await;
    let paid = payer.pay("/weather").await;
    let (next, used) = (paid.next().unwrap(), payer.commit(&paid.next().unwrap(), PRICE));
    let world = world.restart().await;
    payer.base = world.url();
    let replayed = payer.present("/weather", &used).await;
    replayed.assert_channel_refused("session/delta-too-small", "amount_used");
    let answer = payer.present("/weather", &payer.commit(&next, due(&next))).await;
    assert_eq!(answer.assert_channel_paid(), (2 * PRICE, 2 * PRICE));
    world.end().await;
}

#[tokio::test]
async fn a_request_that_names_no_channel_is_told_how_to_pay() {
    let world = World::start().await;
    let payer = world.payer().await;
    let mut request = payer.request(http::Method::GET, "/weather");
    request.headers_mut().remove("payment-channel");
    let answer = payer.send(request).await;
    assert_eq!(answer.status, StatusCode::PAYMENT_REQUIRED);
    assert!(answer.channel_challenge().is_none());
    assert!(answer.json()["detail"].as_str().unwrap().contains("Payment-Channel"), "{answer:?}");
    world.end().await;
}

#[tokio::test]
async fn session_is_another_name_that_is_told_to_who_asks_for_it() {
    let world = World::start().await;
    let payer = world.payer().await;
    let mut request = payer.request(http::Method::GET, "/weather");
    request.headers_mut().insert("accept-payment", HeaderValue::from_static("stellar/session"));
    let answer = payer.send(request).await;
    let session = answer.charges().into_iter().find(|challenge| challenge.intent == "session");
    let session = session.expect("a session challenge");
    let paid = payer.present("/weather", &payer.commit(&session, PRICE)).await;
    assert_eq!(paid.assert_channel_paid(), (PRICE, PRICE));
    assert!(payer.ask("/weather").await.charges().iter().all(|other| other.intent == "channel"));
    world.end().await;
}

#[tokio::test]
async fn a_channel_is_spent_to_the_last_unit_and_no_further_until_it_is_topped_up() {
    let world = World::start().await;
    let payer = world.payer_with(2, 3 * PRICE).await;
    for _ in 0..3 {
        payer.pay("/weather").await.assert_channel_paid();
    }
    let over = payer.pay("/weather").await;
    over.assert_channel_refused("session/amount-exceeds-deposit", "amount_exceeds_deposit");
    let channel = stellar_xdr::ContractId(stellar_xdr::Hash(payer.channel.0));
    let accounts = world.sandbox.accounts();
    world.sandbox.top_up(&channel, &accounts.payer, DEPOSIT).await.unwrap();
    // The gateway looks at a channel once a second.
    let mut answer = payer.pay("/weather").await;
    while answer.status == StatusCode::PAYMENT_REQUIRED {
        answer.assert_channel_refused("session/amount-exceeds-deposit", "amount_exceeds_deposit");
        answer = payer.pay("/weather").await;
    }
    answer.assert_channel_paid();
    assert_eq!(world.hits(), 4);
    world.end().await;
}

#[tokio::test]
async fn credit_of_a_deposit_that_is_committed_whole_takes_a_unit_more_for_each_request() {
    let world = World::start().await;
    let payer = world.payer_with(3, 3 * PRICE).await;
    let whole = payer.commit(&payer.challenge("/weather").await, 3 * PRICE);
    payer.present("/weather", &whole).await.assert_channel_paid();
    let over = payer.pay("/weather").await;
    over.assert_channel_refused("session/amount-exceeds-deposit", "amount_exceeds_deposit");
    let channel = stellar_xdr::ContractId(stellar_xdr::Hash(payer.channel.0));
    let accounts = world.sandbox.accounts();
    world.sandbox.top_up(&channel, &accounts.payer, 2).await.unwrap();
    for paid in 1..=2 {
        // The gateway looks at a channel once a second.
        let mut answer = payer.pay("/weather").await;
        while answer.status == StatusCode::PAYMENT_REQUIRED {
            answer = payer.pay("/weather").await;
        }
        assert_eq!(answer.assert_channel_paid(), (3 * PRICE + paid, (1 + paid) * PRICE));
    }
    assert_eq!(world.hits(), 3);
    world.end().await;
}

#[tokio::test]
async fn i10_a_channel_that_pays_too_often_is_told_so_before_its_commitment_is_taken() {
    let limited = LIMITED.replace("MORE", "limits: { paid_rps_per_payer: 1 }");
    let clock = Clock::fixed(Clock::system().now());
    let plan = Plan { routes: &limited, clock: clock.clone(), ..Plan::default() };
    let world = World::build(plan).await;
    let payer = world.payer().await;
    let next = payer.pay("/weather").await.next().unwrap();
    let credential = payer.commit(&next, due(&next));
    for _ in 0..3 {
        let told = payer.present("/weather", &credential).await;
        assert_eq!(told.status, StatusCode::TOO_MANY_REQUESTS, "{told:?}");
        let detail = told.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("; the payment was not looked at: present it again"), "{detail}");
    }
    clock.advance(std::time::Duration::from_secs(2));
    let paid = payer.present("/weather", &credential).await;
    assert_eq!(paid.assert_channel_paid(), (2 * PRICE, 2 * PRICE));
    world.end().await;
}

#[tokio::test]
async fn c27_a_payer_closes_its_channel_also_where_it_could_pass_without_paying() {
    let digest = hex::encode(sha2::Sha256::digest(KEY));
    let keys = format!("allow: [{{ api_key: {{ keys: [{{ sha256: {digest} }}] }} }}]");
    for more in ["mode: observe", &keys] {
        let world = World::start().await;
        let payer = world.payer().await;
        payer.pay("/weather").await.assert_channel_paid();
        let challenge = payer.challenge("/weather").await;
        let routes = LIMITED.replace("MORE", more);
        world.reload(&Plan { routes: &routes, ..Plan::default() });
        let close = payer.commit_for(Action::Close, &challenge, PRICE + 1);
        let mut request = payer.request(http::Method::GET, "/weather");
        request.headers_mut().insert(http::header::AUTHORIZATION, close.encode());
        request.headers_mut().insert("x-api-key", HeaderValue::from_static(KEY));
        let closed = payer.send(request).await;
        assert_eq!(closed.status, StatusCode::OK, "{more}: {closed:?}");
        assert_eq!(closed.json()["closed"], true, "{more}");
        assert_eq!(world.hits(), 1, "{more}: a close is no request");
        // A request passes all the same.
        let mut request = payer.request(http::Method::GET, "/weather");
        request.headers_mut().insert("x-api-key", HeaderValue::from_static(KEY));
        assert_eq!(payer.send(request).await.status, StatusCode::OK, "{more}");
        world.end().await;
    }
}

const KEY: &str = "a-key-of-a-customer";
const LIMITED: &str = "
  - { name: weather, match: GET /weather, price: \"$0.001\", accept: [mpp.channel], timeout: 5s, MORE }
";
