//! One world for a test: a ledger with channels, an upstream, a gateway between them.

use std::{path::PathBuf, time::Duration};

use tempfile::TempDir;
use tollgate::{
    app::Gateway,
    client::{self, Client, Mode, Settings},
    config::{self, Env},
    protocol::{
        commitment::CommitmentSeed,
        stellar::{ContractId, Network},
    },
    store::{Store, channel::Account},
    telemetry::Clock,
};
use tollgate_sandbox::{DevAccount, OpenChannel, Options, Sandbox};

use crate::{payer::Payer, upstream::Upstream};

/// The price of the default routes in base units: `$0.001`.
pub(crate) const PRICE: i128 = 10_000;

/// The deposit of the usual channel: `$0.1`, a hundred requests.
pub(crate) const DEPOSIT: i128 = 1_000_000;

/// The waiting period of the usual channel, and the least that the gateway takes.
pub(crate) const WAITING: u32 = 100;

pub(crate) struct World {
    pub(crate) sandbox: Sandbox,
    pub(crate) upstream: Upstream,
    pub(crate) gateway: Gateway,
    pub(crate) clock: Clock,
    folder: TempDir,
}

/// What a world is made of; the default is what most tests want.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    /// The entries of `routes:`.
    pub(crate) routes: &'a str,
    /// More members of `payments.mpp.channel`, each with a comma before it.
    pub(crate) channel: &'a str,
    /// More members of `payments`, each with a comma before it.
    pub(crate) payments: &'a str,
    pub(crate) clock: Clock,
    /// In place of the recording upstream.
    pub(crate) upstream: Option<&'a str>,
}

impl Default for Plan<'_> {
    fn default() -> Self {
        Self { routes: ROUTES, channel: "", payments: "", clock: Clock::system(), upstream: None }
    }
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::build(Plan::default()).await
    }

    pub(crate) async fn build(plan: Plan<'_>) -> Self {
        let sandbox = Sandbox::start(Options::default()).await.unwrap();
        let upstream = Upstream::start().await;
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("gateway.yaml"), yaml(&upstream, &plan)).unwrap();
        let gateway = Gateway::start(load(&folder, &sandbox), plan.clock.clone()).await.unwrap();
        gateway.ready(PATIENCE).await.unwrap();
        Self { sandbox, upstream, gateway, clock: plan.clock, folder }
    }

    /// Writes the `gateway.yaml` of `plan` and swaps it in.
    pub(crate) fn reload(&self, plan: &Plan<'_>) {
        std::fs::write(self.folder.path().join("gateway.yaml"), yaml(&self.upstream, plan))
            .unwrap();
        self.gateway.reload(load(&self.folder, &self.sandbox)).unwrap();
    }

    /// Stops the gateway and starts another one on the same store.
    pub(crate) async fn restart(self) -> Self {
        let Self { sandbox, upstream, gateway, clock, folder } = self;
        gateway.stop().await;
        let gateway = Gateway::start(load(&folder, &sandbox), clock.clone()).await.unwrap();
        gateway.ready(PATIENCE).await.unwrap();
        Self { sandbox, upstream, gateway, clock, folder }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.gateway.addresses()[0])
    }

    /// The usual channel of the usual payer.
    pub(crate) async fn payer(&self) -> Payer {
        self.payer_with(1, DEPOSIT).await
    }

    /// A channel of the usual payer with this commitment key and deposit.
    pub(crate) async fn payer_with(&self, key: u8, deposit: i128) -> Payer {
        let accounts = self.sandbox.accounts();
        let seed = CommitmentSeed::from_bytes(&[key; 32]);
        let usdc = self.sandbox.usdc_contract();
        let wanted = OpenChannel {
            payer: &accounts.payer,
            payee: &accounts.recipient.address(),
            token: &usdc,
            commitment_key: seed.key().to_bytes(),
            deposit,
            refund_waiting_ledgers: WAITING,
        };
        self.open(&wanted, seed).await
    }

    /// A payer with a channel of this kind.
    pub(crate) async fn open(&self, wanted: &OpenChannel<'_>, seed: CommitmentSeed) -> Payer {
        let channel = ContractId(self.sandbox.open_channel(wanted).await.unwrap().0.0);
        Payer {
            client: self.client(&self.sandbox.accounts().payer),
            base: self.url(),
            seed,
            channel,
        }
    }

    pub(crate) fn client(&self, account: &DevAccount) -> Client {
        Client::new(Settings {
            seed: account.secret().parse().unwrap(),
            network: Network::Testnet,
            rpc_url: self.sandbox.rpc_url().parse().unwrap(),
            limit: None,
            method: client::Method::Any,
            mode: Mode::Pull,
            patience: Duration::ZERO,
        })
        .by_clock(&self.clock)
    }

    pub(crate) fn hits(&self) -> usize {
        self.upstream.hits().len()
    }

    pub(crate) fn payee_usdc(&self) -> i128 {
        self.sandbox.usdc_balance(&self.sandbox.accounts().recipient.address()).unwrap()
    }

    pub(crate) fn store_path(&self) -> PathBuf {
        self.folder.path().join("state.redb")
    }

    /// Stops the gateway, and reads what its store holds of a channel.
    pub(crate) async fn end_and_read(self, channel: ContractId) -> Option<Account> {
        let Self { sandbox, gateway, folder, .. } = self;
        gateway.stop().await;
        sandbox.shutdown().await;
        let store = Store::open(folder.path().join("state.redb")).await.unwrap();
        let account = store.account(channel).await.unwrap();
        store.close().await.unwrap();
        account
    }

    /// Stops everything in order.
    pub(crate) async fn end(self) {
        self.gateway.stop().await;
        self.sandbox.shutdown().await;
    }
}

