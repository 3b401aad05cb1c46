//! A channel's account, alone and in every store, against a reference that forgets nothing.

mod honest;
mod reference;
mod stores;
mod subject;
mod world;

use proptest::prelude::*;
use tollgate::store::channel::{Account, Step, Stepped, Token};

use self::{
    subject::{Subject, hold_to_reference},
    world::{purchases, verbs},
};

impl Subject for Account {
    fn can(&self, _: &Step) -> bool {
        true
    }

    async fn step(&mut self, step: &Step) -> Stepped {
        Self::step(self, step)
    }

    async fn drop_reservation(&mut self, token: Token) -> bool {
        self.give_back(token, true).is_ok()
    }

    async fn restart(&mut self, _: bool) -> bool {
        self.give_back_all();
        true
    }

    async fn account(&mut self) -> Self {
        self.clone()
    }
}

fn now(work: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// Honest payers and liars, callers that come too late, twice or not at all.
    #[test]
    fn an_account_does_what_the_reference_does(
        verbs in prop::collection::vec(verbs(true), 1..120),
    ) {
        now(hold_to_reference(&mut Account::default(), &verbs));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// So long that much is forgotten: then it refuses more, and never allows more.
    #[test]
    fn an_account_that_forgets_allows_nothing_that_the_reference_refuses(
        verbs in purchases(),
    ) {
        now(hold_to_reference(&mut Account::default(), &verbs));
    }
}
