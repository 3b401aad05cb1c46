//! Reads the files of a configuration whole: regular ones, and none that is larger than a gateway's can be.
//!
//! What is no regular file is not opened: who reads a pipe waits for whoever writes it, and nobody may.

use std::{
    fs,
    io::{self, ErrorKind, Read as _},
    path::Path,
};

/// The content of the file at `path`.
///
/// # Errors
/// The system's; [`ErrorKind::InvalidInput`] if it is a pipe or a device, [`ErrorKind::FileTooLarge`] if it has more than
/// [`MAX_FILE_BYTES`].
pub(super) fn read_capped(path: &Path) -> io::Result<Vec<u8>> {
    let kind = fs::metadata(path)?.file_type();
    // Of a folder the system says so itself.
    if !kind.is_file() && !kind.is_dir() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is no regular file"));
    }
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(MAX_FILE_BYTES.saturating_add(1)).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= MAX_FILE_BYTES) {
        return Ok(bytes);
    }
    let what = format!("it is larger than {} KiB", MAX_FILE_BYTES >> 10);
    Err(io::Error::new(ErrorKind::FileTooLarge, what))
}

/// More than ten thousand routes need.
pub(super) const MAX_FILE_BYTES: u64 = 1 << 20;
