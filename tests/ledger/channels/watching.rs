//! What is seen of channels as they change, and what is not believed.

use std::time::Duration;

use tollgate::{
    ledger::channels::{LookError, Unfit},
    protocol::stellar::ContractId,
};

use super::fake::{Behaviour, Fake, Terms, channel, is_closing, is_failed, until};

#[tokio::test]
async fn c11_a_close_ends_a_channel_as_soon_as_it_is_seen_and_is_told_of() {
    let fake = Fake::start().await;
    let known = channel(1);
    fake.put(known, &Terms::fit());
    fake.look(known).await.unwrap();
    let mut changes = fake.channels.changes();
    fake.put(known, &Terms { close_at: Some(18_280), ..Terms::fit() });
    assert_eq!(changes.recv().await, Ok(known));
    assert!(is_closing(&fake.look(known).await) && is_closing(&fake.refresh(known).await));
    assert_eq!(fake.channels.seen(known).unwrap().close_effective_at, Some(18_280));
    assert!(is_closing(&fake.look(known).await));
}

#[tokio::test]
async fn c11_a_close_that_a_refresh_sees_is_told_of_too() {
    let fake = Fake::start().await;
    let known = channel(1);
    fake.put(known, &Terms::fit());
    fake.look(known).await.unwrap();
    let mut changes = fake.channels.changes();
    fake.put(known, &Terms { close_at: Some(18_280), ..Terms::fit() });
    assert!(is_closing(&fake.refresh(known).await));
    assert_eq!(changes.recv().await, Ok(known));
}

#[tokio::test]
async fn c23_a_server_that_lags_takes_nothing_back() {
    let fake = Fake::start().await;
    let (topped_up, closing) = (channel(1), channel(2));
    fake.put(topped_up, &Terms::fit());
    fake.put(closing, &Terms::fit());
    fake.look(topped_up).await.unwrap();
    fake.look(closing).await.unwrap();
    let behind = fake.ledger().clone();
    fake.put(topped_up, &Terms { balance: 3_000, ..Terms::fit() });
    fake.put(closing, &Terms { close_at: Some(18_280), ..Terms::fit() });
    assert_eq!(fake.refresh(topped_up).await.unwrap().balance.units(), 3_000);
    assert!(is_closing(&fake.refresh(closing).await));
    fake.behave(|behaviour| behaviour.other = Some(behind));
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        let view = fake.refresh(topped_up).await.unwrap();
        assert_eq!((view.balance.units(), view.ledger), (3_000, 1_004));
        assert!(is_closing(&fake.look(closing).await));
    }
    assert_eq!(fake.channels.seen(closing).unwrap().close_effective_at, Some(18_280));
}

#[tokio::test]
async fn a_ledger_that_stands_still_is_too_old_before_long() {
    let fake = Fake::with(Duration::from_secs(3), Behaviour::default()).await;
    let known = channel(1);
    fake.put(known, &Terms::fit());
    fake.look(known).await.unwrap();
    // It goes on answering, always as of the same ledger.
    let stands = async {
        while !is_failed(&fake.look(known).await) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), stands).await.unwrap();
    fake.ledger().sequence += 1;
    until(|| fake.channels.seen(known).unwrap().ledger == 1_002).await;
    assert!(fake.look(known).await.is_ok());
}

#[tokio::test]
async fn what_was_known_and_is_missing_is_neither_open_nor_closed() {
    let fake = Fake::start().await;
    let known = channel(1);
    fake.put(known, &Terms { withdrawn: 200, ..Terms::fit() });
    fake.look(known).await.unwrap();
    fake.channels.keep_watching(known);
    let mut changes = fake.channels.changes();
    fake.ledger().remove(known);
    assert_eq!(changes.recv().await, Ok(known));
    assert_eq!(fake.look(known).await, Err(LookError::Unfit(Unfit::Missing)));
    let last = fake.channels.seen(known).unwrap();
    assert_eq!((last.deposited().units(), last.close_effective_at), (1_200, None));
    // Restored, it is as before.
    fake.put(known, &Terms { withdrawn: 200, ..Terms::fit() });
    assert_eq!(changes.recv().await, Ok(known));
    assert_eq!(fake.look(known).await.unwrap().deposited().units(), 1_200);
}

#[tokio::test]
async fn money_that_leaves_and_entries_that_end_soon_are_told_of() {
    let fake = Fake::start().await;
    let known = channel(1);
    fake.put(known, &Terms::fit());
    fake.look(known).await.unwrap();
    let mut changes = fake.channels.changes();
    let mut told = async |terms: Terms| {
        fake.put(known, &terms);
        assert_eq!(changes.recv().await, Ok(known));
        fake.channels.seen(known).unwrap()
    };
    let settled = Terms { withdrawn: 400, balance: 600, ..Terms::fit() };
    assert_eq!(told(settled).await.deposited().units(), 1_000);
    let clawed_back = Terms { balance: 100, ..settled };
    assert_eq!(told(clawed_back).await.deposited().units(), 500);
    let old = Terms { life: 30_000, ..clawed_back };
    assert!(told(old).await.ends_soon());
    let extended = Terms { life: 40_000, ..clawed_back };
    assert!(!told(extended).await.ends_soon());
    fake.look(known).await.unwrap();
    let archived = Terms { life: 0, ..clawed_back };
    told(archived).await;
    let expiring =
        Err(LookError::Unfit(Unfit::Expiring { live_until: 1_006, ledger: 1_006, least: 720 }));
    assert_eq!(fake.look(known).await, expiring);
}

#[tokio::test]
async fn what_is_kept_watched_is_seen_though_nobody_asks_and_whatever_its_token() {
    let fake = Fake::start().await;
    let other_token = Terms { token: ContractId([8; 32]), ..Terms::fit() };
    for number in 0..1_000 {
        let terms = if number % 2 == 0 { Terms::fit() } else { other_token };
        fake.put(channel(number), &terms);
    }
    let closing = Terms { close_at: Some(9_000), ..other_token };
    fake.put(channel(7), &closing);
    for number in 0..1_000 {
        fake.channels.keep_watching(channel(number));
    }
    let seen = || (0..1_000).all(|number| fake.channels.seen(channel(number)).is_some());
    until(seen).await;
    for number in 0..1_000 {
        let view = fake.channels.seen(channel(number)).unwrap();
        let token = if number % 2 == 0 { Terms::fit().token } else { other_token.token };
        assert_eq!((view.token, view.balance.units()), (token, 1_000), "{number}");
    }
    assert!(is_closing(&fake.look(channel(7)).await));
    assert!(fake.calls().iter().all(|keys| keys.len() <= 200));
    // While the ledger stands, one call a round finds out that there is nothing new.
    let before = fake.calls().len();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(fake.calls().len() <= before + 8);
    fake.channels.forget(channel(7));
    assert!(fake.channels.seen(channel(7)).is_none());
}
