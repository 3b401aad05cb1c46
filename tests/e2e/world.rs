//! One world for a test: a ledger, an upstream, a gateway between them, and agents that pay.

use std::{net::SocketAddr, path::PathBuf, pin::pin, time::Duration};

use bytes::Bytes;
use http::Method;
use tempfile::TempDir;
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};
use tollgate::{
    app::{Gateway, NeedsRestart, NotReloaded},
    client::{Credential, Overrides, X402Offer},
    config::{self, Env},
    telemetry::Clock,
};
use tollgate_sandbox::{Clock as Ledgers, DevAccount, Funds, Options, Sandbox};

pub(crate) use crate::agent::{Agent, Answer, read};
use crate::upstream::Upstream;

/// The price of the default routes in base units: `$0.001`.
pub const PRICE: i128 = 10_000;

pub struct World {
    pub sandbox: Sandbox,
    pub upstream: Upstream,
    pub gateway: Gateway,
    /// The gateway's; the ledger has its own.
    pub clock: Clock,
    folder: TempDir,
}

/// What a world is made of; the default is what most tests want.
#[derive(Debug)]
pub struct Plan<'a> {
    /// Where the gateway listens, and what clients call it.
    pub listen: &'a str,
    /// The entries of `routes:`.
    pub routes: &'a str,
    /// More lines of `stellar:`.
    pub stellar: &'a str,
    /// More members of `payments.x402`, each with a comma before it.
    pub x402: &'a str,
    /// More members of `payments`, each with a comma before it.
    pub payments: &'a str,
    /// The entry of `store`.
    pub store: &'a str,
    /// Where the upstream is, if it is not the world's own.
    pub upstream: Option<SocketAddr>,
    /// The upstreams, in place of one; `SERVER` is the world's own.
    pub upstreams: Option<&'a str>,
    pub clock: Clock,
    /// The network that the gateway is told of.
    pub network: &'a str,
    /// What closes ledgers.
    pub ledgers: Ledgers,
    /// Whether there is somebody who pays fees, and with it x402.
    pub sponsored: bool,
}

impl Default for Plan<'_> {
    fn default() -> Self {
        Self {
            listen: "listen: 127.0.0.1:0",
            routes: ROUTES,
            stellar: "",
            x402: "",
            payments: "",
            store: "embedded: { path: ./state.redb }",
            upstream: None,
            upstreams: None,
            clock: Clock::system(),
            network: "stellar:testnet",
            ledgers: Ledgers::default(),
            sponsored: true,
        }
    }
}

impl World {
    /// A world with the default routes and the gateway's own facilitator.
    pub async fn start() -> Self {
        Self::build(Plan::default()).await
    }

    /// A world with these `routes:` entries.
    pub async fn with_routes(routes: &str) -> Self {
        Self::build(Plan { routes, ..Plan::default() }).await
    }

    /// A world as `plan` says, whose gateway is ready.
    pub async fn build(plan: Plan<'_>) -> Self {
        let is_by_hand = plan.ledgers == Ledgers::Manual;
        let world = Self::build_unready(plan).await;
        let ready = world.gateway.ready(PATIENCE);
        if is_by_hand { world.while_ledgers_close(ready).await } else { ready.await }.unwrap();
        world
    }

