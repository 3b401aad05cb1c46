//! What a server tells of itself: whether it keeps what it is given, who copies it, and in which epoch it is.

use redis::{Pipeline, Value};
use sha2::{Digest as _, Sha256};
use tracing::warn;

use super::{
    Durability,
    cluster::Node,
    link::{bytes, said},
    slots::Shard,
};
use crate::store::channel::Token;

/// One life of one primary. What was written in another epoch need not be there in this one: a server that was started
/// anew has another, and so has a replica that took over, and one that was emptied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Epoch(pub(super) [u8; 16]);

/// What was found when the connection was made.
#[derive(Clone, Debug)]
pub(super) struct Promise {
    pub(super) epoch: Epoch,
    /// The server's part of it, which does not change while the process runs and stays a primary, whatever slots it gets.
    pub(super) life: Epoch,
    /// The server's clock, in milliseconds since 1970.
    pub(super) clock: u64,
    /// Names the history of writes that the server is in.
    replication_id: String,
    /// `redis-ha`: what was drawn when the store was empty.
    birth: Option<Vec<u8>>,
    /// `redis-ha`: how many replicas must have a write on their disks at least.
    replicas: Option<u8>,
    /// How many follow it, as it told last.
    online: usize,
    /// In a cluster.
    node: Option<Node>,
}

impl Promise {
    /// Asks for all that [`Promise::read`] reads.
    pub(super) fn ask(asked: &mut Pipeline, durability: &Durability, shard: &Shard) {
        asked.cmd("TIME");
        asked.cmd("INFO").arg("server");
        asked.cmd("INFO").arg("replication");
        for name in SETTINGS {
            asked.cmd("CONFIG").arg("GET").arg(name.0);
        }
        if shard.slots.is_some() {
            Self::ask_node(asked);
        }
        if matches!(durability, Durability::Replicated { .. }) {
            // Answered at once, by a server that knows it.
            asked.cmd("WAITAOF").arg(0).arg(0).arg(0);
            let birth = birth(shard);
            asked.cmd("SET").arg(&birth).arg(&Token::draw().0).arg("NX");
            asked.cmd("GET").arg(birth);
        }
    }

    /// Asks what [`Promise::is_still`] reads.
    pub(super) fn ask_node(asked: &mut Pipeline) {
        asked.cmd("CLUSTER").arg("NODES");
    }

    /// Whether the node's place in its cluster is what it was: all gateways must see the same epoch, whenever they
    /// connected.
    pub(super) fn is_still(&self, answers: impl IntoIterator<Item = Value>) -> bool {
        let found = answers.into_iter().next().map(read_node);
        found.is_some_and(|found| found.is_ok() && found.ok() == self.node)
    }

