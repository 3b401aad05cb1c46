//! The states of a claim and the steps between them, as pure functions.
//!
//! Knows neither how records are stored nor how many callers there are: one record, one step, the record after it.

use super::{
    Binding, Claim, ClaimKey, Error, Outcome, Redelivery, Settled, Submitting, TakenState,
};

/// What is remembered of a claim once something happened to it. A claim that is only held is remembered by its hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) origin: Origin,
    pub(super) state: State,
}

/// What a claim was made with; it never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) alias: Option<ClaimKey>,
    pub(super) binding: Binding,
    pub(super) keep_until: u64,
    pub(super) redelivery: Redelivery,
}

impl From<&Claim> for Origin {
    fn from(claim: &Claim) -> Self {
        let Claim { alias, binding, keep_until, redelivery, .. } = *claim;
        Self { alias, binding, keep_until, redelivery }
    }
}

impl Origin {
    /// Whether `claim` comes with the request that this one was made for.
    pub(super) fn is_of(&self, claim: &Claim) -> bool {
        self.binding == claim.binding && self.alias == claim.alias
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    Submitting(Submitting),
    /// Settled and not delivered; `attempts` counts the deliveries begun.
    Settled {
        settled: Settled,
        attempts: u8,
    },
    Delivered {
        settled: Settled,
        status: u16,
    },
    Refused {
        reason: String,
    },
}

/// What a ticket's holder does to its claim.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Submitting(Submitting),
    Recall,
    Settled(Settled),
    Delivered {
        status: u16,
    },
    Refused {
        reason: String,
    },
    Release,
    /// As `Release`, of a delivery that was begun and never reached anything.
    Untried,
}

/// What a step leaves of a claim.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum After {
    /// What was there.
    Same,
    /// This record.
    Record(State),
    /// Nothing.
    Nothing,
}

/// What a record says to a request that presents its payment again.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Presented {
    /// May be delivered, by an attempt that makes it `attempts`.
    Redeliver {
        settled: Settled,
        attempts: u8,
    },
    Pending(Submitting),
    Delivered {
        settled: Settled,
        status: u16,
    },
    Refused {
        reason: String,
    },
    OtherRequest,
    Exhausted,
}

impl Record {
    /// The instant after which the record may be forgotten, in seconds since 1970; [`NEVER`] while it is pending.
    pub(super) fn due(&self) -> u64 {
        let keep_until = self.origin.keep_until;
        match &self.state {
            State::Submitting(_) => NEVER,
            State::Settled { settled, .. } => self.present_until(settled).max(keep_until).min(LAST),
            State::Delivered { .. } | State::Refused { .. } => keep_until.min(LAST),
        }
    }

    /// The alias that no other claim may have, which is none once it is certain that no money moves.
    pub(super) const fn alias(&self) -> Option<ClaimKey> {
        match &self.state {
            State::Submitting(_) | State::Settled { .. } | State::Delivered { .. } => {
                self.origin.alias
            }
            State::Refused { .. } => None,
        }
    }

    /// What another claim with the same alias is told; `None` if the alias is free.
    pub(super) fn taken(self) -> Option<TakenState> {
        match self.state {
            State::Submitting(submitting) => Some(TakenState::Pending(submitting)),
            State::Settled { .. } => Some(TakenState::Settled),
            State::Delivered { .. } => Some(TakenState::Delivered),
            State::Refused { .. } => None,
        }
    }

    /// What `claim` finds, if nobody holds its key.
    pub(super) fn present(&self, claim: &Claim) -> Presented {
        if !self.origin.is_of(claim) {
            return Presented::OtherRequest;
        }
        match self.state.clone() {
            State::Submitting(submitting) => Presented::Pending(submitting),
            State::Settled { settled, attempts }
                if attempts < self.origin.redelivery.attempts
                    && claim.now <= self.present_until(&settled) =>
            {
                Presented::Redeliver { settled, attempts: attempts.saturating_add(1) }
            }
            State::Settled { .. } => Presented::Exhausted,
            State::Delivered { settled, status } => Presented::Delivered { settled, status },
            State::Refused { reason } => Presented::Refused { reason },
        }
    }

