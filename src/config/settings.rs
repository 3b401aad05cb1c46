//! What the configuration comes to: one small struct for each part of the gateway, with nothing left to check.

use std::{fmt, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use http::{Uri, uri::Authority};
use secrecy::{ExposeSecret as _, SecretString};

use super::diagnostic::Diagnostics;
use crate::{
    callers::TokenKeys,
    closer,
    events::Webhook,
    ledger::{channels, own, remote, signer::Seed},
    protocol::{
        mpp::Secrets,
        stellar::{Asset, ContractId, Network},
    },
    route::Table,
    server::{Limits, Proxies, tls::Tls},
    store::RedisSettings,
    telemetry::access,
    upstream,
};

/// Everything that a configuration file says.
#[derive(Debug)]
pub struct Settings {
    /// Where the gateway listens; never empty.
    pub listeners: Vec<Listener>,
    /// The address that clients know the gateway by, without a trailing slash; `None` leaves it to be made of the first
    /// listener's address.
    pub public_url: Option<Arc<str>>,
    /// How payments are taken; `None` if no route asks for money.
    pub payment: Option<Payment>,
    /// The services behind the gateway; routes name them by index. Never empty.
    pub upstreams: Vec<upstream::Settings>,
    /// The routes.
    pub table: Table,
    /// Where the keys are published of those whose tokens pass.
    pub tokens: Vec<TokenSource>,
    /// How the gateway stops.
    pub drain: Drain,
    /// How the file is watched.
    pub reload: Reload,
    /// Where the operator's own port is, if there is one.
    pub admin: Option<Admin>,
    /// How requests are logged, if they are.
    pub access_log: Option<access::Settings>,
    /// Who is told of what happens.
    pub webhooks: Vec<Webhook>,
    /// Of the file's content.
    pub hash: ContentHash,
    /// The sections of the file, by which it can be told what has changed.
    pub sections: Vec<Section>,
    /// The files that it names, as they were read.
    pub files: Vec<NamedFile>,
    /// What works and is probably not what was meant.
    pub warnings: Diagnostics,
}

impl Settings {
    /// What the file and those that it names held.
    #[must_use]
    pub fn contents(&self) -> Contents {
        Contents::of(self.hash, self.files.clone())
    }

    /// Of what the file says under the key `name`; what it names may be another all the same.
    #[must_use]
    pub fn section(&self, name: &str) -> Option<ContentHash> {
        self.sections.iter().find(|section| section.key == name).map(|section| section.hash)
    }
}

/// A socket to listen on.
#[derive(Clone, Debug)]
pub struct Listener {
    /// For messages.
    pub name: String,
    /// Port 0 lets the system choose.
    pub address: SocketAddr,
    /// What it shows to those who come in, if it speaks TLS.
    pub tls: Option<Tls>,
    /// What it bounds.
    pub limits: Limits,
    /// The proxies that are believed when they say who is behind them.
    pub proxies: Proxies,
    /// Whether each connection begins with what a proxy says, by the PROXY protocol.
    pub proxy_protocol: bool,
}

impl Listener {
    /// Whether a socket that was opened for one serves the other, whatever it then bounds and shows.
    #[must_use]
    pub fn is_the_socket_of(&self, other: &Self) -> bool {
        // Of several at ports that the system chose, only the name tells which is which.
        self.address == other.address && (self.address.port() != 0 || self.name == other.name)
    }

    /// Where it is, for those on the same machine.
    #[must_use]
    pub fn url(&self, bound: SocketAddr) -> String {
        format!("{}://{bound}", if self.tls.is_some() { "https" } else { "http" })
    }
}

/// How payments are taken.
#[derive(Clone)]
pub struct Payment {
    /// The network of all payments.
    pub network: Network,
    /// The Stellar RPC server. May carry a key in its path: not for logs.
    pub rpc_url: Uri,
    /// The assets that prices are in: the built-in ones and those configured.
    pub assets: Vec<Asset>,
    /// How x402 payments are taken, if they are.
    pub x402: Option<X402>,
    /// How MPP payments are taken, if they are.
    pub mpp: Option<Mpp>,
    /// The keys that pay fees here, where x402 is settled here or a charge is sponsored.
    pub sponsor: Option<own::Settings>,
    /// What remembers them.
    pub store: Store,
}

/// How x402 payments are taken.
#[derive(Clone, Debug)]
pub struct X402 {
    /// Who verifies and settles.
    pub facilitator: FacilitatorSettings,
    /// How long a signed authorization may live, in seconds.
    pub max_timeout_seconds: u32,
}

/// How MPP payments are taken.
#[derive(Clone, Debug)]
pub struct Mpp {
    /// Who asks, in challenges: `api.example.com`.
    pub realm: Arc<str>,
    /// What challenge ids are made under; `None` leaves it to the store's own secret.
    pub secrets: Option<Secrets>,
    /// How long a challenge can be paid.
    pub challenge_ttl: Duration,
    /// How charges are taken, if they are.
    pub charge: Option<Charge>,
    /// How payments from channels are taken, if they are.
    pub channel: Option<Channel>,
}

/// How MPP charges are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charge {
    /// Whether the bare hash of a transaction pays, which anyone who watches the ledger has.
    pub unsigned_push: bool,
}

