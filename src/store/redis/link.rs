//! A connection to the server that was found fit to keep payments, and the one script that writes.

use std::{fmt, sync::LazyLock, time::Duration};

use redis::{
    AsyncConnectionConfig, Cmd, Pipeline, RedisError, Script, ServerError, Value,
    aio::MultiplexedConnection,
};
use tokio::time::{Instant, timeout_at};
use tracing::error;

use super::{
    Durability,
    envelope::{Entry, Key},
    outbox,
    promise::{Epoch, Promise},
    slots::{CHANNELS, CLAIMS, Shard},
    whereabouts::Whereabouts,
};
use crate::{
    protocol::stellar::ContractId,
    store::{Notice, outbox::MOST_WAITING},
};

/// A connection. Dropping it ends it.
pub(super) struct Link {
    connection: MultiplexedConnection,
    shard: Shard,
    promise: Promise,
    opened: Instant,
    /// Whether the server still has the script.
    is_loaded: bool,
}

/// Why a link is of no use any more.
#[derive(Debug)]
pub(super) enum Broken {
    /// It ended: whether what was sent was carried out is not known.
    Cut(RedisError),
    /// The server said nothing in time.
    Silent,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut(error) => error.fmt(f),
            Self::Silent => f.write_str("it said nothing in time"),
        }
    }
}

/// Replaces records if none of them has changed. See [`SCRIPT`].
#[derive(Clone, Debug, Default)]
pub(super) struct Swap {
    keys: Vec<String>,
    arguments: Vec<Vec<u8>>,
    /// The index that its records are in.
    index: Option<String>,
    /// What it puts into the outbox, if it is carried out.
    told: Vec<outbox::Entry>,
}

/// What came of a swap.
#[derive(Debug)]
pub(super) enum Swapped {
    Done,
    /// What is stored instead, in the order of the swap's records.
    Changed(Vec<Option<Vec<u8>>>),
    /// The server forgot the script; nothing was done. The next time it is sent along.
    NoScript,
    /// The server did not do it.
    Refused(String),
}

/// What came of a round.
#[derive(Debug)]
pub(super) struct Answered {
    /// In the order of the swaps.
    pub(super) swapped: Vec<Swapped>,
    /// Whether all of it, and all that was there before, is where it must be; if not, what is lacking.
    pub(super) copied: Result<(), String>,
}

