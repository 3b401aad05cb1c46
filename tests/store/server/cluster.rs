//! A cluster: the store is spread over its primaries, and follows its slots wherever they go.

use std::{collections::BTreeSet, num::NonZeroU8, path::Path, time::Duration};

use tollgate::{
    protocol::stellar::ContractId,
    store::{
        Claiming, Durability, Error, Redelivery, Store,
        channel::{Reserve, Reserving, Standing, Token},
    },
    telemetry::metrics::Metrics,
};

use crate::{
    claim,
    cluster::{Cluster, node, pause},
    fresh, settle_and_deliver, settled,
    shared::{amount, commitment},
    stores,
};

fn channel(number: u8) -> ContractId {
    ContractId([number; 32])
}

/// As many as it takes for each primary to have some.
const CHANNELS: u8 = 24;

/// Pays one unit from a channel, as soon as that is possible.
async fn pay(store: &Store, channel: ContractId, units: i128) -> Standing {
    loop {
        let base = amount(units - 1);
        let redelivery = Redelivery { attempts: u8::MAX, within: Duration::from_secs(600) };
        let ask = Reserve { token: Token::draw(), base, redelivery, ..commitment(units, 1) };
        match store.reserve(channel, ask).await {
            Ok(Ok(reservation)) => match store.keep(reservation, 200).await {
                Ok(standing) => return standing,
                Err(Error::Unavailable { .. } | Error::Unreachable { .. }) => {}
                Err(other) => panic!("{units}: {other:?}"),
            },
            Ok(Err(Reserving::InFlight)) => pause().await,
            Err(Error::Unavailable { .. } | Error::Unreachable { .. }) => pause().await,
            other => panic!("{units}: {other:?}"),
        }
    }
}

async fn pay_all(store: &Store, units: i128) {
    for number in 0..CHANNELS {
        let stands = pay(store, channel(number), units).await;
        assert_eq!(stands, Standing { authorised: amount(units), spent: amount(units) });
    }
}

/// All accounts are there, at `units`.
async fn all_stand_at(store: &Store, units: i128) {
    let page = loop {
        match store.accounts(None).await {
            Ok(page) => break page,
            Err(Error::Unavailable { .. } | Error::Unreachable { .. }) => pause().await,
            Err(other) => panic!("{other:?}"),
        }
    };
    let found: Vec<_> = page.accounts.iter().map(|listed| listed.channel).collect();
    assert_eq!(found, (0..CHANNELS).map(channel).collect::<Vec<_>>());
    for listed in page.accounts {
        assert_eq!(listed.summary.standing().spent, amount(units), "{}", listed.channel);
    }
    assert_eq!((page.unreadable, page.next), (vec![], None));
}

/// The slots of the second primary of three.
const MIDDLE: std::ops::Range<u16> = 5461..10_922;

fn slot_of(name: &str) -> u16 {
    crc16::State::<crc16::XMODEM>::calculate(name.as_bytes()) % 16_384
}

#[tokio::test(flavor = "multi_thread")]
async fn payments_are_spread_over_the_primaries_and_found_by_every_gateway() {
    let cluster = Cluster::start(3, false).await;
    let one = cluster.store(Durability::Single).await;
    let two = cluster.store(Durability::Single).await;
    pay_all(&one, 1).await;
    pay_all(&two, 2).await;
    all_stand_at(&one, 2).await;
    let mut with_accounts = BTreeSet::new();
    for (place, primary) in cluster.primaries.iter().enumerate() {
        let keys: Vec<String> = primary.ask("KEYS *:account").await;
        with_accounts.extend((!keys.is_empty()).then_some(place));
    }
    assert_eq!(with_accounts.len(), 3, "{with_accounts:?}");
    // Claims and secrets are there too.
    let ticket = fresh(&one, claim(1)).await;
    assert!(matches!(two.claim(claim(1)).await.unwrap(), Claiming::InFlight));
    settle_and_deliver(&one, ticket, settled(1), 200).await;
    assert!(matches!(two.claim(claim(1)).await.unwrap(), Claiming::Delivered { .. }));
    one.close().await.unwrap();
    assert!(matches!(one.account(channel(1)).await, Err(Error::Stopped { .. })));
    pay_all(&two, 3).await;
}