    /// As [`World::build`], without waiting for the gateway to be ready.
    pub async fn build_unready(plan: Plan<'_>) -> Self {
        let options = Options { clock: plan.ledgers, ..Options::default() };
        let sandbox = Sandbox::start(options).await.unwrap();
        let upstream = Upstream::start().await;
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("gateway.yaml"), yaml(&upstream, &plan)).unwrap();
        let settings = load(&folder, &sandbox);
        let gateway = Gateway::start(settings, plan.clock.clone()).await.unwrap();
        Self { sandbox, upstream, gateway, clock: plan.clock, folder }
    }

    /// Another gateway of the same configuration, ready to be paid, and an agent that asks there.
    pub async fn another(&self) -> (Gateway, Agent) {
        let settings = load(&self.folder, &self.sandbox);
        let gateway = Gateway::start(settings, self.clock.clone()).await.unwrap();
        gateway.ready(PATIENCE).await.unwrap();
        let base = format!("http://{}", gateway.addresses()[0]);
        let Agent { client, .. } = self.agent();
        (gateway, Agent { client, base })
    }

    pub fn config_path(&self) -> PathBuf {
        self.folder.path().join("gateway.yaml")
    }

    /// Writes a new `routes:` list and swaps it in.
    pub fn reload_routes(&self, routes: &str) {
        self.reload(&Plan { routes, ..Plan::default() });
    }

    /// Writes the `gateway.yaml` of `plan` and swaps it in.
    pub fn reload(&self, plan: &Plan<'_>) {
        self.try_reload(plan).unwrap();
    }

    /// As [`World::reload`], where that may need a restart.
    pub fn try_reload(&self, plan: &Plan<'_>) -> Result<(), NeedsRestart> {
        let text = yaml(&self.upstream, plan);
        std::fs::write(self.config_path(), text).unwrap();
        match self.gateway.reload(load(&self.folder, &self.sandbox)) {
            Ok(_) => Ok(()),
            Err(NotReloaded::NeedsRestart(key)) => Err(key),
            Err(other) => panic!("{other}"),
        }
    }

    /// Stops the gateway and starts another one on the same store.
    pub async fn restart(self) -> Self {
        self.restart_after(Duration::ZERO).await
    }

    /// As [`World::restart`], with no gateway for so long; for a clock that stands still.
    pub async fn restart_after(self, down: Duration) -> Self {
        let world = self.restart_unready(down).await;
        world.until_ready().await;
        world
    }

    /// As [`World::restart_after`], without waiting for the gateway to be ready.
    pub async fn restart_unready(self, down: Duration) -> Self {
        let Self { sandbox, upstream, gateway, clock, folder } = self;
        gateway.stop().await;
        if !down.is_zero() {
            sandbox.faults().clear();
            sandbox.close_ledger_at(clock.now() + down.as_secs()).await;
            clock.advance(down);
        }
        let settings = load(&folder, &sandbox);
        let gateway = Gateway::start(settings, clock.clone()).await.unwrap();
        Self { sandbox, upstream, gateway, clock, folder }
    }

    pub fn store_path(&self) -> PathBuf {
        self.folder.path().join("state.redb")
    }

    /// Funded payers, each with what one request costs and no lumens to spare.
    pub async fn payers(&self, count: usize) -> Vec<Agent> {
        let funds = Funds { usdc_units: i64::try_from(PRICE).unwrap(), spare_stroops: 0 };
        let payers = self.sandbox.new_payers(count, funds).await.unwrap();
        payers.iter().map(|payer| self.agent_of(payer)).collect()
    }

    /// Lets time pass, for a gateway with a fixed clock and on the ledger.
    pub async fn pass(&self, by: Duration) {
        // The ledger first: one that is behind would be an RPC that lags.
        self.sandbox.close_ledger_at(self.clock.now() + by.as_secs()).await;
        self.clock.advance(by);
    }

    /// Waits until payments can be taken.
    pub async fn until_ready(&self) {
        self.gateway.ready(PATIENCE).await.unwrap();
    }

    /// Closes ledgers, of a network that does not by itself, until `work` is done.
    pub async fn while_ledgers_close<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = sleep(Duration::from_millis(20)) => drop(self.sandbox.close_ledger().await),
            }
        }
    }

    /// The sequence of the latest closed ledger.
    pub fn ledger(&self) -> u32 {
        self.sandbox.ledger().latest().sequence
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.gateway.addresses()[0])
    }

    /// The agent with the payer's key.
    pub fn agent(&self) -> Agent {
        self.agent_of(&self.sandbox.accounts().payer)
    }

    /// The agent with this key, by the clock of the gateway.
    pub fn agent_of(&self, account: &DevAccount) -> Agent {
        let Agent { client, base } = Agent::new(&self.sandbox, account, self.url(""));
        Agent { client: client.by_clock(&self.clock), base }
    }

    pub fn payee_usdc(&self) -> i128 {
        self.sandbox.usdc_balance(&self.sandbox.accounts().recipient.address()).unwrap()
    }

    pub fn sponsor_xlm(&self) -> i64 {
        self.sandbox.xlm_balance(&self.sandbox.accounts().sponsor.address()).unwrap()
    }

    /// Stops everything in order.
    pub async fn end(self) {
        self.gateway.stop().await;
        self.sandbox.shutdown().await;
    }
}

