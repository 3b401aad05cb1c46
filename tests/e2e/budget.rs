//! Case B16: payments that look good and fail on the ledger cost the sponsor fees, so what they may cost is bounded.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use http::{Method, StatusCode};

use crate::{
    forge::Spent,
    world::{Agent, Answer, PRICE, Plan, World, still},
};

#[tokio::test]
async fn b16_a_payer_that_spends_its_money_many_times_over_gets_one_answer() {
    for (method, path) in [(Method::POST, "/order"), (Method::GET, "/weather")] {
        let world = World::start().await;
        let (before, sponsor) = (world.payee_usdc(), world.sponsor_xlm());
        // Money for one; each payment alone would settle.
        let agent = world.payers(1).await.remove(0);
        let sign = (0..5).map(|_| agent.sign_for(method.clone(), path));
        let credentials = join_all(sign).await;
        let present = credentials
            .iter()
            .map(|credential| agent.present_with(method.clone(), path, credential));
        let answers = join_all(present).await;
        let (paid, refused): (Vec<_>, Vec<_>) =
            answers.iter().partition(|answer| answer.status == StatusCode::OK);
        assert_eq!(paid.len(), 1, "{answers:?}");
        paid[0].assert_paid();
        for answer in refused {
            assert_eq!(answer.status, StatusCode::PAYMENT_REQUIRED, "{answer:?}");
            assert!(!answer.settlement().unwrap().success);
            assert!(!String::from_utf8_lossy(&answer.body).contains("temperature"), "{answer:?}");
        }
        if method == Method::POST {
            assert_eq!(world.upstream.hits().len(), 1, "settled before it is forwarded");
        }
        assert_eq!(world.payee_usdc() - before, PRICE);
        assert!(sponsor - world.sponsor_xlm() <= 5 * MOST_A_TRANSACTION);
        world.end().await;
    }
}

#[tokio::test]
async fn b16_payments_that_fail_on_the_ledger_cost_no_more_than_the_budget() {
    let stellar = "  sponsor_budget: { stroops: 250000, per: 1h, per_payer: 100000 }";
    let world = World::build(Plan { stellar, clock: still(), ..Plan::default() }).await;
    let payers = world.payers(4).await;
    let fails = Arc::new(AtomicBool::new(true));
    let failing = fails.clone();
    world.sandbox.faults().fail_transactions(u32::MAX, move |_| failing.load(Ordering::Relaxed));
    let sponsor = world.sponsor_xlm();
    let spent = || sponsor - world.sponsor_xlm();

    assert!(until_out_of_budget(&payers[0]).await >= 2);
    assert!((1..=100_000).contains(&spent()), "{} stroops", spent());
    // Whoever is over its budget gets nothing started, not even the upstream of a route that settles later.
    let left = Spent::of(&world);
    pay(&payers[0], Method::GET, "/weather").await.assert_fault("payments-unavailable");
    assert_eq!(Spent::of(&world), left);
    // Its neighbour is served.
    fails.store(false, Ordering::Relaxed);
    pay(&payers[1], Method::POST, "/order").await.assert_paid();

    // All together they reach the bound of all.
    fails.store(true, Ordering::Relaxed);
    for payer in &payers[2..] {
        until_out_of_budget(payer).await;
    }
    assert!((150_000..=250_000).contains(&spent()), "{} stroops", spent());
    fails.store(false, Ordering::Relaxed);
    pay(&payers[3], Method::POST, "/order").await.assert_fault("payments-unavailable");

    // An hour later there is a new budget.
    world.pass(Duration::from_secs(3_601)).await;
    world.until_ready().await;
    pay(&payers[0], Method::POST, "/order").await.assert_paid();
    world.end().await;
}

/// Pays for an order that fails to settle until no more is tried; how often it was tried.
async fn until_out_of_budget(agent: &Agent) -> usize {
    for tried in 0..20 {
        let answer = pay(agent, Method::POST, "/order").await;
        if answer.status != StatusCode::PAYMENT_REQUIRED {
            answer.assert_fault("payments-unavailable");
            return tried;
        }
        assert!(!answer.settlement().unwrap().success, "{answer:?}");
    }
    panic!("twenty failures, and no end");
}

async fn pay(agent: &Agent, method: Method, path: &str) -> Answer {
    let credential = agent.sign_for(method.clone(), path).await;
    agent.present_with(method, path, &credential).await
}

/// What one payment costs the sponsor at most, in stroops.
const MOST_A_TRANSACTION: i64 = 50_000;
