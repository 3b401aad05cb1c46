//! A payer that has many requests on their way at once and plays by the rules is never turned away.

use std::{collections::VecDeque, time::Duration};

use proptest::prelude::*;
use tollgate::{
    protocol::money::Amount,
    store::{
        Binding, Redelivery,
        channel::{Account, ChallengeDigest, Held, Reserve, Reserving, Token},
    },
};

use super::world::units;

/// A payer that reserves ahead: each request has a commitment of its own, above all before it, and the oldest challenge that
/// is at hand. It never runs further ahead of the oldest request that it has no answer to than [`AHEAD`].
struct Payer {
    account: Account,
    /// Challenges at hand.
    challenges: Vec<Challenge>,
    sent: u64,
    signed: i128,
    on_the_way: Vec<Request>,
    arrived: Vec<Request>,
    answers: Vec<(Request, Challenge)>,
    unanswered: VecDeque<u64>,
    made: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Challenge {
    base: Amount,
    number: u64,
}

#[derive(Clone, Copy, Debug)]
struct Request {
    number: u64,
    amount: Amount,
    price: Amount,
    challenge: Challenge,
    tries: u8,
}

/// What happens next, and to which of those it can happen to.
#[derive(Clone, Copy, Debug)]
enum Turn {
    Send { price: i128 },
    Arrive(usize),
    Answer { which: usize, delivered: bool },
    Hear(usize),
}

fn turns() -> impl Strategy<Value = Turn> {
    // The first, the last, or any: a request that is overtaken by all the others is among them.
    let which = || prop_oneof![Just(0), Just(usize::MAX), 0..64_usize];
    prop_oneof![
        4 => (1..9_i128).prop_map(|price| Turn::Send { price }),
        3 => which().prop_map(Turn::Arrive),
        3 => (which(), prop::bool::weighted(0.95))
            .prop_map(|(which, delivered)| Turn::Answer { which, delivered }),
        3 => which().prop_map(Turn::Hear),
    ]
}

impl Payer {
    fn new() -> Self {
        let challenge = |number| Challenge { base: Amount::ZERO, number };
        Self {
            account: Account::default(),
            challenges: (0..AHEAD).map(challenge).collect(),
            sent: 0,
            signed: 0,
            on_the_way: Vec::new(),
            arrived: Vec::new(),
            answers: Vec::new(),
            unanswered: VecDeque::new(),
            made: AHEAD,
        }
    }

    fn take(&mut self, turn: Turn) {
        match turn {
            Turn::Send { price } => self.send(price),
            Turn::Arrive(which) => {
                if let Some(request) = pick(&mut self.on_the_way, which) {
                    self.arrive(request);
                }
            }
            Turn::Answer { which, delivered } => {
                if let Some(request) = pick(&mut self.arrived, which) {
                    self.answer(request, delivered);
                }
            }
            Turn::Hear(which) => {
                if let Some((request, challenge)) = pick(&mut self.answers, which) {
                    self.unanswered.retain(|number| *number != request.number);
                    self.challenges.push(challenge);
                }
            }
        }
    }

    fn send(&mut self, price: i128) {
        let oldest = self.unanswered.front().copied().unwrap_or(self.sent);
        let Some(&challenge) = self.challenges.iter().min() else { return };
        if self.sent >= oldest + AHEAD {
            return;
        }
        self.challenges.retain(|other| *other != challenge);
        self.signed += price;
        self.on_the_way.push(Request {
            number: self.sent,
            amount: units(self.signed),
            price: units(price),
            challenge,
            tries: 1,
        });
        self.unanswered.push_back(self.sent);
        self.sent += 1;
    }

    fn arrive(&mut self, request: Request) {
        let outcome = self.account.reserve(&Reserve {
            commitment: Held { amount: request.amount, signature: [7; 64] },
            challenge: ChallengeDigest(u128::from(request.challenge.number).to_be_bytes()),
            base: request.challenge.base,
            binding: Binding([0; 32]),
            price: request.price,
            deposited: units(i128::MAX),
            withdrawn: self.account.withdrawn(),
            most_unsettled: units(i128::MAX),
            expired: false,
            at_least: Amount::ZERO,
            token: token(request),
            now: 1_000,
            lease_until: 2_000,
            redelivery: Redelivery { attempts: 3, within: Duration::from_secs(60) },
        });
        assert!(matches!(outcome, Reserving::Reserved(_)), "{outcome:?}: {request:?}");
        self.arrived.push(request);
    }

    fn answer(&mut self, mut request: Request, delivered: bool) {
        if !delivered && request.tries < 3 {
            self.account.give_back(token(request), true).unwrap();
            // The same credential comes again at once.
            request.tries += 1;
            return self.arrive(request);
        }
        self.account.keep(token(request), 200).unwrap();
        let challenge = Challenge { base: self.account.standing().authorised, number: self.made };
        self.made += 1;
        self.answers.push((request, challenge));
    }
}

fn token(request: Request) -> Token {
    Token((u128::from(request.number) << 8 | u128::from(request.tries)).to_be_bytes())
}

fn pick<T>(from: &mut Vec<T>, which: usize) -> Option<T> {
    let last = from.len().checked_sub(1)?;
    Some(from.remove(which.min(last)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// Case C17.
    #[test]
    fn c17_an_honest_payer_with_64_requests_on_their_way_is_never_refused(
        turns in prop::collection::vec(turns(), 1..2_500),
    ) {
        let mut payer = Payer::new();
        for turn in turns {
            payer.take(turn);
        }
        for request in std::mem::take(&mut payer.on_the_way) {
            payer.arrive(request);
        }
    }
}

/// The worst order: the request with the oldest challenge is overtaken by all that may overtake it.
#[test]
fn c17_a_request_that_all_the_others_overtake_is_not_too_late() {
    let mut payer = Payer::new();
    (0..AHEAD).for_each(|_| payer.send(1));
    // The oldest is answered first, and what it is answered with is used at once.
    payer.take(Turn::Arrive(0));
    payer.take(Turn::Answer { which: 0, delivered: true });
    payer.take(Turn::Hear(0));
    payer.send(1);
    let late = payer.on_the_way.pop().unwrap();
    for _ in 1..AHEAD {
        payer.take(Turn::Arrive(0));
        payer.take(Turn::Answer { which: 0, delivered: true });
        payer.take(Turn::Hear(0));
        payer.send(1);
    }
    for _ in 1..AHEAD {
        payer.take(Turn::Arrive(0));
        payer.take(Turn::Answer { which: 0, delivered: true });
    }
    payer.arrive(late);
}

/// Requests on their way at once.
const AHEAD: u64 = 64;
