//! The parts of a gateway that takes payments from channels: what looks at them, and what collects their money.

use std::sync::Arc;

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    closer::Closer,
    config,
    ledger::{
        channels::Channels,
        collector::{self, Collector},
        own,
        rpc::Rpc,
    },
    pay::{
        channel::{self, Channel},
        mpp::Issuer,
    },
    store::Store,
    telemetry::Clock,
};

/// Changing what is vetted or who signs needs a restart.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    channels: Channels,
    closer: Closer,
}

impl Parts {
    /// Starts them on `tasks`, until `stop`.
    pub(super) fn start(
        settings: &config::Channel,
        (rpc, sponsor): (&Rpc, Option<own::Facilitator>),
        store: &Store,
        clock: &Clock,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Self {
        let vet = settings.vet.clone();
        let (rpc, stop) = (rpc.clone(), stop.child_token());
        let channels = Channels::start(vet, rpc.clone(), clock.clone(), tasks, stop.clone());
        let fees = collector::Settings {
            signer: settings.signer.clone(),
            max_fee_stroops: collector::MAX_FEE_STROOPS,
            budget: collector::BUDGET,
        };
        let collector = Collector::new(fees, rpc, clock.clone(), sponsor);
        let (store, clock) = (store.clone(), clock.clone());
        let when = settings.closer;
        let closer = Closer::start(when, store, channels.clone(), collector, clock, tasks, stop);
        Self { channels, closer }
    }

    /// The method under the settings of now.
    pub(super) fn method(
        &self,
        settings: &config::Channel,
        issuer: Issuer,
        store: &Store,
        clock: &Clock,
    ) -> Arc<Channel> {
        self.closer.reconfigure(settings.closer);
        let settings = channel::Settings {
            issuer,
            configured: settings.configured,
            most_unsettled: settings.closer.max_unsettled,
        };
        let (channels, closer) = (self.channels.clone(), self.closer.clone());
        Arc::new(Channel::new(settings, channels, closer, store.clone(), clock.clone()))
    }

    /// What collects.
    pub(super) const fn closer(&self) -> &Closer {
        &self.closer
    }

    /// What looks at channels.
    pub(super) const fn channels(&self) -> &Channels {
        &self.channels
    }
}
