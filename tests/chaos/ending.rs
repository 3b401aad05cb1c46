//! When nobody is killed any more: every client learns what came of its payments, every channel is closed.

use std::sync::Arc;

use futures_util::future::join_all;
use tollgate::app::Gateway;
use tollgate::store::channel::Account;

use crate::{
    client::{Journal, Purchase},
    history::{Channel, History, Request, Standing},
    site::{DEPOSIT, Site, WAITING},
};

/// Has everything end, and tells all that there is to judge by.
pub(crate) async fn end(site: &mut Site, journals: Vec<Journal>) -> History {
    // What a dead gateway had in hand is free when its lease ends.
    site.outlive_leases();
    let gateway = site.gateway().await;
    let journals = join_all(journals.into_iter().map(|journal| settle(&gateway, journal))).await;
    gateway.stop().await;
    let accounts = accounts(site).await;
    close(site, &accounts).await;
    let mut channels: Vec<Channel> = site
        .payers
        .iter()
        .zip(&accounts)
        .map(|(payer, account)| Channel {
            deposit: DEPOSIT.into(),
            standing: standing(account),
            collectable: account.collectable().map(|it| it.commitment.amount.units()),
            refund: site.sandbox.usdc_balance(&payer.address()).unwrap(),
            ..Channel::default()
        })
        .collect();
    for journal in journals {
        let channel = &mut channels[journal.wallet.number];
        channel.receipts.push(journal.receipts);
        let with_hits = |Purchase { request, .. }: Purchase| {
            let hits = site.upstream.hits(request.id);
            Request { hits, ..request }
        };
        channel.requests.extend(journal.purchases.into_iter().map(with_hits));
    }
    History { channels, received: site.payee_usdc() }
}

/// Presents what is open until it has its end, and once more the last that had theirs: they must buy nothing more.
async fn settle(gateway: &Gateway, mut journal: Journal) -> Journal {
    let base = base(gateway);
    let mut purchases = std::mem::take(&mut journal.purchases);
    for purchase in &mut purchases {
        for _ in 0..ROUNDS {
            if !purchase.request.is_open() {
                break;
            }
            journal.present(purchase, &base).await;
        }
        assert!(!purchase.request.is_open(), "no end in sight: {:?}", purchase.request);
    }
    let first = purchases.len().saturating_sub(AGAIN);
    for purchase in &mut purchases[first..] {
        if purchase.request.seen.iter().any(crate::history::Seen::is_paid) {
            journal.present(purchase, &base).await;
        }
    }
    Journal { purchases, ..journal }
}

/// The accounts of all channels, in their order, while no gateway runs.
async fn accounts(site: &Site) -> Vec<Account> {
    let store = site.store().await;
    let mut accounts = Vec::new();
    for wallet in &site.wallets {
        let channel = wallet.payer.channel;
        // What was in flight, and nobody asked for again.
        store.sweep(channel, site.now()).await.unwrap();
        accounts.push(store.account(channel).await.unwrap().unwrap_or_default());
    }
    store.close().await.unwrap();
    accounts
}

/// Closes all channels. From one of which all that was delivered is collected already, its payer takes the rest itself.
async fn close(site: &Site, accounts: &[Account]) {
    let gateway = site.gateway().await;
    let base: Arc<str> = base(&gateway).into();
    let closing = site.wallets.iter().zip(accounts).map(|(wallet, account)| {
        let base = Arc::clone(&base);
        async move { wallet.close(&base, standing(account).authorised).await }
    });
    let closed = join_all(closing).await;
    gateway.stop().await;
    for ((wallet, payer), is_closed) in site.wallets.iter().zip(&site.payers).zip(closed) {
        let contract = stellar_xdr::ContractId(stellar_xdr::Hash(wallet.payer.channel.0));
        if !is_closed {
            site.sandbox.close_start(&contract, payer).await.unwrap();
            site.sandbox.skip_ledgers(WAITING + 1).await;
            site.sandbox.refund(&contract, payer).await.unwrap();
        }
        assert_eq!(site.sandbox.usdc_balance(&contract.to_string()).unwrap_or(0), 0, "it is empty");
    }
}

fn base(gateway: &Gateway) -> String {
    format!("http://{}", gateway.addresses()[0])
}

fn standing(account: &Account) -> Standing {
    let standing = account.standing();
    Standing { authorised: standing.authorised.units(), spent: standing.spent.units() }
}

/// How often a payment is presented in the end.
const ROUNDS: usize = 50;
/// How many payments of each client are presented once more.
const AGAIN: usize = 20;
