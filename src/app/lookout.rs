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
        if outage.is_new() {
            self.tell(self.event(Kind::FacilitatorUnavailable, &trouble.to_string())).await;
        }
    }

    async fn look_at_sponsors(&self, told: &mut HashSet<AccountId>) {
        if !events::is_heard(&self.store, Kind::SponsorLow) {
            return;
        }
        let low = self.own.iter().flat_map(own::Facilitator::low_sponsors).collect::<Vec<_>>();
        told.retain(|sponsor| low.iter().any(|low| low.sponsor == *sponsor));
        for own::Low { sponsor, balance_stroops, needed_stroops } in low {
            if !told.insert(sponsor) {
                continue;
            }
            let at = self.clock.now();
            self.tell(Event {
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
            })
            .await;
        }
    }

    fn event(&self, kind: Kind, reason: &str) -> Event {
        let at = self.clock.now_ms();
        let key = [&at.to_be_bytes()[..], reason.as_bytes()].concat();
        Event { kind, key, at: at.div_euclid(1_000), data: json!({ "reason": reason }) }
    }

    async fn tell(&self, event: Event) {
        let kind = event.kind;
        let notices = events::notices(&self.store, kind, || event);
        if let Err(error) = self.store.tell(notices).await {
            warn!(%error, event = kind.as_str(), "an event could not be stored, and is not told");
        }
    }
}

impl Outage {
    /// It is there.
    const fn over(&mut self) {
        *self = Self { looks: 0, was_there: true };
    }

    /// It is not there; whether that is to be told now.
    const fn is_new(&mut self) -> bool {
        self.looks = self.looks.saturating_add(1);
        self.looks == if self.was_there { LOOKS } else { FIRST_LOOKS }
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

    #[test]
    fn an_outage_is_told_once_and_a_new_one_again() {
        let mut outage = Outage::default();
        let mut told = |looks: u32| (0..looks).filter(|_| outage.is_new()).count();
        assert_eq!(told(FIRST_LOOKS - 1), 0, "it may be starting");
        assert_eq!(told(50), 1);
        for _ in 0..2 {
            outage.over();
            let mut told = |looks: u32| (0..looks).filter(|_| outage.is_new()).count();
            assert_eq!((told(LOOKS - 1), told(50)), (0, 1));
        }
    }
}
