//! Holds whatever keeps a channel's account to the reference.

use std::collections::{HashMap, HashSet};

use tollgate::store::channel::{
    Account, ChallengeDigest, MOST_HELD, Reserving, Step, Stepped, Token, Unfit,
};

use super::{
    reference::{Expected, Reference},
    world::{Deed, Verb, World},
};

/// Something that keeps the account of one channel.
pub(crate) trait Subject {
    /// Whether the caller has what the step takes.
    fn can(&self, step: &Step) -> bool;

    async fn step(&mut self, step: &Step) -> Stepped;

    /// Drops a reservation; `false` if it is not held.
    async fn drop_reservation(&mut self, token: Token) -> bool;

    /// The process ends, `clean` or not, and begins anew. Whether that gives back what was in flight; if not, leases do.
    async fn restart(&mut self, clean: bool) -> bool;

    async fn account(&mut self) -> Account;
}

/// Does `verbs` to `subject` and to the reference, and compares.
pub(crate) async fn hold_to_reference(subject: &mut impl Subject, verbs: &[Verb]) {
    let mut world = World::new();
    let mut reference = Reference::default();
    let mut books = Books::default();
    let mut before = None;
    let mut is_crowded = false;
    for verb in verbs {
        match world.deed(verb, &reference, before.as_ref()) {
            Deed::Step(step) if subject.can(&step) => {
                let stepped = subject.step(&step).await;
                follow(&mut reference, &step, &stepped);
                if let Step::Reserve(ask) = &step
                    && matches!(stepped, Stepped::Reserving(Reserving::Reserved(_)))
                {
                    world.reserved(ask);
                }
                books.enter(&step, &stepped);
                before = Some(step);
            }
            Deed::Drop(token) => {
                if subject.drop_reservation(token).await {
                    reference.step(&Step::GiveBack { token, tried: true });
                    books.kept.remove(&token);
                }
            }
            Deed::Restart { clean } => {
                if subject.restart(clean).await {
                    reference.give_back_all();
                }
            }
            Deed::Step(_) | Deed::Nothing => continue,
        }
        let account = subject.account().await;
        agree(&account, &reference);
        // With so many held at once the finest change may be lost, and nothing else.
        is_crowded |= reference.covering() > MOST_HELD;
        let found = account.collectable().map(|found| found.commitment.amount.units());
        let smallest = reference.collectable();
        assert!(found == smallest || (is_crowded && smallest.is_some() && found > smallest));
        books.check(&account, world.deposited);
    }
}

/// Has the reference do what was done, and compares what came of it.
fn follow(reference: &mut Reference, step: &Step, stepped: &Stepped) {
    let mut after = reference.clone();
    let expected = after.step(step);
    let found = Expected::from(stepped);
    if let Step::Reserve(ask) = step
        && let Stepped::Reserving(Reserving::Refused(unfit)) = stepped
        && found != expected
    {
        // An account that remembers everything would have known better.
        assert!(matches!(unfit, Unfit::Used | Unfit::ChallengeUsed), "{unfit:?}: {ask:?}");
        assert!(reference.may_be_forgotten(ask), "{expected:?} was refused as {unfit:?}: {ask:?}");
        reference.step(&Step::Sweep { now: ask.now });
        return;
    }
    assert_eq!(found, expected, "{stepped:?} of {step:?}");
    *reference = after;
}

fn agree(account: &Account, reference: &Reference) {
    let standing = account.standing();
    assert_eq!(standing.authorised.units(), reference.authorised(), "authorised");
    assert_eq!(standing.spent.units(), reference.spent(), "spent");
    assert_eq!(account.in_flight().units(), reference.in_flight(), "in flight");
    assert_eq!(account.delivered().units(), reference.delivered(), "delivered");
    assert_eq!(account.withdrawn().units(), reference.withdrawn(), "withdrawn");
    assert_eq!(account.collection(), reference.collection());
}

/// What was sold, by nothing but the answers.
#[derive(Default)]
struct Books {
    reserved: HashMap<Token, (i128, ChallengeDigest, i128)>,
    kept: HashMap<Token, (i128, ChallengeDigest, i128)>,
    authorised: i128,
}

impl Books {
    fn enter(&mut self, step: &Step, stepped: &Stepped) {
        match (step, stepped) {
            (Step::Reserve(ask), Stepped::Reserving(Reserving::Reserved(_))) => {
                let sale = (ask.commitment.amount.units(), ask.challenge, ask.price.units());
                self.reserved.insert(ask.token, sale);
            }
            (Step::Keep { token, .. }, Stepped::Stands(Ok(_))) => {
                self.kept.insert(*token, self.reserved[token]);
                let amounts: HashSet<_> = self.kept.values().map(|sale| sale.0).collect();
                let challenges: HashSet<_> = self.kept.values().map(|sale| sale.1).collect();
                assert_eq!(amounts.len(), self.kept.len(), "an amount bought two answers");
                assert_eq!(challenges.len(), self.kept.len(), "a challenge bought two answers");
            }
            (Step::GiveBack { token, .. }, Stepped::Stands(Ok(_))) => {
                self.kept.remove(token);
            }
            _ => {}
        }
    }

    fn check(&mut self, account: &Account, deposited: i128) {
        let sold: i128 = self.kept.values().map(|sale| sale.2).sum();
        let standing = account.standing();
        let (authorised, spent) = (standing.authorised.units(), standing.spent.units());
        assert_eq!(sold, spent - account.in_flight().units(), "sold");
        assert!(spent <= authorised && authorised <= deposited);
        assert!(self.authorised <= authorised, "what was authorised fell");
        self.authorised = authorised;
        if sold > account.withdrawn().units() {
            let collectable = account.collectable().expect("what was sold can be collected");
            assert!(collectable.commitment.amount.units() >= sold);
            assert!(account.held().contains(&collectable.commitment));
        }
    }
}
