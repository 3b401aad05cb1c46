//! A server that says no, or nothing: 503, and never an admission.

use std::time::Duration;

use futures_util::future::join_all;
use tollgate::{
    protocol::stellar::ContractId,
    store::{
        Claim, Claiming, Error, RedisSettings, Store,
        channel::{Reserve, Reserving},
    },
};

use crate::{
    claim, fresh, settle_and_deliver, settled,
    shared::{CHANNEL, amount, commitment, pay, reserve, standing, two},
    stores::{self, settings},
    support::{Server, Settings},
};

/// What the server says no with, for a claim and for a reservation.
async fn refused(store: &Store, code: &str) {
    for refused in [
        store.claim(claim(99)).await.map(drop),
        store.reserve(CHANNEL, commitment(99, 1)).await.map(drop),
    ] {
        match refused {
            Err(Error::Unavailable { reason }) if reason.contains(code) => {}
            other => panic!("expected {code}, got {other:?}"),
        }
    }
}

/// Both once more, when it takes payments again.
async fn taken(store: &Store) {
    fresh(store, claim(99)).await;
    pay(store, 99, 1).await;
}

/// Case K09.
#[tokio::test]
async fn k09_a_primary_that_becomes_a_replica_is_given_nothing() {
    let server = stores::server().await;
    let primary = stores::server().await;
    let store = stores::on(&server).await;
    pay(&store, 1, 1).await;
    let address = primary.address();
    () = server.ask(&format!("REPLICAOF {} {}", address.ip(), address.port())).await;
    let first = store.reserve(CHANNEL, commitment(99, 1)).await;
    assert!(
        matches!(first, Err(Error::Unavailable { .. } | Error::Unreachable { .. })),
        "{first:?}"
    );
    refused(&store, "the server is a replica").await;
    () = server.ask("REPLICAOF NO ONE").await;
    taken(&store).await;
}

/// Case K09.
#[tokio::test]
async fn k09_a_server_that_is_full_is_unavailable() {
    let server = stores::server().await;
    let store = stores::on(&server).await;
    pay(&store, 1, 1).await;
    () = server.ask("CONFIG SET maxmemory 1").await;
    refused(&store, "OOM").await;
    () = server.ask("CONFIG SET maxmemory 0").await;
    taken(&store).await;
}

/// Case K09.
#[tokio::test]
async fn k09_a_server_that_cannot_save_is_unavailable() {
    let more = vec![("dbfilename", "taken".to_owned())];
    let server = Server::redis(Settings { more, ..Settings::default() }).await;
    let store = stores::on(&server).await;
    pay(&store, 1, 1).await;
    // A file cannot take the place of a folder, not even as root.
    std::fs::create_dir_all(server.folder().join("taken/by/a/folder")).unwrap();
    let mut connection = server.connect().await;
    () = redis::cmd("CONFIG")
        .arg(&["SET", "save", "3600 1000"])
        .query_async(&mut connection)
        .await
        .unwrap();
    () = server.ask("BGSAVE").await;
    while !server.ask::<String>("INFO persistence").await.contains("rdb_last_bgsave_status:err") {
        tokio::task::yield_now().await;
    }
    refused(&store, "MISCONF").await;
    () = server.ask("CONFIG SET stop-writes-on-bgsave-error no").await;
    taken(&store).await;
}

/// Case K09.
#[tokio::test]
async fn k09_a_cluster_that_is_down_is_unavailable() {
    let more = vec![("cluster-enabled", "yes".to_owned())];
    let server = Server::redis(Settings { more, ..Settings::default() }).await;
    let store = stores::on(&server).await;
    refused(&store, "CLUSTERDOWN").await;
    () = server.ask("CLUSTER ADDSLOTSRANGE 0 16383").await;
    while !server.ask::<String>("CLUSTER INFO").await.contains("cluster_state:ok") {
        tokio::task::yield_now().await;
    }
    taken(&store).await;
}

/// Case K09: reading what it kept.
#[tokio::test]
async fn k09_a_server_that_is_loading_is_unavailable() {
    let more = vec![("enable-debug-command", "yes".to_owned())];
    let server = Server::redis(Settings { more, ..Settings::default() }).await;
    let store = stores::on(&server).await;
    pay(&store, 1, 1).await;
    let mut connection = server.connect().await;
    let mut filled = redis::Pipeline::new();
    for n in 0..2_000 {
        filled.cmd("SET").arg(n).arg(n).ignore();
    }
    () = filled.query_async(&mut connection).await.unwrap();
    () = server.ask("CONFIG SET key-load-delay 2000").await;
    // Between keys it says to everybody that it is loading.
    let loading = async {
        let loaded = redis::cmd("DEBUG").arg("LOADAOF").query_async::<()>(&mut connection).await;
        assert!(loaded.is_ok() || loaded.is_err_and(|error| error.is_timeout()));
    };
    let asked = async {
        loop {
            match store.claim(claim(99)).await {
                Err(Error::Unavailable { reason }) if reason.contains("LOADING") => break,
                Ok(_) => tokio::task::yield_now().await,
                Err(other) => panic!("{other:?}"),
            }
        }
    };
    tokio::join!(loading, asked);
}

