use std::time::Duration;

use stateright::Property;

use super::{
    Fleet,
    property::{BOUND, COLLECTABLE, CONSERVED, DURABLE, MONOTONE, NOT_FAILED, ONCE},
    state::{Credential, Left, State},
};
use crate::{Mutant, is_large, must_break, must_hold, must_hold_at_random};

/// One payer signs more than it needs, and pays with the second one before the first has come. Somebody else has got hold of
/// the first one, and comes with it for another request.
const SIGNED: &[Credential] = &[
    Credential { amount: 3, challenge: 1, request: 1 },
    Credential { amount: 2, challenge: 2, request: 2 },
    Credential { amount: 3, challenge: 1, request: 3 },
];

/// The gateways that a request comes to.
const NONE: u8 = 0;
const FIRST: u8 = 1;
const SECOND: u8 = 2;
const BOTH: u8 = 3;

/// Two servers, both of which must have what is served, and two gateways.
fn pair(left: Left) -> Fleet {
    Fleet {
        mutant: None,
        nodes: 2,
        gateways: 2,
        promotable: 1,
        credentials: SIGNED,
        deposited: 3,
        left,
        is_split: false,
        sometimes: Vec::new(),
    }
}

/// Three servers of which two must have what is served: the third one may be promoted all the same.
fn trio(left: Left) -> Fleet {
    Fleet { nodes: 3, ..pair(left) }
}

/// Copies of one payment come to both gateways.
fn copies() -> Left {
    Left { requests: [BOTH, NONE, NONE], ..Left::default() }
}

/// Two payments, each to a gateway of its own.
fn payments() -> Left {
    Left { requests: [FIRST, SECOND, NONE], ..Left::default() }
}

fn one() -> Left {
    Left { requests: [FIRST, NONE, NONE], ..Left::default() }
}

fn seen(name: &'static str, is_seen: fn(&Fleet, &State) -> bool) -> Property<Fleet> {
    Property::sometimes(name, is_seen)
}

fn served() -> Property<Fleet> {
    seen("it is served", |_, state| state.sold() > 0)
}

fn told_free() -> Property<Fleet> {
    seen("it is told that nothing was charged", |_, state| state.seen.told_free.contains(&true))
}

fn unknown() -> Property<Fleet> {
    seen("it is told that nobody knows", |_, state| state.seen.unknown)
}

fn served_elsewhere() -> Property<Fleet> {
    seen("it is served by another server", |_, state| state.seen.served_after)
}

#[test]
fn copies_of_a_payment_buy_one_answer() {
    must_hold(Fleet {
        sometimes: vec![
            served(),
            told_free(),
            unknown(),
            seen("a lost answer is found out", |_, state| state.seen.resolved),
            seen("a late write is refused", |_, state| state.seen.refused),
            seen("an answer is held back", |_, state| state.seen.lapsed),
        ],
        ..pair(Left { losses: 1, failures: 1, lateness: 1, ..copies() })
    });
}

#[test]
fn a_stolen_payment_buys_one_request() {
    let left = Left { requests: [FIRST, NONE, SECOND], losses: 1, failures: 1, ..Left::default() };
    must_hold(Fleet { sometimes: vec![served(), told_free(), unknown()], ..pair(left) });
}

#[test]
fn payments_that_overtake_each_other_are_both_recorded() {
    let both = seen("both are served", |_, state| state.sold() == 2);
    must_hold(Fleet { sometimes: vec![both, unknown()], ..pair(Left { losses: 1, ..payments() }) });
}

#[test]
fn a_gateway_that_dies_leaves_what_it_reserved_to_the_others() {
    let again = seen("the upstream delivers twice", |_, state| state.seen.acts[0] == 2);
    must_hold(Fleet {
        sometimes: vec![served(), again],
        ..pair(Left { deaths: 1, failures: 1, lateness: 1, ..copies() })
    });
}

#[test]
fn a_failover_loses_nothing_that_was_served() {
    must_hold(Fleet {
        sometimes: vec![served(), unknown(), served_elsewhere()],
        ..pair(Left { failovers: 1, lateness: 1, ..copies() })
    });
}

#[test]
fn a_primary_that_is_deposed_and_comes_back_acknowledges_nothing_of_before() {
    must_hold(Fleet {
        sometimes: vec![served(), unknown(), served_elsewhere()],
        ..pair(Left { failovers: 2, ..one() })
    });
}

#[test]
fn a_primary_that_restarts_has_what_was_served() {
    must_hold(Fleet {
        sometimes: vec![served(), unknown()],
        ..pair(Left { crashes: 1, deaths: 1, ..copies() })
    });
}

#[test]
fn a_replica_that_lacks_what_was_served_is_brought_up_by_the_journals() {
    must_hold(Fleet {
        sometimes: vec![
            served(),
            served_elsewhere(),
            seen("what was served is not there", |_, state| {
                state.seen.rolled_back && state.sold() > 0
            }),
            seen("a journal brings it back", |_, state| {
                state.seen.restored && state.seen.rolled_back && state.open().is_some()
            }),
        ],
        ..trio(Left { failovers: 1, ..copies() })
    });
}

#[test]
fn a_gateway_that_strays_to_the_last_primary_sells_nothing_there() {
    must_hold(Fleet {
        is_split: true,
        sometimes: vec![served(), unknown()],
        ..trio(Left { strays: 1, ..copies() })
    });
}

