//! The store goes away and comes back: meanwhile nothing is sold, what is free is served, and nothing is lost.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::{Request, StatusCode};
use tokio::time::sleep;
use tollgate::protocol::mpp::Challenge;

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
    let (site, process, purchase) = held_answer().await;
    let (network, base) = (site.network.clone().unwrap(), process.base());
    let first = presented(&site, &purchase, &base);
    site.upstream.arrived(1).await;
    network.set(Weather::Refuse);
    site.upstream.hold(false);
    let (seen, next) = first.await.unwrap();
    assert_eq!((seen, next.is_some()), (Seen::Fault, false));
    network.set(Weather::Fair);
    // It was given back: nobody waits for a lease to end.
    let standing = served(&site.wallets[0], &purchase, &base).await;
    assert_eq!((standing.authorised, standing.spent), (PRICE, PRICE));
    assert_eq!(site.upstream.hits(purchase.request.id), Hits { asked: 2, answered: 2 });
}

/// Invariant 6: the payment is recorded and the gateway does not hear so. It asks again, and the answer leaves.
#[tokio::test]
async fn an_answer_whose_record_is_not_heard_of_leaves_once_it_is() {
    let (site, process, purchase) = held_answer().await;
    let first = presented(&site, &purchase, &process.base());
    site.upstream.arrived(1).await;
    site.network.as_ref().unwrap().set(Weather::LoseReply { at: 0 });
    site.upstream.hold(false);
    let (seen, next) = first.await.unwrap();
    assert!(matches!(seen, Seen::Served(Standing { spent: PRICE, .. })), "{seen:?}");
    assert!(next.is_some());
    assert_eq!(standing(&site).await, (PRICE, PRICE));
    assert_eq!(site.upstream.hits(purchase.request.id), Hits { asked: 1, answered: 1 });
}

/// Invariant 6: the same, and the store stays away for so long that the answer does not leave. It is not charged.
#[tokio::test]
async fn an_answer_whose_record_is_never_heard_of_is_not_charged_and_may_be_bought_again() {
    let (site, process, purchase) = held_answer().await;
    let (network, base) = (site.network.clone().unwrap(), process.base());
    let first = presented(&site, &purchase, &base);
    site.upstream.arrived(1).await;
    network.set(Weather::LoseReply { at: 0 });
    site.upstream.hold(false);
    let (store, channel) = (site.store().await, site.wallets[0].payer.channel);
    while store.account(channel).await.unwrap().unwrap().at_risk().is_zero() {
        tokio::task::yield_now().await;
    }
    network.set(Weather::Refuse);
    let (seen, _) = first.await.unwrap();
    assert_eq!(seen, Seen::Fault);
    assert_eq!(standing(&site).await, (PRICE, PRICE), "it is recorded, and nobody could say so");
    network.set(Weather::Fair);
    while standing(&site).await != (PRICE, 0) {
        sleep(Duration::from_millis(20)).await;
    }
    let served = served(&site.wallets[0], &purchase, &base).await;
    assert_eq!((served.authorised, served.spent), (PRICE, PRICE));
    assert_eq!(site.upstream.hits(purchase.request.id), Hits { asked: 2, answered: 2 });
}

/// A gateway on a Redis, and a payment for an upstream that keeps its answers back.
async fn held_answer() -> (Site, Process, Arc<Purchase>) {
    let plan = Plan { gateways: 1, store: Kept::BadNetwork, channels: 1, clients: 1 };
    let site = Site::start(plan).await;
    let process = Process::start(&site.config(), &site.sandbox).await;
    let wallet = &site.wallets[0];
    let purchase = Arc::new(wallet.sign_exactly(&challenge(wallet, &process.base()).await));
    site.upstream.hold(true);
    (site, process, purchase)
}

fn presented(
    site: &Site,
    purchase: &Arc<Purchase>,
    base: &str,
) -> tokio::task::JoinHandle<(Seen, Option<Challenge>)> {
    let (wallet, purchase) = (site.wallets[0].clone(), Arc::clone(purchase));
    let base = base.to_owned();
    tokio::spawn(async move { wallet.present(&purchase, &base).await })
}

/// What the store says is authorised and spent.
async fn standing(site: &Site) -> (i128, i128) {
    let account = site.store().await.account(site.wallets[0].payer.channel).await.unwrap();
    let standing = account.unwrap().standing();
    (standing.authorised.units(), standing.spent.units())
}

/// Presents it until it is answered.
pub(crate) async fn served(wallet: &Wallet, purchase: &Purchase, base: &str) -> Standing {
    loop {
        match wallet.present(purchase, base).await.0 {
            Seen::Served(standing) => return standing,
            Seen::Fault | Seen::Busy => sleep(Duration::from_millis(20)).await,
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) async fn challenge(wallet: &Wallet, base: &str) -> Challenge {
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
