//! One channel on the ledger, from its deposit to its end, with a gateway that sells from it and collects.
//!
//! The payer puts in money, asks for it back, and takes it once the waiting period is over. The gateway sees the ledger
//! late; its closer records a transaction, sends it, and finds out what became of it, or dies in between. Time does not
//! pass before the gateway has looked at the ledger and its closer has done what is due: these are the bounds under which
//! nothing is lost. Stores do not fail here: see [`crate::fleet`]. The account's steps are the product's own.

mod property;
mod state;
mod tests;

use std::time::Duration;

use stateright::{Model, Property};
use tollgate::{
    protocol::money::Amount,
    store::{
        Binding, Redelivery,
        channel::{
            ChallengeDigest, Collection, Held, Phase, Reserve, Reserving, Step, Stepped, Token,
        },
    },
};

use self::state::{CREDENTIALS, Left, Request, Sent, State, hash, units};
use crate::Mutant;

/// What is modelled, and how much of it.
#[derive(Clone)]
pub(crate) struct Life {
    pub(crate) mutant: Option<Mutant>,
    /// How many requests the payer makes.
    pub(crate) requests: usize,
    pub(crate) left: Left,
    /// What must be seen to happen.
    pub(crate) sometimes: Vec<Property<Self>>,
}

/// What happens next. Requests and transactions by their places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    /// A request comes with its credential, and its price is reserved.
    Pay {
        request: usize,
    },
    /// The upstream delivers, and the answer leaves once that is recorded.
    Answer {
        request: usize,
    },
    /// The upstream does not deliver.
    GiveBack {
        request: usize,
    },
    TopUp,
    CloseStart,
    /// The payer takes what is left.
    Refund,
    /// The gateway looks at the ledger.
    Watch,
    /// The closer does what is due.
    Due,
    /// It collects, although nothing is due.
    Settle,
    /// It is asked to close the channel.
    Close,
    Land {
        transaction: usize,
    },
    /// It never arrives.
    Lose {
        transaction: usize,
    },
    /// The gateway dies, and begins anew.
    Die,
    Tick,
}

/// What the closer does next.
enum Due {
    SawWithdrawn,
    SawEnd,
    BeginClosing,
    Resolve { collection: Collection, landed: bool },
    Collect { closes: bool, amount: Amount },
}

impl Life {
    fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    fn ask(&self, state: &State, request: usize) -> Reserve {
        let believed =
            if self.is(Mutant::UncollectableOverwrite) { FAR } else { state.view.deposited };
        let digest = u8::try_from(request).unwrap();
        Reserve {
            commitment: Held { amount: units(AMOUNTS[request]), signature: [7; 64] },
            challenge: ChallengeDigest([digest; 16]),
            base: Amount::ZERO,
            binding: Binding([digest; 32]),
            price: Amount::ONE,
            deposited: units(believed),
            withdrawn: units(state.view.withdrawn),
            at_least: Amount::ZERO,
            most_unsettled: units(FAR),
            expired: false,
            token: token(request),
            now: NOW,
            lease_until: NOW + 500,
            redelivery: Redelivery { attempts: 2, within: Duration::from_secs(NOW) },
        }
    }

    /// What is due, if anything is.
    fn due(&self, state: &State) -> Option<Due> {
        let State { account, view, .. } = state;
        if let Some(collection) = account.collection() {
            let sent = state.sent.iter().find(|sent| sent.hash() == collection.transaction)?;
            // As long as it may land, nobody knows.
            return sent.fate.map(|landed| Due::Resolve { collection: collection.clone(), landed });
        }
        if matches!(account.phase(), Phase::Closed { .. }) {
            return None;
        }
        if units(view.withdrawn) > account.withdrawn() {
            return Some(Due::SawWithdrawn);
        }
        if view.is_ended {
            return Some(Due::SawEnd);
        }
        let is_closing = account.phase() == Phase::Closing || state.is_asked_to_close;
        if view.effective_at.is_none() && !is_closing {
            return None;
        }
        if account.phase() == Phase::Open && !self.is(Mutant::MarkerAfterServe) {
            return Some(Due::BeginClosing);
        }
        let amount = account.collectable()?.commitment.amount;
        // What is delivered does not wait for what may be.
        let waits = !account.in_flight().is_zero() && !self.is(Mutant::MarkerAfterServe);
        Some(Due::Collect { closes: !waits, amount })
    }

