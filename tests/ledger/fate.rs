//! What becomes of a transaction when the network or the RPC does not do as it should: unknown is never failed.

use std::time::Duration;

use tollgate::{
    ledger::{
        facilitator::{Outcome, Payment, Sent},
        own::Facilitator,
    },
    telemetry::Clock,
};
use tollgate_sandbox::{Fault, Method, Times};

use super::support::{World, settle, settled};

const TICK: Duration = Duration::from_millis(500);

/// Sends what was prepared and forgets about it, as a gateway that dies.
async fn sent_and_forgotten(world: &World, facilitator: &Facilitator, payment: &Payment) -> Sent {
    let prepared = facilitator.prepare(payment).await.unwrap();
    let sent = *prepared.sent();
    world.rpc.send(prepared.envelope()).await.unwrap();
    sent
}

async fn ledgers(world: &World, count: u32) {
    let mut closed = world.sandbox.ledger().closed();
    let goal = *closed.borrow() + count;
    closed.wait_for(|ledger| *ledger >= goal).await.unwrap();
}

#[tokio::test]
async fn a_transaction_that_fails_is_rejected_and_its_lane_goes_on() {
    let world = World::start(TICK).await;
    let facilitator = world.ready(1).await;
    let payment = world.payment(&world.payer()).await;
    world.sandbox.faults().fail_transactions(1, |_| true);
    let prepared = facilitator.prepare(&payment).await.unwrap();
    let hash = prepared.sent().transaction;
    let outcome = facilitator.submit(&payment, prepared).await;
    let reason = "settle_exact_stellar_transaction_failed".into();
    assert_eq!(outcome, Outcome::Rejected { reason, transaction: hash });
    settled(settle(&facilitator, &world.payment(&world.payer()).await).await);
    assert_eq!(world.payee_units(), 10_000);
}

#[tokio::test]
async fn a_transaction_that_the_network_loses_is_sent_again() {
    let world = World::start(TICK).await;
    let facilitator = world.ready(1).await;
    let payment = world.payment_of(&world.payer(), 10_000, 60).await;
    world.sandbox.faults().lose_transactions(1, |_| true);
    settled(settle(&facilitator, &payment).await);
    assert_eq!(world.payee_units(), 10_000);
}

#[tokio::test]
async fn a_transaction_that_never_lands_is_rejected_only_after_its_time() {
    let world = World::start(TICK).await;
    let facilitator = world.ready(1).await;
    let payment = world.payment_of(&world.payer(), 10_000, 4).await;
    world.sandbox.faults().lose_transactions(u32::MAX, |_| true);
    let prepared = facilitator.prepare(&payment).await.unwrap();
    let sent = *prepared.sent();
    let (outcome, early) = tokio::join!(facilitator.submit(&payment, prepared), async {
        ledgers(&world, 1).await;
        facilitator.resolve(&payment, &sent).await
    });
    assert!(matches!(early, Outcome::Unknown { .. }), "{early:?}");
    assert!(matches!(outcome, Outcome::Rejected { .. }), "{outcome:?}");
    assert!(Clock::system().now() > sent.valid_until);
    assert_eq!(world.payee_units(), 0);
}

#[tokio::test]
async fn d05_a_full_queue_is_waited_for_and_never_a_settlement() {
    let world = World::start(TICK).await;
    let facilitator = world.ready(1).await;
    let send = Method::SendTransaction;
    world.sandbox.faults().arm(send, Times::Next(2), Fault::TryAgainLater);
    settled(settle(&facilitator, &world.payment(&world.payer()).await).await);
    world.sandbox.faults().arm(send, Times::Always, Fault::TryAgainLater);
    let payment = world.payment_of(&world.payer(), 10_000, 3).await;
    let outcome = settle(&facilitator, &payment).await;
    assert!(matches!(outcome, Outcome::Unsent(_)), "{outcome:?}");
    assert_eq!(world.payee_units(), 10_000);
}

#[tokio::test]
async fn d05_an_answer_lost_on_the_way_does_not_settle_twice() {
    let world = World::start(TICK).await;
    let facilitator = world.ready(1).await;
    let (send, next) = (Method::SendTransaction, Times::Next(1));
    world.sandbox.faults().arm(send, next, Fault::DropAnswer);
    settled(settle(&facilitator, &world.payment(&world.payer()).await).await);
    assert_eq!(world.payee_units(), 10_000);
    // Lost before it had an effect: sent again.
    world.sandbox.faults().arm(send, next, Fault::Drop);
    settled(settle(&facilitator, &world.payment(&world.payer()).await).await);
    let nonsense = Fault::Http { status: 200, body: "{\"jsonrpc\":\"2.0\",\"id\":1}".to_owned() };
    world.sandbox.faults().arm(send, next, nonsense);
    settled(settle(&facilitator, &world.payment(&world.payer()).await).await);
    assert_eq!(world.payee_units(), 30_000);
}

