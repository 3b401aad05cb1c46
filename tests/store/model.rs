//! Any order of verbs, restarts and crashes, against a model that was written from the documentation of the verbs.

use std::{collections::BTreeMap, path::PathBuf};

use proptest::{prelude::*, test_runner::TestRunner};
use tollgate::{
    protocol::stellar::TxHash,
    store::{
        Binding, Claim, Claiming, Error, Outcome, RedisSettings, Settled, Store, Submitting,
        TakenBy, TakenState, Ticket,
    },
};

use super::{NOW, REDELIVERY, WITHIN, claim, key, settled, stores, submitting, support::Server};

/// What is done to a store in the model test.
#[derive(Clone, Debug)]
enum Verb {
    Claim { n: u32, alias: Option<u32>, binding: u8 },
    Submitting { n: u32, hash: Option<u8> },
    Recall { n: u32 },
    Settled { n: u32 },
    Delivered { n: u32, status: u16 },
    Release { n: u32 },
    Drop { n: u32 },
    Refuse { n: u32 },
    Resolve { n: u32, hash: Option<u8>, outcome: u8 },
    Wait { seconds: u64 },
    Pending,
    Restart,
    Kill,
}

fn verbs() -> impl Strategy<Value = Verb> {
    let n = || 0..PAYMENTS;
    // Fewer than there are payments, and equal to some of their keys, which must mean nothing.
    let alias = || proptest::option::weighted(0.7, 0..2_u32);
    let hash = || proptest::option::weighted(0.7, 0..2_u8);
    prop_oneof![
        10 => (n(), alias(), prop_oneof![9 => Just(0), 1 => Just(1)])
            .prop_map(|(n, alias, binding)| Verb::Claim { n, alias, binding }),
        4 => (n(), hash()).prop_map(|(n, hash)| Verb::Submitting { n, hash }),
        1 => n().prop_map(|n| Verb::Recall { n }),
        3 => n().prop_map(|n| Verb::Settled { n }),
        2 => (n(), any::<u16>()).prop_map(|(n, status)| Verb::Delivered { n, status }),
        2 => n().prop_map(|n| Verb::Release { n }),
        1 => n().prop_map(|n| Verb::Drop { n }),
        1 => n().prop_map(|n| Verb::Refuse { n }),
        2 => (n(), hash(), 0..3_u8)
            .prop_map(|(n, hash, outcome)| Verb::Resolve { n, hash, outcome }),
        1 => (0..80_u64).prop_map(|seconds| Verb::Wait { seconds }),
        1 => Just(Verb::Pending),
        1 => Just(Verb::Restart),
        1 => Just(Verb::Kill),
    ]
}

/// What the model believes of one claim: written from the documentation of the verbs, not from their code.
#[derive(Clone, Debug, PartialEq)]
struct Believed {
    what: What,
    terms: Terms,
}

/// What a claim was first made with.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Terms {
    keep_until: u64,
    alias: Option<u32>,
}

#[derive(Clone, Debug, PartialEq)]
enum What {
    Submitting(Submitting),
    Settled { settled: Settled, attempts: u8 },
    Delivered(Settled, u16),
    Refused,
}

struct Model<'a> {
    place: Place<'a>,
    store: Store,
    now: u64,
    believed: BTreeMap<u32, Believed>,
    tickets: BTreeMap<u32, (Ticket, Terms)>,
}

/// Where the store keeps what it keeps.
enum Place<'a> {
    File {
        file: PathBuf,
        files: u32,
    },
    /// On a server, with a prefix of its own.
    Server {
        server: &'a mut Server,
        prefix: String,
    },
}

impl Place<'_> {
    async fn open(&self) -> Store {
        match self {
            Self::File { file, .. } => Store::open(file).await.unwrap(),
            Self::Server { server, prefix } => {
                let prefix = prefix.clone();
                let settings = RedisSettings { prefix, ..stores::settings(server.url()) };
                Store::redis(settings).await.unwrap()
            }
        }
    }
}

impl<'a> Model<'a> {
    async fn new(place: Place<'a>) -> Self {
        let store = place.open().await;
        Self { place, store, now: NOW, believed: BTreeMap::new(), tickets: BTreeMap::new() }
    }