/// Case K09, K13: it says nothing for a while.
#[tokio::test]
async fn k09_a_server_that_says_nothing_is_waited_for_no_longer_than_agreed() {
    let server = stores::server().await;
    let timeout = Duration::from_millis(400);
    let store = Store::redis(RedisSettings { timeout, ..settings(server.url()) }).await.unwrap();
    let other = stores::on(&server).await;
    pay(&store, 1, 1).await;
    server.pause().await;
    let unreachable = store.reserve(CHANNEL, commitment(10, 1)).await;
    assert!(matches!(unreachable, Err(Error::Unreachable { .. })), "{unreachable:?}");
    let unreachable = store.claim(claim(1)).await;
    assert!(
        matches!(unreachable, Err(Error::Unreachable { .. } | Error::Unavailable { .. })),
        "{unreachable:?}"
    );
    server.resume().await;
    // The server carries out what it had been sent; who asked has gone, and it is given back.
    let reservation = loop {
        match other.reserve(CHANNEL, Reserve { ..commitment(10, 1) }).await.unwrap() {
            Ok(reservation) => break reservation,
            Err(Reserving::InFlight) => tokio::task::yield_now().await,
            Err(refused) => panic!("{refused:?}"),
        }
    };
    other.keep(reservation, 200).await.unwrap();
    assert_eq!(standing(&other).await.spent, amount(2));
    let ticket = loop {
        match other.claim(claim(1)).await.unwrap() {
            Claiming::Fresh(ticket) => break ticket,
            Claiming::InFlight => tokio::task::yield_now().await,
            refused => panic!("{refused:?}"),
        }
    };
    settle_and_deliver(&other, ticket, settled(1), 200).await;
}

/// Case K13: everybody is told no, nobody waits long, and one connection is enough.
#[tokio::test]
async fn k13_a_crowd_that_meets_a_stalled_server_is_told_so_and_served_once_it_is_back() {
    let server = stores::server().await;
    let timeout = Duration::from_millis(400);
    let store = Store::redis(RedisSettings { timeout, ..settings(server.url()) }).await.unwrap();
    pay(&store, 1, 1).await;
    server.pause().await;
    let crowd = (2..5_002).map(|units| store.reserve(CHANNEL, commitment(units, 1)));
    for refused in join_all(crowd).await {
        assert!(
            matches!(refused, Err(Error::Unreachable { .. } | Error::Unavailable { .. })),
            "{refused:?}"
        );
    }
    server.resume().await;
    let patient = stores::on(&server).await;
    // Its challenge is of now: what the crowd may have reserved is returned, and much of it forgotten.
    let ask = || Reserve { base: amount(5_001), ..commitment(9_999, 1) };
    let reservation = loop {
        match store.reserve(CHANNEL, ask()).await {
            Ok(Ok(reservation)) => break reservation,
            Ok(Err(Reserving::Busy))
            | Err(Error::Unreachable { .. } | Error::Unavailable { .. }) => {}
            refused => panic!("{refused:?}"),
        }
    };
    drop(reservation);
    // What the crowd may have reserved is given back, since nobody has it any more.
    while patient.account(CHANNEL).await.unwrap().unwrap().in_flight() > amount(0) {
        tokio::task::yield_now().await;
    }
    let clients: String = server.ask("CLIENT LIST").await;
    assert!(clients.lines().count() <= 4, "{clients}");
}

#[tokio::test]
async fn a_server_that_forgot_the_script_is_told_it_again() {
    let server = stores::server().await;
    let store = stores::on(&server).await;
    pay(&store, 1, 1).await;
    () = server.ask("SCRIPT FLUSH").await;
    pay(&store, 2, 1).await;
}

