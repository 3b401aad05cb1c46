//! How a listener takes those who come in, and that this may change while it serves.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{Limits, Proxies, tls::Tls};
use crate::workers::Workers;

/// Where clients come in.
#[derive(Debug)]
pub struct Door {
    pub(super) listener: TcpListener,
    pub(super) tls: Option<Tls>,
    pub(super) workers: Option<Workers>,
}

/// How those who come in at a listener are treated. Clones share it: what one changes holds for whoever comes next.
#[derive(Clone, Debug)]
pub struct Entrance {
    manner: Arc<ArcSwap<Manner>>,
    leaving: CancellationToken,
    workers: Option<Workers>,
}

/// How a connection is treated from its beginning to its end.
#[derive(Clone, Debug)]
pub struct Manner {
    /// What is bounded.
    pub limits: Limits,
    /// What is shown to those who come in, if TLS is spoken.
    pub tls: Option<Tls>,
    /// How long requests under way may take once the listener stops.
    pub grace: Duration,
    /// The proxies that are believed when they say who is behind them.
    pub proxies: Proxies,
    /// Whether each connection begins with what a proxy says, by the PROXY protocol.
    pub speaks_proxy: bool,
}

impl Manner {
    /// Without proxies.
    #[must_use]
    pub fn plain(limits: Limits, tls: Option<Tls>, grace: Duration) -> Self {
        Self { limits, tls, grace, proxies: Proxies::default(), speaks_proxy: false }
    }
}

impl Door {
    /// Serves those who come in behind TLS.
    #[must_use]
    pub fn with_tls(self, tls: Tls) -> Self {
        Self { tls: Some(tls), ..self }
    }

    /// Has `workers` share the connections.
    #[must_use]
    pub fn on_workers(self, workers: Workers) -> Self {
        Self { workers: Some(workers), ..self }
    }
}

/// Without TLS, all of it on the runtime that accepts the connections.
impl From<TcpListener> for Door {
    fn from(listener: TcpListener) -> Self {
        Self { listener, tls: None, workers: None }
    }
}

impl Entrance {
    /// Treats those who come in as `manner` says; `workers` share the connections, if there are any.
    #[must_use]
    pub fn new(manner: Manner, workers: Option<Workers>) -> Self {
        let leaving = CancellationToken::new();
        Self { manner: Arc::new(ArcSwap::from_pointee(manner)), leaving, workers }
    }

    /// Treats who comes in from now on as `manner` says.
    pub fn change(&self, manner: Manner) {
        self.manner.store(Arc::new(manner));
    }

    /// As [`Entrance::change`], of nothing but how long requests under way may take.
    pub fn end_within(&self, grace: Duration) {
        self.change(Manner { grace, ..(*self.now()).clone() });
    }

    /// Sends clients elsewhere: each answer on HTTP/1 is the last of its connection from now on.
    pub fn leave(&self) {
        self.leaving.cancel();
    }

    /// The manner that holds for who comes in now.
    pub(super) fn now(&self) -> Arc<Manner> {
        self.manner.load_full()
    }

    pub(super) const fn workers(&self) -> Option<&Workers> {
        self.workers.as_ref()
    }

    pub(super) const fn leaving(&self) -> &CancellationToken {
        &self.leaving
    }
}
