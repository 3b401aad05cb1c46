//! The stores that a test runs against.

use std::{net::SocketAddr, path::Path, time::Duration};

use redis::{FromRedisValue, Value};
use tokio::process::{Child, Command};
use tollgate::store::{Durability, RedisSettings, Store};

use crate::support::{Server, Settings};

/// Has each of these run against every store: the one in a file's format, the one on Redis, on Valkey,
/// and on a cluster of Valkeys.
macro_rules! on_every_store {
    ($($test:ident),+ $(,)?) => {
        mod in_memory {$(
            #[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test(tollgate::store::Store::in_memory().await.unwrap()).await;
            }
        )+}

        mod on_redis {$(
            #[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                let server = crate::support::Server::redis(Default::default()).await;
                super::$test(crate::stores::on(&server).await).await;
            }
        )+}

        mod on_valkey {$(
            #[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                let server = crate::support::Server::valkey(Default::default()).await;
                super::$test(crate::stores::on(&server).await).await;
            }
        )+}

        mod on_a_cluster {$(
            #[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                let cluster = crate::cluster::Cluster::start(3, false).await;
                let settings = crate::stores::settings(cluster.url());
                super::$test(tollgate::store::Store::redis(settings).await.unwrap()).await;
            }
        )+}
    };
}

/// A store on `server`.
pub(crate) async fn on(server: &Server) -> Store {
    Store::redis(settings(server.url())).await.unwrap()
}

/// Of a store at `url`, with more patience than a busy machine asks for.
pub(crate) fn settings(url: String) -> RedisSettings {
    RedisSettings {
        url: url.into(),
        prefix: "gw:test:".to_owned(),
        timeout: Duration::from_secs(10),
        lease: Duration::from_secs(60),
        durability: Durability::Single,
    }
}

/// A Redis that keeps what it is given.
pub(crate) async fn server() -> Server {
    Server::redis(Settings::default()).await
}

impl Server {
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// As [`Server::restart`], with other settings.
    pub(crate) async fn restart_with(&mut self, settings: Settings) {
        self.settings = settings;
        self.restart().await;
    }

    /// Stops the process where it is: its sockets stay open and say nothing.
    pub(crate) async fn pause(&self) {
        self.signal("STOP").await;
    }

    /// Lets a paused process go on.
    pub(crate) async fn resume(&self) {
        self.signal("CONT").await;
    }

    async fn signal(&self, signal: &str) {
        let id = self.child.as_ref().and_then(Child::id).expect("the server runs");
        let sent = Command::new("kill").args(["-s", signal, &id.to_string()]).status().await;
        assert!(sent.unwrap().success());
    }

    /// Where it keeps its files.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The URL of the server as it is reached at `address`, through a relay.
    pub(crate) fn url_at(&self, address: SocketAddr) -> String {
        let user = self.settings.password.map_or_else(String::new, |word| format!(":{word}@"));
        format!("redis://{user}{address}/")
    }

    /// A connection past all relays.
    pub(crate) async fn connect(&self) -> redis::aio::MultiplexedConnection {
        self.try_connect().await.unwrap()
    }

    async fn try_connect(&self) -> redis::RedisResult<redis::aio::MultiplexedConnection> {
        redis::Client::open(self.url())?.get_multiplexed_async_connection().await
    }

    /// Carries out a command, its words separated by blanks, and returns its answer.
    pub(crate) async fn ask<T: FromRedisValue>(&self, command: &str) -> T {
        self.try_ask(command).await.unwrap()
    }

    pub(crate) async fn try_ask<T: FromRedisValue>(&self, command: &str) -> redis::RedisResult<T> {
        let mut words = command.split(' ');
        let mut asked = redis::cmd(words.next().unwrap());
        for word in words {
            asked.arg(word);
        }
        let answer: Value = asked.query_async(&mut self.try_connect().await?).await?;
        Ok(T::from_redis_value(answer)?)
    }
}
