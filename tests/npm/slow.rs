//! A remote facilitator that settles, and says so later than the gateway waits.

use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use tollgate::client::Overrides;

use crate::{
    asked::Asked,
    middleman::{Reply, Way},
    world::{PATIENCE, PRICE, Plan, Through, assert_on_the_ledger},
};

/// The shortest that can be configured: the gateway waits 10 seconds longer than the payment allows.
const MAX_TIMEOUT: u32 = 5;
const WAIT: Duration = Duration::from_secs(15);
/// Such a payment lives for three ledgers, and has to be verified within the first.
const TICK: Duration = Duration::from_secs(3);

#[tokio::test]
async fn npm_a_settlement_slower_than_the_gateway_waits_after_the_head_is_found_later() {
    too_slow((Method::GET, "/weather"), 1, 2).await;
}

#[tokio::test]
async fn npm_a_settlement_slower_than_the_gateway_waits_before_forwarding_is_found_later() {
    too_slow((Method::POST, "/echo"), 0, 1).await;
}

async fn too_slow(what: Asked, lost: usize, found: usize) {
    let plan = |plan| Plan { max_timeout_seconds: MAX_TIMEOUT, timeout_seconds: 1, ..plan };
    let through = Through::with(TICK, plan).await;
    through.world.gateway.ready(PATIENCE).await.unwrap();
    let agent = through.world.agent();
    let credential = agent.sign(what.clone(), &Overrides::default()).await;
    through.middleman.set("/settle", Way::Behind(Reply::Silence));
    let begun = Instant::now();
    let (answer, copy) = tokio::join!(agent.present(what.clone(), &credential), async {
        while through.middleman.asked("/settle") == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        agent.present(what.clone(), &credential).await
    });
    assert_eq!(copy.status, StatusCode::CONFLICT, "{copy:?}");
    answer.assert_fault("settlement-pending");
    assert!(begun.elapsed() >= WAIT, "{:?}", begun.elapsed());
    through.assert_nothing_of_the_upstream(&answer);
    through.assert_free_works().await;
    assert_eq!(through.world.payee_usdc(), PRICE, "it was settled meanwhile");
    assert_eq!(through.hits().len(), lost);

    let paid = agent.present(what.clone(), &credential).await;
    assert_on_the_ledger(&through.world.network.sandbox, &paid.assert_paid());
    assert_eq!(through.world.payee_usdc(), PRICE, "charged once");
    assert_eq!(through.hits().len(), found);
    assert_eq!(through.middleman.asked("/settle"), 1);
    agent.present(what, &credential).await.assert_refused("duplicate_settlement");
    through.end().await;
}
