//! One step of an account as a value, so that every store carries out the same ones.

use std::borrow::Cow;

use super::{Account, Collection, Held, Lapsed, Reserve, Reserving, Standing, Token};
use crate::protocol::{money::Amount, stellar::TxHash};

/// What is asked of an account.
#[derive(Clone, Debug)]
pub enum Step {
    /// [`Account::reserve`].
    Reserve(Box<Reserve>),
    /// [`Account::keep`].
    Keep {
        /// The reservation.
        token: Token,
        /// The answer's status.
        status: u16,
    },
    /// [`Account::give_back`].
    GiveBack {
        /// The reservation.
        token: Token,
        /// Whether anything was asked to deliver.
        tried: bool,
    },
    /// [`Account::told`] of each, and then another step, whose outcome it has.
    After {
        /// Reservations that their callers know to be kept.
        told: Vec<Token>,
        /// What is asked.
        then: Box<Self>,
    },
    /// [`Account::sweep`].
    Sweep {
        /// The time now, in seconds since 1970.
        now: u64,
    },
    /// [`Account::begin_closing`].
    BeginClosing,
    /// [`Account::reopen`].
    Reopen,
    /// [`Account::collect`].
    Collect(Collection),
    /// [`Account::collected`].
    Collected {
        /// Which one.
        transaction: TxHash,
        /// Whether it landed.
        landed: bool,
    },
    /// [`Account::saw_withdrawn`].
    SawWithdrawn(Amount),
    /// [`Account::ended`].
    Ended,
    /// [`Account::adopt`].
    Adopt {
        /// What the ledger says was withdrawn.
        withdrawn: Amount,
        /// What is known to have been authorised.
        at_least: Amount,
    },
    /// [`Account::restore`].
    Restore {
        /// What was authorised.
        commitment: Held,
        /// What was spent.
        spent: Amount,
        /// After how many steps.
        steps: u64,
        /// The time now, in seconds since 1970.
        now: u64,
    },
}

/// What came of a [`Step`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stepped {
    /// Of [`Step::Reserve`].
    Reserving(Reserving),
    /// Of [`Step::Keep`] and [`Step::GiveBack`].
    Stands(Result<Standing, Lapsed>),
    /// Of [`Step::Collect`].
    Collecting(Result<(), Collection>),
    /// Of every other step: whether it changed what was known.
    Done(bool),
}

impl Step {
    /// The same step, by a caller that knows that `known` was authorised: less than that is a store that was rolled back.
    #[must_use]
    pub(in crate::store) fn knowing(&self, known: Amount) -> Cow<'_, Self> {
        match self {
            Self::Reserve(ask) if ask.at_least < known => {
                let ask = Reserve { at_least: known, ..Reserve::clone(ask) };
                Cow::Owned(Self::Reserve(Box::new(ask)))
            }
            Self::Adopt { withdrawn, at_least } => {
                Cow::Owned(Self::Adopt { withdrawn: *withdrawn, at_least: known.max(*at_least) })
            }
            Self::After { told, then } => match then.knowing(known) {
                Cow::Owned(then) => {
                    Cow::Owned(Self::After { told: told.clone(), then: Box::new(then) })
                }
                Cow::Borrowed(_) => Cow::Borrowed(self),
            },
            _ => Cow::Borrowed(self),
        }
    }
}

impl Account {
    /// Carries out `step`. What it leaves must be durable before anybody is told what came of it.
    pub fn step(&mut self, step: &Step) -> Stepped {
        let stepped = self.carry_out(step);
        let is_new = !matches!(step, Step::Restore { .. });
        if is_new && stepped.may_have_changed() {
            self.steps = self.steps.saturating_add(1);
        }
        stepped
    }

    fn carry_out(&mut self, step: &Step) -> Stepped {
        match step {
            Step::Reserve(ask) => Stepped::Reserving(self.reserve(ask)),
            Step::Keep { token, status } => Stepped::Stands(self.keep(*token, *status)),
            Step::GiveBack { token, tried } => Stepped::Stands(self.give_back(*token, *tried)),
            Step::After { told, then } => {
                told.iter().for_each(|token| self.told(*token));
                self.carry_out(then)
            }
            Step::Sweep { now } => Stepped::Done(self.sweep(*now)),
            Step::BeginClosing => Stepped::Done(self.begin_closing()),
            Step::Reopen => Stepped::Done(self.reopen()),
            Step::Collect(collection) => Stepped::Collecting(self.collect(collection.clone())),
            Step::Collected { transaction, landed } => {
                Stepped::Done(self.collected(*transaction, *landed))
            }
            Step::SawWithdrawn(withdrawn) => Stepped::Done(self.saw_withdrawn(*withdrawn)),
            Step::Ended => {
                self.ended();
                Stepped::Done(true)
            }
            Step::Adopt { withdrawn, at_least } => Stepped::Done(self.adopt(*withdrawn, *at_least)),
            Step::Restore { commitment, spent, steps, now } => {
                Stepped::Done(self.restore(*commitment, *spent, *steps, *now))
            }
        }
    }
}

impl Stepped {
    /// Whether the step may have changed its account. A reservation that was refused may have swept others away: that
    /// is swept again by the next one, so it need not be stored.
    #[must_use]
    pub const fn may_have_changed(&self) -> bool {
        match self {
            Self::Reserving(outcome) => matches!(outcome, Reserving::Reserved(_)),
            Self::Stands(Ok(_)) | Self::Collecting(Ok(())) => true,
            Self::Stands(Err(_)) | Self::Collecting(Err(_)) => false,
            Self::Done(changed) => *changed,
        }
    }
}
