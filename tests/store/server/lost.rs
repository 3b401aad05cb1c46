//! Answers that are lost, and servers that die: nothing is served twice, and nothing that was said is unsaid.

use std::time::Duration;

use tollgate::{
    protocol::money::Amount,
    store::{
        Claim, Claiming, Error, RedisSettings, Store,
        channel::{Reserve, Reserving, Standing, Token},
    },
};

use crate::{
    claim, fresh, key,
    relay::{Relay, Weather},
    settle_and_deliver, settled,
    shared::{CHANNEL, amount, commitment, pay, reserve, standing},
    stores::{self, settings},
    submitting,
    support::Server,
};

/// A store that reaches `server` through a relay.
async fn relayed(server: &Server, timeout: Duration) -> (Store, Relay) {
    let relay = Relay::to(server.address()).await;
    let url = server.url_at(relay.address());
    let store = Store::redis(RedisSettings { timeout, ..settings(url) }).await.unwrap();
    (store, relay)
}

/// Case K10: wherever in a payment the connection is cut, the store finds out what became of it.
#[tokio::test]
async fn k10_a_payment_whose_answer_is_cut_off_is_made_once() {
    let server = stores::server().await;
    let (store, relay) = relayed(&server, Duration::from_secs(10)).await;
    let other = stores::on(&server).await;
    let mut units = 0;
    for at in 0..10 {
        // Another gateway has the channel too, so what is remembered of it is old.
        units += 1;
        pay(&other, units, 1).await;
        units += 1;
        relay.set(Weather::CutReply { at });
        let kept = pay(&store, units, 1).await;
        assert_eq!(kept, Standing { authorised: amount(units), spent: amount(units) }, "{at}");
        assert_eq!(standing(&other).await, kept);
    }
    assert!(relay.rounds() < 10, "the last one was not cut any more");
}

/// Case K10, for claims.
#[tokio::test]
async fn k10_a_claim_whose_answers_are_cut_off_goes_its_way() {
    let server = stores::server().await;
    let (store, relay) = relayed(&server, Duration::from_secs(10)).await;
    let other = stores::on(&server).await;
    for at in 0..12_u32 {
        relay.set(Weather::CutReply { at: at.into() });
        let paid = Claim { alias: Some(key(1_000 + at)), ..claim(at) };
        let mut ticket = fresh(&store, paid.clone()).await;
        assert!(matches!(other.claim(paid.clone()).await.unwrap(), Claiming::InFlight));
        store.submitting(&mut ticket, submitting(1)).await.unwrap();
        store.settled(&mut ticket, settled(1)).await.unwrap();
        store.release(ticket).await.unwrap();
        let Claiming::Redeliver(ticket, _) = store.claim(paid.clone()).await.unwrap() else {
            panic!("{at}: it was released")
        };
        store.delivered(ticket, 200).await.unwrap();
        let found = other.claim(paid).await.unwrap();
        assert!(matches!(found, Claiming::Delivered { status: 200, .. }), "{at}: {found:?}");
        assert!(other.pending(None).await.unwrap().is_empty());
    }
    assert!(relay.rounds() < 12, "the last one was not cut any more");
}

