//! Group D: a ledger that does not do as it should. Unknown is not failed, and nobody pays twice.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::{Method, StatusCode};
use tollgate::client::Credential;
use tollgate_sandbox::{Fault, Method as Rpc, Times};

use crate::{
    forge::Spent,
    upstream::Script,
    world::{Agent, Answer, PRICE, Plan, World, still, until},
};

/// A world whose gateway's time stands still.
async fn slow_world() -> World {
    World::build(Plan { clock: still(), ..Plan::default() }).await
}

/// Presents `credential` and waits until its transaction has been sent.
async fn sent(
    world: &World,
    agent: &Agent,
    method: Method,
    path: &'static str,
    credential: &Credential,
) -> tokio::task::JoinHandle<Answer> {
    let before = world.sandbox.calls(Rpc::SendTransaction);
    let presented = agent.presenting(method, path, credential);
    until("the transaction is sent", || world.sandbox.calls(Rpc::SendTransaction) > before).await;
    presented
}

/// Waits until the gateway has looked for its transaction.
async fn until_followed(world: &World) {
    // The gateway asks for one now and then to learn the time, which is not this.
    let calls = world.sandbox.calls(Rpc::GetTransaction);
    until("it is looked for", || world.sandbox.calls(Rpc::GetTransaction) > calls + 1).await;
}

#[tokio::test]
async fn d03_a_pending_settlement_is_found_by_the_next_process() {
    let world = slow_world().await;
    let before = world.payee_usdc();
    let credential = world.agent().sign_for(Method::POST, "/order").await;
    world.sandbox.faults().arm(Rpc::GetTransaction, Times::Always, Fault::Drop);
    let presented = sent(&world, &world.agent(), Method::POST, "/order", &credential).await;
    until_followed(&world).await;
    world.clock.advance(Duration::from_secs(21));
    let hash = presented.await.unwrap().assert_pending();
    world.sandbox.faults().clear();
    until("the payment is on the ledger", || world.payee_usdc() > before).await;

    let world = world.restart().await;
    let found = world.agent().present_with(Method::POST, "/order", &credential).await;
    found.assert_paid();
    assert_eq!(found.settlement().unwrap().transaction, hash);
    assert_eq!(world.payee_usdc() - before, PRICE);
    world.end().await;
}

#[tokio::test]
async fn d03_a_transaction_that_vanished_is_refused_only_once_it_can_never_land() {
    let world = slow_world().await;
    let (agent, before) = (world.agent(), world.payee_usdc());
    let credential = agent.sign_for(Method::POST, "/order").await;
    let is_lossy = Arc::new(AtomicBool::new(true));
    let lossy = is_lossy.clone();
    world.sandbox.faults().lose_transactions(u32::MAX, move |_| lossy.load(Ordering::Relaxed));
    let presented = sent(&world, &agent, Method::POST, "/order", &credential).await;
    // Beyond its time bounds by our clock; the ledger's has not moved, so it may still land.
    world.clock.advance(Duration::from_secs(60 + 16));
    let hash = presented.await.unwrap().assert_pending();
    assert!(world.upstream.hits().is_empty());

    // Now the ledger's time is beyond them too.
    world.pass(Duration::from_secs(1)).await;
    world.until_ready().await;
    is_lossy.store(false, Ordering::Relaxed);
    let refused = agent.present_with(Method::POST, "/order", &credential).await;
    refused.assert_refused("duplicate_settlement");
    assert_eq!(refused.json()["type"], "https://paymentauth.org/problems/settlement-failed");
    assert!(world.upstream.hits().is_empty());
    assert_eq!(world.payee_usdc(), before, "never charged: {hash}");

    let fresh = agent.sign_for(Method::POST, "/order").await;
    agent.present_with(Method::POST, "/order", &fresh).await.assert_paid();
    assert_eq!(world.payee_usdc() - before, PRICE);
    world.end().await;
}

#[tokio::test]
async fn d03_a_transaction_that_a_node_lost_is_sent_again() {
    let world = World::start().await;
    let (agent, before) = (world.agent(), world.payee_usdc());
    world.sandbox.faults().lose_transactions(1, |_| true);
    agent.pay("/weather").await.assert_paid();
    assert_eq!(world.payee_usdc() - before, PRICE);
    world.end().await;
}

#[tokio::test]
async fn d05_a_full_queue_is_a_fault_and_the_payment_stays_good() {
    let world = slow_world().await;
    let (agent, before) = (world.agent(), world.payee_usdc());
    let credential = agent.sign_for(Method::POST, "/order").await;
    world.sandbox.faults().arm(Rpc::SendTransaction, Times::Always, Fault::TryAgainLater);
    let presented = sent(&world, &agent, Method::POST, "/order", &credential).await;
    world.clock.advance(Duration::from_secs(16));
    presented.await.unwrap().assert_fault("payments-unavailable");
    assert!(world.upstream.hits().is_empty());
    assert_eq!(world.payee_usdc(), before);
    world.sandbox.faults().clear();
    agent.present_with(Method::POST, "/order", &credential).await.assert_paid();
    assert_eq!(world.payee_usdc() - before, PRICE);
    world.end().await;
}

