//! How many requests an upstream has under way at once, who has them, and how many wait for one to end.
//!
//! A request has its place until all of its answer has been read, and who reads it may be slow. So nobody gets all of
//! them: of an address's requests no more are under way than are left for all others. Where something is sold, those that
//! pay nothing have no more than half of all, and share it out in the same way.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::oneshot, time::timeout};

use crate::{
    guard::{Comer, Obstacle},
    subnet,
};

/// How much room there is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) places: u32,
    pub(super) waiting: u32,
    /// Whether somebody pays for a place.
    pub(super) is_sold: bool,
}

/// The places of one upstream.
#[derive(Debug)]
pub(super) struct Room(Mutex<Book>);

/// What a request takes at its upstream while it is under way.
#[derive(Debug)]
pub(super) struct Place {
    room: Arc<Room>,
    holder: Option<IpAddr>,
    is_paid: bool,
}

#[derive(Debug)]
struct Book {
    bounds: Bounds,
    taken: Held,
    of: HashMap<IpAddr, Held>,
    /// In the order in which they came.
    waiting: VecDeque<(Comer, oneshot::Sender<Place>)>,
}

/// How many places are taken, and how many of them by who pays nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Held {
    all: u32,
    unpaid: u32,
}

impl Room {
    pub(super) fn new(bounds: Bounds) -> Self {
        let (of, waiting) = (HashMap::new(), VecDeque::new());
        Self(Mutex::new(Book { bounds, taken: Held::default(), of, waiting }))
    }

    /// Has from now on as much room as one that is made with these `bounds`; who has a place keeps it.
    pub(super) fn resize(self: &Arc<Self>, bounds: Bounds) {
        self.book().bounds = bounds;
        self.serve();
    }

    /// A place, as soon as there is one for `comer`; those who wait get theirs in the order in which they came, but for
    /// those who have their share already.
    ///
    /// # Errors
    /// [`Obstacle::Busy`] if there is none within `patience`, or if too many wait already.
    pub(super) async fn take(
        self: &Arc<Self>,
        comer: Comer,
        patience: Duration,
    ) -> Result<Place, Obstacle> {
        let comer = Comer { address: comer.address.map(subnet::of), ..comer };
        let told = {
            let mut book = self.book();
            if book.has_room_for(comer) {
                return Ok(self.place(&mut book, comer));
            }
            if patience.is_zero() {
                return Err(Obstacle::Busy);
            }
            book.waiting.retain(|(_, waiting)| !waiting.is_closed());
            if book.waiting.len() >= size(book.bounds.waiting) {
                return Err(Obstacle::Busy);
            }
            let (tell, told) = oneshot::channel();
            book.waiting.push_back((comer, tell));
            told
        };
        // A place that comes too late is dropped with the channel, and so is free again.
        timeout(patience, told).await.ok().and_then(Result::ok).ok_or(Obstacle::Busy)
    }

    /// Gives places to those who wait, as far as there are some for them.
    fn serve(self: &Arc<Self>) {
        loop {
            let (tell, place) = {
                let mut book = self.book();
                if book.waiting.is_empty() {
                    return;
                }
                book.waiting.retain(|(_, waiting)| !waiting.is_closed());
                let next = book.waiting.iter().position(|(comer, _)| book.has_room_for(*comer));
                let Some((comer, tell)) = next.and_then(|next| book.waiting.remove(next)) else {
                    return;
                };
                let place = self.place(&mut book, comer);
                (tell, place)
            };
            // Who has just given up leaves it, as anybody does.
            drop(tell.send(place));
        }
    }

