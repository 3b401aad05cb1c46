//! A ledger, an upstream and a folder with a `gateway.yaml`, for processes that read it again and again.

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tokio::process::Command;
use tollgate::protocol::commitment::CommitmentSeed;
use tollgate_sandbox::{Funds, Options, Sandbox};

pub(crate) use crate::child::Process;
use crate::{agent::Agent, origin::Origin, payer::Payer};

pub(crate) struct Site {
    pub(crate) sandbox: Sandbox,
    pub(crate) origin: Origin,
    pub(crate) folder: TempDir,
}

/// One of two configurations, of which no price is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    A,
    B,
}

impl Version {
    pub(crate) const ALL: [Self; 2] = [Self::A, Self::B];

    /// What x402, a charge and a channel pay, in base units.
    pub(crate) const fn prices(self) -> [i128; 3] {
        match self {
            Self::A => [10_000, 11_000, 3_000],
            Self::B => [20_000, 21_000, 5_000],
        }
    }

    pub(crate) const fn stamp(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }
}

impl Site {
    pub(crate) async fn start() -> Self {
        let sandbox = Sandbox::start(Options::default()).await.unwrap();
        let origin = Origin::start().await;
        let folder = tempfile::tempdir().unwrap();
        for version in Version::ALL {
            let stamp = version.stamp();
            std::fs::write(folder.path().join(format!("stamp-{stamp}")), stamp).unwrap();
        }
        Self { sandbox, origin, folder }
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.folder.path().join("gateway.yaml")
    }

    /// The configuration of `version`, with `listen` as its first lines.
    pub(crate) fn yaml(&self, listen: &str, version: Version) -> String {
        let [x402, charge, channel] = version.prices();
        let code = hex::encode(tollgate_sandbox::channel_code());
        let units = |units: i128| format!("{{ price: {{ amount: \"{units}\", asset: USDC }} }}");
        format!(
            r#"version: 1
{listen}
upstreams:
  app:
    servers: [http://{origin}]
    health: {{ path: /health, interval: 1s }}
    headers: {{ set: {{ X-Stamp: {{ file: stamp-{stamp} }} }} }}
network: stellar:testnet
stellar:
  rpc_url: {{ env: STELLAR_RPC_URL }}
  pay_to: {{ env: STELLAR_RECIPIENT }}
  sponsors: [{{ env: SPONSOR_SECRET }}]
payments:
  x402: {{ facilitator: self }}
  mpp:
    charge: {{}}
    channel: {{ wasm_hashes: ["{code}"], min_refund_waiting_ledgers: {WAITING}, signer: {{ env: RECIPIENT_SECRET }}, close: {{ at_claimable: "$50" }} }}
store: {{ embedded: {{ path: ./state.redb }} }}
drain: {{ delay: 500ms, timeout: 20s }}
reload: {{ debounce: 20ms }}
routes:
  - {{ name: paid, match: GET /paid, upstream: app, timeout: 5s, accept: {{ x402: {x402}, mpp.charge: {charge} }} }}
  - {{ name: metered, match: GET /metered, upstream: app, timeout: 5s, accept: {{ mpp.channel: {channel} }} }}
  - {{ match: ANY /*, upstream: app, free: true }}
"#,
            origin = self.origin.address,
            stamp = version.stamp(),
            x402 = units(x402),
            charge = units(charge),
            channel = units(channel),
        )
    }

    /// Replaces the configuration at once, as an editor does.
    pub(crate) fn write(&self, yaml: &str) {
        replace(&self.config(), yaml);
    }

    /// Starts a gateway; payments can be taken when this returns.
    pub(crate) async fn run(&self) -> Process {
        let process = Process::start(&self.config(), &self.sandbox).await;
        process.logged("payments can be settled").await;
        process
    }

    pub(crate) fn payee_usdc(&self) -> i128 {
        self.sandbox.usdc_balance(&self.sandbox.accounts().recipient.address()).unwrap()
    }

    /// Agents with an account each and enough in it.
    pub(crate) async fn agents(&self, base: &str, count: usize) -> Vec<Agent> {
        let funds = Funds { usdc_units: 50_000_000, spare_stroops: 10_000_000 };
        let accounts = self.sandbox.new_payers(count, funds).await.unwrap();
        accounts.iter().map(|account| Agent::new(&self.sandbox, account, base.to_owned())).collect()
    }

    /// A payer with a channel of its own.
    pub(crate) async fn payer(&self, base: &str, key: u8) -> Payer {
        let seed = CommitmentSeed::from_bytes(&[key; 32]);
        let account = &self.sandbox.accounts().payer;
        Payer::open(&self.sandbox, account, base.to_owned(), seed, (500_000_000, WAITING)).await
    }
}

impl Process {
    pub(crate) fn id(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Sends a signal, such as `-HUP`.
    pub(crate) async fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(name).arg(self.id().to_string()).status().await;
        assert!(status.unwrap().success());
    }

    /// How often the log says `text`.
    pub(crate) fn times(&self, text: &str) -> usize {
        self.log().matches(text).count()
    }

    /// Waits until the log says `text` for the `count`th time.
    pub(crate) async fn logged_times(&self, text: &str, count: usize) {
        let waiting = async {
            while self.times(text) < count {
                tokio::time::sleep(std::time::Duration::from_millis(3)).await;
            }
        };
        let waited = tokio::time::timeout(crate::clients::LONG, waiting).await;
        assert!(waited.is_ok(), "not {count} times: {text}\n{}", self.log());
    }

    /// The memory that it has in use, in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// How many files and sockets it has open.
    pub(crate) fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.id())).unwrap().count()
    }
}

/// Writes a file beside `path` and renames it over that.
pub(crate) fn replace(path: &Path, content: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, content).unwrap();
    std::fs::rename(new, path).unwrap();
}

/// How many ledgers a channel's payer waits for its deposit.
const WAITING: u32 = 20_000;
