//! A file of records that is open in one process at a time, and what its faults mean.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::Arc,
};

use redb::{Database, DatabaseError, StorageBackend, StorageError, backends::FileBackend};

use super::Error;

/// Opens the file, or makes it, readable by its owner alone: it holds a secret.
///
/// # Errors
/// Those of a file: it cannot be opened, another process has it, it does not read.
pub(super) fn open(path: &Path) -> Result<Database, Error> {
    let refused = |source: io::Error| Error::Open { path: path.into(), source: source.into() };
    let open = || {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
    };
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let is_new = !path.exists();
    let file = match open() {
        Ok(file) => file,
        Err(_) if !folder.is_dir() => return Err(Error::NoFolder { path: path.into() }),
        Err(error) => return Err(refused(error)),
    };
    if is_new {
        // Or a power loss could take the name away from the file that the first records are in.
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(refused)?;
    }
    let backend = FileBackend::new(file).map_err(|error| opening(error, path))?;
    builder().create_with_backend(backend).map_err(|error| opening(error, path))
}

/// Opens what `backend` holds.
///
/// # Errors
/// It does not read.
pub(super) fn open_on(backend: impl StorageBackend) -> Result<Database, Error> {
    builder().create_with_backend(backend).map_err(|error| opening(error, Path::new("(memory)")))
}

/// A fault of the disk after which nobody knows what it holds.
pub(super) fn stopping(error: redb::Error) -> Error {
    match error {
        redb::Error::Corrupted(what) => Error::Corrupt { what: what.into() },
        error => Error::Stopped { reason: Arc::from(error.to_string()) },
    }
}

fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE).set_check_integrity_on_open(true);
    builder
}

fn opening(error: DatabaseError, path: &Path) -> Error {
    let corrupt =
        |what: String| Error::Corrupt { what: format!("`{}`: {what}", path.display()).into() };
    match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
            Error::Locked { path: path.into() }
        }
        DatabaseError::Storage(StorageError::Io(source))
            if source.kind() != io::ErrorKind::InvalidData =>
        {
            Error::Open { path: path.into(), source: source.into() }
        }
        error => corrupt(error.to_string()),
    }
}

/// Of pages in memory, in bytes: a bound, not what is used. Claims are looked up once and again while young.
const CACHE: usize = 16 * 1024 * 1024;
