//! Room for what may be under way at once, of which nobody gets more than is left for all others.
//!
//! Whoever is alone gets half of it, two get a third each, and so on: it takes about a dozen to fill it, and who has little
//! of it keeps that. Knows neither what takes the room nor how much of it that needs.

use std::{
    collections::{HashMap, hash_map::Entry},
    fmt,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{Denied, Fault};
use crate::{protocol::stellar::Address, subnet};

/// Room for so much at once. Clones share it.
#[derive(Clone, Debug)]
pub struct Room(Arc<Shared>);

/// What one request has of a room, until it is dropped.
pub struct Seat {
    room: Room,
    taken: u64,
    holders: Vec<Holder>,
    gate: Option<Gate>,
}

/// Whether a payer may pay now, or how long it has to wait. To ask counts nothing.
pub type Gate = Box<dyn Fn(Address) -> Result<(), Duration> + Send + Sync>;

/// There is not as much left, or not for this client or payer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no room left, or none for this client or payer")]
pub struct Full;

#[derive(Debug)]
struct Shared {
    most: AtomicU64,
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    taken: u64,
    of: HashMap<Holder, u64>,
}

/// In whose name something is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Holder {
    Network(IpAddr),
    Payer(Address),
}

impl Room {
    /// Room for `most`.
    #[must_use]
    pub fn new(most: u64) -> Self {
        Self(Arc::new(Shared { most: AtomicU64::new(most), book: Mutex::default() }))
    }

    /// A seat for a request from `address`, which has taken nothing yet.
    #[must_use]
    pub fn enter(&self, address: Option<IpAddr>) -> Seat {
        let holders = address.map(subnet::of).map(Holder::Network).into_iter().collect();
        Seat { room: self.clone(), taken: 0, holders, gate: None }
    }

    /// A seat in the names of those who hold another one, which has taken nothing yet.
    #[must_use]
    pub fn enter_with(&self, other: &Seat) -> Seat {
        Seat { room: self.clone(), taken: 0, holders: other.holders.clone(), gate: None }
    }

    /// Is room for `most` from now on; who has something keeps it.
    pub fn resize(&self, most: u64) {
        self.0.most.store(most, Ordering::Relaxed);
    }

    fn most(&self) -> u64 {
        self.0.most.load(Ordering::Relaxed)
    }

    /// How much is taken.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.book().taken
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// The same seat, whose payer has to pass a gate.
    #[must_use]
    pub fn behind(mut self, gate: Option<Gate>) -> Self {
        self.gate = gate;
        self
    }

    /// Takes so much more.
    ///
    /// # Errors
    /// [`Full`] if there is not as much, or if one in whose name it is taken would have more than is left then; nothing is
    /// taken.
    pub fn take(&mut self, more: u64) -> Result<(), Full> {
        let mut book = self.room.book();
        let taken = book.taken.saturating_add(more);
        let left = self.room.most().checked_sub(taken).ok_or(Full)?;
        let has = |holder: &Holder| book.of.get(holder).copied().unwrap_or_default();
        // Where only one is left, or there never was more, whoever comes may have it.
        let share = left.max(1);
        if self.holders.iter().any(|holder| has(holder).saturating_add(more) > share) {
            return Err(Full);
        }
        book.taken = taken;
        for holder in &self.holders {
            book.add(*holder, more);
        }
        self.taken = self.taken.saturating_add(more);
        Ok(())
    }

    /// The payer in whose name it was taken, once that is known.
    #[must_use]
    pub fn payer(&self) -> Option<Address> {
        self.holders.iter().find_map(|holder| match holder {
            Holder::Payer(payer) => Some(*payer),
            Holder::Network(_) => None,
        })
    }

    /// As [`Seat::pay_as`], if the gate lets the payer pass: called before anybody is asked for the payer.
    ///
    /// # Errors
    /// [`Denied::Later`] if it does not; as [`Seat::pay_as`].
    pub fn come_as(&mut self, payer: Address) -> Result<(), Denied> {
        if let Some(gate) = &self.gate {
            gate(payer).map_err(Denied::Later)?;
        }
        Ok(self.pay_as(payer)?)
    }

