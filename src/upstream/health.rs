//! What is known of one server: whether requests can go to it, and what kept them from it.
//!
//! A few atomics, which every request reads and only a server in trouble has written. Knows neither connections nor
//! requests: those who make them say here how it went.

use std::{
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::Instant;

/// When a server is passed over for the answers that it gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Eject {
    /// After how many failures in a row: no answer in time, a broken one.
    pub after: u32,
    /// For how long, the first time; each time after that, twice as long, up to half a minute.
    pub time: Duration,
    /// How many percent of an upstream's servers at most.
    pub most_percent: u32,
    /// Whether an answer of 500 or above is a failure.
    pub server_errors: bool,
}

impl Default for Eject {
    fn default() -> Self {
        Self { after: 5, time: Duration::from_secs(1), most_percent: 50, server_errors: false }
    }
}

/// The health of one server.
#[derive(Debug)]
pub(super) struct Health {
    born: Instant,
    /// No connection could be made, until one can.
    is_down: AtomicBool,
    /// Its health checks say no.
    is_sick: AtomicBool,
    /// Whether it was ever looked at but by a request.
    is_known: AtomicBool,
    /// Checks in a row that say the contrary.
    contrary: AtomicU32,
    /// Failures in a row.
    failures: AtomicU32,
    /// How often in a row it was ejected.
    ejections: AtomicU32,
    /// When it may be tried again, in milliseconds since `born`; 0 if it is not ejected.
    ejected_until: AtomicU64,
    /// Whether a request was sent since then, to see how it goes.
    is_on_trial: AtomicBool,
}

/// What a server's health means for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is asked.
    Fit,
    /// It is asked if no other is left.
    Ejected,
    /// It is not asked.
    Unfit,
}

impl Health {
    pub(super) fn standing(&self) -> Standing {
        if self.is_down.load(Ordering::Relaxed) || self.is_sick.load(Ordering::Relaxed) {
            Standing::Unfit
        } else if self.ejected_until.load(Ordering::Relaxed) != 0 {
            Standing::Ejected
        } else {
            Standing::Fit
        }
    }

    /// Notes whether connections can be made; says whether that is new.
    pub(super) fn set_down(&self, is_down: bool) -> bool {
        self.is_down.swap(is_down, Ordering::Relaxed) != is_down
    }

    /// Whether nobody has looked at it yet; the next who asks is told that somebody has.
    pub(super) fn is_first_look(&self) -> bool {
        !self.is_known.swap(true, Ordering::Relaxed)
    }

    /// Notes what a health check found; says whether that is new. The first one counts at once, after that it takes so many
    /// good ones, or so many bad ones, in a row.
    pub(super) fn note_check(&self, is_good: bool, (good, bad): (u32, u32)) -> bool {
        let is_sick = self.is_sick.load(Ordering::Relaxed);
        if is_good != is_sick {
            self.is_known.store(true, Ordering::Relaxed);
            self.contrary.store(0, Ordering::Relaxed);
            return false;
        }
        let contrary = self.contrary.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let needed = if is_good { good } else { bad };
        if contrary < needed && !self.is_first_look() {
            return false;
        }
        self.is_known.store(true, Ordering::Relaxed);
        self.contrary.store(0, Ordering::Relaxed);
        self.is_sick.store(!is_good, Ordering::Relaxed);
        true
    }

    /// Forgets what checks have found: there are none any more.
    pub(super) fn forget_checks(&self) {
        self.is_sick.store(false, Ordering::Relaxed);
        self.contrary.store(0, Ordering::Relaxed);
    }

    /// Notes an answer that is one; says whether it ends an ejection.
    pub(super) fn succeed(&self) -> bool {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
        if self.ejected_until.load(Ordering::Relaxed) == 0 {
            return false;
        }
        self.ejections.store(0, Ordering::Relaxed);
        self.is_on_trial.store(false, Ordering::Relaxed);
        self.ejected_until.swap(0, Ordering::Relaxed) != 0
    }

    /// Notes a failure; says whether there were enough in a row to eject the server, or to eject it again.
    pub(super) fn fail(&self, eject: &Eject) -> bool {
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.is_due(eject)
    }

    /// Whether there were enough failures in a row to eject the server, or to eject it again.
    pub(super) fn is_due(&self, eject: &Eject) -> bool {
        let is_ejected = self.ejected_until.load(Ordering::Relaxed) != 0;
        if is_ejected {
            self.is_on_trial.load(Ordering::Relaxed)
        } else {
            self.failures.load(Ordering::Relaxed) >= eject.after
        }
    }

    /// Ejects the server, for twice as long as the last time if it gave no answer since; says for how long.
    pub(super) fn eject(&self, eject: &Eject) -> Duration {
        let before = self.ejections.fetch_add(1, Ordering::Relaxed);
        let doubled = 2_u32.saturating_pow(before.min(MOST_DOUBLINGS));
        let time = eject.time.saturating_mul(doubled).min(LONGEST.max(eject.time));
        self.is_on_trial.store(false, Ordering::Relaxed);
        self.ejected_until.store(self.after(time), Ordering::Relaxed);
        time
    }

