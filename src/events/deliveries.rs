//! Whether what was paid for was delivered: looked at a while after each payment, by what its claim has become.
//!
//! What settles leaves a *doubt* in the outbox, in the same commit, with what is told if nothing is delivered. So a process
//! that dies between the two leaves it to the next one, and nothing has to be taken back where all goes well.

use std::{collections::HashSet, mem, time::Duration};

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::time::sleep;
use tracing::{debug, error, warn};

use super::{Figures, Kind, figures::Fate};
use crate::{
    store::{self, ClaimKey, Delivery, Notice, Place, Receiver, Store, Told, channel::Token},
    telemetry::Clock,
};

/// Looks at doubts.
#[derive(Debug)]
pub(super) struct Deliveries {
    pub(super) store: Store,
    pub(super) clock: Clock,
    /// What this gateway is called among those that share the store.
    pub(super) teller: Token,
    pub(super) figures: Figures,
}

/// Doubts that could not be looked at, so that the log says so once.
type Dark = HashSet<Place>;

impl Deliveries {
    pub(super) async fn run(self) {
        // A figure that appears has not risen, as monitoring sees it.
        self.figures.note(DOUBTED, Fate::Dropped, 0);
        let mut dark = Dark::new();
        loop {
            if let Err(error) = self.look(&mut dark).await {
                debug!(%error, "what was not delivered is looked at later");
            }
            sleep(PAUSE).await;
        }
    }

    /// Looks at all doubts whose time has come.
    async fn look(&self, dark: &mut Dark) -> Result<(), store::Error> {
        if !self.store.is_teller(DOUBTS, self.teller, LEASE).await? {
            return Ok(());
        }
        let before = self.clock.now().saturating_sub(GRACE.as_secs());
        let mut after = None;
        let known = mem::take(dark);
        loop {
            let page = self.store.waiting(DOUBTS, after).await?;
            if page.dropped > 0 {
                self.figures.note(DOUBTED, Fate::Dropped, page.dropped);
                error!(
                    payments = page.dropped,
                    "too many payments wait to be looked at: whether the oldest were delivered is not told"
                );
            }
            let mut due = page.notices;
            let found = due.len();
            // Those behind one that is too young are younger.
            let young = due.iter().position(|(_, doubt)| doubt.at > before);
            due.truncate(young.unwrap_or(found));
            let looked = join_all(
                due.into_iter().map(async |(place, doubt)| (place, self.clear(doubt).await)),
            )
            .await;
            let mut cleared = Vec::new();
            for (place, is_clear) in looked {
                match is_clear {
                    Ok(true) => cleared.push(place),
                    Ok(false) => {}
                    // It stays, and the others go: what is told would be told again.
                    Err(error) => {
                        if !known.contains(&place) {
                            warn!(%error, "whether a payment was delivered cannot be looked at");
                        }
                        dark.insert(place);
                    }
                }
            }
            self.store.arrived(DOUBTS, cleared).await?;
            after = page.next;
            if young.is_some() || after.is_none() {
                return Ok(());
            }
        }
    }

    /// Tells what is told if nothing was delivered, if so. Whether there is nothing left to be done.
    async fn clear(&self, doubt: Notice) -> Result<bool, store::Error> {
        let Notice { id, at, body, .. } = doubt;
        let Some(key) = body.first_chunk().map(|key| ClaimKey(*key)) else { return Ok(true) };
        match self.store.delivery(key).await? {
            Delivery::UnderWay => Ok(false),
            Delivery::Done => Ok(true),
            Delivery::Missing => {
                let told = || Told { id, at, body: body.slice(KEY..) };
                let notices = self.store.notices(Kind::PaymentUndelivered.topic(), told);
                self.store.tell(notices).await?;
                Ok(true)
            }
        }
    }
}

/// The doubt whether something is delivered for the claim `key`.
pub(super) fn doubt(key: ClaimKey, told: Told) -> Notice {
    let Told { id, at, body } = told;
    Notice { receiver: DOUBTS, id, at, body: Bytes::from([&key.0[..], &body].concat()) }
}

/// No webhook's: those are digests.
pub(super) const DOUBTS: Receiver = Receiver(*b"\0doubts\0");
/// What stands in the figures in a receiver's place.
const DOUBTED: &str = "payment.undelivered";
/// How many bytes a key has.
const KEY: usize = 32;
/// How long after it settled a payment is looked at.
const GRACE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_secs(2);
const LEASE: Duration = Duration::from_secs(10);
