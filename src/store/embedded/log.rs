//! What has changed of accounts since they were stored whole.
//!
//! Each step of a channel changes some bytes of an account of thousands. So a commit stores what it changed, of all
//! accounts together and behind what the commits before it changed; once that has become long, the accounts that are in it
//! are stored whole, and it begins anew. What is stored whole first is an account that was not stored at all, and so is
//! every account when the store is closed. The next start carries the log out before anything else.

use std::collections::{HashMap, HashSet};

use super::tables::{Changes, Fault, Logging, Tables, View};
use crate::{
    protocol::stellar::ContractId,
    store::{
        Error,
        bytes::{Reader, checksum},
        channel::{
            Account,
            delta::{apply, delta},
            record::{self, FORMAT},
        },
    },
};

/// What is in the log.
#[derive(Default)]
pub(super) struct Log {
    next: u64,
    bytes: usize,
    /// The accounts that are stored in part here.
    channels: HashSet<ContractId>,
    /// Whether it says something of an account that is not there any more.
    is_torn: bool,
}

/// The accounts that a batch has had in hand, as they were before; `None` was not there.
pub(super) type Before = HashMap<ContractId, Option<Account>>;

impl Log {
    /// Whether something of `channel` is stored here only.
    pub(super) fn has(&self, channel: ContractId) -> bool {
        self.channels.contains(&channel)
    }

    /// Has it begin anew at once if it says something of `channel`, which is not there any more.
    pub(super) fn forget(&mut self, channel: ContractId) {
        self.is_torn |= self.channels.remove(&channel);
    }

    /// Puts into `changes` what has become of the accounts that were as `before` and are as `now`; `is_last` is for a store
    /// that is about to be closed.
    pub(super) fn write(
        &mut self,
        before: &Before,
        now: &HashMap<ContractId, Account>,
        is_last: bool,
        changes: &mut Changes,
    ) {
        let mut rows = Rows::default();
        for (channel, before) in before {
            let Some(after) = now.get(channel) else { continue };
            match before {
                None => changes.accounts.push((*channel, record::encode(*channel, after))),
                Some(before) => {
                    if let Some(delta) = delta(before, after) {
                        rows.push(*channel, &delta);
                        self.channels.insert(*channel);
                    }
                }
            }
        }
        let long = self.bytes.saturating_add(rows.bytes) > MOST_BYTES;
        if long || is_last || self.is_torn || self.channels.len() > MOST_CHANNELS {
            let whole = self
                .channels
                .drain()
                .filter_map(|channel| Some((channel, record::encode(channel, now.get(&channel)?))));
            changes.accounts.extend(whole);
            if self.next > 0 || rows.bytes > 0 {
                changes.log = Logging::Clear;
            }
            *self = Self::default();
        } else if rows.bytes > 0 {
            self.bytes = self.bytes.saturating_add(rows.bytes);
            let rows = rows.finish().into_iter().map(|row| {
                let number = self.next;
                self.next = number.saturating_add(1);
                (number, sealed(number, row))
            });
            changes.log = Logging::More(rows.collect());
        }
    }
}

/// The accounts that the log of `tables` is of, as it leaves them.
///
/// # Errors
/// One that does not read, or is not the one that the log was written of: what was acknowledged would be lost by going on.
pub(super) fn read(tables: &Tables, view: &View) -> Result<HashMap<ContractId, Account>, Fault> {
    let mut accounts: HashMap<ContractId, Account> = HashMap::new();
    tables.read_log(|number, row| {
        for (channel, delta) in entries(number, row)? {
            let account = match accounts.remove(&channel) {
                Some(account) => Some(account),
                None => view.account(channel)?,
            };
            let after = account.and_then(|account| apply(account, delta));
            accounts.insert(channel, after.ok_or_else(|| corrupt(number))?);
        }
        Ok(())
    })?;
    Ok(accounts)
}

/// Rows that are about to be written.
#[derive(Default)]
struct Rows {
    full: Vec<Vec<u8>>,
    last: Vec<u8>,
    bytes: usize,
}

impl Rows {
    fn push(&mut self, channel: ContractId, delta: &[u8]) {
        let length = delta.len().saturating_add(ENTRY);
        if self.last.len().saturating_add(length) > ROW {
            self.full.extend(Some(std::mem::take(&mut self.last)).filter(|row| !row.is_empty()));
        }
        if self.last.is_empty() {
            self.last.reserve(length.max(ROW));
            self.last.push(FORMAT);
        }
        self.last.extend(channel.0);
        self.last.extend(u32::try_from(delta.len()).unwrap_or(u32::MAX).to_be_bytes());
        self.last.extend(delta);
        self.bytes = self.bytes.saturating_add(length);
    }

