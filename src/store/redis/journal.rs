//! What this gateway was promised: the last step of each account that the server and its copies acknowledged, on this
//! machine's own disk before anybody is told.
//!
//! When another server takes over, or one comes back, its accounts are raised to what stands here; see [`super::fence`].
//! Knows no server.

use std::{path::Path, sync::Arc};

use rand_core::{OsRng, RngCore as _};
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use super::{
    fence::{Fence, MemberId},
    promise::Epoch,
};
use crate::{
    protocol::{money::Amount, stellar::ContractId},
    store::{
        Error,
        bytes::{Reader, checksum},
        channel::{Account, Held, Step},
        file,
    },
};

/// An open journal.
pub(super) struct Journal {
    db: Database,
    id: MemberId,
}

/// What was acknowledged of one account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Acknowledged {
    pub(super) steps: u64,
    pub(super) spent: Amount,
    /// The highest one.
    pub(super) commitment: Held,
}

impl Acknowledged {
    /// `None` for an account that has authorised nothing: there is nothing to lose of it.
    pub(super) fn of(account: &Account) -> Option<Self> {
        let commitment = *account.held().last()?;
        Some(Self { steps: account.steps(), spent: account.standing().spent, commitment })
    }

    /// What raises an account to it, at `now` in seconds since 1970.
    pub(super) const fn restore(self, now: u64) -> Step {
        Step::Restore { commitment: self.commitment, spent: self.spent, steps: self.steps, now }
    }
}

impl Journal {
    /// Opens the journal of the gateways that store under `prefix`, or makes it.
    ///
    /// # Errors
    /// Those of a file; [`Error::Corrupt`] too if it is the journal for another prefix.
    pub(super) fn open(path: &Path, prefix: &str) -> Result<Self, Error> {
        let db = file::open(path)?;
        let wrong = |what: &str| {
            let what = format!("the journal `{}` {what}", path.display());
            Error::Corrupt { what: what.into() }
        };
        let read = || -> Result<_, redb::Error> {
            let tx = db.begin_write()?;
            let found = {
                let mut meta = tx.open_table(META)?;
                tx.open_table(CHANNELS)?;
                if meta.get("format")?.is_none() {
                    let mut id = [0; 16];
                    OsRng.fill_bytes(&mut id);
                    meta.insert("format", [FORMAT].as_slice())?;
                    meta.insert("id", id.as_slice())?;
                    meta.insert("prefix", prefix.as_bytes())?;
                }
                let get = |name| -> Result<_, redb::Error> {
                    Ok(meta.get(name)?.map(|value| value.value().to_vec()).unwrap_or_default())
                };
                (get("format")?, get("id")?, get("prefix")?)
            };
            tx.commit()?;
            Ok(found)
        };
        let (format, id, of) = read().map_err(file::stopping)?;
        match *format {
            [FORMAT] => {}
            [found, ..] => return Err(Error::UnknownFormat { found, known: FORMAT }),
            [] => return Err(wrong("does not read")),
        }
        if of != prefix.as_bytes() {
            return Err(wrong("is of gateways with another `key_prefix`"));
        }
        let id = id.try_into().map_err(|_| wrong("does not read"))?;
        Ok(Self { db, id: MemberId(id) })
    }

    /// Whose journal it is.
    pub(super) const fn id(&self) -> MemberId {
        self.id
    }

    /// Writes what was acknowledged; it is on the disk when this returns.
    ///
    /// # Errors
    /// Those of a disk: nobody knows what it holds then.
    pub(super) fn record(&self, accounts: &[(ContractId, Acknowledged)]) -> Result<(), Error> {
        let write = || -> Result<(), redb::Error> {
            let tx = self.db.begin_write()?;
            {
                let mut channels = tx.open_table(CHANNELS)?;
                for (channel, acknowledged) in accounts {
                    channels.insert(&channel.0, acknowledged.encode(*channel).as_slice())?;
                }
            }
            Ok(tx.commit()?)
        };
        write().map_err(file::stopping)
    }