/// What becomes of a record's place in the index of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listing<'a> {
    Same,
    In(&'a [u8]),
    Out(&'a [u8]),
}

impl Swap {
    /// `value` replaces what is stored, and lives as long as `life`; without one it is only looked whether that is as
    /// expected.
    pub(super) fn push(
        &mut self,
        key: String,
        expected: Option<&Entry>,
        value: Option<Vec<u8>>,
        life: Option<Duration>,
        listing: Listing<'_>,
    ) {
        let revision = expected.and_then(Entry::revision);
        let millis = |life: Duration| life.as_millis().to_string().into_bytes();
        self.keys.push(key);
        self.arguments.extend([
            revision.map_or_else(Vec::new, |revision| revision.0.to_vec()),
            value.unwrap_or_default(),
            life.map_or_else(Vec::new, millis),
            match listing {
                Listing::Same => Vec::new(),
                Listing::In(member) => [b"+", member].concat(),
                Listing::Out(member) => [b"-", member].concat(),
            },
        ]);
    }

    /// Its records are those of claims, whose index is told what is pending.
    pub(super) fn with_index(mut self, index: String) -> Self {
        self.index = Some(index);
        self
    }

    /// Tells a notice if the records are replaced. The outbox is where claims are.
    pub(super) fn tell(&mut self, prefix: &str, notice: &Notice) {
        self.told.push(outbox::Entry::of(prefix, notice));
    }

    fn command(&self, is_loaded: bool) -> Cmd {
        let mut command = if is_loaded {
            let mut command = redis::cmd("EVALSHA");
            command.arg(COMPILED.get_hash());
            command
        } else {
            let mut command = redis::cmd("EVAL");
            command.arg(SCRIPT);
            command
        };
        // Without an index of its own it names a key that has its hash tag.
        let of_told = self.told.first().map(|entry| &entry.stream);
        let index = self.index.as_ref().or_else(|| self.keys.first()).or(of_told);
        let count = self.keys.len().saturating_add(self.told.len().saturating_mul(2));
        command.arg(count.saturating_add(1)).arg(&self.keys).arg(index);
        for outbox::Entry { stream, dropped, .. } in &self.told {
            command.arg(stream).arg(dropped);
        }
        command.arg(&self.arguments);
        for outbox::Entry { life, notice, .. } in &self.told {
            command.arg(life).arg(notice);
        }
        command
    }
}

impl Link {
    /// Connects, and asks whether the server keeps what it is given as `durability` says.
    pub(super) async fn open(
        whereabouts: &mut Whereabouts,
        durability: &Durability,
        shard: &Shard,
        deadline: Instant,
    ) -> Result<Self, Unfit> {
        let limits = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            // Every round has its own.
            .set_response_timeout(None);
        let opened = async {
            let client = whereabouts.primary().await?;
            let mut connection =
                client.get_multiplexed_async_connection_with_config(&limits).await?;
            let mut asked = Pipeline::new();
            asked.cmd("SCRIPT").arg("LOAD").arg(SCRIPT);
            Promise::ask(&mut asked, durability, shard);
            let answers = connection.send_packed_commands(&asked, 0, asked.len()).await?;
            Ok::<_, RedisError>((connection, answers))
        };
        let (connection, answers) = match timeout_at(deadline, opened).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => return Err(Unfit::of(error)),
            Err(_) => return Err(Unfit::Unreachable("it says nothing".to_owned())),
        };
        let mut answers = answers.into_iter();
        bytes(answers.next().unwrap_or(Value::Nil)).map_err(Unfit::Refused)?;
        let promise = Promise::read(answers, durability, shard).map_err(Unfit::Refused)?;
        let shard = shard.clone();
        Ok(Self { connection, shard, promise, opened: Instant::now(), is_loaded: true })
    }

    /// The epoch that the server is in.
    pub(super) const fn epoch(&self) -> Epoch {
        self.promise.epoch
    }

    /// See [`Promise::life`].
    pub(super) const fn life(&self) -> Epoch {
        self.promise.life
    }

    /// Whether the server is still in its epoch, as far as that can change under a connection: in a cluster.
    pub(super) async fn is_in_epoch(&mut self, deadline: Instant) -> bool {
        if self.shard.slots.is_none() {
            return true;
        }
        let mut asked = Pipeline::new();
        Promise::ask_node(&mut asked);
        self.send(&asked, deadline).await.is_ok_and(|answers| self.promise.is_still(answers))
    }

    /// The server's clock, in milliseconds since 1970.
    pub(super) fn server_now(&self) -> u64 {
        let since = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.promise.clock.saturating_add(since)
    }

    /// Carries out `swaps`, each by itself. What is said of them counts if the copies of the server have it too, where they
    /// must.
    pub(super) async fn swap(
        &mut self,
        swaps: &[&Swap],
        deadline: Instant,
    ) -> Result<Answered, Broken> {
        let mut round = Pipeline::new();
        for swap in swaps {
            round.add_command(swap.command(self.is_loaded));
        }
        self.is_loaded = true;
        let (answers, copied) = self.send_to_all(round, deadline).await?;
        let swapped = |answer| match answer {
            Value::Int(1) => Swapped::Done,
            Value::BulkString(missed) => {
                let reason = String::from_utf8_lossy(&missed);
                error!(%reason, "what a payment tells is not in the outbox: may this user do what webhooks need?");
                Swapped::Done
            }
            Value::Array(values) => values
                .into_iter()
                .map(|value| match value {
                    Value::Nil => Ok(None),
                    Value::BulkString(bytes) => Ok(Some(bytes)),
                    other => Err(other),
                })
                .collect::<Result<_, _>>()
                .map_or_else(|other| Swapped::Refused(format!("{other:?}")), Swapped::Changed),
            Value::ServerError(error) if error.code() == "NOSCRIPT" => Swapped::NoScript,
            Value::ServerError(error) => Swapped::Refused(said(&error)),
            other => Swapped::Refused(format!("it answered {other:?}")),
        };
        let swapped: Vec<_> = answers.into_iter().map(swapped).collect();
        self.is_loaded = !swapped.iter().any(|swapped| matches!(swapped, Swapped::NoScript));
        Ok(Answered { swapped, copied })
    }

    /// Puts members into an index, on the copies of the server too where they must be.
    pub(super) async fn enlist(
        &mut self,
        index: &str,
        members: &[ContractId],
        deadline: Instant,
    ) -> Result<Result<(), String>, Broken> {
        let mut round = Pipeline::new();
        let listed = round.cmd("ZADD").arg(index);
        for member in members {
            listed.arg(0).arg(&member.0);
        }
        let (mut answers, copied) = self.send_to_all(round, deadline).await?;
        Ok(match answers.pop() {
            Some(Value::Int(_)) => copied,
            other => bytes(other.unwrap_or(Value::Nil)).map(drop),
        })
    }

    /// At most `count` of the members of an index after `after`, in order.
    pub(super) async fn members(
        &mut self,
        index: &str,
        after: Option<&[u8]>,
        count: usize,
        deadline: Instant,
    ) -> Result<Result<Vec<Vec<u8>>, String>, Broken> {
        let first = after.map_or_else(|| b"-".to_vec(), |after| [b"(", after].concat());
        let mut round = Pipeline::new();
        round.cmd("ZRANGEBYLEX").arg(index).arg(first).arg("+").arg("LIMIT").arg(0).arg(count);
        let answer = self.send(&round, deadline).await?.pop();
        Ok(match answer {
            Some(Value::Array(members)) => members.into_iter().map(bytes).collect(),
            other => bytes(other.unwrap_or(Value::Nil)).map(|_| Vec::new()),
        })
    }

    /// Takes a member out of an index.
    pub(super) async fn unlist(
        &mut self,
        index: &str,
        member: &[u8],
        deadline: Instant,
    ) -> Result<Result<(), String>, Broken> {
        let mut round = Pipeline::new();
        round.cmd("ZREM").arg(index).arg(member);
        Ok(match self.send(&round, deadline).await?.pop() {
            Some(Value::Int(_)) => Ok(()),
            other => bytes(other.unwrap_or(Value::Nil)).map(drop),
        })
    }

    /// What is stored under `keys`.
    pub(super) async fn read(
        &mut self,
        prefix: &str,
        keys: &[Key],
        deadline: Instant,
    ) -> Result<Result<Vec<Option<Entry>>, String>, Broken> {
        if keys.is_empty() {
            return Ok(Ok(Vec::new()));
        }
        let mut round = Pipeline::new();
        for key in keys {
            round.cmd("GET").arg(key.name(prefix));
        }
        let answers = self.send(&round, deadline).await?;
        let entry = |(key, answer): (&Key, Value)| match answer {
            Value::Nil => Ok(None),
            answer => bytes(answer).map(|bytes| Some(Entry::decode(*key, &bytes))),
        };
        Ok(keys.iter().zip(answers).map(entry).collect())
    }

    /// Sends a round of writes, and then has the server say whether all copies have them that must.
    async fn send_to_all(
        &mut self,
        mut round: Pipeline,
        deadline: Instant,
    ) -> Result<(Vec<Value>, Result<(), String>), Broken> {
        let own = round.len();
        // Some of the time is left for the way.
        let left = deadline.saturating_duration_since(Instant::now()).mul_f32(0.75);
        let patience = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        self.promise.ask_copies(&mut round, &self.shard, patience);
        let mut answers = self.send(&round, deadline).await?;
        let copied = self.promise.read_copies(&mut answers, own);
        Ok((answers, copied))
    }

    pub(super) async fn send(
        &mut self,
        round: &Pipeline,
        deadline: Instant,
    ) -> Result<Vec<Value>, Broken> {
        let sent = self.connection.send_packed_commands(round, 0, round.len());
        match timeout_at(deadline, sent).await {
            Ok(Ok(answers)) => Ok(answers),
            Ok(Err(error)) => Err(Broken::Cut(error)),
            Err(_) => Err(Broken::Silent),
        }
    }
}

