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
    places: AtomicUsize,
    /// Places that are taken and not free again when they are left: there are fewer now.
    surplus: AtomicUsize,
    waiting: AtomicUsize,
    most_waiting: AtomicUsize,
}

/// What a request takes at its upstream while it is under way.
#[derive(Debug)]
pub(super) struct Place {
    permit: Option<OwnedSemaphorePermit>,
    room: Arc<Room>,
}

impl Room {
    /// Room for `places` requests, for which as many as `most_waiting` may wait.
    pub(super) fn new(places: u32, most_waiting: u32) -> Self {
        Self {
            free: Arc::new(Semaphore::new(size(places))),
            places: AtomicUsize::new(size(places)),
            surplus: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            most_waiting: AtomicUsize::new(size(most_waiting)),
        }
    }

    /// Has from now on as much room as [`Room::new`] with these; who has a place keeps it.
    ///
    /// Not to be called twice at once.
    pub(super) fn resize(&self, places: u32, most_waiting: u32) {
        self.most_waiting.store(size(most_waiting), Ordering::Relaxed);
        let new = size(places);
        let old = self.places.swap(new, Ordering::Relaxed);
        let more = new.saturating_sub(old);
        let paid = (0..more).take_while(|_| self.takes_surplus()).count();
        self.free.add_permits(more.saturating_sub(paid));
        let fewer = old.saturating_sub(new);
        let free = self.free.forget_permits(fewer);
        self.surplus.fetch_add(fewer.saturating_sub(free), Ordering::Relaxed);
    }

    /// A place, as soon as there is one; those who wait get theirs in the order in which they came.
    ///
    /// # Errors
    /// [`Obstacle::Busy`] if there is none within `patience`, or if too many wait already.
    pub(super) async fn take(self: &Arc<Self>, patience: Duration) -> Result<Place, Obstacle> {
        if let Ok(permit) = self.free.clone().try_acquire_owned() {
            return Ok(self.place(permit));
        }
        if patience.is_zero() {
            return Err(Obstacle::Busy);
        }
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        if before >= self.most_waiting.load(Ordering::Relaxed) {
            return Err(Obstacle::Busy);
        }
        let permit = timeout(patience, self.free.clone().acquire_owned()).await;
        let permit = permit.map_err(|_| Obstacle::Busy)?.map_err(|_| Obstacle::Busy)?;
        Ok(self.place(permit))
    }

    fn place(self: &Arc<Self>, permit: OwnedSemaphorePermit) -> Place {
        Place { permit: Some(permit), room: self.clone() }
    }

    /// Whether there was a place too many, which is gone now.
    fn takes_surplus(&self) -> bool {
        let fewer = |surplus: usize| surplus.checked_sub(1);
        self.surplus.load(Ordering::Relaxed) > 0
            && self.surplus.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer).is_ok()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.room.takes_surplus()
            && let Some(permit) = self.permit.take()
        {
            permit.forget();
        }
    }
}

fn size(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS)
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
        let room = Arc::new(Room::new(1, 1));
        let place = room.take(Duration::ZERO).await.unwrap();
        assert!(matches!(room.take(Duration::ZERO).await, Err(Obstacle::Busy)));
        assert!(matches!(room.take(LONG).await, Err(Obstacle::Busy)));
        drop(place);
        room.take(Duration::ZERO).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_wait_than_may() {
        let room = Arc::new(Room::new(1, 2));
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

    #[tokio::test]
    async fn a_room_that_is_made_smaller_is_left_by_those_who_are_in_it_first() {
        let room = Arc::new(Room::new(3, 0));
        let mut places = Vec::new();
        for _ in 0..3 {
            places.push(room.take(Duration::ZERO).await.unwrap());
        }
        room.resize(1, 0);
        for _ in 0..2 {
            places.pop();
            assert!(room.take(Duration::ZERO).await.is_err(), "one is in it");
        }
        places.pop();
        places.push(room.take(Duration::ZERO).await.unwrap());
        room.resize(2, 0);
        places.push(room.take(Duration::ZERO).await.unwrap());
        assert!(room.take(Duration::ZERO).await.is_err());
        // Smaller and larger again before anybody has left.
        room.resize(1, 0);
        room.resize(3, 0);
        places.push(room.take(Duration::ZERO).await.unwrap());
        assert!(room.take(Duration::ZERO).await.is_err());
    }
}