/// Case K10, K09: the answer never comes, and the client comes again with the same credential.
#[tokio::test]
async fn k10_a_payment_whose_answer_never_comes_is_served_at_most_once() {
    let server = stores::server().await;
    let (store, relay) = relayed(&server, Duration::from_millis(400)).await;
    let other = stores::on(&server).await;
    let mut spent = Amount::ZERO;
    for (at, units) in (0..6).zip(1..) {
        relay.set(Weather::LoseReply { at });
        let mut served = 0;
        let mut unknown = 0;
        // As one client that comes again, each time by another request.
        for _ in 0..50 {
            let ask = Reserve { token: Token::draw(), ..commitment(units, 1) };
            match store.reserve(CHANNEL, ask).await {
                Ok(Ok(reservation)) => match store.keep(reservation, 200).await {
                    Ok(_) => served += 1,
                    Err(Error::Unreachable { .. }) => unknown += 1,
                    Err(other) => panic!("{at}: {other:?}"),
                },
                Ok(Err(Reserving::Bought { .. })) => break,
                // Until its lease ends: the gateway that has it may yet say that it was kept.
                Ok(Err(Reserving::InFlight)) if unknown > 0 => break,
                Ok(Err(Reserving::InFlight)) | Err(Error::Unreachable { .. }) => {}
                other => panic!("{at}: {other:?}"),
            }
        }
        assert!(served + unknown == 1, "{at}: served {served}, and unknown {unknown}");
        relay.set(Weather::Fair);
        let now = standing(&other).await;
        let more = now.spent.less(spent);
        assert!(more == amount(1), "{at}: {more:?} for one delivery");
        spent = now.spent;
    }
}

/// Case K10: the answer to a keep never comes, and the store answers again before its caller gives up.
#[tokio::test]
async fn k10_a_keep_whose_answer_never_comes_is_asked_again_and_costs_once() {
    let server = stores::server().await;
    let (store, relay) = relayed(&server, Duration::from_millis(400)).await;
    let other = stores::on(&server).await;
    for (at, units) in (0..2).zip(1..) {
        let reservation = reserve(&store, commitment(units, 1)).await.unwrap();
        relay.set(Weather::LoseReply { at });
        let kept = store.keep(reservation, 200).await.unwrap();
        assert_eq!(kept, Standing { authorised: amount(units), spent: amount(units) }, "{at}");
        relay.set(Weather::Fair);
        assert_eq!(standing(&other).await, kept, "{at}");
        let again = reserve(&other, commitment(units, 1)).await;
        assert!(matches!(again, Err(Reserving::Bought { status: 200, .. })), "{again:?}");
    }
}

/// Case K10: what is recorded as kept and was never told so is given back once the store answers again.
#[tokio::test]
async fn k10_a_keep_that_its_caller_never_heard_of_is_given_back() {
    let server = stores::server().await;
    let (store, relay) = relayed(&server, Duration::from_millis(400)).await;
    let other = stores::on(&server).await;
    let reservation = reserve(&store, commitment(1, 1)).await.unwrap();
    relay.set(Weather::LoseReply { at: 0 });
    {
        let keeping = std::pin::pin!(store.keep(reservation, 200));
        let is_kept = async {
            loop {
                let account = other.account(CHANNEL).await.unwrap().unwrap();
                if !account.at_risk().is_zero() {
                    return;
                }
            }
        };
        tokio::select! { () = is_kept => {}, kept = keeping => panic!("{kept:?}") }
        relay.set(Weather::Refuse);
    }
    relay.set(Weather::Fair);
    while standing(&other).await.spent > Amount::ZERO {
        tokio::task::yield_now().await;
    }
    let account = other.account(CHANNEL).await.unwrap().unwrap();
    assert_eq!((account.collectable(), account.standing().authorised), (None, amount(1)));
    let again = reserve(&other, commitment(1, 1)).await.unwrap();
    other.keep(again, 200).await.unwrap();
    assert_eq!(standing(&other).await.spent, amount(1), "the same credential came again");
}

/// Case K10: a store that stays away is not asked for ever, and the answer does not leave.
#[tokio::test]
async fn k10_a_keep_that_is_not_answered_for_long_is_given_up_and_given_back() {
    let server = stores::server().await;
    let (store, relay) = relayed(&server, Duration::from_millis(400)).await;
    let other = stores::on(&server).await;
    let reservation = reserve(&store, commitment(1, 1)).await.unwrap();
    relay.set(Weather::Refuse);
    let kept = store.keep(reservation, 200).await;
    assert!(matches!(kept, Err(Error::Unavailable { .. } | Error::Unreachable { .. })), "{kept:?}");
    relay.set(Weather::Fair);
    while standing(&other).await.spent > Amount::ZERO {
        tokio::task::yield_now().await;
    }
}

