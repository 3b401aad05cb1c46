//! The accounting of one payment channel: a value, and the pure steps that it takes.
//!
//! `authorised` is the highest commitment held, `spent` the value of what was delivered or is in flight, and
//! `spent ≤ authorised ≤ balance + withdrawn` always. A commitment is judged by its amount alone: that it is signed, and
//! what the ledger says of its channel, is the caller's to know. Knows neither how accounts are stored nor how many
//! callers there are. See "Channel accounting" in ARCHITECTURE.md.

pub(super) mod delta;
pub(super) mod record;
mod step;
mod steps;
mod summary;
#[cfg(test)]
mod tests;

use std::fmt;

pub use self::{
    step::{Step, Stepped},
    summary::{Listed, Page, Summary},
};
use super::{Binding, Redelivery};
use crate::protocol::{money::Amount, stellar::TxHash};

/// What is remembered of a channel.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Account {
    pub(super) authorised: Amount,
    pub(super) spent: Amount,
    pub(super) withdrawn: Amount,
    /// Amounts up to this one are used, but for those that stand in `uses`.
    pub(super) floor: Amount,
    /// By amount, rising.
    pub(super) uses: Vec<Use>,
    /// By amount, rising; the last one is of `authorised`. Empty only while nothing was authorised since the account began, or
    /// was adopted.
    pub(super) held: Vec<Held>,
    /// All that was ever in the channel, as it was last said to have grown to.
    pub(super) deposited: Amount,
    /// The highest commitment held before the deposit was said to grow: what can be collected if it did not. The oldest
    /// such that is not withdrawn yet.
    pub(super) sure: Option<Held>,
    pub(super) phase: Phase,
    pub(super) collection: Option<Collection>,
    /// Since when something is spent and not withdrawn, in seconds since 1970.
    pub(super) unsettled_since: Option<u64>,
    /// When it was last reserved from, in seconds since 1970.
    pub(super) used_at: u64,
    /// How many steps have changed it.
    pub(super) steps: u64,
}

/// A commitment that the contract honours. Its `Debug` shows no signature, which is money.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Held {
    /// The cumulative amount.
    pub amount: Amount,
    /// By the channel's commitment key.
    pub signature: [u8; 64],
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Held").field(&self.amount).finish()
    }
}

/// How far a channel's life has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Phase {
    /// It pays.
    #[default]
    Open,
    /// It pays nothing more; what is in flight ends, and then it is closed on the ledger.
    Closing,
    /// It is closed on the ledger.
    Closed {
        /// By this transaction of ours, if it was ours.
        transaction: Option<TxHash>,
    },
}

/// A transaction that collects what is held, and may be on its way to the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Collection {
    /// Whether it ends the channel.
    pub closes: bool,
    /// The commitment that it brings.
    pub amount: Amount,
    /// Its hash.
    pub transaction: TxHash,
    /// After this instant it cannot be applied any more, in seconds since 1970.
    pub valid_until: u64,
    /// The latest ledger when it was sent: where a search begins.
    pub since_ledger: u32,
}

/// A digest of the challenge that a commitment answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChallengeDigest(pub [u8; 16]);

/// Names one reservation: random bits, drawn for each.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token(pub [u8; 16]);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({})", hex::encode(self.0))
    }
}

/// One use of a commitment: there is one for an amount.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Use {
    pub(super) amount: Amount,
    pub(super) challenge: ChallengeDigest,
    pub(super) state: UseState,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum UseState {
    /// A request has it in hand, until the lease ends.
    InFlight(Reserved),
    /// It bought an answer with `status`, and whoever asked to record that may not have heard that it is: until then it may
    /// ask again, or take it back.
    Kept { status: u16, reserved: Reserved },
    /// It bought an answer with `status`, for the request with a binding that begins so.
    Told { status: u16, binding: [u8; 16] },
    /// It bought nothing, and what it reserved was given back; the same request may come with it again.
    Returned(Claimed),
}

/// A price that is reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Reserved {
    /// Whose it is.
    pub(super) token: Token,
    pub(super) lease_until: u64,
    pub(super) price: Amount,
    pub(super) claim: Claimed,
}

/// What a use was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Claimed {
    pub(super) binding: Binding,
    /// Deliveries begun.
    pub(super) attempts: u8,
    /// Of how many.
    pub(super) most: u8,
    /// Until when it may come again, in seconds since 1970.
    pub(super) until: u64,
}

/// A commitment that asks to pay for a request.
#[derive(Clone, Debug)]
pub struct Reserve {
    /// The commitment, whose signature was verified.
    pub commitment: Held,
    /// The challenge that it answers.
    pub challenge: ChallengeDigest,
    /// The cumulative amount that the challenge named.
    pub base: Amount,
    /// The request.
    pub binding: Binding,
    /// What the request costs; never zero.
    pub price: Amount,
    /// What the channel was given so far, balance and withdrawn together, as the ledger was last seen.
    pub deposited: Amount,
    /// What was withdrawn of it.
    pub withdrawn: Amount,
    /// What `authorised` is known to have been: less than that is a store that was rolled back.
    pub at_least: Amount,
    /// The most that may be spent and not withdrawn.
    pub most_unsettled: Amount,
    /// Whether its challenge has ended: then it may come again, and not for the first time.
    pub expired: bool,
    /// Names the reservation.
    pub token: Token,
    /// The time now, in seconds since 1970.
    pub now: u64,
    /// Until when the reservation is the caller's, in seconds since 1970: then another gateway may give it back.
    pub lease_until: u64,
    /// How the credential may come again if nothing was delivered for it.
    pub redelivery: Redelivery,
}

