//! The records that are kept in Redis, as bytes: a format, the fields, and a checksum over them and their key.

use std::sync::Arc;

use super::{
    envelope::{Key, corrupt},
    fence::Fence,
};
use crate::store::{
    ClaimKey, Error,
    bytes::{Reader, checksum},
    channel::{self, Account, Token},
    claim::{self, Origin, State},
};

/// What stands under a key.
#[derive(Clone, Debug)]
pub(super) enum Record {
    Claim(Claimed),
    Alias(ClaimKey),
    Secret([u8; 32]),
    /// Shared: it is some thousands of bytes, and known to the cache, to who reads it and to who writes it.
    Account(Arc<Account>),
    Fence(Fence),
}

/// A claim, and who has it in hand. With neither holder nor state it is free: as if it had never been claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claimed {
    pub(super) origin: Origin,
    pub(super) holder: Option<Holder>,
    /// `None` while nothing happened to it.
    pub(super) state: Option<State>,
}

/// Who has a claim in hand, and until when it is theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) token: Token,
    /// By the server's clock, in milliseconds since 1970.
    pub(super) until: u64,
}

impl Claimed {
    /// Whether a request has it in hand at `now`.
    pub(super) fn is_held(&self, now: u64) -> bool {
        self.holder.is_some_and(|holder| now <= holder.until)
    }

    /// As the stores' rules know it; `None` if nothing happened to it.
    pub(super) fn record(&self) -> Option<claim::Record> {
        Some(claim::Record { origin: self.origin, state: self.state.clone()? })
    }

    pub(super) const fn is_pending(&self) -> bool {
        matches!(self.state, Some(State::Submitting(_)))
    }
}

/// Appends the record of `key`.
///
/// # Errors
/// [`Error::TooLarge`] for a receipt or memo above 16 KiB.
pub(super) fn encode(key: Key, record: &Record, out: &mut Vec<u8>) -> Result<(), Error> {
    // An account has a format and a checksum of its own.
    if let (Key::Account(channel), Record::Account(account)) = (key, record) {
        out.extend(channel::record::encode(channel, account));
        return Ok(());
    }
    let mut body = vec![FORMAT];
    match record {
        Record::Claim(claimed) => {
            match &claimed.holder {
                None => body.push(0),
                Some(Holder { token, until }) => {
                    body.push(1);
                    body.extend(token.0);
                    body.extend(until.to_be_bytes());
                }
            }
            crate::store::record::put_origin(&mut body, &claimed.origin);
            match &claimed.state {
                None => body.push(0),
                Some(state) => {
                    body.push(1);
                    crate::store::record::put_state(&mut body, state)?;
                }
            }
        }
        Record::Alias(owner) => body.extend(owner.0),
        Record::Secret(secret) => body.extend(secret),
        Record::Fence(fence) => fence.encode(&mut body)?,
        Record::Account(_) => return Err(corrupt(key)),
    }
    let sum = checksum(&key.digest(), &body);
    out.extend(body);
    out.extend(sum);
    Ok(())
}

/// Reads the record of `key`.
///
/// # Errors
/// [`Error::UnknownFormat`] or [`Error::Corrupt`].
pub(super) fn decode(key: Key, bytes: &[u8]) -> Result<Record, Error> {
    if let Key::Account(channel) = key {
        let account = channel::record::decode(channel, bytes)?;
        return Ok(Record::Account(Arc::new(account)));
    }
    match bytes.first() {
        Some(&FORMAT) => read(key, bytes).ok_or_else(|| corrupt(key)),
        Some(&found) => Err(Error::UnknownFormat { found, known: FORMAT }),
        None => Err(corrupt(key)),
    }
}

fn read(key: Key, bytes: &[u8]) -> Option<Record> {
    let (body, sum) = bytes.split_last_chunk()?;
    if checksum(&key.digest(), body) != *sum {
        return None;
    }
    let mut reader = Reader::new(body.get(1..)?);
    let record = match key {
        Key::Claim(_) => Record::Claim(Claimed {
            holder: match reader.u8()? {
                0 => None,
                1 => Some(Holder { token: Token(reader.array()?), until: reader.u64()? }),
                _ => return None,
            },
            origin: crate::store::record::origin(&mut reader)?,
            state: match reader.u8()? {
                0 => None,
                1 => Some(crate::store::record::state(&mut reader)?),
                _ => return None,
            },
        }),
        Key::Alias(_) => Record::Alias(ClaimKey(reader.array()?)),
        Key::Secret(_) => Record::Secret(reader.array()?),
        Key::Fence => Record::Fence(Fence::read(&mut reader)?),
        Key::Account(_) => return None,
    };
    reader.is_done().then_some(record)
}

/// The format of all records but accounts.
const FORMAT: u8 = 1;