    /// Takes channels out, those of them that are in it.
    ///
    /// # Errors
    /// As [`Journal::record`].
    pub(super) fn forget(&self, channels: &[ContractId]) -> Result<(), Error> {
        let is_known = || -> Result<bool, redb::Error> {
            let table = self.db.begin_read()?.open_table(CHANNELS)?;
            for channel in channels {
                if table.get(&channel.0)?.is_some() {
                    return Ok(true);
                }
            }
            Ok(false)
        };
        let remove = || -> Result<(), redb::Error> {
            let tx = self.db.begin_write()?;
            {
                let mut table = tx.open_table(CHANNELS)?;
                for channel in channels {
                    table.remove(&channel.0)?;
                }
            }
            Ok(tx.commit()?)
        };
        // Each look at all channels names those that have ended: most often there is nothing to write.
        match is_known().map_err(file::stopping)? {
            true => remove().map_err(file::stopping),
            false => Ok(()),
        }
    }

    /// Remembers who was seen to share the store.
    ///
    /// # Errors
    /// As [`Journal::record`].
    pub(super) fn saw(&self, fence: &Fence) -> Result<(), Error> {
        let mut bytes = Vec::new();
        fence.encode(&mut bytes)?;
        let write = || -> Result<(), redb::Error> {
            let tx = self.db.begin_write()?;
            tx.open_table(META)?.insert("fence", bytes.as_slice())?;
            Ok(tx.commit()?)
        };
        write().map_err(file::stopping)
    }

    /// Who was seen to share the store.
    ///
    /// # Errors
    /// As [`Journal::record`].
    pub(super) fn seen(&self) -> Result<Fence, Error> {
        let read = || -> Result<_, redb::Error> {
            let meta = self.db.begin_read()?.open_table(META)?;
            Ok(meta.get("fence")?.map(|bytes| bytes.value().to_vec()))
        };
        let Some(bytes) = read().map_err(file::stopping)? else { return Ok(Fence::default()) };
        Fence::read(&mut Reader::new(&bytes)).ok_or_else(|| corrupt("its members"))
    }

    /// Remembers the epochs that this gateway has entered, the latest last; it is in the last `current` of them.
    ///
    /// # Errors
    /// As [`Journal::record`].
    pub(super) fn enters(&self, entered: &[Epoch], current: usize) -> Result<(), Error> {
        let bytes: Vec<u8> = entered.iter().flat_map(|epoch| epoch.0).collect();
        let current = entered.split_at_checked(entered.len().saturating_sub(current));
        let current: Vec<u8> =
            current.iter().flat_map(|(_, last)| *last).flat_map(|epoch| epoch.0).collect();
        let write = || -> Result<(), redb::Error> {
            let tx = self.db.begin_write()?;
            {
                let mut meta = tx.open_table(META)?;
                meta.insert("epochs", bytes.as_slice())?;
                meta.insert("current", current.as_slice())?;
            }
            Ok(tx.commit()?)
        };
        write().map_err(file::stopping)
    }

    /// The epochs that this gateway has entered, the latest last.
    ///
    /// # Errors
    /// As [`Journal::record`].
    pub(super) fn entered(&self) -> Result<Vec<Epoch>, Error> {
        Ok(self.epochs("epochs")?.unwrap_or_default())
    }

    /// Those of them that it is in.
    ///
    /// # Errors
    /// As [`Journal::record`].
    pub(super) fn current(&self) -> Result<Vec<Epoch>, Error> {
        let entered = self.entered()?;
        match self.epochs("current")? {
            Some(current) if entered.ends_with(&current) => Ok(current),
            // They were written by a version that knew one at a time.
            _ => Ok(entered.last().copied().into_iter().collect()),
        }
    }

    fn epochs(&self, name: &str) -> Result<Option<Vec<Epoch>>, Error> {
        let read = || -> Result<_, redb::Error> {
            let meta = self.db.begin_read()?.open_table(META)?;
            Ok(meta.get(name)?.map(|bytes| bytes.value().to_vec()))
        };
        let Some(bytes) = read().map_err(file::stopping)? else { return Ok(None) };
        let (epochs, rest) = bytes.as_chunks();
        if !rest.is_empty() {
            return Err(corrupt("its epochs"));
        }
        Ok(Some(epochs.iter().copied().map(Epoch).collect()))
    }

