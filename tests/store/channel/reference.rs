//! What a channel's accounting must do, in the simplest way there is: nothing is forgotten, nothing is bounded, and every
//! figure is worked out anew from all that ever happened.
//!
//! Written from the documentation of the steps, not from their code. What it does not say is why something is refused.

use std::collections::{BTreeMap, BTreeSet};

use tollgate::{
    protocol::money::Amount,
    store::{
        Binding,
        channel::{ChallengeDigest, Collection, Reserve, Reserving, Step, Stepped, Token, WINDOW},
    },
};

/// Everything that happened to one channel.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reference {
    uses: BTreeMap<i128, Use>,
    answered: BTreeSet<[u8; 16]>,
    withdrawn: i128,
    ending: Ending,
    collection: Option<Collection>,
}

#[derive(Clone, Debug)]
struct Use {
    challenge: ChallengeDigest,
    binding: Binding,
    price: i128,
    attempts: u8,
    most: u8,
    until: u64,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    InFlight {
        token: Token,
        lease_until: u64,
    },
    /// Until its caller is told, it can be taken back.
    Kept {
        status: u16,
        untold: Option<(Token, u64)>,
    },
    Returned,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Ending {
    #[default]
    Open,
    Closing,
    Closed,
}

/// What a step must come to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Expected {
    Reserved {
        authorised: i128,
        spent: i128,
    },
    InFlight,
    Bought {
        status: u16,
    },
    /// For whatever reason.
    Nothing,
    /// To the question whether the step did anything.
    Done(bool),
}

impl Reference {
    pub(crate) fn authorised(&self) -> i128 {
        self.uses.last_key_value().map_or(0, |(amount, _)| *amount)
    }

    pub(crate) fn in_flight(&self) -> i128 {
        self.sum(|state| matches!(state, State::InFlight { .. }))
    }

    pub(crate) fn delivered(&self) -> i128 {
        self.sum(|state| matches!(state, State::Kept { .. }))
    }

    pub(crate) fn spent(&self) -> i128 {
        self.delivered() + self.in_flight()
    }

    pub(crate) const fn withdrawn(&self) -> i128 {
        self.withdrawn
    }

    pub(crate) const fn collection(&self) -> Option<&Collection> {
        self.collection.as_ref()
    }

    /// The smallest commitment that covers what was delivered and not withdrawn.
    pub(crate) fn collectable(&self) -> Option<i128> {
        let delivered = self.delivered();
        if delivered <= self.withdrawn {
            return None;
        }
        self.uses.range(delivered..).next().map(|(amount, _)| *amount)
    }

    /// How many commitments may be the one to collect with, now or later.
    pub(crate) fn covering(&self) -> usize {
        let untold = self.sum(|state| matches!(state, State::Kept { untold: Some(_), .. }));
        self.uses.range((self.delivered() - untold).max(self.withdrawn)..).count()
    }

    /// Carries out `step`.
    pub(crate) fn step(&mut self, step: &Step) -> Expected {
        match step {
            Step::Reserve(ask) => self.reserve(ask),
            Step::Keep { token, status } => self.keep(*token, *status),
            Step::GiveBack { token, tried } => self.give_back(*token, *tried),
            Step::After { told, then } => {
                told.iter().for_each(|token| self.told(|(untold, _)| untold == *token));
                self.step(then)
            }
            Step::Sweep { now } => Expected::Done(self.sweep(*now)),
            Step::BeginClosing => {
                let is_new = self.ending == Ending::Open;
                if is_new {
                    self.ending = Ending::Closing;
                }
                Expected::Done(is_new)
            }
            Step::Reopen => {
                let is_over = self.collection.is_none() && self.in_flight() == 0;
                let is_new = self.ending == Ending::Closing && is_over;
                if is_new {
                    self.ending = Ending::Open;
                }
                Expected::Done(is_new)
            }
            Step::Collect(collection) => self.collect(collection),
            Step::Collected { transaction, landed } => {
                let found = self.collection.take_if(|it| it.transaction == *transaction);
                if let Some(found) = &found
                    && *landed
                {
                    self.withdrawn = self.withdrawn.max(found.amount.units());
                    if found.closes {
                        self.ending = Ending::Closed;
                    }
                }
                Expected::Done(found.is_some())
            }
            Step::SawWithdrawn(withdrawn) => {
                let is_new = withdrawn.units() > self.withdrawn;
                self.withdrawn = self.withdrawn.max(withdrawn.units());
                Expected::Done(is_new)
            }
            Step::Ended => {
                self.ending = Ending::Closed;
                Expected::Done(true)
            }
            Step::Adopt { .. } | Step::Restore { .. } => panic!("a reference is never rolled back"),
        }
    }

    /// Gives back all that is in flight.
    pub(crate) fn give_back_all(&mut self) {
        for used in self.uses.values_mut() {
            if matches!(used.state, State::InFlight { .. }) {
                used.state = State::Returned;
            }
        }
    }

    /// Whether an account that forgets may refuse `ask` although nothing is wrong with it: so many are finished above it, or
    /// above what its challenge named.
    pub(crate) fn may_be_forgotten(&self, ask: &Reserve) -> bool {
        let oldest = ask.base.min(ask.commitment.amount).units();
        let is_finished = |used: &Use| !matches!(used.state, State::InFlight { .. });
        let later = self.uses.range(oldest + 1..);
        later.filter(|(_, used)| is_finished(used)).count() >= WINDOW
    }

