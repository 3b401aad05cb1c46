//! A record as a value in Redis: its revision, the revisions before it, and its bytes.
//!
//! A value begins with 16 random bytes that are drawn for each write: whoever has read it may replace it if they are still
//! the same, and nothing else of it means anything to a script. The last revisions before them tell a writer that lost
//! its answer whether its write was carried out, even if others have written since.

use sha2::{Digest as _, Sha256};

use super::{
    record::{self, Record},
    slots::{CLAIMS, slot_of},
};
use crate::{
    protocol::stellar::ContractId,
    store::{ClaimKey, Error, channel::Token},
};

/// What a record is of, and where it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Key {
    Claim(ClaimKey),
    /// Whose an alias is.
    Alias(ClaimKey),
    Secret(&'static str),
    Account(ContractId),
    /// Who shares the store.
    Fence,
}

/// Drawn anew for each write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Revision(pub(super) [u8; 16]);

/// A record as it was read or written.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Its revision, then those before it, then its first one; at most [`LINEAGE`] in all.
    lineage: Vec<Revision>,
    /// One that does not read fails whoever asks for it, and nobody else.
    pub(super) record: Result<Record, Error>,
}

/// What became of a write whose answer was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Applied,
    NotApplied,
    /// So many have written since that nobody remembers.
    Unknown,
}

impl Key {
    /// Its name in Redis: one hash tag for all claims, and one for each channel.
    pub(super) fn name(self, prefix: &str) -> String {
        match self {
            Self::Claim(key) => format!("{prefix}{{{CLAIMS}}}:claim:{}", hex::encode(key.0)),
            Self::Alias(key) => format!("{prefix}{{{CLAIMS}}}:alias:{}", hex::encode(key.0)),
            Self::Secret(name) => format!("{prefix}{{{CLAIMS}}}:secret:{name}"),
            Self::Account(channel) => format!("{prefix}{{{channel}}}:account"),
            Self::Fence => format!("{prefix}{{{CLAIMS}}}:fence"),
        }
    }

    /// The slot of a cluster that it is in.
    pub(super) fn slot(self) -> u16 {
        match self {
            Self::Account(channel) => slot_of(&channel.to_string()),
            Self::Claim(_) | Self::Alias(_) | Self::Secret(_) | Self::Fence => slot_of(CLAIMS),
        }
    }

    /// What a checksum binds the record to.
    pub(super) fn digest(self) -> [u8; 32] {
        Sha256::digest(self.name("")).into()
    }
}

impl Revision {
    pub(super) fn draw() -> Self {
        let Token(bits) = Token::draw();
        Self(bits)
    }
}

impl Entry {
    /// The first write of a record, or the next one.
    pub(super) fn next(revision: Revision, before: Option<&Self>, record: Record) -> Self {
        let mut lineage = vec![revision];
        lineage.extend(before.iter().flat_map(|entry| &entry.lineage));
        if lineage.len() > LINEAGE {
            // The last one stays: it is the first that the record had.
            lineage.remove(LINEAGE.saturating_sub(1));
        }
        Self { lineage, record: Ok(record) }
    }

    pub(super) fn revision(&self) -> Option<Revision> {
        self.lineage.first().copied()
    }

    /// Reads the value of `key`.
    pub(super) fn decode(key: Key, bytes: &[u8]) -> Self {
        let Some((lineage, body)) = split(bytes) else {
            // Whatever stands there, nothing overwrites it.
            let revision = bytes.first_chunk().map(|bits| Revision(*bits));
            let record = Err(match bytes.get(16) {
                Some(&found) if found != FORMAT => Error::UnknownFormat { found, known: FORMAT },
                _ => corrupt(key),
            });
            return Self { lineage: revision.into_iter().collect(), record };
        };
        Self { lineage, record: record::decode(key, body) }
    }

    /// The value to be stored.
    ///
    /// # Errors
    /// [`Error::TooLarge`], or that of a record that did not read.
    pub(super) fn encode(&self, key: Key) -> Result<Vec<u8>, Error> {
        let record = self.record.as_ref().map_err(Clone::clone)?;
        let (first, rest) = self.lineage.split_first().ok_or_else(|| corrupt(key))?;
        let mut out = Vec::with_capacity(512);
        out.extend(first.0);
        out.push(FORMAT);
        out.push(u8::try_from(rest.len()).map_err(|_| corrupt(key))?);
        for revision in rest {
            out.extend(revision.0);
        }
        record::encode(key, record, &mut out)?;
        Ok(out)
    }