    /// Whether the server keeps what it is given as `durability` says.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub(super) fn read(
        answers: impl IntoIterator<Item = Value>,
        durability: &Durability,
        shard: &Shard,
    ) -> Result<Self, String> {
        let told = Told::read(answers, shard)?;
        let (mut replicas, mut birth) = (None, None);
        if let (Some(slots), Some(node)) = (&shard.slots, &told.node)
            && node.slots != **slots
        {
            return Err("it has other slots than a node of the cluster said: they are being moved, or have to be by \
                        `valkey-cli --cluster fix`"
                .to_owned());
        }
        match durability {
            Durability::Single => {
                told.check()?;
                if shard.slots.is_some() {
                    told.check_alone()?;
                }
            }
            Durability::BestEffort => {
                if let Err(lacking) = told.check() {
                    warn!(lacking, "the store may lose payments that it has acknowledged");
                }
            }
            Durability::Replicated { promotable_replicas, .. } => {
                told.check()?;
                if let Value::ServerError(error) = &told.copies {
                    return Err(format!(
                        "the server cannot say what its replicas have on their disks ({}): use Redis 7.2 or \
                         later, or Valkey, and let this user ask `WAITAOF`",
                        said(error)
                    ));
                }
                birth = Some(bytes(told.birth.clone())?);
                replicas = Some(promotable_replicas.get());
            }
        }
        if let Some(wanted) = replicas {
            let online = online(told.replication.as_deref().unwrap_or_default());
            if online < usize::from(wanted) {
                return Err(format!(
                    "{online} of {wanted} replicas are attached to the primary: start what is missing, or, if it is \
                     gone for good, attach another"
                ));
            }
        }
        Ok(told.promise(replicas, birth))
    }

    /// As [`Promise::read`], of a server that need not promise anything. `None` if it does not tell what it is.
    pub(super) fn of_anything(
        answers: impl IntoIterator<Item = Value>,
        shard: &Shard,
    ) -> Option<Self> {
        let told = Told::read(answers, shard).ok()?;
        Some(told.promise(None, None))
    }

    /// Expects every replica to have a copy that follows the server now, as it told by `INFO replication`.
    ///
    /// # Errors
    /// It did not tell.
    pub(super) fn expect_all(&mut self, replication: Value) -> Result<(), String> {
        let online = online(&text(replication)?);
        self.replicas = Some(u8::try_from(online).unwrap_or(u8::MAX));
        Ok(())
    }

    /// Appends what has the server say which of its copies have all that was written so far. Nothing, if one copy is
    /// enough.
    ///
    /// A replica says what it has on its disk when it is asked, and answers before it has synced what came just before the
    /// question; else it says so once a second. So it is asked again and again, and each question waits a little longer.
    pub(super) fn ask_copies(&self, round: &mut Pipeline, shard: &Shard, patience_millis: u64) {
        let Some(replicas) = self.replicas else { return };
        // Only what this connection has written is waited for: this write comes after all that is there.
        round.cmd("SET").arg(beat(shard)).arg("");
        round.cmd("GET").arg(birth(shard));
        let mut waited = 0_u64;
        for wait in waits(patience_millis) {
            // One besides those that must be may have gone: it is waited for a while.
            let is_patient = waited < patience_millis / 3;
            let least = usize::from(replicas);
            let wanted = if is_patient { least.max(self.online) } else { least };
            round.cmd("WAITAOF").arg(1).arg(wanted).arg(wait);
            waited = waited.saturating_add(wait);
        }
        round.cmd("INFO").arg("replication");
    }

    /// Takes off the end of a round's answers what [`Promise::ask_copies`] asked: whether every copy that may be
    /// promoted has all of it, and the server is still in its epoch.
    ///
    /// # Errors
    /// What is lacking: nobody may rely on what the round wrote.
    pub(super) fn read_copies(
        &mut self,
        answers: &mut Vec<Value>,
        own: usize,
    ) -> Result<(), String> {
        let Some(replicas) = self.replicas else { return Ok(()) };
        let mut asked = answers.split_off(own.min(answers.len())).into_iter();
        match asked.next() {
            Some(Value::Okay) => {}
            Some(Value::ServerError(error)) => return Err(said(&error)),
            other => return Err(format!("it answered {other:?}")),
        }
        match (asked.next(), &self.birth) {
            (Some(Value::ServerError(error)), _) => return Err(said(&error)),
            (_, None) => {}
            (Some(Value::BulkString(found)), Some(birth)) if found == *birth => {}
            _ => return Err("the store was emptied".to_owned()),
        }
        let replication = text(asked.next_back().unwrap_or(Value::Nil))?;
        let (local, copies) = match asked.next_back() {
            Some(Value::Array(counts)) => match counts.as_slice() {
                [Value::Int(local), Value::Int(copies)] => (*local, *copies),
                other => return Err(format!("it answered {other:?}")),
            },
            Some(Value::ServerError(error)) => return Err(said(&error)),
            other => return Err(format!("it answered {other:?}")),
        };
        if field(&replication, "role") != Some("master")
            || field(&replication, "master_replid") != Some(self.replication_id.as_str())
        {
            return Err("another server has become the primary".to_owned());
        }
        // One that is attached besides the ones that must be could be promoted just as well.
        self.online = online(&replication);
        let wanted = self.online.max(replicas.into());
        if local < 1 || usize::try_from(copies).is_ok_and(|copies| copies < wanted) {
            return Err(format!("{copies} of {wanted} replicas have it on their disks"));
        }
        Ok(())
    }
}

impl Epoch {
    fn of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut digest = Sha256::new();
        for part in parts {
            digest.update(part);
            digest.update(b"/");
        }
        let digest: [u8; 32] = digest.finalize().into();
        Self(*digest.first_chunk().expect("32 bytes begin with 16"))
    }

    /// That of all primaries of a cluster: another one if any of theirs is. Of one primary it is its own.
    pub(super) fn of_all(epochs: &[Self]) -> Self {
        if let [one] = epochs {
            return *one;
        }
        let mut sorted = epochs.to_vec();
        sorted.sort_unstable();
        Self::of(sorted.iter().map(|epoch| epoch.0.as_slice()))
    }
}

/// Written to mark a point in the history of writes; nobody reads it.
fn beat(shard: &Shard) -> String {
    shard.key("beat")
}

/// Written once, while the store is empty; read after each write, for what was emptied has another one or none.
fn birth(shard: &Shard) -> String {
    shard.key("birth")
}

/// What a server answered to [`Promise::ask`].
struct Told {
    clock: u64,
    server: Result<String, String>,
    replication: Result<String, String>,
    settings: Vec<Result<String, String>>,
    /// In a cluster.
    node: Option<Node>,
    copies: Value,
    birth: Value,
}

impl Told {
    fn read(answers: impl IntoIterator<Item = Value>, shard: &Shard) -> Result<Self, String> {
        let mut answers = answers.into_iter();
        let mut next = || answers.next().unwrap_or(Value::Nil);
        let (clock, server, replication) = (millis(&text(next())?), text(next()), text(next()));
        let settings = SETTINGS.iter().map(|_| text(next())).collect();
        let node = match shard.slots {
            Some(_) => Some(read_node(answers.next().unwrap_or(Value::Nil))?),
            None => None,
        };
        let mut next = || answers.next().unwrap_or(Value::Nil);
        let (copies, born, birth) = (next(), next(), next());
        // Either it was drawn now, or it was there; unless the server does not take it.
        let birth = if matches!(born, Value::ServerError(_)) { born } else { birth };
        Ok(Self { clock, server, replication, settings, node, copies, birth })
    }

