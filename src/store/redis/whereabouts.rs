//! Where the primary is: at one address, or where the Sentinels that watch it or the nodes of its cluster say.

use std::sync::Arc;

use redis::{
    Client, ErrorKind, IntoConnectionInfo as _, RedisError, RedisResult, TlsMode,
    sentinel::{SentinelClient, SentinelNodeConnectionInfo, SentinelServerType},
};

use super::cluster::{Cluster, with_port};

/// How the primary is found.
pub(super) enum Whereabouts {
    At(Box<Client>),
    Sentinels(Vec<SentinelClient>),
    /// It is the one that has this slot.
    Slot(Arc<Cluster>, u16),
}

impl Whereabouts {
    /// Reads `redis://`, `rediss://`, or
    /// `redis+sentinel://[USER:PASSWORD@]HOST[:26379][,HOST…]/NAME[/DB][?sentinel_password=…]`, whose user is that of the
    /// servers; `rediss+sentinel://` uses TLS to both the Sentinels and the servers.
    ///
    /// # Errors
    /// It does not read. The message says nothing of the URL itself, which may hold a password.
    pub(super) fn read(url: &str) -> RedisResult<Self> {
        let Some((scheme, rest)) = url.split_once("+sentinel://") else {
            return Client::open(url).map(Box::new).map(Self::At);
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (service, db) = path.split_once('/').unwrap_or((path, ""));
        let word = query.split('&').find_map(|pair| pair.strip_prefix("sentinel_password="));
        let at = |user: &str, host: &str| match user {
            "" => format!("{scheme}://{host}"),
            user => format!("{scheme}://{user}@{host}"),
        };
        let watcher = word.map_or_else(String::new, |word| format!(":{word}"));
        // Of this only the user and the database are looked at.
        let node = format!("{}/{db}", at(user, "localhost")).into_connection_info()?;
        let mut settings = SentinelNodeConnectionInfo::default()
            .set_redis_connection_info(node.redis_settings().clone());
        if scheme == "rediss" {
            settings = settings.set_tls_mode(TlsMode::Secure);
        }
        let sentinel = |host: &str| {
            let watched = vec![at(&watcher, &with_port(host, SENTINEL_PORT))];
            let settings = Some(settings.clone());
            SentinelClient::build(watched, service, settings, SentinelServerType::Master)
        };
        hosts.split(',').map(sentinel).collect::<RedisResult<_>>().map(Self::Sentinels)
    }

    /// How many may be asked where the primary is.
    pub(super) fn askable(&self) -> u32 {
        match self {
            Self::At(_) => 1,
            Self::Sentinels(sentinels) => u32::try_from(sentinels.len()).unwrap_or(u32::MAX),
            Self::Slot(cluster, _) => cluster.askable(),
        }
    }

    /// What was found is no more, or is not fit: a cluster may be arranged otherwise.
    pub(super) fn doubt(&self) {
        if let Self::Slot(cluster, _) = self {
            cluster.moved.notify_one();
        }
    }

    /// A client of what is the primary now, as far as anybody can say. Each time another Sentinel or node is asked, since
    /// one that is cut off says nothing, or what was so before.
    pub(super) async fn primary(&mut self) -> RedisResult<Client> {
        match self {
            Self::At(client) => Ok(Client::clone(client)),
            Self::Sentinels(sentinels) => {
                sentinels.rotate_left(1);
                let Some(sentinel) = sentinels.last_mut() else { return Err(no_sentinel()) };
                sentinel.async_get_client().await
            }
            Self::Slot(cluster, slot) => {
                let primaries = cluster.primaries().await?;
                let primary = primaries.iter().find(|primary| primary.slots.contains(*slot));
                let address = primary.map(|primary| primary.address.as_str());
                cluster.client(address.ok_or_else(nobodys_slot)?)
            }
        }
    }
}

fn no_sentinel() -> RedisError {
    (ErrorKind::InvalidClientConfig, "the URL names no Sentinel").into()
}

fn nobodys_slot() -> RedisError {
    (ErrorKind::InvalidClientConfig, "some slots of the cluster belong to nobody").into()
}

/// The port of a Sentinel is another than that of a server.
const SENTINEL_PORT: u16 = 26_379;
