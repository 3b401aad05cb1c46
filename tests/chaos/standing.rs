//! What a gateway tells of a channel to who has not paid: mostly from memory, and right again once it was wrong.

use tollgate::protocol::mpp::Challenge;

use crate::{
    away::challenge,
    client::Wallet,
    history::{Seen, Standing},
    process::Process,
    relay::Weather,
    site::{Kept, PRICE, Plan, Site},
};

const PLAN: Plan = Plan { gateways: 1, store: Kept::BadNetwork, channels: 1, clients: 1 };

#[tokio::test]
async fn a_request_that_is_not_paid_seldom_asks_the_store() {
    let site = Site::start(PLAN).await;
    let process = Process::start(&site.config(), &site.sandbox).await;
    let (wallet, base) = (&site.wallets[0], process.base());
    challenge(wallet, &base).await;
    let network = site.network.as_ref().unwrap();
    network.set(Weather::Fair);
    for _ in 0..200 {
        wallet.ask(&base).await.unwrap();
    }
    assert!(network.rounds() < 100, "{} rounds", network.rounds());
    // And it is right, for all that.
    for paid in 1..4 {
        let purchase = wallet.sign_exactly(&wallet.ask(&base).await.unwrap());
        let (seen, _) = wallet.present(&purchase, &base).await;
        let Seen::Served(standing) = seen else { panic!("{seen:?}") };
        assert_eq!((standing.authorised, standing.spent), (paid * PRICE, paid * PRICE));
    }
}

#[tokio::test]
async fn what_another_gateway_sold_costs_a_client_one_more_round_trip_at_most() {
    let site = Site::start(PLAN).await;
    let one = Process::start(&site.config(), &site.sandbox).await;
    let two = Process::start(&site.config(), &site.sandbox).await;
    let wallet = &site.wallets[0];
    for sold in 1..=10 {
        // Each is told what one gateway knows, which may be what stood before the other one sold.
        let gateway = if sold % 2 == 0 { &one } else { &two };
        let (told, base) = (challenge(wallet, &one.base()).await, gateway.base());
        let (standing, tried) = buy(wallet, told, &base).await;
        assert_eq!((standing.authorised, standing.spent), (sold * PRICE, sold * PRICE));
        assert!(tried <= 2, "{tried} tries");
    }
}

/// Pays until it is served; how often it took.
async fn buy(wallet: &Wallet, mut told: Challenge, base: &str) -> (Standing, usize) {
    for tried in 1.. {
        match wallet.present(&wallet.sign_exactly(&told), base).await {
            (Seen::Served(standing), _) => return (standing, tried),
            (Seen::Refused(_), Some(fresh)) => told = fresh,
            other => panic!("{other:?}"),
        }
    }
    unreachable!("it is served, or panics")
}
