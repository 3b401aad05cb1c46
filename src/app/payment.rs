//! The payment service of a gateway: what stays when the configuration is swapped, and the methods that are made of it.

use std::{sync::Arc, time::Duration};

use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::sleep;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    NeedsRestart, StartError, channels,
    lookout::{LOOKED_FOR, Lookout},
};
use crate::{
    closer::Closer,
    config::{self, FacilitatorSettings},
    events::{self, Sender, Telling, Webhook},
    ledger::{
        Http,
        facilitator::{Facilitator, NotReady},
        own,
        relay::Relay,
        remote,
        rpc::Rpc,
        signer::Seed,
    },
    pay::{
        charge::{self, Charge},
        methods::Methods,
        mpp::Issuer,
        x402::{self, X402},
    },
    protocol::{mpp::Secrets, quote, stellar::AccountId},
    store::Store,
    telemetry::{Clock, metrics::Metrics, page::Kind},
};

/// Which sections of a new configuration say what they said before, whatever stands by now in what they name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept {
    pub(super) stellar: bool,
    pub(super) store: bool,
}

/// Changing any of it needs a restart, but for the key that a facilitator elsewhere is shown.
#[derive(Debug)]
pub(super) struct Payment {
    fixed: config::Payment,
    /// Settles x402 payments, if any are taken.
    facilitator: Option<Arc<Facilitator>>,
    /// Pays fees here: for x402 payments that are settled here, and for sponsored charges.
    own: Option<own::Facilitator>,
    rpc: Rpc,
    /// For charges, if any are taken.
    relay: Option<Relay>,
    /// For payments from channels, if any are taken.
    channels: Option<channels::Parts>,
    pub(super) store: Store,
    quotes: quote::Key,
    /// What challenges are made under where the configuration names no secret; such a challenge counts ever after.
    secrets: Secrets,
    clock: Clock,
    telling: Telling,
}

impl Payment {
    /// Opens the store and starts what settles, on `tasks`, until `stop`. What `webhooks` want to hear of is stored from the
    /// start; see [`Payment::tell`].
    pub(super) async fn start(
        settings: &config::Payment,
        webhooks: &[Webhook],
        clock: &Clock,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Result<Self, StartError> {
        let store = match &settings.store {
            config::Store::Embedded(path) => Store::open(path).await,
            config::Store::Redis(redis) => Store::redis(redis.clone()).await,
        };
        let store = store.map_err(StartError::Store)?;
        events::subscribe(&store, webhooks);
        let secret = async |name| store.secret(name).await.map_err(StartError::Store);
        let quotes = quote::Key::new(secret(LOOKED_FOR).await?);
        let challenges = SecretString::from(hex::encode(secret("mpp challenge").await?));
        let secrets = Secrets::new(challenges, None).expect("64 characters are enough");
        let http = Http::new();
        let rpc = Rpc::new(http.clone(), settings.rpc_url.clone(), settings.network);
        let own = settings.sponsor.as_ref().map(|sponsor| {
            let (rpc, stop) = (rpc.clone(), stop.child_token());
            own::Facilitator::start(sponsor.clone(), rpc, clock.clone(), tasks, stop)
        });
        let facilitator = settings.x402.as_ref().and_then(|x402| match &x402.facilitator {
            FacilitatorSettings::Own => own.clone().map(Facilitator::Own),
            FacilitatorSettings::Remote(remote) => {
                let (rpc, stop) = (rpc.clone(), stop.child_token());
                let remote = remote.clone();
                let clock = clock.clone();
                let started = remote::Facilitator::start(remote, http, rpc, clock, tasks, stop);
                Some(Facilitator::Remote(started))
            }
        });
        let relay = settings
            .mpp
            .as_ref()
            .and_then(|mpp| mpp.charge)
            .map(|_| Relay::start(rpc.clone(), clock.clone(), tasks, stop.child_token()));
        let channels = settings.channel().map(|channel| {
            channels::Parts::start(channel, (&rpc, own.clone()), &store, clock, tasks, stop)
        });
        Ok(Self {
            fixed: settings.clone(),
            facilitator: facilitator.map(Arc::new),
            own,
            rpc,
            relay,
            channels,
            store,
            quotes,
            secrets,
            clock: clock.clone(),
            telling: Telling::default(),
        })
    }

    /// Tells `webhooks` of what happens from now on, and what waits for them, on `tasks`, until `stop`.
    pub(super) fn tell(&self, webhooks: &[Webhook], tasks: &TaskTracker, stop: &CancellationToken) {
        events::subscribe(&self.store, webhooks);
        Sender::start(webhooks, (&self.store, &self.clock), &self.telling, tasks, stop);
    }

    /// Has others tell `webhooks`, since this gateway ends.
    pub(super) async fn leave(&self, webhooks: &[Webhook]) {
        Sender::leave(webhooks, &self.store, &self.telling).await;
    }

    /// Puts the secrets that this service has into `new` settings where those have others by now under the same names:
    /// they count after a restart, and must not keep what else has changed, such as a certificate, waiting for it. Their
    /// keys; what cannot be held is for [`Payment::serves`] to refuse.
    pub(super) fn hold(&self, new: &mut config::Payment, kept: Kept) -> Vec<&'static str> {
        let mut held = Vec::new();
        if let (true, Some(old), Some(new)) = (kept.stellar, &self.fixed.sponsor, &mut new.sponsor)
            && accounts(old) != accounts(new)
            // Nobody is paid into an account that pays the fees.
            && !accounts(old).iter().any(|account| new.excluded.contains(account))
        {
            new.sponsors.clone_from(&old.sponsors);
            held.push("stellar.sponsors");
        }
        if let (true, config::Store::Redis(old), config::Store::Redis(new)) =
            (kept.store, &self.fixed.store, &mut new.store)
            && old.url.expose_secret() != new.url.expose_secret()
        {
            new.url = old.url.clone();
            held.push("store.redis.url");
        }
        held
    }

