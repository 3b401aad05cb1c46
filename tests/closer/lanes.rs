//! More to collect at once than the payee's account can send.

use std::time::Duration;

use tokio::time::{sleep, timeout};
use tollgate::closer::Settings;
use tollgate_sandbox::{DevAccount, Method};

use super::world::{World, amount, settings};

const CHANNELS: u64 = 40;
const LANES: u32 = 32;

#[tokio::test]
async fn c10_forty_channels_whose_payers_close_at_once_are_closed_within_three_ledgers() {
    let world = World::by_hand().await;
    let mut channels = Vec::new();
    for _ in 0..CHANNELS {
        let channel = world.open().await;
        world.pay(&channel, 20, 20).await;
        world.sandbox.close_start(&channel.contract, &channel.payer).await.unwrap();
        channels.push(channel);
    }
    let collector = world.sponsored_collector(world.sponsor(LANES).await);
    // The payee's own account, and half of the lanes: the others are for payments.
    let width = u64::try_from(collector.width()).unwrap();
    assert_eq!(width, 1 + 16);
    let sent = || world.sandbox.calls(Method::SendTransaction);
    let before = (sent(), world.sequence().await);
    let _it = world.closer_with(settings(), collector);
    let (mut left, mut ledgers, mut expected) = (CHANNELS, 0, before.0);
    while left > 0 {
        let some = left.min(width);
        expected += some;
        let all_sent = async {
            while sent() < expected {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(60), all_sent).await.unwrap();
        world.sandbox.close_ledger().await;
        (left, ledgers) = (left - some, ledgers + 1);
    }
    for channel in &channels {
        assert!(world.until_closed(channel).await.is_some());
        assert_eq!(world.withdrawals(channel).await, 1);
    }
    assert_eq!(ledgers, 3);
    assert_eq!(world.balance(&world.payee()), 20 * i128::from(CHANNELS));
    let by_payee = world.sequence().await - before.1;
    assert!((1..=3).contains(&by_payee), "{by_payee}: at most one a ledger");
}

#[tokio::test]
async fn a_sponsor_in_trouble_leaves_it_to_the_payees_own_account() {
    let world = World::start().await;
    let poor = world.sponsor_of(&DevAccount::from_label("a sponsor without an account"), LANES);
    let collector = world.sponsored_collector(poor);
    let at_once = Settings { at_claimable: amount(1), ..settings() };
    let before = world.sequence().await;
    let it = world.closer_with(at_once, collector.clone());
    let channels = [world.open().await, world.open().await, world.open().await];
    for channel in &channels {
        world.pay(channel, 20, 20).await;
        it.closer.nudge(channel.id);
    }
    for channel in &channels {
        world.until_withdrawn(channel, 20).await;
    }
    assert_eq!(collector.width(), 1);
    assert_eq!(world.sequence().await, before + 3);
}