/// Case K07: slots are moved, with and without what is in them.
#[tokio::test(flavor = "multi_thread")]
async fn k07_a_slot_that_is_moved_takes_its_channel_along() {
    let cluster = Cluster::start(2, false).await;
    let store = cluster.store(Durability::Single).await;
    pay_all(&store, 1).await;
    // One of each kind: an account, the claims, the index of channels.
    let account = (0..CHANNELS).map(channel).find(|channel| slot_of(&channel.to_string()) < 8192);
    let account = slot_of(&account.unwrap().to_string());
    for slot in [account, slot_of("claims"), slot_of("channels")] {
        let (from, to) = if slot < 8192 { (0, 1) } else { (1, 0) };
        cluster.move_slot(slot, from, to).await;
    }
    pay_all(&store, 2).await;
    all_stand_at(&store, 2).await;
    assert!(matches!(store.claim(claim(1)).await.unwrap(), Claiming::Fresh(_)));
    // One that was there at the start finds the same as one that comes anew.
    all_stand_at(&cluster.store(Durability::Single).await, 2).await;
}

/// A primary that is away takes its own channels along, and no others.
#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_is_away_stops_its_own_channels_alone() {
    let mut cluster = Cluster::start(3, false).await;
    for node in &cluster.primaries {
        let _: () = node.ask("CONFIG SET cluster-require-full-coverage no").await;
    }
    let store = cluster.store(Durability::Single).await;
    pay_all(&store, 1).await;
    cluster.primaries[1].kill9().await;
    let (mut gone, mut there) = (0, 0);
    for number in 0..CHANNELS {
        let channel = channel(number);
        let is_there = !MIDDLE.contains(&slot_of(&channel.to_string()));
        let paid = store.reserve(channel, commitment(2, 1)).await;
        match paid {
            Ok(Ok(reservation)) if is_there => {
                store.keep(reservation, 200).await.unwrap();
                there += 1;
            }
            Err(Error::Unavailable { .. } | Error::Unreachable { .. }) if !is_there => gone += 1,
            other => panic!("{number}: {other:?}"),
        }
    }
    assert!(gone > 0 && there > 0, "{gone} {there}");
    cluster.primaries[1].restart().await;
    for number in 0..CHANNELS {
        assert_eq!(pay(&store, channel(number), 3).await.authorised, amount(3));
    }
}

/// What a replica lacks is lost where it may take over: so a cluster with replicas is not relied upon as if it had none.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_whose_replicas_may_take_over_is_not_one_that_keeps_everything() {
    let cluster = Cluster::start(1, true).await;
    let refused = Store::redis(cluster.settings(Durability::Single)).await.unwrap_err();
    assert!(refused.to_string().contains("use `durability: redis-ha`"), "{refused}");
    let metrics = Metrics::default();
    let store = cluster.store(Durability::BestEffort).await;
    store.expose(&metrics);
    pay_all(&store, 1).await;
    // One by one, they are on all disks.
    while !metrics.text().contains("store_exposed_base_units{} 0") {
        pause().await;
    }
    cluster.replicas[0].pause().await;
    pay_all(&store, 2).await;
    assert!(metrics.text().contains("store_exposed_base_units{} 24"), "{}", metrics.text());
    cluster.replicas[0].resume().await;
    while !metrics.text().contains("store_exposed_base_units{} 0") {
        pause().await;
    }
    // And one that gets a replica later is not relied upon any more.
    let alone = Cluster::start(2, false).await;
    let store = alone.store(Durability::Single).await;
    pay_all(&store, 1).await;
    let replica = node().await;
    let first = alone.primaries[0].address();
    let _: () = replica.ask(&format!("CLUSTER MEET {} {}", first.ip(), first.port())).await;
    let id = alone.id(0).await;
    while replica.try_ask::<()>(&format!("CLUSTER REPLICATE {id}")).await.is_err() {
        pause().await;
    }
    let there = (0..CHANNELS).map(channel).find(|it| slot_of(&it.to_string()) < 8192).unwrap();
    loop {
        let paid = store.reserve(there, commitment(1, 1)).await;
        if paid.is_err_and(|error| error.to_string().contains("redis-ha")) {
            break;
        }
        pause().await;
    }
}

