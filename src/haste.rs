//! How slow the sender of a body may be: what a server asks of a client, carried to whoever reads the request's body.
//!
//! Knows neither requests nor bodies: how many bytes have come, and how long they were waited for.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep};

/// At least 4 KiB of a body have to come in each such time that it is waited for. Travels in a request's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Haste(pub Duration);

/// Whether one body comes as fast as it has to.
#[derive(Debug)]
pub struct Meter {
    haste: Haste,
    /// How much longer it may be waited for before [`LEAST`] more bytes of it have come, and how many have.
    left: Duration,
    come: usize,
    /// Since when it is waited for, and until when.
    waiting: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Meter {
    /// A meter of a body of which nothing has come.
    #[must_use]
    pub const fn new(haste: Haste) -> Self {
        Self { haste, left: haste.0, come: 0, waiting: None, timer: None }
    }

    /// So many more bytes have come.
    pub fn has_come(&mut self, bytes: usize) {
        self.come = self.come.saturating_add(bytes);
        if let Some(since) = self.waiting.take() {
            self.left = self.left.saturating_sub(since.elapsed());
        }
        if self.come >= LEAST {
            (self.left, self.come) = (self.haste.0, 0);
        }
    }

    /// Called when the body is waited for: ready when it has been for too long.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let left = self.left;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(left)));
        if self.waiting.is_none() {
            let now = Instant::now();
            self.waiting = Some(now);
            timer.as_mut().reset(now.checked_add(left).unwrap_or(now));
        }
        timer.as_mut().poll(cx)
    }
}

/// So much of a body has to come at least.
const LEAST: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::time::timeout;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Waits for `body` pieces of `size` bytes, one each `pause`; how many come until the meter has had enough.
    async fn come(size: usize, pause: Duration) -> usize {
        let mut meter = Meter::new(Haste(10 * SECOND));
        for come in 0..100 {
            if timeout(pause, poll_fn(|cx| meter.poll(cx))).await.is_ok() {
                return come;
            }
            meter.has_come(size);
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
        let mut meter = Meter::new(Haste(10 * SECOND));
        for _ in 0..100 {
            meter.has_come(1);
            tokio::time::sleep(9 * SECOND).await;
        }
        assert!(timeout(9 * SECOND, poll_fn(|cx| meter.poll(cx))).await.is_err());
    }
}
