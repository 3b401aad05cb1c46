//! A real cluster of Valkey servers of a test's own.

use std::{num::NonZeroU8, path::Path, time::Duration};

use tokio::time::sleep;
use tollgate::store::{Durability, Error, RedisSettings, Store};

use crate::{
    server::attached,
    stores,
    support::{Server, Settings},
};

/// Primaries that share the slots evenly, with one replica each or none.
pub(crate) struct Cluster {
    pub(crate) primaries: Vec<Server>,
    pub(crate) replicas: Vec<Server>,
}

impl Cluster {
    pub(crate) async fn start(primaries: usize, replicas: bool) -> Self {
        let mut nodes = Vec::new();
        for _ in 0..primaries * if replicas { 2 } else { 1 } {
            nodes.push(node().await);
        }
        for node in &nodes {
            let first = nodes[0].address();
            let _: () = node.ask(&format!("CLUSTER MEET {} {}", first.ip(), first.port())).await;
        }
        let replicas = nodes.split_off(primaries);
        let share = 16_384 / primaries;
        for (place, node) in nodes.iter().enumerate() {
            let last = if place + 1 == primaries { 16_383 } else { (place + 1) * share - 1 };
            let _: () = node.ask(&format!("CLUSTER ADDSLOTSRANGE {} {last}", place * share)).await;
        }
        let cluster = Self { primaries: nodes, replicas };
        cluster.agrees().await;
        for (primary, replica) in cluster.primaries.iter().zip(&cluster.replicas) {
            let id: String = primary.ask("CLUSTER MYID").await;
            while replica.try_ask::<()>(&format!("CLUSTER REPLICATE {id}")).await.is_err() {
                pause().await;
            }
            attached(primary, 1).await;
        }
        // The nodes tell each other who follows whom.
        for node in cluster.primaries.iter().chain(&cluster.replicas) {
            while node.ask::<String>("CLUSTER NODES").await.matches("slave").count()
                != cluster.replicas.len()
            {
                pause().await;
            }
        }
        cluster
    }

    /// Waits until every node knows every slot.
    async fn agrees(&self) {
        for node in self.primaries.iter().chain(&self.replicas) {
            while !node.ask::<String>("CLUSTER INFO").await.contains("cluster_state:ok") {
                pause().await;
            }
        }
    }

    pub(crate) fn url(&self) -> String {
        let named = self.primaries.iter().take(2).map(|node| node.address().to_string());
        format!("redis+cluster://{}", named.collect::<Vec<_>>().join(","))
    }

    pub(crate) fn settings(&self, durability: Durability) -> RedisSettings {
        RedisSettings {
            timeout: Duration::from_secs(2),
            durability,
            ..stores::settings(self.url())
        }
    }

    pub(crate) async fn store(&self, durability: Durability) -> Store {
        Store::redis(self.settings(durability)).await.unwrap()
    }

    /// The gateway with this journal, once the one that had it before has ended and the servers take it.
    pub(crate) async fn gateway(&self, journal: &Path) -> Store {
        let journal = journal.to_owned();
        let durability = Durability::Replicated { promotable_replicas: NonZeroU8::MIN, journal };
        loop {
            match Store::redis(self.settings(durability.clone())).await {
                Ok(store) => return store,
                Err(
                    Error::Locked { .. } | Error::Unavailable { .. } | Error::Unreachable { .. },
                ) => {
                    pause().await;
                }
                Err(other) => panic!("{other:?}"),
            }
        }
    }

    pub(crate) async fn id(&self, place: usize) -> String {
        self.primaries[place].ask("CLUSTER MYID").await
    }

    /// Moves a slot with all that is in it.
    pub(crate) async fn move_slot(&self, slot: u16, from: usize, to: usize) {
        let (source, target) = (self.id(from).await, self.id(to).await);
        let _: () =
            self.primaries[to].ask(&format!("CLUSTER SETSLOT {slot} IMPORTING {source}")).await;
        let _: () =
            self.primaries[from].ask(&format!("CLUSTER SETSLOT {slot} MIGRATING {target}")).await;
        let keys: Vec<String> =
            self.primaries[from].ask(&format!("CLUSTER GETKEYSINSLOT {slot} 1000")).await;
        let at = self.primaries[to].address();
        for key in keys {
            let moved = format!("MIGRATE {} {} {key} 0 5000", at.ip(), at.port());
            let _: () = self.primaries[from].ask(&moved).await;
        }
        for node in [to, from] {
            let _: () =
                self.primaries[node].ask(&format!("CLUSTER SETSLOT {slot} NODE {target}")).await;
        }
    }

    /// Kills a primary; its replica takes over.
    pub(crate) async fn fail_over(&mut self, place: usize) {
        self.primaries[place].kill9().await;
        while !self.replicas[place].ask::<String>("INFO replication").await.contains("role:master")
        {
            pause().await;
        }
    }
}

pub(crate) async fn node() -> Server {
    let more = vec![
        ("cluster-enabled", "yes".to_owned()),
        ("cluster-node-timeout", "1000".to_owned()),
        ("repl-diskless-sync-delay", "0".to_owned()),
        // Whoever has the data may take over, however long it heard nothing.
        ("cluster-replica-validity-factor", "0".to_owned()),
    ];
    Server::valkey(Settings { more, ..Settings::default() }).await
}

pub(crate) async fn pause() {
    sleep(Duration::from_millis(20)).await;
}
