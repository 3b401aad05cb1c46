use stateright::Property;
use tollgate::store::channel::Phase;

use super::{
    Life,
    property::{CLOSED, COLLECTABLE},
    state::{Left, State},
};
use crate::{Mutant, must_break, must_hold};

fn life(left: Left) -> Life {
    Life { mutant: None, requests: 2, left, sometimes: Vec::new() }
}

/// The payer wants its money back.
fn taken_back() -> Left {
    Left { close_starts: 1, ..Left::default() }
}

fn seen(name: &'static str, is_seen: fn(&Life, &State) -> bool) -> Property<Life> {
    Property::sometimes(name, is_seen)
}

fn paid() -> Property<Life> {
    seen("all that can be is served and withdrawn", |life, state| {
        state.sold() == i128::try_from(life.requests).unwrap()
            && state.ledger.is_ended
            && state.ledger.withdrawn >= state.sold()
    })
}

#[test]
fn a_channel_that_grows_and_is_taken_back_pays_for_all_that_was_served() {
    must_hold(Life {
        requests: 3,
        sometimes: vec![
            paid(),
            seen("a commitment is too high until the deposit has grown", |_, state| {
                state.seen.refused && state.left.top_ups > 0
            }),
            seen("the payer takes the rest", |_, state| {
                state.ledger.is_ended && state.sent.is_empty()
            }),
        ],
        ..life(Left { top_ups: 1, ..taken_back() })
    });
}

#[test]
fn a_transaction_that_is_lost_and_a_gateway_that_dies_lose_no_money() {
    must_hold(Life {
        sometimes: vec![
            paid(),
            seen("a transaction does not land", |_, state| state.seen.lost),
            seen("what is given back is paid for by nobody", |_, state| {
                state.account.phase() == Phase::Closing && state.left.failures == 0
            }),
        ],
        ..life(Left { losses: 1, deaths: 1, failures: 1, settlements: 1, ..taken_back() })
    });
}

#[test]
fn a_gateway_that_closes_a_channel_serves_nothing_that_it_does_not_collect() {
    must_hold(Life {
        sometimes: vec![
            paid(),
            seen("it closes what nobody takes back", |_, state| {
                state.ledger.is_ended && state.ledger.effective_at.is_none()
            }),
        ],
        ..life(Left { closes: 1, losses: 1, failures: 1, settlements: 1, ..taken_back() })
    });
}

#[test]
fn a_closing_that_the_account_learns_of_afterwards_is_found() {
    let closed = Left { closes: 1, ..Left::default() };
    for left in [taken_back(), closed] {
        must_break(Life { mutant: Some(Mutant::MarkerAfterServe), ..life(left) }, &[CLOSED]);
    }
}

#[test]
fn a_commitment_above_the_deposit_is_found() {
    let life = Life { requests: 3, ..life(Left { top_ups: 1, ..taken_back() }) };
    must_break(Life { mutant: Some(Mutant::UncollectableOverwrite), ..life }, &[COLLECTABLE]);
}

#[test]
fn a_ledger_that_nobody_looks_at_is_found() {
    let life = life(taken_back());
    must_break(Life { mutant: Some(Mutant::WatchesTooSeldom), ..life }, &[CLOSED]);
}