    /// What became of the write `attempt`, which expected `expected`, now that this is stored.
    pub(super) fn fate(&self, attempt: Revision, expected: Option<Revision>) -> Fate {
        // The first revision stands apart from the others once some between are forgotten.
        let is_whole = self.lineage.len() < LINEAGE;
        let last = self.lineage.get(..LINEAGE.saturating_sub(1)).unwrap_or(&self.lineage);
        match expected {
            _ if self.lineage.contains(&attempt) => Fate::Applied,
            // It would have been the first one.
            None => Fate::NotApplied,
            Some(expected) if is_whole || last.contains(&expected) => Fate::NotApplied,
            Some(_) => Fate::Unknown,
        }
    }
}

fn split(bytes: &[u8]) -> Option<(Vec<Revision>, &[u8])> {
    let (revision, rest) = bytes.split_first_chunk()?;
    let (&format, rest) = rest.split_first()?;
    let (&count, mut rest) = rest.split_first()?;
    if format != FORMAT || usize::from(count) >= LINEAGE {
        return None;
    }
    let mut lineage = vec![Revision(*revision)];
    for _ in 0..count {
        let (revision, after) = rest.split_first_chunk()?;
        lineage.push(Revision(*revision));
        rest = after;
    }
    Some((lineage, rest))
}

pub(super) fn corrupt(key: Key) -> Error {
    Error::Corrupt { what: format!("the record of {key:?} does not read").into() }
}

/// The format of a value; the record in it has its own.
const FORMAT: u8 = 1;

/// Revisions that a value remembers, its own included: more than others write while one connects anew.
const LINEAGE: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = Key::Alias(ClaimKey([1; 32]));

    fn written(times: u8) -> Entry {
        let mut entry = None;
        for n in 0..times {
            let record = Record::Alias(ClaimKey([n; 32]));
            entry = Some(Entry::next(Revision([n; 16]), entry.as_ref(), record));
        }
        entry.unwrap()
    }

    #[test]
    fn an_entry_reads_as_it_was_written() {
        for times in [1, 2, 32, 90] {
            let entry = written(times);
            let found = Entry::decode(KEY, &entry.encode(KEY).unwrap());
            assert_eq!(found.lineage, entry.lineage);
            let owner = [times - 1; 32];
            assert!(matches!(found.record, Ok(Record::Alias(found)) if found.0 == owner));
        }
    }

    #[test]
    fn what_does_not_read_is_a_fault_and_keeps_its_revision() {
        let bytes = written(3).encode(KEY).unwrap();
        for cut in 0..bytes.len() {
            let found = Entry::decode(KEY, &bytes[..cut]);
            assert!(found.record.is_err(), "{cut}");
            assert_eq!(found.revision(), (cut >= 16).then_some(Revision([2; 16])));
        }
        for place in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[place] ^= 1;
            let found = Entry::decode(KEY, &damaged);
            let is_lineage = place < 16 || (18..18 + 2 * 16).contains(&place);
            assert_eq!(found.record.is_err(), !is_lineage, "{place}");
        }
        let mut newer = bytes;
        newer[16] = FORMAT + 1;
        let found = Entry::decode(KEY, &newer).record;
        assert!(matches!(found, Err(Error::UnknownFormat { found: 2, known: 1 })), "{found:?}");
        let moved = Entry::decode(Key::Alias(ClaimKey([2; 32])), &written(1).encode(KEY).unwrap());
        assert!(matches!(moved.record, Err(Error::Corrupt { .. })), "{moved:?}");
    }

    #[test]
    fn a_writer_finds_out_what_became_of_its_write() {
        let (lost, before) = (Revision([3; 16]), Some(Revision([2; 16])));
        // The first one and the last ones are remembered.
        let last = u8::try_from(LINEAGE - 1).unwrap();
        // Applied, and then others wrote.
        assert_eq!(written(4).fate(lost, before), Fate::Applied);
        assert_eq!(written(3 + last).fate(lost, before), Fate::Applied);
        assert_eq!(written(4 + last).fate(lost, before), Fate::Unknown);
        // Others wrote instead.
        let other = Revision([99; 16]);
        assert_eq!(written(4).fate(other, before), Fate::NotApplied);
        assert_eq!(written(2 + last).fate(other, before), Fate::NotApplied);
        assert_eq!(written(3 + last).fate(other, before), Fate::Unknown);
        // There was nothing before, or so the writer believed.
        let first = Revision([0; 16]);
        for times in [1, 7, last, last + 1, 90] {
            assert_eq!(written(times).fate(first, None), Fate::Applied);
            assert_eq!(written(times).fate(other, None), Fate::NotApplied);
        }
        // The first one is no witness for what came after it.
        let second = Revision([1; 16]);
        assert_eq!(written(7).fate(second, Some(first)), Fate::Applied);
        assert_eq!(written(90).fate(second, Some(first)), Fate::Unknown);
    }
}
