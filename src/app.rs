//! Wires the parts into a gateway, swaps its configuration, and shuts it down in order.
//!
//! Everything that outlives a request is made here and handed down; nothing below knows where it came from.

mod road;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use secrecy::ExposeSecret as _;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use self::road::{Configured, Road};
use crate::{
    config::{self, FacilitatorSettings, Settings},
    guard::Guard,
    ledger::{
        Http,
        facilitator::{Facilitator, NotReady},
        own, remote,
        rpc::Rpc,
        signer::Seed,
    },
    pay::{
        methods::Methods,
        x402::{self, X402},
    },
    protocol::quote,
    server,
    store::{self, Store},
    telemetry::Clock,
    upstream::Upstreams,
};

/// A running gateway.
#[derive(Debug)]
pub struct Gateway {
    addresses: Vec<SocketAddr>,
    current: Arc<ArcSwap<Configured>>,
    parts: Parts,
    drain: config::Drain,
    listening: TaskTracker,
    stop_listening: CancellationToken,
}

/// What stays when the configuration is swapped.
#[derive(Debug)]
struct Parts {
    clock: Clock,
    /// Paid requests: they outlive their clients, and the listeners.
    paid: TaskTracker,
    /// Work in the background: lanes, refreshes, pruning.
    background: TaskTracker,
    stop_background: CancellationToken,
    payment: Option<Payment>,
    public_url: Arc<str>,
}

/// The payment service of a gateway: changing it needs a restart.
#[derive(Debug)]
struct Payment {
    fixed: config::Payment,
    facilitator: Arc<Facilitator>,
    store: Store,
    key: quote::Key,
}

impl Gateway {
    /// Opens the store, binds every listener, and starts to serve.
    ///
    /// # Errors
    /// [`StartError`] names what could not be had; nothing is left running then.
    pub async fn start(settings: Settings, clock: Clock) -> Result<Self, StartError> {
        let mut listeners = Vec::new();
        for listener in &settings.listeners {
            let address = listener.address;
            let bound = TcpListener::bind(address).await;
            listeners.push(bound.map_err(|source| StartError::Listen { address, source })?);
        }
        let addresses = listeners
            .iter()
            .map(TcpListener::local_addr)
            .collect::<Result<Vec<_>, _>>()
            .map_err(StartError::Address)?;
        let background = TaskTracker::new();
        let stop_background = CancellationToken::new();
        let payment = match &settings.payment {
            Some(payment) => {
                Some(Payment::start(payment, &clock, &background, &stop_background).await?)
            }
            None => None,
        };
        let first = addresses.first().map(ToString::to_string).unwrap_or_default();
        let public_url = format!("http://{first}").into();
        let parts = Parts {
            clock,
            paid: TaskTracker::new(),
            background,
            stop_background,
            payment,
            public_url,
        };
        let drain = settings.drain;
        let limits = server::Limits { header_bytes: settings.header_bytes, ..Default::default() };
        let current = Arc::new(ArcSwap::from_pointee(parts.configure(settings)));
        let (listening, stop_listening) = (TaskTracker::new(), CancellationToken::new());
        for listener in listeners {
            let road = Road::new(current.clone());
            listening.spawn(server::serve(
                listener,
                road,
                limits,
                drain.timeout,
                stop_listening.clone(),
            ));
        }
        Ok(Self { addresses, current, parts, drain, listening, stop_listening })
    }

    /// Where it listens, in the order of the configuration.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Swaps the configuration: requests under way finish on what they began with.
    ///
    /// # Errors
    /// [`NeedsRestart`] if it changes what cannot be changed while running; nothing is swapped then.
    pub fn reload(&self, settings: Settings) -> Result<(), NeedsRestart> {
        let running = self.current.load();
        if settings.listeners != running.settings.listeners {
            return Err(NeedsRestart("listen"));
        }
        match (&settings.payment, &self.parts.payment) {
            (None, _) => {}
            (Some(_), None) => return Err(NeedsRestart("payments")),
            (Some(new), Some(old)) => old.serves(new)?,
        }
        let hash = settings.hash;
        self.current.store(Arc::new(self.parts.configure(settings)));
        info!(config = %hash, "configuration swapped");
        Ok(())
    }

    /// What the gateway runs on now: a digest of the configuration file.
    #[must_use]
    pub fn config_hash(&self) -> config::ContentHash {
        self.current.load().settings.hash
    }