/// Case K07: a channel that is known is never taken for a new one.
#[tokio::test]
async fn k07_an_account_that_is_gone_or_older_than_it_was_is_no_new_channel() {
    let server = stores::server().await;
    let [store, other] = two(&server).await;
    pay(&store, 10, 10).await;
    let account = format!("gw:test:{{{CHANNEL}}}:account");
    () = server.ask(&format!("COPY {account} old")).await;
    pay(&store, 20, 10).await;
    let is_rolled_back = async |store: &Store, ask: Reserve| {
        let found = reserve(store, ask).await;
        assert!(matches!(found, Err(Reserving::RolledBack { .. })), "{found:?}");
    };
    // What the ledger or a journal knows of it is enough for a gateway that has never seen it.
    let known = |units| Reserve { at_least: amount(20), ..commitment(units, 1) };
    () = server.ask(&format!("COPY {account} new DB 1")).await;
    for lost in [format!("RENAME old {account}"), format!("DEL {account}"), "FLUSHDB".to_owned()] {
        () = server.ask(&lost).await;
        is_rolled_back(&store, commitment(21, 1)).await;
        is_rolled_back(&other, known(21)).await;
    }
    // Once it is there again, it pays again.
    let mut saved = server.connect().await;
    () = redis::cmd("SELECT").arg(1).query_async(&mut saved).await.unwrap();
    let back = redis::cmd("COPY").arg(&["new", &account, "DB", "0"]).query_async(&mut saved).await;
    () = back.unwrap();
    pay(&store, 21, 1).await;
    assert_eq!(reserve(&other, known(22)).await.unwrap().standing().authorised, amount(22));
}

/// Case K11: what another version wrote is not read by guess, nor written over.
#[tokio::test]
async fn k11_a_record_of_another_format_is_refused() {
    let server = stores::server().await;
    let [store, other] = two(&server).await;
    pay(&store, 10, 10).await;
    let ticket = fresh(&store, Claim { alias: None, ..claim(1) }).await;
    settle_and_deliver(&store, ticket, settled(1), 200).await;
    let mut connection = server.connect().await;
    let names: Vec<String> = server.ask("KEYS gw:*:*").await;
    for name in names.iter().filter(|name| !name.ends_with(":pending") && !name.ends_with("index"))
    {
        for place in [16, 18] {
            let before: Vec<u8> =
                redis::cmd("GET").arg(name).query_async(&mut connection).await.unwrap();
            // The format of the value, and of the record in it: behind the revisions that it remembers.
            let place = if place == 16 { 16 } else { 18 + 16 * usize::from(before[17]) };
            () = redis::cmd("SETRANGE")
                .arg(name)
                .arg(place)
                .arg(&[99_u8][..])
                .query_async(&mut connection)
                .await
                .unwrap();
            // It draws a revision, as every write does.
            () = server.ask(&format!("SETRANGE {name} 0 0123456789abcdef")).await;
            for store in [&store, &other] {
                let found = if name.ends_with("account") {
                    store.reserve(CHANNEL, commitment(20, 1)).await.map(drop)
                } else {
                    store.claim(claim(1)).await.map(drop)
                };
                let is_told = matches!(found, Err(Error::UnknownFormat { found: 99, .. }));
                assert!(is_told, "{name} {place}: {found:?}");
            }
            () =
                redis::cmd("SET").arg(name).arg(before).query_async(&mut connection).await.unwrap();
        }
    }
    assert!(names.len() >= 2);
    pay(&store, 20, 1).await;
}

/// An account that cannot be read is told of, and hides none of the others.
#[tokio::test]
async fn k16_an_account_that_does_not_read_is_left_out_of_a_list_by_name() {
    const BROKEN: ContractId = ContractId([5; 32]);
    let server = stores::server().await;
    let store = stores::on(&server).await;
    for channel in [BROKEN, CHANNEL] {
        let reserved = store.reserve(channel, commitment(10, 10)).await.unwrap().unwrap();
        store.keep(reserved, 200).await.unwrap();
    }
    let name = format!("gw:test:{{{BROKEN}}}:account");
    let good: Vec<u8> = {
        let mut connection = server.connect().await;
        redis::cmd("GET").arg(&name).query_async(&mut connection).await.unwrap()
    };
    for broken in [b"".as_slice(), b"garbage", &good[..good.len() - 1]] {
        let mut connection = server.connect().await;
        () = redis::cmd("SET").arg(&name).arg(broken).query_async(&mut connection).await.unwrap();
        // Another gateway, which has not read it before.
        let page = stores::on(&server).await.accounts(None).await.unwrap();
        assert_eq!(page.unreadable, [BROKEN]);
        let listed: Vec<_> = page.accounts.iter().map(|listed| listed.channel).collect();
        assert_eq!((listed, page.next), (vec![CHANNEL], None));
    }
}
