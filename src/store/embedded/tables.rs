//! The file's tables, and the one commit that changes them.
//!
//! `claims` has the records by key, and `aliases` those keys by alias. `due` has the same keys by the instant after which
//! a record may be forgotten, and the alias that goes with it, so that pruning reads nothing else; what is pending stands
//! at its end. `channels` has the accounts by channel, and `log` what has changed of
//! some of them since, see [`super::log`]. `outbox` has what others are to be told, see [`super::outbox`]. `meta` has the
//! format and the secrets.

use std::{cell::OnceCell, collections::HashMap, path::Path};

use redb::{
    Database, Key, ReadOnlyTable, ReadTransaction, ReadableDatabase as _, ReadableTable as _,
    StorageBackend, TableDefinition, Value, WriteTransaction,
};

use super::outbox;
use crate::{
    protocol::stellar::ContractId,
    store::{
        ClaimKey, Error, Pending,
        channel::{self, Account},
        claim::{NEVER, Record, State},
        file::{self, stopping},
        record,
    },
};

/// An open file.
pub(super) struct Tables {
    db: Database,
}

/// The tables as of one commit.
pub(super) struct View {
    pub(super) tx: ReadTransaction,
    // Opened when they are asked for: most batches ask for few, and accounts in use are in memory.
    claims: OnceCell<ReadOnlyTable<&'static [u8; 32], &'static [u8]>>,
    aliases: OnceCell<ReadOnlyTable<&'static [u8; 32], &'static [u8; 32]>>,
}

/// What one commit changes.
#[derive(Default)]
pub(super) struct Changes {
    pub(super) claims: HashMap<ClaimKey, Change>,
    /// Whose an alias is from now on; `None` is nobody's.
    pub(super) aliases: HashMap<ClaimKey, Option<ClaimKey>>,
    pub(super) secrets: HashMap<&'static str, [u8; 32]>,
    /// Accounts as bytes, in place of what is stored of them.
    pub(super) accounts: Vec<(ContractId, Vec<u8>)>,
    /// The accounts that are dropped, unless they changed.
    pub(super) forgotten: Vec<ContractId>,
    /// What is said of accounts besides.
    pub(super) log: Logging,
    pub(super) outbox: outbox::Changes,
}

/// What becomes of the log.
#[derive(Default)]
pub(super) enum Logging {
    #[default]
    Same,
    /// Rows by number, after those that are there.
    More(Vec<(u64, Vec<u8>)>),
    /// Nothing is left of it.
    Clear,
}

/// What becomes of one record.
pub(super) struct Change {
    /// How the stored record is filed, if there is one.
    pub(super) stored: Option<Filed>,
    /// What is to be stored, and its bytes; `None` removes it.
    pub(super) record: Option<(Record, Vec<u8>)>,
}

/// Where a record is found besides under its key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Filed {
    due: u64,
    alias: Option<ClaimKey>,
}

/// Why something was not carried out.
pub(super) enum Fault {
    /// The fault of one wish, and its answer.
    Wish(Error),
    /// The disk's: nobody knows what it holds any more, and the store must stop.
    Disk(redb::Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Wish(error)
    }
}

impl<E: Into<redb::Error>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::Disk(error.into())
    }
}

impl From<&Record> for Filed {
    fn from(record: &Record) -> Self {
        Self { due: record.due(), alias: record.alias() }
    }
}

impl Changes {
    /// An alias changes with its claim only.
    pub(super) fn is_empty(&self) -> bool {
        self.claims.is_empty()
            && self.secrets.is_empty()
            && self.accounts.is_empty()
            && self.forgotten.is_empty()
            && matches!(self.log, Logging::Same)
            && self.outbox.is_empty()
    }
}

