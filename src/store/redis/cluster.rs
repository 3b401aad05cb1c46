//! A cluster as its nodes tell of it: which primary has which slots.
//!
//! Any node may be asked. One that is cut off tells what was so before: so each time another one is asked, and what is older
//! than what is known is not believed.

use std::{
    collections::BTreeMap,
    ops::RangeInclusive,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use redis::{AsyncConnectionConfig, Client, ErrorKind, RedisError, RedisResult, Value};
use tokio::sync::Notify;

use super::slots::Slots;

/// A cluster, and whom to ask about it.
#[derive(Debug)]
pub(super) struct Cluster {
    /// `redis` or `rediss`.
    scheme: String,
    /// `USER:PASSWORD@`, or nothing.
    user: String,
    /// The nodes that the URL names, and then those that they have told of.
    nodes: Mutex<Nodes>,
    /// The latest epoch of the cluster that a node has told of: it rises whenever another has a slot.
    latest: AtomicU64,
    /// Somebody was told that a slot is elsewhere.
    pub(super) moved: Notify,
}

#[derive(Debug)]
struct Nodes {
    named: Vec<String>,
    /// In turn.
    all: Vec<String>,
}

/// A primary of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Primary {
    /// `HOST:PORT`.
    pub(super) address: String,
    /// How many replicas it has.
    pub(super) replicas: usize,
    pub(super) slots: Slots,
}

