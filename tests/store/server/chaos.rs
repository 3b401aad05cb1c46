//! Gateways that pay at once while their connections are cut, wherever: the books are right in the end.

use std::{
    sync::atomic::{AtomicBool, AtomicI64, Ordering},
    time::Duration,
};

use futures_util::future::{join, join_all};
use tollgate::{
    protocol::stellar::ContractId,
    store::{
        Claim, Claiming, Error, RedisSettings, Store,
        channel::{Reserving, Unfit},
    },
};

use crate::{
    claim, key,
    relay::{Relay, Weather},
    settled,
    shared::{amount, commitment},
    stores::{self, settings},
    submitting,
};

/// What was paid from one channel, as those who paid know it.
#[derive(Default)]
struct Told {
    kept: AtomicI64,
    /// Nobody knows of these.
    unknown: AtomicI64,
}

/// Case K10, C17.
#[tokio::test(flavor = "multi_thread")]
async fn k10_the_books_are_right_however_connections_are_cut() {
    let server = stores::server().await;
    let relays = [Relay::to(server.address()).await, Relay::to(server.address()).await];
    let mut gateways = Vec::new();
    for relay in &relays {
        let url = server.url_at(relay.address());
        let settings = RedisSettings { timeout: Duration::from_secs(10), ..settings(url) };
        gateways.push(Store::redis(settings).await.unwrap());
    }
    let channels = [ContractId([1; 32]), ContractId([2; 32]), ContractId([3; 32])];
    let told: [Told; 3] = Default::default();
    let is_over = AtomicBool::new(false);
    let mut random = 9_u64;
    let cutting = async {
        while !is_over.load(Ordering::Relaxed) {
            for relay in &relays {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let at = random >> 61;
                relay.set(Weather::CutReply { at });
                while relay.rounds() <= at && !is_over.load(Ordering::Relaxed) {
                    tokio::time::sleep(Duration::from_micros(200)).await;
                }
            }
        }
        for relay in &relays {
            relay.set(Weather::Fair);
        }
    };
    let paying = async {
        let payers = (0..24_usize).map(|payer| {
            let (store, place) = (&gateways[payer % 2], payer % 3);
            let (channel, told) = (channels[place], &told[place]);
            async move {
                for round in 0..15 {
                    let units = i128::try_from(round * 24 + payer + 1).unwrap();
                    pay(store, channel, units, told).await;
                }
            }
        });
        join_all(payers).await;
        is_over.store(true, Ordering::Relaxed);
    };
    join(paying, cutting).await;
    let store = stores::on(&server).await;
    for (channel, told) in channels.into_iter().zip(told) {
        // What was dropped and could not be given back at once is with what is asked next.
        for gateway in &gateways {
            gateway.account(channel).await.unwrap();
        }
        let account = store.account(channel).await.unwrap().unwrap();
        let (kept, unknown) = (told.kept.into_inner(), told.unknown.into_inner());
        let (least, most) = (amount(kept.into()), amount((kept + unknown).into()));
        let delivered = account.delivered();
        assert!(delivered >= least && delivered <= most, "{kept}+{unknown}: {delivered:?}");
        // What was dropped is given back; only what nobody knows of has its lease.
        assert!(account.in_flight() <= amount(unknown.into()), "{:?}", account.in_flight());
        assert!(kept > 60, "most were served: {kept}");
    }
}

/// One request of a client that has authorised all it will ever need, and comes again while nobody says anything of its
/// payment.
async fn pay(store: &Store, channel: ContractId, units: i128, told: &Told) {
    for _ in 0..5 {
        match store.reserve(channel, commitment(1_000 + units, 1)).await {
            Ok(Ok(reservation)) if units % 7 == 0 => drop(reservation),
            Ok(Ok(reservation)) => {
                match store.keep(reservation, 200).await {
                    Ok(_) => told.kept.fetch_add(1, Ordering::Relaxed),
                    Err(Error::Unreachable { .. }) => told.unknown.fetch_add(1, Ordering::Relaxed),
                    Err(other) => panic!("{other:?}"),
                };
                return;
            }
            // Too many have come in between.
            Ok(Err(Reserving::Refused(Unfit::Used | Unfit::ChallengeUsed | Unfit::Spent))) => {
                return;
            }
            Ok(Err(Reserving::InFlight)) | Err(Error::Unreachable { .. }) => {}
            other => panic!("{units}: {other:?}"),
        }
    }
}

/// Case K10, A02: each of many claims goes its way at one gateway, whatever is cut.
#[tokio::test(flavor = "multi_thread")]
async fn k10_claims_are_delivered_once_however_connections_are_cut() {
    let server = stores::server().await;
    let relay = Relay::to(server.address()).await;
    let url = server.url_at(relay.address());
    let cut = Store::redis(RedisSettings { timeout: Duration::from_secs(10), ..settings(url) });
    let gateways = [cut.await.unwrap(), stores::on(&server).await];
    let is_over = AtomicBool::new(false);
    let cutting = async {
        for at in (0..4).cycle() {
            relay.set(Weather::CutReply { at });
            while relay.rounds() <= at && !is_over.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_micros(200)).await;
            }
            if is_over.load(Ordering::Relaxed) {
                return;
            }
        }
    };
    let claiming = async {
        let delivered = join_all((0..120_u32).map(|n| {
            let store = &gateways[usize::try_from(n % 2).unwrap()];
            // Each payment comes to both gateways.
            deliver(store, Claim { alias: Some(key(1_000 + n / 2)), ..claim(n / 2) })
        }));
        let delivered = delivered.await.into_iter().filter(|delivered| *delivered).count();
        is_over.store(true, Ordering::Relaxed);
        assert_eq!(delivered, 60);
    };
    join(claiming, cutting).await;
    relay.set(Weather::Fair);
    assert!(gateways[1].pending(None).await.unwrap().is_empty());
}

/// Brings a payment until it is delivered; whether this is who delivered it.
async fn deliver(store: &Store, paid: Claim) -> bool {
    loop {
        match store.claim(paid.clone()).await.unwrap() {
            Claiming::Fresh(mut ticket) => {
                store.submitting(&mut ticket, submitting(1)).await.unwrap();
                store.settled(&mut ticket, settled(1)).await.unwrap();
                store.delivered(ticket, 200).await.unwrap();
                return true;
            }
            Claiming::InFlight => tokio::task::yield_now().await,
            Claiming::Delivered { .. } => return false,
            other => panic!("{other:?}"),
        }
    }
}
