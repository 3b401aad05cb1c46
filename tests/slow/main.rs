//! Thousands of connections that dawdle, while others pay: those who pay do not notice, and the gateway stays small.
//!
//! The gateway is a process of its own, the dawdlers are slowhttptest's: heads that never end, bodies that hardly come, and
//! answers that are hardly read (I06). CI runs a short form. A long one is a command, and its figures are printed:
//! `TOLLGATE_SLOW_SECONDS=60 TOLLGATE_SLOW_CONNECTIONS=2000 cargo test --release -p tollgate --test slow -- --nocapture`

#![expect(
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    dead_code,
    reason = "a test ends where it finds something else than it expects; what is shared is not used whole"
)]

#[path = "../support/agent.rs"]
mod agent;
mod attack;
#[path = "../support/channel.rs"]
mod payer;
#[path = "../support/process.rs"]
mod process;
mod site;

use std::{pin::pin, time::Duration};

use tokio::time::sleep;

use self::{
    attack::{Attack, Kind},
    site::Site,
};

#[tokio::test(flavor = "multi_thread")]
async fn i06_who_pays_does_not_notice_heads_that_never_end() {
    hold_out(Kind::Heads).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i06_who_pays_does_not_notice_bodies_that_hardly_come() {
    hold_out(Kind::Bodies).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i06_who_pays_does_not_notice_answers_that_are_hardly_read() {
    hold_out(Kind::Reads).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i06_who_pays_is_served_while_others_hold_what_they_may_of_the_same_upstream() {
    let site = Site::start().await;
    // More than it has under way at once, from the address of those who pay.
    let held = site.hold(400).await;
    assert_eq!(held.len(), 64);
    let paid = site.pay_for(Duration::from_secs(2)).await;
    assert!(paid.failed == 0 && paid.served > 0, "{paid}");
    assert_eq!(site.hold(1).await.len(), 0, "they are held still");
    drop(held);
    site.end(&[paid]).await;
}

async fn hold_out(kind: Kind) {
    let site = Site::start().await;
    let calm = site.pay_for(seconds() / 3).await;
    let small = site.memory();
    let attack = Attack::start(kind, &site.gateway.base(), connections(), seconds());
    attack.connected(&site, connections() / 2).await;
    let mut large = small;
    let stormy = {
        let mut paying = pin!(site.pay_for(seconds()));
        loop {
            tokio::select! {
                paid = &mut paying => break paid,
                () = sleep(Duration::from_millis(100)) => large = large.max(site.memory()),
            }
        }
    };
    let told = attack.end().await;
    let count = u64::try_from(connections()).unwrap();
    let each = large.saturating_sub(small) / count;
    println!(
        "{kind:?}: {count} connections for {:?}\n  before: {calm}\n  during: {stormy}\n  memory: {} KiB, then at most {} \
         KiB: {each} KiB a connection\n{told}",
        seconds(),
        small,
        large,
    );
    assert_eq!((calm.failed, stormy.failed), (0, 0), "{stormy}");
    assert!(stormy.served > 0 && calm.served > 0);
    assert!(each <= kind.most(), "{each} KiB a connection");
    site.end(&[calm, stormy]).await;
}

fn seconds() -> Duration {
    Duration::from_secs(variable("TOLLGATE_SLOW_SECONDS").unwrap_or(4))
}

fn connections() -> usize {
    variable("TOLLGATE_SLOW_CONNECTIONS").map_or(400, |count| count.try_into().unwrap())
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}
