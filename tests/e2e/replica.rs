//! Several gateways on one Redis: a payment that one of them took is used at all of them.

use http::StatusCode;

use crate::{
    forge::Spent,
    server::{Server, Settings},
    world::{PRICE, Plan, World},
};

/// The entry of `store` for `server`, with more patience than a busy machine asks for.
fn on(server: &Server) -> String {
    format!("redis: {{ url: \"{}\", durability: redis-single, timeout: 10s }}", server.url())
}

async fn world(server: &Server) -> World {
    World::build(Plan { store: &on(server), ..Plan::default() }).await
}

/// Case A02, A26.
#[tokio::test]
async fn a02_a_payment_that_one_gateway_took_is_used_at_the_other() {
    let server = Server::redis(Settings::default()).await;
    let world = world(&server).await;
    let (other, there) = world.another().await;
    let (here, before) = (world.agent(), world.payee_usdc());
    // An offer of one gateway may be paid at the other.
    let credential = here.sign("/weather", &Default::default()).await;
    there.present("/weather", &credential).await.assert_paid();
    let spent = Spent::of(&world);
    here.present("/weather", &credential).await.assert_refused("duplicate_settlement");
    there.present("/weather", &credential).await.assert_refused("duplicate_settlement");
    assert_eq!(Spent::of(&world), spent);
    other.stop().await;
    let world = world.restart().await;
    world.agent().present("/weather", &credential).await.assert_refused("duplicate_settlement");
    world.agent().pay("/weather").await.assert_paid();
    assert_eq!(world.payee_usdc() - before, 2 * PRICE);
    world.end().await;
}

/// Case A02, on two gateways.
#[tokio::test]
async fn a02_fifty_copies_at_two_gateways_buy_one_answer() {
    let server = Server::valkey(Settings::default()).await;
    let world = world(&server).await;
    let (other, there) = world.another().await;
    let (here, before) = (world.agent(), world.payee_usdc());
    let credential = here.sign("/weather", &Default::default()).await;
    let copies: Vec<_> = (0..50)
        .map(|n| {
            let agent = if n % 2 == 0 { here.clone() } else { there.clone() };
            let credential = credential.clone();
            tokio::spawn(async move { agent.present("/weather", &credential).await.status })
        })
        .collect();
    let mut served = 0;
    for copy in copies {
        match copy.await.unwrap() {
            StatusCode::OK => served += 1,
            StatusCode::PAYMENT_REQUIRED | StatusCode::CONFLICT => {}
            status => panic!("{status}"),
        }
    }
    assert_eq!((served, world.upstream.hits().len()), (1, 1));
    assert_eq!(world.payee_usdc() - before, PRICE);
    other.stop().await;
    world.end().await;
}

/// Case K03, K09: nothing is sold while it is away, and what was sold is known when it is back.
#[tokio::test]
async fn k03_a_gateway_outlives_its_redis() {
    let mut server = Server::redis(Settings::default()).await;
    let world = world(&server).await;
    let agent = world.agent();
    let used = agent.sign("/weather", &Default::default()).await;
    agent.present("/weather", &used).await.assert_paid();
    let fresh = agent.sign("/weather", &Default::default()).await;
    server.kill9().await;
    let spent = Spent::of(&world);
    for credential in [&used, &fresh] {
        agent.present("/weather", credential).await.assert_fault("payments-unavailable");
    }
    assert_eq!(Spent::of(&world), spent);
    assert_eq!(agent.ask(http::Method::GET, "/health").await.status, StatusCode::OK);
    server.restart().await;
    agent.present("/weather", &used).await.assert_refused("duplicate_settlement");
    agent.present("/weather", &fresh).await.assert_paid();
    world.end().await;
}
