//! Channels that end: because their payer wants it, because nobody uses them, or by hand.

use std::time::Duration;

use tollgate::{
    closer::{CloseError, Settings},
    store::channel::{Phase, Reserving},
};
use tollgate_sandbox::{Method, Moment};

use super::world::{Channel, World, amount, settings};

/// A payment asks in vain.
async fn assert_ended(world: &World, channel: &Channel, cumulative: i128) {
    match world.try_reserve(channel, cumulative, 1).await {
        Err(Reserving::Ended(_)) => {}
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn t13_c10_a_close_that_a_payer_starts_is_answered_in_the_next_ledger() {
    let world = World::by_hand().await;
    let channel = world.open().await;
    let it = world.closer();
    it.know(&channel).await;
    world.pay(&channel, 30, 30).await;
    it.closer.nudge(channel.id);
    let sent = world.sandbox.faults().hold(Method::SendTransaction, Moment::AfterEffect);
    world.sandbox.close_start(&channel.contract, &channel.payer).await.unwrap();
    // It is seen and answered without another ledger.
    sent.arrived().await;
    sent.release();
    assert_ended(&world, &channel, 60).await;
    world.sandbox.close_ledger().await;
    assert!(world.until_closed(&channel).await.is_some());
    assert_eq!(world.balance(&world.payee()), 30);
    assert_eq!(world.balance(&channel.id.to_string()), 0);
}

#[tokio::test]
async fn c10_what_is_delivered_is_settled_at_once_and_what_is_in_flight_when_it_ends() {
    let (world, channel, it) = World::watched(30).await;
    let flight = world.reserve(&channel, 50, 20).await;
    it.closer.nudge(channel.id);
    world.sandbox.close_start(&channel.contract, &channel.payer).await.unwrap();
    world.until_withdrawn(&channel, 30).await;
    assert_eq!(world.account(&channel).await.phase(), Phase::Closing);
    world.store.keep(flight, 200).await.unwrap();
    it.closer.nudge(channel.id);
    world.until_closed(&channel).await;
    assert_eq!(world.balance(&world.payee()), 50);
    assert_eq!(world.balance(&channel.id.to_string()), 0);
}

#[tokio::test]
async fn c10_a_flight_whose_gateway_died_does_not_keep_a_channel_from_being_closed() {
    let (world, channel, it) = World::watched(30).await;
    let flight = world.reserve(&channel, 50, 20).await;
    world.sandbox.close_start(&channel.contract, &channel.payer).await.unwrap();
    it.closer.nudge(channel.id);
    world.until_withdrawn(&channel, 30).await;
    world.pass(Duration::from_secs(61)).await;
    world.until(&channel, |account| account.in_flight().is_zero()).await;
    assert!(world.store.keep(flight, 200).await.is_err(), "the lease is over");
    assert_eq!(world.balance(&world.payee()), 30);
}

/// The one thing to collect was in flight, and then bought nothing.
#[tokio::test]
async fn c16_a_close_that_nothing_is_left_for_ends_and_the_channel_goes_on() {
    let (world, channel, it) = World::watched(0).await;
    let flight = world.reserve(&channel, 50, 20).await;
    let (closed, ()) = tokio::join!(it.closer.close(channel.id), async {
        world.until(&channel, |account| account.phase() == Phase::Closing).await;
        world.store.give_back(flight, true).await.unwrap();
        it.closer.nudge(channel.id);
    });
    assert!(matches!(closed, Err(CloseError::Nothing)), "{closed:?}");
    assert_eq!(world.account(&channel).await.phase(), Phase::Open);
    world.pay(&channel, 51, 20).await;
    it.closer.close(channel.id).await.unwrap();
    assert_eq!(world.balance(&world.payee()), 50, "the smallest commitment that covers it");
}

#[tokio::test]
async fn c16_a_channel_that_its_payer_has_refunded_is_known_to_have_ended() {
    let world = World::start().await;
    let channel = world.open_waiting(1).await;
    world.pay(&channel, 30, 30).await;
    world.sandbox.close_start(&channel.contract, &channel.payer).await.unwrap();
    world.sandbox.close_ledger().await;
    world.sandbox.refund(&channel.contract, &channel.payer).await.unwrap();
    // The gateway was down all the while.
    let _it = world.closer();
    assert_eq!(world.until_closed(&channel).await, None);
    assert_ended(&world, &channel, 60).await;
    assert_eq!(world.balance(&world.payee()), 0);
}

#[tokio::test]
async fn what_is_left_after_the_waiting_period_is_still_collected() {
    let world = World::start().await;
    let channel = world.open_waiting(1).await;
    world.pay(&channel, 30, 30).await;
    world.sandbox.close_start(&channel.contract, &channel.payer).await.unwrap();
    world.sandbox.close_ledger().await;
    let _it = world.closer();
    assert!(world.until_closed(&channel).await.is_some());
    assert_eq!(world.balance(&world.payee()), 30);
    assert_eq!(world.balance(&channel.id.to_string()), 0);
}

#[tokio::test]
async fn a_channel_that_nobody_uses_is_closed_if_it_brought_what_that_costs() {
    let world = World::start().await;
    let (owing, settled, poor) = (world.open().await, world.open().await, world.open().await);
    // As usual, what is owed is settled by its age long before.
    let unsettled_for = Duration::from_secs(60);
    let idle_for = Duration::from_secs(600);
    let times = Settings { min_value: amount(10), unsettled_for, idle_for, ..settings() };
    let it = world.closer_with(times, world.collector());
    for (channel, price) in [(&settled, 25), (&poor, 9)] {
        it.know(channel).await;
        world.pay(channel, 30, price).await;
    }
    world.pass(unsettled_for).await;
    it.closer.nudge(settled.id);
    world.until_withdrawn(&settled, 30).await;
    world.pass(idle_for - unsettled_for - Duration::from_secs(1)).await;
    it.know(&owing).await;
    world.pay(&owing, 30, 25).await;
    for channel in [&settled, &poor] {
        it.closer.nudge(channel.id);
    }
    // Another channel's settlement shows that all that was due was done.
    it.closer.settle(owing.id).await.unwrap();
    assert_eq!(world.account(&settled).await.phase(), Phase::Open);
    world.pass(Duration::from_secs(1)).await;
    for channel in [&settled, &poor] {
        it.closer.nudge(channel.id);
    }
    assert!(world.until_closed(&settled).await.is_some());
    assert_eq!(world.balance(&settled.id.to_string()), 0);
    assert_ended(&world, &settled, 60).await;
    for channel in [&owing, &poor] {
        assert_eq!(world.account(channel).await.phase(), Phase::Open);
    }
    assert_eq!(world.withdrawals(&poor).await, 0);
    assert_eq!(world.balance(&world.payee()), 60);
    // And what is asked for is closed for whatever it brings.
    assert!(it.closer.close(poor.id).await.unwrap().closed);
}

#[tokio::test]
async fn what_is_not_worth_a_transaction_is_left_to_a_payer_who_closes() {
    let world = World::start().await;
    let (dust, enough) = (world.open_waiting(3).await, world.open_waiting(3).await);
    let least = Settings { min_value: amount(10), ..settings() };
    let it = world.closer_with(least, world.collector());
    let before = world.sequence().await;
    for (channel, price) in [(&dust, 9), (&enough, 10)] {
        it.know(channel).await;
        world.pay(channel, price, price).await;
        it.closer.nudge(channel.id);
        world.sandbox.close_start(&channel.contract, &channel.payer).await.unwrap();
    }
    assert!(world.until_closed(&enough).await.is_some());
    assert_eq!(world.until_closed(&dust).await, None, "it ended by itself");
    assert_eq!(world.balance(&world.payee()), 10);
    assert_eq!(world.sequence().await, before + 1);
}

#[tokio::test]
async fn c27_a_channel_is_closed_once_however_often_it_is_asked_for() {
    let (world, channel) = World::owing(20).await;
    let it = world.closer();
    world.pay(&channel, 35, 10).await;
    let before = world.sequence().await;
    let (one, two) = tokio::join!(it.closer.close(channel.id), it.closer.close(channel.id));
    let one = one.unwrap();
    assert!(one.closed && one.transaction.is_some());
    assert_eq!(one.withdrawn, amount(35));
    assert_eq!(two.unwrap(), one);
    assert_eq!(it.closer.close(channel.id).await.unwrap(), one);
    assert!(matches!(it.closer.settle(channel.id).await, Err(CloseError::Closed)));
    assert_eq!(world.sequence().await, before + 1);
    assert_eq!(world.balance(&world.payee()), 35);
    assert_eq!(world.balance(&channel.id.to_string()), 0);
}

#[tokio::test]
async fn c27_a_close_takes_the_smallest_commitment_that_covers_what_was_delivered() {
    let (world, channel) = World::owing(20).await;
    let it = world.closer();
    // Paid for, and given back.
    let flight = world.reserve(&channel, 90, 20).await;
    world.store.give_back(flight, true).await.unwrap();
    let closed = it.closer.close(channel.id).await.unwrap();
    assert_eq!(closed.withdrawn, amount(20));
    assert_eq!(world.balance(&world.payee()), 20);
}

#[tokio::test]
async fn a_close_waits_for_what_is_in_flight() {
    let (world, channel) = World::owing(20).await;
    let it = world.closer();
    let flight = world.reserve(&channel, 45, 25).await;
    let close = it.closer.close(channel.id);
    let deliver = async {
        world.until(&channel, |account| account.phase() == Phase::Closing).await;
        assert_ended(&world, &channel, 60).await;
        world.store.keep(flight, 200).await.unwrap();
        it.closer.nudge(channel.id);
    };
    let (closed, ()) = tokio::join!(close, deliver);
    assert_eq!(closed.unwrap().withdrawn, amount(45));
    assert_eq!(world.withdrawals(&channel).await, 1);
}

#[tokio::test]
async fn a_channel_that_was_settled_is_closed_by_hand_for_its_payers_sake() {
    let (world, channel) = World::owing(20).await;
    let it = world.closer();
    it.closer.settle(channel.id).await.unwrap();
    assert!(matches!(it.closer.settle(channel.id).await, Err(CloseError::Nothing)));
    let closed = it.closer.close(channel.id).await.unwrap();
    assert!(closed.closed);
    assert_eq!(world.balance(&world.payee()), 20);
    assert_eq!(world.balance(&channel.id.to_string()), 0);
}

#[tokio::test]
async fn what_cannot_be_closed_goes_on_paying() {
    let world = World::start().await;
    let (strange, unpaid) = (world.open().await, world.open().await);
    let it = world.closer();
    assert!(matches!(it.closer.close(strange.id).await, Err(CloseError::Unknown(_))));
    let flight = world.reserve(&unpaid, 20, 20).await;
    world.store.give_back(flight, true).await.unwrap();
    assert!(matches!(it.closer.close(unpaid.id).await, Err(CloseError::Nothing)));
    // More than the channel holds: the ledger would refuse it.
    world.pay(&unpaid, 120, 120).await;
    assert!(matches!(it.closer.close(unpaid.id).await, Err(CloseError::Refused(_))));
    assert_eq!(world.account(&unpaid).await.phase(), Phase::Open);
    // And with what it lacked, it is closed.
    world.sandbox.top_up(&unpaid.contract, &unpaid.payer, 20).await.unwrap();
    assert!(it.closer.close(unpaid.id).await.unwrap().closed);
    assert_eq!(world.balance(&world.payee()), 120);
}
