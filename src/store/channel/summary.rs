//! What an account comes to, without what only its steps need: for who looks at many of them.

use super::{Account, Collection, Held, Phase, Standing};
use crate::protocol::{money::Amount, stellar::ContractId};

/// What an account comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    standing: Standing,
    delivered: Amount,
    withdrawn: Amount,
    phase: Phase,
    collection: Option<Collection>,
    closes_with: Option<Amount>,
    unsettled_since: Option<u64>,
    used_at: u64,
}

/// One channel's account, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The channel.
    pub channel: ContractId,
    /// What is remembered of it.
    pub summary: Summary,
}

/// Some of all accounts, in the order of their channels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Those that were read.
    pub accounts: Vec<Listed>,
    /// Those that are there and cannot be read: who asks for one of them is told why.
    pub unreadable: Vec<ContractId>,
    /// After which one the next page begins; there is none after the last.
    pub next: Option<ContractId>,
}

impl Account {
    /// What it comes to.
    #[must_use]
    pub fn summary(&self) -> Summary {
        Summary {
            standing: self.standing(),
            delivered: self.delivered(),
            withdrawn: self.withdrawn,
            phase: self.phase,
            collection: self.collection.clone(),
            closes_with: self.closes_with().map(|held| held.amount),
            unsettled_since: self.unsettled_since,
            used_at: self.used_at,
        }
    }

    /// The commitment that the channel can be closed with now: the smallest that covers what was delivered, or one that was
    /// collected already. One above that would charge its payer for what it did not get.
    #[must_use]
    pub fn closes_with(&self) -> Option<Held> {
        let collected = || self.held.iter().find(|held| held.amount <= self.withdrawn).copied();
        self.collectable().map(|collectable| collectable.commitment).or_else(collected)
    }

    /// Whether nothing will come of it any more: its channel has ended, and it was last used at `used_by` or before.
    #[must_use]
    pub fn is_over(&self, used_by: u64) -> bool {
        let has_ended = matches!(self.phase, Phase::Closed { .. });
        has_ended && self.collection.is_none() && self.used_at <= used_by
    }
}

impl Summary {
    /// As [`Account::standing`].
    #[must_use]
    pub const fn standing(&self) -> Standing {
        self.standing
    }

    /// As [`Account::delivered`].
    #[must_use]
    pub const fn delivered(&self) -> Amount {
        self.delivered
    }

    /// As [`Account::in_flight`].
    #[must_use]
    pub fn in_flight(&self) -> Amount {
        self.standing.spent.less(self.delivered)
    }

    /// As [`Account::withdrawn`].
    #[must_use]
    pub const fn withdrawn(&self) -> Amount {
        self.withdrawn
    }

    /// As [`Account::at_risk`].
    #[must_use]
    pub fn at_risk(&self) -> Amount {
        self.delivered.less(self.withdrawn)
    }

    /// As [`Account::phase`].
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// As [`Account::collection`].
    #[must_use]
    pub const fn collection(&self) -> Option<&Collection> {
        self.collection.as_ref()
    }

    /// The amount of [`Account::closes_with`].
    #[must_use]
    pub const fn closes_with(&self) -> Option<Amount> {
        self.closes_with
    }

    /// As [`Account::unsettled_since`].
    #[must_use]
    pub const fn unsettled_since(&self) -> Option<u64> {
        self.unsettled_since
    }

    /// As [`Account::used_at`].
    #[must_use]
    pub const fn used_at(&self) -> u64 {
        self.used_at
    }
}