    fn carry_out(&self, state: &mut State, due: Due) {
        match due {
            Due::SawWithdrawn => {
                state.account.step(&Step::SawWithdrawn(units(state.view.withdrawn)));
            }
            Due::SawEnd => {
                state.account.step(&Step::Ended);
            }
            Due::BeginClosing => {
                state.account.step(&Step::BeginClosing);
            }
            Due::Resolve { collection, landed } => {
                let transaction = collection.transaction;
                state.account.step(&Step::Collected { transaction, landed });
                let is_end =
                    state.sent.iter().any(|sent| sent.hash() == transaction && sent.closes);
                if landed && is_end && self.is(Mutant::MarkerAfterServe) {
                    state.account.step(&Step::Ended);
                }
                state.seen.lost |= !landed;
            }
            Due::Collect { closes, amount } => self.collect(state, closes, amount),
        }
    }

    /// Records the transaction, and sends it.
    fn collect(&self, state: &mut State, closes: bool, amount: Amount) {
        let number = u8::try_from(state.sent.len()).unwrap();
        let collection = Collection {
            closes: closes && !self.is(Mutant::MarkerAfterServe),
            amount,
            transaction: hash(number),
            valid_until: (state.time + VALID).into(),
            since_ledger: state.time.into(),
        };
        let stepped = state.account.step(&Step::Collect(collection));
        if stepped == Stepped::Collecting(Ok(())) {
            let until = state.time + VALID;
            state.sent.push(Sent { number, closes, amount, until, is_lost: false, fate: None });
        }
    }

    /// Whether all is done that must be before time may pass.
    fn may_pass(&self, state: &State) -> bool {
        let is_watched = state.view.at == state.time || self.is(Mutant::WatchesTooSeldom);
        let is_answered = state
            .requests
            .iter()
            .all(|it| !matches!(it, Request::InFlight { since } if *since < state.time));
        let is_on_its_way = state
            .sent
            .iter()
            .any(|it| it.fate.is_none() && !it.is_lost && it.until < state.time + VALID);
        is_watched && is_answered && !is_on_its_way && self.due(state).is_none()
    }

    fn pay(&self, state: &mut State, request: usize) {
        let ask = self.ask(state, request);
        let stepped = state.account.step(&Step::Reserve(Box::new(ask)));
        state.requests[request] = match stepped {
            Stepped::Reserving(Reserving::Reserved(_)) => Request::InFlight { since: state.time },
            _ => Request::Refused,
        };
        state.seen.refused |= state.requests[request] == Request::Refused;
    }

    fn answer(&self, state: &mut State, request: usize) {
        let step = Step::Keep { token: token(request), status: 200 };
        let stepped = state.account.step(&step);
        let is_kept = matches!(stepped, Stepped::Stands(Ok(_)));
        state.seen.held_back |= !is_kept;
        state.requests[request] = if is_kept || self.is(Mutant::AnswerOnUnknown) {
            Request::Served
        } else {
            Request::Refused
        };
    }

    fn die(state: &mut State) {
        state.left.deaths -= 1;
        // What was in flight is given back at the next start.
        state.account.give_back_all();
        for request in &mut state.requests {
            if let Request::InFlight { .. } = request {
                *request = Request::Refused;
            }
        }
        state.view.at = state.view.at.min(state.time.saturating_sub(1));
    }
}

