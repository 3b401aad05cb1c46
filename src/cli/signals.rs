//! The signals that a service is told by what to do.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What the process is told from the moment that this is made; none of it ends the process by itself from then on.
#[derive(Debug)]
pub(super) struct Signals {
    pub(super) stop: Stop,
    /// SIGHUP.
    pub(super) hangups: Signal,
    /// SIGUSR1.
    pub(super) rotations: Signal,
}

/// SIGTERM, and SIGINT (Ctrl-C).
#[derive(Debug)]
pub(super) struct Stop {
    terminations: Signal,
    interrupts: Signal,
}

impl Signals {
    pub(super) fn listen() -> io::Result<Self> {
        let terminations = signal(SignalKind::terminate())?;
        let interrupts = signal(SignalKind::interrupt())?;
        Ok(Self {
            stop: Stop { terminations, interrupts },
            hangups: signal(SignalKind::hangup())?,
            rotations: signal(SignalKind::user_defined1())?,
        })
    }
}

impl Stop {
    /// Waits until the process is asked to stop, or is asked again.
    pub(super) async fn asked(&mut self) {
        tokio::select! { _ = self.terminations.recv() => {} _ = self.interrupts.recv() => {} }
    }
}
