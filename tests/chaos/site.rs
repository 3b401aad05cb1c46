//! What outlives every gateway: the ledger, the upstream, the store's data, the payers and their channels.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, atomic::AtomicU64},
    time::Duration,
};

use tempfile::TempDir;
use tokio::{sync::watch, task::JoinHandle, time::sleep};
use tollgate::{
    app::Gateway,
    config::{self, Env},
    protocol::commitment::CommitmentSeed,
    store::{Durability, RedisSettings, Store},
    telemetry::Clock,
};
use tollgate_sandbox::{Clock as Ledgers, DevAccount, Funds, Options, Sandbox};

use crate::{
    client::Wallet, nodes::Nodes, payer::Payer, redis_server::Server, relay::Relay,
    upstream::Upstream,
};

/// Who takes part.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) gateways: usize,
    pub(crate) store: Kept,
    pub(crate) channels: usize,
    /// How many clients pay from each channel.
    pub(crate) clients: usize,
}

/// Where accounts are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// By the one gateway itself.
    Embedded,
    /// In a Redis, which is killed as gateways are.
    Redis,
    /// In a Redis that is not killed, and that gateways reach through a network which loses, delays and cuts.
    BadNetwork,
    /// In a Valkey whose replica takes over now and then, at `redis-ha`.
    Copied,
    /// In the same, at `best-effort`.
    HardlyCopied,
}

impl Kept {
    /// What the operator asks of the store, with the journal of the gateway `name`.
    fn durability(self, name: &str) -> String {
        match self {
            Self::Copied => format!(
                "durability: redis-ha, promotable_replicas: 1, journal: ./{name}.journal, timeout: 1s"
            ),
            Self::HardlyCopied => "durability: best-effort, timeout: 250ms".to_owned(),
            _ => "durability: redis-single, timeout: 250ms".to_owned(),
        }
    }
}

pub(crate) struct Site {
    pub(crate) plan: Plan,
    pub(crate) sandbox: Arc<Sandbox>,
    pub(crate) upstream: Upstream,
    pub(crate) redis: Option<Server>,
    /// Between gateways and Redis.
    pub(crate) network: Option<Arc<Relay>>,
    /// Where one of two servers may take over from the other.
    pub(crate) nodes: Option<Nodes>,
    pub(crate) wallets: Vec<Wallet>,
    /// In the order of the wallets; each has a channel.
    pub(crate) payers: Vec<DevAccount>,
    folder: TempDir,
    /// What ledgers are closed by.
    time: watch::Sender<Clock>,
    closing: JoinHandle<()>,
}

impl Site {
    pub(crate) async fn start(plan: Plan) -> Self {
        let options = Options { clock: Ledgers::Manual, ..Options::default() };
        let sandbox = Arc::new(Sandbox::start(options).await.unwrap());
        let upstream = Upstream::start().await;
        let redis = match plan.store {
            Kept::Embedded | Kept::Copied | Kept::HardlyCopied => None,
            Kept::Redis | Kept::BadNetwork => {
                Some(Server::redis(crate::redis_server::Settings::default()).await)
            }
        };
        let network = match &redis {
            Some(server) => Some(Arc::new(Relay::to(server.address).await)),
            None => None,
        };
        let nodes = match plan.store {
            Kept::Copied | Kept::HardlyCopied => Some(Nodes::start(plan.gateways).await),
            _ => None,
        };
        let folder = tempfile::tempdir().unwrap();
        let funds = Funds { usdc_units: DEPOSIT, spare_stroops: 10_000_000 };
        let payers = sandbox.new_payers(plan.channels, funds).await.unwrap();
        let mut wallets = Vec::new();
        let ids = Arc::new(AtomicU64::new(1));
        let (served, _) = watch::channel(0);
        for (number, payer) in payers.iter().enumerate() {
            let payer = open(&sandbox, payer).await;
            let signed = Arc::new(Mutex::new(0));
            let (ids, served) = (Arc::clone(&ids), served.clone());
            wallets.push(Wallet { number, payer, signed, ids, served });
        }
        let network_address = network.as_ref().map(|network| network.address());
        let way = |of: usize| nodes.as_ref().map(|nodes| nodes.way(of));
        for gateway in 0..=plan.gateways {
            let name = name_of(gateway, plan);
            let url = network_address.or_else(|| way(gateway)).map(|at| format!("redis://{at}/"));
            let yaml = yaml(&upstream, url, &plan.store.durability(&name));
            std::fs::write(folder.path().join(format!("{name}.yaml")), yaml).unwrap();
        }
        let (time, now) = watch::channel(Clock::system());
        let closing = tokio::spawn(close_ledgers(Arc::clone(&sandbox), now));
        Self {
            plan,
            sandbox,
            upstream,
            redis,
            network,
            nodes,
            wallets,
            payers,
            folder,
            time,
            closing,
        }
    }

