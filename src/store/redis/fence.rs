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
    channel::Token,
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
pub(super) struct Fence {
    /// Rises with each change: a fence behind one that was seen was rolled back, and so was all that is stored beside it.
    version: u64,
    /// How often that was found out: then everybody reconciles again, even in the same epoch.
    generation: u64,
    members: BTreeMap<MemberId, Entry>,
}

/// What everybody has to reconcile with: an epoch, and how often the store was found to be rolled back in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Round {
    pub(super) epoch: Epoch,
    generation: u64,
}

impl Round {
    /// Whether the store was not found to be rolled back between this round and a later one.
    pub(super) const fn is_followed_by(self, later: Self) -> bool {
        self.generation == later.generation
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    name: String,
    /// Rises with each change of the state: of two, the higher is the later.
    turn: u64,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It had reconciled in this round, and this life of its process.
    Reconciled(Round, Token),
    /// It is waited for no more, since this instant: in milliseconds since 1970. Remembered, so that nobody who has seen
    /// it as a member takes it for one that was forgotten.
    Left(u64),
}

impl Fence {
    /// As it is to be taken by who has `seen` another one: with the members that this one forgot, if it is the older of
    /// the two, and in a new round then.
    pub(super) fn recall(&mut self, seen: &Self) {
        if self.version >= seen.version {
            return;
        }
        for (id, entry) in &seen.members {
            let stored = self.members.get(id);
            if stored.is_none_or(|stored| stored.turn < entry.turn) {
                self.members.insert(*id, entry.clone());
            }
        }
        self.version = seen.version.saturating_add(1);
        self.generation = self.generation.max(seen.generation).saturating_add(1);
    }

    /// The round of who has this fence on a server in `epoch`.
    pub(super) const fn round(&self, epoch: Epoch) -> Round {
        Round { epoch, generation: self.generation }
    }

    /// A member has reconciled in `round`, in this `life` of its process; it may be a new one.
    pub(super) fn reconciled(&mut self, id: MemberId, name: &str, round: Round, life: Token) {
        self.set(id, Some(shortened(name)), State::Reconciled(round, life));
    }

    /// In which life of its process a member has reconciled last.
    pub(super) fn life(&self, id: MemberId) -> Option<Token> {
        match self.members.get(&id)?.state {
            State::Reconciled(_, life) => Some(life),
            State::Left(_) => None,
        }
    }

    /// Waits for a member no more. Whether it was one.
    pub(super) fn leave(&mut self, id: MemberId, now: u64) -> bool {
        let state = self.members.get(&id).map(|entry| entry.state);
        if !matches!(state, Some(State::Reconciled(..))) {
            return false;
        }
        self.set(id, None, State::Left(now));
        let left = |(id, entry): (&MemberId, &Entry)| match entry.state {
            State::Left(at) => Some((at, *id)),
            State::Reconciled(..) => None,
        };
        let mut gone: Vec<_> = self.members.iter().filter_map(left).collect();
        gone.sort_unstable();
        let surplus = gone.len().saturating_sub(MOST_LEFT);
        for (_, id) in gone.into_iter().take(surplus) {
            self.members.remove(&id);
        }
        true
    }

    /// The members, and whether each has reconciled with a server in `epoch`.
    pub(super) fn members(&self, epoch: Epoch) -> impl Iterator<Item = Member> + '_ {
        let now = self.round(epoch);
        self.members.iter().filter_map(move |(id, entry)| match entry.state {
            State::Reconciled(round, _) => {
                Some(Member { id: *id, name: entry.name.clone(), is_reconciled: round == now })
            }
            State::Left(_) => None,
        })
    }