    /// Whether an ejected server's time is over and this request is the one to try it; the next may follow after `patience`.
    pub(super) fn takes_trial(&self, patience: Duration) -> bool {
        let until = self.ejected_until.load(Ordering::Relaxed);
        if until == 0 || until > self.after(Duration::ZERO) {
            return false;
        }
        let next = self.after(patience.clamp(SHORTEST_TRIAL, LONGEST));
        let swapped =
            self.ejected_until.compare_exchange(until, next, Ordering::Relaxed, Ordering::Relaxed);
        if swapped.is_ok() {
            self.is_on_trial.store(true, Ordering::Relaxed);
        }
        swapped.is_ok()
    }

    /// The time `later` from now; never 0.
    fn after(&self, later: Duration) -> u64 {
        let time = self.born.elapsed().saturating_add(later).as_millis();
        u64::try_from(time).unwrap_or(u64::MAX).max(1)
    }
}

impl Default for Health {
    fn default() -> Self {
        Self {
            born: Instant::now(),
            is_down: AtomicBool::new(false),
            is_sick: AtomicBool::new(false),
            is_known: AtomicBool::new(false),
            contrary: AtomicU32::new(0),
            failures: AtomicU32::new(0),
            ejections: AtomicU32::new(0),
            ejected_until: AtomicU64::new(0),
            is_on_trial: AtomicBool::new(false),
        }
    }
}

/// No server is ejected for longer, unless an operator says so.
const LONGEST: Duration = Duration::from_secs(30);
const MOST_DOUBLINGS: u32 = 16;
const SHORTEST_TRIAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const EJECT: Eject =
        Eject { after: 3, time: Duration::from_secs(1), most_percent: 50, server_errors: false };

    fn fail(health: &Health, times: u32) -> bool {
        (0..times).fold(false, |_, _| health.fail(&EJECT))
    }

    #[tokio::test(start_paused = true)]
    async fn only_failures_in_a_row_eject() {
        let health = Health::default();
        assert!(!fail(&health, 2));
        assert!(!health.succeed());
        assert!(!fail(&health, 2));
        assert!(fail(&health, 1));
        assert_eq!(health.standing(), Standing::Fit);
        assert_eq!(health.eject(&EJECT), EJECT.time);
        assert_eq!(health.standing(), Standing::Ejected);
    }

    #[tokio::test(start_paused = true)]
    async fn one_request_tries_an_ejected_server_when_its_time_is_over() {
        let health = Health::default();
        health.eject(&EJECT);
        let patience = Duration::from_secs(5);
        advance(EJECT.time - Duration::from_millis(10)).await;
        assert!(!health.takes_trial(patience));
        advance(Duration::from_millis(10)).await;
        assert!(health.takes_trial(patience));
        assert!(!health.takes_trial(patience), "another one is under way");
        advance(patience).await;
        assert!(health.takes_trial(patience), "nobody has heard of the first");
        assert!(health.succeed());
        assert_eq!(health.standing(), Standing::Fit);
        assert!(!health.takes_trial(patience));
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_goes_on_failing_is_ejected_for_longer_and_longer() {
        let health = Health::default();
        let mut times = Vec::new();
        for _ in 0..7 {
            let time = health.eject(&EJECT);
            assert!(!health.fail(&EJECT), "what was under way before fails as well");
            advance(time).await;
            assert!(health.takes_trial(EJECT.time));
            assert!(health.fail(&EJECT));
            times.push(time.as_secs());
        }
        assert_eq!(times, [1, 2, 4, 8, 16, 30, 30]);
        health.succeed();
        assert_eq!(health.eject(&EJECT), EJECT.time);
    }

    #[test]
    fn the_first_check_counts_at_once_and_later_ones_when_there_are_enough_in_a_row() {
        let health = Health::default();
        let note = |is_good| health.note_check(is_good, (2, 3));
        assert!(note(false));
        assert_eq!(health.standing(), Standing::Unfit);
        assert!(!note(true) && !note(false) && !note(true));
        assert_eq!(health.standing(), Standing::Unfit);
        assert!(note(true));
        assert_eq!(health.standing(), Standing::Fit);
        assert!(!note(false) && !note(false) && !note(true) && !note(false) && !note(false));
        assert_eq!(health.standing(), Standing::Fit);
        assert!(note(false));
        health.forget_checks();
        assert_eq!(health.standing(), Standing::Fit);

        let health = Health::default();
        assert!(!health.note_check(true, (2, 3)));
        assert!(!health.note_check(false, (2, 3)), "it was well before");
    }

    #[test]
    fn a_server_that_cannot_be_connected_to_is_not_asked() {
        let health = Health::default();
        assert!(health.set_down(true));
        assert!(!health.set_down(true));
        health.eject(&EJECT);
        assert_eq!(health.standing(), Standing::Unfit);
        assert!(health.set_down(false));
        assert_eq!(health.standing(), Standing::Ejected);
    }
}
