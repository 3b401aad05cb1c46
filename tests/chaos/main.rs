//! Channels under load while gateways and their store are killed (`kill -9`), with a judge who was not there.
//!
//! Gateways are processes of their own, started from a file as an operator starts them. Clients pay request after request
//! and write down what they have signed and heard, the upstream what reached it. When all is over the channels are closed,
//! and accounts, ledger, journals and log must tell the same story. Where one server may take over from another, networks part
//! too, and clients must be served again after each such storm.
//!
//! CI runs a short form. A long one is a command:
//! `TOLLGATE_CHAOS_SECONDS=60 TOLLGATE_CHAOS_KILLS=100 TOLLGATE_CHAOS_CLIENTS=64 cargo test -p tollgate --test chaos --
//! --nocapture --test-threads=1`

#![expect(
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    dead_code,
    reason = "a test ends where it finds something else than it expects; what is shared is not used whole"
)]

mod away;
mod client;
mod disk;
mod ending;
mod fleet;
mod history;
mod judge;
mod nodes;
mod site;
mod standing;
mod storms;
mod upstream;

#[path = "../support/agent.rs"]
mod agent;
#[path = "../support/channel.rs"]
mod payer;
#[path = "../support/process.rs"]
mod process;
#[path = "../support/redis.rs"]
mod redis_server;
#[path = "../support/relay.rs"]
mod relay;

use std::{fmt::Display, time::Duration};

use rand_core::{OsRng, RngCore as _};
use tokio::task::JoinHandle;

use self::{
    client::{Journal, Wallet},
    fleet::Fleet,
    history::History,
    judge::Fault,
    site::{Kept, PRICE, Plan, Site},
    storms::Weathered,
};

#[tokio::test]
async fn three_gateways_on_one_redis_lose_nothing_when_any_of_them_is_killed() {
    survive(Plan { gateways: 3, store: Kept::Redis, channels: clients(), clients: 1 }).await;
}

#[tokio::test]
async fn clients_that_share_channels_lose_nothing_when_gateways_and_redis_are_killed() {
    let channels = clients().div_ceil(SHARING);
    survive(Plan { gateways: 3, store: Kept::Redis, channels, clients: SHARING }).await;
}

#[tokio::test]
async fn one_gateway_with_its_own_store_loses_nothing_when_it_is_killed() {
    let channels = clients().div_ceil(SHARING);
    survive(Plan { gateways: 1, store: Kept::Embedded, channels, clients: SHARING }).await;
}

#[tokio::test]
async fn gateways_that_hardly_reach_their_redis_lose_nothing() {
    let channels = clients().div_ceil(SHARING);
    survive(Plan { gateways: 2, store: Kept::BadNetwork, channels, clients: SHARING }).await;
}

/// Cases K03, K04, K10.
#[tokio::test]
async fn gateways_whose_primary_is_replaced_lose_nothing_whoever_is_cut_off_or_killed() {
    let plan = copied(Kept::Copied);
    let (happened, history) = weather(plan, async |weathered| weathered.run(seconds()).await).await;
    report(&plan, &happened, &history);
}

/// The judge's own proof, and case K04 as an operator has it who was told not to.
#[tokio::test]
async fn at_best_effort_a_copy_that_lags_and_takes_over_loses_what_the_judge_then_misses() {
    let plan = copied(Kept::HardlyCopied);
    let (happened, history) = weather(plan, async |weathered| weathered.lose().await).await;
    let verdict = judge::judge(&history, PRICE);
    println!("{plan:?}: {happened}\n{}\n{} faults", verdict.counts, verdict.faults.len());
    // Whoever comes again with what was lost buys again.
    let is_lost = |fault: &Fault| matches!(fault, Fault::Unpaid { .. } | Fault::ServedTwice { .. });
    assert!(verdict.faults.iter().any(is_lost), "{:?}", verdict.faults);
}

/// Has clients pay gateways on two servers, and judges nothing.
async fn weather(
    plan: Plan,
    storms: impl AsyncFnOnce(&mut Weathered),
) -> (storms::Happened, History) {
    let mut site = Site::start(plan).await;
    let (beside, paying) = site.wallets.split_last().unwrap();
    let (beside, paying) = (Journal::of(beside.clone()), paying.to_vec());
    let mut weathered = Weathered::start(&mut site, beside).await;
    let clients = live(&paying, plan, &weathered.addresses());
    storms(&mut weathered).await;
    let (happened, beside) = weathered.stop(&mut site).await;
    let mut journals = ended(clients).await;
    journals.push(beside);
    (happened, ending::end(&mut site, journals).await)
}

/// Three gateways, clients that share channels in pairs, and a channel that no client uses.
fn copied(store: Kept) -> Plan {
    Plan { gateways: 3, store, channels: clients().div_ceil(2) + 1, clients: 2 }
}

/// Has clients pay while what serves them is killed, and judges what is left.
async fn survive(plan: Plan) {
    let mut site = Site::start(plan).await;
    let fleet = Fleet::start(&mut site).await;
    let clients = live(&site.wallets, plan, &fleet.addresses());
    let kills = fleet.run(seconds(), kills()).await;
    let journals = ended(clients).await;
    site.redis = fleet.stop().await;
    let history = ending::end(&mut site, journals).await;
    report(&plan, &kills, &history);
}

/// Starts all clients of the channels in `wallets`.
fn live(wallets: &[Wallet], plan: Plan, addresses: &client::Addresses) -> Vec<JoinHandle<Journal>> {
    let clients = wallets.iter().flat_map(|wallet| (0..plan.clients).map(|_| wallet.clone()));
    clients.map(|wallet| tokio::spawn(client::live(wallet, addresses.clone()))).collect()
}

async fn ended(clients: Vec<JoinHandle<Journal>>) -> Vec<Journal> {
    let mut journals = Vec::new();
    for client in clients {
        journals.push(client.await.unwrap());
    }
    journals
}

fn report(plan: &Plan, happened: &impl Display, history: &History) {
    let verdict = judge::judge(history, PRICE);
    println!("{plan:?}: {happened}\n{}", verdict.counts);
    for fault in &verdict.faults {
        println!("FAULT {fault:?}");
    }
    let about = verdict.faults.iter().filter_map(|fault| history.request_of(fault));
    about.take(20).for_each(|request| println!("{request:?}"));
    assert!(verdict.faults.is_empty(), "{} faults, told above", verdict.faults.len());
    assert!(verdict.counts.served > 0, "nobody was served");
}

/// How long clients pay.
fn seconds() -> Duration {
    Duration::from_secs(variable("TOLLGATE_CHAOS_SECONDS").unwrap_or(3))
}

/// How many processes are killed at least.
fn kills() -> usize {
    variable("TOLLGATE_CHAOS_KILLS").map_or(4, |kills| kills.try_into().unwrap())
}

/// How many clients there are, each with a channel, unless they share them.
fn clients() -> usize {
    variable("TOLLGATE_CHAOS_CLIENTS").map_or(8, |clients| clients.try_into().unwrap())
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// Any number below `bound`.
pub(crate) fn below(bound: u64) -> u64 {
    OsRng.next_u64() % bound
}

/// Any time up to `most`.
pub(crate) fn by_chance(most: Duration) -> Duration {
    Duration::from_micros(below(u64::try_from(most.as_micros()).unwrap()))
}

/// How many clients share a channel, where they do.
const SHARING: usize = 4;
