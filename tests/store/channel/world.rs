//! What is done to a channel in the model tests: verbs at random, made into steps that mean something.

use std::time::Duration;

use proptest::prelude::*;
use tollgate::{
    protocol::{money::Amount, stellar::TxHash},
    store::{
        Binding, Redelivery,
        channel::{ChallengeDigest, Collection, Held, Reserve, Step, Token},
    },
};

use super::reference::Reference;

/// What happens next.
#[derive(Clone, Debug)]
pub(crate) enum Verb {
    /// A commitment comes with a new challenge, or with one that was made before.
    Pay {
        amount: Pick,
        challenge: Option<usize>,
        price: i128,
        terms: Terms,
    },
    /// A credential comes again.
    Again {
        which: usize,
        binding: u8,
        terms: Terms,
    },
    /// A challenge is made, and answered later.
    Challenge,
    Keep {
        which: usize,
        status: u16,
    },
    /// The caller knows that it was kept.
    Tell {
        which: usize,
    },
    GiveBack {
        which: usize,
        tried: bool,
    },
    Drop {
        which: usize,
    },
    /// The step before comes once more, as where an answer was lost.
    Repeat,
    Pass {
        seconds: u64,
    },
    Sweep,
    TopUp {
        units: i128,
    },
    Collect {
        closes: bool,
    },
    Collected {
        landed: bool,
    },
    Settled,
    /// More was withdrawn than anybody here knows to be authorised.
    Foreign,
    BeginClosing,
    Reopen,
    Ended,
    /// The process ends, in good order or not, and begins anew.
    Restart {
        clean: bool,
    },
}

/// A cumulative amount.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pick {
    /// What an honest payer would sign, and so much more.
    Due(i128),
    /// So far from what is authorised.
    Near(i128),
    /// So far from what was deposited.
    NearDeposit(i128),
}

/// What else a caller says of a payment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    lease: u64,
    /// What the caller has not seen of the deposit, and of what was withdrawn.
    unseen: i128,
    most_unsettled: i128,
    expired: bool,
    at_least: i128,
}

/// The payer, the callers and the ledger around one channel.
pub(crate) struct World {
    pub(crate) deposited: i128,
    now: u64,
    challenges: Vec<(ChallengeDigest, Amount)>,
    asks: Vec<Reserve>,
    drawn: u64,
}

/// What to do to what is tested.
#[derive(Clone, Debug)]
pub(crate) enum Deed {
    Step(Step),
    Drop(Token),
    Restart { clean: bool },
    Nothing,
}

/// Any verbs; `ends` says whether the channel may come to its end among them.
pub(crate) fn verbs(ends: bool) -> BoxedStrategy<Verb> {
    // Seldom from so long ago that it may have been forgotten.
    let which = || prop_oneof![9 => 0..12_usize, 1 => 0..400_usize];
    let amount = prop_oneof![
        8 => (0..4_i128).prop_map(Pick::Due),
        4 => (-12..6_i128).prop_map(Pick::Near),
        1 => (-2..3_i128).prop_map(Pick::NearDeposit),
    ];
    let challenge = proptest::option::weighted(0.3, which());
    let pay = (amount, challenge, 1..6_i128, terms());
    let pay = pay.prop_map(|(amount, challenge, price, terms)| Verb::Pay {
        amount,
        challenge,
        price,
        terms,
    });
    let again = (which(), 0..2_u8, terms());
    let again = again.prop_map(|(which, binding, terms)| Verb::Again { which, binding, terms });
    let common = prop_oneof![
        16 => pay,
        6 => again,
        2 => Just(Verb::Challenge),
        8 => (which(), any::<u16>()).prop_map(|(which, status)| Verb::Keep { which, status }),
        4 => which().prop_map(|which| Verb::Tell { which }),
        4 => (which(), any::<bool>()).prop_map(|(which, tried)| Verb::GiveBack { which, tried }),
        1 => which().prop_map(|which| Verb::Drop { which }),
        2 => Just(Verb::Repeat),
        2 => (0..40_u64).prop_map(|seconds| Verb::Pass { seconds }),
        1 => Just(Verb::Sweep),
        2 => (1..40_i128).prop_map(|units| Verb::TopUp { units }),
        2 => Just(Verb::Collect { closes: false }),
        2 => any::<bool>().prop_map(|landed| Verb::Collected { landed }),
        1 => Just(Verb::Settled),
        1 => any::<bool>().prop_map(|clean| Verb::Restart { clean }),
    ];
    if !ends {
        return common.boxed();
    }
    let end = prop_oneof![
        Just(Verb::Collect { closes: true }),
        Just(Verb::BeginClosing),
        Just(Verb::Reopen),
        Just(Verb::Reopen),
        Just(Verb::Ended),
        Just(Verb::Foreign),
    ];
    prop_oneof![60 => common, 1 => end].boxed()
}

