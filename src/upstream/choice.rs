//! Which server a request goes to: of two that are chosen at random, the one with fewer requests under way.
//!
//! A server that takes no connections is not asked until one was made, which is tried in the background: no request, and
//! no payment, finds out that it is still away. One that gives no good answers is ejected for a while; then a single
//! request tries it. As many are ejected at most as the operator allows.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http_body::Body;
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};
use tracing::{debug, info, warn};

use super::{
    BoxError,
    connect::{DialError, Dialer},
    health::{Eject, Health, Standing},
    pool::Server,
};

/// The servers of one upstream.
#[derive(Debug)]
pub(super) struct Servers<B> {
    all: Box<[Arc<Member<B>>]>,
    eject: Eject,
    /// Held while one is ejected, so that two together are not too many.
    ejecting: Mutex<()>,
    /// When the log was told last that this machine has nothing left for a connection.
    told: Mutex<Option<Instant>>,
}

/// A server, and how it is.
#[derive(Debug)]
pub(super) struct Member<B> {
    pub(super) server: Arc<Server<B>>,
    pub(super) health: Health,
    /// Tells those who wait for a connection that there is none to be had.
    gone: Notify,
}

impl<B> Servers<B> {
    pub(super) fn new(all: impl Iterator<Item = Arc<Member<B>>>, eject: Eject) -> Self {
        Self { all: all.collect(), eject, ejecting: Mutex::default(), told: Mutex::default() }
    }

    pub(super) fn all(&self) -> &[Arc<Member<B>>] {
        &self.all
    }

    /// Whether there is one to ask.
    pub(super) fn is_any_fit(&self) -> bool {
        self.all.iter().any(|member| member.standing() != Standing::Unfit)
    }

    /// A server for a request that may take as long as `patience`; none of those that were `tried`.
    pub(super) fn choose(
        &self,
        tried: &[Arc<Member<B>>],
        patience: Duration,
    ) -> Option<&Arc<Member<B>>> {
        if let ([only], []) = (&*self.all, tried) {
            return (only.standing() != Standing::Unfit).then_some(only);
        }
        let is_new =
            |member: &&Arc<Member<B>>| tried.iter().all(|tried| !Arc::ptr_eq(tried, member));
        let (mut fit, mut ejected) = (0_usize, None);
        for member in self.all.iter().filter(is_new) {
            match member.standing() {
                Standing::Fit => fit = fit.saturating_add(1),
                Standing::Ejected if tried.is_empty() && member.health.takes_trial(patience) => {
                    return Some(member);
                }
                Standing::Ejected => ejected = Some(member),
                Standing::Unfit => {}
            }
        }
        let at = |rank: usize| {
            let fit = |member: &&Arc<Member<B>>| member.standing() == Standing::Fit;
            self.all.iter().filter(is_new).filter(fit).nth(rank)
        };
        let Some(others) = fit.checked_sub(1) else { return ejected };
        let first = fastrand::usize(..fit);
        let second = match others {
            0 => first,
            // Every rank but the first's.
            others => match fastrand::usize(..others) {
                rank if rank >= first => rank.saturating_add(1),
                rank => rank,
            },
        };
        // One that is passed over from this moment on changes the ranks of others.
        let two = at(first).into_iter().chain(at(second));
        two.min_by_key(|member| member.under_way()).or_else(|| at(0)).or(ejected)
    }

    /// Notes that a server gave no answer, or none that is one.
    pub(super) fn note_failure(&self, member: &Member<B>) {
        if !member.health.fail(&self.eject) {
            return;
        }
        let _held = self.ejecting.lock().unwrap_or_else(PoisonError::into_inner);
        // Another request may have failed at the same time, and have it ejected by now.
        if !member.health.is_due(&self.eject) {
            return;
        }
        let is_ejected = |member: &Member<B>| member.standing() == Standing::Ejected;
        let others = self.all.iter().filter(|other| !std::ptr::eq(&***other, member));
        let ejected = others.filter(|other| is_ejected(other)).count();
        let share = usize::try_from(self.eject.most_percent).unwrap_or(usize::MAX);
        let most = self.all.len().saturating_mul(share).checked_div(100).unwrap_or(0);
        if ejected < most {
            let time = member.health.eject(&self.eject);
            warn!(server = %member.server.address, ?time, "a server that fails is passed over");
        }
    }

    /// Tells the log, now and then, that no connection could be made for a reason of our own.
    pub(super) fn note_scarcity(&self, error: &DialError) {
        let now = Instant::now();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|told| now.saturating_duration_since(told) > TOLD_EVERY) {
            *told = Some(now);
            warn!(%error, "this machine has nothing left for a connection to an upstream");
        }
    }

    /// Notes an answer with this status.
    pub(super) fn note_answer(&self, member: &Member<B>, status: http::StatusCode) {
        if self.eject.server_errors && status.is_server_error() {
            self.note_failure(member);
        } else if member.health.succeed() {
            info!(server = %member.server.address, "a server that failed answers again");
        }
    }
}

impl<B> Member<B> {
    /// A server of which nothing is known.
    pub(super) fn new(server: Server<B>) -> Self {
        Self { server: Arc::new(server), health: Health::default(), gone: Notify::new() }
    }

    /// Waits until a connection to it could not be made.
    pub(super) async fn is_gone(&self) {
        self.gone.notified().await;
    }

    pub(super) fn standing(&self) -> Standing {
        self.health.standing()
    }

    /// How many requests are under way at it.
    pub(super) fn under_way(&self) -> usize {
        Arc::strong_count(&self.server.load).saturating_sub(1)
    }
}

impl<B> Member<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    /// Passes the server over, because of `error`, until a connection to it is made again; unless that tells nothing of the
    /// server.
    pub(super) fn set_down(self: &Arc<Self>, dialer: &Dialer, error: &DialError) {
        if error.is_ours() {
            return;
        }
        self.gone.notify_waiters();
        if !self.health.set_down(true) {
            return;
        }
        warn!(server = %self.server.address, %error, "a server takes no connections");
        let (member, redialer) = (Arc::downgrade(self), dialer.clone());
        dialer.tasks.spawn(async move {
            loop {
                sleep(REDIAL).await;
                let Some(member) = member.upgrade() else { return };
                let address = &member.server.address;
                match redialer.dial::<B>(address, false).await {
                    Ok(_) => {
                        info!(server = %address, "a server takes connections again");
                        member.health.set_down(false);
                        return;
                    }
                    Err(error) => debug!(server = %address, %error, "still no connection"),
                }
            }
        });
    }
}

/// How long after a failed attempt to connect the next one is made.
const REDIAL: Duration = Duration::from_millis(500);
const TOLD_EVERY: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::{sync::Barrier, thread};

    use http_body_util::Full;

    use super::{super::connect::Tasks, *};

    const EJECT: Eject =
        Eject { after: 1, time: Duration::from_secs(1), most_percent: 100, server_errors: false };

    #[test]
    fn requests_that_fail_at_the_same_moment_eject_a_server_once() {
        for _ in 0..300 {
            let address = "origin:80".parse().unwrap();
            let server = Server::<Full<Bytes>>::new(address, Tasks::default());
            let member = Arc::new(Member::new(server));
            let servers = Servers::new([member.clone()].into_iter(), EJECT);
            let start = Barrier::new(4);
            thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        start.wait();
                        servers.note_failure(&member);
                    });
                }
            });
            assert_eq!(member.standing(), Standing::Ejected);
            // The time is doubled each time, and this would be the second.
            assert_eq!(member.health.eject(&EJECT), 2 * EJECT.time);
        }
    }
}