    fn present_until(&self, settled: &Settled) -> u64 {
        settled.at.saturating_add(self.origin.redelivery.within.as_secs())
    }
}

impl State {
    const fn name(&self) -> &'static str {
        match self {
            Self::Submitting(_) => "submitting",
            Self::Settled { .. } => "settled",
            Self::Delivered { .. } => "delivered",
            Self::Refused { .. } => "refused",
        }
    }
}

impl Step {
    /// Whether the holder keeps its ticket.
    pub(super) const fn is_end(&self) -> bool {
        match self {
            Self::Submitting(_) | Self::Recall | Self::Settled(_) => false,
            Self::Delivered { .. } | Self::Refused { .. } | Self::Release | Self::Untried => true,
        }
    }

    /// The state that the step asks for.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Submitting(_) => "submitting",
            Self::Recall => "claimed",
            Self::Settled(_) => "settled",
            Self::Delivered { .. } => "delivered",
            Self::Refused { .. } => "refused",
            Self::Release | Self::Untried => "released",
        }
    }

    /// Carries the step out on a held claim in `state`, `None` being just claimed. A step that was carried out already
    /// changes nothing, so one whose answer was lost may be repeated.
    pub(super) fn apply(self, state: Option<&State>) -> Result<After, Error> {
        use State::{Delivered, Refused, Settled, Submitting};
        let asked = self.name();
        match (self, state) {
            (Self::Untried, Some(Settled { settled, attempts })) => Ok(After::Record(Settled {
                settled: settled.clone(),
                attempts: attempts.saturating_sub(1),
            })),
            (Self::Release | Self::Untried, _) => Ok(After::Same),
            (Self::Submitting(new), None) => Ok(After::Record(Submitting(new))),
            (Self::Submitting(new), Some(Submitting(old))) if new == *old => Ok(After::Same),
            // A hash may be learned, never changed: the first one may still land.
            (Self::Submitting(new), Some(Submitting(old))) if old.transaction.is_none() => {
                Ok(After::Record(Submitting(new)))
            }
            (Self::Recall, None) => Ok(After::Same),
            (Self::Recall, Some(Submitting(_))) => Ok(After::Nothing),
            (Self::Settled(settled), None | Some(Submitting(_))) => {
                Ok(After::Record(Settled { settled, attempts: 1 }))
            }
            (Self::Settled(new), Some(Settled { settled, .. })) if new == *settled => {
                Ok(After::Same)
            }
            (Self::Delivered { status }, Some(Settled { settled, .. })) => {
                Ok(After::Record(Delivered { settled: settled.clone(), status }))
            }
            (Self::Refused { reason }, None | Some(Submitting(_))) => {
                Ok(After::Record(Refused { reason: cut(reason) }))
            }
            _ => Err(Error::OutOfOrder { state: state.map_or("claimed", State::name), asked }),
        }
    }
}

impl Outcome {
    /// What the outcome leaves of a pending claim. No delivery has been begun for one that settled unseen.
    pub(super) fn into_after(self) -> After {
        match self {
            Self::Settled(settled) => After::Record(State::Settled { settled, attempts: 0 }),
            Self::Refused { reason } => After::Record(State::Refused { reason: cut(reason) }),
            Self::Free => After::Nothing,
        }
    }
}

fn cut(mut reason: String) -> String {
    reason.truncate(reason.floor_char_boundary(MAX_REASON));
    reason
}

/// When a pending record is forgotten.
pub(super) const NEVER: u64 = u64::MAX;

/// The last instant at which any other record can be due, so that `NEVER` means what is pending alone.
const LAST: u64 = u64::MAX - 1;

const MAX_REASON: usize = 1024;
