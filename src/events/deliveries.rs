//! Whether what was paid for was delivered: looked at a while after each payment, by what its claim has become.
//!
//! What settles leaves a *doubt* in the outbox, in the same commit, with what is told if nothing is delivered. So a process
//! that dies between the two leaves it to the next one, and nothing has to be taken back where all goes well.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::sleep;
use tracing::debug;

use super::Kind;
use crate::{
    store::{self, ClaimKey, Delivery, Notice, Receiver, Store, Told, channel::Token},
    telemetry::Clock,
};

/// Looks at doubts.
#[derive(Debug)]
pub(super) struct Deliveries {
    pub(super) store: Store,
    pub(super) clock: Clock,
    /// What this gateway is called among those that share the store.
    pub(super) teller: Token,
}

impl Deliveries {
    pub(super) async fn run(self) {
        loop {
            if let Err(error) = self.look().await {
                debug!(%error, "what was not delivered is looked at later");
            }
            sleep(PAUSE).await;
        }
    }

    /// Looks at all doubts whose time has come.
    async fn look(&self) -> Result<(), store::Error> {
        if !self.store.is_teller(DOUBTS, self.teller, LEASE).await? {
            return Ok(());
        }
        let before = self.clock.now().saturating_sub(GRACE.as_secs());
        let mut after = None;
        loop {
            let page = self.store.waiting(DOUBTS, after).await?;
            let (mut cleared, mut is_due) = (Vec::new(), true);
            for (place, doubt) in page.notices {
                // Those behind it are younger.
                is_due = doubt.at <= before;
                if !is_due {
                    break;
                }
                if self.clear(doubt).await? {
                    cleared.push(place);
                }
            }
            self.store.arrived(DOUBTS, cleared).await?;
            after = page.next;
            if !is_due || after.is_none() {
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
const DOUBTS: Receiver = Receiver(*b"\0doubts\0");
/// How many bytes a key has.
const KEY: usize = 32;
/// How long after it settled a payment is looked at.
const GRACE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_secs(2);
const LEASE: Duration = Duration::from_secs(10);
