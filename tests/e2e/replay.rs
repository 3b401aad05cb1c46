//! Group A: the same payment again.

use http::StatusCode;

use crate::world::{PRICE, World};

#[tokio::test]
async fn a01_a_payment_buys_one_answer() {
    let world = World::start().await;
    let (agent, before) = (world.agent(), world.payee_usdc());
    let credential = agent.sign("/weather", &Default::default()).await;
    agent.present("/weather", &credential).await.assert_paid();
    agent.present("/weather", &credential).await.assert_refused("duplicate_settlement");
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