    /// What was taken is taken in the name of `payer` too: called where it is certain that it is the payer who asks.
    ///
    /// # Errors
    /// A [`Fault`] if the payer has its share of the room already.
    pub fn pay_as(&mut self, payer: Address) -> Result<(), Fault> {
        let holder = Holder::Payer(payer);
        if self.holders.contains(&holder) {
            return Ok(());
        }
        let mut book = self.room.book();
        let left = self.room.most().saturating_sub(book.taken);
        let has = book.of.get(&holder).copied().unwrap_or_default();
        if has.saturating_add(self.taken) > left.max(1) {
            return Err(Fault::unavailable("a payer has too many payments under way"));
        }
        book.add(holder, self.taken);
        self.holders.push(holder);
        Ok(())
    }
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seat").field("taken", &self.taken).finish_non_exhaustive()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut book = self.room.book();
        book.taken = book.taken.saturating_sub(self.taken);
        for holder in &self.holders {
            book.lessen(*holder, self.taken);
        }
    }
}

impl Book {
    fn add(&mut self, holder: Holder, more: u64) {
        if more > 0 {
            let has = self.of.entry(holder).or_default();
            *has = has.saturating_add(more);
        }
    }

    fn lessen(&mut self, holder: Holder, less: u64) {
        if let Entry::Occupied(mut has) = self.of.entry(holder) {
            let left = has.get().saturating_sub(less);
            if left == 0 {
                has.remove();
            } else {
                has.insert(left);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::stellar::AccountId;

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    /// As many seats of one as `enter` gets.
    fn seats(enter: impl Fn() -> Result<Seat, Full>) -> Vec<Seat> {
        std::iter::from_fn(|| enter().ok()).collect()
    }

    #[test]
    fn i10_an_address_gets_what_it_leaves_to_others_and_no_more() {
        let room = Room::new(12);
        let enter = |text: &str| {
            let mut seat = room.enter(address(text));
            seat.take(1).map(|()| seat)
        };
        let first = seats(|| enter("192.0.2.1"));
        assert_eq!(first.len(), 6);
        let second = seats(|| enter("192.0.2.2"));
        assert_eq!(second.len(), 3);
        assert_eq!(seats(|| enter("::ffff:192.0.2.1")).len(), 0, "as the first");
        let third = seats(|| enter("2001:db8::1"));
        assert_eq!((third.len(), seats(|| enter("2001:db8::2")).len()), (1, 0));
        assert_eq!(room.taken(), 10);
        drop((first, second, third));
        assert_eq!((room.taken(), room.book().of.len()), (0, 0));
        assert!(enter("192.0.2.1").is_ok());
    }

    #[test]
    fn i10_a_payer_gets_its_share_from_whatever_addresses() {
        let room = Room::new(8);
        let payer = |key| Address::Account(AccountId([key; 32]));
        let pay = |index: u8, key| {
            let mut seat = room.enter(Some(IpAddr::from([192, 0, 2, index])));
            seat.take(1).map_err(drop)?;
            seat.pay_as(payer(key)).map_err(drop)?;
            seat.pay_as(payer(key)).map_err(drop).map(|()| seat)
        };
        let seats: Vec<Seat> = (0..4).map(|index| pay(index, 1).unwrap()).collect();
        assert!(pay(9, 1).is_err());
        assert_eq!(room.taken(), 4, "who is refused takes nothing");
        let other = pay(9, 2).unwrap();
        drop((seats, other));
        assert_eq!((room.taken(), room.book().of.len()), (0, 0));
    }

    #[test]
    fn room_for_one_is_for_whoever_comes_first_and_may_grow() {
        let room = Room::new(1);
        let mut first = room.enter(address("192.0.2.1"));
        assert_eq!(first.take(1), Ok(()));
        let mut second = room.enter(address("192.0.2.1"));
        assert_eq!(second.take(1), Err(Full));
        room.resize(4);
        assert_eq!(second.take(1), Ok(()));
        let mut third = room.enter(address("192.0.2.1"));
        assert_eq!(third.take(1), Err(Full));
        room.resize(1);
        drop(first);
        assert_eq!(third.take(1), Err(Full));
        drop(second);
        assert_eq!(third.take(1), Ok(()));
    }

    #[test]
    fn what_grows_takes_more_until_it_has_its_share() {
        let room = Room::new(100);
        let mut seat = room.enter(address("192.0.2.1"));
        assert_eq!(seat.take(30), Ok(()));
        assert_eq!(seat.take(21), Err(Full));
        assert_eq!(seat.take(20), Ok(()));
        let mut other = room.enter(None);
        assert_eq!((other.take(51), other.take(50)), (Err(Full), Ok(())));
        drop((seat, other));
        assert_eq!(room.taken(), 0);
    }
}
