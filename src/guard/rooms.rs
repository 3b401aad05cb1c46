//! How much requests may take together before they are answered, and callers by themselves: the bounds of all guards, in one
//! place.

use crate::{callers::Turnstile, pay::room::Room};

/// What requests with a payment may take together. Clones share it.
#[derive(Clone, Debug)]
pub struct Rooms {
    /// For the requests themselves: what they hold, and what they ask of the ledger, has an end.
    pub(super) paying: Room,
    /// For the bytes of their bodies, where these are read whole.
    pub(super) whole: Room,
    /// For callers, each by itself.
    pub(super) turnstile: Turnstile,
}

impl Rooms {
    /// What is counted of callers.
    #[must_use]
    pub const fn turnstile(&self) -> &Turnstile {
        &self.turnstile
    }
}

impl Default for Rooms {
    fn default() -> Self {
        let (paying, whole) = (Room::new(MOST_PAYING), Room::new(MOST_WHOLE));
        Self { paying, whole, turnstile: Turnstile::default() }
    }
}

/// Payments that may be under way at once: as many as a hundred lanes settle in ten ledgers.
const MOST_PAYING: u64 = 1024;
/// As many bytes of bodies may be held that are read whole.
const MOST_WHOLE: u64 = 128 << 20;
