//! What others are to be told waits until they were, and no more than has a bound.

use std::time::Duration;

use bytes::Bytes;
use tollgate::store::{
    Claiming, Delivery, Error, Notice, Outcome, Place, Receiver, Store, Subscription, Told, Topic,
    channel::Token,
};

use super::{Folder, NOW, claim, fresh, key, settled, stores, submitting};

const HERE: Receiver = Receiver([1; 8]);
const THERE: Receiver = Receiver([2; 8]);

fn notice(receiver: Receiver, n: u32) -> Notice {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&n.to_be_bytes());
    Notice { receiver, id, at: NOW + u64::from(n), body: Bytes::from(format!("notice {n}")) }
}

fn notices(receiver: Receiver, range: std::ops::Range<u32>) -> Vec<Notice> {
    range.map(|n| notice(receiver, n)).collect()
}

/// All that waits for `receiver`, and how much of it was dropped.
async fn waiting(store: &Store, receiver: Receiver) -> (Vec<(Place, Notice)>, u64) {
    let (mut found, mut dropped, mut after) = (Vec::new(), 0, None);
    loop {
        let page = store.waiting(receiver, after).await.unwrap();
        found.extend(page.notices);
        dropped += page.dropped;
        after = page.next;
        if after.is_none() {
            assert_eq!(page.waiting, u64::try_from(found.len()).unwrap());
            return (found, dropped);
        }
    }
}

async fn said(store: &Store, receiver: Receiver) -> Vec<Notice> {
    waiting(store, receiver).await.0.into_iter().map(|(_, notice)| notice).collect()
}

on_every_store! {
    what_is_told_waits_in_its_order_until_it_has_arrived,
    a_step_and_what_it_tells_are_one,
    an_outcome_that_is_found_is_told_by_who_recorded_it,
    of_too_much_the_oldest_is_dropped_and_counted,
    who_subscribes_is_told,
    what_has_become_of_a_settled_payment_is_known,
}

async fn what_is_told_waits_in_its_order_until_it_has_arrived(store: Store) {
    assert_eq!(said(&store, HERE).await, []);
    let mut news = store.news();
    store.tell(notices(HERE, 0..150)).await.unwrap();
    assert!(news.has_changed().unwrap());
    news.borrow_and_update();
    store.tell(notices(THERE, 500..501)).await.unwrap();
    store.tell(notices(HERE, 150..151)).await.unwrap();
    assert_eq!(said(&store, HERE).await, notices(HERE, 0..151));
    assert_eq!(said(&store, THERE).await, notices(THERE, 500..501));
    let (found, _) = waiting(&store, HERE).await;
    assert!(found.is_sorted_by_key(|(place, _)| *place));
    let arrived: Vec<_> =
        found.iter().map(|(place, _)| *place).filter(|place| *place != found[7].0).collect();
    store.arrived(HERE, arrived.clone()).await.unwrap();
    // Said twice, it changes nothing.
    store.arrived(HERE, arrived).await.unwrap();
    assert_eq!(said(&store, HERE).await, notices(HERE, 7..8));
    assert_eq!(said(&store, THERE).await, notices(THERE, 500..501));
    // After the last one there is nothing.
    let page = store.waiting(HERE, Some(found[150].0)).await.unwrap();
    assert_eq!((page.notices.len(), page.next), (0, None));
}

async fn a_step_and_what_it_tells_are_one(store: Store) {
    let mut ticket = fresh(&store, claim(1)).await;
    store.submitting(&mut ticket, submitting(1)).await.unwrap();
    ticket.tell(notices(HERE, 0..1));
    assert_eq!(said(&store, HERE).await, []);
    store.settled(&mut ticket, settled(1)).await.unwrap();
    assert_eq!(said(&store, HERE).await, notices(HERE, 0..1));
    // A step that is refused tells nothing.
    ticket.tell(notices(HERE, 1..2));
    let refused = store.settled(&mut ticket, settled(2)).await;
    assert!(matches!(refused, Err(Error::OutOfOrder { .. })), "{refused:?}");
    assert_eq!(said(&store, HERE).await, notices(HERE, 0..1));
    // Its last step tells too, though it changes no record.
    ticket.tell(notices(HERE, 2..3));
    store.release(ticket).await.unwrap();
    let expected = [notice(HERE, 0), notice(HERE, 2)];
    assert_eq!(said(&store, HERE).await, expected);
    let Claiming::Redeliver(ticket, _) = store.claim(claim(1)).await.unwrap() else { panic!() };
    store.delivered(ticket, 200).await.unwrap();
    assert_eq!(said(&store, HERE).await, expected);
}

async fn an_outcome_that_is_found_is_told_by_who_recorded_it(store: Store) {
    let mut ticket = fresh(&store, claim(1)).await;
    store.submitting(&mut ticket, submitting(1)).await.unwrap();
    drop(ticket);
    let resolve = async |n: u32| {
        let outcome = Outcome::Settled(settled(1));
        let told = notices(HERE, n..n + 1);
        store.resolve_and_tell(key(1), &submitting(1), outcome, told).await.unwrap()
    };
    // The ticket is let go of in its own time.
    let mut tries = 0;
    while !resolve(7).await {
        tries += 1;
        assert!(tries < 100);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!resolve(8).await);
    assert_eq!(said(&store, HERE).await, notices(HERE, 7..8));
}

