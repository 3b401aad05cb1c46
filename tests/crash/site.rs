//! What outlives every gateway: the ledger, the upstream, the folder with the store, and the payers.

use std::{collections::HashSet, sync::Arc, time::Duration};

use http::Request;
use stellar_xdr::Hash;
use tempfile::TempDir;
use tokio::{
    sync::{Mutex, watch},
    task::JoinHandle,
    time::{sleep, timeout},
};
use tollgate::{
    client::{Client, Method, Mode, Offer, Overrides, Settings, Until, Wanted},
    ledger::signer::Seed,
    protocol::stellar::Network,
    store::{ClaimKey, Store},
    telemetry::Clock,
};
use tollgate_sandbox::{
    Clock as Ledgers, DevAccount, Funds, Options, Sandbox,
    ledger::{Submission, TransactionStatus},
};

use crate::{
    process::Process,
    purchase::{End, Order, Purchase, Rail, Seen},
    upstream::Upstream,
};

pub(crate) struct Site {
    pub(crate) sandbox: Arc<Sandbox>,
    pub(crate) upstream: Upstream,
    /// Of no payer in particular: keys are told when it signs.
    client: Client,
    /// How many heads of paid answers clients have seen.
    heads: watch::Sender<usize>,
    payers: Mutex<Vec<DevAccount>>,
    folder: TempDir,
    pump: Pump,
}

/// Closes a ledger whenever a transaction waits for one, while it is on.
///
/// Never otherwise: an authorization lives for ten ledgers, however fast they come.
struct Pump {
    /// Held while a ledger is closed, so that none closes once it was turned off.
    is_on: Arc<Mutex<bool>>,
    task: JoinHandle<()>,
}

