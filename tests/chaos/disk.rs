//! A journal that cannot be written: nothing is sold on trust.

use tokio::process::Command;

use crate::{
    away::{challenge, served},
    history::{Hits, Seen},
    process::Process,
    site::{Kept, Plan, Site},
};

const PLAN: Plan = Plan { gateways: 1, store: Kept::Copied, channels: 1, clients: 1 };

#[tokio::test]
async fn a_gateway_whose_journal_cannot_be_written_sells_nothing_until_it_is_started_again() {
    let site = Site::start(PLAN).await;
    let mut process = Process::start(&site.config(), &site.sandbox).await;
    let wallet = &site.wallets[0];
    let told = challenge(wallet, &process.base()).await;
    let before = served(wallet, &wallet.sign_exactly(&told), &process.base()).await;
    let told = challenge(wallet, &process.base()).await;
    // As on a disk without room.
    let id = process.child.id().unwrap().to_string();
    let limited = Command::new("prlimit").args(["--pid", &id, "--fsize=0"]).status().await;
    assert!(limited.unwrap().success());
    let purchase = wallet.sign_exactly(&told);
    for _ in 0..3 {
        let (seen, next) = wallet.present(&purchase, &process.base()).await;
        assert_eq!((seen, next.is_some()), (Seen::Fault, false));
    }
    assert_eq!(site.upstream.hits(purchase.request.id), Hits::default());
    process.logged("the journal cannot be written").await;
    process.kill().await;
    let process = Process::start(&site.config(), &site.sandbox).await;
    // What could not be recorded is reserved until its lease ends.
    let told = challenge(wallet, &process.base()).await;
    let after = served(wallet, &wallet.sign_exactly(&told), &process.base()).await;
    assert!(after.authorised > before.authorised && after.spent > before.spent, "{after:?}");
}