    fn place(self: &Arc<Self>, book: &mut Book, comer: Comer) -> Place {
        book.taken.add(comer.pays);
        if let Some(holder) = comer.address {
            book.of.entry(holder).or_default().add(comer.pays);
        }
        Place { room: self.clone(), holder: comer.address, is_paid: comer.pays }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    /// Whether one more of `comer` leaves to all others what they are to have.
    fn has_room_for(&self, comer: Comer) -> bool {
        let Bounds { places, is_sold, .. } = self.bounds;
        // What is left behind it, if there is room for it at all.
        let left = |most: u32, taken: u32| most.checked_sub(taken)?.checked_sub(1);
        let Some(left_of_all) = left(places, self.taken.all) else { return false };
        let has = comer.address.and_then(|address| self.of.get(&address));
        let has = has.copied().unwrap_or_default();
        // Where only one is left, or there never was more, whoever comes may have it.
        let is_shared = |has: u32, left: u32| has < left.max(1);
        if is_sold && !comer.pays {
            let Some(left) = left(places.div_ceil(2), self.taken.unpaid) else { return false };
            if comer.address.is_some() && !is_shared(has.unpaid, left) {
                return false;
            }
        }
        comer.address.is_none() || is_shared(has.all, left_of_all)
    }
}

impl Held {
    const fn add(&mut self, is_paid: bool) {
        self.all = self.all.saturating_add(1);
        if !is_paid {
            self.unpaid = self.unpaid.saturating_add(1);
        }
    }