impl Site {
    /// A site whose ledgers wait so long for more transactions once they have one.
    pub(crate) async fn start(batch: Duration) -> Self {
        let options = Options { clock: Ledgers::Manual, ..Options::default() };
        let sandbox = Arc::new(Sandbox::start(options).await.unwrap());
        let ledger = sandbox.clone();
        let upstream = Upstream::start(Box::new(move |payer| charged(&ledger, payer) > 0)).await;
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("gateway.yaml"), yaml(&upstream)).unwrap();
        let client = Client::new(Settings {
            seed: sandbox.accounts().payer.secret().parse().unwrap(),
            network: Network::Testnet,
            rpc_url: sandbox.rpc_url().parse().unwrap(),
            limit: None,
            method: Method::Any,
            mode: Mode::Pull,
            patience: Duration::ZERO,
        });
        let pump = Pump::start(sandbox.clone(), batch);
        let heads = watch::Sender::new(0);
        Self { sandbox, upstream, client, heads, payers: Mutex::default(), folder, pump }
    }

    /// Starts a gateway, which takes payments of every kind when this returns.
    pub(crate) async fn run(&self) -> Process {
        let process = self.run_unready().await;
        let payer = &self.sandbox.accounts().payer;
        let is_ready = async |rail| self.offer(&process.base(), (rail, Order::After), payer).await;
        let ready = async {
            for rail in Rail::ALL {
                while is_ready(rail).await.is_none() {
                    sleep(Duration::from_millis(5)).await;
                }
            }
        };
        timeout(PATIENCE, ready).await.unwrap_or_else(|_| panic!("not ready: {}", process.log()));
        process
    }

    pub(crate) async fn run_unready(&self) -> Process {
        Process::start(&self.folder.path().join("gateway.yaml"), &self.sandbox).await
    }

    /// Payers that have not paid anything yet.
    pub(crate) async fn payers(&self, count: usize) -> Vec<DevAccount> {
        let mut payers = self.payers.lock().await;
        while payers.len() < count {
            let funds = Funds { usdc_units: FUNDS, spare_stroops: 10_000_000 };
            payers.extend(self.sandbox.new_payers(PAYERS_AT_ONCE, funds).await.unwrap());
        }
        let rest = payers.len() - count;
        payers.split_off(rest)
    }

    /// Asks and signs; `None` if the gateway went away meanwhile, or takes no payments.
    ///
    /// What is pushed waits for a ledger then.
    pub(crate) async fn sign(
        &self,
        base: &str,
        (rail, order): (Rail, Order),
        payer: DevAccount,
    ) -> Option<Purchase> {
        let offer = self.offer(base, (rail, order), &payer).await?;
        let seed: Seed = payer.secret().parse().unwrap();
        let max_time = (rail == Rail::Relayed).then(|| Clock::system().now() + WHOLE_SECONDS);
        let overrides = Overrides { seed: Some(seed.clone()), max_time, ..Overrides::default() };
        let credential = match offer {
            Offer::X402(offer) => self.client.sign_x402(&offer, &overrides).await.unwrap(),
            Offer::Charge(offer) if rail == Rail::Pushed => {
                let made = self.client.transaction(&offer, &overrides).await.unwrap();
                let hash = self.client.hash(&made.envelope).unwrap();
                let submitted = self.sandbox.ledger().submit(made.envelope);
                assert!(matches!(submitted, Submission::Pending { .. }), "{submitted:?}");
                offer.push(hash, &seed)
            }
            Offer::Charge(offer) => self.client.sign_charge(&offer, &overrides).await.unwrap(),
        };
        Some(Purchase { rail, order, payer, credential, journal: Vec::new() })
    }

    /// What `payer` is asked; `None` if the gateway is not there, or does not take payments by `rail` now.
    async fn offer(
        &self,
        base: &str,
        (rail, order): (Rail, Order),
        payer: &DevAccount,
    ) -> Option<Offer> {
        let path = Purchase::path(rail, order, payer);
        let request = Request::get(format!("{base}{path}")).body(bytes::Bytes::new()).unwrap();
        let challenge = self.client.challenge(request).await.ok().flatten()?;
        let method = if rail == Rail::X402 { Method::X402 } else { Method::Charge };
        challenge.choose(&Wanted::by(method, Network::Testnet)).ok()
    }

    /// How often `payer` was charged.
    pub(crate) fn charged(&self, payer: &DevAccount) -> i128 {
        charged(&self.sandbox, &payer.address())
    }

    /// Whether ledgers close when a transaction waits.
    pub(crate) async fn pump(&self, is_on: bool) {
        *self.pump.is_on.lock().await = is_on;
    }

    /// Closes so many ledgers.
    pub(crate) async fn close_ledgers(&self, ledgers: u32) {
        for _ in 0..ledgers {
            self.sandbox.close_ledger().await;
        }
    }

    /// Closes enough ledgers for every authorization that was signed so far to end.
    pub(crate) async fn outlive_authorizations(&self) {
        self.close_ledgers(LIFE).await;
    }

    /// Waits until nothing that `purchases` have signed can land any more.
    pub(crate) async fn outlive(&self, purchases: &[Purchase]) {
        let times =
            purchases.iter().filter_map(|purchase| match purchase.credential.holds_until() {
                Some(Until::Time(second)) => Some(second),
                Some(Until::Ledger(_)) | None => None,
            });
        let last = times.max().unwrap_or_default();
        while Clock::system().now() <= last {
            sleep(Duration::from_millis(100)).await;
        }
        self.outlive_authorizations().await;
    }

    /// Waits until so many heads of paid answers have come to those who present.
    pub(crate) async fn heads(&self, answers: usize) {
        self.heads.subscribe().wait_for(|heads| *heads >= answers).await.unwrap();
    }

    pub(crate) fn payee_usdc(&self) -> i128 {
        self.sandbox.usdc_balance(&self.sandbox.accounts().recipient.address()).unwrap()
    }

    /// Waits until so many transactions wait for a ledger.
    pub(crate) async fn until_waiting(&self, transactions: usize) {
        self.until_queue(|waiting| waiting >= transactions).await;
    }

    /// Waits until no transaction waits for a ledger.
    pub(crate) async fn until_none_waits(&self) {
        self.until_queue(|waiting| waiting == 0).await;
    }

    async fn until_queue(&self, is_so: impl Fn(usize) -> bool) {
        let looking = async {
            while !is_so(self.sandbox.ledger().waiting()) {
                sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(PATIENCE, looking).await.expect("the transactions come and go");
    }

    /// The pending claims in the store that a killed gateway has left.
    ///
    /// Of a copy, so that the next gateway finds what the last one left and nothing else.
    pub(crate) async fn pending(&self) -> HashSet<ClaimKey> {
        let copy = self.folder.path().join("copy.redb");
        std::fs::copy(self.folder.path().join("state.redb"), &copy).unwrap();
        let store = Store::open(&copy).await.unwrap();
        let (mut pending, mut after) = (HashSet::new(), None);
        loop {
            let page = store.pending(after).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some(last.key);
            pending.extend(page.iter().map(|pending| pending.key));
        }
        store.close().await.unwrap();
        pending
    }

    /// Presents all of `purchases` at once, in tasks of their own.
    pub(crate) fn present(
        &self,
        base: &str,
        purchases: Vec<Purchase>,
    ) -> Vec<JoinHandle<Purchase>> {
        self.heads.send_replace(0);
        let present = |mut purchase: Purchase| {
            let (client, base, heads) = (self.client.clone(), base.to_owned(), self.heads.clone());
            let sandbox = self.sandbox.clone();
            tokio::spawn(async move {
                purchase.present(&client, &base, &heads).await;
                // At once: a ledger does not keep its transactions for ever.
                if let Seen::End(End::Served { transaction }) = purchase.last() {
                    assert!(has_succeeded(&sandbox, transaction), "{purchase:?}");
                }
                purchase
            })
        };
        purchases.into_iter().map(present).collect()
    }

    /// As [`Site::present`], until each has its end, or nothing that waits could give it one.
    ///
    /// Returns those with an end, and those without.
    pub(crate) async fn present_until_known(
        &self,
        base: &str,
        mut open: Vec<Purchase>,
    ) -> (Vec<Purchase>, Vec<Purchase>) {
        let mut ended = Vec::new();
        for _ in 0..ROUNDS {
            // Looked at first: what lands between this and the answer is found by the next look.
            let waiting = self.sandbox.ledger().waiting();
            let done = joined(self.present(base, open)).await;
            (open, ended) = {
                let (known, open): (Vec<_>, Vec<_>) =
                    done.into_iter().partition(|purchase| purchase.end().is_some());
                ended.extend(known);
                (open, ended)
            };
            let is_stuck = |purchase: &Purchase| *purchase.last() == Seen::Pending;
            if waiting == 0 && open.iter().all(is_stuck) {
                return (ended, open);
            }
            sleep(Duration::from_millis(50)).await;
        }
        panic!("no end in sight: {open:?}");
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Pump {
    fn start(sandbox: Arc<Sandbox>, batch: Duration) -> Self {
        let is_on = Arc::new(Mutex::new(true));
        let switch = is_on.clone();
        let task = tokio::spawn(async move {
            loop {
                if sandbox.ledger().waiting() > 0 {
                    sleep(batch).await;
                    let is_on = switch.lock().await;
                    if *is_on {
                        sandbox.close_ledger().await;
                    }
                    drop(is_on);
                }
                sleep(Duration::from_millis(5)).await;
            }
        });
        Self { is_on, task }
    }
}

/// The results of all of `tasks`.
pub(crate) async fn joined<T>(tasks: Vec<JoinHandle<T>>) -> Vec<T> {
    let mut done = Vec::new();
    for task in tasks {
        done.push(timeout(PATIENCE, task).await.expect("it ends in time").unwrap());
    }
    done
}

fn has_succeeded(sandbox: &Sandbox, transaction: &str) -> bool {
    let hash: Hash = transaction.parse().unwrap();
    let record = sandbox.ledger().transaction(&hash);
    record.is_some_and(|record| record.status == TransactionStatus::Success)
}

fn charged(sandbox: &Sandbox, payer: &str) -> i128 {
    let spent = i128::from(FUNDS) - sandbox.usdc_balance(payer).unwrap();
    assert_eq!(spent % PRICE, 0, "{payer} spent {spent}");
    spent / PRICE
}

fn yaml(upstream: &Upstream) -> String {
    let route = |path: &str, order: &str, accept: &str| {
        format!(
            r#"  - {{ match: GET /{path}{order}, price: "$0.001", settle: {order}, timeout: 5s, accept: {accept} }}"#
        )
    };
    let unsponsored = "{ mpp.charge: { price: \"$0.001\", sponsored: false } }";
    let routes = [
        route("", "after", "[x402, mpp.charge]"),
        route("", "before", "[x402, mpp.charge]"),
        route("unsponsored/", "after", unsponsored),
        route("unsponsored/", "before", unsponsored),
    ];
    let routes = routes.join("\n");
    format!(
        r#"version: 1
listen: 127.0.0.1:0
upstream: http://{}
network: stellar:testnet
stellar:
  rpc_url: {{ env: STELLAR_RPC_URL }}
  pay_to: {{ env: STELLAR_RECIPIENT }}
  sponsors: [{{ env: SPONSOR_SECRET }}]
payments: {{ x402: {{ facilitator: self }}, mpp: {{ charge: {{ sponsored: true }} }} }}
store: {{ embedded: {{ path: ./state.redb }} }}
drain: {{ delay: 0s, timeout: 10s }}
routes:
{routes}
"#,
        upstream.address
    )
}

/// The price of every route, in base units.
pub(crate) const PRICE: i128 = 10_000;
/// What a payer has: enough to be charged three times.
const FUNDS: i64 = 30_000;
/// Longer than any authorization lives, in ledgers: a challenge ends after five minutes.
const LIFE: u32 = 64;
/// How long a transaction that its payer has signed whole can land: those that never do are waited for, once in a test.
const WHOLE_SECONDS: u64 = 20;
const PAYERS_AT_ONCE: usize = 19;
/// How often a payment is presented before its client gives up.
const ROUNDS: usize = 200;
const PATIENCE: Duration = Duration::from_secs(30);
