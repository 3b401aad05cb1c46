//! What it costs to ask for channels, and whom.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use tollgate::ledger::channels::{LookError, Unfit};

use super::fake::{Behaviour, Fake, Terms, channel, client, is_failed, until};

#[tokio::test]
async fn many_who_ask_for_one_channel_share_one_reading_and_memory_tells_the_rest() {
    let fake = Fake::start().await;
    let known = channel(1);
    fake.put(known, &Terms::fit());
    fake.behave(|behaviour| behaviour.late = Duration::from_millis(300));
    let looks = join_all((0..200).map(|_| fake.look(known))).await;
    let first = looks[0].clone().unwrap();
    assert!(looks.iter().all(|looked| looked.as_ref() == Ok(&first)));
    assert_eq!((first.deposited().units(), first.withdrawn.units()), (1_000, 0));
    let before = fake.calls().len();
    for _ in 0..10_000 {
        fake.look(known).await.unwrap();
    }
    // The rounds read it too, about once a second.
    assert!(before <= 30, "{before} calls");
    let calls = fake.calls().len();
    assert!(calls <= before + 60, "{before} calls, and then {calls}");
}

#[tokio::test]
async fn c26_a_flood_of_unknown_channels_costs_little_and_keeps_nobody_else_out() {
    let fake = Arc::new(Fake::start().await);
    let real = channel(u32::MAX);
    fake.put(real, &Terms::fit());
    let flood = join_all((0..10_000).map(|number| fake.look(channel(number))));
    let other = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        fake.channels.look(real, Some(client(2))).await
    };
    let (flood, other) = tokio::join!(flood, other);
    assert_eq!(other.unwrap().channel, real);
    let missing = Err(LookError::Unfit(Unfit::Missing));
    let read = flood.iter().filter(|looked| **looked == missing).count();
    assert!((50..1_000).contains(&read), "{read} were read");
    let refused = |looked: &&Result<_, _>| matches!(looked, Err(LookError::TooMany { .. }));
    assert_eq!(flood.iter().filter(refused).count(), 10_000 - read);
    let calls = fake.calls().len();
    assert!(calls < 200, "{calls} calls");
    // What nobody opened is not watched.
    assert!(fake.channels.seen(channel(1)).is_none() && fake.channels.seen(real).is_some());
}

#[tokio::test]
async fn c26_channels_of_one_stroop_are_no_way_around_the_bound() {
    let fake = Fake::start().await;
    let cheap = Terms { balance: 1, ..Terms::fit() };
    for number in 0..2_000 {
        fake.put(channel(number), &cheap);
    }
    let flood = join_all((0..2_000).map(|number| fake.look(channel(number)))).await;
    let taken = flood.iter().filter(|looked| looked.is_ok()).count();
    assert!((50..500).contains(&taken), "{taken} were taken");
    assert!(fake.calls().len() < 100);
}

#[tokio::test]
async fn a_channel_that_is_not_there_is_asked_for_once_and_found_soon_after_it_is_opened() {
    let fake = Fake::start().await;
    let late = channel(1);
    for _ in 0..1_000 {
        assert_eq!(fake.look(late).await, Err(LookError::Unfit(Unfit::Missing)));
    }
    let calls = fake.calls_for(late);
    assert!(calls <= 50, "{calls} calls");
    fake.put(late, &Terms::fit());
    let found = async {
        while fake.look(late).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), found).await.unwrap();
}

#[tokio::test]
async fn c20_a_silent_ledger_is_no_refusal_and_what_is_known_goes_on_for_a_while() {
    let fake = Fake::with(Duration::from_secs(4), Behaviour::default()).await;
    let (known, unknown) = (channel(1), channel(2));
    fake.put(known, &Terms::fit());
    fake.put(unknown, &Terms::fit());
    fake.look(known).await.unwrap();
    fake.behave(|behaviour| behaviour.down = true);
    assert!(fake.look(known).await.is_ok());
    assert!(is_failed(&fake.look(unknown).await));
    // Told from memory no longer than its state may be old, and then nobody waits for the silence.
    until(|| fake.channels.supported().is_err()).await;
    let too_old = async {
        while !is_failed(&fake.look(known).await) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), too_old).await.unwrap();
    let calls = fake.calls().len();
    for _ in 0..1_000 {
        assert!(is_failed(&fake.look(known).await) && is_failed(&fake.look(unknown).await));
    }
    assert!(fake.calls().len() < calls + 100);
    assert_eq!(fake.channels.seen(known).unwrap().balance.units(), 1_000);
    fake.behave(|behaviour| behaviour.down = false);
    fake.ledger().sequence += 1;
    until(|| fake.channels.supported().is_ok()).await;
    let back = async {
        while fake.look(known).await.is_err() || fake.look(unknown).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), back).await.unwrap();
}

#[tokio::test]
async fn c14_a_channel_of_another_network_is_not_looked_at() {
    let behaviour = Behaviour { pubnet: true, ..Behaviour::default() };
    let fake = Fake::with(Duration::from_secs(60), behaviour).await;
    fake.put(channel(1), &Terms::fit());
    fake.channels.keep_watching(channel(1));
    let told = || fake.channels.supported().unwrap_err().0.contains("stellar:testnet");
    until(told).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(is_failed(&fake.look(channel(1)).await));
    assert!(fake.channels.seen(channel(1)).is_none() && fake.calls().is_empty());
}

#[tokio::test]
async fn a_top_up_is_seen_at_once_and_asking_again_and_again_is_not_calling() {
    let fake = Fake::start().await;
    let known = channel(1);
    fake.put(known, &Terms::fit());
    assert_eq!(fake.look(known).await.unwrap().deposited().units(), 1_000);
    fake.put(known, &Terms { balance: 3_000, ..Terms::fit() });
    let refreshed = join_all((0..100).map(|_| fake.refresh(known))).await;
    assert!(refreshed.iter().all(|view| view.as_ref().unwrap().deposited().units() == 3_000));
    for _ in 0..1_000 {
        fake.refresh(known).await.unwrap();
    }
    let calls = fake.calls_for(known);
    assert!(calls < 100, "{calls} calls");
    // A channel that nobody knows is looked up by it too.
    fake.put(channel(2), &Terms::fit());
    assert!(fake.refresh(channel(2)).await.is_ok());
}
