//! Looks whether what payments depend on is there, and has the operator's systems told when it is not.
//!
//! One failed look is no outage, and each outage is told once. Where nobody wants to hear of it nothing is looked at.

use std::{collections::HashSet, sync::Arc, time::Duration};

use serde_json::json;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    events::{self, Alarms, Event, Kind},
    ledger::{facilitator::Facilitator, own, own::lumens},
    protocol::stellar::AccountId,
    store::Store,
    telemetry::Clock,
};

/// What is looked at.
#[derive(Debug)]
pub(super) struct Lookout {
    pub(super) store: Store,
    pub(super) facilitator: Option<Arc<Facilitator>>,
    pub(super) own: Option<own::Facilitator>,
    pub(super) alarms: Alarms,
    pub(super) clock: Clock,
}

/// How often in a row something was not there.
#[derive(Debug, Default)]
struct Outage {
    looks: u32,
    was_there: bool,
    /// What is told of this one: however often that is tried, it is one event.
    event: Option<Event>,
    is_told: bool,
}

impl Lookout {
    /// Looks until `stop`.
    pub(super) async fn run(self, stop: CancellationToken) {
        let look = async {
            let (mut store, mut facilitator) = (Outage::default(), Outage::default());
            let mut low = HashSet::new();
            loop {
                sleep(PAUSE).await;
                self.look_at_store(&mut store).await;
                self.look_at_facilitator(&mut facilitator).await;
                self.look_at_sponsors(&mut low).await;
            }
        };
        let _ended: Option<()> = stop.run_until_cancelled(look).await;
    }

    async fn look_at_store(&self, outage: &mut Outage) {
        if !events::is_heard(&self.store, Kind::StoreUnavailable) {
            return;
        }
        // A secret that is there costs a look at the store and changes nothing.
        let Err(error) = self.store.secret(LOOKED_FOR).await else { return outage.over() };
        if outage.is_new() {
            self.alarms.raise(self.event(Kind::StoreUnavailable, &error.to_string()));
            outage.is_told = true;
        }
    }

    async fn look_at_facilitator(&self, outage: &mut Outage) {
        if !events::is_heard(&self.store, Kind::FacilitatorUnavailable) {
            return;
        }
        let x402 = self.facilitator.as_ref().map(|facilitator| facilitator.supported().map(drop));
        let own = self.own.as_ref().map(|own| own.supported().map(drop));
        let Some(trouble) = x402.into_iter().chain(own).find_map(Result::err) else {
            return outage.over();
        };
        self.miss(outage, &trouble.to_string()).await;
    }

    /// No facilitator is there.
    async fn miss(&self, outage: &mut Outage, reason: &str) {
        if outage.is_new() {
            let event = || self.event(Kind::FacilitatorUnavailable, reason);
            let event = outage.event.get_or_insert_with(event).clone();
            outage.is_told = self.tell(event).await;
        }
    }

    async fn look_at_sponsors(&self, told: &mut HashSet<AccountId>) {
        if !events::is_heard(&self.store, Kind::SponsorLow) {
            return;
        }
        let low = self.own.iter().flat_map(own::Facilitator::low_sponsors).collect::<Vec<_>>();
        told.retain(|sponsor| low.iter().any(|low| low.sponsor == *sponsor));
        for own::Low { sponsor, balance_stroops, needed_stroops } in low {
            if told.contains(&sponsor) {
                continue;
            }
            let at = self.clock.now();
            let event = Event {
                kind: Kind::SponsorLow,
                // All gateways with this sponsor see it at about the same time.
                key: [&sponsor.0[..], &at.div_euclid(HOUR).to_be_bytes()].concat(),
                at,
                data: json!({
                    "sponsor": sponsor.to_string(),
                    "balance": lumens(balance_stroops),
                    "balance_stroops": balance_stroops.to_string(),
                    "needed_stroops": needed_stroops.to_string(),
                }),
            };
            if self.tell(event).await {
                told.insert(sponsor);
            }
        }
    }

    fn event(&self, kind: Kind, reason: &str) -> Event {
        let at = self.clock.now_ms();
        let key = [&at.to_be_bytes()[..], reason.as_bytes()].concat();
        Event { kind, key, at: at.div_euclid(1_000), data: json!({ "reason": reason }) }
    }

    /// Whether it is stored for all who want to hear of it. Otherwise the next look tells it.
    async fn tell(&self, event: Event) -> bool {
        let kind = event.kind;
        let notices = events::notices(&self.store, kind, || event);
        let stored = self.store.tell(notices).await;
        if let Err(error) = &stored {
            warn!(%error, event = kind.as_str(), "an event could not be stored: it is tried again");
        }
        stored.is_ok()
    }
}

impl Outage {
    /// It is there.
    fn over(&mut self) {
        *self = Self { was_there: true, ..Self::default() };
    }

    /// It is not there; whether that is to be told now: for as long as it is not.
    const fn is_new(&mut self) -> bool {
        self.looks = self.looks.saturating_add(1);
        !self.is_told && self.looks >= if self.was_there { LOOKS } else { FIRST_LOOKS }
    }
}

/// Made at the start of a gateway that takes payments.
pub(super) const LOOKED_FOR: &str = "x402 quote";
const PAUSE: Duration = Duration::from_secs(3);
/// In a row until an outage is told.
const LOOKS: u32 = 3;
/// The same after the start, when much is not there yet.
const FIRST_LOOKS: u32 = 20;
const HOUR: u64 = 3_600;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::{Secret, Webhook};

    #[test]
    fn an_outage_is_told_once_and_a_new_one_again() {
        let mut outage = Outage::default();
        let told = |outage: &mut Outage, looks: u32| {
            let looks = (0..looks).filter(|_| {
                let is_new = outage.is_new();
                outage.is_told |= is_new;
                is_new
            });
            looks.count()
        };
        assert_eq!(told(&mut outage, FIRST_LOOKS - 1), 0, "it may be starting");
        assert_eq!(told(&mut outage, 50), 1);
        for _ in 0..2 {
            outage.over();
            assert_eq!((told(&mut outage, LOOKS - 1), told(&mut outage, 50)), (0, 1));
        }
    }

    #[tokio::test]
    async fn what_could_not_be_stored_is_told_by_the_next_look() {
        let (folder, mut outage) = (tempfile::tempdir().unwrap(), Outage::default());
        let file = folder.path().join("tollgate.redb");
        let webhook = Webhook {
            url: "http://127.0.0.1:1/".parse().unwrap(),
            secret: Secret::read("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap(),
            kinds: Kind::ALL.to_vec(),
        };
        let lookout = |store: Store| {
            events::subscribe(&store, std::slice::from_ref(&webhook));
            let (alarms, clock) = (Alarms::default(), Clock::fixed(1_700_000_000));
            Lookout { store, facilitator: None, own: None, alarms, clock }
        };
        let away = lookout(Store::open(file.clone()).await.unwrap());
        away.store.close().await.unwrap();
        for _ in 0..FIRST_LOOKS {
            away.miss(&mut outage, "it is away").await;
        }
        assert!(!outage.is_told);
        let tried = outage.event.as_ref().unwrap().key.clone();
        let back = lookout(Store::open(file).await.unwrap());
        for _ in 0..3 {
            back.miss(&mut outage, "it is still away").await;
        }
        assert!(outage.is_told);
        assert_eq!(outage.event.unwrap().key, tried, "it is one event");
        assert_eq!(back.store.waiting(webhook.receiver(), None).await.unwrap().waiting, 1);
    }
}
