//! The judge finds what is wrong, and nothing where all is well.

use super::*;
use crate::history::Hits;

const PRICE: i128 = 10;

const fn standing(authorised: i128, spent: i128) -> Standing {
    Standing { authorised, spent }
}

fn request(id: u64, commitment: i128, asked: usize, answered: usize, seen: &[Seen]) -> Request {
    Request { id, commitment, seen: seen.to_vec(), hits: Hits { asked, answered } }
}

/// One of each that may be: served; lost on its way and told so; failed; refused; delivered twice over a crash.
fn good() -> History {
    let first = standing(10, 10);
    let requests = vec![
        request(1, 10, 1, 1, &[Seen::Served(first)]),
        request(2, 20, 1, 1, &[Seen::Cut, Seen::Busy, Seen::Replayed(standing(20, 20))]),
        request(3, 30, 1, 0, &[Seen::Failed]),
        request(4, 30, 0, 0, &[Seen::Refused("amount_used".into())]),
        request(5, 45, 2, 2, &[Seen::Cut, Seen::Served(standing(45, 30))]),
        request(6, 60, 0, 0, &[Seen::Fault, Seen::Refused("challenge_used".into())]),
    ];
    let channel = Channel {
        deposit: 100,
        requests,
        receipts: vec![vec![first, standing(20, 20), standing(45, 30)]],
        standing: standing(45, 30),
        collectable: Some(30),
        refund: 70,
    };
    History { channels: vec![channel], received: 30 }
}

/// The faults of the good history once it was doctored.
fn doctored(doctor: impl FnOnce(&mut Channel)) -> Vec<Fault> {
    let mut history = good();
    doctor(&mut history.channels[0]);
    history.received = history.channels[0].payout();
    judge(&history, PRICE).faults
}

#[test]
fn nothing_is_wrong_with_a_good_history() {
    let Verdict { faults, counts } = judge(&good(), PRICE);
    assert_eq!(faults, []);
    assert_eq!((counts.requests, counts.served, counts.unheard), (6, 2, 1));
    assert_eq!((counts.returned, counts.forgotten, counts.extra), (3, 0, 1));
    assert_eq!(counts.more_than_once, [(1, 1)].into());
}

#[test]
fn an_answer_that_is_not_paid_is_found() {
    let faults = doctored(|it| it.standing.spent -= PRICE);
    assert!(faults.contains(&Fault::Unpaid { channel: 0, kept: 30, spent: 20 }), "{faults:?}");
}

#[test]
fn a_payment_for_nothing_is_found() {
    let faults = doctored(|it| it.standing.spent += PRICE);
    let over = Fault::Overspent { channel: 0, at_most: 30, spent: 40 };
    assert!(faults.contains(&over), "{faults:?}");
    let faults = doctored(|it| it.standing.authorised = 20);
    let drawn = Fault::Overdrawn { channel: 0, standing: standing(20, 30) };
    assert!(faults.contains(&drawn), "{faults:?}");
}

#[test]
fn a_second_answer_for_one_commitment_is_found() {
    let again = |it: &mut Channel| {
        it.requests[0].seen.push(Seen::Served(standing(10, 10)));
        it.requests[0].hits = Hits { asked: 2, answered: 2 };
    };
    assert_eq!(doctored(again), [Fault::ServedTwice { request: 1, times: 2 }]);
}

#[test]
fn a_second_delivery_without_a_crash_is_found() {
    let faults = doctored(|it| it.requests[0].hits.answered += 1);
    assert_eq!(faults, [Fault::Delivered { request: 1, answered: 2, at_most: 1 }]);
    let faults = doctored(|it| it.requests[4].hits = Hits { asked: 3, answered: 3 });
    assert!(
        faults.contains(&Fault::Delivered { request: 5, answered: 3, at_most: 2 }),
        "{faults:?}"
    );
}

#[test]
fn an_upstream_that_is_reached_unpaid_is_found() {
    let faults = doctored(|it| it.requests[3].hits.asked = 1);
    assert_eq!(faults, [Fault::Reached { request: 4, asked: 1, at_most: 0 }]);
}

#[test]
fn an_answer_from_nowhere_is_found() {
    let faults = doctored(|it| it.requests[0].hits = Hits::default());
    assert_eq!(faults, [Fault::Invented { request: 1 }]);
}

#[test]
fn a_mark_that_fell_is_found() {
    let faults = doctored(|it| it.standing.authorised = 44);
    let lowered =
        Fault::Lowered { request: 5, receipt: standing(45, 30), standing: standing(44, 30) };
    assert_eq!(faults, [lowered]);
    let faults = doctored(|it| it.requests[4].seen[1] = Seen::Served(standing(45, 30 + 4 * PRICE)));
    let receipt = standing(45, 70);
    assert_eq!(faults, [Fault::Lowered { request: 5, receipt, standing: standing(45, 30) }]);
    let faults = doctored(|it| it.receipts[0].swap(1, 2));
    assert_eq!(faults, [Fault::Fell { channel: 0, before: 45, after: 20 }]);
}

#[test]
fn an_amount_that_nobody_signed_is_found() {
    let faults = doctored(|it| it.standing.authorised = 61);
    assert_eq!(faults, [Fault::NotSigned { channel: 0, authorised: 61, signed: 60 }]);
}

#[test]
fn a_wrong_payout_is_found() {
    let less = doctored(|it| (it.refund, it.collectable) = (80, None));
    assert_eq!(less, [Fault::Underpaid { channel: 0, payout: 20, spent: 30 }]);
    let more = doctored(|it| (it.refund, it.collectable) = (55, None));
    assert_eq!(more, [Fault::WrongCommitment { channel: 0, payout: 45, right: Some(30) }]);
    let other = doctored(|it| (it.refund, it.collectable) = (69, None));
    assert_eq!(other, [Fault::WrongCommitment { channel: 0, payout: 31, right: Some(30) }]);
    let another = doctored(|it| it.collectable = Some(45));
    assert_eq!(another, [Fault::OtherCollected { channel: 0, payout: 30, collectable: 45 }]);
    let mislaid = judge(&History { received: 29, ..good() }, PRICE).faults;
    assert_eq!(mislaid, [Fault::Mislaid { paid: 30, received: 29 }]);
}
