//! Group A: the same payment again.

use std::time::Duration;

use http::{Method, StatusCode};

use crate::{
    forge::Spent,
    upstream::Script,
    world::{PRICE, Plan, World, still},
};

#[tokio::test]
async fn a01_a_payment_buys_one_answer() {
    let world = World::start().await;
    let (agent, before) = (world.agent(), world.payee_usdc());
    let credential = agent.sign("/weather", &Default::default()).await;
    agent.present("/weather", &credential).await.assert_paid();
    let spent = Spent::of(&world);
    agent.present("/weather", &credential).await.assert_refused("duplicate_settlement");
    assert_eq!(Spent::of(&world), spent);
    assert_eq!(world.upstream.hits().len(), 1);
    assert_eq!(world.payee_usdc() - before, PRICE);
    agent.pay("/weather").await.assert_paid();
    world.end().await;
}

#[tokio::test]
async fn a02_fifty_copies_at_once_buy_one_answer() {
    let world = World::start().await;
    let (agent, before) = (world.agent(), world.payee_usdc());
    let credential = agent.sign("/weather", &Default::default()).await;
    let copies: Vec<_> = (0..50)
        .map(|_| {
            let (agent, credential) = (agent.clone(), credential.clone());
            tokio::spawn(async move { agent.present("/weather", &credential).await.status })
        })
        .collect();
    let mut served = 0;
    for copy in copies {
        match copy.await.unwrap() {
            StatusCode::OK => served += 1,
            StatusCode::PAYMENT_REQUIRED | StatusCode::CONFLICT => {}
            other => panic!("{other}"),
        }
    }
    assert_eq!(served, 1);
    assert_eq!(world.upstream.hits().len(), 1);
    assert_eq!(world.payee_usdc() - before, PRICE);
    world.end().await;
}

#[tokio::test]
async fn a26_a_payment_stays_used_after_a_restart() {
    let world = World::start().await;
    let credential = world.agent().sign("/weather", &Default::default()).await;
    world.agent().present("/weather", &credential).await.assert_paid();
    let world = world.restart().await;
    let agent = world.agent();
    agent.present("/weather", &credential).await.assert_refused("duplicate_settlement");
    agent.pay("/weather").await.assert_paid();
    assert_eq!(world.upstream.hits().len(), 2);
    world.end().await;
}

#[tokio::test]
async fn a26_a_payment_stays_used_when_its_offer_and_its_record_are_long_gone() {
    let mut world = World::build(Plan { clock: still(), ..Plan::default() }).await;
    let before = world.payee_usdc();
    let used = world.agent().sign_for(Method::GET, "/weather").await;
    world.agent().present("/weather", &used).await.assert_paid();
    for (seconds, reason) in [(301, "duplicate_settlement"), (48 * 3_600, "payment_expired")] {
        world.pass(Duration::from_secs(seconds)).await;
        // The store believes no clock that runs ahead of the machine's own count, which begins with the process.
        world = world.restart().await;
        world.until_ready().await;
        // Another payment comes between, so that the store has an occasion to forget what is due.
        let other = world.agent().sign_for(Method::GET, "/weather").await;
        world.agent().present("/weather", &other).await.assert_paid();
        world.agent().present("/weather", &used).await.assert_refused(reason);
    }
    let world = world.restart().await;
    world.agent().present("/weather", &used).await.assert_refused("payment_expired");
    assert_eq!(world.upstream.hits().len(), 3);
    assert_eq!(world.payee_usdc() - before, 3 * PRICE);
    world.end().await;
}

#[tokio::test]
async fn a13_an_offer_is_honoured_until_it_expires_and_not_a_second_longer() {
    for (late, is_served) in [(0, true), (1, false)] {
        let world = World::build(Plan { clock: still(), ..Plan::default() }).await;
        let before = (world.payee_usdc(), world.sponsor_xlm());
        let credential = world.agent().sign_for(Method::GET, "/weather").await;
        world.pass(Duration::from_secs(300 + late)).await;
        world.until_ready().await;
        let answer = world.agent().present("/weather", &credential).await;
        if is_served {
            answer.assert_paid();
        } else {
            answer.assert_refused("payment_expired");
            assert!(world.upstream.hits().is_empty());
            assert_eq!((world.payee_usdc(), world.sponsor_xlm()), before);
        }
        world.end().await;
    }
}

#[tokio::test]
async fn a13_what_was_settled_and_not_delivered_is_served_past_its_offer_but_only_so_often() {
    let world = World::build(Plan { clock: still(), ..Plan::default() }).await;
    let (agent, before) = (world.agent(), world.payee_usdc());
    let credential = agent.sign_for(Method::POST, "/order").await;
    world.upstream.play(Script { status: StatusCode::BAD_GATEWAY, ..Script::default() });
    for _ in 0..3 {
        let failed = agent.present_with(Method::POST, "/order", &credential).await;
        assert_eq!(failed.status, StatusCode::BAD_GATEWAY);
        world.pass(Duration::from_secs(301)).await;
        world.until_ready().await;
    }
    // Three attempts are what a route gives; the payer has a receipt to complain with.
    world.upstream.play(Script::default());
    let fourth = agent.present_with(Method::POST, "/order", &credential).await;
    fourth.assert_refused("duplicate_settlement");
    assert_eq!(world.upstream.hits().len(), 3);
    assert_eq!(world.payee_usdc() - before, PRICE);
    world.end().await;
}
