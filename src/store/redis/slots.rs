//! Where keys are in a cluster: each hash tag is in one of 16,384 slots, and each slot belongs to one primary.
//!
//! Source: the Redis Cluster specification, "Key distribution model" and "Hash tags".

use std::{fmt, ops::RangeInclusive, sync::Arc};

use crc16::{State, XMODEM};
use sha2::{Digest as _, Sha256};

/// The slot of a hash tag, or of a key without one.
pub(super) fn slot_of(tag: &str) -> u16 {
    State::<XMODEM>::calculate(tag.as_bytes()) % COUNT
}

/// The slots of one primary: ranges in order, none of which touch.
#[derive(Clone, PartialEq, Eq, Default)]
pub(super) struct Slots(Vec<RangeInclusive<u16>>);

impl Slots {
    /// The slots of `ranges`, in whatever order they come.
    pub(super) fn new(ranges: impl IntoIterator<Item = RangeInclusive<u16>>) -> Self {
        let mut ranges: Vec<_> = ranges.into_iter().filter(|range| !range.is_empty()).collect();
        ranges.sort_unstable_by_key(|range| *range.start());
        let mut joined: Vec<RangeInclusive<u16>> = Vec::new();
        for range in ranges {
            match joined.last_mut() {
                Some(last) if *range.start() <= last.end().saturating_add(1) => {
                    *last = *last.start()..=*last.end().max(range.end());
                }
                _ => joined.push(range),
            }
        }
        Self(joined)
    }

    pub(super) fn all() -> Self {
        Self(vec![0..=COUNT - 1])
    }

    pub(super) fn contains(&self, slot: u16) -> bool {
        let before = self.0.partition_point(|range| *range.end() < slot);
        self.0.get(before).is_some_and(|range| range.contains(&slot))
    }

    /// The lowest one.
    pub(super) fn first(&self) -> Option<u16> {
        self.0.first().map(|range| *range.start())
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.0.iter().map(ExactSizeIterator::len).sum()
    }

    /// A fingerprint: other slots have another.
    pub(super) fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        for range in &self.0 {
            digest.update(range.start().to_be_bytes());
            digest.update(range.end().to_be_bytes());
        }
        digest.finalize().into()
    }
}

impl fmt::Debug for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.0).finish()
    }
}

/// What one primary has of a store: all of it, or some slots of a cluster.
#[derive(Clone, Debug)]
pub(super) struct Shard {
    prefix: Arc<str>,
    /// A hash tag whose slot the primary has, for what is written of the shard as a whole.
    tag: Arc<str>,
    /// `None` where there is no cluster.
    pub(super) slots: Option<Arc<Slots>>,
}

impl Shard {
    /// All of a store whose keys begin with `prefix`.
    pub(super) fn whole(prefix: &str) -> Self {
        Self { prefix: prefix.into(), tag: CLAIMS.into(), slots: None }
    }

    /// Its part in `slots`.
    pub(super) fn part(prefix: &str, slots: Slots) -> Self {
        let first = slots.first().unwrap_or_default();
        // Some number is in each slot: on average every 16,384th.
        let numbers = (0_u32..).map(|number| number.to_string());
        let tag = numbers.into_iter().find(|number| slot_of(number) == first);
        let tag = tag.unwrap_or_default().into();
        Self { prefix: prefix.into(), tag, slots: Some(Arc::new(slots)) }
    }

    /// The name of a key of the shard itself.
    pub(super) fn key(&self, name: &str) -> String {
        let Self { prefix, tag, .. } = self;
        format!("{prefix}{{{tag}}}:{name}")
    }
}

/// The hash tag of claims, secrets, and of who shares the store.
pub(super) const CLAIMS: &str = "claims";

/// The hash tag of the index of channels.
pub(super) const CHANNELS: &str = "channels";

/// Slots in a cluster.
pub(super) const COUNT: u16 = 16_384;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_in_the_slot_that_the_specification_says() {
        // The vector of the specification's appendix, and what a server answers to `CLUSTER KEYSLOT`.
        assert_eq!(State::<XMODEM>::calculate(b"123456789"), 0x31c3);
        assert_eq!(slot_of("123456789"), 0x31c3);
        assert_eq!(slot_of("foo"), 12_182);
    }

    #[test]
    fn slots_are_what_their_ranges_hold() {
        let slots = Slots::new([7..=9, 0..=2, 3..=3, 8..=12, 100..=100]);
        assert_eq!(slots, Slots(vec![0..=3, 7..=12, 100..=100]));
        assert_eq!((slots.first(), slots.count()), (Some(0), 11));
        for slot in 0..COUNT {
            let is_in = slot <= 3 || (7..=12).contains(&slot) || slot == 100;
            assert_eq!(slots.contains(slot), is_in, "{slot}");
        }
        assert_ne!(slots.digest(), Slots::new([0..=3, 7..=12]).digest());
        assert_eq!(Slots::all().count(), usize::from(COUNT));
    }

    #[test]
    fn a_shard_writes_of_itself_where_its_primary_is() {
        for first in [0, 1, 5_461, 16_383] {
            let shard = Shard::part("gw:", Slots::new([first..=COUNT - 1]));
            let key = shard.key("beat");
            let tag = key.strip_prefix("gw:{").unwrap().strip_suffix("}:beat").unwrap();
            assert_eq!(slot_of(tag), first);
        }
        assert_eq!(Shard::whole("gw:").key("beat"), "gw:{claims}:beat");
    }
}
