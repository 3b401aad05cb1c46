//! The time by which records are forgotten.

use std::time::Instant;

/// The time, as claims tell it, and no later than it can be.
///
/// A clock that jumps ahead for a moment must not have all that is remembered forgotten: between two claims no more time
/// passes than the machine itself has counted, and a little.
#[derive(Debug)]
pub(super) struct Time {
    told: Option<Told>,
    /// In seconds.
    slack: u64,
}

#[derive(Clone, Copy, Debug)]
struct Told {
    /// When the first claim was made, by the machine's count.
    first: Instant,
    /// What time it told.
    began: u64,
    /// What the last one told.
    last: u64,
}

impl Time {
    /// Claims may tell a time that is `slack` seconds ahead.
    pub(super) const fn new(slack: u64) -> Self {
        Self { told: None, slack }
    }

    /// A claim says that it is `now`.
    pub(super) fn tell(&mut self, now: u64) {
        let told =
            self.told.get_or_insert_with(|| Told { first: Instant::now(), began: now, last: now });
        // The first one may have been before the clock was set back.
        told.began = told.began.min(now);
        told.last = now;
    }

    /// In seconds since 1970; 0 before the first claim.
    pub(super) fn now(&self) -> u64 {
        self.told.map_or(0, |told| {
            let passed = told.first.elapsed().as_secs().saturating_add(self.slack);
            told.last.min(told.began.saturating_add(passed))
        })
    }
}

/// How far the clock may be set ahead between two claims without anything being wrong, in seconds.
pub(super) const CLOCK_SLACK_SECONDS: u64 = 60;
