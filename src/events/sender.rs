//! Brings what waits in the outbox to one webhook: signed, a few at once, the oldest first, and again until it is taken.
//!
//! A receiver that is down or slow costs a connection and some memory that has a bound, and no payment waits for it. What it
//! does not take is sent again, after waits that grow, for three days; what a receiver refuses by itself does not hold up
//! what comes after it.
//! Source: Standard Webhooks 1.0, "Deliverability and reliability".

use std::{collections::HashMap, time::Duration};

use futures_util::future::join_all;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, error, info, warn};

use super::{
    Figures, Kind, Telling, Webhook,
    deliveries::Deliveries,
    figures::Fate,
    messenger::{Messenger, Reply},
    name,
};
use crate::{
    ledger::Http,
    store::{self, Notice, Place, Store, channel::Token},
    telemetry::Clock,
};

/// Tells one webhook what waits for it.
#[derive(Debug)]
pub struct Sender {
    messenger: Messenger,
    store: Store,
    figures: Figures,
    /// What this gateway is called among those that share the store.
    teller: Token,
    /// Until when it is for us to tell.
    leased: Option<Instant>,
    /// What was not taken, and when it is sent next.
    again: HashMap<Place, Again>,
    /// How often in a row the receiver was not there.
    failures: u32,
}

/// How a notice that was not taken is sent again.
#[derive(Clone, Copy, Debug)]
struct Again {
    attempts: u32,
    due: Instant,
}

impl Sender {
    /// Tells `webhooks` what waits for them, and of `alarms`, on `tasks`, until `stop`. What is under way then is sent again by
    /// the next one.
    pub fn start(
        webhooks: &[Webhook],
        (store, clock): (&Store, &Clock),
        telling: &Telling,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) {
        if webhooks.is_empty() {
            return;
        }
        if webhooks.iter().any(|webhook| webhook.kinds.contains(&Kind::PaymentUndelivered)) {
            let (store, clock, teller) = (store.clone(), clock.clone(), telling.teller);
            let deliveries = Deliveries { store, clock, teller };
            tasks.spawn(stop.clone().run_until_cancelled_owned(deliveries.run()));
        }
        let http = Http::new();
        for webhook in webhooks {
            let messenger = Messenger {
                webhook: webhook.clone(),
                host: webhook.host().to_owned(),
                http: http.clone(),
                clock: clock.clone(),
            };
            let Telling { figures, alarms, teller } = telling;
            figures.begin(&messenger.host);
            let alarmed = alarms.clone().tell(messenger.clone(), figures.clone());
            tasks.spawn(stop.clone().run_until_cancelled_owned(alarmed));
            let sender = Self {
                messenger,
                store: store.clone(),
                figures: figures.clone(),
                teller: *teller,
                leased: None,
                again: HashMap::new(),
                failures: 0,
            };
            tasks.spawn(stop.clone().run_until_cancelled_owned(sender.run()));
        }
    }

    /// Has another gateway tell `webhooks` at once what is left, since this one ends.
    pub async fn leave(webhooks: &[Webhook], store: &Store, telling: &Telling) {
        let leave = async {
            for webhook in webhooks {
                // A lease that is over at once. Where that fails, it ends by itself.
                let left = store.is_teller(webhook.receiver(), telling.teller, AT_ONCE_OVER).await;
                drop(left);
            }
        };
        drop(timeout(LEAVING, leave).await);
    }

    async fn run(mut self) {
        let mut news = self.store.news();
        let kept_since = self.messenger.clock.now().saturating_sub(store::NOTICES_KEPT.as_secs());
        if let Err(error) = self.store.forget_notices(kept_since).await {
            debug!(%error, "what nobody sends is still in the outbox");
        }
        loop {
            news.borrow_and_update();
            let pause = match self.round().await {
                Ok(pause) => pause,
                Err(error) => {
                    debug!(%error, receiver = self.messenger.host, "the outbox cannot be read");
                    POLL
                }
            };
            if self.failures > 0 {
                sleep(pause).await;
            } else {
                wait(pause, &mut news).await;
            }
        }
    }

    /// Sends what is due, and returns how long nothing will be, unless something is stored.
    async fn round(&mut self) -> Result<Duration, store::Error> {
        let (mut after, mut pause) = (None, POLL);
        loop {
            if !self.is_teller().await? {
                return Ok(POLL);
            }
            let page = self.store.waiting(self.messenger.webhook.receiver(), after).await?;
            self.figures.show_waiting(&self.messenger.host, page.waiting);
            if page.dropped > 0 {
                self.figures.note(&self.messenger.host, Fate::Dropped, page.dropped);
                error!(
                    receiver = self.messenger.host,
                    events = page.dropped,
                    "a webhook takes too little: its oldest events were dropped"
                );
            }
            after = page.next;
            let due = self.due(page.notices, &mut pause).await?;
            // Whether it is back is found out by one.
            let at_once = if self.failures > 0 { 1 } else { AT_ONCE };
            for some in due.chunks(at_once) {
                // Others may be at it by then, if this took long.
                if !self.is_teller().await? {
                    return Ok(POLL);
                }
                self.send(some).await?;
                if self.failures > 0 {
                    return Ok(wait_after(self.failures).min(LONGEST_PAUSE));
                }
            }
            if after.is_none() {
                return Ok(pause);
            }
        }
    }

