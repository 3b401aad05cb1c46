//! A gateway that dies while it collects, and the next one: exactly one settlement, whatever the moment.

use std::time::Duration;

use tokio::time::{sleep, timeout};
use tollgate::{
    closer::{CloseError, Settings},
    ledger::own,
};
use tollgate_sandbox::{Fault, Method, Moment, Times};

use super::world::{World, amount, on_each_store, settings};

on_each_store! {
    a_gateway_that_dies_before_it_sends_has_its_settlement_made_anew_once_it_cannot_land,
    a_gateway_that_dies_after_it_sent_has_its_settlement_found_and_not_repeated,
    a_close_whose_gateway_died_is_found_by_the_next_one,
    a_gateway_that_dies_after_it_began_to_close_has_the_channel_closed_by_the_next_one,
    gateways_that_die_at_any_moment_collect_every_channel_once,
    gateways_with_lanes_that_die_at_any_moment_collect_every_channel_once,
    c27_a_gateway_that_is_overtaken_while_it_readies_its_transaction_does_not_send_it,
    two_gateways_collect_the_same_channels_once,
}

/// Longer than a transaction may wait for a ledger.
const OVER: Duration = Duration::from_secs(120);

async fn a_gateway_that_dies_before_it_sends_has_its_settlement_made_anew_once_it_cannot_land(
    world: World,
) {
    let channel = world.owing_channel(30).await;
    let it = world.gateway(settings(), world.collector()).await;
    let before = world.sequence().await;
    let sending = world.sandbox.faults().hold(Method::SendTransaction, Moment::BeforeEffect);
    let settle = it.closer.settle(channel.id);
    assert!(
        timeout(Duration::from_secs(60), async {
            tokio::select! { _ = settle => panic!("it is held"), () = sending.arrived() => {} }
        })
        .await
        .is_ok()
    );
    let first = world.account(&channel).await.collection().cloned().unwrap();
    it.crash().await;
    sending.discard();

    let it = world.gateway(settings(), world.collector()).await;
    // As long as the first may land, nothing else is sent.
    it.closer.nudge(channel.id);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(world.account(&channel).await.collection(), Some(&first));
    assert_eq!(world.sequence().await, before);
    world.pass(OVER).await;
    world.until(&channel, |account| account.collection().is_none()).await;
    it.closer.settle(channel.id).await.unwrap();
    assert_eq!(world.balance(&world.payee()), 30);
    assert_eq!(world.sequence().await, before + 1);
    assert_eq!(world.withdrawals(&channel).await, 1);
}

async fn a_gateway_that_dies_after_it_sent_has_its_settlement_found_and_not_repeated(world: World) {
    let channel = world.owing_channel(30).await;
    let it = world.gateway(settings(), world.collector()).await;
    let before = world.sequence().await;
    let sent = world.sandbox.faults().hold(Method::SendTransaction, Moment::AfterEffect);
    tokio::select! {
        _ = it.closer.settle(channel.id) => panic!("it is held"),
        () = sent.arrived() => {}
    }
    it.crash().await;
    sent.release();
    let _it = world.gateway(settings(), world.collector()).await;
    let account = world.until_withdrawn(&channel, 30).await;
    assert!(account.at_risk().is_zero());
    assert_eq!(world.balance(&world.payee()), 30);
    assert_eq!(world.sequence().await, before + 1);
}

async fn a_close_whose_gateway_died_is_found_by_the_next_one(world: World) {
    let channel = world.owing_channel(30).await;
    let it = world.gateway(settings(), world.collector()).await;
    let sent = world.sandbox.faults().hold(Method::SendTransaction, Moment::AfterEffect);
    tokio::select! {
        _ = it.closer.close(channel.id) => panic!("it is held"),
        () = sent.arrived() => {}
    }
    it.crash().await;
    sent.release();
    let first = world.account(&channel).await.collection().unwrap().transaction;
    let it = world.gateway(settings(), world.collector()).await;
    assert_eq!(world.until_closed(&channel).await, Some(first));
    assert_eq!(it.closer.close(channel.id).await.unwrap().transaction, Some(first));
    assert_eq!(world.balance(&channel.id.to_string()), 0);
    assert_eq!(world.balance(&world.payee()), 30);
}

