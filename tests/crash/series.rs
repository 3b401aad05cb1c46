//! Kill after kill: payments come to a state, the gateway is killed, another one takes over, and all is compared.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use rand_core::{OsRng, RngCore as _};
use tokio::{task::JoinHandle, time::sleep};
use tollgate::{client::Until, store::ClaimKey};
use tollgate_sandbox::{Hold, Method as Rpc, Moment};

use crate::{
    judge::Judge,
    process::Process,
    purchase::{Order, Purchase, Rail, Seen},
    scenario::{Fate, Kind, Point, Scenario},
    site::{Site, joined},
    upstream::Gate,
};

/// A site with the gateway that runs there, and what the kills before have left.
pub(crate) struct Series {
    site: Site,
    gateway: Process,
    judge: Judge,
    /// Payments whose transaction is lost, and could still land as far as the ledger can tell.
    undecided: Vec<(Purchase, Scenario)>,
}

/// Payments on their way, and what stops them.
struct Stopped {
    payments: Vec<JoinHandle<Purchase>>,
    hold: Option<Hold>,
}

impl Series {
    pub(crate) async fn start() -> Self {
        let site = Site::start(BATCH).await;
        let gateway = site.run().await;
        let judge = Judge::new(&site);
        Self { site, gateway, judge, undecided: Vec::new() }
    }

    /// How often a gateway was killed.
    pub(crate) const fn kills(&self) -> usize {
        self.judge.kills()
    }

    /// Kills the gateway in the middle of a few payments, as `scenario` says.
    pub(crate) async fn play(&mut self, scenario: Scenario) {
        let purchases = self.sign(&scenario).await;
        let Stopped { payments, mut hold } = self.stop(&scenario, purchases).await;
        if scenario.goes_on {
            drop(hold.take());
            self.site.upstream.set(Gate::Open);
            sleep(scenario.point.moment()).await;
        }
        self.kill().await;
        self.site.upstream.set(Gate::Open);
        let purchases = joined(payments).await;
        self.seal_fate(&scenario, hold, purchases.len()).await;
        self.compare_pending(&scenario, &purchases).await;

        if scenario.falls_twice {
            self.gateway = self.site.run_unready().await;
            sleep(by_chance(STARTING)).await;
            self.kill().await;
        }
        self.gateway = self.site.run().await;
        if scenario.is_absent {
            self.stay_away(&purchases).await;
        }
        let purchases = match scenario.fate {
            Fate::Late => self.come_early(purchases).await,
            Fate::Early | Fate::Overdue | Fate::Never => purchases,
        };
        self.site.pump(true).await;
        let ended = self.end(&scenario, purchases).await;
        if scenario.fate == Fate::Late {
            // Lanes moved on after this gateway had looked them up, and its next payments would be sent twice.
            self.kill().await;
            self.gateway = self.site.run().await;
        }
        let ended = ended.into_iter().map(|purchase| (purchase, scenario)).collect();
        self.close(ended).await;
    }

    /// Ends what is undecided, and compares the sums.
    pub(crate) async fn finish(mut self) {
        self.gateway.kill().await;
        let scenarios: HashMap<ClaimKey, Scenario> = self
            .undecided
            .iter()
            .map(|(purchase, scenario)| (purchase.key().unwrap(), *scenario))
            .collect();
        let purchases: Vec<_> = self.undecided.drain(..).map(|(purchase, _)| purchase).collect();
        // What is not on the ledger by then never will be.
        self.site.outlive(&purchases).await;
        self.gateway = self.site.run().await;
        let (ended, open) = self.site.present_until_known(&self.gateway.base(), purchases).await;
        assert!(open.is_empty(), "{open:?}");
        let ended = ended.into_iter().map(|purchase| {
            let scenario = scenarios[&purchase.key().unwrap()];
            (purchase, scenario)
        });
        self.close(ended.collect()).await;
        self.gateway.kill().await;
        assert!(self.site.pending().await.is_empty());
        self.judge.finish(&self.site);
    }

    async fn kill(&mut self) {
        self.gateway.kill().await;
        self.judge.killed();
    }

