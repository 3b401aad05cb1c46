//! Payments that come back late, by another clock, or to a gateway that was configured anew: what was paid is served.

use std::time::Duration;

use http::{Method, StatusCode};
use tokio::time::sleep;
use tollgate::client::{Credential, Overrides};
use tollgate_sandbox::{Clock as Ledgers, Fault, Method as Rpc, Times};

use super::{by_hand, order, payer, present, pull, send, soon, unsponsored};
use crate::{
    upstream::Script,
    world::{Agent, PRICE, Plan, World, still},
};

/// A payment of POST /order that lands `seconds` later, pushed.
async fn landed(world: &World, agent: &Agent, seconds: u64) -> Credential {
    let (offer, envelope) = order(agent).await;
    send(world, &envelope);
    world.pass(Duration::from_secs(seconds)).await;
    let (_, own) = payer(world);
    offer.push(agent.client.hash(&envelope).unwrap(), &own)
}

#[tokio::test]
async fn a_push_counts_for_a_day_past_its_challenge_and_buys_one_delivery() {
    let plan = Plan { clock: still(), ledgers: Ledgers::Manual, ..unsponsored() };
    let world = World::build(plan).await;
    let (agent, own) = payer(&world);
    let before = world.payee_usdc();
    let other = agent.charge_offer_of(Method::POST, "/order").await;
    let early = landed(&world, &agent, 5).await;
    let late = landed(&world, &agent, 5).await;
    let too_late = landed(&world, &agent, 5).await;
    assert_eq!(world.payee_usdc() - before, 3 * PRICE);

    // A challenge lives for five minutes; the first payer comes a quarter of an hour after that, the next in time.
    world.pass(Duration::from_secs(300 + 900)).await;
    world.until_ready().await;
    present(&agent, &early).await.assert_charge_paid();
    present(&agent, &early).await.assert_refused("duplicate_settlement");
    // A new process believes its clock, and forgets at the next occasion what it may forget.
    let world = world.restart_after(Duration::from_secs(23 * 3_600)).await;
    let agent = payer(&world).0;
    present(&agent, &late).await.assert_charge_paid();
    // The first transfer landed in time for another challenge, too, and is remembered for as long as that counts.
    let again = other.push(early.pushed().unwrap(), &own);
    for used in [&early, &late, &again] {
        present(&agent, used).await.assert_refused("duplicate_settlement");
    }
    world.pass(Duration::from_secs(3_600)).await;
    world.until_ready().await;
    present(&agent, &too_late).await.assert_refused("payment_expired");
    assert_eq!(world.upstream.hits().len(), 2);
    world.end().await;
}

#[tokio::test]
async fn a_push_is_served_by_a_gateway_whose_clock_is_ahead() {
    let clock = still();
    clock.advance(Duration::from_secs(45));
    let world = World::build(Plan { clock, ledgers: Ledgers::Manual, ..unsponsored() }).await;
    let (agent, own) = payer(&world);
    let (offer, envelope) = order(&agent).await;
    send(&world, &envelope);
    world.sandbox.close_ledger().await;
    let pushed = offer.push(agent.client.hash(&envelope).unwrap(), &own);
    present(&agent, &pushed).await.assert_charge_paid();
    world.end().await;
}

