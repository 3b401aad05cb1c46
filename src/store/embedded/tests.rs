//! What the file promises, against a disk that the test controls.

#![expect(clippy::arithmetic_side_effects, reason = "small numbers of a test")]

mod alias;
mod channel;
mod disk;

use bytes::Bytes;
use proptest::prelude::*;

use self::disk::{Disk, Event, numbers};
use super::*;
use crate::{
    protocol::stellar::TxHash,
    store::{Binding, Redelivery, Settled, Store, Ticket},
};

async fn store_on(disk: &Disk) -> Result<Store, Error> {
    Embedded::start_on(disk.clone(), u64::MAX).await.map(Store::on_file)
}

fn claim(n: u8) -> Claim {
    Claim {
        key: ClaimKey([n; 32]),
        alias: Some(alias(n)),
        binding: Binding([0; 32]),
        now: 1_000,
        keep_until: 2_000,
        redelivery: Redelivery { attempts: 3, within: Duration::from_secs(500) },
    }
}

fn alias(n: u8) -> ClaimKey {
    ClaimKey([!n; 32])
}

fn submitting(n: u8) -> Submitting {
    Submitting {
        transaction: Some(TxHash([n; 32])),
        valid_until: 1_500,
        since_ledger: 7,
        memo: Bytes::from_static(b"memo"),
    }
}