    /// What was acknowledged of the channels after `after`, in their order, at most `count`.
    ///
    /// # Errors
    /// As [`Journal::record`]; [`Error::Corrupt`].
    pub(super) fn page(
        &self,
        after: Option<ContractId>,
        count: usize,
    ) -> Result<Vec<(ContractId, Acknowledged)>, Error> {
        let read = || -> Result<Vec<_>, redb::Error> {
            let channels = self.db.begin_read()?.open_table(CHANNELS)?;
            let first = after.map_or([0; 32], |channel| channel.0);
            let mut page = Vec::new();
            for entry in channels.range::<&[u8; 32]>(&first..)? {
                let (channel, bytes) = entry?;
                let channel = ContractId(*channel.value());
                if Some(channel) != after {
                    page.push((channel, bytes.value().to_vec()));
                }
                if page.len() >= count {
                    break;
                }
            }
            Ok(page)
        };
        let page = read().map_err(file::stopping)?.into_iter().map(|(channel, bytes)| {
            let acknowledged = Acknowledged::decode(channel, &bytes);
            let acknowledged = acknowledged.ok_or_else(|| corrupt(&channel.to_string()))?;
            Ok((channel, acknowledged))
        });
        page.collect()
    }
}

impl Acknowledged {
    fn encode(&self, channel: ContractId) -> Vec<u8> {
        let mut out = Vec::with_capacity(120);
        out.extend(self.steps.to_be_bytes());
        out.extend(self.spent.units().to_be_bytes());
        out.extend(self.commitment.amount.units().to_be_bytes());
        out.extend(self.commitment.signature);
        let sum = checksum(&channel.0, &out);
        out.extend(sum);
        out
    }

    fn decode(channel: ContractId, bytes: &[u8]) -> Option<Self> {
        let (body, sum) = bytes.split_last_chunk()?;
        if checksum(&channel.0, body) != *sum {
            return None;
        }
        let mut reader = Reader::new(body);
        let amount =
            |reader: &mut Reader<'_>| Amount::from_units(i128::from_be_bytes(reader.array()?));
        let acknowledged = Self {
            steps: reader.u64()?,
            spent: amount(&mut reader)?,
            commitment: Held { amount: amount(&mut reader)?, signature: reader.array()? },
        };
        reader.is_done().then_some(acknowledged)
    }
}

fn corrupt(what: &str) -> Error {
    let what: Arc<str> = format!("the journal's record of {what} does not read").into();
    Error::Corrupt { what }
}

const CHANNELS: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("channels");
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");

const FORMAT: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(number: u8) -> ContractId {
        ContractId([number; 32])
    }

    fn acknowledged(steps: u64) -> Acknowledged {
        let units = |units| Amount::from_units(units).unwrap();
        let commitment = Held { amount: units(i128::MAX), signature: [7; 64] };
        Acknowledged { steps, spent: units(5), commitment }
    }

    #[test]
    fn a_journal_reads_as_it_was_written_and_is_of_one_gateway() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let journal = Journal::open(&path, "a:").unwrap();
        let id = journal.id();
        for steps in 1..=2 {
            let all: Vec<_> =
                (1..=5).map(|number| (channel(number), acknowledged(steps))).collect();
            journal.record(&all).unwrap();
        }
        journal.forget(&[channel(2), channel(9)]).unwrap();
        journal.forget(&[channel(9)]).unwrap();
        assert_eq!(journal.current().unwrap(), []);
        let epochs = [1, 2, 3].map(|number| Epoch([number; 16]));
        journal.enters(&epochs, 2).unwrap();
        assert_eq!(journal.entered().unwrap(), epochs);
        assert_eq!(journal.current().unwrap(), epochs[1..]);
        let mut fence = Fence::default();
        fence.recall(&journal.seen().unwrap());
        assert_eq!(fence, Fence::default());
        assert!(matches!(Journal::open(&path, "a:"), Err(Error::Locked { .. })));
        drop(journal);
        let journal = Journal::open(&path, "a:").unwrap();
        assert_eq!(journal.id(), id);
        let page = journal.page(None, 2).unwrap();
        assert_eq!(page, [1, 3].map(|number| (channel(number), acknowledged(2))));
        let rest = journal.page(Some(channel(3)), 9).unwrap();
        assert_eq!(rest, [4, 5].map(|number| (channel(number), acknowledged(2))));
        drop(journal);
        assert!(matches!(Journal::open(&path, "b:"), Err(Error::Corrupt { .. })));
    }

    #[test]
    fn a_damaged_record_does_not_read() {
        let bytes = acknowledged(1).encode(channel(1));
        assert_eq!(Acknowledged::decode(channel(1), &bytes), Some(acknowledged(1)));
        assert_eq!(Acknowledged::decode(channel(2), &bytes), None);
        for place in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[place] ^= 1;
            assert_eq!(Acknowledged::decode(channel(1), &damaged), None, "{place}");
        }
    }
}
