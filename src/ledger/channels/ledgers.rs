//! When the gateway heard of each ledger first: how old a state of the ledger is, whatever the clocks say.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// The last ledgers that were heard of.
#[derive(Debug, Default)]
pub(super) struct Ledgers {
    /// Ascending, in sequence and in time.
    heard: VecDeque<(u32, Instant)>,
}

impl Ledgers {
    /// Hears of a ledger from a server that was asked at `asked`. One that is known already keeps its time: a server that
    /// goes on telling of the same ledger does not make it younger.
    pub(super) fn hear(&mut self, sequence: u32, asked: Instant) {
        if self.latest().is_some_and(|latest| sequence <= latest) {
            return;
        }
        if self.heard.len() >= MOST {
            self.heard.pop_front();
        }
        self.heard.push_back((sequence, asked));
    }

    /// The latest one.
    pub(super) fn latest(&self) -> Option<u32> {
        self.heard.back().map(|(sequence, _)| *sequence)
    }

    /// Since when `sequence` may be known; `None` if it is long gone. Of one that was never told itself it is the time of the
    /// one before.
    pub(super) fn since(&self, sequence: u32) -> Option<Instant> {
        let told = self.heard.iter().rev().find(|(heard, _)| *heard <= sequence);
        told.map(|(_, at)| *at).or_else(|| {
            // Two servers behind one address need not agree about the very first ledger that they tell of.
            let (first, at) = self.heard.front()?;
            let before = first.checked_sub(sequence).filter(|before| *before <= MOST_BEFORE)?;
            at.checked_sub(LONGEST_LEDGER.checked_mul(before)?)
        })
    }
}

/// Five minutes of the network's ledgers.
const MOST: usize = 60;
/// How far before the first ledger that was heard of one still counts,
const MOST_BEFORE: u32 = 2;
/// and how long each of them may have been.
const LONGEST_LEDGER: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_is_as_old_as_the_first_word_of_it() {
        let start = Instant::now() + Duration::from_secs(60);
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut ledgers = Ledgers::default();
        for (sequence, seconds) in [(10, 0), (10, 5), (12, 6), (11, 7), (12, 9)] {
            ledgers.hear(sequence, after(seconds));
        }
        let since = [10, 11, 12, 13].map(|sequence| ledgers.since(sequence));
        let expected = [after(0), after(0), after(6), after(6)].map(Some);
        assert_eq!(since, expected);
        assert_eq!(ledgers.latest(), Some(12));
    }

    #[test]
    fn ledgers_a_little_before_the_first_are_as_old_as_they_may_be() {
        let start = Instant::now() + Duration::from_secs(60);
        let before = |seconds| Some(start - Duration::from_secs(seconds));
        let mut ledgers = Ledgers::default();
        assert_eq!(ledgers.since(10), None);
        ledgers.hear(10, start);
        let since = [7, 8, 9, 10].map(|sequence| ledgers.since(sequence));
        assert_eq!(since, [None, before(20), before(10), before(0)]);
    }

    #[test]
    fn only_the_last_ledgers_are_remembered() {
        let start = Instant::now();
        let mut ledgers = Ledgers::default();
        for sequence in 0..1_000 {
            ledgers.hear(sequence, start);
        }
        assert_eq!(ledgers.heard.len(), MOST);
        assert_eq!((ledgers.since(937), ledgers.since(940)), (None, Some(start)));
    }
}
