//! The store through its verbs: a payment buys one delivery, whatever is done to it and whenever the process dies.

#![expect(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "a test ends where it finds something else"
)]

#[macro_use]
mod stores;

mod alias;
mod channel;
mod cluster;
mod crash;
mod model;
mod outbox;
mod race;
#[path = "../support/relay.rs"]
mod relay;
mod server;
mod servers;
mod shared;
#[path = "../support/redis.rs"]
mod support;

use std::{path::PathBuf, time::Duration};

use bytes::Bytes;
use futures_util::future::join_all;
use tollgate::{
    protocol::stellar::TxHash,
    store::{
        Binding, Claim, ClaimKey, Claiming, Error, Outcome, Redelivery, Settled, Store, Submitting,
        Ticket,
    },
};

fn claim(n: u32) -> Claim {
    Claim {
        key: key(n),
        alias: None,
        binding: Binding([0; 32]),
        now: NOW,
        keep_until: KEEP,
        redelivery: REDELIVERY,
    }
}

fn key(n: u32) -> ClaimKey {
    let mut key = [0x5a; 32];
    key[..4].copy_from_slice(&n.to_be_bytes());
    ClaimKey(key)
}

fn submitting(n: u8) -> Submitting {
    Submitting {
        transaction: Some(TxHash([n; 32])),
        valid_until: NOW + 60,
        since_ledger: 7,
        memo: Bytes::from_static(b"who paid"),
    }
}

fn settled(n: u8) -> Settled {
    Settled { transaction: Some(TxHash([n; 32])), receipt: vec![n; 30].into(), at: NOW }
}

/// The steps of a payment that goes well.
async fn settle_and_deliver(store: &Store, mut ticket: Ticket, settled: Settled, status: u16) {
    store.settled(&mut ticket, settled).await.unwrap();
    store.delivered(ticket, status).await.unwrap();
}

async fn fresh(store: &Store, claim: Claim) -> Ticket {
    match store.claim(claim).await.unwrap() {
        Claiming::Fresh(ticket) => ticket,
        other => panic!("expected a fresh claim, got {other:?}"),
    }
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("state.redb")
    }
}

on_every_store! {
    of_fifty_copies_of_a_payment_one_is_admitted,
    a_payment_belongs_to_the_request_that_it_was_made_for,
    a_settled_payment_may_be_presented_again_as_often_and_as_long_as_agreed,
    a_ticket_that_is_dropped_lets_go_of_its_claim,
    a_submission_stays_pending_until_it_is_resolved_or_recalled,
    a_step_may_be_repeated_and_never_taken_back,
}

