//! One alias, one payment: within one commit, and wherever the power is lost.

use std::cell::RefCell;

use futures_util::{FutureExt as _, future::join_all};

use super::*;
use crate::store::{TakenBy, TakenState};

/// The claim `n`, with the alias of 1.
fn rival(n: u8) -> Claim {
    Claim { alias: Some(alias(1)), ..claim(n) }
}

/// Keeps the writer at a commit: what is asked meanwhile is carried out together after it.
async fn stalled(store: &Store, disk: &Disk) -> std::sync::mpsc::Sender<()> {
    let mut ticket = fresh(store, claim(250)).await;
    let (begun, go_on) = disk.stall();
    let step = store.settled(&mut ticket, settled(250)).now_or_never();
    assert!(step.is_none(), "{step:?}");
    begun.await.unwrap();
    go_on
}

/// What a rival of 1 is told in the commit that carries out `ending`, and right after it.
async fn rival_is_told<T>(store: &Store, disk: &Disk, ending: impl Future<Output = T>) -> Claiming {
    let go_on = stalled(store, disk).await;
    let (_, told, ()) = tokio::join!(ending, store.claim(rival(2)), async {
        go_on.send(()).unwrap();
    });
    let (told, after) = (told.unwrap(), store.claim(rival(3)).await.unwrap());
    match (&told, after) {
        (Claiming::Fresh(holder), Claiming::AliasTaken(by)) => {
            assert_eq!(by, TakenBy { key: holder.key(), state: TakenState::Held });
        }
        (Claiming::AliasTaken(told), Claiming::AliasTaken(after)) => assert_eq!(*told, after),
        (told, after) => panic!("{told:?} and then {after:?}"),
    }
    told
}

#[tokio::test]
async fn an_alias_is_taken_by_what_the_same_commit_records() {
    let disk = Disk::default();
    let store = store_on(&disk).await.unwrap();
    let mut ticket = fresh(&store, claim(1)).await;
    // Let go of while the step waits, so that both are carried out together.
    let ending = async {
        let step = store.settled(&mut ticket, settled(1)).now_or_never();
        assert!(step.is_none(), "{step:?}");
        drop(ticket);
    };
    let told = rival_is_told(&store, &disk, ending).await;
    let expected = TakenBy { key: claim(1).key, state: TakenState::Settled };
    assert!(matches!(&told, Claiming::AliasTaken(by) if *by == expected), "{told:?}");
}

#[tokio::test]
async fn an_alias_is_free_for_who_comes_in_the_same_commit_as_its_end() {
    for end in 0..4 {
        let disk = Disk::default();
        let store = store_on(&disk).await.unwrap();
        let mut ticket = fresh(&store, claim(1)).await;
        store.submitting(&mut ticket, submitting(1)).await.unwrap();
        let resolve = async |outcome| {
            assert!(store.resolve(claim(1).key, &submitting(1), outcome).await.unwrap());
        };
        let told = match end {
            0 => {
                store.release(ticket).await.unwrap();
                rival_is_told(&store, &disk, resolve(Outcome::Free)).await
            }
            1 => {
                store.release(ticket).await.unwrap();
                let reason = "failed".to_owned();
                rival_is_told(&store, &disk, resolve(Outcome::Refused { reason })).await
            }
            2 => rival_is_told(&store, &disk, store.refuse(ticket, "no money")).await,
            _ => {
                store.recall(&mut ticket).await.unwrap();
                rival_is_told(&store, &disk, store.release(ticket)).await
            }
        };
        let Claiming::Fresh(ticket) = told else { panic!("end {end}: {told:?}") };
        // From now on it is the rival's, whatever is read from the disk.
        settle_and_deliver(&store, ticket, settled(2), 200).await;
        store.close().await.unwrap();
        let store = store_on(&Disk::of(disk.bytes())).await.unwrap();
        let told = store.claim(claim(1)).await.unwrap();
        let expected = TakenBy { key: rival(2).key, state: TakenState::Delivered };
        assert!(
            matches!(&told, Claiming::AliasTaken(by) if *by == expected),
            "end {end}: {told:?}"
        );
    }
}

#[tokio::test]
async fn a_refused_payment_that_is_forgotten_leaves_the_alias_to_who_has_it() {
    let store = store_on(&Disk::default()).await.unwrap();
    let ticket = fresh(&store, claim(1)).await;
    store.refuse(ticket, "no money").await.unwrap();
    let ticket = fresh(&store, Claim { keep_until: 9_000, ..rival(2) }).await;
    settle_and_deliver(&store, ticket, settled(2), 200).await;
    // 1 is due and forgotten with this commit.
    let late = Claim { now: 3_000, keep_until: 9_000, ..claim(3) };
    let ticket = fresh(&store, late).await;
    settle_and_deliver(&store, ticket, settled(3), 200).await;
    let forgotten = Claim { now: 3_000, alias: None, ..claim(1) };
    drop(fresh(&store, forgotten).await);
    let told = store.claim(Claim { now: 3_000, ..claim(1) }).await.unwrap();
    assert!(matches!(told, Claiming::AliasTaken(_)), "{told:?}");
}

#[tokio::test]
async fn an_alias_costs_no_commit_of_its_own() {
    let mut syncs = Vec::new();
    for alias in [None, Some(alias(1))] {
        let disk = Disk::default();
        let store = store_on(&disk).await.unwrap();
        let mut ticket = fresh(&store, Claim { alias, ..claim(1) }).await;
        store.submitting(&mut ticket, submitting(1)).await.unwrap();
        store.settled(&mut ticket, settled(1)).await.unwrap();
        store.delivered(ticket, 200).await.unwrap();
        syncs.push(disk.log().iter().filter(|event| matches!(event, Event::Sync)).count());
    }
    assert_eq!(syncs[0], syncs[1]);
}

