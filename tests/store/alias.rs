//! What a payment uses up besides itself belongs to one payment.

use futures_util::future::join_all;
use tollgate::store::{
    Binding, Claim, Claiming, Error, Outcome, Store, Submitting, TakenBy, TakenState,
};

use super::{Folder, claim, fresh, key, settle_and_deliver, settled, submitting};

/// The payment `n` that comes with the alias `alias`.
fn with_alias(n: u32, alias: u32) -> Claim {
    Claim { alias: Some(key(alias)), ..claim(n) }
}

/// Payment 2 comes with the alias of payment 1, and finds this.
async fn rival_finds(store: &Store, state: TakenState) {
    let found = store.claim(with_alias(2, A)).await.unwrap();
    let expected = TakenBy { key: key(1), state };
    assert!(matches!(&found, Claiming::AliasTaken(by) if *by == expected), "{found:?}");
}

on_every_store! {
    of_fifty_payments_with_one_alias_one_is_admitted,
    who_comes_with_a_taken_alias_is_told_how_far_the_other_has_come,
    an_alias_is_free_again_when_its_payment_came_to_nothing,
    a_refused_payment_is_told_so_until_another_has_its_alias,
    a_payment_comes_again_with_its_own_alias_or_is_another_request,
    an_alias_that_equals_a_key_has_nothing_to_do_with_it,
}

