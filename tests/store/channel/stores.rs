//! Every store through its verbs, against the same reference.

use std::{cell::RefCell, collections::HashMap, path::PathBuf};

use proptest::{prelude::*, test_runner::TestRunner};
use tokio::runtime::Runtime;
use tollgate::{
    protocol::stellar::ContractId,
    store::{
        Error, Reservation, Store,
        channel::{Account, Lapsed, Reserving, Step, Stepped, Token},
    },
};

use super::{
    now,
    subject::{Subject, hold_to_reference},
    world::verbs,
};
use crate::{
    Folder,
    cluster::Cluster,
    relay::{Relay, Weather},
    stores::settings,
    support::Server,
};

/// A store, and what its caller holds.
struct Caller {
    store: Store,
    kind: Kind,
    channel: ContractId,
    reservations: HashMap<Token, Reservation>,
    /// Steps taken, and how many answers were cut off on the way.
    steps: u64,
    cuts: u64,
}

/// Which store it is, and how it begins anew.
enum Kind {
    Embedded {
        file: PathBuf,
        files: u32,
    },
    /// Reached at this URL; through a relay, if there is one, that cuts one connection in every few.
    Redis {
        url: String,
        relay: Option<Relay>,
    },
}

impl Caller {
    async fn embedded(folder: &Folder) -> Self {
        let file = folder.file();
        let store = Store::open(&file).await.unwrap();
        let kind = Kind::Embedded { file, files: 0 };
        Self {
            store,
            kind,
            channel: ContractId([9; 32]),
            reservations: HashMap::new(),
            steps: 0,
            cuts: 0,
        }
    }

    async fn redis(url: String, relay: Option<Relay>) -> Self {
        let store = Store::redis(settings(url.clone())).await.unwrap();
        let kind = Kind::Redis { url, relay };
        Self {
            store,
            kind,
            channel: ContractId([9; 32]),
            reservations: HashMap::new(),
            steps: 0,
            cuts: 0,
        }
    }

    /// Goes on with a channel that nothing was paid from yet.
    fn begin(&mut self) {
        let ContractId(mut id) = self.channel;
        let next = u64::from_be_bytes(*id.first_chunk().unwrap()) + 1;
        id[..8].copy_from_slice(&next.to_be_bytes());
        self.channel = ContractId(id);
        self.abandon();
    }

    /// Leaves what is reserved to the leases, as a process does that is killed.
    fn abandon(&mut self) {
        self.reservations.drain().for_each(|(_, reservation)| std::mem::forget(reservation));
    }

    /// Has the answer of one of the next rounds be cut off.
    fn disturb(&mut self) {
        if let Kind::Redis { relay: Some(relay), .. } = &self.kind {
            self.cuts += u64::from(relay.rounds() > self.steps % CUTS);
            self.steps += 1;
            relay.set(Weather::CutReply { at: self.steps % CUTS });
        }
    }
}

impl Subject for Caller {
    fn can(&self, step: &Step) -> bool {
        match step {
            Step::Keep { token, .. } | Step::GiveBack { token, .. } => {
                self.reservations.contains_key(token)
            }
            // A permit is one of its kind.
            Step::Reserve(ask) => !self.reservations.contains_key(&ask.token),
            // The store does so by itself.
            Step::After { .. } => false,
            _ => true,
        }
    }

    async fn step(&mut self, step: &Step) -> Stepped {
        self.disturb();
        let (store, channel) = (&self.store, self.channel);
        match step.clone() {
            Step::Reserve(ask) => {
                let (token, now) = (ask.token, ask.now);
                match store.reserve(channel, *ask).await.unwrap() {
                    Ok(reservation) => {
                        let standing = reservation.standing();
                        self.reservations.insert(token, reservation);
                        Stepped::Reserving(Reserving::Reserved(standing))
                    }
                    Err(outcome) => {
                        if let Kind::Redis { .. } = self.kind {
                            // What it has swept away on the way is not stored: whoever comes next does that again.
                            store.sweep(channel, now).await.unwrap();
                        }
                        Stepped::Reserving(outcome)
                    }
                }
            }
            Step::Keep { token, status } => {
                let reservation = self.reservations.remove(&token).unwrap();
                stands(store.keep(reservation, status).await)
            }
            Step::GiveBack { token, tried } => {
                let reservation = self.reservations.remove(&token).unwrap();
                stands(store.give_back(reservation, tried).await)
            }
            Step::Sweep { now } => Stepped::Done(store.sweep(channel, now).await.unwrap()),
            Step::BeginClosing => Stepped::Done(store.begin_closing(channel).await.unwrap()),
            Step::Reopen => Stepped::Done(store.reopen(channel).await.unwrap()),
            Step::Collect(collection) => {
                Stepped::Collecting(store.collect(channel, collection).await.unwrap())
            }
            Step::Collected { transaction, landed } => {
                Stepped::Done(store.collected(channel, transaction, landed).await.unwrap())
            }
            Step::SawWithdrawn(withdrawn) => {
                Stepped::Done(store.saw_withdrawn(channel, withdrawn).await.unwrap())
            }
            Step::Ended => {
                store.channel_ended(channel).await.unwrap();
                Stepped::Done(true)
            }
            Step::After { .. } => panic!("no caller asks that of a store"),
            Step::Adopt { withdrawn, .. } => {
                Stepped::Done(store.adopt(channel, withdrawn).await.unwrap())
            }
            Step::Restore { commitment, spent, steps, now } => {
                let known = (commitment, spent);
                Stepped::Done(store.restore(channel, known, steps, now).await.unwrap())
            }
        }
    }

