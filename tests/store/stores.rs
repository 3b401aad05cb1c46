//! The stores that a test runs against.

use std::time::Duration;

use tollgate::store::{Durability, RedisSettings, Store};

use crate::support::{Server, Settings};

/// Has each of these run against every store: the one in a file's format, and the one on Redis and on Valkey.
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