    /// Waits until payments can be taken, or says after `patience` why they cannot.
    ///
    /// # Errors
    /// [`NotReady`], the facilitator's sentence.
    pub async fn ready(&self, patience: Duration) -> Result<(), NotReady> {
        let Some(payment) = &self.parts.payment else { return Ok(()) };
        let wait = async {
            while payment.facilitator.supported().is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        match tokio::time::timeout(patience, wait).await {
            Ok(()) => Ok(()),
            Err(_) => payment.facilitator.supported().map(drop),
        }
    }

    /// Stops in order: no new connections, requests under way finish, payments are recorded, the store closes.
    pub async fn stop(self) {
        tokio::time::sleep(self.drain.delay).await;
        self.stop_listening.cancel();
        self.listening.close();
        self.listening.wait().await;
        // A settlement that is under way is worth waiting for: what it finds is recorded.
        self.parts.paid.close();
        if tokio::time::timeout(SETTLE_GRACE, self.parts.paid.wait()).await.is_err() {
            warn!(
                "stopping while settlements are under way: they stay pending and are resolved later"
            );
        }
        self.parts.stop_background.cancel();
        self.parts.background.close();
        self.parts.background.wait().await;
        if let Some(payment) = &self.parts.payment
            && let Err(error) = payment.store.close().await
        {
            warn!(%error, "the store did not close cleanly");
        }
    }
}

impl Parts {
    fn configure(&self, settings: Settings) -> Configured {
        let x402 = self.payment.as_ref().zip(settings.payment.as_ref()).map(|(parts, now)| {
            let public_url = settings.public_url.clone();
            let method = x402::Settings {
                max_timeout_seconds: now.max_timeout_seconds,
                public_url: public_url.unwrap_or_else(|| self.public_url.clone()),
            };
            Arc::new(X402::new(
                method,
                parts.facilitator.clone(),
                parts.store.clone(),
                parts.key.clone(),
                self.clock.clone(),
            ))
        });
        let upstreams = Upstreams::new(&settings.upstreams);
        let methods = Methods { x402 };
        let guard = Guard::new(upstreams, methods, self.clock.clone(), self.paid.clone());
        Configured { settings, guard }
    }
}

impl Payment {
    async fn start(
        settings: &config::Payment,
        clock: &Clock,
        background: &TaskTracker,
        stop: &CancellationToken,
    ) -> Result<Self, StartError> {
        let store = Store::open(&settings.store).await.map_err(StartError::Store)?;
        let key = quote::Key::new(store.secret("x402 quote").await.map_err(StartError::Store)?);
        let http = Http::new();
        let rpc = Rpc::new(http.clone(), settings.rpc_url.clone(), settings.network);
        let stop = stop.child_token();
        let facilitator = match &settings.facilitator {
            FacilitatorSettings::Own(own) => Facilitator::Own(own::Facilitator::start(
                own.clone(),
                rpc,
                clock.clone(),
                background,
                stop,
            )),
            FacilitatorSettings::Remote(remote) => Facilitator::Remote(remote::Facilitator::start(
                remote.clone(),
                http,
                rpc,
                clock.clone(),
                background,
                stop,
            )),
        };
        Ok(Self { fixed: settings.clone(), facilitator: Arc::new(facilitator), store, key })
    }

    /// Whether this service can go on under `new` settings.
    fn serves(&self, new: &config::Payment) -> Result<(), NeedsRestart> {
        let old = &self.fixed;
        let changed = [
            ("network", old.network != new.network),
            ("stellar.rpc_url", old.rpc_url != new.rpc_url),
            ("store", old.store != new.store),
            ("payments.x402.facilitator", !same_facilitator(&old.facilitator, &new.facilitator)),
        ];
        match changed.into_iter().find(|(_, changed)| *changed) {
            Some((key, _)) => Err(NeedsRestart(key)),
            None => Ok(()),
        }
    }
}

/// Payees aside: they belong to the routes, and may change.
fn same_facilitator(old: &FacilitatorSettings, new: &FacilitatorSettings) -> bool {
    match (old, new) {
        (FacilitatorSettings::Own(old), FacilitatorSettings::Own(new)) => {
            let sponsors = |settings: &own::Settings| {
                settings.sponsors.iter().map(Seed::account).collect::<Vec<_>>()
            };
            sponsors(old) == sponsors(new)
                && old.lanes == new.lanes
                && old.max_fee_stroops == new.max_fee_stroops
                && old.budget == new.budget
        }
        (FacilitatorSettings::Remote(old), FacilitatorSettings::Remote(new)) => {
            let key = |settings: &remote::Settings| {
                settings.api_key.as_ref().map(|key| key.expose_secret().to_owned())
            };
            old.url == new.url && old.timeout == new.timeout && key(old) == key(new)
        }
        _ => false,
    }
}

/// Why a gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener could not be opened.
    #[error("listen on `{address}`")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A bound listener does not know its address.
    #[error("read a listener's address")]
    Address(#[source] io::Error),
    /// The store could not be opened.
    #[error("open the store")]
    Store(#[source] store::Error),
}

/// The configuration changes what cannot be changed while running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a changed `{0}` needs a restart; the gateway goes on with the configuration that it has")]
pub struct NeedsRestart(pub &'static str);

/// How long a stopping gateway waits for settlements that are under way.
const SETTLE_GRACE: Duration = Duration::from_secs(90);