    async fn carry_out(&mut self, verb: Verb) {
        match verb {
            Verb::Claim { n, alias, binding } => self.claim(n, alias, binding).await,
            Verb::Submitting { n, hash } => {
                let Some((mut ticket, terms)) = self.tickets.remove(&n) else { return };
                let new = self.submission(hash);
                let ok = match self.believed.get(&n).map(|believed| &believed.what) {
                    None => true,
                    Some(What::Submitting(old)) => *old == new || old.transaction.is_none(),
                    Some(_) => false,
                };
                let done = self.store.submitting(&mut ticket, new.clone()).await;
                check(ok, &done);
                if ok {
                    self.believe(n, terms, What::Submitting(new));
                }
                self.tickets.insert(n, (ticket, terms));
            }
            Verb::Recall { n } => {
                let Some((mut ticket, terms)) = self.tickets.remove(&n) else { return };
                let ok = self.is_unsettled(n);
                check(ok, &self.store.recall(&mut ticket).await);
                if ok {
                    self.believed.remove(&n);
                }
                self.tickets.insert(n, (ticket, terms));
            }
            Verb::Settled { n } => {
                let Some((mut ticket, terms)) = self.tickets.remove(&n) else { return };
                let ok = self.is_unsettled(n);
                let new = Settled { at: self.now, ..settled(1) };
                let repeated = matches!(self.believed.get(&n), Some(Believed { what: What::Settled { settled, .. }, .. }) if *settled == new);
                check(ok || repeated, &self.store.settled(&mut ticket, new.clone()).await);
                if ok {
                    self.believe(n, terms, What::Settled { settled: new, attempts: 1 });
                }
                self.tickets.insert(n, (ticket, terms));
            }
            Verb::Delivered { n, status } => {
                let Some((ticket, _)) = self.tickets.remove(&n) else { return };
                let done = self.store.delivered(ticket, status).await;
                match self.believed.get_mut(&n) {
                    Some(Believed { what, .. }) if matches!(what, What::Settled { .. }) => {
                        check(true, &done);
                        let What::Settled { settled, .. } = what.clone() else { unreachable!() };
                        *what = What::Delivered(settled, status);
                    }
                    _ => check(false, &done),
                }
            }
            Verb::Release { n } => {
                let Some((ticket, _)) = self.tickets.remove(&n) else { return };
                self.store.release(ticket).await.unwrap();
            }
            Verb::Drop { n } => drop(self.tickets.remove(&n)),
            Verb::Refuse { n } => {
                let Some((ticket, terms)) = self.tickets.remove(&n) else { return };
                let ok = self.is_unsettled(n);
                check(ok, &self.store.refuse(ticket, "refused").await);
                if ok {
                    self.believe(n, terms, What::Refused);
                }
            }
            Verb::Resolve { n, hash, outcome } => self.resolve(n, hash, outcome).await,
            Verb::Wait { seconds } => self.now += seconds,
            Verb::Pending => {
                let pending = self.store.pending(None).await.unwrap();
                let listed: Vec<_> =
                    pending.into_iter().map(|found| (found.key, found.submitting)).collect();
                let believed = self.believed.iter().filter(|(n, _)| !self.tickets.contains_key(n));
                let believed: Vec<_> = believed
                    .filter_map(|(n, believed)| match &believed.what {
                        What::Submitting(submitting) => Some((key(*n), submitting.clone())),
                        _ => None,
                    })
                    .collect();
                assert_eq!(listed, believed);
            }
            Verb::Restart => {
                self.store.close().await.unwrap();
                self.tickets.clear();
                self.store = self.place.open().await;
            }
            Verb::Kill => {
                match &mut self.place {
                    // What a killed process leaves is the file as it stands.
                    Place::File { file, files } => {
                        *files += 1;
                        let copy = file.with_file_name(format!("{files}.redb"));
                        std::fs::copy(&*file, &copy).unwrap();
                        *file = copy;
                        self.tickets.clear();
                        self.store = self.place.open().await;
                    }
                    // The server is killed, and the store and its tickets live on.
                    Place::Server { server, .. } => server.restart().await,
                }
            }
        }
    }

