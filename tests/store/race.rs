//! Who finds out what became of a pending payment races with who presents it: nothing is lost, and nothing sold twice.

use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::future::{join, join_all};
use tollgate::store::{Claiming, Outcome, Store};

use super::{claim, fresh, key, settled, submitting};

/// A payment that is submitted and that nobody holds.
async fn pending(store: &Store, n: u32) {
    let mut ticket = fresh(store, claim(n)).await;
    store.submitting(&mut ticket, submitting(1)).await.unwrap();
    store.release(ticket).await.unwrap();
}

on_every_store! {
    payments_that_are_resolved_while_they_are_presented_are_each_resolved_and_delivered_once,
    who_comes_late_with_what_was_found_changes_nothing,
}

async fn payments_that_are_resolved_while_they_are_presented_are_each_resolved_and_delivered_once(
    store: Store,
) {
    for n in 0..300 {
        pending(&store, n).await;
    }
    let (resolved, delivered) = (AtomicU32::new(0), AtomicU32::new(0));
    let settle = async |key, submitting| {
        if store.resolve(key, &submitting, Outcome::Settled(settled(1))).await.unwrap() {
            resolved.fetch_add(1, Ordering::Relaxed);
        }
    };
    // As after a restart: page by page, to the end.
    let resumer = async || {
        let mut after = None;
        loop {
            let page = store.pending(after).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some(last.key);
            join_all(page.into_iter().map(|found| settle(found.key, found.submitting))).await;
        }
    };
    // As a client that comes again until it has its answer.
    let client = async |n| {
        loop {
            match store.claim(claim(n)).await.unwrap() {
                Claiming::Pending(found) => settle(key(n), found).await,
                Claiming::Redeliver(ticket, _) => {
                    store.delivered(ticket, 200).await.unwrap();
                    delivered.fetch_add(1, Ordering::Relaxed);
                }
                Claiming::InFlight => tokio::task::yield_now().await,
                Claiming::Delivered { .. } => break,
                other => panic!("{n}: {other:?}"),
            }
        }
    };
    let clients = join_all((0..300).chain(100..200).map(client));
    join(join(resumer(), resumer()), clients).await;
    assert_eq!(resolved.into_inner(), 300);
    assert_eq!(delivered.into_inner(), 300);
    assert!(store.pending(None).await.unwrap().is_empty());
}

async fn who_comes_late_with_what_was_found_changes_nothing(store: Store) {
    let outcomes = || {
        let reason = "failed".to_owned();
        [Outcome::Free, Outcome::Refused { reason }, Outcome::Settled(settled(1))]
    };
    let late = async |n| {
        for outcome in outcomes() {
            assert!(!store.resolve(key(n), &submitting(1), outcome).await.unwrap());
        }
    };
    // Its client was first: it is free, and then claimed, submitted anew, settled, delivered.
    pending(&store, 1).await;
    assert!(store.resolve(key(1), &submitting(1), Outcome::Free).await.unwrap());
    late(1).await;
    let mut ticket = fresh(&store, claim(1)).await;
    late(1).await;
    store.submitting(&mut ticket, submitting(2)).await.unwrap();
    late(1).await;
    store.release(ticket).await.unwrap();
    late(1).await;
    let found = store.pending(None).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].submitting, submitting(2));
    assert!(store.resolve(key(1), &submitting(2), Outcome::Settled(settled(2))).await.unwrap());
    late(1).await;
    let found = store.claim(claim(1)).await.unwrap();
    let Claiming::Redeliver(ticket, found) = found else { panic!("{found:?}") };
    assert_eq!(found, settled(2));
    late(1).await;
    store.delivered(ticket, 200).await.unwrap();
    late(1).await;
    assert!(matches!(store.claim(claim(1)).await.unwrap(), Claiming::Delivered { .. }));
    // Of several that come at once, one is heard.
    pending(&store, 2).await;
    let heard = join_all(outcomes().map(|outcome| {
        let store = &store;
        async move { store.resolve(key(2), &submitting(1), outcome).await.unwrap() }
    }));
    assert_eq!(heard.await.into_iter().filter(|heard| *heard).count(), 1);
}
