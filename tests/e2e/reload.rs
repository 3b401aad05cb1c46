//! A configuration that is swapped while running.

use http::{Method, StatusCode};
use tollgate::client::Overrides;

use crate::world::{PRICE, World};

#[tokio::test]
async fn j03_a_price_rise_honours_the_price_that_was_quoted() {
    let world = World::start().await;
    let (agent, before) = (world.agent(), world.payee_usdc());
    let quoted = agent.sign("/weather", &Overrides::default()).await;
    world.reload_routes(
        r#"  - { name: weather, match: GET /weather, price: "$0.002", accept: [x402], timeout: 5s }"#,
    );
    agent.present("/weather", &quoted).await.assert_paid();
    assert_eq!(world.payee_usdc() - before, PRICE);
    agent.pay("/weather").await.assert_paid();
    assert_eq!(world.payee_usdc() - before, 3 * PRICE);
    world.end().await;
}

#[tokio::test]
async fn a_route_that_becomes_free_or_goes_away_does_so_at_once() {
    let world = World::start().await;
    let agent = world.agent();
    agent.ask(Method::GET, "/weather").await.assert_refused("Payment required");
    world.reload_routes(
        "  - { match: GET /weather, free: true }\n  - { match: GET /health, deny: 403 }",
    );
    assert_eq!(agent.ask(Method::GET, "/weather").await.status, StatusCode::OK);
    assert_eq!(agent.ask(Method::GET, "/health").await.status, StatusCode::FORBIDDEN);
    assert_eq!(agent.ask(Method::GET, "/dear").await.status, StatusCode::NOT_FOUND);
    world.end().await;
}
