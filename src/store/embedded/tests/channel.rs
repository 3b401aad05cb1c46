//! Channels on a disk that loses its power.

use super::*;
use crate::{
    protocol::money::Amount,
    store::channel::{Account, ChallengeDigest, Held, Reserve, Reserving, Token},
};

/// The purchase `n`: 10 units each, in a row.
fn purchase(n: u8) -> Reserve {
    let units = |units: i128| Amount::from_units(units).unwrap();
    Reserve {
        commitment: Held { amount: units(i128::from(n) * 10), signature: [n; 64] },
        challenge: ChallengeDigest([n; 16]),
        base: units(i128::from(n - 1) * 10),
        binding: Binding([0; 32]),
        price: units(10),
        deposited: units(10_000),
        withdrawn: Amount::ZERO,
        most_unsettled: units(10_000),
        expired: false,
        at_least: Amount::ZERO,
        token: Token::draw(),
        now: 1_000,
        lease_until: 2_000,
        redelivery: Redelivery { attempts: 3, within: Duration::from_secs(500) },
    }
}

/// What was acknowledged, and how much the disk had seen by then.
enum Acked {
    Reserved(u8),
    Kept(u8),
}

/// Case K02.
#[tokio::test]
async fn k02_power_lost_at_any_point_loses_no_mark_and_no_delivery_that_was_acknowledged() {
    let disk = Disk::default();
    let store = store_on(&disk).await.unwrap();
    let mut acked = Vec::new();
    let mut in_hand = Vec::new();
    for n in 1..=24 {
        let reservation = store.reserve(CHANNEL, purchase(n)).await.unwrap().unwrap();
        acked.push((disk.events(), Acked::Reserved(n)));
        match n % 4 {
            // In hand until the power goes, dropped, or delivered.
            0 => in_hand.push(reservation),
            1 => drop(reservation),
            _ => {
                store.keep(reservation, 200).await.unwrap();
                acked.push((disk.events(), Acked::Kept(n)));
            }
        }
    }
    let log = disk.log();
    drop(store);

    for (seen, after) in disk::after_power_losses(&log) {
        let until = acked.partition_point(|(events, _)| *events <= seen);
        if until == 0 {
            // A file that was never finished is no store yet.
            continue;
        }
        let store = store_on(&Disk::of(after)).await.unwrap();
        let account = store.account(CHANNEL).await.unwrap().unwrap_or_default();
        check(&account, &acked[..until], seen);
        let kept = acked[..until].iter().rev().find_map(|(_, acked)| match acked {
            Acked::Kept(n) => Some(*n),
            Acked::Reserved(_) => None,
        });
        if let Some(n) = kept {
            let again = store.reserve(CHANNEL, purchase(n)).await.unwrap();
            assert!(
                matches!(again, Err(Reserving::Bought { status: 200, .. })),
                "{seen}: {again:?}"
            );
        }
    }
    drop(in_hand);
}

/// What was written of it in part does not outlive it.
#[tokio::test]
async fn an_account_that_is_forgotten_is_gone_with_what_it_has_become() {
    let disk = Disk::default();
    let store = store_on(&disk).await.unwrap();
    for channel in [CHANNEL, OTHER] {
        for n in 1..=3 {
            let reservation = store.reserve(channel, purchase(n)).await.unwrap().unwrap();
            store.keep(reservation, 200).await.unwrap();
        }
    }
    let collected = Amount::from_units(30).unwrap();
    store.saw_withdrawn(CHANNEL, collected).await.unwrap();
    store.channel_ended(CHANNEL).await.unwrap();
    let other = store.account(OTHER).await.unwrap();
    assert!(!store.forget(OTHER, 10_000).await.unwrap());
    assert!(store.forget(CHANNEL, 10_000).await.unwrap());
    assert_eq!(store.account(CHANNEL).await.unwrap(), None);

    // As after a crash: nothing was closed.
    let store = store_on(&Disk::of(disk.bytes())).await.unwrap();
    assert_eq!(store.account(CHANNEL).await.unwrap(), None);
    assert_eq!(store.account(OTHER).await.unwrap(), other);
}

fn check(account: &Account, acked: &[(usize, Acked)], seen: usize) {
    let (mut authorised, mut delivered) = (0, 0);
    for (_, acked) in acked {
        match acked {
            Acked::Reserved(n) => authorised = i128::from(*n) * 10,
            Acked::Kept(_) => delivered += 10,
        }
    }
    let standing = account.standing();
    assert!(standing.authorised.units() >= authorised, "power lost after event {seen}");
    assert!(account.delivered().units() >= delivered, "power lost after event {seen}");
    // Whoever had a reservation in hand is gone.
    assert_eq!(account.in_flight(), Amount::ZERO);
    let collectable = account.collectable().map(|found| found.commitment);
    if delivered > 0 {
        let commitment = collectable.unwrap();
        assert!(commitment.amount >= account.delivered());
        assert_eq!(i128::from(commitment.signature[0]) * 10, commitment.amount.units());
    }
}

const CHANNEL: ContractId = ContractId([7; 32]);
const OTHER: ContractId = ContractId([8; 32]);
