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
use tokio::{sync::Notify, time::sleep};
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
        Self { all: all.collect(), eject, ejecting: Mutex::default() }
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
    /// Passes the server over, because of `error`, until a connection to it is made again.
    pub(super) fn set_down(self: &Arc<Self>, dialer: &Dialer, error: &DialError) {
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