    /// Has a few payments signed, of both orders by turns.
    async fn sign(&mut self, scenario: &Scenario) -> Vec<Purchase> {
        let payers = self.site.payers(PAYMENTS).await;
        self.site.pump(!scenario.closes_by_hand()).await;
        let orders = [Order::After, Order::Before].into_iter().cycle();
        let mut purchases = Vec::new();
        for (payer, order) in payers.into_iter().zip(orders) {
            let purchase =
                self.site.sign(&self.gateway.base(), (scenario.rail, order), payer).await;
            purchases.push(purchase.expect("the gateway takes payments"));
        }
        if scenario.rail == Rail::Pushed && scenario.fate == Fate::Early {
            self.site.close_ledgers(1).await;
        }
        purchases
    }

    /// Presents them, until each stands where the scenario wants it.
    async fn stop(&self, scenario: &Scenario, purchases: Vec<Purchase>) -> Stopped {
        let Self { site, .. } = self;
        let (faults, count) = (site.sandbox.faults(), purchases.len());
        let hold = scenario.call().map(|call| match scenario.point {
            Point::Sent => faults.hold(call, Moment::AfterEffect),
            // They come past these first: they are verified, and sent.
            Point::Preparing => faults.hold(Rpc::SimulateTransaction, Moment::BeforeEffect),
            Point::Polling => faults.hold(Rpc::SendTransaction, Moment::AfterEffect),
            _ => faults.hold(call, Moment::BeforeEffect),
        });
        if scenario.fate == Fate::Never && scenario.point != Point::Recorded {
            faults.lose_transactions(u32::try_from(count).unwrap(), |_| true);
        }
        site.upstream.set(match scenario.point {
            Point::Answering => Gate::BeforeHead,
            Point::Streaming => Gate::InBody,
            _ => Gate::Open,
        });
        let payments = site.present(&self.gateway.base(), purchases);
        let Some(mut hold) = hold else {
            match scenario.point {
                Point::Answering => site.upstream.arrived(count).await,
                Point::Streaming => site.heads(count).await,
                _ => {
                    let read = joined(payments).await;
                    let payments =
                        read.into_iter().map(|purchase| tokio::spawn(async { purchase }));
                    return Stopped { payments: payments.collect(), hold: None };
                }
            }
            return Stopped { payments, hold: None };
        };
        hold.arrived_times(count).await;
        if matches!(scenario.point, Point::Preparing | Point::Polling) {
            let next = faults.hold(scenario.call().unwrap(), Moment::BeforeEffect);
            drop(std::mem::replace(&mut hold, next));
            hold.arrived_times(count).await;
        }
        if scenario.point == Point::Polling && scenario.fate != Fate::Late {
            site.close_ledgers(1).await;
        }
        Stopped { payments, hold: Some(hold) }
    }

    /// Lets happen on the ledger what is to happen while no gateway is there.
    async fn seal_fate(&self, scenario: &Scenario, hold: Option<Hold>, count: usize) {
        let Self { site, .. } = self;
        match (scenario.point, scenario.fate, hold) {
            (Point::Recorded, Fate::Never, Some(hold)) => hold.discard(),
            (Point::Recorded, _, Some(hold)) => {
                // What a node has received it carries out, whoever waits for it.
                hold.release();
                site.until_waiting(count).await;
            }
            (_, _, hold) => drop(hold),
        }
        if scenario.closes_by_hand() && scenario.fate != Fate::Late {
            site.close_ledgers(1).await;
        }
        if matches!(scenario.fate, Fate::Never | Fate::Overdue) && scenario.rail.is_own() {
            site.outlive_authorizations().await;
        }
        if scenario.fate != Fate::Late {
            site.until_none_waits().await;
        }
    }

    /// Compares what the killed gateway has left pending with what it must have left.
    async fn compare_pending(&self, scenario: &Scenario, purchases: &[Purchase]) {
        let pending = |purchase: &Purchase| scenario.expected(purchase.order).pending;
        let found = self.site.pending().await;
        let must = keys(purchases.iter().filter(|purchase| pending(purchase) == Some(true)));
        let may = keys(purchases.iter().filter(|purchase| pending(purchase) != Some(false)));
        self.compare(&found, &must, &may);
    }