fn yaml(upstream: &Upstream, plan: &Plan<'_>) -> String {
    let Plan { routes, channel, payments, upstream: own, .. } = plan;
    let code = hex::encode(tollgate_sandbox::channel_code());
    format!(
        r#"version: 1
listen: 127.0.0.1:0
{upstream}
network: stellar:testnet
stellar:
  rpc_url: {{ env: STELLAR_RPC_URL }}
  pay_to: {{ env: STELLAR_RECIPIENT }}
payments: {{ mpp: {{ channel: {{ wasm_hashes: ["{code}"], min_refund_waiting_ledgers: {WAITING}, signer: {{ env: STELLAR_RECIPIENT_SECRET }}{channel} }} }}{payments} }}
store: {{ embedded: {{ path: ./state.redb }} }}
drain: {{ delay: 0s, timeout: 10s }}
routes:
{routes}
"#,
        upstream =
            own.map_or_else(|| format!("upstream: http://{}", upstream.address), str::to_owned),
    )
}

fn load(folder: &TempDir, sandbox: &Sandbox) -> config::Settings {
    let mut lines = sandbox.env_lines();
    lines.push(("STELLAR_RECIPIENT_SECRET", sandbox.accounts().recipient.secret()));
    let env = Env::fixed(lines);
    config::load(&folder.path().join("gateway.yaml"), &env)
        .unwrap_or_else(|error| panic!("{error}"))
}

const PATIENCE: Duration = Duration::from_secs(30);

const ROUTES: &str = r#"
  - { name: weather, match: GET /weather, price: "$0.001", accept: [mpp.channel], timeout: 5s }
  - { name: sibling, match: GET /sibling, price: "$0.001", accept: [mpp.channel], timeout: 5s }
  - { name: dear, match: GET /dear, price: "$0.01", accept: [mpp.channel], timeout: 5s }
  - { name: act, match: POST /act, price: "$0.001", accept: [mpp.channel], timeout: 5s }
  - { name: free, match: GET /free, free: true }
"#;
