//! Gateways on two servers of which one copies the other, and what befalls them: networks that part, processes that are
//! killed or stand still, copies that take over, at random and one after another.
//!
//! After each of it clients must be served again, by whoever is there.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use tokio::{
    process::Command,
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tollgate::protocol::mpp::Challenge;
use tollgate_sandbox::Sandbox;

use crate::{
    below, by_chance,
    client::{Addresses, Journal},
    history::Seen,
    nodes::Nodes,
    process::Process,
    relay::Weather,
    site::Site,
};

/// What can befall them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Storm {
    /// The copy does not hear of the primary.
    CopyIsCutOff,
    /// A gateway does not reach the primary.
    GatewayIsCutOff,
    GatewayIsKilled,
    ReplicaIsKilled,
    /// And is started again with its data.
    PrimaryIsKilled,
    /// Its copy takes over; it comes back as a copy.
    PrimaryIsReplaced,
    /// The copy takes over while the primary still runs and a gateway talks to it.
    PrimaryIsLeft,
    /// A gateway stands still while the copy takes over, and goes on with what it knew.
    GatewayStandsStill,
}

/// Everything that happened.
#[derive(Debug, Default)]
pub(crate) struct Happened {
    storms: Vec<Storm>,
    gateways_killed: usize,
    servers_killed: usize,
    /// Gateways that found no store when they started.
    stillborn: usize,
    /// What a gateway said to who paid it while it knew only a primary that was one no more.
    said_beside: Vec<Seen>,
    /// The longest that nobody was served after it was over.
    longest: Duration,
}

/// What serves, and what befalls it.
pub(crate) struct Weathered {
    sandbox: Arc<Sandbox>,
    nodes: Nodes,
    places: Vec<Place>,
    addresses: watch::Sender<Option<Vec<Arc<str>>>>,
    served: watch::Sender<usize>,
    happened: Happened,
    /// Pays the gateway that was left with an old primary.
    beside: Journal,
}

/// The place of one gateway.
struct Place {
    config: PathBuf,
    /// One that runs, and where.
    process: Option<(Process, Arc<str>)>,
}

impl Storm {
    const ALL: [Self; 8] = [
        Self::CopyIsCutOff,
        Self::GatewayIsCutOff,
        Self::GatewayIsKilled,
        Self::ReplicaIsKilled,
        Self::PrimaryIsKilled,
        Self::PrimaryIsReplaced,
        Self::PrimaryIsLeft,
        Self::GatewayStandsStill,
    ];

    /// All of them, in any order.
    pub(crate) fn shuffled() -> Vec<Self> {
        let mut left = Self::ALL.to_vec();
        let mut shuffled = Vec::new();
        while !left.is_empty() {
            shuffled.push(left.swap_remove(at_random(left.len())));
        }
        shuffled
    }
}

impl Weathered {
    /// Starts all gateways; `beside` is no other client's.
    pub(crate) async fn start(site: &mut Site, beside: Journal) -> Self {
        let place = |gateway| Place { config: site.config_of(gateway), process: None };
        let places = (0..site.plan.gateways).map(place).collect();
        let (addresses, _) = watch::channel(Some(Vec::new()));
        let mut this = Self {
            sandbox: Arc::clone(&site.sandbox),
            nodes: site.nodes.take().unwrap(),
            places,
            addresses,
            served: beside.wallet.served.clone(),
            happened: Happened::default(),
            beside,
        };
        this.start_all().await;
        this
    }

    pub(crate) fn addresses(&self) -> Addresses {
        self.addresses.subscribe()
    }

    /// One storm after another, all of them and for so long; clients are served after each.
    pub(crate) async fn run(&mut self, long: Duration) {
        let begun = Instant::now();
        loop {
            for storm in Storm::shuffled() {
                sleep(by_chance(LONGEST_CALM)).await;
                self.befall(storm).await;
                self.served_again(storm).await;
            }
            if begun.elapsed() >= long {
                return;
            }
        }
    }

    /// The copy lags behind by some payments, and takes over.
    pub(crate) async fn lose(&mut self) {
        self.served_again(Storm::CopyIsCutOff).await;
        self.nodes.between(Weather::Partition);
        self.served_again(Storm::CopyIsCutOff).await;
        self.nodes.kill_primary().await;
        self.happened.servers_killed += 1;
        self.nodes.promote().await;
        self.nodes.restart_replica().await;
        self.nodes.lead_all().await;
    }

    /// Kills all gateways; the servers go on.
    pub(crate) async fn stop(mut self, site: &mut Site) -> (Happened, Journal) {
        self.addresses.send_replace(None);
        for gateway in 0..self.places.len() {
            self.kill(gateway).await;
        }
        site.nodes = Some(self.nodes);
        (self.happened, self.beside)
    }

    pub(crate) async fn befall(&mut self, storm: Storm) {
        self.happened.storms.push(storm);
        let gateway = at_random(self.places.len());
        match storm {
            Storm::CopyIsCutOff => {
                self.nodes.between(parting());
                sleep(by_chance(LONGEST)).await;
                self.nodes.between(Weather::Fair);
            }
            Storm::GatewayIsCutOff => {
                self.nodes.before(gateway, parting());
                sleep(by_chance(LONGEST)).await;
                self.nodes.before(gateway, Weather::Fair);
            }
            Storm::GatewayIsKilled => {
                self.kill(gateway).await;
                sleep(by_chance(LONGEST)).await;
            }
            Storm::ReplicaIsKilled => {
                self.nodes.kill_replica().await;
                self.happened.servers_killed += 1;
                sleep(by_chance(LONGEST)).await;
                self.nodes.restart_replica().await;
            }
            Storm::PrimaryIsKilled => {
                self.nodes.kill_primary().await;
                self.happened.servers_killed += 1;
                sleep(by_chance(LONGEST)).await;
                self.nodes.restart_primary().await;
            }
            Storm::PrimaryIsReplaced => self.replace(gateway).await,
            Storm::PrimaryIsLeft => self.leave(gateway).await,
            Storm::GatewayStandsStill => {
                self.signal(gateway, "STOP").await;
                self.replace((gateway + 1) % self.places.len()).await;
                sleep(by_chance(LONGEST)).await;
                self.signal(gateway, "CONT").await;
            }
        }
        // A gateway that finds no copy when it starts ends.
        self.nodes.attached().await;
        self.start_all().await;
    }

