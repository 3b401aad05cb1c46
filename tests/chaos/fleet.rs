//! Gateways, each a process of its own, and their Redis: killed at random, and started again.

use std::{
    fmt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use tollgate_sandbox::Sandbox;

use crate::{
    below, by_chance,
    client::Addresses,
    process::Process,
    redis_server::Server,
    relay::{Relay, Weather},
    site::{Kept, Site},
};

/// What serves, while it is killed.
pub(crate) struct Fleet {
    addresses: watch::Sender<Option<Vec<Arc<str>>>>,
    kills: Arc<Kills>,
    stop: CancellationToken,
    gateways: Vec<JoinHandle<()>>,
    redis: Option<JoinHandle<Server>>,
}

/// How often what was killed.
#[derive(Debug, Default)]
pub(crate) struct Kills {
    gateways: AtomicUsize,
    redis: AtomicUsize,
    /// Gateways that found no store when they started.
    stillborn: AtomicUsize,
    /// How often the network was bad.
    storms: AtomicUsize,
}

impl fmt::Display for Kills {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        write!(
            f,
            "{} gateways and {} times Redis killed, {} times a bad network, {} gateways found no store",
            count(&self.gateways),
            count(&self.redis),
            count(&self.storms),
            count(&self.stillborn)
        )
    }
}

impl Kills {
    fn sum(&self) -> usize {
        self.gateways.load(Ordering::Relaxed) + self.redis.load(Ordering::Relaxed)
    }
}

impl Fleet {
    /// Starts everything, and the killing with it.
    pub(crate) async fn start(site: &mut Site) -> Self {
        let (addresses, _) = watch::channel(Some(Vec::new()));
        let (kills, stop) = (Arc::new(Kills::default()), CancellationToken::new());
        let gateway = |_| {
            let slot = Slot {
                sandbox: Arc::clone(&site.sandbox),
                config: site.config(),
                addresses: addresses.clone(),
                kills: Arc::clone(&kills),
            };
            tokio::spawn(slot.run(stop.clone()))
        };
        let gateways = (0..site.plan.gateways).map(gateway).collect();
        let redis = site.redis.take();
        let redis = redis.map(|server| {
            let (kills, stop) = (Arc::clone(&kills), stop.clone());
            match (site.plan.store, &site.network) {
                (Kept::BadNetwork, Some(network)) => {
                    tokio::spawn(storm(server, Arc::clone(network), kills, stop))
                }
                _ => tokio::spawn(kill_redis(server, kills, stop)),
            }
        });
        Self { addresses, kills, stop, gateways, redis }
    }

    pub(crate) fn addresses(&self) -> Addresses {
        self.addresses.subscribe()
    }

    /// Goes on for so long, and until so many were killed; then clients are told that it is over.
    pub(crate) async fn run(&self, long: Duration, kills: usize) -> Arc<Kills> {
        let begun = Instant::now();
        while begun.elapsed() < long || self.kills.sum() < kills {
            sleep(Duration::from_millis(50)).await;
        }
        self.addresses.send_replace(None);
        Arc::clone(&self.kills)
    }

    /// Kills what runs, but Redis.
    pub(crate) async fn stop(self) -> Option<Server> {
        self.stop.cancel();
        for gateway in self.gateways {
            gateway.await.unwrap();
        }
        match self.redis {
            Some(redis) => Some(redis.await.unwrap()),
            None => None,
        }
    }
}

/// The place of one gateway.
struct Slot {
    sandbox: Arc<Sandbox>,
    config: PathBuf,
    addresses: watch::Sender<Option<Vec<Arc<str>>>>,
    kills: Arc<Kills>,
}

impl Slot {
    /// Starts a gateway and kills it, again and again.
    async fn run(self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let Ok(mut process) = Process::try_start(&self.config, &self.sandbox, |_| {}).await
            else {
                self.kills.stillborn.fetch_add(1, Ordering::Relaxed);
                sleep(Duration::from_millis(50)).await;
                continue;
            };
            let base: Arc<str> = process.base().into();
            self.edit(|addresses| addresses.push(Arc::clone(&base)));
            let life = sleep(by_chance(LONGEST_LIFE));
            let is_over = stop.run_until_cancelled(life).await.is_none();
            process.kill().await;
            if !is_over {
                self.kills.gateways.fetch_add(1, Ordering::Relaxed);
            }
            self.edit(|addresses| addresses.retain(|address| *address != base));
            sleep(by_chance(LONGEST_REST)).await;
        }
    }

    fn edit(&self, edit: impl FnOnce(&mut Vec<Arc<str>>)) {
        self.addresses.send_modify(|addresses| {
            if let Some(addresses) = addresses {
                edit(addresses);
            }
        });
    }
}

/// Kills Redis and starts it anew on its data; it runs when this returns.
async fn kill_redis(mut server: Server, kills: Arc<Kills>, stop: CancellationToken) -> Server {
    while stop.run_until_cancelled(sleep(by_chance(LONGEST_LIFE))).await.is_some() {
        server.kill9().await;
        kills.redis.fetch_add(1, Ordering::Relaxed);
        sleep(by_chance(LONGEST_REST)).await;
        server.restart().await;
    }
    server
}

/// Has the network lose, delay and cut, now and then.
async fn storm(
    server: Server,
    network: Arc<Relay>,
    kills: Arc<Kills>,
    stop: CancellationToken,
) -> Server {
    while stop.run_until_cancelled(sleep(by_chance(LONGEST_CALM))).await.is_some() {
        network.set(match below(6) {
            0 => Weather::Slow(by_chance(Duration::from_millis(100))),
            1 => Weather::Slow(by_chance(Duration::from_millis(600))),
            2 => Weather::LoseReply { at: below(10) },
            3 => Weather::CutReply { at: below(10) },
            4 => Weather::Partition,
            _ => Weather::Refuse,
        });
        kills.storms.fetch_add(1, Ordering::Relaxed);
        sleep(by_chance(LONGEST_REST)).await;
        network.set(Weather::Fair);
    }
    server
}

/// How long the network is good at most.
const LONGEST_CALM: Duration = Duration::from_millis(400);
/// How long a process lives at most. A gateway needs some of that to start.
const LONGEST_LIFE: Duration = Duration::from_millis(2_500);
/// How long its place is empty at most: longer than a gateway waits for its store.
const LONGEST_REST: Duration = Duration::from_millis(800);