fn settled(n: u8) -> Settled {
    Settled { transaction: Some(TxHash([n; 32])), receipt: vec![n; 40].into(), at: 1_010 }
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

/// What a step was answered with, and how much the disk had seen by then.
struct Acknowledged {
    n: u8,
    step: &'static str,
    events: usize,
}

/// Case K02.
#[tokio::test]
async fn power_lost_at_any_point_loses_nothing_that_was_acknowledged() {
    let disk = Disk::default();
    let store = store_on(&disk).await.unwrap();
    let mut acknowledged = Vec::new();
    let mut ack = |n, step| acknowledged.push(Acknowledged { n, step, events: disk.events() });
    for n in 1..=24 {
        let mut ticket = fresh(&store, claim(n)).await;
        store.submitting(&mut ticket, submitting(n)).await.unwrap();
        ack(n, "submitting");
        store.settled(&mut ticket, settled(n)).await.unwrap();
        ack(n, "settled");
        store.delivered(ticket, 200).await.unwrap();
        ack(n, "delivered");
    }
    let secret = store.secret("quotes").await.unwrap();
    let secret_at = disk.events();
    // Not closed: the power goes.
    let log = disk.log();
    drop(store);

    let mut random = numbers(7);
    for (seen, after) in disk::after_power_losses(&log) {
        let Some(last) = acknowledged.iter().rposition(|ack| ack.events <= seen) else {
            continue;
        };
        let store = store_on(&Disk::of(after)).await.unwrap();
        // The latest of them, and one from before.
        for ack in [&acknowledged[last], &acknowledged[random(last + 1)]] {
            let step = acknowledged[..=last].iter().rfind(|other| other.n == ack.n).unwrap().step;
            let found = store.claim(claim(ack.n)).await.unwrap();
            let held = match (step, &found) {
                ("submitting", Claiming::Pending(found)) => *found == submitting(ack.n),
                ("submitting" | "settled", Claiming::Redeliver(_, found)) => {
                    *found == settled(ack.n)
                }
                (_, Claiming::Delivered { settled: found, .. }) => *found == settled(ack.n),
                _ => false,
            };
            assert!(held, "power lost after event {seen}: {} was {step}, found {found:?}", ack.n);
        }
        if secret_at <= seen {
            assert_eq!(store.secret("quotes").await.unwrap(), secret);
        }
    }
}

#[tokio::test]
async fn a_failed_sync_stops_the_store_for_good() {
    let disk = Disk::default();
    let store = store_on(&disk).await.unwrap();
    let mut before = fresh(&store, claim(1)).await;
    store.settled(&mut before, settled(1)).await.unwrap();
    assert!(store.is_running());

    disk.fail_syncs_after(Some(0));
    let failed = store.delivered(before, 200).await;
    assert!(matches!(failed, Err(Error::Stopped { .. })), "{failed:?}");
    // The disk is well again, and nobody knows what it holds.
    disk.fail_syncs_after(None);
    for _ in 0..3 {
        let refused = store.claim(claim(2)).await;
        assert!(matches!(refused, Err(Error::Stopped { .. })), "{refused:?}");
    }
    assert!(!store.is_running());

    let store = store_on(&Disk::of(disk.bytes())).await.unwrap();
    let found = store.claim(claim(1)).await.unwrap();
    assert!(matches!(found, Claiming::Redeliver(..) | Claiming::Delivered { .. }), "{found:?}");
}

#[tokio::test]
async fn a_step_that_comes_too_late_is_carried_out_all_the_same() {
    let disk = Disk::default();
    let store = store_on(&disk).await.unwrap();
    let mut ticket = fresh(&store, claim(1)).await;
    store.settled(&mut ticket, settled(1)).await.unwrap();
    let (_begun, go_on) = disk.stall();
    tokio::time::pause();
    let late = store.delivered(ticket, 200).await;
    assert!(matches!(late, Err(Error::Unreachable { .. })), "{late:?}");
    tokio::time::resume();
    go_on.send(()).unwrap();
    let found = store.claim(claim(1)).await.unwrap();
    assert!(matches!(found, Claiming::Delivered { .. }), "{found:?}");
}

#[tokio::test]
async fn nothing_is_written_for_claims_that_come_to_nothing() {
    let disk = Disk::default();
    let store = store_on(&disk).await.unwrap();
    let before = disk.events();
    for n in 0..100 {
        let ticket = fresh(&store, claim(n)).await;
        assert!(matches!(store.claim(claim(n)).await.unwrap(), Claiming::InFlight));
        if n % 2 == 0 {
            store.release(ticket).await.unwrap();
        }
    }
    assert_eq!(disk.events(), before);
    let ticket = fresh(&store, claim(200)).await;
    settle_and_deliver(&store, ticket, settled(200), 200).await;
    assert!(disk.events() > before);
}

#[tokio::test]
async fn steps_that_wait_together_share_one_sync() {
    let disk = Disk::default();
    let store = store_on(&disk).await.unwrap();
    let mut tickets = Vec::new();
    for n in 0..64 {
        tickets.push(fresh(&store, claim(n)).await);
    }
    let syncs = || disk.log().iter().filter(|event| matches!(event, Event::Sync)).count();
    let before = syncs();
    // Joined futures put all their wishes into the queue before the first of them waits.
    let payments =
        tickets.into_iter().map(|ticket| settle_and_deliver(&store, ticket, settled(1), 200));
    futures_util::future::join_all(payments).await;
    let used = syncs() - before;
    assert!(used <= 16, "128 steps took {used} syncs");
}

/// Case A26.
#[tokio::test]
async fn a_record_is_forgotten_after_its_time_and_never_before() {
    let disk = Disk::default();
    let store = store_on(&disk).await.unwrap();
    let at = |n, now, keep_until| Claim { now, keep_until, ..claim(n) };
    // Delivered; refused; settled and not delivered; pending.
    let ticket = fresh(&store, at(1, 1_000, 2_000)).await;
    settle_and_deliver(&store, ticket, settled(1), 200).await;
    let ticket = fresh(&store, at(2, 1_000, 2_000)).await;
    store.refuse(ticket, "no money").await.unwrap();
    let mut ticket = fresh(&store, at(3, 1_000, 1_200)).await;
    store.settled(&mut ticket, settled(3)).await.unwrap();
    store.release(ticket).await.unwrap();
    let mut ticket = fresh(&store, at(4, 1_000, 1_200)).await;
    store.submitting(&mut ticket, submitting(4)).await.unwrap();
    store.release(ticket).await.unwrap();

    let mut other = 100;
    let mut write_at = async |now| {
        other += 1;
        let ticket = fresh(&store, at(other, now, u64::MAX)).await;
        settle_and_deliver(&store, ticket, settled(other), 200).await;
    };
    // Past what 3 was kept for as a credential, but it may be presented until 1,510.
    write_at(1_500).await;
    let again = store.claim(at(3, 1_500, 1_200)).await.unwrap();
    assert!(matches!(again, Claiming::Redeliver(..)), "{again:?}");
    drop(again);
    write_at(2_000).await;
    assert!(matches!(store.claim(at(1, 2_000, 0)).await.unwrap(), Claiming::Delivered { .. }));
    // The alias is remembered as long as its payment.
    let rival = |n, now| Claim { alias: Some(alias(n)), ..at(99, now, 0) };
    let taken = store.claim(rival(1, 2_000)).await.unwrap();
    assert!(matches!(taken, Claiming::AliasTaken(_)), "{taken:?}");
    assert!(matches!(store.claim(at(2, 2_000, 0)).await.unwrap(), Claiming::Refused { .. }));
    write_at(2_001).await;
    for n in [1, 2, 3] {
        for claim in [at(n, 2_001, 0), rival(n, 2_001)] {
            let found = store.claim(claim).await.unwrap();
            assert!(matches!(found, Claiming::Fresh(_)), "{n}: {found:?}");
        }
    }
    // What is pending is money whose whereabouts are not known.
    write_at(u64::MAX).await;
    assert!(matches!(store.claim(at(4, u64::MAX, 0)).await.unwrap(), Claiming::Pending(_)));
    let taken = store.claim(rival(4, u64::MAX)).await.unwrap();
    assert!(matches!(taken, Claiming::AliasTaken(_)), "{taken:?}");
}

#[tokio::test]
async fn a_redelivery_under_way_is_not_forgotten_under_its_holder() {
    let store = store_on(&Disk::default()).await.unwrap();
    let mut ticket = fresh(&store, claim(1)).await;
    store.settled(&mut ticket, settled(1)).await.unwrap();
    store.release(ticket).await.unwrap();
    let Claiming::Redeliver(ticket, _) = store.claim(claim(1)).await.unwrap() else {
        panic!("a settled claim may be presented again");
    };
    let late = Claim { now: 9_000, keep_until: 10_000, ..claim(2) };
    let other = fresh(&store, late).await;
    settle_and_deliver(&store, other, settled(2), 200).await;
    store.delivered(ticket, 200).await.unwrap();
}

#[tokio::test]
async fn a_busy_store_forgets_as_fast_as_it_learns() {
    let disk = Disk::default();
    let store = store_on(&disk).await.unwrap();
    let mut length = 0;
    for round in 0_u64..40 {
        for n in 0..50 {
            let now = 1_000 + round * 10;
            let claim = Claim { now, keep_until: now + 20, ..claim(n) };
            let (key, alias) = (key(round, n), Some(key(round, n)));
            let ticket = fresh(&store, Claim { key, alias, ..claim }).await;
            settle_and_deliver(&store, ticket, Settled { at: 0, ..settled(n) }, 200).await;
        }
        if round == 20 {
            length = disk.bytes().len();
        }
    }
    assert_eq!(disk.bytes().len(), length, "the file does not grow any more");
}

#[tokio::test]
async fn a_clock_that_jumps_ahead_for_a_moment_has_nothing_forgotten() {
    let disk = Disk::default();
    let store = Embedded::start_on(disk, 60).await.map(Store::on_file).unwrap();
    let at = |n, now, keep_until| Claim { now, keep_until, ..claim(n) };
    let deliver = async |claim| {
        let ticket = fresh(&store, claim).await;
        settle_and_deliver(&store, ticket, settled(1), 200).await;
    };
    deliver(at(1, 1_000, 2_000)).await;
    deliver(at(2, 100_000, 200_000)).await;
    deliver(at(3, 1_001, 2_000)).await;
    let again = store.claim(at(1, 1_001, 2_000)).await.unwrap();
    assert!(matches!(again, Claiming::Delivered { .. }), "{again:?}");
}

#[tokio::test]
async fn a_delivery_that_reached_nothing_is_no_attempt() {
    let store = store_on(&Disk::default()).await.unwrap();
    let once = Redelivery { attempts: 1, ..claim(1).redelivery };
    let mut ticket = fresh(&store, Claim { redelivery: once, ..claim(1) }).await;
    store.settled(&mut ticket, settled(1)).await.unwrap();
    for _ in 0..3 {
        store.release_untried(ticket).await.unwrap();
        let Claiming::Redeliver(again, _) = store.claim(claim(1)).await.unwrap() else {
            panic!("no attempt was made")
        };
        ticket = again;
    }
    store.release(ticket).await.unwrap();
    let over = store.claim(claim(1)).await.unwrap();
    assert!(matches!(over, Claiming::Exhausted), "{over:?}");
}

fn key(round: u64, n: u8) -> ClaimKey {
    let mut key = [n; 32];
    key[..8].copy_from_slice(&round.to_be_bytes());
    ClaimKey(key)
}

#[tokio::test]
async fn pending_claims_are_listed_page_by_page() {
    let disk = Disk::default();
    let store = store_on(&disk).await.unwrap();
    let mut held = None;
    for round in 0..3 {
        for n in 0..100 {
            let claim = Claim { key: key(round, n), alias: None, ..claim(n) };
            let mut ticket = fresh(&store, claim).await;
            store.submitting(&mut ticket, submitting(n)).await.unwrap();
            if (round, n) == (1, 50) {
                held = Some(ticket);
            }
        }
    }
    store.close().await.unwrap();
    drop(held);
    // A new process: nobody holds anything.
    let store = store_on(&Disk::of(disk.bytes())).await.unwrap();
    let Claiming::Pending(found) =
        store.claim(Claim { key: key(1, 50), alias: None, ..claim(0) }).await.unwrap()
    else {
        panic!("a claim of a dead process stays pending");
    };
    assert_eq!(found, submitting(50));
    let first = store.pending(None).await.unwrap();
    assert_eq!(first.len(), 256);
    let rest = store.pending(first.last().map(|last| last.key)).await.unwrap();
    assert_eq!(first.len() + rest.len(), 300);
    let keys: Vec<_> = first.iter().chain(&rest).map(|pending| pending.key).collect();
    assert!(keys.is_sorted());
    // One is resolved and leaves the list; resolving it twice does nothing the second time.
    let one = &first[0];
    let outcome = Outcome::Settled(settled(1));
    assert!(store.resolve(one.key, &one.submitting, outcome.clone()).await.unwrap());
    assert!(!store.resolve(one.key, &one.submitting, outcome).await.unwrap());
    assert_eq!(store.pending(None).await.unwrap()[0], first[1]);
}

/// Case K16.
#[tokio::test]
async fn a_payment_whose_key_or_alias_was_damaged_is_not_sold_again() {
    let disk = Disk::default();
    let store = store_on(&disk).await.unwrap();
    for n in 0..20 {
        let ticket = fresh(&store, claim(n)).await;
        settle_and_deliver(&store, ticket, settled(n), 200).await;
    }
    store.close().await.unwrap();
    for damaged in [ClaimKey([7; 32]), alias(7)] {
        let mut bytes = disk.bytes();
        let places = 0..bytes.len() - 32;
        let places: Vec<_> = places.filter(|at| bytes[*at..at + 32] == damaged.0).collect();
        assert!(!places.is_empty());
        for place in places {
            bytes[place] ^= 0x80;
        }
        let refused = store_on(&Disk::of(bytes)).await;
        assert!(matches!(refused, Err(Error::Corrupt { .. })), "{refused:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Case K16.
    #[test]
    fn a_damaged_file_is_refused_or_reads_right(place: prop::sample::Index, bit in 0..8_u8) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let disk = Disk::default();
            let store = store_on(&disk).await.unwrap();
            for n in 0..20 {
                let ticket = fresh(&store, claim(n)).await;
                settle_and_deliver(&store, ticket, settled(n), 200).await;
            }
            store.close().await.unwrap();
            let mut bytes = disk.bytes();
            // Most of a small file is nothing at all.
            let used: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
            let place = *place.get(&used);
            bytes[place] ^= 1 << bit;
            let Ok(store) = store_on(&Disk::of(bytes)).await else { return };
            for n in 0..20 {
                let Ok(found) = store.claim(claim(n)).await else { return };
                let Claiming::Delivered { settled: found, .. } = found else {
                    panic!("bit {bit} of byte {place} was flipped, and {n} is {found:?}");
                };
                assert_eq!(found, settled(n));
                let rival = Claim { alias: Some(alias(n)), ..claim(99) };
                let Ok(found) = store.claim(rival).await else { return };
                assert!(matches!(found, Claiming::AliasTaken(_)), "{n}: {found:?}");
            }
        });
    }
}
