//! What is settled because it is much, or old.

use std::time::Duration;

use tollgate::closer::Settings;

use super::world::{DEPOSIT, World, amount, settings};

#[tokio::test]
async fn what_has_become_much_is_settled_and_what_has_not_is_left() {
    let world = World::start().await;
    let (much, little) = (world.open().await, world.open().await);
    let at_claimable = Settings { at_claimable: amount(30), ..settings() };
    let it = world.closer_with(at_claimable, world.collector());
    world.pay(&little, 29, 29).await;
    it.closer.nudge(little.id);
    world.pay(&much, 29, 29).await;
    it.closer.nudge(much.id);
    world.pay(&much, 40, 1).await;
    it.closer.nudge(much.id);
    // The smallest commitment that covers the 30 that were delivered.
    let account = world.until_withdrawn(&much, 40).await;
    assert!(account.at_risk().is_zero());
    assert_eq!(world.balance(&world.payee()), 40);
    assert_eq!(world.balance(&much.id.to_string()), DEPOSIT - 40);
    assert_eq!(world.account(&little).await.withdrawn(), amount(0));
    assert_eq!(world.withdrawals(&much).await, 1);
}

#[tokio::test]
async fn what_may_not_become_more_is_settled_whatever_is_claimable() {
    let world = World::start().await;
    let channel = world.open().await;
    let max_unsettled = Settings { max_unsettled: amount(10), ..settings() };
    let it = world.closer_with(max_unsettled, world.collector());
    world.pay(&channel, 10, 10).await;
    it.closer.nudge(channel.id);
    world.until_withdrawn(&channel, 10).await;
}

#[tokio::test]
async fn a_channel_that_may_not_owe_more_is_settled_before_it_owes_as_much() {
    let world = World::start().await;
    let (full, other) = (world.open().await, world.open().await);
    let max_unsettled = Settings { max_unsettled: amount(10), ..settings() };
    let it = world.closer_with(max_unsettled, world.collector());
    for channel in [&full, &other] {
        world.pay(channel, 9, 9).await;
        it.closer.nudge(channel.id);
    }
    // The next request was refused, since 9 and its price are more than 10.
    it.closer.urge(full.id);
    world.until_withdrawn(&full, 9).await;
    assert_eq!(world.account(&other).await.withdrawn(), amount(0));
    // And once it was settled, what comes then is left as any other.
    world.pay(&full, 12, 3).await;
    it.closer.nudge(full.id);
    it.closer.settle(other.id).await.unwrap();
    assert_eq!(world.withdrawals(&full).await, 1);
}

#[tokio::test]
async fn what_was_unsettled_for_long_is_settled_and_not_a_second_before() {
    let world = World::start().await;
    let channel = world.open().await;
    let unsettled_for = Settings { unsettled_for: Duration::from_secs(3_600), ..settings() };
    let it = world.closer_with(unsettled_for, world.collector());
    world.pay(&channel, 5, 5).await;
    world.pass(Duration::from_secs(3_599)).await;
    it.closer.nudge(channel.id);
    // Another channel's settlement shows that all that was due was done.
    let other = world.open().await;
    world.pay(&other, 1, 1).await;
    it.closer.settle(other.id).await.unwrap();
    assert_eq!(world.withdrawals(&channel).await, 0);
    world.pass(Duration::from_secs(1)).await;
    it.closer.nudge(channel.id);
    world.until_withdrawn(&channel, 5).await;
    assert_eq!(world.withdrawals(&channel).await, 1);
}

#[tokio::test]
async fn limits_can_change_while_it_runs() {
    let (world, channel) = World::owing(5).await;
    let it = world.closer();
    it.closer.reconfigure(Settings { at_claimable: amount(5), ..settings() });
    world.until_withdrawn(&channel, 5).await;
}

#[tokio::test]
async fn what_is_in_flight_is_not_collected() {
    let (world, channel) = World::owing(10).await;
    let it = world.closer();
    let reservation = world.reserve(&channel, 30, 20).await;
    let collected = it.closer.settle(channel.id).await.unwrap();
    assert_eq!((collected.withdrawn, collected.closed), (amount(10), false));
    world.store.keep(reservation, 200).await.unwrap();
    let collected = it.closer.settle(channel.id).await.unwrap();
    assert_eq!(collected.withdrawn, amount(30));
    assert_eq!(world.balance(&world.payee()), 30);
}

#[tokio::test]
async fn a_list_tells_where_every_channel_stands() {
    let world = World::start().await;
    let channel = world.open().await;
    let it = world.closer();
    assert!(it.closer.list().await.unwrap().channels.is_empty());
    it.know(&channel).await;
    world.pay(&channel, 12, 10).await;
    let _held = world.reserve(&channel, 17, 5).await;
    let listed = it.closer.list().await.unwrap().channels;
    let [standing] = listed.as_slice() else { panic!("{listed:?}") };
    assert_eq!(standing.channel, channel.id);
    assert_eq!(standing.authorised, amount(17));
    assert_eq!((standing.spent, standing.delivered), (amount(15), amount(10)));
    assert_eq!((standing.settled, standing.at_risk), (amount(0), amount(10)));
    assert_eq!(standing.deposited, Some(amount(DEPOSIT)));
    assert_eq!((standing.deadline, standing.collecting), (None, None));
    assert_eq!(it.closer.show(channel.id).await.unwrap().as_ref(), Some(standing));
    it.closer.settle(channel.id).await.unwrap();
    let standing = it.closer.show(channel.id).await.unwrap().unwrap();
    assert_eq!((standing.settled, standing.at_risk), (amount(12), amount(0)));
}
