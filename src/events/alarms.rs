//! What is told although the store is away: it cannot wait in an outbox, so it is told out of memory.
//!
//! It is lost with the process, and what is told is the last there was.

use tokio::{sync::watch, time::sleep};
use tracing::warn;

use super::{
    Event, Figures,
    figures::Fate,
    messenger::{Messenger, Reply},
    sender::wait_after,
};
use crate::store::Told;

/// The last alarm. Clones share it.
#[derive(Clone, Debug)]
pub struct Alarms(watch::Sender<Option<(super::Kind, Told)>>);

impl Default for Alarms {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl Alarms {
    /// Tells `event` to all who want to hear of it, without the store.
    pub fn raise(&self, event: Event) {
        self.0.send_replace(Some((event.kind, event.told())));
    }

    /// Brings one alarm after the other to a webhook. One that is not taken after some tries is given up.
    pub(super) async fn tell(self, messenger: Messenger, figures: Figures) {
        let mut raised = self.0.subscribe();
        while raised.changed().await.is_ok() {
            let Some((kind, told)) = raised.borrow_and_update().clone() else { continue };
            if !messenger.webhook.kinds.contains(&kind) {
                continue;
            }
            for attempts in 1..=MOST_ATTEMPTS {
                match messenger.post(told.id, &told.body).await {
                    Reply::Taken => {
                        figures.note(&messenger.host, Fate::Delivered, 1);
                        break;
                    }
                    Reply::Refused(_) | Reply::Away(_) => {
                        figures.note(&messenger.host, Fate::Failed, 1);
                    }
                }
                if attempts == MOST_ATTEMPTS {
                    warn!(receiver = messenger.host, "a webhook did not take an alarm");
                    figures.note(&messenger.host, Fate::GivenUp, 1);
                } else {
                    sleep(wait_after(attempts)).await;
                }
            }
        }
    }
}

/// About a quarter of an hour.
const MOST_ATTEMPTS: u32 = 10;
