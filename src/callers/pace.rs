//! How often somebody asks: so many a second of each, in memory that does not grow with how many there are.
//!
//! A sketch instead of a table: each caller has a cell in each of a few rows, by a hash that nobody outside knows, and the cell
//! that says least of it counts. Two callers share a pace only if they meet in every row, so a flood of addresses costs the
//! others next to nothing, and never any memory.
//! Source: the generic cell rate algorithm (ITU-T I.371), in a count-min sketch with conservative update.

use std::{
    hash::{BuildHasher as _, Hash, RandomState},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::Rate;

/// The paces of all callers of one kind. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Paces(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    hasher: RandomState,
    shards: Vec<Mutex<Vec<u64>>>,
}

impl Default for Paces {
    fn default() -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::new(vec![0; ROWS * CELLS])).collect();
        Self(Arc::new(Shared { hasher: RandomState::new(), shards }))
    }
}

impl Paces {
    /// Counts one of `caller` at `now_ms`; how long to wait if that is one too many, which is not counted then.
    pub(super) fn step(&self, rate: &Rate, caller: impl Hash, now_ms: u64) -> Result<(), Duration> {
        self.judge(rate, caller, now_ms, true)
    }

    /// Whether one of `caller` could be counted at `now_ms`; how long to wait if not. Counts nothing.
    pub(super) fn look(&self, rate: &Rate, caller: impl Hash, now_ms: u64) -> Result<(), Duration> {
        self.judge(rate, caller, now_ms, false)
    }

    fn judge(
        &self,
        rate: &Rate,
        caller: impl Hash,
        now_ms: u64,
        counts: bool,
    ) -> Result<(), Duration> {
        let hash = self.0.hasher.hash_one((&rate.scope, caller));
        // Other bits for each choice: 4 for the shard, then 10 for the place in each row.
        let choose = |bits: u32, among: usize| {
            let bits = hash.checked_shr(bits).unwrap_or_default();
            usize::try_from(bits).unwrap_or_default().checked_rem(among).unwrap_or_default()
        };
        let Some(shard) = self.0.shards.get(choose(0, SHARDS)) else { return Ok(()) };
        let mut cells = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let places = [
            choose(4, CELLS),
            choose(14, CELLS).saturating_add(CELLS),
            choose(24, CELLS).saturating_add(2 * CELLS),
            choose(34, CELLS).saturating_add(3 * CELLS),
        ];
        let now = now_ms.saturating_mul(1_000);
        let each = SECOND.div_euclid(u64::from(rate.per_second.get())).max(1);
        let least = places.iter().filter_map(|place| cells.get(*place)).min();
        let due = least.copied().unwrap_or_default().max(now);
        let ahead = due.saturating_sub(now);
        // Nobody is ever further ahead than this, unless the clock was set back.
        let (due, ahead) = if ahead > 2 * SECOND { (now, 0) } else { (due, ahead) };
        let spare = SECOND.saturating_sub(each);
        if ahead > spare {
            return Err(Duration::from_micros(ahead.saturating_sub(spare)));
        }
        if !counts {
            return Ok(());
        }
        let next = due.saturating_add(each);
        for place in places {
            if let Some(cell) = cells.get_mut(place) {
                *cell = if cell.saturating_sub(now) > 2 * SECOND { next } else { next.max(*cell) };
            }
        }
        Ok(())
    }
}

/// In microseconds.
const SECOND: u64 = 1_000_000;
/// 16 × 4 × 1024 cells of 8 bytes: half a MiB, of which a machine keeps what was touched.
const SHARDS: usize = 16;
const ROWS: usize = 4;
const CELLS: usize = 1_024;

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn rate(per_second: u32, scope: &str) -> Rate {
        Rate { per_second: NonZeroU32::new(per_second).unwrap(), scope: scope.into() }
    }

    #[test]
    fn so_many_a_second_and_as_many_at_once() {
        let (paces, rate) = (Paces::default(), rate(4, ""));
        let steps = |at, count| (0..count).filter(|_| paces.step(&rate, "a", at).is_ok()).count();
        assert_eq!(steps(10_000, 10), 4);
        assert_eq!(paces.step(&rate, "a", 10_000), Err(Duration::from_millis(250)));
        assert_eq!(steps(10_249, 1), 0);
        assert_eq!(steps(10_250, 10), 1);
        assert_eq!(steps(10_750, 10), 2);
        assert_eq!(steps(60_000, 10), 4);
    }

    #[test]
    fn to_look_counts_nothing_and_says_what_a_step_would() {
        let (paces, rate) = (Paces::default(), rate(2, ""));
        for _ in 0..10 {
            assert_eq!(paces.look(&rate, "a", 5_000), Ok(()));
        }
        assert!(paces.step(&rate, "a", 5_000).is_ok() && paces.step(&rate, "a", 5_000).is_ok());
        assert_eq!(paces.look(&rate, "a", 5_000), paces.step(&rate, "a", 5_000));
        assert_eq!(paces.look(&rate, "a", 5_000), Err(Duration::from_millis(500)));
        assert_eq!(paces.look(&rate, "a", 5_500), Ok(()));
    }

    #[test]
    fn each_caller_and_each_scope_has_a_pace_of_its_own() {
        let paces = Paces::default();
        let (shared, own) = (rate(1, ""), rate(1, "own"));
        for (rate, caller, is_good) in [
            (&shared, "a", true),
            (&shared, "a", false),
            (&shared, "b", true),
            (&own, "a", true),
            (&own, "a", false),
        ] {
            assert_eq!(paces.step(rate, caller, 5_000).is_ok(), is_good, "{rate:?} {caller}");
        }
    }

    #[test]
    fn a_flood_of_callers_takes_no_memory_and_hardly_anybodys_turn() {
        let (paces, rate) = (Paces::default(), rate(1, ""));
        for caller in 0..2_000 {
            let _counted = paces.step(&rate, caller, 5_000);
        }
        let late = (10_000..11_000).filter(|caller| paces.step(&rate, caller, 5_000).is_err());
        assert!(late.count() < 20, "of a thousand");
    }

    #[test]
    fn a_clock_that_is_set_back_shuts_nobody_out() {
        let (paces, rate) = (Paces::default(), rate(1, ""));
        assert!(paces.step(&rate, "a", 9_000_000).is_ok());
        assert!(paces.step(&rate, "a", 1_000_000).is_ok());
        assert!(paces.step(&rate, "a", 1_000_000).is_err());
        assert!(paces.step(&rate, "a", 1_001_000).is_ok());
    }
}
