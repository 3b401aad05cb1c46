//! The gateway is killed at random moments while many clients pay through it, each in its own way.

use std::{sync::Arc, time::Duration};

use rand_core::{OsRng, RngCore as _};
use tokio::{sync::watch, time::sleep};

use crate::{
    judge::Judge,
    purchase::{Order, Purchase, Rail},
    site::{Site, joined},
};

/// Where the gateway is.
#[derive(Clone, Debug)]
enum Stage {
    /// Nowhere.
    Between,
    /// Here.
    Open(Arc<str>),
    /// It does not matter any more.
    Over,
}

/// Kills so many gateways, and has every payment judged.
pub(crate) async fn kill_at_any_moment(kills: usize) {
    let site = Arc::new(Site::start(BATCH).await);
    let mut judge = Judge::new(&site);
    let (stage, _) = watch::channel(Stage::Between);
    let clients = (0..CLIENTS).map(|number| {
        let rail = Rail::ALL[number % Rail::ALL.len()];
        tokio::spawn(live(site.clone(), stage.subscribe(), rail))
    });
    let clients = clients.collect();
    for _ in 0..kills {
        let mut gateway = site.run_unready().await;
        stage.send_replace(Stage::Open(gateway.base().into()));
        sleep(Duration::from_micros(OsRng.next_u64() % LONGEST)).await;
        gateway.kill().await;
        judge.killed();
        stage.send_replace(Stage::Between);
    }
    stage.send_replace(Stage::Over);
    let purchases: Vec<Purchase> = joined(clients).await.into_iter().flatten().collect();

    let mut gateway = site.run().await;
    let (open, mut ended): (Vec<_>, Vec<_>) =
        purchases.into_iter().partition(|purchase| purchase.end().is_none());
    let (known, open) = site.present_until_known(&gateway.base(), open).await;
    ended.extend(known);
    // What is not on the ledger by then never will be.
    site.outlive(&open).await;
    let (late, open) = site.present_until_known(&gateway.base(), open).await;
    assert!(open.is_empty(), "{open:?}");
    ended.extend(late);
    let mut again = Vec::new();
    while !ended.is_empty() {
        // As many at once as a gateway takes.
        let rest = ended.split_off(ended.len().min(AT_ONCE));
        again.extend(joined(site.present(&gateway.base(), ended)).await);
        ended = rest;
    }
    for purchase in &again {
        judge.judge_any(&site, purchase);
    }
    gateway.kill().await;
    assert!(site.pending().await.is_empty());
    judge.finish(&site);
    assert!(again.iter().filter(|purchase| purchase.is_served()).count() >= kills, "too few");
}

/// Buys one thing after another by `rail`, in both orders by turns, and presents a payment until it has its end.
async fn live(site: Arc<Site>, mut stage: watch::Receiver<Stage>, rail: Rail) -> Vec<Purchase> {
    let (mut done, mut open) = (Vec::new(), None);
    for order in [Order::After, Order::Before].into_iter().cycle() {
        let payer = site.payers(1).await.remove(0);
        loop {
            let base = match stage.borrow_and_update().clone() {
                Stage::Between => None,
                Stage::Open(base) => Some(base),
                Stage::Over => {
                    done.extend(open);
                    return done;
                }
            };
            let Some(base) = base else {
                stage.changed().await.unwrap();
                continue;
            };
            match open.take() {
                None => open = site.sign(&base, (rail, order), payer.clone()).await,
                Some(purchase) => {
                    let mut presented: Vec<Purchase> =
                        joined(site.present(&base, vec![purchase])).await;
                    let purchase = presented.remove(0);
                    if purchase.end().is_some() {
                        done.push(purchase);
                        break;
                    }
                    open = Some(purchase);
                }
            }
            sleep(Duration::from_millis(30)).await;
        }
    }
    done
}

const CLIENTS: usize = 16;
/// How long a gateway lives at most, in microseconds.
const LONGEST: u64 = 1_500_000;
/// How many payments are presented at once at the end.
const AT_ONCE: usize = 64;
/// A ledger takes what comes in this time. An authorization lives for ten of them.
const BATCH: Duration = Duration::from_millis(400);
