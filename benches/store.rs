//! What a payment costs the store: `cargo bench --bench store`.
//!
//! Each payment is a claim and three durable steps, as the gateway takes them: `submitting` before the transaction is
//! sent, `settled` once it has landed, and `delivered` before the answer leaves. The file is on the disk of the temporary
//! folder, so what a sync costs is that disk's answer.

#![expect(clippy::arithmetic_side_effects, reason = "small numbers of a bench")]

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use bytes::Bytes;
use divan::{Bencher, counter::ItemsCount};
use futures_util::future::join_all;
use tokio::runtime::Runtime;
use tollgate::{
    protocol::stellar::TxHash,
    store::{Binding, Claim, ClaimKey, Claiming, Redelivery, Settled, Store, Submitting},
};

fn main() {
    divan::main();
}

/// Payments, so many at a time.
#[divan::bench(args = [1, 8, 64, 256], sample_count = 50, sample_size = 4)]
fn payment(bencher: Bencher<'_, '_>, at_once: usize) {
    let shop = Shop::open();
    bencher.counter(ItemsCount::new(at_once)).bench(|| {
        shop.runtime.block_on(join_all((0..at_once).map(|_| shop.sell())));
    });
}

/// A claim that is looked at and let go of: no step is durable.
#[divan::bench(args = [1, 64], sample_count = 50, sample_size = 16)]
fn claim_and_release(bencher: Bencher<'_, '_>, at_once: usize) {
    let shop = Shop::open();
    bencher.counter(ItemsCount::new(at_once)).bench(|| {
        shop.runtime.block_on(join_all((0..at_once).map(async |_| {
            let Claiming::Fresh(ticket) = shop.store.claim(shop.claim()).await.expect("claimed")
            else {
                panic!("each payment is new")
            };
            shop.store.release(ticket).await.expect("released");
        })));
    });
}

/// One durable step of a claim, so many at a time.
#[divan::bench(args = [1, 64], sample_count = 50, sample_size = 4)]
fn durable_step(bencher: Bencher<'_, '_>, at_once: usize) {
    let shop = Shop::open();
    let claims = || {
        shop.runtime.block_on(join_all((0..at_once).map(async |_| {
            match shop.store.claim(shop.claim()).await.expect("claimed") {
                Claiming::Fresh(ticket) => ticket,
                other => panic!("each payment is new, and this one is {other:?}"),
            }
        })))
    };
    bencher.counter(ItemsCount::new(at_once)).with_inputs(claims).bench_values(|tickets| {
        let store = &shop.store;
        let steps = tickets.into_iter().map(|mut ticket| async move {
            store.settled(&mut ticket, settled()).await.expect("recorded");
        });
        shop.runtime.block_on(join_all(steps));
    });
}

/// A store on a disk, and payments that are each new.
struct Shop {
    runtime: Runtime,
    store: Store,
    next: AtomicU64,
    _folder: tempfile::TempDir,
}

impl Shop {
    fn open() -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let folder = tempfile::tempdir().expect("a folder");
        let store = runtime.block_on(Store::open(folder.path().join("state.redb"))).expect("opens");
        Self { runtime, store, next: AtomicU64::new(0), _folder: folder }
    }

    fn claim(&self) -> Claim {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        // Spread over the key space, as hashes are.
        let spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
        let mut key = [0x33; 32];
        for (place, byte) in key.iter_mut().zip(spread) {
            *place = byte;
        }
        // A thousand payments a second pass; each is remembered for a minute.
        let now = 1_900_000_000 + number / 1_000;
        Claim {
            key: ClaimKey(key),
            alias: None,
            binding: Binding([1; 32]),
            now,
            keep_until: now + 60,
            redelivery: Redelivery { attempts: 3, within: Duration::from_secs(60) },
        }
    }

    async fn sell(&self) {
        let Claiming::Fresh(mut ticket) = self.store.claim(self.claim()).await.expect("claimed")
        else {
            panic!("each payment is new")
        };
        let submitting = Submitting {
            transaction: Some(TxHash([2; 32])),
            valid_until: 1_900_000_060,
            since_ledger: 1_000_000,
            memo: Bytes::from_static(&[3; 120]),
        };
        self.store.submitting(&mut ticket, submitting).await.expect("recorded");
        self.store.settled(&mut ticket, settled()).await.expect("recorded");
        self.store.delivered(ticket, 200).await.expect("recorded");
    }
}

fn settled() -> Settled {
    Settled {
        transaction: Some(TxHash([2; 32])),
        receipt: Bytes::from_static(&[4; 120]),
        at: 1_900_000_000,
    }
}