    fn promise(self, replicas: Option<u8>, birth: Option<Vec<u8>>) -> Promise {
        let replication = self.replication.unwrap_or_default();
        let replication_id = field(&replication, "master_replid").unwrap_or_default().to_owned();
        let server = self.server.unwrap_or_default();
        let run_id = field(&server, "run_id").unwrap_or_default();
        let birth_bytes = birth.as_deref().unwrap_or_default();
        let mut parts = vec![run_id.as_bytes(), replication_id.as_bytes(), birth_bytes];
        // Accounts that came with a slot may be what their former primary had lost: they are compared too.
        let slots = self.node.as_ref().map(|node| (node.slots.digest(), node.epoch.to_be_bytes()));
        if let Some((slots, epoch)) = slots.as_ref().filter(|_| birth.is_some()) {
            parts.extend([slots.as_slice(), epoch]);
        }
        let epoch = Epoch::of(parts);
        let life = Epoch::of([run_id.as_bytes(), replication_id.as_bytes()]);
        let online = online(&replication);
        let (clock, node) = (self.clock, self.node);
        Promise { epoch, life, clock, replication_id, birth, replicas, online, node }
    }

    /// In a cluster every replica may take over, whoever acknowledged what, and even if it is away now.
    fn check_alone(&self) -> Result<(), String> {
        match self.node.as_ref().map_or(0, |node| node.replicas) {
            0 => Ok(()),
            count => Err(format!(
                "{count} replicas may take over in the cluster and lack payments: use `durability: redis-ha`, or \
                 `durability: best-effort`"
            )),
        }
    }

    /// Whether one server by itself keeps what it acknowledged.
    fn check(&self) -> Result<(), String> {
        let replication = self.replication.as_ref().map_err(|error| {
            format!("the server does not tell its role ({error}): let this user ask `INFO`")
        })?;
        if field(replication, "role") != Some("master") {
            return Err("the server is a replica: give the address of the primary".to_owned());
        }
        for ((name, wanted), found) in SETTINGS.into_iter().zip(&self.settings) {
            let found = found.as_ref().map_err(|error| {
                format!(
                    "the server does not tell `{name}` ({error}): let this user ask `CONFIG GET`, or use \
                     `durability: best-effort`"
                )
            })?;
            if found.lines().nth(1) != Some(wanted) {
                let found = found.lines().nth(1).unwrap_or("nothing");
                return Err(format!(
                    "the server has `{name} {found}` and would lose payments: set `{name} {wanted}` on it, or use \
                     `durability: best-effort`"
                ));
            }
        }
        Ok(())
    }
}

fn read_node(nodes: Value) -> Result<Node, String> {
    let lacking = |error: String| {
        format!(
            "the server does not tell of its cluster ({error}): let this user ask `CLUSTER NODES`"
        )
    };
    let nodes = text(nodes).map_err(lacking)?;
    Node::read(&nodes).ok_or_else(|| lacking(nodes))
}

/// The value of a line `name:value` of `INFO`.
fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim))
}

/// How many replicas have caught up with the primary and follow it.
fn online(replication: &str) -> usize {
    let is_online = |line: &&str| line.starts_with("slave") && line.contains(",state=online");
    replication.lines().filter(is_online).count()
}

/// How long each question waits, in milliseconds: all of them together no longer than `patience`.
fn waits(patience: u64) -> impl Iterator<Item = u64> {
    let mut left = patience.max(1);
    let mut step = 0_u32;
    std::iter::from_fn(move || {
        // 1, 1, 2, 2, 4, 4 …: the first question finds out nothing where a disk is slow.
        let wait = 1_u64.checked_shl(step / 2).unwrap_or(u64::MAX).min(left);
        step = step.saturating_add(1);
        left = left.saturating_sub(wait);
        (wait > 0).then_some(wait)
    })
}

/// An answer as text, a list as its lines.
fn text(answer: Value) -> Result<String, String> {
    match answer {
        Value::Array(parts) => {
            let parts: Result<Vec<_>, _> = parts.into_iter().map(text).collect();
            Ok(parts?.join("\n"))
        }
        Value::SimpleString(text) => Ok(text),
        answer => bytes(answer).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
    }
}

/// Seconds and microseconds, each on a line, in milliseconds.
fn millis(time: &str) -> u64 {
    let mut parts = time.lines().map(|part| part.parse().unwrap_or(0_u64));
    let (seconds, micros) = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    seconds.saturating_mul(1000).saturating_add(micros / 1000)
}

/// What a server that keeps payments is set to.
const SETTINGS: [(&str, &str); 3] =
    [("appendonly", "yes"), ("appendfsync", "always"), ("maxmemory-policy", "noeviction")];