    const fn lessen(&mut self, is_paid: bool) {
        self.all = self.all.saturating_sub(1);
        if !is_paid {
            self.unpaid = self.unpaid.saturating_sub(1);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut book = self.room.book();
        book.taken.lessen(self.is_paid);
        if let Some(Entry::Occupied(mut held)) = self.holder.map(|holder| book.of.entry(holder)) {
            held.get_mut().lessen(self.is_paid);
            if held.get().all == 0 {
                held.remove();
            }
        }
        let is_waited_for = !book.waiting.is_empty();
        drop(book);
        if is_waited_for {
            self.room.serve();
        }
    }
}

fn size(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use futures_util::FutureExt as _;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn room(places: u32, waiting: u32) -> Arc<Room> {
        Arc::new(Room::new(Bounds { places, waiting, is_sold: true }))
    }

    /// One of the clients, who pays or does not.
    fn comer(number: u8, pays: bool) -> Comer {
        Comer { address: Some(Ipv4Addr::new(192, 0, 2, number).into()), pays }
    }

    const NOBODY: Comer = Comer { address: None, pays: true };

    fn at_once(room: &Arc<Room>, comer: Comer) -> Option<Place> {
        room.take(comer, Duration::ZERO).now_or_never().unwrap().ok()
    }

    /// As many places as `comer` gets.
    fn all(room: &Arc<Room>, comer: Comer) -> Vec<Place> {
        std::iter::from_fn(|| at_once(room, comer)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_is_free_again_when_it_is_dropped() {
        let room = room(1, 1);
        let place = at_once(&room, NOBODY).unwrap();
        assert!(matches!(room.take(NOBODY, Duration::ZERO).await, Err(Obstacle::Busy)));
        assert!(matches!(room.take(NOBODY, LONG).await, Err(Obstacle::Busy)));
        drop(place);
        assert!(at_once(&room, NOBODY).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_wait_than_may() {
        let room = room(1, 2);
        let place = at_once(&room, NOBODY).unwrap();
        let take = || room.take(NOBODY, LONG);
        let (one, two, three, free) = tokio::join!(take(), take(), take(), async { drop(place) });
        let () = free;
        // The first has it, and drops it only with the others: the second waits in vain, the third not at all.
        assert!(one.is_ok() && two.is_err() && three.is_err());
        let taken = tokio::time::Instant::now();
        assert!(take().await.is_err());
        assert_eq!(taken.elapsed(), LONG, "who gave up waiting makes room for another to wait");
        drop(one);
        assert!(at_once(&room, NOBODY).is_some());
    }

    #[tokio::test]
    async fn a_place_that_comes_too_late_goes_to_the_next() {
        let room = room(1, 2);
        let place = at_once(&room, NOBODY).unwrap();
        let (mut first, mut second) =
            (Box::pin(room.take(NOBODY, LONG)), Box::pin(room.take(NOBODY, LONG)));
        assert!(first.as_mut().now_or_never().is_none());
        assert!(second.as_mut().now_or_never().is_none());
        drop(place);
        // It was told, and never heard of it.
        drop(first);
        let place = second.now_or_never().unwrap().unwrap();
        assert!(at_once(&room, NOBODY).is_none());
        drop(place);
        assert!(at_once(&room, NOBODY).is_some());
    }

    #[tokio::test]
    async fn a_room_that_is_made_smaller_is_left_by_those_who_are_in_it_first() {
        let room = room(3, 1);
        let resize = |places| room.resize(Bounds { places, waiting: 1, is_sold: true });
        let mut places: Vec<_> = (0..3).filter_map(|_| at_once(&room, NOBODY)).collect();
        assert_eq!(places.len(), 3);
        resize(1);
        for _ in 0..2 {
            places.pop();
            assert!(at_once(&room, NOBODY).is_none(), "one is in it");
        }
        places.pop();
        places.extend(at_once(&room, NOBODY));
        let mut waits = Box::pin(room.take(NOBODY, LONG));
        assert!(waits.as_mut().now_or_never().is_none());
        resize(2);
        places.push(waits.now_or_never().unwrap().unwrap());
        assert!(at_once(&room, NOBODY).is_none());
        // Smaller and larger again before anybody has left.
        resize(1);
        resize(3);
        places.extend(at_once(&room, NOBODY));
        assert!(at_once(&room, NOBODY).is_none());
        assert_eq!(places.len(), 3);
    }

    #[test]
    fn i06_who_pays_nothing_leaves_half_of_it_and_an_address_what_it_leaves_to_others() {
        let room = room(256, 0);
        // 64 of 128, then 32 of the 64 that are left, and so on.
        let first = all(&room, comer(1, false));
        assert_eq!(first.len(), 64);
        let second = all(&room, comer(2, false));
        assert_eq!(second.len(), 32);
        let others: Vec<_> = (3..200).flat_map(|number| all(&room, comer(number, false))).collect();
        assert_eq!(first.len() + second.len() + others.len(), 128);
        // Who pays has what it would have, from the same address too.
        let paying = all(&room, comer(1, true));
        assert_eq!(paying.len(), 32, "with 64 that pay nothing it leaves 96 of 256");
        let other = all(&room, comer(2, true));
        assert_eq!(other.len(), 32);
        assert!(!all(&room, comer(201, true)).is_empty());
        drop((first, second, others, paying, other));
        assert_eq!(room.book().taken, Held::default());
        assert!(room.book().of.is_empty());
    }

    #[test]
    fn i06_who_is_alone_gets_half_of_it_whoever_pays() {
        let sold = room(256, 0);
        assert_eq!(all(&sold, comer(1, true)).len(), 128);
        let network = "2001:db8::1".parse().ok();
        let held = all(&sold, Comer { address: network, pays: true });
        assert!(
            at_once(&sold, Comer { address: "2001:db8::2".parse().ok(), pays: true }).is_none()
        );
        drop(held);
        // Where nothing is sold, nothing is kept for those who pay.
        let free = Arc::new(Room::new(Bounds { places: 256, waiting: 0, is_sold: false }));
        let first = all(&free, comer(1, false));
        let others: Vec<_> = (2..200).flat_map(|number| all(&free, comer(number, false))).collect();
        assert_eq!((first.len(), others.len()), (128, 128));
        for places in [1, 2] {
            assert_eq!(all(&room(places, 0), comer(1, false)).len(), 1);
        }
    }

    #[tokio::test]
    async fn who_has_its_share_waits_for_it_and_holds_up_nobody() {
        let room = room(4, 4);
        let mut held = all(&room, comer(1, true));
        assert_eq!(held.len(), 2);
        let mut waits = Box::pin(room.take(comer(1, true), LONG));
        assert!(waits.as_mut().now_or_never().is_none());
        let other = room.take(comer(2, true), LONG).now_or_never();
        assert!(other.is_some_and(|other| other.is_ok()));
        held.pop();
        assert!(waits.now_or_never().unwrap().is_ok());
    }
}