impl Model for Life {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::new(self.requests, self.left)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let ledger = &state.ledger;
        for (request, it) in state.requests.iter().enumerate() {
            match it {
                // Whoever is seen to take his money back pays for nothing more.
                Request::NotYet if state.view.effective_at.is_none() && !state.view.is_ended => {
                    actions.push(Action::Pay { request });
                }
                Request::InFlight { .. } => {
                    actions.push(Action::Answer { request });
                    if state.left.failures > 0 {
                        actions.push(Action::GiveBack { request });
                    }
                }
                _ => {}
            }
        }
        if !ledger.is_ended {
            if state.left.top_ups > 0 {
                actions.push(Action::TopUp);
            }
            match ledger.effective_at {
                None if state.left.close_starts > 0 => actions.push(Action::CloseStart),
                Some(at) if at <= state.time => actions.push(Action::Refund),
                _ => {}
            }
        }
        actions.push(Action::Watch);
        if self.due(state).is_some() {
            actions.push(Action::Due);
        } else if state.account.collection().is_none()
            && state.account.collectable().is_some()
            && state.left.settlements > 0
        {
            actions.push(Action::Settle);
        }
        if state.left.closes > 0 && state.account.phase() == Phase::Open {
            actions.push(Action::Close);
        }
        for (transaction, sent) in state.sent.iter().enumerate() {
            if sent.fate.is_none() && !sent.is_lost {
                actions.push(Action::Land { transaction });
                if state.left.losses > 0 {
                    actions.push(Action::Lose { transaction });
                }
            }
        }
        if state.left.deaths > 0 {
            actions.push(Action::Die);
        }
        // Where nothing has begun, an instant is like any other.
        let is_timed = ledger.effective_at.is_some_and(|at| !ledger.is_ended && state.time < at)
            || state.sent.iter().any(|sent| sent.fate.is_none());
        if is_timed && self.may_pass(state) {
            actions.push(Action::Tick);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Pay { request } => self.pay(&mut state, request),
            Action::Answer { request } => self.answer(&mut state, request),
            Action::GiveBack { request } => {
                state.left.failures -= 1;
                let step = Step::GiveBack { token: token(request), tried: true };
                state.account.step(&step);
                // It may come again.
                state.requests[request] = Request::NotYet;
            }
            Action::TopUp => {
                state.left.top_ups -= 1;
                state.ledger.deposited += 2;
            }
            Action::CloseStart => {
                state.left.close_starts -= 1;
                state.ledger.effective_at = Some(state.time + WAITING);
            }
            Action::Refund => state.ledger.refund(),
            Action::Watch => state.watch(),
            Action::Due => {
                let due = self.due(&state)?;
                self.carry_out(&mut state, due);
            }
            Action::Settle => {
                state.left.settlements -= 1;
                let amount = state.account.collectable()?.commitment.amount;
                self.collect(&mut state, false, amount);
            }
            Action::Close => {
                state.left.closes -= 1;
                state.is_asked_to_close = true;
            }
            Action::Land { transaction } => state.land(transaction),
            Action::Lose { transaction } => {
                state.left.losses -= 1;
                state.sent[transaction].is_lost = true;
            }
            Action::Die => Self::die(&mut state),
            Action::Tick => state.tick(),
        }
        let authorised = |state: &State| state.account.standing().authorised;
        state.seen.fell |= authorised(&state) < authorised(last);
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut all = property::always();
        all.extend(self.sometimes.iter().cloned());
        all
    }
}

fn token(request: usize) -> Token {
    Token([u8::try_from(request).unwrap() + 1; 16])
}

/// What the payer signs for each request, not in this order: the last one is above the first deposit.
const AMOUNTS: [i128; CREDENTIALS] = [1, 2, 4];

/// In ledgers: how long a transaction may land, and how long the payer waits for his money. That is the least that does: a
/// request begins and ends within two, one settlement lands in the next, a second one is lost and that is known two
/// later, and the third one lands in the next.
const VALID: u8 = 1;
const WAITING: u8 = 7;

const NOW: u64 = 1_000;

/// More units than anybody has.
const FAR: i128 = 1_000;