    fn set(&mut self, id: MemberId, name: Option<String>, state: State) {
        let before = self.members.get(&id);
        let turn = before.map_or(0, |entry| entry.turn).saturating_add(1);
        let name = name.or_else(|| before.map(|entry| entry.name.clone())).unwrap_or_default();
        if before.is_some_and(|entry| entry.state == state && entry.name == name) {
            return;
        }
        self.members.insert(id, Entry { name, turn, state });
        self.version = self.version.saturating_add(1);
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        let count = self.members.len();
        let too_many = Error::TooLarge { length: count, max: u16::MAX.into() };
        out.extend(self.version.to_be_bytes());
        out.extend(self.generation.to_be_bytes());
        out.extend(u16::try_from(count).map_err(|_| too_many)?.to_be_bytes());
        for (id, entry) in &self.members {
            out.extend(id.0);
            put_bytes(out, entry.name.as_bytes())?;
            out.extend(entry.turn.to_be_bytes());
            match entry.state {
                State::Reconciled(round, life) => {
                    out.push(MEMBER);
                    out.extend(round.epoch.0);
                    out.extend(round.generation.to_be_bytes());
                    out.extend(life.0);
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
        let (version, generation, count) = (reader.u64()?, reader.u64()?, reader.u16()?);
        let mut members = BTreeMap::new();
        for _ in 0..count {
            let id = MemberId(reader.array()?);
            let name = String::from_utf8(reader.bytes()?.to_vec()).ok()?;
            let turn = reader.u64()?;
            let state = match reader.u8()? {
                MEMBER => {
                    let (epoch, generation) = (Epoch(reader.array()?), reader.u64()?);
                    State::Reconciled(Round { epoch, generation }, Token(reader.array()?))
                }
                LEFT => State::Left(reader.u64()?),
                _ => return None,
            };
            members.insert(id, Entry { name, turn, state });
        }
        Some(Self { version, generation, members })
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
    const LIFE: Token = Token([7; 16]);

    fn id(number: u16) -> MemberId {
        let mut id = [0; 16];
        id[..2].copy_from_slice(&number.to_be_bytes());
        MemberId(id)
    }

    fn join(fence: &mut Fence, number: u16, epoch: Epoch) {
        let round = fence.round(epoch);
        fence.reconciled(id(number), "a", round, LIFE);
    }

    fn behind(fence: &Fence) -> Vec<MemberId> {
        fence.members(NOW).filter(|member| !member.is_reconciled).map(|member| member.id).collect()
    }

    #[test]
    fn a_member_is_waited_for_until_it_has_reconciled_or_left() {
        let mut fence = Fence::default();
        for number in 0..3 {
            join(&mut fence, number, BEFORE);
        }
        join(&mut fence, 0, NOW);
        assert_eq!(behind(&fence), [id(1), id(2)]);
        assert!(fence.leave(id(1), 5));
        assert!(!fence.leave(id(1), 6));
        assert!(!fence.leave(id(7), 6));
        assert_eq!(behind(&fence), [id(2)]);
        join(&mut fence, 2, NOW);
        assert_eq!(behind(&fence), []);
        // It may come back; and what is so already changes nothing.
        join(&mut fence, 1, NOW);
        assert_eq!(fence.members(NOW).count(), 3);
        let before = fence.clone();
        join(&mut fence, 1, NOW);
        fence.recall(&before);
        assert_eq!(fence, before);
    }

    #[test]
    fn a_fence_that_was_rolled_back_is_told_of_its_members_and_all_reconcile_again() {
        let mut old = Fence::default();
        for number in 0..4 {
            join(&mut old, number, NOW);
        }
        old.leave(id(1), 5);
        old.leave(id(3), 5);
        let mut seen = old.clone();
        // Since then one has come, one has come back, and one has left.
        join(&mut seen, 5, NOW);
        join(&mut seen, 1, NOW);
        seen.leave(id(2), 6);
        old.recall(&seen);
        assert_eq!(behind(&old), [id(0), id(1), id(5)]);
        for number in [0, 1, 5] {
            join(&mut old, number, NOW);
        }
        assert_eq!(behind(&old), []);
        // Another that had seen as much finds nothing new, and one that had seen less does not either.
        let before = old.clone();
        old.recall(&seen);
        old.recall(&Fence::default());
        assert_eq!(old, before);
    }

    #[test]
    fn an_epoch_that_comes_back_is_another_round() {
        let mut first = Fence::default();
        join(&mut first, 0, NOW);
        join(&mut first, 1, NOW);
        let mut second = first.clone();
        join(&mut second, 0, BEFORE);
        join(&mut second, 1, BEFORE);
        // The first server is back as it was, without what the second one has had.
        first.recall(&second);
        assert_eq!(behind(&first), [id(0), id(1)]);
    }

    #[test]
    fn a_fence_reads_as_it_was_written() {
        let mut fence = Fence::default();
        fence.reconciled(id(1), "a\nb", fence.round(NOW), LIFE);
        fence.reconciled(id(2), &"x".repeat(500), fence.round(BEFORE), LIFE);
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
            join(&mut fence, number, NOW);
            fence.leave(id(number), number.into());
        }
        assert_eq!(fence.members.len(), MOST_LEFT);
        assert!(fence.members.contains_key(&id(999)));
    }
}