fn ha(journal: &Path) -> Durability {
    Durability::Replicated { promotable_replicas: NonZeroU8::MIN, journal: journal.to_owned() }
}

/// Case K04 in a cluster: whichever primary dies, what its replica goes on with is what was said.
#[tokio::test(flavor = "multi_thread")]
async fn k04_in_a_cluster_no_mark_is_lost_with_a_primary() {
    let mut cluster = Cluster::start(3, true).await;
    let journals = tempfile::tempdir().unwrap();
    let one = cluster.store(ha(&journals.path().join("one"))).await;
    let two = cluster.store(ha(&journals.path().join("two"))).await;
    pay_all(&one, 1).await;
    pay_all(&two, 2).await;
    for place in 0..3 {
        cluster.fail_over(place).await;
        // What was a primary follows its replica now.
        cluster.primaries[place].restart().await;
        super::attached(&cluster.replicas[place], 1).await;
        let units = i128::try_from(place).unwrap() * 2 + 3;
        pay_all(&one, units).await;
        pay_all(&two, units + 1).await;
    }
    all_stand_at(&one, 8).await;
    let members = two.members().await.unwrap();
    assert_eq!(members.iter().filter(|member| member.is_reconciled).count(), 2, "{members:?}");
    one.close().await.unwrap();
    assert_eq!(two.members().await.unwrap().len(), 1);
}

/// Case K05 in a cluster: a primary that comes back with less than it had said is raised to the journals of all gateways.
#[tokio::test(flavor = "multi_thread")]
async fn k05_in_a_cluster_a_primary_that_was_rolled_back_waits_for_all_journals() {
    let mut cluster = Cluster::start(3, true).await;
    let journals = tempfile::tempdir().unwrap();
    let one = cluster.store(ha(&journals.path().join("one"))).await;
    let two = cluster.store(ha(&journals.path().join("two"))).await;
    pay_all(&one, 1).await;
    pay_all(&two, 2).await;
    // The second gateway is gone without a farewell, and the first has seen nothing of what it said last.
    drop(two);
    let lost = cluster.primaries[1].address();
    let keys: Vec<String> = cluster.primaries[1].ask("KEYS *:account").await;
    assert!(!keys.is_empty());
    for key in &keys {
        let _: () = cluster.primaries[1].ask(&format!("DEL {key}")).await;
    }
    cluster.fail_over(1).await;
    cluster.primaries[1].restart().await;
    super::attached(&cluster.replicas[1], 1).await;
    let elsewhere: Vec<_> =
        (0..CHANNELS).filter(|n| !MIDDLE.contains(&slot_of(&channel(*n).to_string()))).collect();
    let there: Vec<_> =
        (0..CHANNELS).filter(|n| MIDDLE.contains(&slot_of(&channel(*n).to_string()))).collect();
    assert_eq!(there.len(), keys.len(), "{lost}");
    // The other primary is what it was.
    for number in &elsewhere {
        pay(&one, channel(*number), 3).await;
    }
    let refused = loop {
        let paid = one.reserve(channel(there[0]), commitment(3, 1)).await;
        match paid {
            Err(error) if error.to_string().contains("journals") => break error.to_string(),
            Err(_) => pause().await,
            Ok(other) => panic!("{other:?}"),
        }
    };
    assert!(refused.contains("channels dismiss"), "{refused}");
    let _two = cluster.gateway(&journals.path().join("two")).await;
    for number in &there {
        let stands = pay(&one, channel(*number), 3).await;
        assert_eq!(stands, Standing { authorised: amount(3), spent: amount(3) });
    }
    all_stand_at(&one, 3).await;
}