/// Some minutes, if the machine is not busy: the above with more faults at once.
#[test]
fn nothing_is_lost_to_several_faults_at_once() {
    if !is_large() {
        return;
    }
    must_hold(trio(Left { failovers: 1, ..payments() }));
    must_hold(trio(Left { failovers: 1, strays: 1, ..copies() }));
    must_hold(pair(Left { failovers: 1, losses: 1, deaths: 1, ..copies() }));
    must_hold(pair(Left { failovers: 2, ..copies() }));
}

/// Six minutes: so many faults at once that only some of what can happen does.
#[test]
fn nothing_is_lost_at_random() {
    if !is_large() {
        return;
    }
    let all = Left {
        requests: [BOTH, BOTH, NONE],
        losses: 2,
        deaths: 1,
        crashes: 1,
        failovers: 2,
        strays: 1,
        failures: 1,
        lateness: 1,
        expiries: 0,
    };
    for fleet in [pair(all), trio(all), Fleet { promotable: 2, ..trio(all) }] {
        must_hold_at_random(fleet, Duration::from_secs(120));
    }
}

#[test]
fn a_read_from_a_replica_is_found() {
    let fleet = pair(payments());
    must_break(Fleet { mutant: Some(Mutant::AsyncReplicaRead), ..fleet }, &[MONOTONE, CONSERVED]);
}

#[test]
fn a_check_that_stands_apart_from_the_write_is_found() {
    let fleet = pair(copies());
    must_break(Fleet { mutant: Some(Mutant::CheckThenSet), ..fleet }, &[ONCE, CONSERVED]);
}

#[test]
fn an_answer_before_the_acknowledgement_is_found() {
    must_break(Fleet { mutant: Some(Mutant::ServeBeforeAck), ..pair(one()) }, &[DURABLE]);
}

#[test]
fn acknowledgements_that_nobody_counts_are_found() {
    must_break(Fleet { mutant: Some(Mutant::WaitCountIgnored), ..pair(one()) }, &[DURABLE]);
}

#[test]
fn a_replay_set_that_forgets_is_found() {
    let fleet = pair(Left { expiries: 1, ..copies() });
    must_break(Fleet { mutant: Some(Mutant::ExpiringReplaySet), ..fleet }, &[ONCE]);
}

#[test]
fn a_retry_that_takes_all_for_its_own_is_found() {
    let fleet = pair(Left { losses: 1, ..copies() });
    must_break(Fleet { mutant: Some(Mutant::RetryWithoutIdempotency), ..fleet }, &[ONCE]);
}

/// The one to whom it was stolen from pays for another's request.
#[test]
fn a_retry_that_takes_all_for_its_own_is_found_to_sell_to_a_thief() {
    let left = Left { requests: [FIRST, NONE, SECOND], losses: 1, ..Left::default() };
    let fleet = Fleet { mutant: Some(Mutant::RetryWithoutIdempotency), ..pair(left) };
    must_break(fleet, &[BOUND]);
}

#[test]
fn a_commitment_above_the_deposit_is_found() {
    let over = &[Credential { amount: 4, challenge: 1, request: 1 }];
    let fleet = Fleet { mutant: Some(Mutant::UncollectableOverwrite), ..pair(one()) };
    must_break(Fleet { credentials: over, ..fleet }, &[COLLECTABLE]);
}

#[test]
fn a_fence_that_opens_before_the_last_member_is_found() {
    let fleet = trio(Left { failovers: 1, ..copies() });
    must_break(Fleet { mutant: Some(Mutant::FenceOpensEarly), ..fleet }, &[ONCE]);
}

#[test]
fn a_journal_of_what_was_never_acknowledged_is_found() {
    let fleet = pair(Left { failovers: 1, ..one() });
    must_break(Fleet { mutant: Some(Mutant::JournalBeforeAck), ..fleet }, &[NOT_FAILED]);
}

#[test]
fn an_acknowledgement_in_another_epoch_is_found() {
    let fleet = pair(Left { failovers: 2, ..one() });
    must_break(Fleet { mutant: Some(Mutant::EpochUnchecked), ..fleet }, &[DURABLE]);
}

#[test]
fn a_gateway_that_sells_in_its_old_epoch_while_it_moves_is_found() {
    let fleet = trio(Left { failovers: 1, strays: 1, ..one() });
    must_break(Fleet { mutant: Some(Mutant::LeavesLate), ..fleet }, &[CONSERVED]);
}

#[test]
fn a_gateway_that_goes_back_to_its_old_epoch_is_found() {
    let fleet = Fleet { is_split: true, ..trio(Left { strays: 1, ..copies() }) };
    must_break(Fleet { mutant: Some(Mutant::EpochReturns), ..fleet }, &[ONCE]);
}

#[test]
fn an_answer_that_nobody_knows_to_be_recorded_is_found() {
    let fleet = pair(Left { losses: 1, ..one() });
    must_break(Fleet { mutant: Some(Mutant::AnswerOnUnknown), ..fleet }, &[CONSERVED]);
}

#[test]
fn a_word_of_failure_where_nobody_knows_is_found() {
    let fleet = pair(Left { losses: 1, ..one() });
    must_break(Fleet { mutant: Some(Mutant::UnknownIsFailed), ..fleet }, &[NOT_FAILED]);
}