    fn reserve(&mut self, ask: &Reserve) -> Expected {
        self.sweep(ask.now);
        let amount = ask.commitment.amount.units();
        let withdrawn = self.withdrawn.max(ask.withdrawn.units());
        let used = self.uses.get(&amount);
        if let Some(Use { state: State::InFlight { token, .. }, .. }) = used
            && *token == ask.token
        {
            return self.reserved();
        }
        let is_behind = self.authorised() < withdrawn.max(ask.at_least.units());
        if is_behind || self.ending != Ending::Open {
            return Expected::Nothing;
        }
        let attempts = match used {
            Some(used) if used.challenge != ask.challenge => return Expected::Nothing,
            Some(used) => match used.state {
                State::InFlight { .. } => return Expected::InFlight,
                State::Kept { status, .. } if used.binding == ask.binding => {
                    return Expected::Bought { status };
                }
                State::Kept { .. } => return Expected::Nothing,
                State::Returned => {
                    let is_same = used.binding == ask.binding;
                    if !is_same || used.attempts >= used.most || ask.now > used.until {
                        return Expected::Nothing;
                    }
                    used.attempts
                }
            },
            None => {
                let is_answered = self.answered.contains(&ask.challenge.0);
                if is_answered || ask.expired || amount <= ask.base.units() {
                    return Expected::Nothing;
                }
                0
            }
        };
        let authorised = self.authorised().max(amount);
        let spent = self.spent() + ask.price.units();
        let is_good = withdrawn < amount
            && amount <= ask.deposited.units()
            && spent <= authorised
            && spent - withdrawn <= ask.most_unsettled.units();
        if !is_good {
            return Expected::Nothing;
        }
        let (most, until) = match used {
            Some(used) => (used.most, used.until),
            None => (ask.redelivery.attempts, ask.now + ask.redelivery.within.as_secs()),
        };
        let used = Use {
            challenge: ask.challenge,
            binding: ask.binding,
            price: ask.price.units(),
            attempts: attempts + 1,
            most,
            until,
            state: State::InFlight { token: ask.token, lease_until: ask.lease_until },
        };
        self.withdrawn = withdrawn;
        self.answered.insert(ask.challenge.0);
        self.uses.insert(amount, used);
        self.reserved()
    }

    fn keep(&mut self, token: Token, status: u16) -> Expected {
        let last = match (&self.collection, self.ending) {
            (_, Ending::Closed) => self.withdrawn,
            (Some(collection), _) if collection.closes => collection.amount.units(),
            _ => i128::MAX,
        };
        let delivered = self.delivered();
        let Some(used) = self.reserved_for(token) else { return Expected::Nothing };
        if let State::InFlight { lease_until, .. } = used.state {
            if delivered + used.price > last {
                return Expected::Nothing;
            }
            used.state = State::Kept { status, untold: Some((token, lease_until)) };
        }
        self.reserved()
    }

    fn give_back(&mut self, token: Token, tried: bool) -> Expected {
        let Some(used) = self.reserved_for(token) else { return Expected::Nothing };
        used.state = State::Returned;
        used.attempts -= u8::from(!tried);
        self.reserved()
    }

    fn told(&mut self, is_it: impl Fn((Token, u64)) -> bool) {
        for used in self.uses.values_mut() {
            if let State::Kept { untold, .. } = &mut used.state {
                untold.take_if(|untold| is_it(*untold));
            }
        }
    }

    fn sweep(&mut self, now: u64) -> bool {
        self.told(|(_, lease_until)| lease_until + 3_600 < now);
        let mut is_any = false;
        for used in self.uses.values_mut() {
            if matches!(used.state, State::InFlight { lease_until, .. } if lease_until < now) {
                used.state = State::Returned;
                is_any = true;
            }
        }
        is_any
    }

    fn collect(&mut self, collection: &Collection) -> Expected {
        if self.collection.as_ref().is_some_and(|other| other != collection) {
            return Expected::Nothing;
        }
        if collection.closes && self.ending == Ending::Open {
            self.ending = Ending::Closing;
        }
        self.collection = Some(collection.clone());
        Expected::Done(true)
    }

    fn reserved_for(&mut self, wanted: Token) -> Option<&mut Use> {
        let is_it = |state| match state {
            State::InFlight { token, .. } | State::Kept { untold: Some((token, _)), .. } => {
                token == wanted
            }
            State::Kept { untold: None, .. } | State::Returned => false,
        };
        self.uses.values_mut().find(|used| is_it(used.state))
    }

    fn reserved(&self) -> Expected {
        Expected::Reserved { authorised: self.authorised(), spent: self.spent() }
    }

    fn sum(&self, counts: impl Fn(State) -> bool) -> i128 {
        self.uses.values().filter(|used| counts(used.state)).map(|used| used.price).sum()
    }
}

impl From<&Stepped> for Expected {
    fn from(stepped: &Stepped) -> Self {
        let stands = |authorised: Amount, spent: Amount| Self::Reserved {
            authorised: authorised.units(),
            spent: spent.units(),
        };
        match stepped {
            Stepped::Reserving(Reserving::Reserved(at)) | Stepped::Stands(Ok(at)) => {
                stands(at.authorised, at.spent)
            }
            Stepped::Reserving(Reserving::InFlight) => Self::InFlight,
            Stepped::Reserving(Reserving::Bought { status, .. }) => {
                Self::Bought { status: *status }
            }
            Stepped::Reserving(_) | Stepped::Stands(Err(_)) | Stepped::Collecting(Err(_)) => {
                Self::Nothing
            }
            Stepped::Collecting(Ok(())) => Self::Done(true),
            Stepped::Done(is_new) => Self::Done(*is_new),
        }
    }
}
