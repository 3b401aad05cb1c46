//! What the gateway costs beside nginx and HAProxy, before one upstream, in one run: `cargo bench --bench proxy`.
//!
//! Every server is a process of its own, so the processor time told is its own: user and system time of the process over
//! the requests of a load. The clients cost little and say how long each answer took. A machine that does other things
//! too makes all of that dearer, which is why only figures of one run are compared, and why every load is put on the
//! servers in turn, as many times as there are rounds.
//!
//! `cargo bench --bench proxy -- keep-alive` runs the loads whose names have that in them. `TOLLGATE_BENCH_SECONDS` is how
//! long each load lasts (1), `TOLLGATE_BENCH_ROUNDS` how many times it comes (2); `TOLLGATE_BENCH_OTHER` is another build
//! of the gateway to measure beside this one.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench ends where it finds something else than it expects"
)]

mod h1;
mod h2;
mod report;
mod run;
mod servers;

use std::{fs, path::PathBuf, str::FromStr, time::Duration};

use tollgate::protocol::commitment::CommitmentSeed;
use tollgate_sandbox::{OpenChannel, Options, Sandbox};

use self::{
    h1::{Ask, Client, Pace},
    report::{Row, Table, millis},
    run::Run,
    servers::{LARGE, SMALL, Server},
};

#[tokio::main(worker_threads = 2)]
async fn main() {
    // Without this flag cargo only wants to know that it runs.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    // A client that fails must not leave the others waiting for it.
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |failure| {
        tell(failure);
        std::process::exit(1);
    }));
    let bench = Bench {
        each: Duration::from_secs_f64(setting("TOLLGATE_BENCH_SECONDS", 1.0)),
        rounds: setting("TOLLGATE_BENCH_ROUNDS", 2),
        wanted: std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect(),
    };
    println!("{}; loads of {:?}, {} of each", machine(), bench.each, bench.rounds);
    let folder = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let upstream = Server::upstream(folder.path());
    let mut proxies = vec![Server::nginx_proxy(folder.path(), upstream.h1)];
    match Server::haproxy(folder.path(), upstream.h1) {
        Some(haproxy) => proxies.push(haproxy),
        None => println!("HAProxy is left out: benches/proxy/fetch could not fetch it"),
    }
    let program = servers::own_program();
    let start = |name, program: PathBuf| {
        Server::tollgate(name, &program, folder.path(), upstream.h1, &sandbox)
    };
    proxies.push(start("Tollgate", program));
    if let Ok(other) = std::env::var("TOLLGATE_BENCH_OTHER") {
        proxies.push(start("other", PathBuf::from(other)));
    }
    // First, while nothing was freed that could be used again.
    bench.idle(&proxies);
    let mut table = Table::default();
    bench.forward(&mut table, &proxies).await;
    bench.half_load(&mut table, &upstream, &proxies);
    let channel = open(&sandbox).await;
    bench.unpaid(&mut table, &upstream, &proxies, &channel);
    print!("{table}");
    drop(proxies);
    sandbox.shutdown().await;
}

struct Bench {
    each: Duration,
    rounds: usize,
    /// Parts of names of loads; all if there are none.
    wanted: Vec<String>,
}

impl Bench {
    fn wants(&self, load: &str) -> bool {
        self.wanted.is_empty() || self.wanted.iter().any(|part| load.contains(part.as_str()))
    }

    /// What a connection costs that has had an answer and is kept.
    fn idle(&self, proxies: &[Server]) {
        if !self.wants("idle") {
            return;
        }
        // This process has the other ends.
        let most = most_files().saturating_sub(512).min(IDLE);
        println!("\n| {most} idle connections | KiB each |\n|---|---|");
        for proxy in proxies {
            let ask = Ask::get("/small", SMALL);
            Client::connect(proxy.h1).one(&ask);
            let before = proxy.watched().resident();
            let kept: Vec<_> = (0..most).map(|_| Client::idle(proxy.h1, &ask)).collect();
            let more = proxy.watched().resident().saturating_sub(before);
            let each = f64::from(u32::try_from(more).unwrap())
                / f64::from(u32::try_from(kept.len()).unwrap());
            println!("| {} | {each:.1} |", proxy.name);
        }
    }

    /// Loads that a proxy only passes on.
    async fn forward(&self, table: &mut Table, proxies: &[Server]) {
        let small = || Ask::get("/small", SMALL);
        let loads = [
            ("h1, keep-alive, 55 bytes", (CLIENTS, small(), Pace::Closed)),
            ("h1, new connections, 55 bytes", (CLIENTS, small().closing(), Pace::New(CONNECTIONS))),
            ("h1, 1 MiB down", (8, Ask::get("/large", LARGE), Pace::Closed)),
            ("h1, 1 MiB up", (8, Ask::post("/upload", LARGE), Pace::Closed)),
        ];
        for (name, (clients, ask, pace)) in loads {
            self.each_in_turn(table, name, proxies, async |proxy| {
                h1::load(proxy.h1, proxy.watched(), (clients, &ask, pace), self.each)
            })
            .await;
        }
        let loads = [
            ("h2, 4 × 8 streams, 55 bytes", (4, 8, "/small", SMALL)),
            ("h2, 2 × 4 streams, 1 MiB down", (2, 4, "/large", LARGE)),
        ];
        for (name, plan) in loads {
            self.each_in_turn(table, name, proxies, async |proxy| {
                h2::load(proxy.h2, proxy.watched(), plan, self.each).await
            })
            .await;
        }
    }