/// Case K01, K03: on a server that syncs always.
#[tokio::test]
async fn k03_a_server_that_is_killed_has_lost_nothing_that_was_said() {
    let mut server = stores::server().await;
    let store = stores::on(&server).await;
    let mut said = Amount::ZERO;
    for round in 0..5_u32 {
        let first = i128::from(round) * 1_000 + 1;
        let payments = async {
            let mut units = first;
            loop {
                let Ok(reserved) = store.reserve(CHANNEL, commitment(units, 1)).await else {
                    return;
                };
                let Ok(kept) = store.keep(reserved.unwrap(), 200).await else { return };
                said = kept.authorised;
                units += 1;
                if units > first + 20 {
                    std::future::pending::<()>().await;
                }
            }
        };
        // Killed while payments are made, somewhere.
        let killed = async {
            tokio::time::sleep(Duration::from_millis(u64::from(round) * 7)).await;
            server.kill9().await;
        };
        tokio::select! { () = payments => {}, () = killed => {} }
        let gone = store.account(CHANNEL).await;
        assert!(gone.is_err(), "{gone:?}");
        server.restart().await;
        let found = store.account(CHANNEL).await.unwrap();
        let found = found.map_or_else(Standing::default, |account| account.standing());
        assert!(found.authorised >= said, "{found:?} is less than {said:?}");
        assert!(found.spent <= found.authorised);
    }
    assert!(said > Amount::ZERO);
}

/// A gateway that is gone has its claims until their leases end.
#[tokio::test]
async fn what_a_dead_gateway_held_is_free_when_its_lease_ends() {
    let server = stores::server().await;
    let relay = Relay::to(server.address()).await;
    let lease = Duration::from_secs(3);
    let at = |url| RedisSettings { lease, ..settings(url) };
    let dead = Store::redis(at(server.url_at(relay.address()))).await.unwrap();
    let store = Store::redis(at(server.url())).await.unwrap();
    let paid = |n| Claim { alias: Some(key(1_000 + n)), ..claim(n) };
    let only_held = fresh(&dead, paid(1)).await;
    let mut rival = fresh(&dead, paid(4)).await;
    let mut submitted = fresh(&dead, paid(2)).await;
    dead.submitting(&mut submitted, submitting(2)).await.unwrap();
    // As long as it lives it keeps them, lease after lease.
    let renewed = tokio::time::Instant::now() + lease.mul_f32(1.5);
    while tokio::time::Instant::now() < renewed {
        assert!(matches!(store.claim(paid(1)).await.unwrap(), Claiming::InFlight));
        assert!(store.pending(None).await.unwrap().is_empty());
    }
    relay.set(Weather::Partition);
    let ticket = loop {
        match store.claim(paid(1)).await.unwrap() {
            Claiming::Fresh(ticket) => break ticket,
            Claiming::InFlight => tokio::task::yield_now().await,
            other => panic!("{other:?}"),
        }
    };
    while store.pending(None).await.unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    // Its alias is free as well, and stays with who takes it.
    let taker = fresh(&store, Claim { alias: paid(4).alias, ..claim(5) }).await;
    let taken = store.claim(Claim { alias: paid(1).alias, ..claim(3) }).await.unwrap();
    assert!(matches!(taken, Claiming::AliasTaken(_)), "{taken:?}");
    // It comes back, and what it held is another's.
    relay.set(Weather::Fair);
    let mut only_held = only_held;
    for late in [&mut only_held, &mut rival] {
        let late = dead.submitting(late, submitting(1)).await;
        assert!(matches!(late, Err(Error::OutOfOrder { .. })), "{late:?}");
    }
    drop((only_held, rival, submitted));
    settle_and_deliver(&store, taker, settled(5), 200).await;
    settle_and_deliver(&store, ticket, settled(1), 200).await;
    let found = dead.claim(paid(1)).await.unwrap();
    assert!(matches!(found, Claiming::Delivered { .. }), "{found:?}");
}
