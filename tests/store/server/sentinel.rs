//! Sentinels that say where the primary is, and have another one take over.

use std::{net::SocketAddr, path::PathBuf, process::Stdio, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    process::{Child, Command},
    time::sleep,
};
use tollgate::store::{Durability, RedisSettings, Store};

use super::replicas::{attached, follower, ha, pay_soon};
use crate::{
    shared::{amount, standing},
    stores,
    support::{Server, Settings, cache, free_address},
};

/// A Sentinel of its own mind: it needs nobody's consent. Killed when dropped.
struct Sentinel {
    address: SocketAddr,
    _child: Child,
    _folder: tempfile::TempDir,
}

impl Sentinel {
    async fn watch(primary: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = free_address();
        let file = folder.path().join("sentinel.conf");
        let text = format!(
            "bind 127.0.0.1\nport {}\nsentinel monitor main {} {} 1\n\
             sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 3000\n",
            address.port(),
            primary.ip(),
            primary.port(),
        );
        std::fs::write(&file, text).unwrap();
        let program: PathBuf = cache().join("bin/redis-sentinel");
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program)
            .arg(file)
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        while TcpStream::connect(address).await.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
        Self { address, _child: child, _folder: folder }
    }

    /// Waits until it knows of so many replicas: before that it has nobody to take over.
    async fn knows(&self, replicas: usize) {
        let client = redis::Client::open(format!("redis://{}/", self.address)).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        loop {
            let told: Vec<Vec<String>> = redis::cmd("SENTINEL")
                .arg("REPLICAS")
                .arg("main")
                .query_async(&mut connection)
                .await
                .unwrap();
            if told.len() == replicas {
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_dies_is_followed_to_the_one_that_the_sentinels_name() {
    let mut primary = Server::valkey(Settings::default()).await;
    let replica = follower(primary.address()).await;
    attached(&primary, 1).await;
    let sentinel = Sentinel::watch(primary.address()).await;
    sentinel.knows(1).await;
    // The first one is cut off: it takes connections, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url =
        format!("redis+sentinel://{},{}/main", silent.local_addr().unwrap(), sentinel.address);
    let journals = tempfile::tempdir().unwrap();
    let store = Store::redis(ha(url.clone(), &journals.path().join("a"))).await.unwrap();
    pay_soon(&store, 1).await;
    let said = pay_soon(&store, 2).await;
    primary.kill9().await;
    loop {
        // A Sentinel that promotes a server closes its connections.
        let told = replica.try_ask::<String>("INFO replication").await;
        if told.is_ok_and(|told| told.contains("role:master")) {
            break;
        }
        sleep(Duration::from_millis(50)).await;
    }
    // The Sentinel makes it a replica of the one that it has chosen meanwhile.
    primary.restart().await;
    attached(&replica, 1).await;
    let stands = pay_soon(&store, 3).await;
    assert_eq!(stands.spent, said.spent.checked_add(amount(1)).unwrap());
    assert_eq!(standing(&store).await, stands);
    // The durability that knows of no replicas finds its server the same way.
    let single = RedisSettings {
        durability: Durability::Single,
        prefix: "gw:other:".to_owned(),
        ..stores::settings(url)
    };
    pay_soon(&Store::redis(single).await.unwrap(), 1).await;
}
