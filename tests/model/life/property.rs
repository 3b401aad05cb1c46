//! What must hold at every moment of a channel's life.

use stateright::Property;

use super::{Life, state::State};

pub(crate) fn always() -> Vec<Property<Life>> {
    vec![
        Property::always(MONOTONE, |_, state: &State| !state.seen.fell),
        Property::always(CONSERVED, |_, state| is_conserved(state)),
        Property::always(COLLECTABLE, |_, state| is_collectable(state)),
        Property::always(ALONE, |_, state| is_alone(state)),
        Property::always(CLOSED, |_, state: &State| !state.ledger.is_ended || is_paid(state)),
    ]
}

/// What was served is at most what is recorded as delivered, spent, authorised, deposited, each at most the next one.
fn is_conserved(state: &State) -> bool {
    let (account, standing) = (&state.account, state.account.standing());
    state.sold() <= account.delivered().units()
        && account.delivered() <= standing.spent
        && standing.spent <= standing.authorised
        && standing.authorised.units() <= state.ledger.deposited
}

/// As long as there is a channel, a commitment is held that the contract honours, for all that was served.
fn is_collectable(state: &State) -> bool {
    let honoured = state.sold()..=state.ledger.deposited;
    let mut held = state.account.held().iter();
    state.ledger.is_ended
        || is_paid(state)
        || held.any(|held| honoured.contains(&held.amount.units()))
}

/// No transaction is sent while another one may still land.
fn is_alone(state: &State) -> bool {
    state.sent.iter().filter(|sent| sent.fate.is_none()).count() <= 1
}

/// What was served was withdrawn.
fn is_paid(state: &State) -> bool {
    state.sold() <= state.ledger.withdrawn
}

pub(crate) const MONOTONE: &str = "I2 the mark never falls";
pub(crate) const CONSERVED: &str = "I3 served, spent, authorised, deposited";
pub(crate) const COLLECTABLE: &str = "I4 collectable";
pub(crate) const ALONE: &str = "I9 one transaction at a time";
pub(crate) const CLOSED: &str = "I8 nothing served is lost at the end";