#[tokio::test]
async fn d05_a_submission_that_the_network_has_already_is_followed_and_charged_once() {
    let world = World::start().await;
    let (agent, before) = (world.agent(), world.payee_usdc());
    for (n, fault) in [
        // The network has it, and says DUPLICATE to the next attempt.
        Fault::DropAnswer,
        // The network has nothing, and the next attempt is the first.
        Fault::Drop,
        Fault::Error { code: -32603, message: "the node is unwell".to_owned() },
    ]
    .into_iter()
    .enumerate()
    {
        world.sandbox.faults().arm(Rpc::SendTransaction, Times::Next(1), fault);
        agent.pay("/weather").await.assert_paid();
        assert_eq!(world.payee_usdc() - before, PRICE * i128::try_from(n + 1).unwrap());
    }
    world.end().await;
}

#[tokio::test]
async fn d10_an_rpc_that_lags_takes_no_payments_and_free_routes_do_not_notice() {
    let world = slow_world().await;
    let (agent, spent) = (world.agent(), Spent::of(&world));
    let credential = agent.sign_for(Method::GET, "/weather").await;
    world.clock.advance(Duration::from_secs(120));
    while world.gateway.ready(Duration::ZERO).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let trouble = world.gateway.ready(Duration::ZERO).await.unwrap_err();
    assert!(trouble.0.contains("lags"), "{trouble}");
    agent.present("/weather", &credential).await.assert_fault("payments-unavailable");
    agent.ask(Method::GET, "/weather").await.assert_fault("payments-unavailable");
    assert_eq!(Spent::of(&world), spent);
    assert_eq!(agent.ask(Method::GET, "/health").await.status, StatusCode::OK);

    world.pass(Duration::ZERO).await;
    world.until_ready().await;
    agent.present("/weather", &credential).await.assert_paid();
    world.end().await;
}

#[tokio::test]
async fn d10_what_was_settled_is_delivered_though_no_payment_can_be_taken() {
    let world = slow_world().await;
    let (agent, before) = (world.agent(), world.payee_usdc());
    world.upstream.play(Script { status: StatusCode::BAD_GATEWAY, ..Script::default() });
    let settled = agent.sign_for(Method::POST, "/order").await;
    let failed = agent.present_with(Method::POST, "/order", &settled).await;
    assert_eq!(failed.status, StatusCode::BAD_GATEWAY);
    assert_eq!(world.payee_usdc() - before, PRICE);
    let fresh = agent.sign_for(Method::POST, "/order").await;

    world.clock.advance(Duration::from_secs(120));
    while world.gateway.ready(Duration::ZERO).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    world.upstream.play(Script::default());
    let present = async |payment| agent.present_with(Method::POST, "/order", payment).await;
    present(&fresh).await.assert_fault("payments-unavailable");
    present(&settled).await.assert_paid();
    // A 402 would have nothing to ask for.
    present(&settled).await.assert_fault("payments-unavailable");
    assert_eq!(world.upstream.hits().len(), 2);
    assert_eq!(world.payee_usdc() - before, PRICE);
    world.end().await;
}

#[tokio::test]
async fn d10_stale_reads_cost_nobody_money() {
    let world = World::start().await;
    let (agent, before) = (world.agent(), world.payee_usdc());
    for (n, method) in [Rpc::GetTransaction, Rpc::SimulateTransaction, Rpc::GetLatestLedger]
        .into_iter()
        .enumerate()
    {
        let credential = agent.sign_for(Method::GET, "/weather").await;
        world.sandbox.faults().arm(method, Times::Next(2), Fault::Stale { ledgers: 2 });
        agent.present("/weather", &credential).await.assert_paid();
        world.sandbox.faults().clear();
        assert_eq!(world.payee_usdc() - before, PRICE * i128::try_from(n + 1).unwrap());
    }
    world.end().await;
}

#[tokio::test]
async fn d10_an_rpc_of_another_network_takes_no_payments() {
    let plan = Plan { network: "stellar:pubnet", ..Plan::default() };
    let world = World::build_unready(plan).await;
    let agent = world.agent();
    let trouble = world.gateway.ready(Duration::from_secs(3)).await.unwrap_err();
    assert!(trouble.0.contains("does not serve stellar:pubnet"), "{trouble}");
    agent.ask(Method::GET, "/weather").await.assert_fault("payments-unavailable");
    assert_eq!(agent.ask(Method::GET, "/health").await.status, StatusCode::OK);
    assert_eq!(world.sandbox.calls(Rpc::SendTransaction), 0);
    world.end().await;
}
