//! Group D: a ledger that does not answer as it should is no reason to pay again, and nothing is served unpaid.

use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use tollgate::client::{Credential, Overrides};
use tollgate_sandbox::{Fault, Method as Rpc, Moment, Times};

use super::shop::{Form, customers, open, plan};
use crate::{
    agent::SECRET,
    forge::Spent,
    world::{Agent, Answer, PRICE, Plan, World, still, until},
};

/// A payment of each form, by a customer of its own.
async fn payments(world: &World) -> Vec<(Form, Agent, Credential)> {
    let customers: [_; 3] = customers(world).await;
    let payments = Form::ALL.into_iter().zip(customers).map(|(form, (agent, _))| async move {
        let credential = form.payment(&agent).await;
        (form, agent, credential)
    });
    join_all(payments).await
}

#[track_caller]
fn assert_503(answer: &Answer, form: Form) {
    // What was pushed has moved money, so it is pending, whatever the ledger says.
    let is_pending = answer.json()["type"].as_str().unwrap().ends_with("settlement-pending");
    assert!(form == Form::Pushed || !is_pending, "{form:?}: {answer:?}");
    answer.assert_fault(if is_pending { "settlement-pending" } else { "payments-unavailable" });
}

#[tokio::test]
async fn d09_an_rpc_that_is_down_or_talks_nonsense_is_503_and_the_payment_stays_good() {
    let ledgers = tollgate_sandbox::Clock::default();
    let world = World::build(Plan { ledgers, ..plan() }).await;
    let payments = payments(&world).await;
    let told = |status, body: &str| Fault::Http { status, body: body.to_owned() };
    let garbage = format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{{\"{SECRET}\":1}}}}");
    let twice = "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{},\"result\":{}}";
    for fault in [
        Fault::Drop,
        Fault::Error { code: -32603, message: SECRET.to_owned() },
        told(500, SECRET),
        told(302, ""),
        told(200, "<html>"),
        told(200, &garbage),
        told(200, twice),
    ] {
        let spent = Spent::of(&world);
        world.sandbox.faults().arm(None, Times::Always, fault.clone());
        for (form, agent, credential) in &payments {
            let answer = agent.present(form.path(), credential).await;
            assert_ne!(answer.status, 402, "{form:?}, {fault:?}: {answer:?}");
            assert_503(&answer, *form);
            assert_eq!(Spent::of(&world), spent, "{form:?}, {fault:?}");
        }
        let free = payments[0].1.ask(Method::GET, "/health").await;
        assert_eq!(free.status, 200);
        assert_eq!(world.sandbox.faults().clear(), 1);
    }
    until_all_ready(&world).await;
    for (form, agent, credential) in &payments {
        agent.present(form.path(), credential).await.assert_charge_paid();
    }
    world.end().await;
}

#[tokio::test]
async fn d09_each_question_that_the_rpc_does_not_answer_is_503() {
    let ledgers = tollgate_sandbox::Clock::default();
    let world = World::build(Plan { ledgers, ..plan() }).await;
    let payments = payments(&world).await;
    let spent = Spent::of(&world);
    for (method, hurt) in [
        (Rpc::SimulateTransaction, &Form::PULLED[..]),
        (Rpc::GetLedgerEntries, &[Form::Own]),
        (Rpc::GetTransaction, &[Form::Pushed]),
    ] {
        let message = SECRET.to_owned();
        let fault = Fault::Error { code: -32603, message };
        world.sandbox.faults().arm(method, Times::Always, fault);
        for (form, agent, credential) in payments.iter().filter(|(form, ..)| hurt.contains(form)) {
            assert_503(&agent.present(form.path(), credential).await, *form);
            assert_eq!(Spent::of(&world), spent, "{form:?}, {method:?}");
        }
        world.sandbox.faults().clear();
    }
    until_all_ready(&world).await;
    for (form, agent, credential) in &payments {
        agent.present(form.path(), credential).await.assert_charge_paid();
    }
    world.end().await;
}

#[tokio::test]
async fn d09_an_rpc_that_is_slow_is_503_in_time() {
    let ledgers = tollgate_sandbox::Clock::default();
    let world = World::build(Plan { ledgers, ..plan() }).await;
    let payments = payments(&world).await;
    let spent = Spent::of(&world);
    let slow = Fault::Delay(Duration::from_secs(300));
    world.sandbox.faults().arm(None, Times::Always, slow);
    let presented =
        payments.iter().map(|(form, agent, credential)| agent.present(form.path(), credential));
    for ((form, ..), answer) in payments.iter().zip(join_all(presented).await) {
        assert_503(&answer, *form);
    }
    assert_eq!(Spent::of(&world), spent);
    world.sandbox.faults().clear();
    until_all_ready(&world).await;
    for (form, agent, credential) in &payments {
        agent.present(form.path(), credential).await.assert_charge_paid();
    }
    world.end().await;
}

#[tokio::test]
async fn d05_a_payers_own_transaction_meets_a_full_queue_and_a_lost_answer_and_is_charged_once() {
    let world = World::build(Plan { clock: still(), ..plan() }).await;
    let [(agent, _)] = customers(&world).await;
    let payee = world.payee_usdc();
    let credential = Form::Own.payment(&agent).await;
    let faults = world.sandbox.faults();
    faults.arm(Rpc::SendTransaction, Times::Always, Fault::TryAgainLater);
    let sent = world.sandbox.calls(Rpc::SendTransaction);
    let presented = agent.presenting(Method::GET, "/own", &credential);
    until("it is sent", || world.sandbox.calls(Rpc::SendTransaction) > sent).await;
    world.clock.advance(Duration::from_secs(16));
    presented.await.unwrap().assert_fault("payments-unavailable");
    assert!(world.upstream.hits().is_empty());
    assert_eq!(world.payee_usdc(), payee);
    faults.clear();
    agent.present("/own", &credential).await.assert_charge_paid();
    // The network has it, and says DUPLICATE to the next attempt; or has nothing, and the next attempt is the first.
    for fault in [Fault::DropAnswer, Fault::Drop] {
        let credential = Form::Own.payment(&agent).await;
        faults.arm(Rpc::SendTransaction, Times::Next(1), fault);
        agent.present("/own", &credential).await.assert_charge_paid();
    }
    assert_eq!(world.payee_usdc() - payee, 3 * PRICE);
    assert_eq!(world.upstream.hits().len(), 3);
    world.end().await;
}

#[tokio::test]
async fn d12_d13_nothing_is_forwarded_or_let_out_before_a_charge_is_settled() {
    let world = open().await;
    let [(agent, _)] = customers(&world).await;
    for (form, method, path, forwarded) in [
        (Form::Sponsored, Method::POST, "/order", 0),
        (Form::Own, Method::GET, "/own", 0),
        (Form::Sponsored, Method::GET, "/weather", 1),
    ] {
        let hits = world.upstream.hits().len();
        let offer = agent.charge_offer_of(method.clone(), path).await;
        let credential = form.payment_of(&agent, &offer).await;
        let sending = world.sandbox.faults().hold(Rpc::SendTransaction, Moment::BeforeEffect);
        let presented = agent.presenting(method.clone(), path, &credential);
        sending.arrived().await;
        assert_eq!(world.upstream.hits().len(), hits + forwarded, "{path}");
        assert!(!presented.is_finished());
        sending.release();
        presented.await.unwrap().assert_charge_paid();
        // One that fails on the ledger: nothing of the upstream's answer leaves.
        let offer = agent.charge_offer_of(method.clone(), path).await;
        let credential = form.payment_of(&agent, &offer).await;
        world.sandbox.faults().fail_transactions(1, |_| true);
        let hits = world.upstream.hits().len();
        let payee = world.payee_usdc();
        let failed = agent.present_with(method.clone(), path, &credential).await;
        failed.assert_refused("transaction_failed");
        assert_eq!(failed.json()["type"], "https://paymentauth.org/problems/settlement-failed");
        assert!(!String::from_utf8_lossy(&failed.body).contains("temperature"));
        assert_eq!(world.upstream.hits().len(), hits + forwarded, "{path}");
        assert_eq!(world.payee_usdc(), payee);
        let again = agent.present_with(method, path, &credential).await;
        again.assert_refused("duplicate_settlement");
        assert_eq!(world.upstream.hits().len(), hits + forwarded, "{path}");
    }
    let honest = agent.sign_charge("/weather", &Overrides::default()).await;
    agent.present("/weather", &honest).await.assert_charge_paid();
    world.end().await;
}

/// Waits until each way of paying is open again.
async fn until_all_ready(world: &World) {
    world.until_ready().await;
    let agent = world.agent();
    for path in ["/weather", "/own"] {
        while agent.ask(Method::GET, path).await.status != 402 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
