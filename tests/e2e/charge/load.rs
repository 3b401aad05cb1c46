//! Many charges at once, on the lanes that both rails share, and a sponsor that is drained on purpose.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use http::{Method, StatusCode};
use tollgate::client::{self, Mode, Overrides};
use tollgate_sandbox::{Clock as Ledgers, Method as Rpc};

use super::shop::{Form, customers, plan};
use crate::{
    forge::Spent,
    world::{Agent, Answer, PRICE, Plan, World, still, until},
};

#[tokio::test]
async fn thirty_two_sponsored_payers_at_once_are_served_within_four_ledgers() {
    let world = World::build(Plan { ledgers: Ledgers::Manual, ..plan() }).await;
    let agents = world.while_ledgers_close(world.payers(32)).await;
    let sign =
        agents.iter().map(|agent| async move { (agent, Form::Sponsored.payment(agent).await) });
    let signed = join_all(sign).await;
    let (payee, first) = (world.payee_usdc(), world.ledger());
    let sent = world.sandbox.calls(Rpc::SendTransaction);
    let presented: Vec<_> = signed
        .iter()
        .map(|(agent, credential)| agent.presenting(Method::GET, "/weather", credential))
        .collect();
    let all_sent = || world.sandbox.calls(Rpc::SendTransaction) >= sent + 32;
    until("each has a lane", all_sent).await;
    world.sandbox.close_ledger().await;
    let mut transactions = HashSet::new();
    for answer in join_all(presented).await {
        transactions.insert(answer.unwrap().assert_charge_paid());
    }
    let ledgers = world.ledger() - first;
    println!("32 sponsored charges on 32 lanes: {ledgers} ledgers");
    assert!(ledgers <= 4, "{ledgers} ledgers");
    assert_eq!(transactions.len(), 32);
    assert_eq!(world.upstream.hits().len(), 32);
    assert_eq!(world.payee_usdc() - payee, 32 * PRICE);
    world.end().await;
}

#[tokio::test]
async fn sixty_four_payers_of_both_rails_share_the_lanes_and_are_all_served() {
    let world = World::build(Plan { ledgers: Ledgers::default(), ..plan() }).await;
    let agents = world.payers(64).await;
    let payee = world.payee_usdc();
    let paid = agents.iter().enumerate().map(|(n, agent)| async move {
        let method = if n % 2 == 0 { client::Method::X402 } else { client::Method::Charge };
        let answer = agent.paying_by(method, Mode::Pull).pay("/both").await;
        if n % 2 == 0 { answer.assert_paid() } else { answer.assert_charge_paid() }
    });
    let transactions: HashSet<String> = join_all(paid).await.into_iter().collect();
    assert_eq!(transactions.len(), 64);
    assert_eq!(world.upstream.hits().len(), 64);
    assert_eq!(world.payee_usdc() - payee, 64 * PRICE);
    world.end().await;
}

#[tokio::test]
async fn b16_charges_that_fail_on_the_ledger_cost_no_more_than_the_budget_of_both_rails() {
    let stellar = "  sponsor_budget: { stroops: 250000, per: 1h, per_payer: 100000 }";
    let world = World::build(Plan { stellar, clock: still(), ..plan() }).await;
    let payers: [_; 4] = customers(&world).await;
    let payers = payers.map(|(agent, _)| agent);
    let fails = Arc::new(AtomicBool::new(true));
    let failing = fails.clone();
    world.sandbox.faults().fail_transactions(u32::MAX, move |_| failing.load(Ordering::Relaxed));
    let sponsor = world.sponsor_xlm();
    let spent = || sponsor - world.sponsor_xlm();

    assert!(until_out_of_budget(&payers[0]).await >= 2);
    assert!((1..=100_000).contains(&spent()), "{} stroops", spent());
    // Over its budget nothing is started for it, not even the upstream; by the other rail as little.
    let left = Spent::of(&world);
    charge(&payers[0], Method::GET, "/weather").await.assert_fault("payments-unavailable");
    let by_x402 = payers[0].sign_for(Method::GET, "/plain").await;
    payers[0].present("/plain", &by_x402).await.assert_fault("payments-unavailable");
    assert_eq!(Spent::of(&world), left);
    // Its neighbour is served, and itself where it pays its own fee.
    fails.store(false, Ordering::Relaxed);
    charge(&payers[1], Method::POST, "/order").await.assert_charge_paid();
    let own = Form::Own.payment(&payers[0]).await;
    payers[0].present("/own", &own).await.assert_charge_paid();

    // All together they reach the bound of all, and no further.
    fails.store(true, Ordering::Relaxed);
    for payer in &payers[2..] {
        until_out_of_budget(payer).await;
    }
    assert!((150_000..=250_000).contains(&spent()), "{} stroops", spent());
    fails.store(false, Ordering::Relaxed);
    charge(&payers[3], Method::POST, "/order").await.assert_fault("payments-unavailable");
    // Honest payers who need no sponsor do not notice.
    for form in [Form::Own, Form::Pushed] {
        let honest = form.payment(&payers[1]).await;
        payers[1].present("/own", &honest).await.assert_charge_paid();
    }
    world.pass(Duration::from_secs(3_601)).await;
    world.until_ready().await;
    charge(&payers[0], Method::POST, "/order").await.assert_charge_paid();
    world.end().await;
}

#[tokio::test]
async fn b16_a_payer_that_spends_its_money_on_many_charges_gets_one_answer() {
    let world = World::build(plan()).await;
    let (payee, sponsor) = (world.payee_usdc(), world.sponsor_xlm());
    // Money for one; each payment alone would settle.
    let agent = world.payers(1).await.remove(0);
    let sign = (0..5).map(|_| async {
        let offer = agent.charge_offer_of(Method::POST, "/order").await;
        Form::Sponsored.payment_of(&agent, &offer).await
    });
    let credentials = join_all(sign).await;
    let present = credentials.iter().map(|paid| agent.present_with(Method::POST, "/order", paid));
    let answers = join_all(present).await;
    let (paid, others): (Vec<_>, Vec<_>) =
        answers.iter().partition(|answer| answer.status == StatusCode::OK);
    assert_eq!(paid.len(), 1, "{answers:?}");
    for other in others {
        assert_eq!(other.status, StatusCode::PAYMENT_REQUIRED, "{other:?}");
        other.assert_refused(&other.reason());
    }
    assert_eq!(world.upstream.hits().len(), 1, "settled before it is forwarded");
    assert_eq!(world.payee_usdc() - payee, PRICE);
    assert!(sponsor - world.sponsor_xlm() <= 5 * 50_000);
    world.end().await;
}

/// Pays for an order that fails to settle until no more is tried; how often it was tried.
async fn until_out_of_budget(agent: &Agent) -> usize {
    for tried in 0..20 {
        let answer = charge(agent, Method::POST, "/order").await;
        if answer.status != StatusCode::PAYMENT_REQUIRED {
            answer.assert_fault("payments-unavailable");
            return tried;
        }
        answer.assert_refused("transaction_failed");
    }
    panic!("twenty failures, and no end");
}

async fn charge(agent: &Agent, method: Method, path: &str) -> Answer {
    let offer = agent.charge_offer_of(method.clone(), path).await;
    let credential = agent.client.sign_charge(&offer, &Overrides::default()).await.unwrap();
    agent.present_with(method, path, &credential).await
}