    fn finish(mut self) -> Vec<Vec<u8>> {
        self.full.extend(Some(self.last).filter(|row| !row.is_empty()));
        self.full
    }
}

/// A row bound to its number.
fn sealed(number: u64, mut row: Vec<u8>) -> Vec<u8> {
    let sum = checksum(&key(number), &row);
    row.extend(sum);
    row
}

fn entries(number: u64, row: &[u8]) -> Result<Vec<(ContractId, &[u8])>, Error> {
    match row.first() {
        Some(&FORMAT) => {}
        Some(&found) => return Err(Error::UnknownFormat { found, known: FORMAT }),
        None => return Err(corrupt(number)),
    }
    split(number, row).ok_or_else(|| corrupt(number))
}

fn split(number: u64, row: &[u8]) -> Option<Vec<(ContractId, &[u8])>> {
    let (body, sum) = row.split_last_chunk()?;
    if checksum(&key(number), body) != *sum {
        return None;
    }
    let mut entries = Vec::new();
    let mut rest = body.get(1..)?;
    while !rest.is_empty() {
        let (head, after) = rest.split_first_chunk::<ENTRY>()?;
        let mut head = Reader::new(head);
        let channel = ContractId(head.array()?);
        let (delta, after) = after.split_at_checked(usize::try_from(head.u32()?).ok()?)?;
        entries.push((channel, delta));
        rest = after;
    }
    Some(entries)
}

fn key(number: u64) -> [u8; 32] {
    let mut key = *b"log\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    if let Some(end) = key.last_chunk_mut() {
        *end = number.to_be_bytes();
    }
    key
}

fn corrupt(number: u64) -> Error {
    Error::Corrupt { what: format!("row {number} of the log does not read").into() }
}

/// A channel and a length.
const ENTRY: usize = 32 + 4;

/// Rows are about this long, in bytes: what a page holds.
const ROW: usize = 3_800;

/// The log begins anew beyond so many bytes, or accounts: what one commit then writes, and what a start reads.
///
/// So few in tests that the power is lost while it begins anew, too.
const MOST_BYTES: usize = if cfg!(test) { 4 * 1024 } else { 1024 * 1024 };
const MOST_CHANNELS: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(entries: &[(u8, Vec<u8>)]) -> Vec<Vec<u8>> {
        let mut rows = Rows::default();
        for (channel, delta) in entries {
            rows.push(ContractId([*channel; 32]), delta);
        }
        let sealed = |(number, row)| sealed(u64::try_from(number).unwrap(), row);
        rows.finish().into_iter().enumerate().map(sealed).collect()
    }

    #[test]
    fn what_is_written_is_read_in_its_order_however_long_it_is() {
        let entries: Vec<_> = [0, 1, 300, 5_000, 3_763, 3_764, 10, 0, 9_000]
            .into_iter()
            .zip(1..)
            .map(|(length, channel): (usize, u8)| (channel, vec![channel; length]))
            .collect();
        let rows = rows(&entries);
        assert!(rows.len() > 3 && rows.len() < entries.len());
        let mut found = Vec::new();
        for (number, row) in rows.iter().enumerate() {
            for (channel, delta) in entries_of(number, row).unwrap() {
                found.push((channel.0[0], delta.to_vec()));
            }
        }
        assert_eq!(found, entries);
    }

    #[test]
    fn a_row_that_is_damaged_or_stands_elsewhere_does_not_read() {
        let rows = rows(&[(1, vec![1; 40]), (2, vec![2; 40])]);
        let [row] = &rows[..] else { panic!("{}", rows.len()) };
        assert_eq!(entries_of(0, row).unwrap().len(), 2);
        assert!(matches!(entries_of(1, row), Err(Error::Corrupt { .. })));
        for at in 1..row.len() {
            let mut damaged = row.clone();
            damaged[at] ^= 1;
            assert!(matches!(entries_of(0, &damaged), Err(Error::Corrupt { .. })), "{at}");
            assert!(matches!(entries_of(0, &row[..at]), Err(Error::Corrupt { .. })), "{at}");
        }
        let mut newer = row.clone();
        newer[0] += 1;
        assert!(matches!(entries_of(0, &newer), Err(Error::UnknownFormat { .. })));
    }

    fn entries_of(number: usize, row: &[u8]) -> Result<Vec<(ContractId, &[u8])>, Error> {
        entries(u64::try_from(number).unwrap(), row)
    }
}