/// Case A02, for payments of one challenge.
async fn of_fifty_payments_with_one_alias_one_is_admitted(store: Store) {
    let mut admitted = Vec::new();
    let mut told = Vec::new();
    for claiming in join_all((0..50).map(|n| store.claim(with_alias(n, A)))).await {
        match claiming.unwrap() {
            Claiming::Fresh(ticket) => admitted.push(ticket),
            Claiming::AliasTaken(by) => told.push(by),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((admitted.len(), told.len()), (1, 49));
    let ticket = admitted.remove(0);
    let winner = ticket.key();
    assert!(told.iter().all(|by| *by == TakenBy { key: winner, state: TakenState::Held }));
    settle_and_deliver(&store, ticket, settled(1), 200).await;
    for n in 0..50 {
        let found = store.claim(with_alias(n, A)).await.unwrap();
        let right = match &found {
            Claiming::Delivered { .. } => key(n) == winner,
            Claiming::AliasTaken(by) => {
                *by == TakenBy { key: winner, state: TakenState::Delivered } && key(n) != winner
            }
            _ => false,
        };
        assert!(right, "{n}: {found:?}");
    }
    // Another alias is another matter, and so is none.
    fresh(&store, with_alias(90, A + 1)).await;
    fresh(&store, claim(91)).await;
}

async fn who_comes_with_a_taken_alias_is_told_how_far_the_other_has_come(store: Store) {
    let mut ticket = fresh(&store, with_alias(1, A)).await;
    rival_finds(&store, TakenState::Held).await;
    store.submitting(&mut ticket, submitting(1)).await.unwrap();
    rival_finds(&store, TakenState::Held).await;
    store.release(ticket).await.unwrap();
    rival_finds(&store, TakenState::Pending(submitting(1))).await;
    let outcome = Outcome::Settled(settled(1));
    assert!(store.resolve(key(1), &submitting(1), outcome).await.unwrap());
    rival_finds(&store, TakenState::Settled).await;
    let Claiming::Redeliver(ticket, _) = store.claim(with_alias(1, A)).await.unwrap() else {
        panic!("a settled claim may be presented again");
    };
    rival_finds(&store, TakenState::Held).await;
    store.delivered(ticket, 204).await.unwrap();
    rival_finds(&store, TakenState::Delivered).await;
}

async fn an_alias_is_free_again_when_its_payment_came_to_nothing(store: Store) {
    // Each of these ends, and the next payment takes the alias.
    store.release(fresh(&store, with_alias(1, A)).await).await.unwrap();
    drop(fresh(&store, with_alias(2, A)).await);
    let mut ticket = fresh(&store, with_alias(3, A)).await;
    store.submitting(&mut ticket, submitting(3)).await.unwrap();
    store.recall(&mut ticket).await.unwrap();
    // Nothing is recorded any more, but it is still in hand.
    let found = store.claim(with_alias(4, A)).await.unwrap();
    let held = TakenBy { key: key(3), state: TakenState::Held };
    assert!(matches!(&found, Claiming::AliasTaken(by) if *by == held), "{found:?}");
    store.release(ticket).await.unwrap();
    let ticket = fresh(&store, with_alias(4, A)).await;
    store.refuse(ticket, "no money").await.unwrap();
    for (n, outcome) in [(5, Outcome::Free), (6, Outcome::Refused { reason: "failed".to_owned() })]
    {
        let mut ticket = fresh(&store, with_alias(n, A)).await;
        store.submitting(&mut ticket, submitting(1)).await.unwrap();
        store.release(ticket).await.unwrap();
        assert!(store.resolve(key(n), &submitting(1), outcome).await.unwrap());
    }
    // A step that could not be recorded has recorded no alias either, nor has one out of order.
    let mut ticket = fresh(&store, with_alias(7, A)).await;
    let long = Submitting { memo: vec![0; 16 * 1024 + 1].into(), ..submitting(7) };
    let refused = store.submitting(&mut ticket, long).await;
    assert!(matches!(refused, Err(Error::TooLarge { .. })), "{refused:?}");
    let refused = store.delivered(ticket, 200).await;
    assert!(matches!(refused, Err(Error::OutOfOrder { .. })), "{refused:?}");

    let ticket = fresh(&store, with_alias(8, A)).await;
    settle_and_deliver(&store, ticket, settled(8), 200).await;
    // Now it is used up, for those that came to nothing before as well.
    for n in [1, 3, 4, 6, 7] {
        let found = store.claim(with_alias(n, A)).await.unwrap();
        let used = TakenBy { key: key(8), state: TakenState::Delivered };
        assert!(matches!(&found, Claiming::AliasTaken(by) if *by == used), "{n}: {found:?}");
    }
}

async fn a_refused_payment_is_told_so_until_another_has_its_alias(store: Store) {
    let ticket = fresh(&store, with_alias(1, A)).await;
    store.refuse(ticket, "no money").await.unwrap();
    let found = store.claim(with_alias(1, A)).await.unwrap();
    assert!(matches!(&found, Claiming::Refused { reason } if reason == "no money"), "{found:?}");
    let other = fresh(&store, with_alias(2, A)).await;
    let found = store.claim(with_alias(1, A)).await.unwrap();
    assert!(matches!(found, Claiming::AliasTaken(_)), "{found:?}");
    drop(other);
    let found = store.claim(with_alias(1, A)).await.unwrap();
    assert!(matches!(found, Claiming::Refused { .. }), "{found:?}");
}

async fn a_payment_comes_again_with_its_own_alias_or_is_another_request(store: Store) {
    let check = async |as_it_was: bool, claim: Claim, other: Claim| {
        for claim in [&other, &Claim { binding: Binding([9; 32]), ..claim.clone() }] {
            let found = store.claim(claim.clone()).await.unwrap();
            assert!(matches!(found, Claiming::OtherRequest), "{found:?}");
        }
        let found = store.claim(claim).await.unwrap();
        let right = match &found {
            Claiming::InFlight => !as_it_was,
            Claiming::Delivered { .. } => as_it_was,
            _ => false,
        };
        assert!(right, "{found:?}");
    };
    for (had, comes) in [
        (with_alias(1, A), with_alias(1, A + 10)),
        (with_alias(2, A + 1), claim(2)),
        (claim(3), with_alias(3, A + 10)),
    ] {
        let ticket = fresh(&store, had.clone()).await;
        check(false, had.clone(), comes.clone()).await;
        settle_and_deliver(&store, ticket, settled(1), 200).await;
        check(true, had, comes).await;
    }
    // The alias that came to no avail is nobody's.
    fresh(&store, with_alias(4, A + 10)).await;
}

async fn an_alias_that_equals_a_key_has_nothing_to_do_with_it(store: Store) {
    let ticket = fresh(&store, with_alias(1, 1)).await;
    let other = fresh(&store, with_alias(2, 3)).await;
    settle_and_deliver(&store, ticket, settled(1), 200).await;
    settle_and_deliver(&store, other, settled(2), 200).await;
    fresh(&store, with_alias(3, 2)).await;
}

#[tokio::test]
async fn a_recorded_alias_is_taken_after_a_restart_and_a_held_one_is_not() {
    let folder = Folder::new();
    let store = Store::open(folder.file()).await.unwrap();
    let held = fresh(&store, with_alias(1, A)).await;
    let mut submitted = fresh(&store, with_alias(2, A + 1)).await;
    store.submitting(&mut submitted, submitting(2)).await.unwrap();
    let mut undelivered = fresh(&store, with_alias(3, A + 2)).await;
    store.settled(&mut undelivered, settled(3)).await.unwrap();
    let ticket = fresh(&store, with_alias(4, A + 3)).await;
    settle_and_deliver(&store, ticket, settled(4), 200).await;
    let ticket = fresh(&store, with_alias(5, A + 4)).await;
    store.refuse(ticket, "no money").await.unwrap();
    store.close().await.unwrap();
    drop((held, submitted, undelivered));

    let store = Store::open(folder.file()).await.unwrap();
    for (alias, n, state) in [
        (A + 1, 2, TakenState::Pending(submitting(2))),
        (A + 2, 3, TakenState::Settled),
        (A + 3, 4, TakenState::Delivered),
    ] {
        let found = store.claim(with_alias(9, alias)).await.unwrap();
        let expected = TakenBy { key: key(n), state };
        assert!(matches!(&found, Claiming::AliasTaken(by) if *by == expected), "{found:?}");
    }
    fresh(&store, with_alias(9, A)).await;
    fresh(&store, with_alias(9, A + 4)).await;
}

#[tokio::test]
async fn an_alias_whose_claim_is_not_there_is_a_fault_and_no_admission() {
    let folder = Folder::new();
    Store::open(folder.file()).await.unwrap().close().await.unwrap();
    let db = redb::Database::open(folder.file()).unwrap();
    let tx = db.begin_write().unwrap();
    let aliases: redb::TableDefinition<'_, &[u8; 32], &[u8; 32]> =
        redb::TableDefinition::new("aliases");
    tx.open_table(aliases).unwrap().insert(&key(A).0, &key(1).0).unwrap();
    tx.commit().unwrap();
    drop(db);
    let store = Store::open(folder.file()).await.unwrap();
    let found = store.claim(with_alias(2, A)).await;
    assert!(matches!(found, Err(Error::Corrupt { .. })), "{found:?}");
    fresh(&store, with_alias(2, A + 1)).await;
}

const A: u32 = 1_000;
