//! What a paid request is made of, measured alone: a signature's check, a record on a disk, a record on a Redis server.

use std::{
    fmt, fs,
    hint::black_box,
    path::Path,
    time::{Duration, Instant},
};

use redb::{Database, TableDefinition};
use redis::{Script, aio::MultiplexedConnection};
use tokio::task::JoinSet;
use tollgate::protocol::stellar::Network;

use crate::{load::Payer, redis_server::Server};

/// What cannot be undercut.
pub(crate) struct Floor {
    /// Microseconds of processor time for one `verify_strict`.
    pub(crate) verify_us: f64,
    /// Each for one and for 64 at a time: records a second.
    redis: [f64; 2],
    redb: [f64; 2],
}

impl Floor {
    pub(crate) async fn measure(payer: &Payer, server: &Server, each: Duration) -> Self {
        let verify_us = verify(payer, Duration::from_secs(1));
        let redis = [swaps(server, 1, each).await, swaps(server, 64, each).await];
        let commit = move || [1, 64].map(|records| commits(records, each));
        let redb = tokio::task::spawn_blocking(commit).await.unwrap();
        Self { verify_us, redis, redb }
    }
}

impl fmt::Display for Floor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| floor | |\n|---|---|")?;
        writeln!(f, "| `verify_strict` | {:.1} µs of processor time |", self.verify_us)?;
        let [one, many] = self.redis;
        writeln!(f, "| Redis, one bare script of 2 kB, 1 connection | {one:.0} a second |")?;
        writeln!(f, "| the same, 64 connections | {many:.0} a second |")?;
        let [one, many] = self.redb;
        writeln!(f, "| redb, a commit of one record of 2 kB | {one:.0} records a second |")?;
        write!(f, "| the same, 64 records a commit | {many:.0} records a second |")
    }
}

/// The machine, as far as it matters, and how busy it is before anything is measured.
pub(crate) fn machine() -> String {
    let cores = std::thread::available_parallelism().unwrap();
    let info = fs::read_to_string("/proc/cpuinfo").unwrap();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap();
    let load: Vec<_> = load.split(' ').take(1).collect();
    let model = model.trim_start_matches([' ', '\t', ':']);
    format!("{cores} cores, {model}; load average {} before", load.concat())
}

/// By the time that this thread was on a processor, whatever else runs.
fn verify(payer: &Payer, each: Duration) -> f64 {
    let key = payer.seed.key();
    let (begin, cpu) = (Instant::now(), own_cpu());
    let mut count = 0_u32;
    while begin.elapsed() < each {
        for commitment in payer.signed.iter().take(256) {
            key.verify(Network::Testnet, payer.channel, black_box(commitment)).unwrap();
            count += 1;
        }
    }
    (own_cpu() - cpu).as_secs_f64() * 1e6 / f64::from(count)
}

fn own_cpu() -> Duration {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(stat.split(' ').next().unwrap().parse().unwrap())
}

/// Each connection replaces a record of its own, over and over, if it is as expected.
async fn swaps(server: &Server, connections: usize, each: Duration) -> f64 {
    let client = redis::Client::open(server.url()).unwrap();
    let mut ready = Vec::new();
    for _ in 0..connections {
        ready.push(client.get_multiplexed_async_connection().await.unwrap());
    }
    let begin = Instant::now();
    let mut running = JoinSet::new();
    for (number, connection) in ready.into_iter().enumerate() {
        running.spawn(swap(connection, format!("bare:{connections}:{number}"), begin + each));
    }
    let count: u32 = running.join_all().await.into_iter().sum();
    f64::from(count) / begin.elapsed().as_secs_f64()
}

async fn swap(mut connection: MultiplexedConnection, key: String, until: Instant) -> u32 {
    let script = Script::new(SWAP);
    let mut count = 0;
    let mut value = vec![7; RECORD];
    let mut expected = Vec::new();
    while Instant::now() < until {
        count += 1;
        let revision = u128::from(count).to_be_bytes();
        value[..revision.len()].copy_from_slice(&revision);
        let mut asked = script.key(&key);
        asked.arg(&expected).arg(&value);
        let done: u32 = asked.invoke_async(&mut connection).await.unwrap();
        assert_eq!(done, 1);
        expected = revision.to_vec();
    }
    count
}

/// So many records a commit, each commit on the disk before the next.
fn commits(records: u64, each: Duration) -> f64 {
    let folder = tempfile::tempdir().unwrap();
    let db = Database::create(Path::join(folder.path(), "bare.redb")).unwrap();
    let begin = Instant::now();
    let mut count = 0_u32;
    while begin.elapsed() < each {
        let tx = db.begin_write().unwrap();
        {
            let mut table = tx.open_table(TABLE).unwrap();
            for record in 0..records {
                count += 1;
                let value = [count.to_be_bytes()[3]; RECORD];
                table.insert(record, value.as_slice()).unwrap();
            }
        }
        tx.commit().unwrap();
    }
    f64::from(count) / begin.elapsed().as_secs_f64()
}

const TABLE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("records");

/// About the size of an account with a few commitments.
const RECORD: usize = 2048;

/// What the store's script does to one record, without what only other records need.
const SWAP: &str = "\
local found = redis.call('GET', KEYS[1])
local revision = found and string.sub(found, 1, 16) or ''
if revision ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1
";