    /// Compares what is pending with what `must` and what `may` be, and with what is undecided from before.
    fn compare(
        &self,
        found: &HashSet<ClaimKey>,
        must: &HashSet<ClaimKey>,
        may: &HashSet<ClaimKey>,
    ) {
        let closed_at = self.site.sandbox.ledger().latest().close_time;
        let undecided = self.undecided.iter().map(|(purchase, _)| purchase);
        let can_land = |purchase: &&Purchase| matches!(purchase.credential.holds_until(), Some(Until::Time(last)) if last >= closed_at);
        let old = keys(undecided.clone());
        let open = keys(undecided.filter(can_land));
        let missing: Vec<_> = must.union(&open).filter(|key| !found.contains(key)).collect();
        assert!(missing.is_empty(), "not pending: {missing:?}");
        let more: Vec<_> = found.difference(may).filter(|key| !old.contains(key)).collect();
        assert!(more.is_empty(), "pending: {more:?}");
    }

    /// Waits until the gateway has found out by itself what became of `purchases`, and kills it.
    async fn stay_away(&mut self, purchases: &[Purchase]) {
        for key in keys(purchases) {
            let line = self.gateway.logged(&format!("{key:?}")).await;
            assert!(
                line.to_string().contains("the outcome of a pending payment is known"),
                "{line}"
            );
        }
        self.kill().await;
        let nothing = HashSet::new();
        self.compare(&self.site.pending().await, &nothing, &nothing);
        self.gateway = self.site.run().await;
    }

    /// Has the clients come before their transactions have landed.
    async fn come_early(&self, purchases: Vec<Purchase>) -> Vec<Purchase> {
        let purchases = joined(self.site.present(&self.gateway.base(), purchases)).await;
        for purchase in &purchases {
            assert_eq!(*purchase.last(), Seen::Pending, "{purchase:?}");
        }
        purchases
    }

    /// Presents the payments until they have their end; what stays pending for want of time is kept for later.
    async fn end(&mut self, scenario: &Scenario, purchases: Vec<Purchase>) -> Vec<Purchase> {
        let (mut ended, open) =
            self.site.present_until_known(&self.gateway.base(), purchases).await;
        if open.is_empty() {
            return ended;
        }
        for purchase in &open {
            let ends = scenario.expected(purchase.order).ends;
            assert!(ends.contains(&Kind::Refused), "{scenario:?} {purchase:?}");
        }
        if scenario.rail.is_own() {
            self.site.outlive_authorizations().await;
            let (late, open) = self.site.present_until_known(&self.gateway.base(), open).await;
            assert!(open.is_empty(), "{scenario:?} {open:?}");
            ended.extend(late);
        } else {
            self.undecided.extend(open.into_iter().map(|purchase| (purchase, *scenario)));
        }
        ended
    }

    /// Presents what has ended once more, and judges it.
    async fn close(&mut self, ended: Vec<(Purchase, Scenario)>) {
        let (purchases, scenarios): (Vec<_>, Vec<_>) = ended.into_iter().unzip();
        let purchases = joined(self.site.present(&self.gateway.base(), purchases)).await;
        for (purchase, scenario) in purchases.iter().zip(&scenarios) {
            self.judge.judge(&self.site, scenario, purchase);
        }
    }
}

impl Point {
    /// How long a payment goes on from here before the kill: as long as it may take to the next point, by chance.
    fn moment(self) -> Duration {
        by_chance(Duration::from_millis(match self {
            // The outcome is asked for twice a second.
            Self::Sent => 600,
            Self::Verifying | Self::Answering => 60,
            _ => 10,
        }))
    }
}

fn keys<'a>(purchases: impl IntoIterator<Item = &'a Purchase>) -> HashSet<ClaimKey> {
    purchases.into_iter().filter_map(Purchase::key).collect()
}

/// Any time up to `most`.
fn by_chance(most: Duration) -> Duration {
    Duration::from_micros(OsRng.next_u64() % u64::try_from(most.as_micros()).unwrap())
}

/// How long a gateway takes to start, from the moment on that it listens.
const STARTING: Duration = Duration::from_millis(20);
/// How long a ledger waits for more transactions: those of one kill are sent at about the same time.
const BATCH: Duration = Duration::from_millis(40);
/// How many payments each kill meets.
const PAYMENTS: usize = 4;
