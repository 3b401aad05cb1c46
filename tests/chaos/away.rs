//! The store goes away and comes back: meanwhile nothing is sold, what is free is served, and nothing is lost.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::{Request, StatusCode};
use tokio::time::sleep;

use crate::{
    client::{Purchase, Wallet},
    history::{Hits, Seen, Standing},
    process::Process,
    relay::Weather,
    site::{Kept, PRICE, Plan, Site},
};

/// Case K03, K09, for channels.
#[tokio::test]
async fn k03_k09_without_its_store_a_gateway_sells_nothing_and_goes_on_when_it_is_back() {
    let plan = Plan { gateways: 1, store: Kept::BadNetwork, channels: 1, clients: 1 };
    let site = Site::start(plan).await;
    let process = Process::start(&site.config(), &site.sandbox).await;
    let (wallet, base) = (site.wallets[0].clone(), process.base());
    let network = site.network.clone().unwrap();
    // Nobody answers; then somebody takes what is sent, and says nothing.
    for (weather, spent) in [(Weather::Refuse, PRICE), (Weather::Partition, 2 * PRICE)] {
        let challenge = challenge(&wallet, &base).await;
        let purchase = wallet.sign_exactly(&challenge);
        network.set(weather);
        let begun = Instant::now();
        let (seen, next) = wallet.present(&purchase, &base).await;
        println!("{weather:?}: {seen:?} after {:?}", begun.elapsed());
        assert_eq!((seen, next.is_some()), (Seen::Fault, false));
        assert!(begun.elapsed() < LONGEST, "{:?}", begun.elapsed());
        assert_eq!(site.upstream.hits(purchase.request.id), Hits::default());
        assert_eq!(free(&wallet, &base).await, StatusCode::OK);
        network.set(Weather::Fair);
        let begun = Instant::now();
        let standing = served(&wallet, &purchase, &base).await;
        assert_eq!((standing.authorised, standing.spent), (spent, spent));
        println!("{weather:?}: served {:?} after it was over", begun.elapsed());
        assert!(begun.elapsed() < LONGEST, "{:?}", begun.elapsed());
        assert_eq!(site.upstream.hits(purchase.request.id).answered, 1);
    }
}

/// Invariant 2: the upstream has answered, and the store is gone before that is recorded.
#[tokio::test]
async fn an_answer_whose_payment_cannot_be_recorded_does_not_leave() {
    let plan = Plan { gateways: 1, store: Kept::BadNetwork, channels: 1, clients: 1 };
    let site = Site::start(plan).await;
    let process = Process::start(&site.config(), &site.sandbox).await;
    let (wallet, base) = (site.wallets[0].clone(), process.base());
    let network = site.network.clone().unwrap();
    let purchase = Arc::new(wallet.sign_exactly(&challenge(&wallet, &base).await));
    site.upstream.hold(true);
    let first = {
        let (wallet, base, purchase) = (wallet.clone(), base.clone(), Arc::clone(&purchase));
        tokio::spawn(async move { wallet.present(&purchase, &base).await })
    };
    site.upstream.arrived(1).await;
    network.set(Weather::Refuse);
    site.upstream.hold(false);
    let (seen, next) = first.await.unwrap();
    assert_eq!((seen, next.is_some()), (Seen::Fault, false));
    network.set(Weather::Fair);
    // It was given back: nobody waits for a lease to end.
    let standing = served(&wallet, &purchase, &base).await;
    assert_eq!((standing.authorised, standing.spent), (PRICE, PRICE));
    assert_eq!(site.upstream.hits(purchase.request.id), Hits { asked: 2, answered: 2 });
}

/// Presents it until it is answered.
async fn served(wallet: &Wallet, purchase: &Purchase, base: &str) -> Standing {
    loop {
        match wallet.present(purchase, base).await.0 {
            Seen::Served(standing) => return standing,
            Seen::Fault | Seen::Busy => sleep(Duration::from_millis(20)).await,
            other => panic!("{other:?}"),
        }
    }
}

async fn challenge(wallet: &Wallet, base: &str) -> tollgate::protocol::mpp::Challenge {
    loop {
        if let Some(challenge) = wallet.ask(base).await {
            return challenge;
        }
        sleep(Duration::from_millis(20)).await;
    }
}

async fn free(wallet: &Wallet, base: &str) -> StatusCode {
    let request = Request::get(format!("{base}/free?0")).body(bytes::Bytes::new()).unwrap();
    wallet.payer.client.exchange(request).await.unwrap().status()
}

/// Ample for a machine that is busy: a gateway waits half a second for its store.
const LONGEST: Duration = Duration::from_secs(10);
