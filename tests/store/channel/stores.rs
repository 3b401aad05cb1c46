//! Every store through its verbs, against the same reference.

use std::{collections::HashMap, path::PathBuf};

use proptest::prelude::*;
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
use crate::Folder;

/// A store, and what its caller holds.
struct Caller {
    store: Store,
    kind: Kind,
    channel: ContractId,
    reservations: HashMap<Token, Reservation>,
}

/// Which store it is, and how it begins anew.
enum Kind {
    Embedded { file: PathBuf, files: u32 },
}

impl Caller {
    async fn embedded(folder: &Folder) -> Self {
        let file = folder.file();
        let store = Store::open(&file).await.unwrap();
        let kind = Kind::Embedded { file, files: 0 };
        Self { store, kind, channel: ContractId([9; 32]), reservations: HashMap::new() }
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
        let (store, channel) = (&self.store, self.channel);
        match step.clone() {
            Step::Reserve(ask) => {
                let token = ask.token;
                match store.reserve(channel, *ask).await.unwrap() {
                    Ok(reservation) => {
                        let standing = reservation.standing();
                        self.reservations.insert(token, reservation);
                        Stepped::Reserving(Reserving::Reserved(standing))
                    }
                    Err(outcome) => Stepped::Reserving(outcome),
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
            Step::Restore { commitment, spent, steps } => {
                Stepped::Done(store.restore(channel, commitment, spent, steps).await.unwrap())
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