#[tokio::test]
async fn a_gateway_whose_clock_is_far_ahead_asks_nobody_for_money_and_loses_none() {
    let plan = Plan { clock: still(), ledgers: Ledgers::Manual, ..unsponsored() };
    let world = World::build(plan).await;
    let (agent, own) = payer(&world);
    let before = world.payee_usdc();
    let pushed = landed(&world, &agent, 5).await;
    let (offer, unsent) = order(&agent).await;
    let pulled = pull(&offer, &unsent, &own);

    world.clock.advance(Duration::from_secs(120));
    let trouble = async {
        while world.gateway.ready(Duration::ZERO).await.is_ok() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    soon("it sees that its clock is ahead", trouble).await;
    for _ in 0..2 {
        agent.ask(Method::POST, "/order").await.assert_fault("payments-unavailable");
        present(&agent, &pulled).await.assert_fault("payments-unavailable");
    }
    assert!(world.upstream.hits().is_empty());
    assert_eq!(agent.ask(Method::GET, "/health").await.status, StatusCode::OK);
    assert_eq!(world.payee_usdc() - before, PRICE);

    world.pass(Duration::ZERO).await;
    world.until_ready().await;
    present(&agent, &pushed).await.assert_charge_paid();
    world.while_ledgers_close(present(&agent, &pulled)).await.assert_charge_paid();
    assert_eq!(world.payee_usdc() - before, 2 * PRICE);
    world.end().await;
}

#[tokio::test]
async fn a_settled_payment_is_delivered_by_a_gateway_of_another_secret_or_realm() {
    let named = ", mpp: { secret_key: { env: SPONSOR_SECRET }, charge: { sponsored: false } }";
    let renamed = ", mpp: { realm: other.example, charge: { sponsored: false } }";
    for (payments, counts_unsettled) in [(named, true), (renamed, false)] {
        let world = World::build(unsponsored()).await;
        let (agent, _) = payer(&world);
        let before = world.payee_usdc();
        let fails = Script { status: StatusCode::BAD_GATEWAY, ..Script::default() };
        world.upstream.play(fails);
        let paid = {
            let offer = agent.charge_offer_of(Method::POST, "/order").await;
            agent.client.sign_charge(&offer, &Overrides::default()).await.unwrap()
        };
        assert_eq!(present(&agent, &paid).await.status, StatusCode::BAD_GATEWAY);
        assert_eq!(world.payee_usdc() - before, PRICE);
        world.upstream.play(Script::default());
        let open = {
            let offer = agent.charge_offer_of(Method::POST, "/order").await;
            agent.client.sign_charge(&offer, &Overrides::default()).await.unwrap()
        };

        world.reload(&Plan { payments, ..unsponsored() });
        present(&agent, &paid).await.assert_charge_paid();
        present(&agent, &paid).await.assert_refused("duplicate_settlement");
        assert_eq!(world.payee_usdc() - before, PRICE, "{payments}");
        let answer = present(&agent, &open).await;
        if counts_unsettled {
            answer.assert_charge_paid();
        } else {
            answer.assert_refused("invalid_challenge");
            let offer = agent.charge_offer_of(Method::POST, "/order").await;
            let fresh = agent.client.sign_charge(&offer, &Overrides::default()).await.unwrap();
            present(&agent, &fresh).await.assert_charge_paid();
        }
        assert_eq!(world.payee_usdc() - before, 2 * PRICE, "{payments}");
        assert_eq!(world.upstream.hits().len(), 3, "{payments}");
        world.end().await;
    }
}

#[tokio::test]
async fn a_push_during_an_outage_is_pending_and_then_served() {
    let world = by_hand().await;
    let (agent, own) = payer(&world);
    let before = world.payee_usdc();
    let (offer, envelope) = order(&agent).await;
    send(&world, &envelope);
    world.sandbox.close_ledger().await;
    let hash = agent.client.hash(&envelope).unwrap();
    let pushed = offer.push(hash, &own);
    for fault in [
        Fault::Drop,
        Fault::NotFound,
        Fault::Error { code: -32603, message: "the node is unwell".to_owned() },
        Fault::Http { status: 503, body: String::new() },
    ] {
        world.sandbox.faults().arm(Rpc::GetTransaction, Times::Always, fault);
        let pending = present(&agent, &pushed).await;
        assert_eq!(pending.assert_pending(), hash.to_string());
        assert!(world.upstream.hits().is_empty());
        world.sandbox.faults().clear();
    }
    world.until_ready().await;
    assert_eq!(present(&agent, &pushed).await.assert_charge_paid(), hash.to_string());
    present(&agent, &pushed).await.assert_refused("duplicate_settlement");
    assert_eq!(world.payee_usdc() - before, PRICE);
    world.end().await;
}