impl Tables {
    /// Opens the file, or makes it.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        Self::check(file::open(path)?)
    }

    /// Opens what `backend` holds.
    pub(super) fn open_on(backend: impl StorageBackend) -> Result<Self, Error> {
        Self::check(file::open_on(backend)?)
    }

    fn check(db: Database) -> Result<Self, Error> {
        match Self::check_format(&db) {
            Ok(()) => Ok(Self { db }),
            Err(Fault::Wish(error)) => Err(error),
            Err(Fault::Disk(error)) => Err(stopping(error)),
        }
    }

    /// Makes the tables in a new file; reads the format of another before anything else.
    fn check_format(db: &Database) -> Result<(), Fault> {
        let tx = db.begin_write()?;
        let found = tx.open_table(META)?.get("format")?.map(|format| format.value().to_vec());
        match found.as_deref() {
            // A file without channels becomes one with none, and one without a log has an empty one: the rest is as it is now.
            None | Some([WITHOUT_CHANNELS | WITHOUT_LOG]) => {
                tx.open_table(META)?.insert("format", [FORMAT].as_slice())?;
                tx.open_table(CLAIMS)?;
                tx.open_table(ALIASES)?;
                tx.open_table(DUE)?;
                tx.open_table(CHANNELS)?;
                tx.open_table(LOG)?;
                tx.commit()?;
                Ok(())
            }
            Some([FORMAT]) => Ok(tx.abort()?),
            Some(found) => {
                let found = found.first().copied().unwrap_or(0);
                Err(Error::UnknownFormat { found, known: FORMAT }.into())
            }
        }
    }

    /// The tables as the last commit left them.
    pub(super) fn view(&self) -> Result<View, redb::Error> {
        let tx = self.db.begin_read()?;
        Ok(View { tx, claims: OnceCell::new(), aliases: OnceCell::new() })
    }

    /// Stores `changes` in one commit, which is on the disk when this returns, and forgets some records that were due
    /// before `now`, except those that `is_held` says are in use: as many as keep pace with what comes in.
    pub(super) fn commit(
        &self,
        changes: &Changes,
        now: u64,
        is_held: impl Fn(ClaimKey) -> bool,
    ) -> Result<(), redb::Error> {
        let tx = self.db.begin_write()?;
        {
            // What changes accounts alone, thousands of times a second, leaves the rest as it is.
            if !changes.claims.is_empty() || !changes.secrets.is_empty() {
                change_claims(&tx, changes, now, is_held)?;
            }
            if !(changes.accounts.is_empty() && changes.forgotten.is_empty()) {
                let mut channels = tx.open_table(CHANNELS)?;
                for channel in &changes.forgotten {
                    channels.remove(&channel.0)?;
                }
                for (channel, bytes) in &changes.accounts {
                    channels.insert(&channel.0, bytes.as_slice())?;
                }
            }
            match &changes.log {
                Logging::Same => {}
                Logging::More(rows) => {
                    let mut log = tx.open_table(LOG)?;
                    for (number, row) in rows {
                        log.insert(number, row.as_slice())?;
                    }
                }
                Logging::Clear => {
                    tx.delete_table(LOG)?;
                    tx.open_table(LOG)?;
                }
            }
            if !changes.outbox.is_empty() {
                changes.outbox.store(&tx)?;
            }
            if !changes.secrets.is_empty() {
                let mut meta = tx.open_table(META)?;
                for (name, secret) in &changes.secrets {
                    meta.insert(secret_name(name).as_str(), secret.as_slice())?;
                }
            }
        }
        Ok(tx.commit()?)
    }

    /// Hands the rows of the log to `take` in their order, until it finds a fault in one.
    pub(super) fn read_log(
        &self,
        mut take: impl FnMut(u64, &[u8]) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let log = self.db.begin_read()?.open_table(LOG)?;
        for row in log.range::<u64>(..)? {
            let (number, row) = row?;
            take(number.value(), row.value())?;
        }
        Ok(())
    }

    /// Closes and unlocks the file.
    pub(super) fn close(self) -> Result<(), redb::Error> {
        Ok(self.db.close()?)
    }
}

impl View {
    /// The record of `key`.
    pub(super) fn record(&self, key: ClaimKey) -> Result<Option<Record>, Fault> {
        let Some(bytes) = opened(&self.claims, &self.tx, CLAIMS)?.get(&key.0)? else {
            return Ok(None);
        };
        Ok(Some(record::decode(key, bytes.value())?))
    }

    /// Whose `alias` is.
    pub(super) fn owner(&self, alias: ClaimKey) -> Result<Option<ClaimKey>, Fault> {
        Ok(opened(&self.aliases, &self.tx, ALIASES)?
            .get(&alias.0)?
            .map(|key| ClaimKey(*key.value())))
    }

    /// The pending claims after `after`, by key, that `is_free`; at most [`PAGE`].
    pub(super) fn pending(
        &self,
        after: Option<ClaimKey>,
        is_free: impl Fn(ClaimKey) -> bool,
    ) -> Result<Vec<Pending>, Fault> {
        let first = due_key(NEVER, after.unwrap_or(ClaimKey([0; 32])));
        let mut page = Vec::new();
        for entry in self.tx.open_table(DUE)?.range::<&[u8; 40]>(&first..)? {
            let key = key_of(entry?.0.value());
            if Some(key) == after || !is_free(key) {
                continue;
            }
            let Some(Record { state: State::Submitting(submitting), .. }) = self.record(key)?
            else {
                let what = format!("{key:?} is listed as pending and is not");
                return Err(Error::Corrupt { what: what.into() }.into());
            };
            page.push(Pending { key, submitting });
            if page.len() >= PAGE {
                break;
            }
        }
        Ok(page)
    }

    /// The account of `channel`.
    pub(super) fn account(&self, channel: ContractId) -> Result<Option<Account>, Fault> {
        let Some(bytes) = self.tx.open_table(CHANNELS)?.get(&channel.0)? else { return Ok(None) };
        Ok(Some(channel::record::decode(channel, bytes.value())?))
    }

