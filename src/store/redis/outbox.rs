//! The outbox on a server: a stream for each receiver, where the claims are, so that what is told is stored with what it
//! tells, on as many disks.
//!
//! One gateway at a time tells a receiver, by a lease that is no record: where it is lost, two tell the same. A stream that
//! nobody reads ends by itself.

use std::time::Duration;

use redis::{Pipeline, Value};
use tokio::time::Instant;
use tracing::error;

use super::{
    Redis,
    envelope::Key,
    link::{Broken, Link, bytes},
    lists::List,
    record::Claimed,
    slots::{CLAIMS, slot_of},
    transaction::{self, Draft, Reply},
    wish::Wish,
};
use crate::store::{
    ClaimKey, Delivery, Error, Notice, Place, Receiver, Waiting,
    channel::Token,
    claim::State,
    outbox::{KEPT, PAGE},
};

/// What the script adds to a stream.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) stream: String,
    pub(super) dropped: String,
    /// How long the stream lives from then on, in milliseconds.
    pub(super) life: String,
    pub(super) notice: Vec<u8>,
}

impl Entry {
    pub(super) fn of(prefix: &str, notice: &Notice) -> Self {
        Self {
            stream: key(prefix, notice.receiver, ""),
            dropped: key(prefix, notice.receiver, DROPPED),
            life: KEPT.as_millis().to_string(),
            notice: notice.encode(),
        }
    }
}

impl Redis {
    pub(in crate::store) async fn tell(&self, notices: Vec<Notice>) -> Result<(), Error> {
        let verb = move |draft: &mut Draft<'_>| {
            draft.tell(&notices);
            Ok(())
        };
        let carry = |reply| Wish::Carry(Box::new(transaction::Asked::new(Vec::new(), verb, reply)));
        self.0.ask(slot_of(CLAIMS), carry).await
    }

    pub(in crate::store) async fn waiting(
        &self,
        receiver: Receiver,
        after: Option<Place>,
    ) -> Result<Waiting, Error> {
        self.ask_outbox(|reply| Asked::Waiting { receiver, after, reply }).await
    }

    pub(in crate::store) async fn arrived(
        &self,
        receiver: Receiver,
        places: Vec<Place>,
    ) -> Result<(), Error> {
        self.ask_outbox(|reply| Asked::Arrived { receiver, places, reply }).await
    }

    pub(in crate::store) async fn is_teller(
        &self,
        receiver: Receiver,
        teller: Token,
        lease: Duration,
    ) -> Result<bool, Error> {
        self.ask_outbox(|reply| Asked::IsTeller { receiver, teller, lease, reply }).await
    }

    pub(in crate::store) async fn delivery(&self, key: ClaimKey) -> Result<Delivery, Error> {
        let verb = move |draft: &mut Draft<'_>| {
            let now = draft.facts.server_now;
            Ok(match draft.claimed(key)? {
                Some(claimed) if claimed.is_held(now) => Delivery::UnderWay,
                Some(Claimed { state: Some(State::Settled { .. }), .. }) => Delivery::Missing,
                _ => Delivery::Done,
            })
        };
        self.0.transact(vec![Key::Claim(key)], verb).await
    }

    async fn ask_outbox<T>(&self, asked: impl FnOnce(Reply<T>) -> Asked) -> Result<T, Error> {
        self.0.ask(slot_of(CLAIMS), |reply| Wish::List(List::Outbox(asked(reply)))).await
    }
}

/// What is asked of the outbox.
pub(super) enum Asked {
    Waiting { receiver: Receiver, after: Option<Place>, reply: Reply<Waiting> },
    Arrived { receiver: Receiver, places: Vec<Place>, reply: Reply<()> },
    IsTeller { receiver: Receiver, teller: Token, lease: Duration, reply: Reply<bool> },
}

