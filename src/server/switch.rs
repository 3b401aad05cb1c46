//! Connections whose protocol is switched: from the answer that says so to the end of what follows.
//!
//! Nothing is joined unless the answer `101` itself goes out here: a service that drops it drops what it leads to.

use std::sync::{Arc, Mutex, PoisonError};

use http::{Request, Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use tracing::warn;

use crate::tunnel::Tunnel;

/// What a connection was switched to, if it was. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Switch(Arc<Mutex<Option<(OnUpgrade, Tunnel)>>>);

/// The switch of one request, which asks for another protocol or does not.
#[derive(Debug, Default)]
pub(super) struct Points(Option<(OnUpgrade, Switch)>);

impl Switch {
    /// Takes out of `request` what its connection could be switched with.
    pub(super) fn of<B>(&self, request: &mut Request<B>) -> Points {
        let near = request.extensions_mut().remove::<OnUpgrade>();
        Points(near.map(|near| (near, self.clone())))
    }

    /// Runs what the connection was switched to, to its end.
    pub(super) async fn run(&self) {
        let switched = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((near, tunnel)) = switched {
            tunnel.join(near).await;
        }
    }
}

impl Points {
    /// Sets the switch if `answer` says so.
    pub(super) fn set<B>(self, mut answer: Response<B>) -> Response<B> {
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            let tunnel = answer.extensions_mut().remove::<Tunnel>();
            if let (Some((near, Switch(switched))), Some(tunnel)) = (self.0, tunnel) {
                *switched.lock().unwrap_or_else(PoisonError::into_inner) = Some((near, tunnel));
            } else {
                warn!("an answer switches protocols and leads nowhere");
                *answer.status_mut() = StatusCode::BAD_GATEWAY;
            }
        }
        answer
    }
}