/// Purchases one after the other, and whatever else comes between.
pub(crate) fn purchases() -> impl Strategy<Value = Vec<Verb>> {
    let purchase = (1..6_i128, terms()).prop_map(|(price, terms)| {
        let pay = Verb::Pay { amount: Pick::Due(0), challenge: None, price, terms };
        let keep = Verb::Keep { which: 0, status: 200 };
        vec![Verb::TopUp { units: price }, pay, keep, Verb::Tell { which: 0 }]
    });
    let any = verbs(false).prop_map(|verb| vec![verb]);
    prop::collection::vec(prop_oneof![1 => purchase, 1 => any], 400..600)
        .prop_map(|verbs| verbs.concat())
}

fn terms() -> impl Strategy<Value = Terms> {
    let lease = 5..60_u64;
    let unseen = prop_oneof![9 => Just(0), 1 => 0..20_i128];
    let most_unsettled = prop_oneof![9 => Just(i128::MAX), 1 => 5..60_i128];
    let expired = prop::bool::weighted(0.1);
    let at_least = prop_oneof![9 => Just(0), 1 => 0..60_i128];
    (lease, unseen, most_unsettled, expired, at_least).prop_map(
        |(lease, unseen, most_unsettled, expired, at_least)| Terms {
            lease,
            unseen,
            most_unsettled,
            expired,
            at_least,
        },
    )
}

impl World {
    pub(crate) fn new() -> Self {
        Self { deposited: 60, now: 1_000, challenges: Vec::new(), asks: Vec::new(), drawn: 0 }
    }

    /// What `verb` is now that things stand as `reference` says; `before` is the step before.
    pub(crate) fn deed(
        &mut self,
        verb: &Verb,
        reference: &Reference,
        before: Option<&Step>,
    ) -> Deed {
        let step = match *verb {
            Verb::Pay { amount, challenge, price, terms } => {
                let ask = self.pay(amount, challenge, price, terms, reference);
                self.asks.push(ask.clone());
                Step::Reserve(Box::new(ask))
            }
            Verb::Again { which, binding, terms } => {
                let Some(first) = self.latest(which).cloned() else { return Deed::Nothing };
                let price = first.price.units();
                let fresh = self.ask(first.commitment.amount, price, terms, reference);
                let Reserve { challenge, base, .. } = first;
                let binding = Binding([binding; 32]);
                Step::Reserve(Box::new(Reserve { challenge, base, binding, ..fresh }))
            }
            Verb::Challenge => {
                self.challenge(reference);
                return Deed::Nothing;
            }
            Verb::Keep { which, status } => match self.latest(which) {
                Some(ask) => Step::Keep { token: ask.token, status },
                None => return Deed::Nothing,
            },
            Verb::Tell { which } => match self.latest(which) {
                Some(ask) => {
                    let then = Box::new(Step::Sweep { now: self.now });
                    Step::After { told: vec![ask.token], then }
                }
                None => return Deed::Nothing,
            },
            Verb::GiveBack { which, tried } => match self.latest(which) {
                Some(ask) => Step::GiveBack { token: ask.token, tried },
                None => return Deed::Nothing,
            },
            Verb::Drop { which } => match self.latest(which) {
                Some(ask) => return Deed::Drop(ask.token),
                None => return Deed::Nothing,
            },
            Verb::Repeat => match before {
                Some(before) => before.clone(),
                None => return Deed::Nothing,
            },
            Verb::Pass { seconds } => {
                self.now += seconds;
                return Deed::Nothing;
            }
            Verb::Sweep => Step::Sweep { now: self.now },
            Verb::TopUp { units } => {
                self.deposited += units;
                return Deed::Nothing;
            }
            Verb::Collect { closes } => match reference.collectable() {
                Some(amount) => Step::Collect(Collection {
                    closes,
                    amount: units(amount),
                    transaction: self.transaction(),
                    valid_until: self.now + 60,
                    since_ledger: 7,
                }),
                None => return Deed::Nothing,
            },
            Verb::Collected { landed } => match reference.collection() {
                Some(collection) => Step::Collected { transaction: collection.transaction, landed },
                None => Step::Collected { transaction: TxHash([255; 32]), landed },
            },
            Verb::Settled => match reference.collectable() {
                Some(amount) => Step::SawWithdrawn(units(amount)),
                None => return Deed::Nothing,
            },
            Verb::Foreign => Step::SawWithdrawn(units(reference.authorised() + 1)),
            Verb::BeginClosing => Step::BeginClosing,
            Verb::Reopen => Step::Reopen,
            Verb::Ended => Step::Ended,
            Verb::Restart { clean } => return Deed::Restart { clean },
        };
        Deed::Step(step)
    }

