//! The servers and the relay that other tests rely on do what those tests believe.

use redis::AsyncCommands as _;

use crate::{
    relay::{Relay, Weather},
    support::{Server, Settings},
};

async fn both(settings: Settings) -> [Server; 2] {
    [Server::redis(settings.clone()).await, Server::valkey(settings).await]
}

#[tokio::test]
async fn a_server_that_syncs_always_keeps_what_it_acknowledged_when_it_is_killed() {
    for mut server in both(Settings::default()).await {
        let mut connection = server.connect().await;
        for n in 0..50 {
            () = connection.set(n, n).await.unwrap();
        }
        server.kill9().await;
        assert!(connection.get::<_, Option<u32>>(0).await.is_err());
        server.restart_with(Settings { password: Some("word"), ..Settings::default() }).await;
        let mut connection = server.connect().await;
        for n in 0..50 {
            assert_eq!(connection.get::<_, Option<u32>>(n).await.unwrap(), Some(n));
        }
    }
    // One that keeps nothing is no such server.
    for mut server in both(Settings { appendonly: false, ..Settings::default() }).await {
        () = server.connect().await.set(1, 1).await.unwrap();
        server.restart().await;
        assert_eq!(server.ask::<Option<u32>>("GET 1").await, None);
    }
}

#[tokio::test]
async fn a_paused_server_answers_once_it_goes_on() {
    for server in both(Settings { password: Some("word"), ..Settings::default() }).await {
        let mut connection = server.connect().await;
        server.pause().await;
        let silent = connection.set::<_, _, ()>(1, 1).await.unwrap_err();
        assert!(silent.is_timeout(), "{silent:?}");
        server.resume().await;
        // What was sent while it was away is carried out before what is sent now.
        assert_eq!(server.ask::<Option<u32>>("GET 1").await, Some(1));
    }
}

#[tokio::test]
async fn a_lost_reply_is_of_a_command_that_was_carried_out() {
    let server = Server::redis(Settings::default()).await;
    let relay = Relay::to(server.address()).await;
    let client = redis::Client::open(server.url_at(relay.address())).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    relay.set(Weather::LoseReply { at: 2 });
    () = connection.set(1, 1).await.unwrap();
    () = connection.set(2, 2).await.unwrap();
    let lost = connection.set::<_, _, ()>(3, 3).await.unwrap_err();
    assert!(lost.is_timeout(), "{lost:?}");
    assert_eq!(relay.rounds(), 3);
    assert_eq!(server.ask::<Option<u32>>("GET 3").await, Some(3));

    relay.set(Weather::CutReply { at: 1 });
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let cut = connection.set::<_, _, ()>(4, 4).await.unwrap_err();
    assert!(cut.is_connection_dropped(), "{cut:?}");
    assert_eq!(server.ask::<Option<u32>>("GET 4").await, Some(4));
}

#[tokio::test]
async fn a_partition_holds_everything_back_and_a_refusal_cuts_it_off() {
    let server = Server::redis(Settings::default()).await;
    let relay = Relay::to(server.address()).await;
    let client = redis::Client::open(server.url_at(relay.address())).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    relay.set(Weather::Partition);
    let silent = connection.set::<_, _, ()>(1, 1).await.unwrap_err();
    assert!(silent.is_timeout(), "{silent:?}");
    assert_eq!(server.ask::<Option<u32>>("GET 1").await, None);
    relay.set(Weather::Fair);
    assert_eq!(connection.get::<_, Option<u32>>(1).await.unwrap(), Some(1));

    relay.set(Weather::Refuse);
    let cut = connection.get::<_, Option<u32>>(1).await.unwrap_err();
    assert!(cut.is_connection_dropped(), "{cut:?}");
    assert!(client.get_multiplexed_async_connection().await.is_err());
    relay.set(Weather::Slow(std::time::Duration::from_millis(1)));
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    assert_eq!(connection.get::<_, Option<u32>>(1).await.unwrap(), Some(1));
}