    /// Those of `notices` that are to be sent now; those whose time has passed are given up. `pause` becomes no longer than it
    /// takes until another one is due.
    async fn due(
        &mut self,
        notices: Vec<(Place, Notice)>,
        pause: &mut Duration,
    ) -> Result<Vec<(Place, Notice)>, store::Error> {
        let (now, since) =
            (Instant::now(), self.messenger.clock.now().saturating_sub(LIFE.as_secs()));
        let (mut due, mut given_up) = (Vec::new(), Vec::new());
        for (place, notice) in notices {
            match self.again.get(&place) {
                _ if notice.at < since => {
                    error!(
                        receiver = self.messenger.host,
                        event = name(&notice.id),
                        "a webhook did not take an event for three days: it is not told any more"
                    );
                    given_up.push(place);
                }
                Some(again) if again.due > now => {
                    *pause = (*pause).min(again.due.saturating_duration_since(now));
                }
                _ => due.push((place, notice)),
            }
        }
        self.figures.note(&self.messenger.host, Fate::GivenUp, count(&given_up));
        self.take_out(given_up).await?;
        Ok(due)
    }

    /// Sends some at once, and takes those out of the outbox that are taken.
    async fn send(&mut self, notices: &[(Place, Notice)]) -> Result<(), store::Error> {
        let replies = join_all(
            notices.iter().map(|(_, notice)| self.messenger.post(notice.id, &notice.body)),
        )
        .await;
        let (mut taken, mut away) = (Vec::new(), None);
        for ((place, notice), reply) in notices.iter().zip(replies) {
            match reply {
                Reply::Taken => taken.push(*place),
                Reply::Refused(status) => {
                    let event = name(&notice.id);
                    warn!(receiver = self.messenger.host, %status, event, "a webhook refused an event");
                    self.put_off(*place);
                }
                Reply::Away(reason) => {
                    self.put_off(*place);
                    away = Some(reason);
                }
            }
        }
        match away {
            Some(reason) => {
                self.failures = if taken.is_empty() { self.failures.saturating_add(1) } else { 1 };
                if self.failures == 1 {
                    warn!(receiver = self.messenger.host, reason, "a webhook does not take events");
                }
            }
            None => {
                if self.failures > 0 {
                    info!(receiver = self.messenger.host, "a webhook takes events again");
                }
                self.failures = 0;
            }
        }
        self.figures.note(&self.messenger.host, Fate::Delivered, count(&taken));
        self.take_out(taken).await
    }

    fn put_off(&mut self, place: Place) {
        self.figures.note(&self.messenger.host, Fate::Failed, 1);
        if self.again.len() > MOST_PUT_OFF {
            self.again.clear();
        }
        let now = Instant::now();
        let again = self.again.entry(place).or_insert(Again { attempts: 0, due: now });
        again.attempts = again.attempts.saturating_add(1);
        again.due = now.checked_add(wait_after(again.attempts)).unwrap_or(now);
    }

    async fn take_out(&mut self, places: Vec<Place>) -> Result<(), store::Error> {
        for place in &places {
            self.again.remove(place);
        }
        self.store.arrived(self.messenger.webhook.receiver(), places).await
    }

    /// Whether it is for this gateway to tell, for some seconds more.
    async fn is_teller(&mut self) -> Result<bool, store::Error> {
        let now = Instant::now();
        if self.leased.is_some_and(|until| until > now) {
            return Ok(true);
        }
        let is_ours =
            self.store.is_teller(self.messenger.webhook.receiver(), self.teller, LEASE).await?;
        // What is sent until then is answered before the lease ends.
        self.leased = is_ours.then(|| now.checked_add(ASK_AGAIN).unwrap_or(now));
        Ok(is_ours)
    }
}

/// Waits for news, but no longer than `pause`.
async fn wait(pause: Duration, news: &mut watch::Receiver<()>) {
    tokio::select! {
        changed = news.changed() => {
            if changed.is_err() {
                sleep(pause).await;
            }
        }
        () = sleep(pause) => {}
    }
}

/// How long to wait after so many attempts: a second, then twice as long each time, up to an hour.
pub(super) fn wait_after(attempts: u32) -> Duration {
    let doublings = attempts.saturating_sub(1).min(12);
    SHORTEST_WAIT.saturating_mul(2_u32.saturating_pow(doublings)).min(LONGEST_WAIT)
}

fn count<T>(items: &[T]) -> u64 {
    u64::try_from(items.len()).unwrap_or(u64::MAX)
}

/// Events that are sent at once to one receiver.
const AT_ONCE: usize = 8;
/// Between two looks at the outbox where nothing is said: another gateway may have put something there.
const POLL: Duration = Duration::from_secs(2);
const SHORTEST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);
/// Between two attempts at a receiver that is not there.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// How long an event is sent again.
const LIFE: Duration = Duration::from_secs(3 * 24 * 3_600);
/// How long it is for one gateway to tell, and how soon it asks to go on.
const LEASE: Duration = Duration::from_secs(25);
const ASK_AGAIN: Duration = Duration::from_secs(5);
const AT_ONCE_OVER: Duration = Duration::from_millis(1);
const LEAVING: Duration = Duration::from_secs(1);
/// More than wait for one receiver.
const MOST_PUT_OFF: usize = 20_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_an_hour() {
        let waits: Vec<_> = (1..=14).map(|attempts| wait_after(attempts).as_secs()).collect();
        let grown = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 2_048, 3_600, 3_600];
        assert_eq!(waits, grown);
        assert_eq!((wait_after(0).as_secs(), wait_after(u32::MAX).as_secs()), (1, 3_600));
    }
}
