//! What keeps a channel's ledger entries alive, and what brings back those that are not.

use tollgate_sandbox::Method;

use super::world::{World, amount};

/// Entries live for 120,960 ledgers after they were made: this many later, they end within a day.
const NEARLY_OVER: u32 = 110_000;
const OVER: u32 = 121_000;
/// What a channel in use has left, about.
const WEEK: u32 = 120_000;

#[tokio::test]
async fn entries_that_end_soon_are_extended_while_the_channel_is_in_use() {
    let world = World::by_hand().await;
    let channel = world.open().await;
    let it = world.closer();
    it.know(&channel).await;
    world.pay(&channel, 30, 30).await;
    it.closer.nudge(channel.id);
    let sends = || world.sandbox.calls(Method::SendTransaction);
    let before = sends();
    world.sandbox.skip_ledgers(NEARLY_OVER).await;
    world.closing_ledgers(world.until_lives_on(&channel, WEEK)).await;
    // Views of code are older than those of channels: what they show is not extended again.
    world.until_seen(&it, &channel, |view| view.ledger > 2 + NEARLY_OVER).await;
    it.closer.nudge(channel.id);
    let other = world.open().await;
    world.pay(&other, 1, 1).await;
    let settle = it.closer.settle(other.id);
    world.closing_ledgers(settle).await.unwrap();
    assert_eq!(sends(), before + 2);
    // It is no settlement.
    assert_eq!(world.account(&channel).await.withdrawn(), amount(0));
}

#[tokio::test]
async fn entries_of_a_channel_that_owes_nothing_and_that_nobody_uses_are_left_to_its_payer() {
    let world = World::by_hand().await;
    let channel = world.open().await;
    let it = world.closer();
    it.know(&channel).await;
    world.pay(&channel, 30, 30).await;
    let settle = it.closer.settle(channel.id);
    world.closing_ledgers(settle).await.unwrap();
    world.pass(std::time::Duration::from_secs(604_800)).await;
    world.sandbox.skip_ledgers(NEARLY_OVER).await;
    let sends = world.sandbox.calls(Method::SendTransaction);
    world.until_seen(&it, &channel, |view| view.ends_soon()).await;
    it.closer.nudge(channel.id);
    // Another channel's settlement shows that all that was due was done.
    let other = world.open().await;
    world.pay(&other, 1, 1).await;
    let settle = it.closer.settle(other.id);
    world.closing_ledgers(settle).await.unwrap();
    assert_eq!(world.sandbox.calls(Method::SendTransaction), sends + 1);
}

#[tokio::test]
async fn archived_entries_are_brought_back_by_collecting_what_is_in_them() {
    let world = World::by_hand().await;
    let channel = world.open().await;
    world.pay(&channel, 30, 30).await;
    world.sandbox.skip_ledgers(OVER).await;
    let it = world.closer();
    let settle = it.closer.settle(channel.id);
    assert_eq!(world.closing_ledgers(settle).await.unwrap().withdrawn, amount(30));
    assert_eq!(world.balance(&world.payee()), 30);
}
