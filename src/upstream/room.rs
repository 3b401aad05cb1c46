//! How many requests an upstream has under way at once, and how many wait for one to end.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::guard::Obstacle;

/// The places of one upstream.
#[derive(Debug)]
pub(super) struct Room {
    free: Arc<Semaphore>,
    waiting: AtomicUsize,
    most_waiting: usize,
}

/// What a request takes at its upstream while it is under way.
#[derive(Debug)]
pub(super) struct Place(
    #[expect(dead_code, reason = "dropped when it is free again")] OwnedSemaphorePermit,
);

impl Room {
    /// Room for `places` requests, for which as many as `most_waiting` may wait.
    pub(super) fn new(places: u32, most_waiting: u32) -> Self {
        let size = |number| usize::try_from(number).unwrap_or(usize::MAX);
        let free = Arc::new(Semaphore::new(size(places).min(Semaphore::MAX_PERMITS)));
        Self { free, waiting: AtomicUsize::new(0), most_waiting: size(most_waiting) }
    }

    /// A place, as soon as there is one; those who wait get theirs in the order in which they came.
    ///
    /// # Errors
    /// [`Obstacle::Busy`] if there is none within `patience`, or if too many wait already.
    pub(super) async fn take(&self, patience: Duration) -> Result<Place, Obstacle> {
        if let Ok(permit) = self.free.clone().try_acquire_owned() {
            return Ok(Place(permit));
        }
        if patience.is_zero() {
            return Err(Obstacle::Busy);
        }
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        if before >= self.most_waiting {
            return Err(Obstacle::Busy);
        }
        let permit = timeout(patience, self.free.clone().acquire_owned()).await;
        permit.map_err(|_| Obstacle::Busy)?.map(Place).map_err(|_| Obstacle::Busy)
    }
}

/// One who waits, as long as it waits.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn a_place_is_free_again_when_it_is_dropped() {
        let room = Room::new(1, 1);
        let place = room.take(Duration::ZERO).await.unwrap();
        assert!(matches!(room.take(Duration::ZERO).await, Err(Obstacle::Busy)));
        assert!(matches!(room.take(LONG).await, Err(Obstacle::Busy)));
        drop(place);
        room.take(Duration::ZERO).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_wait_than_may() {
        let room = Room::new(1, 2);
        let place = room.take(Duration::ZERO).await.unwrap();
        let (one, two, three, free) =
            tokio::join!(room.take(LONG), room.take(LONG), room.take(LONG), async { drop(place) });
        let () = free;
        // The first has it, and drops it only with the others: the second waits in vain, the third not at all.
        assert!(one.is_ok() && two.is_err() && three.is_err());
        let taken = tokio::time::Instant::now();
        assert!(room.take(LONG).await.is_err());
        assert_eq!(taken.elapsed(), LONG, "who gave up waiting makes room for another to wait");
        drop(one);
        room.take(Duration::ZERO).await.unwrap();
    }
}
