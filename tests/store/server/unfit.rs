//! A server that would lose payments is given none.

use tollgate::store::{Claiming, Durability, Error, RedisSettings, Store};

use crate::{
    claim, fresh, settle_and_deliver, settled,
    shared::{CHANNEL, commitment, pay},
    stores,
    support::{Server, Settings},
};

/// Starts on `server`, which must be refused, and says why.
async fn refused(server: &Server) -> String {
    match Store::redis(stores::settings(server.url())).await {
        Err(Error::Unavailable { reason }) => reason.to_string(),
        other => panic!("{other:?}"),
    }
}

/// Case K03, K07.
#[tokio::test]
async fn k03_a_server_that_would_lose_payments_is_refused_with_what_to_do() {
    let kept = Settings::default();
    for (unfit, told) in [
        (Settings { appendonly: false, ..kept.clone() }, "set `appendonly yes`"),
        (Settings { appendfsync: "everysec", ..kept.clone() }, "set `appendfsync always`"),
        (Settings { appendfsync: "no", ..kept.clone() }, "set `appendfsync always`"),
        (
            Settings { maxmemory_policy: "allkeys-lru", ..kept.clone() },
            "set `maxmemory-policy noeviction`",
        ),
    ] {
        let server = Server::redis(unfit).await;
        let reason = refused(&server).await;
        assert!(reason.contains(told), "{reason}");
        // Whoever says that it need not be kept may have it.
        let settings =
            RedisSettings { durability: Durability::BestEffort, ..stores::settings(server.url()) };
        pay(&Store::redis(settings).await.unwrap(), 5, 5).await;
    }
    let primary = Server::redis(kept.clone()).await;
    let replica =
        Server::redis(Settings { replica_of: Some(primary.address()), ..kept.clone() }).await;
    assert!(refused(&replica).await.contains("give the address of the primary"));
    pay(&stores::on(&primary).await, 5, 5).await;
}

#[tokio::test]
async fn a_server_that_cannot_be_used_says_why_and_not_its_password() {
    let mut server =
        Server::redis(Settings { password: Some("sesame"), ..Settings::default() }).await;
    pay(&stores::on(&server).await, 5, 5).await;
    for url in [
        server.url().replace("sesame", "wrong"),
        server.url().replace("sesame", "sesame:x"),
        "sesame://sesame".to_owned(),
        "redis://sesame@".to_owned(),
    ] {
        let refused = Store::redis(stores::settings(url.clone())).await.unwrap_err();
        assert!(matches!(refused, Error::Unavailable { .. }), "{url}: {refused:?}");
        assert!(!format!("{refused} {refused:?}").contains("sesame"), "{refused}");
    }
    server.kill9().await;
    let gone = Store::redis(stores::settings(server.url())).await;
    assert!(matches!(gone, Err(Error::Unavailable { .. })), "{gone:?}");
}

/// Case K06: one that comes back otherwise.
#[tokio::test]
async fn a_server_that_comes_back_unfit_is_given_nothing_until_it_is_fit() {
    let mut server = stores::server().await;
    let store = stores::on(&server).await;
    let ticket = fresh(&store, claim(1)).await;
    settle_and_deliver(&store, ticket, settled(1), 200).await;
    pay(&store, 5, 5).await;
    server.restart_with(Settings { appendfsync: "everysec", ..Settings::default() }).await;
    // What was sent to the one before may have been carried out.
    let lost = store.claim(claim(2)).await;
    assert!(matches!(lost, Err(Error::Unreachable { .. } | Error::Unavailable { .. })), "{lost:?}");
    for _ in 0..3 {
        let refused = store.claim(claim(1)).await;
        assert!(matches!(refused, Err(Error::Unavailable { .. })), "{refused:?}");
        let refused = store.reserve(CHANNEL, commitment(10, 5)).await;
        assert!(matches!(refused, Err(Error::Unavailable { .. })), "{refused:?}");
    }
    () = server.ask("CONFIG SET appendfsync always").await;
    assert!(matches!(store.claim(claim(1)).await.unwrap(), Claiming::Delivered { .. }));
    pay(&store, 10, 5).await;
    assert!(store.is_running());
}