    /// The channels after `after` in their order, at most [`PAGE`].
    pub(super) fn channels(
        &self,
        after: Option<ContractId>,
    ) -> Result<Vec<ContractId>, redb::Error> {
        let first = after.map_or([0; 32], |channel| channel.0);
        let mut page = Vec::new();
        for entry in self.tx.open_table(CHANNELS)?.range::<&[u8; 32]>(&first..)? {
            let channel = ContractId(*entry?.0.value());
            if Some(channel) != after {
                page.push(channel);
            }
            if page.len() >= PAGE {
                break;
            }
        }
        Ok(page)
    }

    /// The secret called `name`, if it was made.
    pub(super) fn secret(&self, name: &str) -> Result<Option<[u8; 32]>, Fault> {
        let Some(bytes) = self.tx.open_table(META)?.get(secret_name(name).as_str())? else {
            return Ok(None);
        };
        let secret = bytes.value().try_into().map_err(|_| {
            let what = format!("the secret `{name}` does not read");
            Error::Corrupt { what: what.into() }
        })?;
        Ok(Some(secret))
    }
}

/// The table as `tx` has it.
fn opened<'a, K: Key + 'static, V: Value + 'static>(
    cell: &'a OnceCell<ReadOnlyTable<K, V>>,
    tx: &ReadTransaction,
    table: TableDefinition<'_, K, V>,
) -> Result<&'a ReadOnlyTable<K, V>, redb::Error> {
    match cell.get() {
        Some(table) => Ok(table),
        None => {
            let table = tx.open_table(table)?;
            Ok(cell.get_or_init(|| table))
        }
    }
}

/// Stores the changes of claims, and forgets as [`Tables::commit`] says.
fn change_claims(
    tx: &WriteTransaction,
    changes: &Changes,
    now: u64,
    is_held: impl Fn(ClaimKey) -> bool,
) -> Result<(), redb::Error> {
    let mut claims = tx.open_table(CLAIMS)?;
    let mut aliases = tx.open_table(ALIASES)?;
    let mut due = tx.open_table(DUE)?;
    for (key, change) in &changes.claims {
        let filed = change.record.as_ref().map(|(record, _)| Filed::from(record));
        if let Some(stored) = change.stored
            && change.stored != filed
        {
            due.remove(&due_key(stored.due, *key))?;
        }
        match (&change.record, filed) {
            (Some((_, bytes)), Some(new)) => {
                claims.insert(&key.0, bytes.as_slice())?;
                if change.stored != filed {
                    let alias = new.alias.as_ref().map(|alias| &alias.0);
                    due.insert(&due_key(new.due, *key), alias)?;
                }
            }
            _ => drop(claims.remove(&key.0)?),
        }
    }
    for (alias, owner) in &changes.aliases {
        match owner {
            Some(key) => drop(aliases.insert(&alias.0, &key.0)?),
            None => drop(aliases.remove(&alias.0)?),
        }
    }
    let pace = changes.claims.len().saturating_mul(2).saturating_add(8);
    let mut past = Vec::new();
    for entry in due.range::<&[u8; 40]>(..&due_key(now, ClaimKey([0; 32])))? {
        let entry = *entry?.0.value();
        let key = key_of(&entry);
        if !is_held(key) {
            past.push((entry, key));
        }
        if past.len() >= pace {
            break;
        }
    }
    for (entry, key) in past {
        if let Some(alias) = due.remove(&entry)?.and_then(|alias| alias.value().copied()) {
            aliases.remove(&alias)?;
        }
        claims.remove(&key.0)?;
    }
    Ok(())
}

/// The instant, most significant byte first so that the order of bytes is the order of time, and then the key.
fn due_key(instant: u64, key: ClaimKey) -> [u8; 40] {
    let mut due = [0; 40];
    let (time, rest) = due.split_at_mut(8);
    time.copy_from_slice(&instant.to_be_bytes());
    rest.copy_from_slice(&key.0);
    due
}

fn key_of(due: &[u8; 40]) -> ClaimKey {
    ClaimKey(*due.last_chunk().expect("40 bytes end with 32"))
}

fn secret_name(name: &str) -> String {
    format!("secret/{name}")
}

const CLAIMS: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("claims");
const ALIASES: TableDefinition<'_, &[u8; 32], &[u8; 32]> = TableDefinition::new("aliases");
const DUE: TableDefinition<'_, &[u8; 40], Option<&[u8; 32]>> = TableDefinition::new("due");
const CHANNELS: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("channels");
const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");

/// The format of the tables; records have their own.
const FORMAT: u8 = 4;
const WITHOUT_LOG: u8 = 3;
const WITHOUT_CHANNELS: u8 = 2;

/// Pending claims or channels in one answer.
pub(super) const PAGE: usize = 256;