/// Slots are moved while the gateways pay: it costs time, and no mark.
#[tokio::test(flavor = "multi_thread")]
async fn k07_in_a_cluster_no_mark_is_lost_with_a_slot() {
    let cluster = Cluster::start(2, true).await;
    let journals = tempfile::tempdir().unwrap();
    let one = cluster.store(ha(&journals.path().join("one"))).await;
    let two = cluster.store(ha(&journals.path().join("two"))).await;
    pay_all(&one, 1).await;
    let slots = (0..CHANNELS).map(|n| slot_of(&channel(n).to_string()));
    for (place, slot) in slots.filter(|slot| *slot < 8192).take(3).enumerate() {
        cluster.move_slot(slot, 0, 1).await;
        let units = i128::try_from(place).unwrap() * 2 + 2;
        pay_all(&two, units).await;
        pay_all(&one, units + 1).await;
    }
    // The first one comes back to where it was.
    let first = slot_of(&channel(0).to_string());
    let (from, to) = if first < 8192 { (1, 0) } else { (1, 1) };
    if from != to {
        cluster.move_slot(first, from, to).await;
    }
    pay_all(&one, 8).await;
    all_stand_at(&two, 8).await;
}

/// Case K07: what a gateway has seen of a channel it remembers, whichever primary has its slot.
#[tokio::test(flavor = "multi_thread")]
async fn k07_an_account_that_is_lost_with_a_slot_does_not_begin_anew() {
    let cluster = Cluster::start(2, false).await;
    let store = cluster.store(Durability::Single).await;
    for units in 1..=5 {
        pay_all(&store, units).await;
    }
    let lost = (0..CHANNELS).map(channel).find(|it| slot_of(&it.to_string()) < 8192).unwrap();
    let _: () = cluster.primaries[0].ask(&format!("DEL gw:test:{{{lost}}}:account")).await;
    cluster.move_slot(slot_of(&lost.to_string()), 0, 1).await;
    for _ in 0..100 {
        let bought = store.reserve(lost, commitment(5, 1)).await;
        assert!(!matches!(bought, Ok(Ok(_))), "{bought:?}");
        pause().await;
    }
    let other = (0..CHANNELS).map(channel).find(|it| slot_of(&it.to_string()) >= 8192).unwrap();
    pay(&store, other, 6).await;
}

/// Case K05 in a cluster: the primary that lists the channels was rolled back, and those that have the accounts were not.
#[tokio::test(flavor = "multi_thread")]
async fn k05_in_a_cluster_channels_are_listed_again_where_the_list_was_lost() {
    let mut cluster = Cluster::start(2, true).await;
    let journals = tempfile::tempdir().unwrap();
    let store = cluster.gateway(&journals.path().join("one")).await;
    pay_all(&store, 1).await;
    // The claims are elsewhere.
    assert!(slot_of("channels") >= 8192 && slot_of("claims") < 8192);
    let _: () = cluster.primaries[1].ask("DEL gw:test:{channels}:index").await;
    cluster.primaries[1].kill9().await;
    // One other primary is no majority.
    let _: () = cluster.replicas[1].ask("CLUSTER FAILOVER TAKEOVER").await;
    cluster.primaries[1].restart().await;
    super::attached(&cluster.replicas[1], 1).await;
    while !store.accounts(None).await.is_ok_and(|page| page.accounts.len() == usize::from(CHANNELS))
    {
        pause().await;
    }
    pay_all(&store, 2).await;
    all_stand_at(&store, 2).await;
    // A primary that is away holds nobody up who goes, nor the journal.
    cluster.replicas[1].kill9().await;
    cluster.primaries[1].kill9().await;
    drop(store.close().await);
    cluster.replicas[1].restart().await;
    cluster.primaries[1].restart().await;
    let store = cluster.gateway(&journals.path().join("one")).await;
    pay_all(&store, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_cluster_is_told() {
    let server = stores::server().await;
    let url = format!("redis+cluster://{}", server.address());
    let refused = Store::redis(stores::settings(url)).await.unwrap_err();
    assert!(refused.to_string().contains("cluster"), "{refused}");
    let lone = node().await;
    let _: () = lone.ask("CLUSTER ADDSLOTSRANGE 0 16382").await;
    let url = format!("redis+cluster://{}", lone.address());
    let refused = Store::redis(stores::settings(url.clone())).await.unwrap_err();
    assert!(refused.to_string().contains("belong to nobody"), "{refused}");
    let _: () = lone.ask("CLUSTER ADDSLOTS 16383").await;
    while !lone.ask::<String>("CLUSTER INFO").await.contains("cluster_state:ok") {
        pause().await;
    }
    let store = Store::redis(stores::settings(url)).await.unwrap();
    pay_all(&store, 1).await;
}