/// Why a server cannot be used.
#[derive(Debug)]
pub(super) enum Unfit {
    /// It could not be asked.
    Unreachable(String),
    /// It was there, and then the connection was cut: another may last.
    Cut(String),
    /// It does not take payments, or must not be given any: a sentence for the operator.
    Refused(String),
}

impl Unfit {
    fn of(error: RedisError) -> Self {
        if error.is_connection_dropped() && !error.is_connection_refusal() {
            Self::Cut(error.to_string())
        } else if error.is_io_error() {
            Self::Unreachable(error.to_string())
        } else {
            Self::Refused(error.to_string())
        }
    }
}

/// The sorted set of the pending claims' keys.
pub(super) fn pending_index(prefix: &str) -> String {
    format!("{prefix}{{{CLAIMS}}}:pending")
}

/// The sorted set of the channels that may have an account.
pub(super) fn channel_index(prefix: &str) -> String {
    format!("{prefix}{{{CHANNELS}}}:index")
}

pub(super) fn bytes(answer: Value) -> Result<Vec<u8>, String> {
    match answer {
        Value::BulkString(bytes) => Ok(bytes),
        Value::ServerError(error) => Err(said(&error)),
        other => Err(format!("it answered {other:?}")),
    }
}

/// An error as the server put it.
pub(super) fn said(error: &ServerError) -> String {
    format!("{} {}", error.code(), error.details().unwrap_or_default())
}