    /// Has what can change under the new settings change: the key that the facilitator is shown.
    pub(super) fn take_up(&self, new: &config::Payment) {
        if let (Some(Facilitator::Remote(facilitator)), Some(x402)) =
            (self.facilitator.as_deref(), &new.x402)
            && let FacilitatorSettings::Remote(settings) = &x402.facilitator
        {
            facilitator.change_key(settings);
        }
    }

    /// Whether this service can go on under `new` settings.
    pub(super) fn serves(&self, new: &config::Payment) -> Result<(), NeedsRestart> {
        let old = &self.fixed;
        let facilitator = |settings: &config::Payment| {
            settings.x402.as_ref().map(|x402| x402.facilitator.clone())
        };
        let changed = [
            ("network", old.network != new.network),
            ("stellar.rpc_url", old.rpc_url != new.rpc_url),
            ("store", old.store != new.store),
            (
                "payments.x402.facilitator",
                facilitator(new)
                    .is_some_and(|new| !same_facilitator(facilitator(old).as_ref(), &new)),
            ),
            ("payments.mpp.charge", new.charge().is_some() && self.relay.is_none()),
            (
                "payments.mpp.channel",
                new.channel().is_some_and(|new| !same_channel(old.channel(), new)),
            ),
            (
                "stellar.sponsors",
                new.sponsor.as_ref().is_some_and(|new| !same_sponsor(old.sponsor.as_ref(), new)),
            ),
        ];
        match changed.into_iter().find(|(_, changed)| *changed) {
            Some((key, _)) => Err(NeedsRestart(key)),
            None => Ok(()),
        }
    }

    /// What looks whether payments can be taken.
    pub(super) fn lookout(&self) -> Lookout {
        Lookout {
            store: self.store.clone(),
            facilitator: self.facilitator.clone(),
            own: self.own.clone(),
            alarms: self.telling.alarms.clone(),
            clock: self.clock.clone(),
        }
    }

