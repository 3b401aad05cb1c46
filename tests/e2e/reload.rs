//! A configuration that is swapped while running.

use http::{Method, StatusCode};
use tollgate::{app::NeedsRestart, client::Overrides};

use crate::world::{PRICE, Plan, World};

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

#[tokio::test]
async fn how_channels_are_taken_needs_a_restart_and_when_they_are_collected_does_not() {
    fn plan(payments: &str) -> Plan<'_> {
        Plan { payments, ..Plan::default() }
    }
    let channel = |section: &str| {
        format!(", mpp: {{ channel: {{ signer: {{ env: RECIPIENT_SECRET }}{section} }} }}")
    };
    let world = World::build(plan(&channel(""))).await;
    for later in [", max_unsettled: \"$9\"", ", close: { idle_for: 1h }"] {
        assert_eq!(world.try_reload(&plan(&channel(later))), Ok(()), "{later}");
    }
    let hashes = format!(", wasm_hashes: [{}]", "ab".repeat(32));
    for vetting in [&*hashes, ", max_state_age: 20s", ", min_refund_waiting_ledgers: 20"] {
        let refused = world.try_reload(&plan(&channel(vetting)));
        assert_eq!(refused, Err(NeedsRestart("payments.mpp.channel")), "{vetting}");
    }
    assert_eq!(world.try_reload(&Plan::default()), Ok(()), "what is not taken any more needs none");
    world.end().await;
    let world = World::start().await;
    let begun = world.try_reload(&plan(&channel("")));
    assert_eq!(begun, Err(NeedsRestart("payments.mpp.channel")));
    world.end().await;
}

/// J05: a challenge pays while its key counts, under whatever key new ones are made.
#[tokio::test]
async fn j05_a_rotated_secret_leaves_open_challenges_good_until_it_is_taken_out() {
    // Texts of the test's environment that are long enough for keys.
    const OLD: &str = "secret_key: { env: STELLAR_RECIPIENT }";
    const BOTH: &str = "secret_key: { env: SPONSOR_SECRET }, \
        previous_secret_keys: [{ env: STELLAR_RECIPIENT }]";
    const NEW: &str = "secret_key: { env: SPONSOR_SECRET }";
    let routes = r#"  - { name: weather, match: GET /weather, price: "$0.001", accept: [mpp.charge], timeout: 5s }"#;
    let payments = [OLD, BOTH, NEW].map(|keys| format!(", mpp: {{ {keys}, charge: {{}} }}"));
    let plans = payments.each_ref().map(|payments| Plan { routes, payments, ..Plan::default() });
    let [old, both, new] = &plans;
    let world = World::build(Plan { routes, payments: old.payments, ..Plan::default() }).await;
    let (agent, before) = (world.agent(), world.payee_usdc());

    let open = agent.sign_charge("/weather", &Overrides::default()).await;
    let late = agent.sign_charge("/weather", &Overrides::default()).await;
    world.reload(both);
    agent.present("/weather", &open).await.assert_charge_paid();
    let fresh = agent.sign_charge("/weather", &Overrides::default()).await;
    world.reload(new);
    agent.present("/weather", &late).await.assert_refused("invalid_challenge");
    agent.present("/weather", &fresh).await.assert_charge_paid();
    assert_eq!(world.payee_usdc() - before, 2 * PRICE);
    world.end().await;
}