    /// The copy takes over from the primary, which is killed; so is a gateway now and then.
    async fn replace(&mut self, gateway: usize) {
        // It may lag behind when that happens.
        if below(2) == 0 {
            self.nodes.between(parting());
            sleep(by_chance(LONGEST)).await;
        }
        self.nodes.kill_primary().await;
        self.happened.servers_killed += 1;
        if below(2) == 0 {
            self.kill(gateway).await;
        }
        self.nodes.promote().await;
        self.nodes.lead_all().await;
        sleep(by_chance(LONGEST)).await;
        self.nodes.restart_replica().await;
    }

    /// The copy takes over, and one gateway does not hear of it: it serves nobody who pays.
    async fn leave(&mut self, gateway: usize) {
        let (_, base) = self.places[gateway].process.as_ref().unwrap();
        let base = Arc::clone(base);
        let told = self.told(&base).await;
        self.nodes.between(parting());
        sleep(by_chance(LONGEST)).await;
        self.nodes.promote().await;
        let mut purchase = self.beside.wallet.sign_exactly(&told);
        self.nodes.lead_all_but(gateway).await;
        if below(2) == 0 {
            self.kill((gateway + 1) % self.places.len()).await;
        }
        for _ in 0..TRIES {
            self.beside.present(&mut purchase, &base).await;
            let said = purchase.request.seen.last().unwrap().clone();
            assert!(!said.is_paid(), "a gateway that was left with an old primary: {said:?}");
            self.happened.said_beside.push(said);
        }
        self.beside.purchases.push(purchase);
        self.nodes.demote().await;
        self.nodes.lead(gateway).await;
    }

    /// What the next request costs, from one gateway.
    async fn told(&self, base: &str) -> Challenge {
        let told = async {
            loop {
                if let Some(challenge) = self.beside.wallet.ask(base).await {
                    return challenge;
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, told).await.expect("it tells what a request costs")
    }

    async fn served_again(&mut self, storm: Storm) {
        let begun = Instant::now();
        let before = *self.served.borrow();
        let mut served = self.served.subscribe();
        let enough = served.wait_for(|served| *served >= before + ENOUGH);
        if timeout(PATIENCE, enough).await.is_err() {
            let places = self.places.iter().filter_map(|place| place.process.as_ref());
            let logs: Vec<_> = places.map(|(process, _)| process.log()).collect();
            panic!("nobody is served after {storm:?}:\n{}", logs.join("\n\n"));
        }
        self.happened.longest = self.happened.longest.max(begun.elapsed());
    }

    async fn start_all(&mut self) {
        for gateway in 0..self.places.len() {
            let place = &mut self.places[gateway];
            while place.process.is_none() {
                match Process::try_start(&place.config, &self.sandbox, |_| {}).await {
                    Ok(process) => {
                        let base: Arc<str> = process.base().into();
                        place.process = Some((process, Arc::clone(&base)));
                        self.edit(|addresses| addresses.push(base));
                        break;
                    }
                    Err(_) => self.happened.stillborn += 1,
                }
            }
        }
    }

    async fn kill(&mut self, gateway: usize) {
        let Some((mut process, base)) = self.places[gateway].process.take() else { return };
        process.kill().await;
        self.happened.gateways_killed += 1;
        self.edit(|addresses| addresses.retain(|address| *address != base));
    }

    async fn signal(&self, gateway: usize, signal: &str) {
        let Some((process, _)) = &self.places[gateway].process else { return };
        let id = process.child.id().unwrap().to_string();
        let sent = Command::new("kill").args(["-s", signal, &id]).status().await;
        assert!(sent.unwrap().success());
    }

    fn edit(&self, edit: impl FnOnce(&mut Vec<Arc<str>>)) {
        self.addresses.send_modify(|addresses| {
            if let Some(addresses) = addresses {
                edit(addresses);
            }
        });
    }
}

impl fmt::Display for Happened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut storms = self.storms.clone();
        storms.sort_unstable();
        for storm in storms.chunk_by(|one, other| one == other) {
            write!(f, "{} times {:?}, ", storm.len(), storm[0])?;
        }
        write!(
            f,
            "{} gateways and {} servers killed, {} gateways found no store; {} paid a gateway that was left with an old \
             primary, in vain; nobody was served for {:?} after it was over, at most",
            self.gateways_killed,
            self.servers_killed,
            self.stillborn,
            self.said_beside.len(),
            self.longest,
        )
    }
}

/// Nothing arrives any more, whether one is told so or not.
fn parting() -> Weather {
    if below(2) == 0 { Weather::Partition } else { Weather::Refuse }
}

fn at_random(bound: usize) -> usize {
    usize::try_from(below(u64::try_from(bound).unwrap())).unwrap()
}

/// How long nothing happens, at most.
const LONGEST_CALM: Duration = Duration::from_millis(300);
/// How long a process is away and a network parted, at most.
const LONGEST: Duration = Duration::from_millis(600);
/// Served after each storm, before the next.
const ENOUGH: usize = 16;
/// How often a gateway that was left is paid.
const TRIES: usize = 2;
/// Ample, for a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);