async fn of_too_much_the_oldest_is_dropped_and_counted(store: Store) {
    for thousand in 0..10 {
        store.tell(notices(HERE, thousand * 1_000..(thousand + 1) * 1_000)).await.unwrap();
    }
    store.tell(notices(THERE, 0..1)).await.unwrap();
    assert_eq!(store.waiting(HERE, None).await.unwrap().dropped, 0);
    store.tell(notices(HERE, 10_000..10_005)).await.unwrap();
    let (found, dropped) = waiting(&store, HERE).await;
    assert_eq!((found.len(), dropped), (10_000, 5));
    assert_eq!((&found[0].1, &found[9_999].1), (&notice(HERE, 5), &notice(HERE, 10_004)));
    assert_eq!(store.waiting(HERE, None).await.unwrap().dropped, 0, "it is told once");
    assert_eq!(said(&store, THERE).await, notices(THERE, 0..1));
    // There is room again for as many as have arrived.
    store.arrived(HERE, vec![found[3].0, found[4].0]).await.unwrap();
    store.tell(notices(HERE, 10_005..10_007)).await.unwrap();
    assert_eq!(store.waiting(HERE, None).await.unwrap().dropped, 0);
}

async fn who_subscribes_is_told(store: Store) {
    let told = || Told { id: [7; 16], at: NOW, body: Bytes::from_static(b"it") };
    assert_eq!(store.notices(Topic(1), || panic!("nobody asked")), []);
    let subscription = |receiver, topics: &[u8]| Subscription {
        receiver,
        topics: topics.iter().copied().map(Topic).collect(),
    };
    store.subscribe(vec![subscription(HERE, &[1, 2]), subscription(THERE, &[2])]);
    let made = store.notices(Topic(2), told);
    store.tell(made).await.unwrap();
    store.tell(store.notices(Topic(1), told)).await.unwrap();
    assert_eq!(store.notices(Topic(3), told), []);
    assert_eq!((said(&store, HERE).await.len(), said(&store, THERE).await.len()), (2, 1));
    // What waits stays, whoever subscribes.
    store.subscribe(Vec::new());
    assert_eq!(store.notices(Topic(1), told), []);
    assert_eq!(said(&store, HERE).await.len(), 2);
}

async fn what_has_become_of_a_settled_payment_is_known(store: Store) {
    let known = async || store.delivery(key(1)).await.unwrap();
    assert_eq!(known().await, Delivery::Done, "there is none");
    let mut ticket = fresh(&store, claim(1)).await;
    assert_eq!(known().await, Delivery::UnderWay);
    store.settled(&mut ticket, settled(1)).await.unwrap();
    assert_eq!(known().await, Delivery::UnderWay);
    store.release(ticket).await.unwrap();
    assert_eq!(known().await, Delivery::Missing);
    let Claiming::Redeliver(ticket, _) = store.claim(claim(1)).await.unwrap() else { panic!() };
    assert_eq!(known().await, Delivery::UnderWay);
    store.delivered(ticket, 200).await.unwrap();
    assert_eq!(known().await, Delivery::Done);
}

#[tokio::test]
async fn what_waits_in_a_file_outlives_the_process_and_is_forgotten_in_its_time() {
    let folder = Folder::new();
    let store = Store::open(folder.file()).await.unwrap();
    store.tell(notices(HERE, 0..3)).await.unwrap();
    store.close().await.unwrap();
    let store = Store::open(folder.file()).await.unwrap();
    assert_eq!(said(&store, HERE).await, notices(HERE, 0..3));
    store.tell(notices(HERE, 3..4)).await.unwrap();
    assert_eq!(said(&store, HERE).await, notices(HERE, 0..4));
    store.forget_notices(NOW + 2).await.unwrap();
    assert_eq!(said(&store, HERE).await, notices(HERE, 2..4));
    assert!(store.is_teller(HERE, Token([1; 16]), LEASE).await.unwrap());
}

#[tokio::test]
async fn of_two_gateways_one_tells_until_it_does_not_ask_any_more() {
    let server = stores::server().await;
    let (one, other) = (stores::on(&server).await, stores::on(&server).await);
    let (ours, theirs) = (Token([1; 16]), Token([2; 16]));
    one.tell(notices(HERE, 0..1)).await.unwrap();
    assert_eq!(said(&other, HERE).await, notices(HERE, 0..1));
    assert!(one.is_teller(HERE, ours, LEASE).await.unwrap());
    assert!(!other.is_teller(HERE, theirs, LEASE).await.unwrap());
    assert!(other.is_teller(THERE, theirs, LEASE).await.unwrap());
    // It goes on, for a moment only.
    assert!(one.is_teller(HERE, ours, Duration::from_millis(50)).await.unwrap());
    let mut tries = 0;
    while !other.is_teller(HERE, theirs, LEASE).await.unwrap() {
        tries += 1;
        assert!(tries < 200, "the lease ends");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!one.is_teller(HERE, ours, LEASE).await.unwrap());
    // What was told stands on the disk, and what has arrived does not.
    let (found, _) = waiting(&one, HERE).await;
    other.arrived(HERE, vec![found[0].0]).await.unwrap();
    assert_eq!(said(&one, HERE).await, []);
}

const LEASE: Duration = Duration::from_secs(600);
