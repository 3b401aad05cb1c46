//! Two Valkey servers, one of which follows the other and may take over from it, and the networks around them: one between
//! each server and its copy, and one from each gateway to what it takes for the primary.

use std::{net::SocketAddr, time::Duration};

use futures_util::future::join_all;
use tokio::time::{sleep, timeout};

use crate::{
    redis_server::{Server, Settings},
    relay::{Relay, Weather},
};

pub(crate) struct Nodes {
    nodes: [Node; 2],
    /// Which of them is the primary.
    primary: usize,
    ways: Vec<Relay>,
}

struct Node {
    server: Server,
    /// What its copy follows it by.
    copied: Relay,
}

impl Nodes {
    /// With a way for each gateway, and one for who comes after them.
    pub(crate) async fn start(gateways: usize) -> Self {
        let primary = Node::start(None).await;
        let replica = Node::start(Some(primary.copied.address())).await;
        let mut ways = Vec::new();
        for _ in 0..=gateways {
            ways.push(Relay::to(primary.server.address).await);
        }
        let nodes = Self { nodes: [primary, replica], primary: 0, ways };
        nodes.attached().await;
        nodes
    }

    /// Where a gateway finds the primary.
    pub(crate) fn way(&self, gateway: usize) -> SocketAddr {
        self.ways[gateway].address()
    }

    pub(crate) const fn primary(&self) -> &Server {
        &self.nodes[self.primary].server
    }

    /// The weather between the primary and its copy.
    pub(crate) fn between(&self, weather: Weather) {
        self.nodes[self.primary].copied.set(weather);
    }

    /// The weather between one gateway and what it takes for the primary.
    pub(crate) fn before(&self, gateway: usize, weather: Weather) {
        self.ways[gateway].set(weather);
    }

    pub(crate) async fn kill_primary(&mut self) {
        self.nodes[self.primary].server.kill9().await;
    }

    pub(crate) async fn kill_replica(&mut self) {
        self.nodes[1 - self.primary].server.kill9().await;
    }

    /// Starts the primary as such.
    pub(crate) async fn restart_primary(&mut self) {
        let server = &mut self.nodes[self.primary].server;
        server.settings.replica_of = None;
        server.restart().await;
    }

    /// Starts the other one as its copy.
    pub(crate) async fn restart_replica(&mut self) {
        let primary = self.nodes[self.primary].copied.address();
        let server = &mut self.nodes[1 - self.primary].server;
        server.settings.replica_of = Some(primary);
        server.restart().await;
    }

    /// The copy is a primary from now on; what was one does not know.
    pub(crate) async fn promote(&mut self) {
        self.primary = 1 - self.primary;
        ask(self.primary(), "REPLICAOF NO ONE").await;
        // It waits for nothing of what was on its way.
        self.nodes[1 - self.primary].copied.set(Weather::Fair);
    }

    /// What was the primary is a copy of what is it now.
    pub(crate) async fn demote(&self) {
        let primary = self.nodes[self.primary].copied.address();
        let order = format!("REPLICAOF {} {}", primary.ip(), primary.port());
        ask(&self.nodes[1 - self.primary].server, &order).await;
    }

    /// Has a gateway look for the primary where it is now.
    pub(crate) async fn lead(&self, gateway: usize) {
        let way = &self.ways[gateway];
        way.lead_to(self.primary().address);
        // Each connection has to see it.
        way.set(Weather::Refuse);
        sleep(Duration::from_millis(20)).await;
        way.set(Weather::Fair);
    }

    pub(crate) async fn lead_all(&self) {
        join_all((0..self.ways.len()).map(|gateway| self.lead(gateway))).await;
    }

    pub(crate) async fn lead_all_but(&self, left: usize) {
        let others = (0..self.ways.len()).filter(|gateway| *gateway != left);
        join_all(others.map(|gateway| self.lead(gateway))).await;
    }

    /// Waits until the copy has what the primary has; that calls it online before.
    pub(crate) async fn attached(&self) {
        let copy = &self.nodes[1 - self.primary].server;
        let says = async |server, word: &str| ask(server, "INFO replication").await.contains(word);
        let attached = async {
            while !says(copy, "master_link_status:up").await
                || !says(self.primary(), "state=online").await
            {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, attached).await.expect("the copy follows its primary");
    }
}

impl Node {
    async fn start(primary: Option<SocketAddr>) -> Self {
        let more = vec![("repl-diskless-sync-delay", "0".to_owned())];
        let settings = Settings { replica_of: primary, more, ..Settings::default() };
        let server = Server::valkey(settings).await;
        let copied = Relay::to(server.address).await;
        Self { server, copied }
    }
}

/// Sends a server a command; what it says, as text.
async fn ask(server: &Server, command: &str) -> String {
    let mut words = command.split(' ');
    let mut asked = redis::cmd(words.next().unwrap());
    for word in words {
        asked.arg(word);
    }
    let client = redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    asked.query_async(&mut connection).await.unwrap()
}

const PATIENCE: Duration = Duration::from_secs(30);
