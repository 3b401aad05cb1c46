//! A server whose replicas may take over: what was said is never unsaid, whichever of them does.

use std::{net::SocketAddr, num::NonZeroU8, path::Path, time::Duration};

use tollgate::{
    protocol::stellar::ContractId,
    store::{
        Durability, Error, Redelivery, RedisSettings, Store,
        channel::{Reserve, Reserving, Standing, Token, Unfit},
    },
    telemetry::metrics::Metrics,
};

use crate::{
    relay::{Relay, Weather},
    shared::{CHANNEL, amount, commitment, pay, reserve, standing},
    stores,
    support::{Server, Settings},
};

/// A primary, one that follows it, and where the gateways look for the primary.
pub(super) struct Pair {
    pub(super) primary: Server,
    pub(super) replica: Server,
    name: Relay,
    pub(super) journals: tempfile::TempDir,
}

impl Pair {
    pub(super) async fn start() -> Self {
        let primary = Server::valkey(Settings::default()).await;
        let replica = follower(primary.address()).await;
        attached(&primary, 1).await;
        let name = Relay::to(primary.address()).await;
        Self { primary, replica, name, journals: tempfile::tempdir().unwrap() }
    }

    /// How the gateway with this journal reaches them.
    fn settings(&self, journal: &str) -> RedisSettings {
        let url = format!("redis://{}/", self.name.address());
        ha(url, &self.journals.path().join(journal))
    }

    pub(super) async fn gateway(&self, journal: &str) -> Store {
        loop {
            match Store::redis(self.settings(journal)).await {
                Ok(store) => return store,
                // The one that had it before ends in its own time.
                Err(Error::Locked { .. }) => tokio::time::sleep(Duration::from_millis(20)).await,
                Err(other) => panic!("{other:?}"),
            }
        }
    }

    /// What was the replica is the primary, and what was the primary follows it.
    pub(super) async fn fail_over(&mut self) {
        promote(&self.replica).await;
        std::mem::swap(&mut self.primary, &mut self.replica);
        self.lead_to_primary();
        follow(&self.replica, self.primary.address()).await;
        attached(&self.primary, 1).await;
    }

    pub(super) fn lead_to_primary(&self) {
        self.name.lead_to(self.primary.address());
        self.name.set(Weather::Refuse);
        self.name.set(Weather::Fair);
    }
}

/// Whoever is connected at `name` is cut off with the next thing it asks, and finds `server` there.
fn lead(name: &Relay, server: &Server) {
    name.lead_to(server.address());
    name.set(Weather::CutReply { at: 0 });
}

pub(super) fn ha(url: String, journal: &Path) -> RedisSettings {
    let promotable_replicas = NonZeroU8::MIN;
    let journal = journal.to_owned();
    RedisSettings {
        timeout: Duration::from_secs(2),
        durability: Durability::Replicated { promotable_replicas, journal },
        ..stores::settings(url)
    }
}

pub(super) async fn follower(primary: SocketAddr) -> Server {
    let more = vec![("repl-diskless-sync-delay", "0".to_owned())];
    Server::valkey(Settings { replica_of: Some(primary), more, ..Settings::default() }).await
}

pub(super) async fn follow(server: &Server, primary: SocketAddr) {
    let _: () = server.ask(&format!("REPLICAOF {} {}", primary.ip(), primary.port())).await;
}

pub(super) async fn promote(server: &Server) {
    let _: () = server.ask("REPLICAOF NO ONE").await;
}