    async fn drop_reservation(&mut self, token: Token) -> bool {
        self.reservations.remove(&token).is_some()
    }

    async fn restart(&mut self, clean: bool) -> bool {
        match &mut self.kind {
            Kind::Embedded { file, files } => {
                *files += 1;
                let next = file.with_file_name(format!("{files}.redb"));
                if clean {
                    self.store.close().await.unwrap();
                    std::fs::rename(&*file, &next).unwrap();
                } else {
                    // What a process leaves that is killed now: everything that was answered is in the file.
                    std::fs::copy(&*file, &next).unwrap();
                }
                self.reservations.clear();
                *file = next;
                self.store = Store::open(&*file).await.unwrap();
                true
            }
            Kind::Redis { url, relay } => {
                // A gateway that cannot reach its store at all does not start.
                relay.iter().for_each(|relay| relay.set(Weather::Fair));
                let store = Store::redis(settings(url.clone())).await.unwrap();
                let last = std::mem::replace(&mut self.store, store);
                self.abandon();
                if clean {
                    last.close().await.unwrap();
                }
                false
            }
        }
    }

    async fn account(&mut self) -> Account {
        self.store.account(self.channel).await.unwrap().unwrap_or_default()
    }
}

fn stands(done: Result<tollgate::store::channel::Standing, Error>) -> Stepped {
    match done {
        Ok(standing) => Stepped::Stands(Ok(standing)),
        Err(Error::Lapsed) => Stepped::Stands(Err(Lapsed)),
        Err(error) => panic!("{error}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Case K01 without the processes: restarts and kills are among what is done.
    #[test]
    fn k01_the_embedded_store_does_what_the_reference_does(
        verbs in prop::collection::vec(verbs(true), 1..60),
    ) {
        let folder = Folder::new();
        now(async {
            let mut caller = Caller::embedded(&folder).await;
            hold_to_reference(&mut caller, &verbs).await;
        });
    }
}

/// Case M3: as above, on a server, with a channel for each sequence.
fn hold_server_to_reference(server: impl AsyncFn() -> Server, is_disturbed: bool) {
    let runtime = Runtime::new().unwrap();
    let (caller, _server) = runtime.block_on(async {
        let server = server().await;
        let relay = if is_disturbed { Some(Relay::to(server.address()).await) } else { None };
        let address = relay.as_ref().map_or_else(|| server.address(), Relay::address);
        (Caller::redis(server.url_at(address), relay).await, server)
    });
    let cuts = hold_caller_to_reference(&runtime, caller);
    assert!(!is_disturbed || cuts > u64::from(sequences()), "{cuts} cut off");
}

/// Returns how often it was cut off.
fn hold_caller_to_reference(runtime: &Runtime, caller: Caller) -> u64 {
    let caller = RefCell::new(caller);
    let mut runner = TestRunner::new(ProptestConfig {
        cases: sequences(),
        source_file: Some(file!()),
        ..ProptestConfig::default()
    });
    let any = prop::collection::vec(verbs(true), 1..60);
    let held = runner.run(&any, |verbs| {
        let caller = &mut *caller.borrow_mut();
        caller.begin();
        runtime.block_on(hold_to_reference(caller, &verbs));
        Ok(())
    });
    if let Err(error) = held {
        panic!("{error}");
    }
    caller.borrow().cuts
}

#[test]
fn redis_does_what_the_reference_does() {
    hold_server_to_reference(async || Server::redis(Default::default()).await, false);
}

#[test]
fn valkey_does_what_the_reference_does() {
    hold_server_to_reference(async || Server::valkey(Default::default()).await, false);
}

#[test]
fn a_cluster_does_what_the_reference_does() {
    let runtime = Runtime::new().unwrap();
    let (caller, _cluster) = runtime.block_on(async {
        let cluster = Cluster::start(3, false).await;
        (Caller::redis(cluster.url(), None).await, cluster)
    });
    hold_caller_to_reference(&runtime, caller);
}

/// Case K10, at random.
#[test]
fn k10_redis_does_what_the_reference_does_whose_answers_are_cut_off() {
    hold_server_to_reference(async || Server::redis(Default::default()).await, true);
}

/// Case K10, at random.
#[test]
fn k10_valkey_does_what_the_reference_does_whose_answers_are_cut_off() {
    hold_server_to_reference(async || Server::valkey(Default::default()).await, true);
}

/// Sequences for each server: `TOLLGATE_SEQUENCES`, or as many as there is time for where every change is tested.
#[expect(clippy::disallowed_methods, reason = "how long it goes on is the caller's to say")]
fn sequences() -> u32 {
    std::env::var("TOLLGATE_SEQUENCES").map_or(80, |count| count.parse().unwrap())
}

/// The answer that is cut off is that of the first round from a step on, the second one, up to this one.
const CUTS: u64 = 5;