impl Cluster {
    /// Reads what stands behind `redis+cluster` or `rediss+cluster`: `://[USER:PASSWORD@]HOST[:6379][,HOST…]`.
    ///
    /// # Errors
    /// It does not read. The message says nothing of the URL itself, which may hold a password.
    pub(super) fn read(scheme: &str, rest: &str) -> RedisResult<Self> {
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        let (user, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let user = if user.is_empty() { String::new() } else { format!("{user}@") };
        let named: Vec<_> = hosts.split(',').map(|host| with_port(host, PORT)).collect();
        let nodes = Nodes { all: named.clone(), named };
        let cluster = Self {
            scheme: scheme.to_owned(),
            user,
            nodes: Mutex::new(nodes),
            latest: AtomicU64::new(0),
            moved: Notify::new(),
        };
        // Each reads, or none will.
        let named = cluster.nodes().named.clone();
        named.iter().try_for_each(|node| cluster.client(node).map(drop))?;
        Ok(cluster)
    }

    /// How many nodes may be asked.
    pub(super) fn askable(&self) -> u32 {
        u32::try_from(self.nodes().all.len()).unwrap_or(u32::MAX)
    }

    /// A client of one node.
    pub(super) fn client(&self, address: &str) -> RedisResult<Client> {
        Client::open(format!("{}://{}{address}/", self.scheme, self.user))
    }

    /// Asks the next node which primary has which slots.
    pub(super) async fn primaries(&self) -> RedisResult<Vec<Primary>> {
        let asked = {
            let mut nodes = self.nodes();
            nodes.all.rotate_left(1);
            nodes.all.last().cloned().unwrap_or_default()
        };
        let limits =
            AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let client = self.client(&asked)?;
        let mut connection = client.get_multiplexed_async_connection_with_config(&limits).await?;
        let mut asking = redis::pipe();
        asking.cmd("CLUSTER").arg("SLOTS").cmd("CLUSTER").arg("INFO");
        let (told, info): (Value, Value) = asking.query_async(&mut connection).await?;
        let told = Told::read(told, &info, host_of(&asked)).ok_or_else(|| {
            let what = "the server does not tell which slots are where: is it part of a cluster?";
            RedisError::from((ErrorKind::UnexpectedReturnType, what))
        })?;
        if self.latest.fetch_max(told.epoch, Ordering::Relaxed) > told.epoch {
            let what = "the server tells of the cluster as it was before";
            return Err((ErrorKind::UnexpectedReturnType, what).into());
        }
        let mut nodes = self.nodes();
        let mut all = nodes.named.clone();
        all.extend(told.nodes);
        // Those that may be asked now, the one that has answered last.
        all.sort_unstable();
        all.dedup();
        let place = all.iter().position(|node| *node == asked);
        all.rotate_left(place.map_or(0, |place| place.saturating_add(1)));
        nodes.all = all;
        Ok(told.primaries)
    }

    fn nodes(&self) -> MutexGuard<'_, Nodes> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a node answers to `CLUSTER SLOTS` and `CLUSTER INFO`.
struct Told {
    epoch: u64,
    primaries: Vec<Primary>,
    /// All, replicas too.
    nodes: Vec<String>,
}

impl Told {
    /// `here` is the host of who answered: a node that does not know its own calls it by no name.
    fn read(told: Value, info: &Value, here: &str) -> Option<Self> {
        let Value::Array(entries) = told else { return None };
        let info: String = redis::from_redis_value_ref(info).ok()?;
        let epoch = info.lines().find_map(|line| line.strip_prefix("cluster_current_epoch:"));
        let epoch = epoch?.trim().parse().ok()?;
        let mut nodes = Vec::new();
        let mut primaries: BTreeMap<String, (usize, Vec<RangeInclusive<u16>>)> = BTreeMap::new();
        for entry in entries {
            let (range, servers) = read_range(&entry)?;
            let servers: Vec<_> =
                servers.iter().map(|server| address(server, here)).collect::<Option<_>>()?;
            let (primary, replicas) = servers.split_first()?;
            let known = primaries.entry(primary.clone()).or_default();
            known.0 = replicas.len();
            known.1.push(range);
            nodes.extend(servers);
        }
        let primary = |(address, (replicas, ranges))| Primary {
            address,
            replicas,
            slots: Slots::new(ranges),
        };
        Some(Self { epoch, primaries: primaries.into_iter().map(primary).collect(), nodes })
    }
}

/// What a node tells of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    /// Those that it says to have.
    pub(super) slots: Slots,
    /// Rises, among other reasons, when it gets slots that another one had.
    pub(super) epoch: u64,
    /// How many follow it, away or not.
    pub(super) replicas: usize,
}

impl Node {
    /// Reads its answer to `CLUSTER NODES`: a line for each node, `ID ADDRESS FLAGS PRIMARY PING PONG EPOCH STATE SLOT…`.
    pub(super) fn read(nodes: &str) -> Option<Self> {
        let lines = || nodes.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let own = lines().find(|line| {
            line.get(2).is_some_and(|flags| flags.split(',').any(|flag| flag == "myself"))
        })?;
        let id = *own.first()?;
        // What stands in brackets is on its way.
        let slots = own.get(8..)?.iter().filter(|slot| !slot.starts_with('['));
        let range = |slot: &&str| {
            let (first, last) = slot.split_once('-').unwrap_or((*slot, *slot));
            Some(first.parse().ok()?..=last.parse().ok()?)
        };
        let slots = Slots::new(slots.map(range).collect::<Option<Vec<_>>>()?);
        let replicas = lines().filter(|line| line.get(3) == Some(&id)).count();
        Some(Self { slots, epoch: own.get(6)?.parse().ok()?, replicas })
    }
}

fn read_range(entry: &Value) -> Option<(RangeInclusive<u16>, &[Value])> {
    let Value::Array(entry) = entry else { return None };
    let [Value::Int(first), Value::Int(last), servers @ ..] = entry.as_slice() else { return None };
    Some((u16::try_from(*first).ok()?..=u16::try_from(*last).ok()?, servers))
}

fn address(server: &Value, here: &str) -> Option<String> {
    let Value::Array(server) = server else { return None };
    let [host, Value::Int(port), ..] = server.as_slice() else { return None };
    let host = match host {
        Value::BulkString(host) => String::from_utf8(host.clone()).ok()?,
        Value::SimpleString(host) => host.clone(),
        Value::Nil => String::new(),
        _ => return None,
    };
    let port = u16::try_from(*port).ok()?;
    // `?` is a name that is not known yet.
    let host = if matches!(host.as_str(), "" | "?") { here } else { &host };
    let is_v6 = host.contains(':') && !host.starts_with('[');
    Some(if is_v6 { format!("[{host}]:{port}") } else { format!("{host}:{port}") })
}

fn host_of(address: &str) -> &str {
    address.rsplit_once(':').map_or(address, |(host, _)| host)
}

/// `host` with the port that it has if it names none.
pub(super) fn with_port(host: &str, port: u16) -> String {
    let name = host.rsplit_once(']').map_or(host, |(_, rest)| rest);
    if name.contains(':') { host.to_owned() } else { format!("{host}:{port}") }
}

/// Where servers listen if nothing else is said.
const PORT: u16 = 6379;

#[cfg(test)]
mod tests {
    use super::*;