async fn a_gateway_that_dies_after_it_began_to_close_has_the_channel_closed_by_the_next_one(
    world: World,
) {
    let channel = world.owing_channel(30).await;
    assert!(world.store.begin_closing(channel.id).await.unwrap());
    let _it = world.gateway(settings(), world.collector()).await;
    assert!(world.until_closed(&channel).await.is_some());
    assert_eq!(world.balance(&world.payee()), 30);
}

async fn gateways_that_die_at_any_moment_collect_every_channel_once(world: World) {
    die_at_any_moment(&world, None).await;
}

async fn gateways_with_lanes_that_die_at_any_moment_collect_every_channel_once(world: World) {
    let sponsor = world.sponsor(4).await;
    die_at_any_moment(&world, Some(sponsor)).await;
}

async fn die_at_any_moment(world: &World, sponsor: Option<own::Facilitator>) {
    let collector = || match &sponsor {
        Some(sponsor) => world.sponsored_collector(sponsor.clone()),
        None => world.collector(),
    };
    let mut channels = Vec::new();
    for _ in 0..6 {
        let channel = world.open().await;
        world.pay(&channel, 20, 20).await;
        world.pay(&channel, 45, 10).await;
        channels.push(channel);
    }
    for channel in &channels[..3] {
        assert!(world.store.begin_closing(channel.id).await.unwrap());
    }
    let before = world.sequence().await;
    let at_once = || Settings { at_claimable: amount(1), ..settings() };
    // Looking, readying, sending and recording take some milliseconds each, and a ledger comes after at most 200.
    for life in (0..300_u64).step_by(13) {
        let it = world.gateway(at_once(), collector()).await;
        sleep(Duration::from_millis(life)).await;
        it.crash().await;
        world.pass(Duration::from_secs(if life % 2 == 0 { 1 } else { 61 })).await;
    }
    let _it = world.gateway(at_once(), collector()).await;
    world.pass(OVER).await;
    for channel in &channels[..3] {
        assert!(world.until_closed(channel).await.is_some());
        assert_eq!(world.balance(&channel.id.to_string()), 0);
    }
    for channel in &channels {
        world.until_withdrawn(channel, 45).await;
        assert_eq!(world.withdrawals(channel).await, 1);
    }
    assert_eq!(world.balance(&world.payee()), 6 * 45);
    if sponsor.is_none() {
        assert_eq!(world.sequence().await, before + 6);
    }
}

async fn c27_a_gateway_that_is_overtaken_while_it_readies_its_transaction_does_not_send_it(
    world: World,
) {
    let channel = world.owing_channel(30).await;
    let (slow, fast) = (
        world.gateway(settings(), world.collector()).await,
        world.gateway(settings(), world.collector()).await,
    );
    let before = world.sequence().await;
    let late = Fault::DelayAnswer(Duration::from_secs(2));
    world.sandbox.faults().arm(Method::SimulateTransaction, Times::Next(1), late);
    let (overtaken, first) = tokio::join!(slow.closer.settle(channel.id), async {
        while world.sandbox.calls(Method::SimulateTransaction) == 0 {
            sleep(Duration::from_millis(5)).await;
        }
        fast.closer.settle(channel.id).await
    });
    assert_eq!(first.unwrap().withdrawn, amount(30));
    assert!(matches!(overtaken, Err(CloseError::Nothing)), "{overtaken:?}");
    assert_eq!(world.sequence().await, before + 1);
    assert_eq!(world.sandbox.calls(Method::SendTransaction), 1);
    assert!(world.account(&channel).await.collection().is_none());
}

async fn two_gateways_collect_the_same_channels_once(world: World) {
    let mut channels = Vec::new();
    for _ in 0..4 {
        let channel = world.open().await;
        world.pay(&channel, 30, 30).await;
        channels.push(channel);
    }
    let before = world.sequence().await;
    let (one, two) = (
        world.gateway(settings(), world.collector()).await,
        world.gateway(settings(), world.collector()).await,
    );
    for channel in &channels {
        assert!(world.store.begin_closing(channel.id).await.unwrap());
        one.closer.nudge(channel.id);
        two.closer.nudge(channel.id);
    }
    for channel in &channels {
        assert!(world.until_closed(channel).await.is_some());
        assert_eq!(world.balance(&channel.id.to_string()), 0);
        assert_eq!(world.withdrawals(channel).await, 1);
    }
    assert_eq!(world.balance(&world.payee()), 120);
    assert_eq!(world.sequence().await, before + 4);
    assert_eq!(world.account(&channels[0]).await.withdrawn(), amount(30));
}