impl Asked {
    /// As [`List::carry_out`].
    pub(super) async fn carry_out(
        self,
        link: &mut Link,
        prefix: &str,
        deadline: Instant,
    ) -> Result<Option<String>, (Self, Broken)> {
        let round = match &self {
            Self::Waiting { receiver, after, .. } => ask_waiting(prefix, *receiver, *after),
            Self::Arrived { receiver, places, .. } => {
                let mut round = Pipeline::new();
                let removal = round.cmd("XDEL").arg(key(prefix, *receiver, ""));
                for place in places {
                    removal.arg(id(*place));
                }
                round
            }
            Self::IsTeller { receiver, teller, lease, .. } => {
                let (key, teller) = (key(prefix, *receiver, TELLER), hex::encode(teller.0));
                let lease = lease.as_millis().to_string();
                let mut round = Pipeline::new();
                round.cmd("SET").arg(&key).arg(&teller).arg("NX").arg("PX").arg(&lease);
                round.cmd("GET").arg(&key);
                round
            }
        };
        let mut answers = match link.send(&round, deadline).await {
            Ok(answers) => answers.into_iter(),
            Err(broken) => return Err((self, broken)),
        };
        let mut why = None;
        let mut refused = |reason: String| {
            why = Some(reason.clone());
            Error::Unavailable { reason: reason.into() }
        };
        let mut next = || answers.next().unwrap_or(Value::Nil);
        // Who has gone does not hear.
        match self {
            Self::Waiting { receiver, reply, .. } => {
                let page = read_waiting(receiver, next(), next(), next());
                drop(reply.send(page.map_err(refused)));
            }
            Self::Arrived { reply, .. } => {
                let done = match next() {
                    Value::Int(_) => Ok(()),
                    other => bytes(other).map(drop),
                };
                drop(reply.send(done.map_err(&mut refused)));
            }
            Self::IsTeller { receiver, teller, lease, reply } => {
                let (taken, found) = (next(), next());
                let is_ours = match bytes(found) {
                    Ok(found) => found == hex::encode(teller.0).into_bytes(),
                    Err(reason) => {
                        drop(reply.send(Err(refused(reason))));
                        return Ok(why);
                    }
                };
                if is_ours && taken == Value::Nil {
                    // It was ours before.
                    let mut round = Pipeline::new();
                    let lease_ms = lease.as_millis().to_string();
                    round.cmd("PEXPIRE").arg(key(prefix, receiver, TELLER)).arg(lease_ms);
                    if let Err(broken) = link.send(&round, deadline).await {
                        return Err((Self::IsTeller { receiver, teller, lease, reply }, broken));
                    }
                }
                drop(reply.send(Ok(is_ours)));
            }
        }
        Ok(why)
    }

    pub(super) fn fail(self, error: Error) {
        // Who has gone does not hear.
        match self {
            Self::Waiting { reply, .. } => drop(reply.send(Err(error))),
            Self::Arrived { reply, .. } => drop(reply.send(Err(error))),
            Self::IsTeller { reply, .. } => drop(reply.send(Err(error))),
        }
    }
}

fn ask_waiting(prefix: &str, receiver: Receiver, after: Option<Place>) -> Pipeline {
    let stream = key(prefix, receiver, "");
    let first = after.map_or_else(|| "-".to_owned(), |after| format!("({}", id(after)));
    let mut round = Pipeline::new();
    round.cmd("XRANGE").arg(&stream).arg(first).arg("+").arg("COUNT").arg(PAGE);
    round.cmd("XLEN").arg(&stream);
    round.cmd("GETDEL").arg(key(prefix, receiver, DROPPED));
    round
}

fn read_waiting(
    receiver: Receiver,
    entries: Value,
    length: Value,
    dropped: Value,
) -> Result<Waiting, String> {
    let Value::Array(entries) = entries else { return Err(unread(entries)) };
    let Value::Int(waiting) = length else { return Err(unread(length)) };
    let dropped = match dropped {
        Value::Nil => 0,
        Value::BulkString(digits) => {
            std::str::from_utf8(&digits).ok().and_then(|digits| digits.parse().ok()).unwrap_or(0)
        }
        other => return Err(unread(other)),
    };
    let is_last = entries.len() < PAGE;
    let mut page =
        Waiting { waiting: waiting.try_into().unwrap_or_default(), dropped, ..Waiting::default() };
    for entry in entries {
        let Some((place, stored)) = read_entry(entry) else {
            return Err("the outbox holds what is no entry".to_owned());
        };
        page.next = Some(place);
        match Notice::decode(receiver, &stored) {
            Some(notice) => page.notices.push((place, notice)),
            None => error!(?receiver, ?place, "what is in the outbox does not read"),
        }
    }
    if is_last {
        page.next = None;
    }
    Ok(page)
}

/// The place of an entry, and its one field.
fn read_entry(entry: Value) -> Option<(Place, Vec<u8>)> {
    let Value::Array(parts) = entry else { return None };
    let mut parts = parts.into_iter();
    let (Value::BulkString(id), Value::Array(fields)) = (parts.next()?, parts.next()?) else {
        return None;
    };
    let (first, second) = std::str::from_utf8(&id).ok()?.split_once('-')?;
    let place = Place(first.parse().ok()?, second.parse().ok()?);
    match fields.into_iter().nth(1)? {
        Value::BulkString(stored) => Some((place, stored)),
        _ => None,
    }
}

fn unread(answer: Value) -> String {
    bytes(answer).map_or_else(|reason| reason, |_| "it answered with other bytes".to_owned())
}

fn key(prefix: &str, receiver: Receiver, of: &str) -> String {
    format!("{prefix}{{{CLAIMS}}}:outbox:{}{of}", hex::encode(receiver.0))
}

fn id(Place(milliseconds, number): Place) -> String {
    format!("{milliseconds}-{number}")
}

/// How many notices made room for newer ones.
const DROPPED: &str = ":dropped";
/// Who tells them.
const TELLER: &str = ":teller";
