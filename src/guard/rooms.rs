//! How much requests may take together before they are answered: the bounds of all guards, in one place.

use crate::pay::room::Room;

/// What requests with a payment may take together. Clones share it.
#[derive(Clone, Debug)]
pub struct Rooms {
    /// For the requests themselves: what they hold, and what they ask of the ledger, has an end.
    pub(super) paying: Room,
    /// For the bytes of their bodies, where these are read whole.
    pub(super) whole: Room,
}

impl Default for Rooms {
    fn default() -> Self {
        Self { paying: Room::new(MOST_PAYING), whole: Room::new(MOST_WHOLE) }
    }
}

/// Payments that may be under way at once: as many as a hundred lanes settle in ten ledgers.
const MOST_PAYING: u64 = 1024;
/// As many bytes of bodies may be held that are read whole.
const MOST_WHOLE: u64 = 128 << 20;