    /// The methods under the settings of `now`; `public_url` is without a trailing slash.
    pub(super) fn methods(&self, now: &config::Payment, public_url: &Arc<str>) -> Methods {
        let x402 = now.x402.as_ref().zip(self.facilitator.clone()).map(|(x402, facilitator)| {
            let settings = x402::Settings {
                max_timeout_seconds: x402.max_timeout_seconds,
                public_url: public_url.clone(),
                remembers_pushes: self.relay.is_some(),
            };
            let (store, clock) = (self.store.clone(), self.clock.clone());
            Arc::new(X402::new(settings, facilitator, store, self.quotes.clone(), clock))
        });
        let charge = now.mpp.as_ref().zip(now.charge()).zip(self.relay.clone());
        let charge = charge.map(|((mpp, charge), relay)| {
            let issuer = self.issuer(mpp);
            let settings = charge::Settings { issuer, unsigned_push: charge.unsigned_push };
            let (store, clock) = (self.store.clone(), self.clock.clone());
            Arc::new(Charge::new(settings, self.own.clone(), relay, store, clock))
        });
        let channel = now.mpp.as_ref().zip(now.channel()).zip(self.channels.as_ref()).map(
            |((mpp, channel), parts)| {
                parts.method(channel, self.issuer(mpp), &self.store, &self.clock)
            },
        );
        Methods { x402, charge, channel }
    }

    /// Who issues MPP challenges under the settings of `now`.
    fn issuer(&self, now: &config::Mpp) -> Issuer {
        Issuer {
            network: self.fixed.network,
            realm: now.realm.clone(),
            secrets: match &now.secrets {
                Some(named) => named.clone().and(&self.secrets),
                None => self.secrets.clone(),
            },
            challenge_ttl: now.challenge_ttl,
        }
    }

    /// What collects from channels, if any are taken.
    pub(super) fn closer(&self) -> Option<Closer> {
        self.channels.as_ref().map(|parts| parts.closer().clone())
    }

    /// Has `metrics` tell the figures of what takes payments.
    pub(super) fn expose(&self, metrics: &Metrics) {
        self.store.expose(metrics);
        self.telling.figures.expose(metrics);
        let timings = self.rpc.timings().clone();
        metrics.add_source(move |page| {
            let help = "How long calls of the Stellar RPC take";
            let mut family = page.family("rpc_request_duration_seconds", Kind::Histogram, help);
            timings.tell(&mut family, &[], "method");
        });
        if let Some(facilitator) = &self.facilitator {
            facilitator.expose(metrics);
        }
        if let Some(own) = &self.own {
            own.expose(metrics);
        }
        if let Some(parts) = &self.channels {
            parts.closer().expose(metrics);
        }
    }

    /// Waits until payments can be taken, or says after `patience` why they cannot.
    pub(super) async fn ready(&self, patience: Duration) -> Result<(), NotReady> {
        let wait = async {
            while self.is_ready().is_err() {
                sleep(Duration::from_millis(50)).await;
            }
        };
        match tokio::time::timeout(patience, wait).await {
            Ok(()) => Ok(()),
            Err(_) => self.is_ready(),
        }
    }

    fn is_ready(&self) -> Result<(), NotReady> {
        self.facilitator
            .as_ref()
            .map_or(Ok(()), |facilitator| facilitator.supported().map(drop))?;
        self.own.as_ref().map_or(Ok(()), |own| own.supported().map(drop))?;
        self.relay.as_ref().map_or(Ok(()), Relay::supported)?;
        self.channels.as_ref().map_or(Ok(()), |parts| parts.channels().supported())
    }
}

/// The key aside: it may change.
fn same_facilitator(old: Option<&FacilitatorSettings>, new: &FacilitatorSettings) -> bool {
    match (old, new) {
        (Some(FacilitatorSettings::Own), FacilitatorSettings::Own) => true,
        (Some(FacilitatorSettings::Remote(old)), FacilitatorSettings::Remote(new)) => {
            old.url == new.url && old.timeout == new.timeout
        }
        _ => false,
    }
}

/// When they are collected from and which is the usual one may change.
fn same_channel(old: Option<&config::Channel>, new: &config::Channel) -> bool {
    old.is_some_and(|old| old.vet == new.vet && old.signer.account() == new.signer.account())
}

/// Payees aside: they belong to the routes, and may change.
fn same_sponsor(old: Option<&own::Settings>, new: &own::Settings) -> bool {
    old.is_some_and(|old| {
        accounts(old) == accounts(new)
            && old.lanes == new.lanes
            && old.max_fee_stroops == new.max_fee_stroops
            && old.budget == new.budget
    })
}

fn accounts(settings: &own::Settings) -> Vec<AccountId> {
    settings.sponsors.iter().map(Seed::account).collect()
}
