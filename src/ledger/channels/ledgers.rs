//! When the gateway heard of each ledger first: how old a state of the ledger is, whatever the clocks say.

use std::collections::VecDeque;

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

    /// Since when `sequence` may be known; `None` if it is older than all that is remembered. Of one that was never told
    /// itself it is the time of the one before.
    pub(super) fn since(&self, sequence: u32) -> Option<Instant> {
        self.heard.iter().rev().find(|(heard, _)| *heard <= sequence).map(|(_, at)| *at)
    }
}

/// Five minutes of the network's ledgers.
const MOST: usize = 60;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_ledger_is_as_old_as_the_first_word_of_it() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut ledgers = Ledgers::default();
        for (sequence, seconds) in [(10, 0), (10, 5), (12, 6), (11, 7), (12, 9)] {
            ledgers.hear(sequence, after(seconds));
        }
        let since = [9, 10, 11, 12, 13].map(|sequence| ledgers.since(sequence));
        let expected = [None, Some(after(0)), Some(after(0)), Some(after(6)), Some(after(6))];
        assert_eq!(since, expected);
        assert_eq!(ledgers.latest(), Some(12));
    }

    #[test]
    fn only_the_last_ledgers_are_remembered() {
        let start = Instant::now();
        let mut ledgers = Ledgers::default();
        for sequence in 0..1_000 {
            ledgers.hear(sequence, start);
        }
        assert_eq!(ledgers.heard.len(), MOST);
        assert_eq!((ledgers.since(939), ledgers.since(940)), (None, Some(start)));
    }
}