impl Agent {
    /// Asks for GET `path`, and signs a payment for what is asked, changed as `overrides` say.
    pub async fn sign(&self, path: &str, overrides: &Overrides) -> Credential {
        let offer = self.offer(path).await;
        self.client.sign_x402(&offer, overrides).await.unwrap()
    }

    /// As [`Agent::sign`] for another method; the transaction's own time bounds leave all to the authorization.
    pub async fn sign_for(&self, method: Method, path: &str) -> Credential {
        let offer = self.offer_of(method, path).await;
        let overrides = Overrides { max_time: Some(0), ..Overrides::default() };
        self.client.sign_x402(&offer, &overrides).await.unwrap()
    }

    /// The offer of GET `path`.
    pub async fn offer(&self, path: &str) -> X402Offer {
        self.offer_of(Method::GET, path).await
    }

    /// Sends GET `path` with a payment, once.
    pub async fn present(&self, path: &str, credential: &Credential) -> Answer {
        self.present_with(Method::GET, path, credential).await
    }

    /// As [`Agent::present`], in a task of its own.
    pub fn presenting(
        &self,
        method: Method,
        path: &'static str,
        credential: &Credential,
    ) -> JoinHandle<Answer> {
        let (agent, credential) = (self.clone(), credential.clone());
        tokio::spawn(async move { agent.present_with(method, path, &credential).await })
    }

    /// Asks for GET `path` and pays.
    pub async fn pay(&self, path: &str) -> Answer {
        self.pay_with(Method::GET, path, Bytes::new()).await
    }
}

impl Answer {
    /// The `reason` of a problem document.
    pub fn reason(&self) -> String {
        self.json()["reason"].as_str().unwrap_or_default().to_owned()
    }

    /// The transaction that a 503 `settlement-pending` tells of.
    #[track_caller]
    pub fn assert_pending(&self) -> String {
        self.assert_fault("settlement-pending");
        let hash = self.json()["transaction"].as_str().expect("a hash to watch").to_owned();
        assert_eq!(hash.len(), 64, "{hash}");
        hash
    }
}

/// A clock that stands still until it is moved.
pub fn still() -> Clock {
    Clock::fixed(Clock::system().now())
}

/// Waits until `is_so`, for what nothing tells of.
pub async fn until(what: &str, is_so: impl Fn() -> bool) {
    let looking = async {
        while !is_so() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, looking).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}

/// The `gateway.yaml` of `plan`.
pub fn yaml(upstream: &Upstream, plan: &Plan<'_>) -> String {
    let Plan { listen, routes, stellar, x402, payments, store, network, .. } = plan;
    let server = plan.upstream.unwrap_or(upstream.address);
    let upstream = match plan.upstreams {
        None => format!("upstream: http://{server}"),
        Some(upstreams) => upstreams.replace("SERVER", &server.to_string()),
    };
    let (sponsors, payments) = match plan.sponsored {
        true => (
            "  sponsors: [{ env: SPONSOR_SECRET }]",
            format!("x402: {{ facilitator: self{x402} }}{payments}"),
        ),
        false => ("", payments.trim_start_matches(", ").to_owned()),
    };
    format!(
        r#"version: 1
{listen}
{upstream}
network: {network}
stellar:
  rpc_url: {{ env: STELLAR_RPC_URL }}
  pay_to: {{ env: STELLAR_RECIPIENT }}
{sponsors}
{stellar}
payments: {{ {payments} }}
store: {{ {store} }}
drain: {{ delay: 0s, timeout: 10s }}
routes:
{routes}
"#
    )
}

fn load(folder: &TempDir, sandbox: &Sandbox) -> config::Settings {
    let env = Env::fixed(sandbox.env_lines());
    config::load(&folder.path().join("gateway.yaml"), &env)
        .unwrap_or_else(|error| panic!("{error}"))
}

const PATIENCE: Duration = Duration::from_secs(30);

pub const ROUTES: &str = r#"
  - { name: weather, match: GET /weather, price: "$0.001", accept: [x402], timeout: 5s }
  - { name: sibling, match: GET /sibling, price: "$0.001", accept: [x402], timeout: 5s }
  - { name: dear, match: GET /dear, price: "$0.1", accept: [x402], timeout: 5s }
  - { name: order, match: POST /order, price: "$0.001", accept: [x402], timeout: 5s }
  - { name: health, match: GET /health, free: true }
"#;