/// Case A02.
async fn of_fifty_copies_of_a_payment_one_is_admitted(store: Store) {
    let mut admitted = Vec::new();
    for claiming in join_all((0..50).map(|_| store.claim(claim(1)))).await {
        match claiming.unwrap() {
            Claiming::Fresh(ticket) => admitted.push(ticket),
            Claiming::InFlight => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(admitted.len(), 1);
    // And once it is delivered, none ever again.
    settle_and_deliver(&store, admitted.remove(0), settled(1), 200).await;
    for claiming in join_all((0..50).map(|_| store.claim(claim(1)))).await {
        assert!(
            matches!(claiming.unwrap(), Claiming::Delivered { settled: found, .. } if found == settled(1))
        );
    }
    // Another payment is another matter.
    fresh(&store, claim(2)).await;
}

/// Case A07.
async fn a_payment_belongs_to_the_request_that_it_was_made_for(store: Store) {
    let elsewhere = Claim { binding: Binding([1; 32]), ..claim(1) };
    let ticket = fresh(&store, claim(1)).await;
    let asked = store.claim(elsewhere.clone()).await.unwrap();
    assert!(matches!(asked, Claiming::OtherRequest), "while it is in flight: {asked:?}");
    settle_and_deliver(&store, ticket, settled(1), 200).await;
    let asked = store.claim(elsewhere).await.unwrap();
    assert!(matches!(asked, Claiming::OtherRequest), "once it is delivered: {asked:?}");
}

async fn a_settled_payment_may_be_presented_again_as_often_and_as_long_as_agreed(store: Store) {
    let mut ticket = fresh(&store, claim(1)).await;
    store.settled(&mut ticket, settled(1)).await.unwrap();
    store.release(ticket).await.unwrap();
    for attempt in 2..=REDELIVERY.attempts {
        match store.claim(claim(1)).await.unwrap() {
            Claiming::Redeliver(ticket, found) => {
                assert_eq!(found, settled(1));
                store.release(ticket).await.unwrap();
            }
            other => panic!("attempt {attempt}: {other:?}"),
        }
    }
    assert!(matches!(store.claim(claim(1)).await.unwrap(), Claiming::Exhausted));

    let mut ticket = fresh(&store, claim(2)).await;
    store.settled(&mut ticket, settled(2)).await.unwrap();
    store.release(ticket).await.unwrap();
    let last = NOW + REDELIVERY.within.as_secs();
    // What a later claim says is not the terms that were paid for.
    let after =
        Claim { now: last + 1, redelivery: Redelivery { attempts: 99, ..REDELIVERY }, ..claim(2) };
    assert!(matches!(store.claim(after).await.unwrap(), Claiming::Exhausted));
    match store.claim(Claim { now: last, ..claim(2) }).await.unwrap() {
        Claiming::Redeliver(ticket, _) => store.delivered(ticket, 304).await.unwrap(),
        other => panic!("{other:?}"),
    }
    // What was delivered is told again: its receipt, and the status of its answer.
    match store.claim(claim(2)).await.unwrap() {
        Claiming::Delivered { settled: found, status } => {
            assert_eq!((found, status), (settled(2), 304));
        }
        other => panic!("{other:?}"),
    }
}

async fn a_ticket_that_is_dropped_lets_go_of_its_claim(store: Store) {
    drop(fresh(&store, claim(1)).await);
    // Letting go is queued before the next claim is.
    let mut ticket = fresh(&store, claim(1)).await;
    store.settled(&mut ticket, settled(1)).await.unwrap();
    drop(ticket);
    assert!(matches!(store.claim(claim(1)).await.unwrap(), Claiming::Redeliver(..)));
}

async fn a_submission_stays_pending_until_it_is_resolved_or_recalled(store: Store) {
    let mut ticket = fresh(&store, claim(1)).await;
    let unnamed = Submitting { transaction: None, ..submitting(1) };
    store.submitting(&mut ticket, unnamed.clone()).await.unwrap();
    // The hash is learned later, and does not change then.
    store.submitting(&mut ticket, submitting(1)).await.unwrap();
    let changed = store.submitting(&mut ticket, submitting(2)).await;
    assert!(matches!(changed, Err(Error::OutOfOrder { .. })), "{changed:?}");
    // Certain never to land: another one may be sent.
    store.recall(&mut ticket).await.unwrap();
    store.submitting(&mut ticket, submitting(3)).await.unwrap();
    // While it is held, it is its holder's to resolve.
    let outcome = Outcome::Settled(settled(3));
    assert!(!store.resolve(key(1), &submitting(3), outcome.clone()).await.unwrap());
    // Giving up does not make it free.
    store.release(ticket).await.unwrap();
    let found = store.claim(claim(1)).await.unwrap();
    assert!(matches!(&found, Claiming::Pending(found) if *found == submitting(3)), "{found:?}");
    // What was known of another submission says nothing about this one.
    assert!(!store.resolve(key(1), &submitting(1), Outcome::Free).await.unwrap());
    assert!(store.resolve(key(1), &submitting(3), outcome).await.unwrap());
    for attempt in 1..=REDELIVERY.attempts {
        let found = store.claim(claim(1)).await.unwrap();
        assert!(matches!(found, Claiming::Redeliver(..)), "attempt {attempt}: {found:?}");
    }
    assert!(matches!(store.claim(claim(1)).await.unwrap(), Claiming::Exhausted));

    for (n, outcome) in
        [(2, Outcome::Free), (3, Outcome::Refused { reason: "it failed".to_owned() })]
    {
        let mut ticket = fresh(&store, claim(n)).await;
        store.submitting(&mut ticket, submitting(1)).await.unwrap();
        store.release(ticket).await.unwrap();
        assert!(store.resolve(key(n), &submitting(1), outcome).await.unwrap());
    }
    fresh(&store, claim(2)).await;
    let refused = store.claim(claim(3)).await.unwrap();
    assert!(
        matches!(&refused, Claiming::Refused { reason } if reason == "it failed"),
        "{refused:?}"
    );
}

async fn a_step_may_be_repeated_and_never_taken_back(store: Store) {
    let mut ticket = fresh(&store, claim(1)).await;
    for _ in 0..2 {
        store.submitting(&mut ticket, submitting(1)).await.unwrap();
    }
    for _ in 0..2 {
        store.settled(&mut ticket, settled(1)).await.unwrap();
    }
    let backwards = [
        store.submitting(&mut ticket, submitting(1)).await,
        store.recall(&mut ticket).await,
        store.settled(&mut ticket, settled(2)).await,
        store.refuse(ticket, "changed my mind").await,
    ];
    for refused in backwards {
        assert!(matches!(refused, Err(Error::OutOfOrder { .. })), "{refused:?}");
    }
    let found = store.claim(claim(1)).await.unwrap();
    assert!(matches!(&found, Claiming::Redeliver(_, found) if *found == settled(1)), "{found:?}");
    // Not settled, not delivered.
    let ticket = fresh(&store, claim(2)).await;
    assert!(matches!(store.delivered(ticket, 200).await, Err(Error::OutOfOrder { .. })));
    fresh(&store, claim(2)).await;
}

#[tokio::test]
async fn what_was_recorded_is_there_after_a_restart_and_holds_are_not() {
    let folder = Folder::new();
    let store = Store::open(folder.file()).await.unwrap();
    let secret = store.secret("quotes").await.unwrap();
    assert_ne!(secret, store.secret("another").await.unwrap());
    assert_eq!(secret, store.secret("quotes").await.unwrap());
    let held = fresh(&store, claim(1)).await;
    let mut submitted = fresh(&store, claim(2)).await;
    store.submitting(&mut submitted, submitting(2)).await.unwrap();
    let mut undelivered = fresh(&store, claim(3)).await;
    store.settled(&mut undelivered, settled(3)).await.unwrap();
    let ticket = fresh(&store, claim(4)).await;
    settle_and_deliver(&store, ticket, settled(4), 206).await;
    let ticket = fresh(&store, claim(5)).await;
    store.refuse(ticket, "no money").await.unwrap();
    store.close().await.unwrap();
    assert!(matches!(store.claim(claim(9)).await, Err(Error::Stopped { .. })));

    let store = Store::open(folder.file()).await.unwrap();
    assert_eq!(store.secret("quotes").await.unwrap(), secret);
    fresh(&store, claim(1)).await;
    let found = store.claim(claim(2)).await.unwrap();
    assert!(matches!(&found, Claiming::Pending(found) if *found == submitting(2)), "{found:?}");
    assert_eq!(store.pending(None).await.unwrap().len(), 1);
    let found = store.claim(claim(3)).await.unwrap();
    assert!(matches!(&found, Claiming::Redeliver(_, found) if *found == settled(3)), "{found:?}");
    match store.claim(claim(4)).await.unwrap() {
        Claiming::Delivered { settled: found, status } => {
            assert_eq!((found, status), (settled(4), 206));
        }
        other => panic!("{other:?}"),
    }
    let refused = store.claim(claim(5)).await.unwrap();
    assert!(matches!(&refused, Claiming::Refused { reason } if reason == "no money"));
    // Tickets of the process before mean nothing here.
    drop(found);
    let late = store.delivered(undelivered, 200).await;
    assert!(matches!(late, Err(Error::OutOfOrder { .. })), "{late:?}");
    drop((held, submitted));
    assert!(matches!(store.claim(claim(3)).await.unwrap(), Claiming::Redeliver(..)));
}

/// Case K14.
#[tokio::test]
async fn a_second_process_is_refused_the_file() {
    let folder = Folder::new();
    let store = Store::open(folder.file()).await.unwrap();
    let second = Store::open(folder.file()).await;
    assert!(matches!(&second, Err(Error::Locked { path }) if *path == folder.file()), "{second:?}");
    store.close().await.unwrap();
    Store::open(folder.file()).await.unwrap();
}

#[tokio::test]
async fn a_file_that_cannot_be_opened_says_why() {
    let folder = Folder::new();
    let missing = Store::open(folder.0.path().join("not/there.redb")).await;
    assert!(matches!(missing, Err(Error::NoFolder { .. })), "{missing:?}");
    let a_folder = Store::open(folder.0.path()).await;
    assert!(matches!(a_folder, Err(Error::Open { .. })), "{a_folder:?}");
    std::fs::write(folder.file(), b"this is no database ".repeat(500)).unwrap();
    let garbage = Store::open(folder.file()).await;
    assert!(matches!(garbage, Err(Error::Corrupt { .. })), "{garbage:?}");
}

/// Case K11.
#[tokio::test]
async fn a_file_of_another_version_is_refused() {
    let folder = Folder::new();
    let store = Store::open(folder.file()).await.unwrap();
    store.close().await.unwrap();
    for found in [1, 5] {
        let db = redb::Database::open(folder.file()).unwrap();
        let tx = db.begin_write().unwrap();
        let meta: redb::TableDefinition<'_, &str, &[u8]> = redb::TableDefinition::new("meta");
        tx.open_table(meta).unwrap().insert("format", [found].as_slice()).unwrap();
        tx.commit().unwrap();
        drop(db);
        let refused = Store::open(folder.file()).await;
        let is_told = |told: &Error| matches!(told, Error::UnknownFormat { found: f, known: 4 } if *f == found);
        assert!(refused.as_ref().is_err_and(is_told), "{refused:?}");
    }
}

/// Its twin: the version before the last wrote accounts whole.
#[tokio::test]
async fn a_file_without_a_log_is_taken_over() {
    let folder = Folder::new();
    let store = Store::open(folder.file()).await.unwrap();
    let secret = store.secret("s").await.unwrap();
    store.close().await.unwrap();
    let db = redb::Database::open(folder.file()).unwrap();
    let tx = db.begin_write().unwrap();
    let log: redb::TableDefinition<'_, u64, &[u8]> = redb::TableDefinition::new("log");
    assert!(tx.delete_table(log).unwrap());
    let meta: redb::TableDefinition<'_, &str, &[u8]> = redb::TableDefinition::new("meta");
    tx.open_table(meta).unwrap().insert("format", [3].as_slice()).unwrap();
    tx.commit().unwrap();
    drop(db);
    let store = Store::open(folder.file()).await.unwrap();
    assert_eq!(store.secret("s").await.unwrap(), secret);
}

#[tokio::test]
async fn the_file_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder::new();
    Store::open(folder.file()).await.unwrap();
    let mode = std::fs::metadata(folder.file()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

const NOW: u64 = 1_900_000_000;
const KEEP: u64 = NOW + 3_600;
const WITHIN: u64 = 120;
const REDELIVERY: Redelivery = Redelivery { attempts: 3, within: Duration::from_secs(WITHIN) };