/// Compares revisions and stores bytes; it calculates no more than places and lengths, so that no amount ever becomes a number
/// of Lua.
///
/// The keys are those of the records, all of one hash tag, then that of their index, and then two for each notice: its
/// receiver's stream, and the count of what that has lost. Of each record there are four arguments: its revision as expected,
/// empty if it shall be absent; its new value, empty to leave it; how long that lives, in milliseconds, empty for good; and
/// the member that enters (`+`) or leaves (`-`) the index, empty for none. Of each notice there are two: how long its stream
/// lives, and itself. A notice that cannot be stored undoes no record, which says what has happened: the answer tells of it.
/// With `r` records and `n` notices that is `r + 1 + 2 n` keys and `4 r + 2 n` arguments.
const SCRIPT: &str = "\
local records = (#ARGV - #KEYS + 1) / 3
local found = records > 0 and redis.call('MGET', unpack(KEYS, 1, records)) or {}
for i = 1, records do
  local revision = found[i] and string.sub(found[i], 1, 16) or ''
  if revision ~= ARGV[4 * i - 3] then return found end
end
for i = 1, records do
  local value, life, listing = ARGV[4 * i - 2], ARGV[4 * i - 1], ARGV[4 * i]
  if value ~= '' and life == '' then redis.call('SET', KEYS[i], value) end
  if value ~= '' and life ~= '' then redis.call('SET', KEYS[i], value, 'PX', life) end
  local way, member = string.sub(listing, 1, 1), string.sub(listing, 2)
  if way == '+' then redis.call('ZADD', KEYS[records + 1], '0', member) end
  if way == '-' then redis.call('ZREM', KEYS[records + 1], member) end
end
local missed = nil
local function try(...)
  local answer = redis.pcall(...)
  if type(answer) ~= 'table' or not answer.err then return answer end
  missed = answer.err
end
for i = 1, (#KEYS - records - 1) / 2 do
  local stream, dropped = KEYS[records + 2 * i], KEYS[records + 2 * i + 1]
  local life, notice = ARGV[4 * records + 2 * i - 1], ARGV[4 * records + 2 * i]
  local over = (try('XLEN', stream) or 0) - 9999
  if over > 0 then
    try('XTRIM', stream, 'MAXLEN', 9999)
    try('INCRBY', dropped, over)
    try('PEXPIRE', dropped, life)
  end
  try('XADD', stream, '*', 'notice', notice)
  try('PEXPIRE', stream, life)
end
if missed and records == 0 then return redis.error_reply(missed) end
if missed then return missed end
return 1
";

const _: () = assert!(MOST_WAITING == 10_000, "the script keeps one less before it adds one");

static COMPILED: LazyLock<Script> = LazyLock::new(|| Script::new(SCRIPT));
