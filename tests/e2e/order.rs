//! When money moves: both orders, and what happens when the upstream or the ledger fails.

use bytes::Bytes;
use http::{Method, StatusCode};
use tollgate::client::Overrides;
use tollgate_sandbox::{Fault, Method as Rpc, Times};

use crate::{upstream::Script, world::World};

#[tokio::test]
async fn d12_a_settle_before_route_is_not_forwarded_until_the_payment_is_settled() {
    let world = World::start().await;
    let (agent, before) = (world.agent(), world.payee_usdc());
    // The ledger takes the transaction and never applies it: nothing may be forwarded.
    world.sandbox.faults().fail_transactions(1, |_| true);
    let failed = agent.pay_with(Method::POST, "/order", Bytes::from_static(b"order")).await;
    assert_eq!(failed.status, StatusCode::PAYMENT_REQUIRED, "{failed:?}");
    let settlement = failed.settlement().expect("a failed settlement is told");
    assert!(!settlement.success);
    assert!(world.upstream.hits().is_empty());
    assert_eq!(world.payee_usdc(), before);

    let paid = agent.pay_with(Method::POST, "/order", Bytes::from_static(b"order")).await;
    paid.assert_paid();
    assert_eq!(&world.upstream.hits()[0].body[..], b"order");
    world.end().await;
}

#[tokio::test]
async fn d13_when_settling_fails_nothing_of_the_upstreams_answer_leaves() {
    let world = World::start().await;
    let agent = world.agent();
    world.upstream.play(Script {
        headers: vec![("set-cookie", "secret=1"), ("etag", "\"x\"")],
        body: b"the secret answer",
        ..Script::default()
    });
    world.sandbox.faults().fail_transactions(1, |_| true);
    let failed = agent.pay("/weather").await;
    assert_eq!(failed.status, StatusCode::PAYMENT_REQUIRED, "{failed:?}");
    assert!(!failed.headers.contains_key("set-cookie"));
    assert!(!failed.headers.contains_key("etag"));
    assert!(!String::from_utf8_lossy(&failed.body).contains("secret answer"));
    assert_eq!(world.upstream.hits().len(), 1);

    let paid = agent.pay("/weather").await;
    paid.assert_paid();
    assert_eq!(&paid.body[..], b"the secret answer");
    world.end().await;
}

#[tokio::test]
async fn the_rpc_down_is_503_for_priced_routes_and_nothing_for_free_ones() {
    let world = World::start().await;
    let agent = world.agent();
    let credential = agent.sign("/weather", &Overrides::default()).await;
    world.sandbox.faults().arm(Rpc::SimulateTransaction, Times::Always, Fault::Drop);
    let answer = agent.present("/weather", &credential).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{answer:?}");
    assert!(answer.headers.contains_key("retry-after"));
    assert_eq!(agent.ask(Method::GET, "/health").await.status, StatusCode::OK);
    world.sandbox.faults().clear();
    agent.present("/weather", &credential).await.assert_paid();
    world.end().await;
}
