//! Many channels, most of them at rest.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep, timeout};
use tollgate::{
    closer::Settings,
    protocol::stellar::ContractId,
    store::channel::{Phase, Reserving},
};
use tollgate_sandbox::Method;

use super::world::{Channel, Running, World, amount, settings};

/// Has all accounts looked at anew until it is as wanted.
async fn looking_until(it: &Running, mut wanted: impl AsyncFnMut() -> bool) {
    let look = async {
        while !wanted().await {
            it.closer.reconfigure(it.settings);
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(Duration::from_secs(40), look).await.expect("it does not come to be so");
}

#[tokio::test]
async fn thousands_of_channels_at_rest_keep_none_from_being_collected() {
    const AT_REST: u64 = 5_000;
    let world = World::start().await;
    let template = world.open().await;
    let others: Vec<_> = (0..AT_REST)
        .map(|number| {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
            let (contract, payer) = (template.contract.clone(), template.payer.clone());
            Channel { id: ContractId(id), contract, payer }
        })
        .collect();
    for some in others.chunks(500) {
        join_all(some.iter().map(async |channel| {
            world.pay(channel, 20, 20).await;
            world.store.saw_withdrawn(channel.id, amount(20)).await.unwrap();
        }))
        .await;
    }
    let began = Instant::now();
    let (mut after, mut listed) = (None, 0);
    loop {
        let page = world.store.accounts(after).await.unwrap();
        listed += page.accounts.len();
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    eprintln!("{listed} accounts were listed in {:?}", began.elapsed());
    let mut owing = Vec::new();
    for _ in 0..3 {
        let channel = world.open().await;
        world.pay(&channel, 30, 30).await;
        world.sandbox.close_start(&channel.contract, &channel.payer).await.unwrap();
        owing.push(channel);
    }
    let reads = || world.sandbox.calls(Method::GetLedgerEntries);
    let (before, began) = (reads(), Instant::now());
    let it = world.closer();
    for channel in &owing {
        assert!(world.until_closed(channel).await.is_some());
    }
    looking_until(&it, async || it.closer.exposure().open == AT_REST).await;
    let seconds = began.elapsed().as_secs() + 1;
    // Fifty calls a round and more if all were watched.
    let calls = reads() - before;
    eprintln!("{calls} reads in {seconds} s");
    assert!(calls < 20 * seconds + 60, "{calls} in {seconds} s");
    assert_eq!(world.balance(&world.payee()), 90);
}

#[tokio::test]
async fn a_channel_at_rest_is_found_to_have_ended_and_forgotten_a_day_later() {
    let world = World::start().await;
    let (ended, at_rest) = (world.open_waiting(1).await, world.open().await);
    let it = world.closer();
    for channel in [&ended, &at_rest] {
        world.pay(channel, 30, 30).await;
        it.closer.settle(channel.id).await.unwrap();
    }
    it.crash().await;
    // Nobody watches it.
    world.sandbox.close_start(&ended.contract, &ended.payer).await.unwrap();
    world.sandbox.close_ledger().await;
    world.sandbox.refund(&ended.contract, &ended.payer).await.unwrap();
    let it = world.closer_with(
        Settings { idle_for: Duration::from_secs(1_000_000), ..settings() },
        world.collector(),
    );
    looking_until(&it, async || {
        matches!(world.account(&ended).await.phase(), Phase::Closed { transaction: None })
    })
    .await;
    // Once it was seen to have ended, and again a little before it is forgotten.
    for pass in [0, 86_400 - 60] {
        world.pass(Duration::from_secs(pass)).await;
        looking_until(&it, async || it.closer.exposure().closed == 1).await;
        it.closer.reconfigure(it.settings);
        sleep(Duration::from_millis(300)).await;
        assert!(world.store.account(ended.id).await.unwrap().is_some());
    }
    assert!(matches!(world.try_reserve(&ended, 60, 1).await, Err(Reserving::Ended(_))));
    world.pass(Duration::from_secs(61)).await;
    looking_until(&it, async || world.store.account(ended.id).await.unwrap().is_none()).await;
    assert_eq!(world.account(&at_rest).await.phase(), Phase::Open);
    // Who comes back to it is told by the ledger.
    assert!(it.channels.look(ended.id, None).await.is_err());
}