    /// A reservation was made by a credential that came again: its token is the one to end it by.
    pub(crate) fn reserved(&mut self, ask: &Reserve) {
        let amount = ask.commitment.amount;
        if let Some(first) = self.asks.iter_mut().find(|it| it.commitment.amount == amount) {
            first.token = ask.token;
        }
    }

    fn pay(
        &mut self,
        amount: Pick,
        challenge: Option<usize>,
        price: i128,
        terms: Terms,
        reference: &Reference,
    ) -> Reserve {
        let authorised = reference.authorised();
        let amount = match amount {
            Pick::Due(more) => authorised.max(reference.spent() + price).max(authorised + 1) + more,
            Pick::Near(by) => authorised + by,
            Pick::NearDeposit(by) => self.deposited + by,
        };
        let ask = self.ask(units(amount.max(0)), price, terms, reference);
        let made = challenge.and_then(|which| self.challenges.iter().rev().nth(which).copied());
        let (challenge, base) = made.unwrap_or_else(|| self.challenge(reference));
        Reserve { challenge, base, ..ask }
    }

    fn ask(&mut self, amount: Amount, price: i128, terms: Terms, reference: &Reference) -> Reserve {
        let drawn = self.draw();
        Reserve {
            commitment: Held { amount, signature: [7; 64] },
            challenge: ChallengeDigest([0; 16]),
            base: Amount::ZERO,
            binding: Binding([0; 32]),
            price: units(price),
            deposited: units((self.deposited - terms.unseen).max(0)),
            withdrawn: units((reference.withdrawn() - terms.unseen).max(0)),
            most_unsettled: units(terms.most_unsettled),
            expired: terms.expired,
            at_least: units(terms.at_least),
            token: Token(u128::from(drawn).to_be_bytes()),
            now: self.now,
            lease_until: self.now + terms.lease,
            redelivery: Redelivery { attempts: 2, within: Duration::from_secs(50) },
        }
    }

    fn challenge(&mut self, reference: &Reference) -> (ChallengeDigest, Amount) {
        let digest = ChallengeDigest(u128::from(self.draw()).to_be_bytes());
        let made = (digest, units(reference.authorised()));
        self.challenges.push(made);
        made
    }

    fn latest(&self, which: usize) -> Option<&Reserve> {
        self.asks.iter().rev().nth(which)
    }

    fn transaction(&mut self) -> TxHash {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&self.draw().to_be_bytes());
        TxHash(hash)
    }

    const fn draw(&mut self) -> u64 {
        self.drawn += 1;
        self.drawn
    }
}

pub(crate) fn units(units: i128) -> Amount {
    Amount::from_units(units).unwrap()
}