    async fn claim(&mut self, n: u32, alias: Option<u32>, binding: u8) {
        let terms = Terms { keep_until: self.now + 100, alias };
        let asked = Claim {
            alias: alias.map(key),
            binding: Binding([binding; 32]),
            now: self.now,
            keep_until: terms.keep_until,
            ..claim(n)
        };
        let found = self.store.claim(asked).await.unwrap();
        let is_taken = matches!(found, Claiming::AliasTaken(_));
        let forgotten = |believed: &Believed| believed.due() < self.now;
        if let Some((other, by)) = alias.and_then(|alias| self.owner(n, alias)) {
            let may_forget = !self.tickets.contains_key(&other)
                && self.believed.get(&other).is_some_and(forgotten);
            if is_taken || !may_forget {
                let Claiming::AliasTaken(told) = found else {
                    panic!("{other} has the alias of {n}, which was answered {found:?}");
                };
                assert_eq!(told, by);
                return;
            }
            self.believed.remove(&other);
        }
        assert!(!is_taken, "nobody has the alias of {n}, which was answered {found:?}");
        if self.believed.get(&n).is_some_and(forgotten)
            && !self.tickets.contains_key(&n)
            && matches!(found, Claiming::Fresh(_))
        {
            self.believed.remove(&n);
        }
        let in_flight = self.tickets.contains_key(&n);
        let known = self.believed.get(&n).map(|believed| believed.what.clone());
        // Only the requests that come with binding 0 stay, so that the model knows whose a claim is.
        let is_its = binding == 0 && self.terms(n).is_none_or(|first| first.alias == alias);
        match (found, known) {
            (Claiming::OtherRequest, known) => {
                assert!(!is_its && (in_flight || known.is_some()));
            }
            (_, _) if !is_its && in_flight => panic!("another request's claim is held"),
            (Claiming::InFlight, _) => assert!(in_flight),
            (_, _) if in_flight => panic!("two hold {n}"),
            (Claiming::Fresh(ticket), None) => {
                if binding == 0 {
                    self.tickets.insert(n, (ticket, terms));
                }
            }
            (_, Some(_)) if !is_its => panic!("{n} belongs to another request"),
            (Claiming::Redeliver(ticket, found), Some(What::Settled { settled, attempts })) => {
                assert!(attempts < REDELIVERY.attempts && self.now <= settled.at + WITHIN);
                assert_eq!(found, settled);
                let believed = self.believed.get_mut(&n).unwrap();
                believed.what = What::Settled { settled, attempts: attempts + 1 };
                self.tickets.insert(n, (ticket, believed.terms));
            }
            (Claiming::Exhausted, Some(What::Settled { settled, attempts })) => {
                assert!(attempts >= REDELIVERY.attempts || self.now > settled.at + WITHIN);
            }
            (Claiming::Pending(found), Some(What::Submitting(submitting))) => {
                assert_eq!(found, submitting);
            }
            (
                Claiming::Delivered { settled: found, status: told },
                Some(What::Delivered(settled, status)),
            ) => assert_eq!((found, told), (settled, status)),
            (Claiming::Refused { reason }, Some(What::Refused)) => assert_eq!(reason, "refused"),
            (found, known) => panic!("{n} is {known:?} and was answered {found:?}"),
        }
    }

    /// The other payment that `alias` belongs to, and what is known of it; of all there is one at most.
    fn owner(&self, n: u32, alias: u32) -> Option<(u32, TakenBy)> {
        let states = (0..PAYMENTS).filter_map(|other| {
            let what = self.believed.get(&other).map(|believed| &believed.what);
            let state = match what {
                _ if self.terms(other)?.alias != Some(alias) => return None,
                _ if self.tickets.contains_key(&other) => TakenState::Held,
                Some(What::Submitting(submitting)) => TakenState::Pending(submitting.clone()),
                Some(What::Settled { .. }) => TakenState::Settled,
                Some(What::Delivered(..)) => TakenState::Delivered,
                Some(What::Refused) | None => return None,
            };
            Some((other, TakenBy { key: key(other), state }))
        });
        let owners: Vec<_> = states.collect();
        assert!(owners.len() <= 1, "alias {alias} belongs to {owners:?}");
        owners.into_iter().find(|(other, _)| *other != n)
    }

