//! What callers have for nothing: how much of it each has used in its period.
//!
//! A table with an end. Who finds no room in it has nothing for nothing: the price applies.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, Hash, RandomState},
    sync::{Arc, Mutex, PoisonError},
};

use super::Quota;

/// One request that a caller had for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    caller: u64,
    /// Of which period.
    ends_at: u64,
}

/// What everybody has used. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Quotas(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    hasher: RandomState,
    most: usize,
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    /// By a hash that nobody outside knows: two callers that meet share one quota, to nobody's gain.
    used: HashMap<u64, Used>,
    /// When room was last made.
    swept_at: u64,
}

#[derive(Clone, Copy, Debug)]
struct Used {
    /// When the period is over, in seconds since 1970.
    ends_at: u64,
    count: u32,
}

impl Default for Quotas {
    fn default() -> Self {
        Self::with_room(MOST)
    }
}

impl Quotas {
    fn with_room(most: usize) -> Self {
        let book = Mutex::default();
        Self(Arc::new(Shared { hasher: RandomState::new(), most, book }))
    }

    /// Takes one request of `caller`, if it has one left at `now`.
    pub(super) fn take(&self, quota: &Quota, caller: impl Hash, now: u64) -> Option<Taken> {
        let shared = &self.0;
        let caller = shared.hasher.hash_one((&quota.scope, caller));
        let mut book = shared.book.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = Used { ends_at: now.saturating_add(quota.per.as_secs().max(1)), count: 1 };
        if let Some(used) = book.used.get_mut(&caller) {
            if used.ends_at <= now {
                *used = fresh;
                return Some(Taken { caller, ends_at: fresh.ends_at });
            }
            let has_more = used.count < quota.requests.get();
            used.count = used.count.saturating_add(u32::from(has_more));
            return has_more.then_some(Taken { caller, ends_at: used.ends_at });
        }
        if book.used.len() >= shared.most {
            book.make_room(now);
        }
        let has_room = book.used.len() < shared.most;
        if has_room {
            book.used.insert(caller, fresh);
        }
        has_room.then_some(Taken { caller, ends_at: fresh.ends_at })
    }

    /// Gives back what was taken, in the period that it was taken in.
    pub(super) fn give_back(&self, taken: Taken) {
        let mut book = self.0.book.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(used) = book.used.get_mut(&taken.caller)
            && used.ends_at == taken.ends_at
        {
            used.count = used.count.saturating_sub(1);
        }
    }
}

impl Book {
    /// Forgets those whose period is over; not again and again, since that takes time.
    fn make_room(&mut self, now: u64) {
        if now.abs_diff(self.swept_at) >= SWEEP_SECONDS {
            self.swept_at = now;
            self.used.retain(|_, used| used.ends_at > now);
        }
    }
}

/// Some 8 MiB.
const MOST: usize = 1 << 18;
const SWEEP_SECONDS: u64 = 10;

#[cfg(test)]
mod tests {
    use std::{num::NonZeroU32, thread, time::Duration};

    use super::*;

    fn quota(requests: u32, scope: &str) -> Quota {
        let (requests, per) = (NonZeroU32::new(requests).unwrap(), Duration::from_secs(60));
        Quota { requests, per, keys: None, scope: scope.into() }
    }

    #[test]
    fn a_caller_has_so_many_in_each_period_which_begins_with_its_first() {
        let (quotas, three) = (Quotas::default(), quota(3, ""));
        let taken = |at| (0..10).filter(|_| quotas.take(&three, "a", at).is_some()).count();
        assert_eq!((taken(1_000), taken(1_059), taken(1_060), taken(1_119)), (3, 0, 3, 0));
        assert!(quotas.take(&three, "b", 1_119).is_some(), "another caller");
        assert!(quotas.take(&quota(3, "other"), "a", 1_119).is_some(), "another scope");
    }

    #[test]
    fn what_is_given_back_may_be_taken_again_in_its_period_alone() {
        let (quotas, one) = (Quotas::default(), quota(1, ""));
        let first = quotas.take(&one, "a", 1_000).unwrap();
        assert_eq!(quotas.take(&one, "a", 1_001), None);
        quotas.give_back(first);
        let again = quotas.take(&one, "a", 1_002).unwrap();
        assert_eq!((again, quotas.take(&one, "a", 1_002)), (first, None));
        let next = quotas.take(&one, "a", 1_060).unwrap();
        quotas.give_back(again);
        assert_eq!(quotas.take(&one, "a", 1_061), None);
        assert_ne!(next, again);
    }

    #[test]
    fn where_there_is_no_room_nothing_is_free_until_there_is() {
        let (quotas, one) = (Quotas::with_room(2), quota(5, ""));
        let takes = |caller: &str, at| quotas.take(&one, caller, at).is_some();
        assert!(takes("a", 1_000) && takes("b", 1_030));
        assert!(!takes("c", 1_030));
        assert!(takes("a", 1_030), "who is known has the rest");
        // The first one's period is over.
        assert!(takes("c", 1_060));
        assert!(!takes("d", 1_060));
    }

    #[test]
    fn callers_that_ask_at_once_get_no_more_than_their_quota() {
        let (quotas, hundred) = (Quotas::default(), quota(100, ""));
        let taken: usize = thread::scope(|scope| {
            let takers = (0..4).map(|_| {
                scope.spawn(|| {
                    (0..200).filter(|_| quotas.take(&hundred, "a", 1_000).is_some()).count()
                })
            });
            takers.collect::<Vec<_>>().into_iter().map(|taker| taker.join().unwrap()).sum()
        });
        assert_eq!(taken, 100);
    }
}
