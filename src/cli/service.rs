//! What the service manager hands over, and what it is told: sockets that are open already, when the gateway is ready,
//! reads its configuration anew and stops, and that it is still alive.
//!
//! Without a service manager nothing is handed over, and telling it costs nothing.
//! Source: sd_listen_fds(3), sd_notify(3), sd_watchdog_enabled(3).

use std::{future::pending, net::TcpListener};

use listenfd::ListenFd;
use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{debug, error, warn};

/// The sockets that were handed over (`LISTEN_FDS`). Takes them out of the environment, so it comes before every thread.
pub(super) fn sockets() -> Vec<TcpListener> {
    let mut handed = ListenFd::from_env();
    let mut sockets = Vec::new();
    for number in 0..handed.len() {
        match handed.take_tcp_listener(number) {
            Ok(Some(socket)) => sockets.push(socket),
            Ok(None) => {}
            Err(error) => warn!(%error, number, "a socket that was handed over is of no use"),
        }
    }
    sockets
}

/// Requests are served, by the configuration that was read last.
pub(super) fn tell_ready() {
    tell(&[NotifyState::Ready]);
}

/// The configuration is being read anew; ends with [`tell_ready`], whether it is taken or not.
pub(super) fn tell_reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => debug!(%error, "the service manager is not told of a reload"),
    }
}

/// The gateway stops.
pub(super) fn tell_stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Tells twice in each time that the manager waits (`WATCHDOG_USEC`) that whoever polls this is alive, as long as `all_is_well`.
/// Never ends.
pub(super) async fn keep_alive(all_is_well: impl Fn() -> bool) {
    let Some(patience) = sd_notify::watchdog_enabled().filter(|patience| !patience.is_zero())
    else {
        return pending().await;
    };
    let mut tick = interval(patience.div_f32(2.0));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        if all_is_well() {
            tell(&[NotifyState::Watchdog]);
        } else {
            error!(
                "a worker does not get on: the service manager is told nothing, and may start the gateway anew"
            );
        }
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!(%error, "the service manager does not listen");
    }
}
