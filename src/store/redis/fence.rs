//! The fence before the accounts: which gateways share the store, and in which epoch each of them has reconciled it with
//! its journal.
//!
//! A new epoch may lack what another one acknowledged. So nobody takes a payment from a channel in it until every member
//! has raised the accounts to what its own journal remembers. A value and its pure steps; knows no server.

use std::{collections::BTreeMap, fmt, str::FromStr};

use super::promise::Epoch;
use crate::store::{
    Error,
    bytes::{Reader, put_bytes},
};

/// Names a gateway by its journal: random bits, drawn when the journal is made.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub [u8; 16]);

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl FromStr for MemberId {
    type Err = hex::FromHexError;

    /// 32 hexadecimal digits.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut id = [0; 16];
        hex::decode_to_slice(text, &mut id)?;
        Ok(Self(id))
    }
}

impl fmt::Debug for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemberId({self})")
    }
}

/// A gateway that shares the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Whose journal it is.
    pub id: MemberId,
    /// What the gateway's machine is called.
    pub name: String,
    /// Whether it has reconciled the store as it is now with its journal; paid channels wait for those that have not.
    pub is_reconciled: bool,
}

/// All members, and those that have left.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(super) struct Fence(BTreeMap<MemberId, Entry>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    name: String,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It had reconciled at this epoch.
    Reconciled(Epoch),
    /// It is waited for no more, since this instant: in milliseconds since 1970. Remembered, so that nobody who has seen
    /// it as a member takes it for one that was forgotten.
    Left(u64),
}

impl Fence {
    /// A member has reconciled at `epoch`; it may be a new one.
    pub(super) fn reconciled(&mut self, id: MemberId, name: &str, epoch: Epoch) {
        let state = State::Reconciled(epoch);
        self.0.insert(id, Entry { name: shortened(name), state });
    }

    /// Adds the members that `seen` has and this one knows nothing of: it is older than that, and so is all that is
    /// stored beside it.
    pub(super) fn recall(&mut self, seen: &Self) {
        for (id, entry) in &seen.0 {
            self.0.entry(*id).or_insert_with(|| entry.clone());
        }
    }

    /// Waits for a member no more. Whether it was one.
    pub(super) fn leave(&mut self, id: MemberId, now: u64) -> bool {
        let Some(Entry { state, .. }) = self.0.get_mut(&id) else { return false };
        let was_member = matches!(state, State::Reconciled(_));
        if was_member {
            *state = State::Left(now);
        }
        let left = |(id, entry): (&MemberId, &Entry)| match entry.state {
            State::Left(at) => Some((at, *id)),
            State::Reconciled(_) => None,
        };
        let mut gone: Vec<_> = self.0.iter().filter_map(left).collect();
        gone.sort_unstable();
        let surplus = gone.len().saturating_sub(MOST_LEFT);
        for (_, id) in gone.into_iter().take(surplus) {
            self.0.remove(&id);
        }
        was_member
    }

    /// The members, and whether each has reconciled at `epoch`.
    pub(super) fn members(&self, epoch: Epoch) -> impl Iterator<Item = Member> + '_ {
        self.0.iter().filter_map(move |(id, entry)| match entry.state {
            State::Reconciled(at) => {
                Some(Member { id: *id, name: entry.name.clone(), is_reconciled: at == epoch })
            }
            State::Left(_) => None,
        })
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        let too_many = Error::TooLarge { length: self.0.len(), max: u16::MAX.into() };
        out.extend(u16::try_from(self.0.len()).map_err(|_| too_many)?.to_be_bytes());
        for (id, entry) in &self.0 {
            out.extend(id.0);
            put_bytes(out, entry.name.as_bytes())?;
            match entry.state {
                State::Reconciled(epoch) => {
                    out.push(MEMBER);
                    out.extend(epoch.0);
                }
                State::Left(at) => {
                    out.push(LEFT);
                    out.extend(at.to_be_bytes());
                }
            }
        }
        Ok(())
    }

    /// `None` if it does not read.
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let count = reader.u16()?;
        let mut members = BTreeMap::new();
        for _ in 0..count {
            let id = MemberId(reader.array()?);
            let name = String::from_utf8(reader.bytes()?.to_vec()).ok()?;
            let state = match reader.u8()? {
                MEMBER => State::Reconciled(Epoch(reader.array()?)),
                LEFT => State::Left(reader.u64()?),
                _ => return None,
            };
            members.insert(id, Entry { name, state });
        }
        Some(Self(members))
    }
}

fn shortened(name: &str) -> String {
    name.chars().filter(|char| !char.is_control()).take(MOST_NAME).collect()
}

/// Members remembered that have left.
const MOST_LEFT: usize = 256;

/// The longest name, in characters.
const MOST_NAME: usize = 64;

const MEMBER: u8 = 1;
const LEFT: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Epoch = Epoch([9; 16]);
    const BEFORE: Epoch = Epoch([8; 16]);

    fn id(number: u16) -> MemberId {
        let mut id = [0; 16];
        id[..2].copy_from_slice(&number.to_be_bytes());
        MemberId(id)
    }

    fn behind(fence: &Fence) -> Vec<MemberId> {
        fence.members(NOW).filter(|member| !member.is_reconciled).map(|member| member.id).collect()
    }

    #[test]
    fn a_member_is_waited_for_until_it_has_reconciled_or_left() {
        let mut fence = Fence::default();
        for number in 0..3 {
            fence.reconciled(id(number), "a", BEFORE);
        }
        fence.reconciled(id(0), "a", NOW);
        assert_eq!(behind(&fence), [id(1), id(2)]);
        assert!(fence.leave(id(1), 5));
        assert!(!fence.leave(id(1), 6));
        assert!(!fence.leave(id(7), 6));
        assert_eq!(behind(&fence), [id(2)]);
        fence.reconciled(id(2), "a", NOW);
        assert_eq!(behind(&fence), []);
        // It may come back.
        fence.reconciled(id(1), "a", NOW);
        assert_eq!(fence.members(NOW).count(), 3);
    }

    #[test]
    fn a_fence_that_lost_a_member_is_told_of_it_and_one_that_left_stays_away() {
        let mut old = Fence::default();
        old.reconciled(id(0), "a", BEFORE);
        old.reconciled(id(1), "b", BEFORE);
        let mut seen = old.clone();
        seen.reconciled(id(2), "c", BEFORE);
        old.leave(id(1), 5);
        old.recall(&seen);
        assert_eq!(behind(&old), [id(0), id(2)]);
    }

    #[test]
    fn a_fence_reads_as_it_was_written() {
        let mut fence = Fence::default();
        fence.reconciled(id(1), "a\nb", NOW);
        fence.reconciled(id(2), &"x".repeat(500), BEFORE);
        fence.leave(id(2), 77);
        let mut bytes = Vec::new();
        fence.encode(&mut bytes).unwrap();
        assert_eq!(Fence::read(&mut Reader::new(&bytes)), Some(fence));
        for length in 0..bytes.len() {
            assert_eq!(Fence::read(&mut Reader::new(&bytes[..length])), None, "{length}");
        }
    }

    #[test]
    fn those_that_left_are_not_remembered_for_ever() {
        let mut fence = Fence::default();
        for number in 0..1_000 {
            fence.reconciled(id(number), "a", NOW);
            fence.leave(id(number), number.into());
        }
        assert_eq!(fence.0.len(), MOST_LEFT);
        assert!(fence.0.contains_key(&id(999)));
    }
}