/// Where a channel stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Standing {
    /// The highest commitment held.
    pub authorised: Amount,
    /// The value of what was delivered or is in flight.
    pub spent: Amount,
}

impl Standing {
    /// What is authorised and not spent.
    #[must_use]
    pub fn credit(self) -> Amount {
        self.authorised.less(self.spent)
    }
}

/// What became of asking for a reservation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reserving {
    /// It is the caller's; where the channel stands with it.
    Reserved(Standing),
    /// Another request has this very credential in hand.
    InFlight,
    /// This very credential bought an answer, for this very request.
    Bought {
        /// The answer's status.
        status: u16,
        /// Where the channel stands now.
        standing: Standing,
    },
    /// It pays nothing.
    Refused(Unfit),
    /// The channel takes no commitments any more.
    Ended(Phase),
    /// More would be unsettled than may be: it is collected first.
    Unsettled,
    /// So many of the channel's reservations are in flight that no more fit.
    Busy,
    /// The account is not what it is known to have been.
    RolledBack {
        /// What is stored as authorised.
        found: Amount,
        /// What it was at least.
        at_least: Amount,
    },
}

/// Why a commitment pays nothing. The account is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unfit {
    /// Its amount was used before, by another credential or so long ago that nobody remembers for what.
    Used,
    /// Its amount is at or below what was withdrawn, or what its challenge named.
    TooLow,
    /// Its challenge was answered before, or is from so long ago that nobody remembers.
    ChallengeUsed,
    /// Its credential was for another request, or may not come again.
    Spent,
    /// It is more than the channel was given.
    OverDeposit,
    /// Its challenge has ended.
    Expired,
    /// With it, the channel has not authorised what is spent and the price.
    Short {
        /// The least amount that pays.
        needed: Amount,
    },
}

/// A step was asked of a reservation that is not there, or not the caller's any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the reservation is not there any more")]
pub struct Lapsed;

/// What may be collected from a channel now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Collectable {
    /// The smallest commitment held that covers it.
    pub commitment: Held,
    /// What was delivered.
    pub delivered: Amount,
}

impl Account {
    /// Where the channel stands.
    #[must_use]
    pub const fn standing(&self) -> Standing {
        Standing { authorised: self.authorised, spent: self.spent }
    }

    /// What was withdrawn, as far as was seen.
    #[must_use]
    pub const fn withdrawn(&self) -> Amount {
        self.withdrawn
    }

    /// How far its life has come.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// The transaction that may be on its way to collect.
    #[must_use]
    pub const fn collection(&self) -> Option<&Collection> {
        self.collection.as_ref()
    }

    /// Since when something is spent and not withdrawn, in seconds since 1970.
    #[must_use]
    pub const fn unsettled_since(&self) -> Option<u64> {
        self.unsettled_since
    }

    /// When it was last reserved from, in seconds since 1970.
    #[must_use]
    pub const fn used_at(&self) -> u64 {
        self.used_at
    }

    /// How many steps have changed it: an account that is behind one that was seen was rolled back.
    #[must_use]
    pub const fn steps(&self) -> u64 {
        self.steps
    }

    /// The value of the reservations that are in flight.
    #[must_use]
    pub fn in_flight(&self) -> Amount {
        self.uses.iter().fold(Amount::ZERO, |sum, used| match used.state {
            UseState::InFlight(reserved) => sum.checked_add(reserved.price).unwrap_or(sum),
            _ => sum,
        })
    }

    /// The value of what was delivered.
    #[must_use]
    pub fn delivered(&self) -> Amount {
        self.spent.less(self.in_flight())
    }

    /// What would be lost if the channel were refunded now: delivered, and not withdrawn.
    #[must_use]
    pub fn at_risk(&self) -> Amount {
        self.delivered().less(self.withdrawn)
    }

    /// The commitments held, by amount, rising.
    #[must_use]
    pub fn held(&self) -> &[Held] {
        &self.held
    }

    /// What can be collected if the ledger honours none of [`Account::held`]: less than what was delivered, if there is
    /// anything.
    #[must_use]
    pub fn fallback(&self) -> Option<Held> {
        self.sure.filter(|sure| sure.amount > self.withdrawn && sure.amount < self.delivered())
    }

    /// What may be collected now: the smallest commitment held that covers what was delivered; `None` if that was
    /// withdrawn already.
    #[must_use]
    pub fn collectable(&self) -> Option<Collectable> {
        let delivered = self.delivered();
        if delivered <= self.withdrawn {
            return None;
        }
        let commitment = *self.held.iter().find(|held| held.amount >= delivered)?;
        Some(Collectable { commitment, delivered })
    }
}

/// Finished uses that are remembered by their amounts; one more lifts the floor.
///
/// Enough for a payer that has commitments for 64 requests in a row on their way: when one comes in that answers the oldest
/// challenge, up to 63 may have finished that were on their way when the challenge was made, and 63 that were sent after it.
pub const WINDOW: usize = 128;

/// Reservations of one channel that may be in flight at once.
pub const MOST_IN_FLIGHT: usize = 256;

/// Uses that are recorded as kept, and may be asked for again or taken back. So many can be recorded by a round whose answer
/// is lost.
pub const MOST_UNTOLD: usize = MOST_IN_FLIGHT;

/// Commitments held at once; beyond them one is dropped that does not cover what was delivered, or else the one before the
/// last, which can only cost who authorised more than it was asked for the finest change.
pub const MOST_HELD: usize = 64;
