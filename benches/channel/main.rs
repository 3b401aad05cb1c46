//! What a payment from a channel costs, beside what it cannot cost less than: `cargo bench --bench channel`.
//!
//! A gateway is a process of its own, so the processor time told is the gateway's alone: user and system time of the
//! process over the requests of a run. Ledger, upstream and clients are in this process; the clients' commitments are
//! signed before anything is measured. What is beside it is measured in the same run, since the machine may be busy.
//! Needs what `tests/support/servers` fetches. `TOLLGATE_BENCH_SECONDS` is how long each load lasts; 3 by default.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    dead_code,
    reason = "a bench ends where it finds something else than it expects; what is shared is not used whole"
)]

mod floor;
mod load;
mod upstream;

#[path = "../../tests/support/process.rs"]
mod process;
#[path = "../../tests/support/redis.rs"]
mod redis_server;

use std::{path::Path, sync::Arc, time::Duration};

use tollgate::protocol::{
    commitment::CommitmentSeed,
    money::Amount,
    stellar::{ContractId, Network},
};
use tollgate_sandbox::{OpenChannel, Options, Sandbox};

use self::{
    floor::Floor,
    load::{Load, Payer, Run},
    process::Process,
    redis_server::{Server, Settings},
};

#[tokio::main]
async fn main() {
    // Without this flag cargo only wants to know that it runs.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let each = std::env::var("TOLLGATE_BENCH_SECONDS").map_or(3, |text| text.parse().unwrap());
    let each = Duration::from_secs(each);
    println!("{}; each load {each:?}", floor::machine());
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let upstream = upstream::start().await;
    let payers = open(&sandbox, each).await;
    let server = Server::redis(Settings::default()).await;
    let redis = format!("redis: {{ url: \"{}\", durability: redis-single }}", server.url());
    // Beside the configuration each write of it would be noticed as a change of the folder that is watched.
    let embedded = "embedded: { path: ./state/state.redb }".to_owned();

    let mut runs = Vec::new();
    for (store, section) in [("embedded", embedded), ("redis", redis)] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("state")).unwrap();
        let config = folder.path().join("gateway.yaml");
        std::fs::write(&config, yaml(&upstream, &section)).unwrap();
        runs.extend(measure(store, &config, &sandbox, &payers, each).await);
    }
    let floor = Floor::measure(&payers[0], &server, each).await;
    print(&runs, &floor);
    sandbox.shutdown().await;
}

/// One gateway under each load.
async fn measure(
    store: &'static str,
    config: &Path,
    sandbox: &Sandbox,
    payers: &[Arc<Payer>],
    each: Duration,
) -> Vec<(&'static str, Run, Run)> {
    let mut gateway = Process::start(config, sandbox).await;
    let load = Load { address: gateway.address, pid: gateway.child.id().unwrap(), each };
    let (alone, crowd) = payers.split_at(1);
    let mut runs = Vec::new();
    for payers in [alone, crowd] {
        let free = load.free(payers.len()).await;
        let paid = load.paid(payers).await;
        runs.push((store, free, paid));
    }
    gateway.kill().await;
    runs
}

/// A payer for the load of one client, and one for each client of the other.
async fn open(sandbox: &Sandbox, each: Duration) -> Vec<Arc<Payer>> {
    let accounts = sandbox.accounts();
    let (usdc, payee) = (sandbox.usdc_contract(), accounts.recipient.address());
    let mut payers = Vec::new();
    for number in 0..=CROWD {
        let seed = CommitmentSeed::from_bytes(&[number; 32]);
        let wanted = OpenChannel {
            payer: &accounts.payer,
            payee: &payee,
            token: &usdc,
            commitment_key: seed.key().to_bytes(),
            deposit: DEPOSIT,
            refund_waiting_ledgers: 100,
        };
        let channel = ContractId(sandbox.open_channel(&wanted).await.unwrap().0.0);
        let seconds = each.as_secs();
        let count = if number == 0 { seconds * ALONE_AT_MOST } else { seconds * EACH_AT_MOST };
        let signed = (1..=i128::from(count)).map(|n| {
            let amount = Amount::from_units(n * PRICE).unwrap();
            seed.sign(Network::Testnet, channel, amount)
        });
        let signed = signed.collect();
        payers.push(Arc::new(Payer { channel, seed, signed, price: PRICE }));
    }
    payers
}

fn yaml(upstream: &std::net::SocketAddr, store: &str) -> String {
    let code = hex::encode(tollgate_sandbox::channel_code());
    format!(
        r#"version: 1
listen: 127.0.0.1:0
upstream: http://{upstream}
network: stellar:testnet
stellar:
  rpc_url: {{ env: STELLAR_RPC_URL }}
  pay_to: {{ env: STELLAR_RECIPIENT }}
payments: {{ mpp: {{ channel: {{ wasm_hashes: ["{code}"], min_refund_waiting_ledgers: 100, signer: {{ env: RECIPIENT_SECRET }} }} }} }}
store: {{ {store} }}
routes:
  - {{ name: paid, match: GET /paid, price: "$0.000001", accept: [mpp.channel] }}
  - {{ name: free, match: GET /free, free: true }}
"#
    )
}

fn print(runs: &[(&str, Run, Run)], floor: &Floor) {
    println!(
        "\n| store | clients | vouchers/s | p50 | p99 | CPU µs, paid | CPU µs, free | free/s | paid / (free + verify) |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for (store, free, paid) in runs {
        let ratio = paid.cpu_us() / (free.cpu_us() + floor.verify_us);
        println!(
            "| {store} | {} | {:.0} | {} | {} | {:.1} | {:.1} | {:.0} | {ratio:.2} |",
            paid.clients,
            paid.rate(),
            millis(paid.at(50)),
            millis(paid.at(99)),
            paid.cpu_us(),
            free.cpu_us(),
            free.rate(),
        );
    }
    println!("\n{floor}");
    let late: usize = runs.iter().map(|(_, _, paid)| paid.signed_late).sum();
    println!("{late} commitments were signed while the load ran; the rest before it");
}

fn millis(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1000.0)
}

/// The clients of the larger load.
const CROWD: u8 = 64;
/// `$0.000001`, in base units.
const PRICE: i128 = 10;
/// `$10`: a million requests.
const DEPOSIT: i128 = 10_000_000;
/// How many requests a second are signed for: more than are expected.
const ALONE_AT_MOST: u64 = 4_000;
const EACH_AT_MOST: u64 = 300;