/// How payments from MPP channels are taken. Amounts are in base units of the default asset, which every channel pays in.
#[derive(Clone, Debug)]
pub struct Channel {
    /// Which channels are good.
    pub vet: channels::Settings,
    /// When their money is collected.
    pub closer: closer::Settings,
    /// The key of the account that all of them pay.
    pub signer: Seed,
    /// The channel of a client that names none.
    pub configured: Option<ContractId>,
}

/// What remembers payments.
#[derive(Clone, Debug)]
pub enum Store {
    /// A file of this process alone.
    Embedded(PathBuf),
    /// A Redis server that gateways share.
    Redis(RedisSettings),
}

/// Whether a gateway that has one goes on unchanged under the other.
impl PartialEq for Store {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Embedded(one), Self::Embedded(other)) => one == other,
            (Self::Redis(one), Self::Redis(other)) => {
                one.url.expose_secret() == other.url.expose_secret()
                    && one.prefix == other.prefix
                    && one.timeout == other.timeout
                    && one.lease == other.lease
                    && one.durability == other.durability
            }
            (Self::Embedded(_), Self::Redis(_)) | (Self::Redis(_), Self::Embedded(_)) => false,
        }
    }
}

impl Eq for Store {}

/// A JSON Web Key Set that is fetched.
#[derive(Clone, Debug)]
pub struct TokenSource {
    /// Where. May carry a key in its query: not for logs.
    pub url: Uri,
    /// What was fetched; no key at first.
    pub keys: TokenKeys,
}

impl TokenSource {
    /// Where it is, for logs.
    #[must_use]
    pub fn host(&self) -> &str {
        self.url.host().unwrap_or_default()
    }

    /// Where it is, without the query.
    #[must_use]
    pub fn place(&self) -> String {
        format!("{}{}", self.host(), self.url.path())
    }
}

/// The operator's own port.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Port 0 lets the system choose.
    pub address: SocketAddr,
    /// What callers must have; there is one wherever others than this machine can call.
    pub token: Option<SecretString>,
}

impl Payment {
    /// How charges are taken, if they are.
    #[must_use]
    pub fn charge(&self) -> Option<Charge> {
        self.mpp.as_ref()?.charge
    }

    /// How payments from channels are taken, if they are.
    #[must_use]
    pub fn channel(&self) -> Option<&Channel> {
        self.mpp.as_ref()?.channel.as_ref()
    }
}

/// Shows of the RPC server only where it is.
impl fmt::Debug for Payment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Payment")
            .field("network", &self.network)
            .field("rpc_url", &self.rpc_url.authority().map(Authority::as_str))
            .field("assets", &self.assets)
            .field("x402", &self.x402)
            .field("mpp", &self.mpp)
            .field("sponsor", &self.sponsor)
            .field("store", &self.store)
            .finish()
    }
}

/// Who verifies and settles x402 payments.
#[derive(Clone, Debug)]
pub enum FacilitatorSettings {
    /// `facilitator: self`: this gateway, with the sponsors' keys.
    Own,
    /// `facilitator: { url: … }`: another service.
    Remote(remote::Settings),
}

/// How the gateway stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    /// How long it still accepts connections after the signal.
    pub delay: Duration,
    /// How long requests under way may take after that.
    pub timeout: Duration,
}

/// How the file is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reload {
    /// Whether a changed file is picked up without a signal.
    pub watch: bool,
    /// How long to wait after a change, for more of it to come.
    pub debounce: Duration,
}

/// A key at the top of the file, and what stands under it.
#[derive(Clone, PartialEq, Eq)]
pub struct Section {
    /// The key.
    pub key: String,
    /// Of its value, wherever in the file it stands.
    pub hash: ContentHash,
}

impl fmt::Debug for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.key, f)
    }
}

/// A file that a configuration names, such as a certificate or a secret, as it was read.
#[derive(Clone, PartialEq, Eq)]
pub struct NamedFile {
    /// Where it is.
    pub path: PathBuf,
    /// Of its content: not to be shown, since it may be that of a short secret. `None` if it could not be read.
    pub(super) hash: Option<ContentHash>,
}

/// What a configuration and the files that it names held when they were read, by which it can be told whether they have
/// changed since.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Of the configuration itself; `None` if it could not be read.
    pub(super) configuration: Option<ContentHash>,
    /// Those that it names, as far as it was read.
    pub(super) files: Vec<NamedFile>,
}

impl Contents {
    pub(super) const fn of(configuration: ContentHash, files: Vec<NamedFile>) -> Self {
        Self { configuration: Some(configuration), files }
    }
}

impl fmt::Debug for NamedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.path, f)
    }
}

/// The SHA-256 of a configuration file's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContentHash(pub [u8; 32]);

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
