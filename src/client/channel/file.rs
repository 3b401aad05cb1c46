//! Where a purse writes down what it signed, before anybody sees it.
//!
//! One small file of JSON for a channel. It is replaced as a whole, so that a crash leaves the old one or the new one, and
//! locked as long as a purse has it, since two that sign without knowing of each other would sign one amount twice.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::protocol::{
    commitment::CommitmentKey,
    money::Amount,
    stellar::{ContractId, Network},
};

/// Whose file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) network: Network,
    pub(super) channel: ContractId,
    pub(super) key: CommitmentKey,
}

/// The file of one channel, and the lock on it.
#[derive(Debug)]
pub(super) struct StateFile {
    path: PathBuf,
    owner: Owner,
    /// Beside the file, which is replaced by each write.
    _lock: File,
}

impl StateFile {
    /// Takes the file at `path`, which need not be there yet, and what it says was signed, if it is.
    pub(super) fn open(path: &Path, owner: Owner) -> Result<(Self, Option<Amount>), PurseError> {
        let failed = |action| move |source| PurseError::File { action, path: path.into(), source };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(failed("make the folder of"))?;
        }
        let lock = beside(path, "lock");
        let lock = File::options().create(true).truncate(false).write(true).open(lock);
        let lock = lock.map_err(failed("lock"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(PurseError::Taken { path: path.into() }),
            Err(TryLockError::Error(source)) => return Err(failed("lock")(source)),
        }
        let signed = match fs::read(path) {
            Ok(bytes) => Some(read(&bytes, path, &owner)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed("read")(error)),
        };
        Ok((Self { path: path.into(), owner, _lock: lock }, signed))
    }

    /// Writes that `signed` was signed in all; it is on the disk when this returns.
    pub(super) fn write(&self, signed: Amount) -> Result<(), PurseError> {
        let Owner { network, channel, key } = self.owner;
        let record = Record {
            version: VERSION,
            network: network.name().to_owned(),
            channel: channel.to_string(),
            key: key.to_string(),
            signed: signed.to_string(),
        };
        let write = || {
            let mut text = serde_json::to_vec(&record)?;
            text.push(b'\n');
            let new = beside(&self.path, "new");
            let mut file = File::create(&new)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&new, &self.path)?;
            match self.path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
                Some(folder) => File::open(folder)?.sync_all(),
                None => File::open(".")?.sync_all(),
            }
        };
        write().map_err(|source| PurseError::File {
            action: "write",
            path: self.path.clone(),
            source,
        })
    }
}

/// Why a purse cannot be used. Nothing was signed.
#[derive(Debug, thiserror::Error)]
pub enum PurseError {
    /// The file cannot be read, written or locked.
    #[error("{action} `{path}`")]
    File {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another process has it.
    #[error("`{path}` is used by another process")]
    Taken {
        /// Where.
        path: PathBuf,
    },
    /// It is no file of a purse, or of a later version.
    #[error("`{path}` is no state of a channel that this version can read")]
    Unreadable {
        /// Where.
        path: PathBuf,
    },
    /// It is of another channel, or of another key.
    #[error("`{path}` is the state of another channel or key")]
    Foreign {
        /// Where.
        path: PathBuf,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    version: u32,
    network: String,
    channel: String,
    key: String,
    /// The highest total that was signed, in base units.
    signed: String,
}

fn read(bytes: &[u8], path: &Path, owner: &Owner) -> Result<Amount, PurseError> {
    let unreadable = || PurseError::Unreadable { path: path.into() };
    let record: Record = serde_json::from_slice(bytes).map_err(|_| unreadable())?;
    if record.version != VERSION {
        return Err(unreadable());
    }
    let ours = record.network == owner.network.name()
        && record.channel == owner.channel.to_string()
        && record.key == owner.key.to_string();
    if !ours {
        return Err(PurseError::Foreign { path: path.into() });
    }
    Amount::parse_units(&record.signed).map_err(|_| unreadable())
}

/// `path` with `.name` behind it.
fn beside(path: &Path, name: &str) -> PathBuf {
    let mut text = path.as_os_str().to_owned();
    text.push(".");
    text.push(name);
    text.into()
}

const VERSION: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::commitment::CommitmentSeed;

    fn owner() -> Owner {
        let key = CommitmentSeed::from_bytes(&[1; 32]).key();
        Owner { network: Network::Testnet, channel: ContractId([2; 32]), key }
    }

    fn amount(units: i128) -> Amount {
        Amount::from_units(units).unwrap()
    }

    #[test]
    fn what_was_written_is_read_by_the_next_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/state.json");
        let (file, signed) = StateFile::open(&path, owner()).unwrap();
        assert_eq!(signed, None);
        for units in [1, i128::MAX, 7] {
            file.write(amount(units)).unwrap();
        }
        drop(file);
        assert_eq!(StateFile::open(&path, owner()).unwrap().1, Some(amount(7)));
    }

    #[test]
    fn one_process_has_it_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        let first = StateFile::open(&path, owner()).unwrap();
        // A write replaces the file, and the lock holds all the same.
        first.0.write(amount(1)).unwrap();
        assert!(matches!(StateFile::open(&path, owner()), Err(PurseError::Taken { .. })));
        drop(first);
        StateFile::open(&path, owner()).unwrap();
    }

    #[test]
    fn what_is_of_another_or_cannot_be_read_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        StateFile::open(&path, owner()).unwrap().0.write(amount(5)).unwrap();
        let mine = fs::read(&path).unwrap();
        let others = [
            Owner { network: Network::Pubnet, ..owner() },
            Owner { channel: ContractId([3; 32]), ..owner() },
            Owner { key: CommitmentSeed::from_bytes(&[4; 32]).key(), ..owner() },
        ];
        for other in others {
            assert!(matches!(StateFile::open(&path, other), Err(PurseError::Foreign { .. })));
        }
        let text = String::from_utf8(mine.clone()).unwrap();
        for wrong in [
            String::new(),
            "{}".to_owned(),
            text.replace("\"version\":1", "\"version\":2"),
            text.replace("\"5\"", "\"-5\""),
        ] {
            fs::write(&path, wrong).unwrap();
            assert!(matches!(StateFile::open(&path, owner()), Err(PurseError::Unreadable { .. })));
        }
        fs::write(&path, mine).unwrap();
        assert_eq!(StateFile::open(&path, owner()).unwrap().1, Some(amount(5)));
    }
}