    /// What the claim `n` was made with, if it is held or remembered.
    fn terms(&self, n: u32) -> Option<Terms> {
        let held = self.tickets.get(&n).map(|(_, terms)| *terms);
        held.or_else(|| self.believed.get(&n).map(|believed| believed.terms))
    }

    async fn resolve(&mut self, n: u32, hash: Option<u8>, outcome: u8) {
        let submitting = match self.believed.get(&n) {
            Some(Believed { what: What::Submitting(submitting), .. }) if hash.is_some() => {
                submitting.clone()
            }
            _ => self.submission(hash),
        };
        let is_pending = matches!(self.believed.get(&n), Some(Believed { what: What::Submitting(found), .. }) if *found == submitting)
            && !self.tickets.contains_key(&n);
        let settled = Settled { at: self.now, ..settled(3) };
        let (outcome, what) = match outcome {
            0 => (Outcome::Free, None),
            1 => (Outcome::Refused { reason: "refused".to_owned() }, Some(What::Refused)),
            _ => (Outcome::Settled(settled.clone()), Some(What::Settled { settled, attempts: 0 })),
        };
        let resolved = self.store.resolve(key(n), &submitting, outcome).await.unwrap();
        assert_eq!(resolved, is_pending);
        if is_pending {
            let terms = self.believed.remove(&n).unwrap().terms;
            if let Some(what) = what {
                self.believe(n, terms, what);
            }
        }
    }

    fn submission(&self, hash: Option<u8>) -> Submitting {
        Submitting { transaction: hash.map(|hash| TxHash([hash; 32])), ..submitting(0) }
    }

    fn believe(&mut self, n: u32, terms: Terms, what: What) {
        self.believed.insert(n, Believed { what, terms });
    }

    fn is_unsettled(&self, n: u32) -> bool {
        matches!(self.believed.get(&n), None | Some(Believed { what: What::Submitting(_), .. }))
    }
}

impl Believed {
    fn due(&self) -> u64 {
        match &self.what {
            What::Submitting(_) => u64::MAX,
            What::Settled { settled, .. } => self.terms.keep_until.max(settled.at + WITHIN),
            What::Delivered(..) | What::Refused => self.terms.keep_until,
        }
    }
}

/// In memory where there is such a place: what a sync costs is not what this is about.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn check(ok: bool, done: &Result<(), Error>) {
    match done {
        Ok(()) => assert!(ok, "done, though out of order"),
        Err(Error::OutOfOrder { .. }) => assert!(!ok, "out of order, though it was not"),
        Err(error) => panic!("{error}"),
    }
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, max_shrink_iters: 500, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(256))]

    #[test]
    fn any_order_of_verbs_and_crashes_does_what_the_model_does(
        verbs in proptest::collection::vec(verbs(), 1..80)
    ) {
        let folder = folder();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let file = folder.path().join("0.redb");
            let mut model = Model::new(Place::File { file, files: 0 }).await;
            for verb in verbs {
                model.carry_out(verb).await;
            }
        });
    }
}

#[test]
fn any_order_of_verbs_and_crashes_of_the_server_does_what_the_model_does() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut server = runtime.block_on(stores::server());
    let mut runner = TestRunner::new(config(32));
    let cases = std::cell::RefCell::new((&mut server, 0));
    let tried = runner.run(&proptest::collection::vec(verbs(), 1..80), |verbs| {
        let (server, case) = &mut *cases.borrow_mut();
        *case += 1;
        runtime.block_on(async {
            let prefix = format!("gw:{case}:");
            let mut model = Model::new(Place::Server { server, prefix }).await;
            for verb in verbs {
                model.carry_out(verb).await;
            }
        });
        Ok(())
    });
    if let Err(wrong) = tried {
        panic!("{wrong}\n{runner}");
    }
}

const PAYMENTS: u32 = 4;