/// Waits until so many replicas follow `server` and have what it has on their disks.
pub(crate) async fn attached(server: &Server, count: usize) {
    loop {
        let told: String = server.ask("INFO replication").await;
        if told.matches("state=online").count() == count {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until the gate is open, and has paid.
pub(super) async fn pay_soon(store: &Store, units: i128) -> Standing {
    loop {
        let base = amount(units - 1);
        // As often as it takes.
        let redelivery = Redelivery { attempts: u8::MAX, within: Duration::from_secs(600) };
        let ask = Reserve { token: Token::draw(), base, redelivery, ..commitment(units, 1) };
        match store.reserve(CHANNEL, ask).await {
            Ok(Ok(reservation)) => match store.keep(reservation, 200).await {
                Ok(standing) => return standing,
                Err(Error::Unavailable { .. } | Error::Unreachable { .. }) => {}
                Err(other) => panic!("{units}: {other:?}"),
            },
            // What was asked for and not heard of is yet to be given back.
            Ok(Err(Reserving::InFlight)) => tokio::time::sleep(Duration::from_millis(20)).await,
            Err(Error::Unavailable { .. } | Error::Unreachable { .. }) => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            other => panic!("{units}: {other:?}"),
        }
    }
}

/// Why nothing can be paid now.
pub(super) async fn refusal(store: &Store, units: i128) -> String {
    match store.reserve(CHANNEL, commitment(units, 1)).await {
        Err(error @ (Error::Unavailable { .. } | Error::Unreachable { .. })) => error.to_string(),
        other => panic!("{units}: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_a_replica_does_not_have_was_not_made() {
    let pair = Pair::start().await;
    let store = pair.gateway("a").await;
    pay_soon(&store, 1).await;
    pair.replica.pause().await;
    let refused = refusal(&store, 2).await;
    assert!(refused.contains("did not answer"), "{refused}");
    pair.replica.resume().await;
    // What was reserved meanwhile is given back.
    let stands = pay_soon(&store, 3).await;
    assert_eq!(stands, Standing { authorised: amount(3), spent: amount(2) });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_gone_stops_the_store_until_another_is_there() {
    let mut pair = Pair::start().await;
    let store = pair.gateway("a").await;
    pay_soon(&store, 1).await;
    pair.replica.kill9().await;
    attached(&pair.primary, 0).await;
    let mut refused = refusal(&store, 2).await;
    if refused.contains("did not answer") {
        refused = refusal(&store, 2).await;
    }
    assert!(refused.contains("0 of 1 replicas are attached"), "{refused}");
    let again = Store::redis(pair.settings("b")).await.unwrap_err();
    assert!(again.to_string().contains("0 of 1 replicas are attached"), "{again}");
    pair.replica = follower(pair.primary.address()).await;
    attached(&pair.primary, 1).await;
    pay_soon(&store, 3).await;
}

/// Case K04: the primary is cut off with a gateway beside it, and its replica takes over.
#[tokio::test(flavor = "multi_thread")]
async fn k04_a_primary_that_was_cut_off_serves_nobody_and_what_takes_over_has_all_marks() {
    let mut pair = Pair::start().await;
    let between = Relay::to(pair.primary.address()).await;
    follow(&pair.replica, between.address()).await;
    attached(&pair.primary, 1).await;
    let store = pair.gateway("a").await;
    let beside =
        Store::redis(ha(pair.primary.url(), &pair.journals.path().join("b"))).await.unwrap();
    pay_soon(&store, 1).await;
    pay_soon(&beside, 2).await;
    let mut said = Standing::default();
    for units in 3..20 {
        said = pay(&store, units, 1).await;
    }
    between.set(Weather::Partition);
    for units in 20..23 {
        refusal(&beside, units).await;
    }
    promote(&pair.replica).await;
    std::mem::swap(&mut pair.primary, &mut pair.replica);
    pair.lead_to_primary();
    // It lacks a replica, and a gateway.
    let refused = refusal(&store, 30).await;
    assert!(refused.contains("did not answer") || refused.contains("0 of 1"), "{refused}");
    refusal(&beside, 31).await;
    follow(&pair.replica, pair.primary.address()).await;
    attached(&pair.primary, 1).await;
    drop(beside);
    let beside = pair.gateway("b").await;
    let stands = pay_soon(&store, 40).await;
    assert_eq!(stands.spent, said.spent.checked_add(amount(1)).unwrap());
    pay_soon(&beside, 41).await;
}

/// Case K05: one that lagged behind takes over.
#[tokio::test(flavor = "multi_thread")]
async fn k05_a_stale_replica_that_takes_over_serves_nobody_until_all_journals_were_replayed() {
    let mut pair = Pair::start().await;
    let stale = follower(pair.primary.address()).await;
    attached(&pair.primary, 2).await;
    let (one, two) = (pair.gateway("a").await, pair.gateway("b").await);
    pay_soon(&one, 1).await;
    pay_soon(&two, 2).await;
    promote(&stale).await;
    attached(&pair.primary, 1).await;
    for units in 3..10 {
        pay(&one, units, 1).await;
    }
    let said = pay(&one, 10, 1).await;
    // The gateway that made them is gone, without a farewell.
    drop(one);
    pair.primary.kill9().await;
    pair.primary = stale;
    follow(&pair.replica, pair.primary.address()).await;
    attached(&pair.primary, 1).await;
    pair.lead_to_primary();
    let waits = loop {
        let refused = refusal(&two, 20).await;
        if refused.contains("journals") {
            break refused;
        }
    };
    let members = two.members().await.unwrap();
    assert_eq!(members.iter().filter(|member| member.is_reconciled).count(), 1, "{members:?}");
    let missing = members.iter().find(|member| !member.is_reconciled).unwrap();
    assert!(waits.contains(&missing.id.to_string()), "{waits}");
    // It comes back with its journal.
    let one = pair.gateway("a").await;
    let stands = pay_soon(&two, 20).await;
    assert_eq!(stands, Standing { authorised: amount(20), spent: amount(11) });
    assert_eq!(said.spent, amount(10));
    // What was bought with the lost marks buys nothing more.
    for units in 3..=10 {
        let again = one.reserve(CHANNEL, commitment(units, 1)).await.unwrap();
        assert!(matches!(again, Err(Reserving::Refused(Unfit::Used))), "{units}: {again:?}");
    }
}

/// Case K05: the last primary goes on with a replica beside it, more of which there are than must have a payment, and a
/// gateway finds it again.
#[tokio::test(flavor = "multi_thread")]
async fn k05_a_gateway_that_goes_back_to_the_last_primary_sells_nothing_there() {
    let mut pair = Pair::start().await;
    let beside = follower(pair.primary.address()).await;
    attached(&pair.primary, 2).await;
    let beneath = follower(pair.replica.address()).await;
    attached(&pair.replica, 1).await;
    let other = Relay::to(pair.primary.address()).await;
    let url = format!("redis://{}/", other.address());
    let one = pair.gateway("a").await;
    let two = Store::redis(ha(url, &pair.journals.path().join("b"))).await.unwrap();
    pay_soon(&one, 1).await;
    pay_soon(&two, 2).await;
    promote(&pair.replica).await;
    std::mem::swap(&mut pair.primary, &mut pair.replica);
    lead(&pair.name, &pair.primary);
    lead(&other, &pair.primary);
    // Once both have compared it with their journals.
    pay_soon(&two, 3).await;
    lead(&pair.name, &pair.replica);
    attached(&pair.replica, 1).await;
    loop {
        match one.reserve(CHANNEL, commitment(3, 1)).await {
            Err(Error::Unavailable { reason }) if reason.contains("was the primary before") => {
                break;
            }
            Ok(Err(Reserving::InFlight))
            | Err(Error::Unavailable { .. } | Error::Unreachable { .. }) => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            other => panic!("it was sold already: {other:?}"),
        }
    }
    // Nor does it once it has forgotten all but its journal.
    drop(one);
    let one = pair.gateway("a").await;
    let refused = loop {
        let refused = refusal(&one, 3).await;
        if !refused.contains("being compared") {
            break refused;
        }
    };
    assert!(refused.contains("was the primary before"), "{refused}");
    lead(&pair.name, &pair.primary);
    let stands = pay_soon(&one, 4).await;
    assert_eq!(stands, Standing { authorised: amount(4), spent: amount(4) });
    drop((beside, beneath));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_left_or_was_dismissed_is_not_waited_for() {
    let mut pair = Pair::start().await;
    let one = pair.gateway("a").await;
    pay_soon(&one, 1).await;
    let (left, gone) = (pair.gateway("b").await, pair.gateway("c").await);
    pay_soon(&left, 2).await;
    pay_soon(&gone, 3).await;
    assert_eq!(one.members().await.unwrap().len(), 3);
    left.close().await.unwrap();
    drop(gone);
    pair.fail_over().await;
    let missing = loop {
        let members = one.members().await.unwrap_or_default();
        let behind: Vec<_> = members.iter().filter(|member| !member.is_reconciled).collect();
        if let [missing] = behind.as_slice() {
            assert_eq!(members.len(), 2);
            break missing.id;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(refusal(&one, 4).await.contains("journals"));
    assert!(one.dismiss(missing).await.unwrap());
    assert!(!one.dismiss(missing).await.unwrap());
    let stands = pay_soon(&one, 5).await;
    assert_eq!(stands, Standing { authorised: amount(5), spent: amount(4) });
}

/// Cases K06, K12: the server comes back with nothing, or with what a backup had.
#[tokio::test(flavor = "multi_thread")]
async fn k06_k12_a_server_that_comes_back_with_less_is_raised_to_the_journal() {
    let mut pair = Pair::start().await;
    let store = pair.gateway("a").await;
    pay_soon(&store, 1).await;
    for lost in [5, 9] {
        let said = pay_soon(&store, lost).await;
        let _: () = pair.primary.ask("FLUSHALL").await;
        attached(&pair.primary, 1).await;
        pair.primary.restart().await;
        attached(&pair.primary, 1).await;
        let stands = pay_soon(&store, lost + 1).await;
        assert_eq!(stands.spent, said.spent.checked_add(amount(1)).unwrap());
        assert_eq!(standing(&store).await, stands);
    }
}

/// Case K07: somebody empties the store, and it is still the same server.
#[tokio::test(flavor = "multi_thread")]
async fn k07_a_store_that_is_emptied_under_way_serves_nobody_until_all_journals_were_replayed() {
    let pair = Pair::start().await;
    let (one, two) = (pair.gateway("a").await, pair.gateway("b").await);
    // Has paid from no channel, so it remembers none.
    two.members().await.unwrap();
    for round in 0..3 {
        let first = 10 * round + 1;
        pay_soon(&one, first).await;
        let said = pay_soon(&one, first + 4).await;
        while two.members().await.unwrap().iter().any(|member| !member.is_reconciled) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let _: () = pair.primary.ask("FLUSHALL").await;
        for units in [first, first + 4] {
            match two.reserve(CHANNEL, commitment(units, 1)).await {
                Err(Error::Unavailable { .. } | Error::Unreachable { .. })
                | Ok(Err(Reserving::Refused(Unfit::Used))) => {}
                other => panic!("{units} was bought before: {other:?}"),
            }
        }
        let stands = pay_soon(&one, first + 5).await;
        assert_eq!(stands.spent, said.spent.checked_add(amount(1)).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_gateways_with_one_journal_the_first_stops() {
    let pair = Pair::start().await;
    let first = pair.gateway("a").await;
    pay_soon(&first, 1).await;
    first.close().await.unwrap();
    std::fs::copy(pair.journals.path().join("a"), pair.journals.path().join("b")).unwrap();
    let first = pair.gateway("a").await;
    pay_soon(&first, 2).await;
    let twin = pair.gateway("b").await;
    pay_soon(&twin, 3).await;
    let refused = loop {
        let ask = Reserve { token: Token::draw(), ..commitment(4, 1) };
        match first.reserve(CHANNEL, ask).await {
            Ok(Ok(reservation)) => drop(first.give_back(reservation, false).await),
            // It was found out while this was written, and may not be told.
            Err(Error::Unreachable { .. }) | Ok(Err(Reserving::InFlight)) => {}
            Err(error) => break error.to_string(),
            other => panic!("{other:?}"),
        }
    };
    assert!(refused.contains("copy of this one's journal"), "{refused}");
    pay_soon(&twin, 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_has_ended_is_not_brought_back_by_a_journal() {
    let mut pair = Pair::start().await;
    let store = pair.gateway("a").await;
    pay_soon(&store, 1).await;
    let other = ContractId([8; 32]);
    let reservation = store.reserve(other, commitment(5, 1)).await.unwrap().unwrap();
    store.keep(reservation, 200).await.unwrap();
    store.channel_ended(other).await.unwrap();
    // As whoever collects looks at all channels.
    assert_eq!(store.accounts(None).await.unwrap().accounts.len(), 2);
    store.close().await.unwrap();
    let _: () = pair.primary.ask("FLUSHALL").await;
    pair.primary.restart().await;
    attached(&pair.primary, 1).await;
    let store = pair.gateway("a").await;
    let stands = pay_soon(&store, 2).await;
    assert_eq!(stands, Standing { authorised: amount(2), spent: amount(2) });
    assert_eq!(store.account(other).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_relied_upon_is_refused_with_what_to_do() {
    let pair = Pair::start().await;
    let store = pair.gateway("a").await;
    let locked = Store::redis(pair.settings("a")).await.unwrap_err();
    assert!(matches!(locked, Error::Locked { .. }), "{locked:?}");
    let nowhere = Store::redis(pair.settings("no/where")).await.unwrap_err();
    assert!(matches!(nowhere, Error::NoFolder { .. }), "{nowhere:?}");
    store.close().await.unwrap();
    let other = RedisSettings { prefix: "gw:other:".to_owned(), ..pair.settings("a") };
    let other = Store::redis(other).await.unwrap_err();
    assert!(other.to_string().contains("key_prefix"), "{other}");
    let old = Server::redis(Settings::default()).await;
    let old = Store::redis(ha(old.url(), &pair.journals.path().join("d"))).await.unwrap_err();
    assert!(old.to_string().contains("use Redis 7.2 or later, or Valkey"), "{old}");
    pay_soon(&pair.gateway("a").await, 1).await;
}

/// Case K04 where nothing is promised: what is lost is what was said to be exposed, to the unit.
#[tokio::test(flavor = "multi_thread")]
async fn k04_what_a_best_effort_server_loses_is_what_was_exposed() {
    let mut pair = Pair::start().await;
    let between = Relay::to(pair.primary.address()).await;
    follow(&pair.replica, between.address()).await;
    attached(&pair.primary, 1).await;
    let settings = RedisSettings { durability: Durability::BestEffort, ..pair.settings("none") };
    let store = Store::redis(settings).await.unwrap();
    let metrics = Metrics::default();
    store.expose(&metrics);
    let figure = |name: &str| {
        let text = metrics.text();
        let line = text.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        line.map_or(0, |line| line.trim_start_matches("{} ").parse::<i128>().unwrap())
    };
    let exposed = || figure("gateway_store_exposed_base_units");
    for units in 1..=5 {
        pay(&store, units * 10, 2).await;
    }
    while exposed() > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let safe = standing(&store).await;
    assert_eq!(safe.spent, amount(10));
    between.set(Weather::Partition);
    for units in 6..=12 {
        pay(&store, units * 10, 3).await;
    }
    let given_back = reserve(&store, commitment(130, 3)).await.unwrap();
    assert_eq!(exposed(), 24);
    store.give_back(given_back, true).await.unwrap();
    let said = standing(&store).await;
    assert_eq!(said.spent, amount(31));
    assert_eq!(exposed(), 21);
    promote(&pair.replica).await;
    pair.primary.kill9().await;
    std::mem::swap(&mut pair.primary, &mut pair.replica);
    pair.lead_to_primary();
    // The process that saw what was lost does not serve that channel; another one would.
    let other = RedisSettings { durability: Durability::BestEffort, ..pair.settings("none") };
    let left = standing(&Store::redis(other).await.unwrap()).await;
    assert_eq!(left, safe);
    while figure("gateway_store_lost_base_units_total") == 0 {
        drop(store.account(CHANNEL).await);
    }
    let lost = figure("gateway_store_lost_base_units_total");
    assert_eq!(amount(lost), said.spent.less(left.spent));
    assert_eq!(exposed(), 0);
}
