//! Many payers at once, on one sponsor key.

use std::collections::{HashMap, HashSet};

use futures_util::future::join_all;
use http::StatusCode;
use tollgate::client::Overrides;

use crate::world::{PRICE, Plan, World};

/// `count` payers sign, then present their payments all at the same time: each is served once, and nobody pays twice.
///
/// Returns how many ledgers closed between the first request and the last answer.
async fn crowd(world: &World, count: usize) -> u32 {
    let agents = world.payers(count).await;
    let path = |n: usize| format!("/weather?payer={n}");
    let sign = agents.iter().enumerate().map(|(n, agent)| async move {
        let path = path(n);
        let credential = agent.sign(&path, &Overrides::default()).await;
        (agent, path, credential)
    });
    let signed = join_all(sign).await;

    let (before, first) = (world.payee_usdc(), world.ledger());
    let present = signed
        .iter()
        .map(|(agent, path, credential)| async move { agent.present(path, credential).await });
    let answers = join_all(present).await;
    let ledgers = world.ledger() - first;

    let mut transactions = HashSet::new();
    for answer in &answers {
        answer.assert_paid();
        transactions.insert(answer.settlement().unwrap().transaction);
    }
    assert_eq!(transactions.len(), count);
    assert_eq!(world.payee_usdc() - before, PRICE * i128::try_from(count).unwrap());
    let hits: Vec<String> = world.upstream.hits().into_iter().map(|hit| hit.target).collect();
    assert_eq!(hits.len(), count);
    assert_eq!(hits.into_iter().collect::<HashSet<_>>().len(), count);
    ledgers
}

#[tokio::test]
async fn sixty_four_payers_at_once_are_all_served_within_six_ledgers() {
    let world = World::start().await;
    let ledgers = crowd(&world, 64).await;
    println!("64 payers on 32 lanes: {ledgers} ledgers");
    assert!(ledgers <= 6, "{ledgers} ledgers");
    world.end().await;
}

#[tokio::test]
async fn two_hundred_and_fifty_six_payers_on_sixty_four_lanes_are_all_served() {
    // All of them come from one address, which has half of what the upstream may have under way.
    let upstreams = "upstreams: { api: { servers: [\"http://SERVER\"], max_in_flight: 512 } }";
    let plan = Plan { stellar: "  lanes: 64", upstreams: Some(upstreams), ..Plan::default() };
    let world = World::build(plan).await;
    let ledgers = crowd(&world, 256).await;
    println!("256 payers on 64 lanes: {ledgers} ledgers");
    world.end().await;
}

#[tokio::test]
async fn payers_that_come_unprepared_all_at_once_are_all_served() {
    // Asking, signing and paying mixed; and the usual timeout of an upstream, of which an authorization must outlive.
    let route = r#"  - { match: GET /weather, price: "$0.001", accept: [x402] }"#;
    let world = World::with_routes(route).await;
    let agents = world.payers(64).await;
    let answers = join_all(agents.iter().map(|agent| agent.pay("/weather"))).await;
    for answer in &answers {
        answer.assert_paid();
    }
    assert_eq!(world.upstream.hits().len(), 64);
    world.end().await;
}

#[tokio::test]
async fn a02_twenty_payments_in_five_copies_each_buy_twenty_answers() {
    let world = World::start().await;
    let before = world.payee_usdc();
    let agents = world.payers(20).await;
    let path = |n: usize| format!("/weather?payment={n}");
    let mut copies = Vec::new();
    for (n, agent) in agents.iter().enumerate() {
        let credential = agent.sign(&path(n), &Overrides::default()).await;
        copies.extend((0..5).map(|_| (n, agent.clone(), credential.clone())));
    }
    let presented = copies.into_iter().map(|(n, agent, credential)| async move {
        (n, agent.present(&path(n), &credential).await.status)
    });
    let mut served: HashMap<usize, u32> = HashMap::new();
    for (n, status) in join_all(presented).await {
        match status {
            StatusCode::OK => *served.entry(n).or_default() += 1,
            StatusCode::PAYMENT_REQUIRED | StatusCode::CONFLICT => {}
            other => panic!("{other}"),
        }
    }
    assert_eq!(served, (0..20).map(|n| (n, 1)).collect());
    assert_eq!(world.upstream.hits().len(), 20);
    assert_eq!(world.payee_usdc() - before, 20 * PRICE);
    world.end().await;
}
