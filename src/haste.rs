//! How slow the far side of a body may be: as little as this has to move in the time that it is waited for.
//!
//! Knows neither requests nor bodies: how many bytes have moved, and how long they were waited for.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

/// At least 4 KiB of a body have to come in each such time that it is waited for. What a server asks of a client, carried
/// in a request's extensions to whoever reads its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Haste(pub Duration);

/// Whether as much moves in one direction as has to.
#[derive(Debug, Default)]
pub struct Meter {
    /// How much longer it may be waited for before [`LEAST`] more bytes have moved, if that is less than all of the time;
    /// and how many have.
    left: Option<Duration>,
    moved: usize,
    /// Until when it is waited for, if it is.
    until: Option<Instant>,
}

impl Meter {
    /// A meter of what has not begun.
    #[must_use]
    pub const fn new() -> Self {
        Self { left: None, moved: 0, until: None }
    }

    /// So many more bytes have moved.
    pub fn has_moved(&mut self, bytes: usize) {
        self.moved = self.moved.saturating_add(bytes);
        if let Some(until) = self.until.take() {
            self.left = Some(until.saturating_duration_since(Instant::now()));
        }
        if self.moved >= LEAST {
            self.restart();
        }
    }

    /// There is nothing left to wait for: what comes next has all of its time.
    pub const fn restart(&mut self) {
        *self = Self::new();
    }

    /// Called when more is waited for, which may take `patience` for each [`LEAST`] bytes: ready when it has.
    pub fn poll(
        &mut self,
        patience: Duration,
        timer: &mut Timer,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let left = self.left.unwrap_or(patience);
        let until = *self.until.get_or_insert_with(|| after(left));
        timer.poll(until, cx)
    }
}

/// A timer that is made when it is first needed, and moved only when it goes off too early: what is hardly ever waited for
/// costs no work at it.
#[derive(Debug, Default)]
pub struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    /// A timer that waits for nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self(None)
    }

    /// Ready at `until`.
    pub fn poll(&mut self, until: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self.0.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if timer.deadline() > until {
            timer.as_mut().reset(until);
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            if timer.deadline() >= until {
                return Poll::Ready(());
            }
            timer.as_mut().reset(until);
        }
    }
}

/// The time at which `patience` will be over.
#[must_use]
pub fn after(patience: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(patience).unwrap_or(now)
}

/// So many bytes have to move at least in the time that they may be waited for.
pub const LEAST: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::time::timeout;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    async fn enough(meter: &mut Meter, timer: &mut Timer) {
        poll_fn(|cx| meter.poll(10 * SECOND, timer, cx)).await;
    }

    /// Waits for pieces of `size`, one each `pause`; how many of a hundred come until the meter has had enough.
    async fn come(size: usize, pause: Duration) -> usize {
        let (mut meter, mut timer) = (Meter::new(), Timer::new());
        for come in 0..100 {
            if timeout(pause, enough(&mut meter, &mut timer)).await.is_ok() {
                return come;
            }
            meter.has_moved(size);
        }
        100
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_dribbles_has_its_time_once_and_one_that_flows_has_it_anew() {
        assert_eq!(come(1, SECOND).await, 9);
        assert_eq!(come(0, SECOND).await, 9, "nothing is nothing, however often it comes");
        assert_eq!(come(LEAST / 9, SECOND).await, 9);
        assert_eq!(come(LEAST / 8, SECOND).await, 100);
        assert_eq!(come(LEAST, 9 * SECOND).await, 100);
        assert_eq!(come(10 * LEAST, 11 * SECOND).await, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_is_not_waited_for_costs_its_sender_nothing() {
        let (mut meter, mut timer) = (Meter::new(), Timer::new());
        for _ in 0..100 {
            meter.has_moved(1);
            tokio::time::sleep(9 * SECOND).await;
        }
        assert!(timeout(9 * SECOND, enough(&mut meter, &mut timer)).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn what_begins_anew_has_all_of_its_time() {
        let (mut meter, mut timer) = (Meter::new(), Timer::new());
        for _ in 0..100 {
            assert!(timeout(9 * SECOND, enough(&mut meter, &mut timer)).await.is_err());
            meter.restart();
        }
        assert!(timeout(11 * SECOND, enough(&mut meter, &mut timer)).await.is_ok());
    }
}