#[tokio::test]
async fn what_the_same_commit_leaves_pending_is_listed_and_what_it_resolves_is_not() {
    let disk = Disk::default();
    let store = store_on(&disk).await.unwrap();
    for n in [2, 4, 6] {
        let mut ticket = fresh(&store, claim(n)).await;
        store.submitting(&mut ticket, submitting(n)).await.unwrap();
        store.release(ticket).await.unwrap();
    }
    let mut tickets = Vec::new();
    for n in [1, 5, 7] {
        tickets.push((n, fresh(&store, claim(n)).await));
    }
    let go_on = stalled(&store, &disk).await;
    // The requests of 1 and 5 are cancelled at their first step; 7's is not.
    let mut kept = Vec::new();
    for (n, mut ticket) in tickets {
        let step = store.submitting(&mut ticket, submitting(n)).now_or_never();
        assert!(step.is_none(), "{step:?}");
        kept.extend((n == 7).then_some(ticket));
    }
    let (key, found) = (claim(4).key, submitting(4));
    let (resolved, all, later, ()) = tokio::join!(
        store.resolve(key, &found, Outcome::Free),
        store.pending(None),
        store.pending(Some(claim(2).key)),
        async { go_on.send(()).unwrap() },
    );
    assert!(resolved.unwrap());
    let listed = |page: Result<Vec<Pending>, Error>| {
        page.unwrap().into_iter().map(|pending| pending.key.0[0]).collect::<Vec<_>>()
    };
    assert_eq!(listed(all), [1, 2, 5, 6]);
    assert_eq!(listed(later), [5, 6]);
}

/// Whose an alias is, and whether the money has moved.
type Owner = Option<(u8, bool)>;

/// Case K02.
#[tokio::test]
async fn power_lost_at_any_point_leaves_no_alias_to_two_payments() {
    let disk = Disk::default();
    let store = store_on(&disk).await.unwrap();
    // Five aliases at once, and four payments for each after one another, of which the last is settled.
    let histories = join_all((0..5).map(async |a| {
        let history = RefCell::new(vec![(0, None)]);
        let now = |owner: Owner| history.borrow_mut().push((disk.events(), owner));
        for (n, round) in payments_of(a).zip(0..) {
            let mut ticket = fresh(&store, with_alias_of(a, n)).await;
            let (key, memo) = (ticket.key(), submitting(n));
            store.submitting(&mut ticket, memo.clone()).await.unwrap();
            now(Some((n, false)));
            match (a + round) % 4 {
                _ if round == 3 => {
                    store.settled(&mut ticket, settled(n)).await.unwrap();
                    now(Some((n, true)));
                    store.delivered(ticket, 200).await.unwrap();
                }
                0 => store.recall(&mut ticket).await.unwrap(),
                1 => store.refuse(ticket, "no money").await.unwrap(),
                end => {
                    store.release(ticket).await.unwrap();
                    let reason = "failed".to_owned();
                    let outcome =
                        if end == 2 { Outcome::Free } else { Outcome::Refused { reason } };
                    assert!(store.resolve(key, &memo, outcome).await.unwrap());
                }
            }
            if round < 3 {
                now(None);
            }
        }
        history.into_inner()
    }))
    .await;
    let log = disk.log();
    drop(store);

    let mut found_taken = 0;
    for (seen, after) in disk::after_power_losses(&log) {
        // A file without its tables is a new one.
        if seen < histories[0][1].0 {
            continue;
        }
        let store = store_on(&Disk::of(after)).await.unwrap();
        for (a, history) in (0..).zip(&histories) {
            let owner = owner(&store, a).await;
            let last = history.iter().rposition(|(events, _)| *events <= seen).unwrap();
            // What was acknowledged, or the step after it, which may have got to the disk.
            let may_be: Vec<_> =
                history.iter().skip(last).take(2).map(|(_, owner)| owner).collect();
            assert!(
                may_be.contains(&&owner),
                "power lost after event {seen}: {owner:?} of {may_be:?}"
            );
            found_taken += u32::from(owner.is_some());
        }
    }
    assert!(found_taken > 100, "{found_taken}");
}

fn payments_of(a: u8) -> impl Iterator<Item = u8> {
    (0..4).map(move |round| 10 * a + round)
}

fn with_alias_of(a: u8, n: u8) -> Claim {
    Claim { alias: Some(alias(a)), ..claim(n) }
}

/// Whose the alias `a` is by what its payments are told, each of which must agree.
async fn owner(store: &Store, a: u8) -> Owner {
    let mut owner = None;
    let mut told = Vec::new();
    for n in payments_of(a) {
        match store.claim(with_alias_of(a, n)).await.unwrap() {
            Claiming::Fresh(_) | Claiming::Refused { .. } => {}
            Claiming::AliasTaken(by) => told.push(by),
            found => {
                let paid = match found {
                    Claiming::Pending(found) => {
                        assert_eq!(found, submitting(n));
                        false
                    }
                    Claiming::Redeliver(_, found) | Claiming::Delivered { settled: found, .. } => {
                        assert_eq!(found, settled(n));
                        true
                    }
                    other => panic!("{n}: {other:?}"),
                };
                assert_eq!(owner.replace((n, paid)), None, "alias {a} has two payments");
            }
        }
    }
    assert_eq!(told.len(), if owner.is_some() { 3 } else { 0 });
    for by in told {
        let (n, paid) = owner.unwrap();
        assert_eq!(by.key, claim(n).key);
        assert_eq!(!paid, matches!(by.state, TakenState::Pending(_)), "{by:?}");
    }
    owner
}