    /// The same number of requests a second for all: half of what the slowest takes. The upstream alone is what the others
    /// add to.
    fn half_load(&self, table: &mut Table, upstream: &Server, proxies: &[Server]) {
        let name = "h1, at half load, 55 bytes";
        if !self.wants(name) {
            return;
        }
        let ask = Ask::get("/small", SMALL);
        let load = |server: &Server, pace| {
            h1::load(server.h1, server.watched(), (CLIENTS, &ask, pace), self.each)
        };
        let most = proxies.iter().map(|proxy| load(proxy, Pace::Closed).rate());
        let half = most.fold(f64::INFINITY, f64::min) / 2.0;
        let servers: Vec<_> = proxies.iter().chain([upstream]).collect();
        let mut rows: Vec<Row> = servers.iter().map(|server| Row::new(name, server.name)).collect();
        for _ in 0..self.rounds {
            for (server, row) in servers.iter().zip(&mut rows) {
                row.add(load(server, Pace::Rate(half)));
            }
        }
        if let Some((upstream, proxies)) = rows.split_last() {
            let added = proxies.iter().map(|row| {
                let added = row.p50().saturating_sub(upstream.p50());
                format!("{} adds {}", row.server(), millis(added))
            });
            let added: Vec<_> = added.collect();
            println!("\nAt {half:.0} requests a second, to the p50: {}", added.join(", "));
        }
        table.extend(rows);
    }

    /// What it costs to ask for money; nginx's fixed answer is what no proxy undercuts by much.
    fn unpaid(&self, table: &mut Table, upstream: &Server, proxies: &[Server], channel: &str) {
        let name = "h1, keep-alive, unpaid: 402";
        if !self.wants(name) {
            return;
        }
        let of_others = proxies.iter().filter(|proxy| proxy.is_gateway);
        let all = Ask::unpaid("/v1/weather/rome", Some(channel));
        let unnamed = Ask::unpaid("/v1/weather/rome", None);
        let fixed = Ask::unpaid("/402", None);
        let mut rows = vec![(upstream, &fixed, Row::new(name, "nginx, a fixed 402"))];
        for proxy in of_others {
            let rails = ["payment-required:", "intent=\"charge\"", "intent=\"channel\""];
            Client::wait(proxy.h1, &all, &rails);
            let row = |rails| Row::new(name, format!("{}, {rails}", proxy.name));
            rows.push((proxy, &unnamed, row("x402 and charge")));
            rows.push((proxy, &all, row("every rail")));
        }
        for _ in 0..self.rounds {
            for (server, ask, row) in &mut rows {
                let plan = (CLIENTS, *ask, Pace::Closed);
                row.add(h1::load(server.h1, server.watched(), plan, self.each));
            }
        }
        table.extend(rows.into_iter().map(|(_, _, row)| row));
    }

    async fn each_in_turn(
        &self,
        table: &mut Table,
        name: &'static str,
        proxies: &[Server],
        load: impl AsyncFn(&Server) -> Run,
    ) {
        if !self.wants(name) {
            return;
        }
        let mut rows: Vec<Row> = proxies.iter().map(|proxy| Row::new(name, proxy.name)).collect();
        for _ in 0..self.rounds {
            for (proxy, row) in proxies.iter().zip(&mut rows) {
                row.add(load(proxy).await);
            }
        }
        table.extend(rows);
    }
}

/// A channel that the requests can name.
async fn open(sandbox: &Sandbox) -> String {
    let accounts = sandbox.accounts();
    let (usdc, payee) = (sandbox.usdc_contract(), accounts.recipient.address());
    let wanted = OpenChannel {
        payer: &accounts.payer,
        payee: &payee,
        token: &usdc,
        commitment_key: CommitmentSeed::from_bytes(&[7; 32]).key().to_bytes(),
        deposit: 10_000_000,
        refund_waiting_ledgers: 100,
    };
    let opened = sandbox.open_channel(&wanted).await.unwrap();
    tollgate::protocol::stellar::ContractId(opened.0.0).to_string()
}

/// The machine, as far as it matters, and how busy it is before anything is measured.
fn machine() -> String {
    let cores = std::thread::available_parallelism().unwrap();
    let info = fs::read_to_string("/proc/cpuinfo").unwrap();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let model = model.trim_start_matches([' ', '\t', ':']);
    let load = fs::read_to_string("/proc/loadavg").unwrap();
    let load = load.split(' ').next().unwrap();
    format!("{cores} cores, {model}; load average {load} before")
}

/// How many files this process may open.
fn most_files() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

fn setting<T: FromStr<Err: std::fmt::Debug>>(name: &str, default: T) -> T {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// Those that ask for something small.
const CLIENTS: usize = 32;
/// New connections of one load at most: each keeps its port for a minute after its end.
const CONNECTIONS: usize = 12_000;
const IDLE: usize = 10_000;