    /// The configuration of the gateway that is there when all others have gone, and of the others unless they have their
    /// own.
    pub(crate) fn config(&self) -> PathBuf {
        self.config_of(self.plan.gateways)
    }

    /// The configuration of one gateway.
    pub(crate) fn config_of(&self, gateway: usize) -> PathBuf {
        self.folder.path().join(format!("{}.yaml", name_of(gateway, self.plan)))
    }

    /// Lets so much time pass that no dead gateway's lease goes on, on the ledger and for who starts now.
    pub(crate) fn outlive_leases(&self) {
        let clock = Clock::fixed(Clock::system().now() + LEASE_SECONDS);
        self.time.send_replace(clock);
    }

    /// The site's time, in seconds since 1970.
    pub(crate) fn now(&self) -> u64 {
        self.time.borrow().now()
    }

    /// Starts a gateway in this process, by the site's time; it takes payments when this returns.
    pub(crate) async fn gateway(&self) -> Gateway {
        let env = Env::fixed(self.sandbox.env_lines());
        let settings = config::load(&self.config(), &env).unwrap_or_else(|error| panic!("{error}"));
        let gateway = Gateway::start(settings, self.time.borrow().clone()).await.unwrap();
        gateway.ready(PATIENCE).await.unwrap();
        gateway
    }

    /// The store, which no gateway may have open if it is not Redis.
    pub(crate) async fn store(&self) -> Store {
        let nodes = self.nodes.as_ref().map(Nodes::primary);
        match self.redis.as_ref().or(nodes) {
            None => Store::open(self.folder.path().join("state.redb")).await.unwrap(),
            Some(server) => {
                let settings = RedisSettings {
                    url: server.url().into(),
                    prefix: PREFIX.to_owned(),
                    timeout: Duration::from_secs(5),
                    lease: Duration::from_secs(30),
                    durability: Durability::Single,
                };
                Store::redis(settings).await.unwrap()
            }
        }
    }

    pub(crate) fn payee_usdc(&self) -> i128 {
        self.sandbox.usdc_balance(&self.sandbox.accounts().recipient.address()).unwrap()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.closing.abort();
    }
}

/// Opens the channel of `account`, with all that it has.
async fn open(sandbox: &Sandbox, account: &DevAccount) -> Payer {
    let seed = CommitmentSeed::from_bytes(&account.key().to_bytes());
    Payer::open(sandbox, account, String::new(), seed, (DEPOSIT.into(), WAITING)).await
}

/// Closes a ledger now and then, by the time that is told.
async fn close_ledgers(sandbox: Arc<Sandbox>, time: watch::Receiver<Clock>) {
    loop {
        let clock = time.borrow().clone();
        for _ in 0..5 {
            sandbox.close_ledger_at(clock.now()).await;
            sleep(Duration::from_millis(200)).await;
        }
        // Nothing for the machine's own.
        clock.advance(Duration::from_secs(1));
    }
}

/// Where each gateway has its own way to the store, and its own journal, it has its own configuration.
fn name_of(gateway: usize, plan: Plan) -> String {
    match plan.store {
        Kept::Copied | Kept::HardlyCopied => format!("gateway-{gateway}"),
        _ => "gateway".to_owned(),
    }
}

fn yaml(upstream: &Upstream, redis: Option<String>, durability: &str) -> String {
    let store = redis.map_or_else(
        || "{ embedded: { path: ./state.redb } }".to_owned(),
        |url| format!(r#"{{ redis: {{ url: "{url}", {durability}, key_prefix: "{PREFIX}" }} }}"#,),
    );
    format!(
        r#"version: 1
listen: 127.0.0.1:0
upstream: http://{}
network: stellar:testnet
stellar:
  rpc_url: {{ env: STELLAR_RPC_URL }}
  pay_to: {{ env: STELLAR_RECIPIENT }}
payments: {{ mpp: {{ channel: {{ min_refund_waiting_ledgers: {WAITING}, signer: {{ env: RECIPIENT_SECRET }}, close: {{ at_claimable: "$0.05" }} }} }} }}
store: {store}
drain: {{ delay: 0s, timeout: 10s }}
routes:
  - {{ match: GET /paid, price: "$0.001", accept: [mpp.channel], timeout: 2s }}
  - {{ match: GET /free, free: true }}
"#,
        upstream.address
    )
}

/// The price of every request, in base units.
pub(crate) const PRICE: i128 = 10_000;
/// What every channel is given: enough for a hundred thousand requests.
pub(crate) const DEPOSIT: i64 = 1_000_000_000;
/// What a payer waits for when it closes a channel itself, in ledgers.
pub(crate) const WAITING: u32 = 100;
/// Longer than a reservation lasts.
const LEASE_SECONDS: u64 = 150;
const PREFIX: &str = "chaos:";
const PATIENCE: Duration = Duration::from_secs(30);