    fn server(host: &str, port: i64, id: &str) -> Value {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        Value::Array(vec![text(host), Value::Int(port), text(id), Value::Array(Vec::new())])
    }

    fn range(first: i64, last: i64, servers: Vec<Value>) -> Value {
        Value::Array([vec![Value::Int(first), Value::Int(last)], servers].concat())
    }

    fn info(epoch: &str) -> Value {
        let text = format!("cluster_state:ok\r\ncluster_current_epoch:{epoch}\r\n");
        Value::BulkString(text.into_bytes())
    }

    #[test]
    fn what_a_node_tells_reads() {
        let (a, b) = (|| server("10.0.0.1", 7, "a"), || server("", 8, "b"));
        let told = Value::Array(vec![
            range(0, 99, vec![a(), server("fd00::1", 9, "c")]),
            range(200, 299, vec![a(), server("fd00::1", 9, "c")]),
            range(100, 199, vec![b()]),
        ]);
        let told = Told::read(told, &info("7"), "here").unwrap();
        assert_eq!(told.epoch, 7);
        let primary = |address: &str, replicas, ranges: Vec<_>| Primary {
            address: address.to_owned(),
            replicas,
            slots: Slots::new(ranges),
        };
        assert_eq!(
            told.primaries,
            [
                primary("10.0.0.1:7", 1, vec![0..=99, 200..=299]),
                primary("here:8", 0, vec![100..=199]),
            ]
        );
        assert!(told.nodes.contains(&"[fd00::1]:9".to_owned()), "{:?}", told.nodes);
    }

    #[test]
    fn a_node_tells_of_itself() {
        let nodes = "\
            a 10.0.0.1:7@17,name myself,master - 0 0 12 connected 0-99 101 [102->-b] 200-299\n\
            b 10.0.0.2:7@17 master - 0 1 13 connected 102-199\n\
            c 10.0.0.3:7@17 slave a 0 1 12 connected\n\
            d 10.0.0.4:7@17 slave,fail a 1 1 12 disconnected\n\
            e 10.0.0.5:7@17 slave b 0 1 13 connected\n";
        let slots = Slots::new([0..=99, 101..=101, 200..=299]);
        assert_eq!(Node::read(nodes), Some(Node { slots, epoch: 12, replicas: 2 }));
        for damaged in ["", "a b c", &nodes.replace("myself,", ""), &nodes.replace("101", "x")] {
            assert_eq!(Node::read(damaged), None, "{damaged}");
        }
    }

    #[test]
    fn what_does_not_read_is_no_cluster() {
        for told in [
            Value::Nil,
            Value::Array(vec![Value::Int(1)]),
            Value::Array(vec![range(0, 70_000, vec![server("a", 7, "a")])]),
            Value::Array(vec![range(0, 1, vec![server("a", -1, "a")])]),
            Value::Array(vec![range(0, 1, vec![])]),
        ] {
            assert!(Told::read(told.clone(), &info("7"), "here").is_none(), "{told:?}");
        }
        let told = || Value::Array(vec![range(0, 1, vec![server("a", 7, "a")])]);
        assert!(Told::read(told(), &info("7"), "here").is_some());
        assert!(Told::read(told(), &info("x"), "here").is_none());
        assert!(Told::read(told(), &Value::Nil, "here").is_none());
    }

    #[test]
    fn a_url_names_nodes() {
        let nodes = |rest: &str| Cluster::read("redis", rest).unwrap().nodes().all.clone();
        assert_eq!(nodes("a,b:7,[::1],[::1]:7"), ["a:6379", "b:7", "[::1]:6379", "[::1]:7"]);
        let cluster = Cluster::read("rediss", "me:word@a,b:7/").unwrap();
        assert_eq!((cluster.askable(), cluster.user.as_str()), (2, "me:word@"));
        assert!(Cluster::read("redis", "a:port").is_err());
        assert!(Cluster::read("redis", "a,,b").is_err());
    }
}
