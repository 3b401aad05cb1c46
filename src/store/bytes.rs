//! Fields of records as bytes: fixed widths, most significant byte first.

use ::bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::Error;

/// Reads fields off the front of a record; `None` where there is less than is asked for.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether everything was read.
    pub(super) const fn is_done(&self) -> bool {
        self.0.is_empty()
    }

    /// What is left.
    pub(super) const fn rest(&self) -> &'a [u8] {
        self.0
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    pub(super) fn bytes(&mut self) -> Option<Bytes> {
        let length = usize::from(self.u16()?);
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(Bytes::copy_from_slice(head))
    }

    pub(super) fn digest(&mut self) -> Option<Option<[u8; 32]>> {
        match self.u8()? {
            0 => Some(None),
            1 => self.array().map(Some),
            _ => None,
        }
    }
}

pub(super) fn put_digest(out: &mut Vec<u8>, digest: Option<[u8; 32]>) {
    match digest {
        None => out.push(0),
        Some(digest) => {
            out.push(1);
            out.extend(digest);
        }
    }
}

pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Error> {
    let length = u16::try_from(bytes.len()).ok().filter(|_| bytes.len() <= MAX_BYTES);
    let length = length.ok_or(Error::TooLarge { length: bytes.len(), max: MAX_BYTES })?;
    out.extend(length.to_be_bytes());
    out.extend(bytes);
    Ok(())
}

/// A checksum over a record and its key; not against an attacker, who could write the file anyway: against a bit that
/// flipped.
pub(super) fn checksum(key: &[u8; 32], body: &[u8]) -> [u8; 8] {
    let digest: [u8; 32] = Sha256::new().chain_update(key).chain_update(body).finalize().into();
    *digest.first_chunk().expect("32 bytes begin with 8")
}

/// The longest receipt or memo, in bytes.
pub(super) const MAX_BYTES: usize = 16 * 1024;
