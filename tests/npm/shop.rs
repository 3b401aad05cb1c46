//! A gateway before an upstream in another language.

use std::{path::Path, process::Stdio, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::process::Command;

use crate::{
    npm::OverTls,
    server::Server,
    world::{Plan, World, get},
};

/// A gateway, on a ledger of its own, that sells what an upstream program has.
pub(crate) struct Shop {
    pub(crate) world: World,
    /// `host:port` of the upstream.
    upstream: String,
    _server: Server,
}

/// What an upstream is written in.
pub(crate) enum Language {
    Python,
    Node,
}

impl Shop {
    /// A shop whose gateway is as `plan` says of the upstream's `host:port`; it takes payments.
    pub(crate) async fn open(language: Language, plan: impl FnOnce(String) -> Plan) -> Self {
        let network = OverTls::start(TICK).await;
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/upstreams");
        let mut command = match language {
            Language::Python => Command::new("python3"),
            Language::Node => Command::new("node"),
        };
        command.arg(folder.join(match language {
            Language::Python => "upstream.py",
            Language::Node => "upstream.mjs",
        }));
        command.stdin(Stdio::null()).kill_on_drop(true);
        let server = Server::start(command).await;
        let port = server.url.strip_prefix("PORT ").unwrap();
        let upstream = format!("127.0.0.1:{port}");
        let world = World::ready(network, &plan(upstream.clone())).await;
        Self { world, upstream, _server: server }
    }

    /// The same shop with another gateway, on the same ledger.
    pub(crate) async fn reopen(self, plan: impl FnOnce(String) -> Plan) -> Self {
        let Self { world, upstream, _server } = self;
        world.gateway.stop().await;
        let world = World::ready(world.network, &plan(upstream.clone())).await;
        Self { world, upstream, _server }
    }

    /// What a stranger gets from the upstream itself, which counts it as a hit.
    pub(crate) async fn weather(&self) -> Bytes {
        let (_, weather) = get(&format!("http://{}/weather", self.upstream)).await;
        assert!(!weather.is_empty());
        weather
    }

    /// How often the upstream was asked for `path`, by its own count.
    pub(crate) async fn hits(&self, path: &str) -> String {
        let (_, hits) = get(&format!("http://{}/hits?path={path}", self.upstream)).await;
        String::from_utf8(hits.to_vec()).unwrap()
    }
}

/// Asserts that the npm client got these bytes, by its own account and by its digest.
#[track_caller]
pub(crate) fn assert_same_bytes(paid: &Value, bytes: &[u8]) {
    assert_eq!(STANDARD.decode(paid["body"].as_str().unwrap()).unwrap(), bytes);
    assert_eq!(paid["sha256"], hex::encode(Sha256::digest(bytes)));
}

/// How often a ledger closes.
pub(crate) const TICK: Duration = Duration::from_secs(1);
