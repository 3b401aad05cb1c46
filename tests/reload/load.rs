//! Many reloads while everybody asks, pays and listens.

use std::time::{Duration, Instant};

use tokio::{task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;
use tollgate::client::Method;

use crate::{
    clients::{self, Tally},
    site::{Site, Version},
};

const LISTEN: &str = "listen: 127.0.0.1:0";

#[tokio::test(flavor = "multi_thread")]
async fn j02_prices_alternate_under_load_and_every_answer_is_of_one_configuration() {
    let reloads = reloads();
    // In the short form other tests want the machine too.
    let rate = if reloads < LONG_FORM { 60 } else { 500 };
    let site = Site::start().await;
    let [a, b] = Version::ALL.map(|version| site.yaml(LISTEN, version));
    site.write(&a);
    let gateway = site.run().await;
    let (base, address) = (gateway.base(), gateway.address);
    let agents = site.agents(&base, BUYERS + 1).await;
    let payee = site.payee_usdc();

    let stop = CancellationToken::new();
    let (mut asking, mut buying, mut streaming) = (JoinSet::new(), JoinSet::new(), JoinSet::new());
    // Two thirds ask for what is free, the others pay from channels or ask for prices.
    let every = Duration::from_secs(1) * 12 / rate;
    for _ in 0..8 {
        asking.spawn(clients::ask(address, every, stop.clone()));
    }
    for key in 1..=3 {
        let payer = site.payer(&base, key).await;
        asking.spawn(clients::meter(payer, every, stop.clone()));
    }
    asking.spawn(clients::compare(agents[BUYERS].clone(), every, stop.clone()));
    for (agent, method) in
        agents.into_iter().zip([Method::X402, Method::Charge].into_iter().cycle().take(BUYERS))
    {
        buying.spawn(clients::buy(agent, method, stop.clone()));
    }
    for _ in 0..4 {
        streaming.spawn(clients::listen(address, stop.clone()));
        streaming.spawn(clients::talk(address, Duration::from_millis(50), stop.clone()));
    }

    let (mut settled, begun) = (None, Instant::now());
    for reload in 1..=reloads {
        let due = begun + EVERY * u32::try_from(reload).unwrap();
        site.write(if reload % 2 == 1 { &b } else { &a });
        // By turns the file is noticed, and the gateway is told of it.
        if reload % 2 == 0 {
            gateway.signal("-HUP").await;
        }
        gateway.logged_times(r#""message":"configuration swapped""#, reload).await;
        if reload == reloads / 4 {
            settled = Some((gateway.resident_kib(), gateway.open_files()));
        }
        // What fell over ends the test at once.
        assert!(asking.try_join_next().is_none() && streaming.try_join_next().is_none());
        sleep(due.saturating_duration_since(Instant::now())).await;
    }
    let took = begun.elapsed();
    let (kib, files) = (gateway.resident_kib(), gateway.open_files());
    stop.cancel();
    let asked = total(asking).await;
    let bought = total(buying).await;
    let streamed = total(streaming).await;

    assert_eq!(site.payee_usdc() - payee, bought.units, "paid what was asked, to the unit");
    assert_eq!(gateway.times("not reloaded"), 0, "{}", gateway.log());
    assert_eq!(asked.reconnects, 0);
    let (kib_before, files_before) = settled.unwrap();
    let a_second = (asked.requests + bought.requests) / took.as_secs().max(1);
    println!(
        "{reloads} reloads in {took:.1?}; {} requests ({a_second} a second), {} paid from channels, {} on the ledger; \
         longest answer {:?}, longest wait on the ledger {:?}, longest gap of a stream {:?}; {kib_before} -> {kib} KiB, \
         {files_before} -> {files} files",
        asked.requests, asked.paid, bought.paid, asked.longest, bought.longest, streamed.longest
    );
    // The last connections come and go; nothing adds up with the reloads.
    assert!(files <= files_before + 40, "{files_before} -> {files} files");
    assert!(kib <= kib_before + kib_before / 2, "{kib_before} -> {kib} KiB");
    assert!(asked.longest < STALLED && streamed.longest < STALLED);
    gateway.signal("-TERM").await;
}

async fn total(mut clients: JoinSet<Tally>) -> Tally {
    let mut sum = Tally::default();
    while let Some(tally) = clients.join_next().await {
        sum.add(tally.unwrap());
    }
    sum
}

fn reloads() -> usize {
    std::env::var("TOLLGATE_RELOADS").map_or(40, |count| count.parse().unwrap())
}

const LONG_FORM: usize = 300;
const BUYERS: usize = 6;
const EVERY: Duration = Duration::from_millis(100);
/// No answer and no stream waits for a reload; the machine may be busy with much else.
const STALLED: Duration = Duration::from_secs(5);