#[tokio::test]
async fn lookups_that_fail_are_repeated() {
    let world = World::start(TICK).await;
    let facilitator = world.ready(1).await;
    for fault in [
        Fault::Drop,
        Fault::Error { code: -32603, message: "the node is unwell".to_owned() },
        Fault::Http { status: 502, body: "<html>".to_owned() },
        Fault::Stale { ledgers: 4 },
    ] {
        let payment = world.payment(&world.payer()).await;
        world.sandbox.faults().arm(Method::GetTransaction, Times::Next(3), fault);
        settled(settle(&facilitator, &payment).await);
    }
}

#[tokio::test]
async fn a_lane_learns_its_sequence_anew_from_a_node_that_lags() {
    let world = World::start(TICK).await;
    let (one, other) = (world.ready(1).await, world.ready(1).await);
    settled(settle(&one, &world.payment(&world.payer()).await).await);
    // The other one's lane is out of step now, and what it reads at first is old.
    world.sandbox.faults().arm(
        Method::GetLedgerEntries,
        Times::Next(1),
        Fault::Stale { ledgers: 8 },
    );
    settled(settle(&other, &world.payment(&world.payer()).await).await);
    assert_eq!(world.payee_units(), 20_000);
}

#[tokio::test]
async fn d03_a_settlement_cut_short_is_found_by_its_hash() {
    let world = World::start(TICK).await;
    let facilitator = world.ready(1).await;
    let payment = world.payment(&world.payer()).await;
    let sent = sent_and_forgotten(&world, &facilitator, &payment).await;
    let early = facilitator.resolve(&payment, &sent).await;
    assert!(matches!(early, Outcome::Unknown { .. } | Outcome::Settled(_)), "{early:?}");
    ledgers(&world, 2).await;
    let found = settled(facilitator.resolve(&payment, &sent).await);
    assert_eq!(Some(found.transaction), sent.transaction);
}

#[tokio::test]
async fn d03_a_settlement_without_a_hash_is_found_by_its_authorization() {
    let world = World::start(TICK).await;
    let facilitator = world.ready(1).await;
    let payment = world.payment(&world.payer()).await;
    // The same payer pays the same payee the same amount for something else, before and after.
    settled(settle(&facilitator, &world.payment(&world.payer()).await).await);
    let sent = sent_and_forgotten(&world, &facilitator, &payment).await;
    ledgers(&world, 2).await;
    settled(settle(&facilitator, &world.payment(&world.payer()).await).await);
    let lost = Sent { transaction: None, ..sent };
    let found = settled(facilitator.resolve(&payment, &lost).await);
    assert_eq!(Some(found.transaction), sent.transaction);
}

#[tokio::test]
async fn somebody_elses_payment_is_not_ours_whatever_it_moved() {
    let world = World::start(TICK).await;
    let facilitator = world.ready(1).await;
    let unsent = world.payment(&world.payer()).await;
    let since = world.rpc.latest_ledger().await.unwrap().sequence;
    let other = world.payment(&world.payer()).await;
    let paid = settled(settle(&facilitator, &other).await);
    for transaction in [None, Some(paid.transaction)] {
        let sent = Sent { transaction, valid_until: u64::MAX, since };
        match facilitator.resolve(&unsent, &sent).await {
            // Its authorization may still land.
            Outcome::Unknown { .. } if transaction.is_none() => {}
            Outcome::Rejected { .. } if transaction.is_some() => {}
            outcome => panic!("{outcome:?}"),
        }
    }
    // Once the authorization has expired, nothing can come any more.
    ledgers(&world, 16).await;
    let sent = Sent { transaction: None, valid_until: 0, since };
    let outcome = facilitator.resolve(&unsent, &sent).await;
    assert!(matches!(outcome, Outcome::Rejected { .. }), "{outcome:?}");
}

#[tokio::test]
async fn an_rpc_that_cannot_be_asked_leaves_the_fate_unknown() {
    let world = World::start(TICK).await;
    let facilitator = world.ready(1).await;
    let payment = world.payment(&world.payer()).await;
    let sent = sent_and_forgotten(&world, &facilitator, &payment).await;
    ledgers(&world, 2).await;
    world.sandbox.faults().arm(None, Times::Always, Fault::Drop);
    let outcome = facilitator.resolve(&payment, &sent).await;
    assert!(matches!(outcome, Outcome::Unknown { .. }), "{outcome:?}");
    world.sandbox.faults().clear();
    settled(facilitator.resolve(&payment, &sent).await);
}

#[tokio::test]
async fn history_that_does_not_reach_back_proves_nothing() {
    let world = World::start(TICK).await;
    let facilitator = world.ready(1).await;
    let payment = world.payment(&world.payer()).await;
    ledgers(&world, 17).await;
    let sent = Sent { transaction: None, valid_until: 0, since: 0 };
    let outcome = facilitator.resolve(&payment, &sent).await;
    assert!(matches!(outcome, Outcome::Unknown { .. }), "{outcome:?}");
}
