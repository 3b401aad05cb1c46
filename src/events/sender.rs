//! Brings what waits in the outbox to one webhook: signed, a few at once, the oldest first, and again until it is taken.
//!
//! A receiver that is down or slow costs a connection and some memory that has a bound, and no payment waits for it. What it
//! does not take is sent again, after waits that grow, for three days; what a receiver refuses by itself does not hold up
//! what comes after it.
//! Source: Standard Webhooks 1.0, "Deliverability and reliability".

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::future::join_all;
use tokio::{
    sync::{Mutex, watch},
    time::{Instant, sleep, sleep_until, timeout},
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
    /// Up to where all that waits was sent or put off, unless a look ended before its end.
    seen: Option<Place>,
    /// When what was put off is looked at again: from the first on, which may be many pages. Until then news stand behind `seen`.
    back: Instant,
    /// Not before: many pages are not read one look after the other.
    rested: Instant,
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
        // What waits for who is no webhook any more, too.
        let forgetting = forget(store.clone(), clock.clone(), telling.forgets_at.clone());
        tasks.spawn(stop.clone().run_until_cancelled_owned(forgetting));
        if webhooks.is_empty() {
            return;
        }
        if webhooks.iter().any(|webhook| webhook.kinds.contains(&Kind::PaymentUndelivered)) {
            let (store, clock, teller) = (store.clone(), clock.clone(), telling.teller);
            let figures = telling.figures.clone();
            let deliveries = Deliveries { store, clock, teller, figures };
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
            let Telling { figures, alarms, teller, .. } = telling;
            figures.begin(&messenger.host);
            let alarmed = alarms.clone().tell(messenger.clone(), figures.clone());
            tasks.spawn(stop.clone().run_until_cancelled_owned(alarmed));
            let sender = Self::new(messenger, store.clone(), figures.clone(), *teller);
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

    fn new(messenger: Messenger, store: Store, figures: Figures, teller: Token) -> Self {
        let now = Instant::now();
        Self {
            messenger,
            store,
            figures,
            teller,
            leased: None,
            again: HashMap::new(),
            seen: None,
            back: now,
            rested: now,
            failures: 0,
        }
    }

    async fn run(mut self) {
        let mut news = self.store.news();
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
        let start = Instant::now();
        // Where this look ends before its end, the next one begins at the first.
        let mut after = self.seen.take().filter(|_| start < self.back.max(self.rested));
        let is_whole = after.is_none();
        if is_whole {
            self.back = later(start, LOOK_BACK);
        }
        let (mut seen, mut pages) = (after, 0_u32);
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
            pages = pages.saturating_add(1);
            seen = after.or_else(|| page.notices.last().map(|(place, _)| *place)).or(seen);
            let due = self.due(page.notices).await?;
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
                let now = Instant::now();
                if is_whole {
                    self.rested = later(now, REST.saturating_mul(pages));
                }
                self.seen = seen;
                return Ok(POLL.min(self.back.max(self.rested).saturating_duration_since(now)));
            }
        }
    }

    /// Those of `notices` that are to be sent now; those whose time has passed are given up. For the others the look back is
    /// early enough.
    async fn due(
        &mut self,
        notices: Vec<(Place, Notice)>,
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
                    self.back = self.back.min(again.due);
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
        again.due = later(now, wait_after(again.attempts));
        self.back = self.back.min(again.due);
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
        self.leased = is_ours.then(|| later(now, ASK_AGAIN));
        Ok(is_ours)
    }
}

/// Forgets what nobody has sent for long: at the start of a process and once a day, whoever is told by then.
async fn forget(store: Store, clock: Clock, at: Arc<Mutex<Instant>>) {
    // Who began before a reload has let go of it, and its hour counts.
    let mut at = at.lock().await;
    loop {
        sleep_until(*at).await;
        let kept_since = clock.now().saturating_sub(store::NOTICES_KEPT.as_secs());
        if let Err(error) = store.forget_notices(kept_since).await {
            debug!(%error, "what nobody sends is still in the outbox");
        }
        *at = later(Instant::now(), DAY);
    }
}

fn later(now: Instant, by: Duration) -> Instant {
    now.checked_add(by).unwrap_or(now)
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
/// After this long at most all that waits is looked at, due or not: a store that was restored may have put something between.
const LOOK_BACK: Duration = Duration::from_secs(60);
/// For each page of such a look, before the next one.
const REST: Duration = Duration::from_millis(100);
const DAY: Duration = Duration::from_secs(24 * 3_600);
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
    use std::{
        convert::Infallible,
        sync::atomic::{AtomicUsize, Ordering::Relaxed},
    };

    use bytes::Bytes;
    use http::{Response, Uri};
    use hyper::{server::conn::http1, service::service_fn};
    use hyper_util::rt::TokioIo;
    use tokio::net::TcpListener;

    use super::*;
    use crate::{events::Secret, ledger::read_body};

    /// A receiver that refuses all, and how much that is so far.
    async fn refusing() -> (Uri, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        let heard = Arc::<AtomicUsize>::default();
        let counted = heard.clone();
        let (tasks, connections) = (TaskTracker::new(), TaskTracker::new());
        tasks.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let counted = counted.clone();
                let refuse = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                    let counted = counted.clone();
                    async move {
                        drop(read_body(request.into_body(), 1_000).await);
                        counted.fetch_add(1, Relaxed);
                        let refused = Response::builder().status(400);
                        Ok::<_, Infallible>(refused.body(String::new()).unwrap())
                    }
                });
                connections
                    .spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), refuse));
            }
        });
        (url, heard)
    }

    #[tokio::test]
    async fn what_is_put_off_is_read_again_when_it_is_due_and_not_with_each_news() {
        let (url, heard) = refusing().await;
        let secret = Secret::read("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let webhook = Webhook { url, secret, kinds: Kind::ALL.to_vec() };
        let receiver = webhook.receiver();
        let (host, http, clock) = (webhook.host().to_owned(), Http::new(), Clock::fixed(NOW));
        let messenger = Messenger { webhook, host, http, clock };
        let store = Store::in_memory().await.unwrap();
        let notice = |n| Notice { receiver, id: [n; 16], at: NOW, body: Bytes::from_static(b"{}") };
        store.tell((0..100).map(notice).collect()).await.unwrap();
        let mut sender = Sender::new(messenger, store.clone(), Figures::default(), Token::draw());
        sender.round().await.unwrap();
        assert_eq!((heard.load(Relaxed), sender.again.len()), (100, 100));
        // Were it read, it would be sent.
        sender.again.clear();
        sender.back = later(Instant::now(), DAY);
        store.tell(vec![notice(100)]).await.unwrap();
        sender.round().await.unwrap();
        assert_eq!(heard.load(Relaxed), 101);
        assert!(sender.back <= later(Instant::now(), SHORTEST_WAIT), "it is due itself");
        sender.again.clear();
        let start = Instant::now();
        (sender.back, sender.rested) = (start, start);
        sender.round().await.unwrap();
        assert_eq!(heard.load(Relaxed), 202);
        assert!(sender.rested >= later(start, 2 * REST), "two pages");
    }

    const NOW: u64 = 1_700_000_000;

    #[test]
    fn waits_grow_up_to_an_hour() {
        let waits: Vec<_> = (1..=14).map(|attempts| wait_after(attempts).as_secs()).collect();
        let grown = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 2_048, 3_600, 3_600];
        assert_eq!(waits, grown);
        assert_eq!((wait_after(0).as_secs(), wait_after(u32::MAX).as_secs()), (1, 3_600));
    }
}
