//! The gate before the accounts, where replicas may take over.
//!
//! In each epoch it is closed until every gateway has compared the accounts with its journal, as the [`super::warden`] sees
//! to; until then whoever asks for an account is told that it must wait. Claims pass: what moved for them is on the ledger,
//! and that a hash which was pushed counts once rests on what all replicas have.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::{sync::Notify, task::spawn_blocking};
use tracing::{error, info, warn};

use super::{
    journal::{Acknowledged, Journal},
    promise::Epoch,
};
use crate::{protocol::stellar::ContractId, store::Error};

/// Whether accounts may be asked for. One for all shards of a store.
pub(super) struct Gate {
    journal: Arc<Journal>,
    state: Mutex<State>,
    /// Somebody was turned away.
    pub(super) awaited: Notify,
}

struct State {
    /// The epochs of primaries in which everybody has reconciled.
    open: Vec<Epoch>,
    /// Why it is closed, in an epoch in which it is.
    reason: Arc<str>,
    /// Why it stays closed until the gateway is started again: the journal cannot be written, or another has a copy of it.
    broken: Option<Arc<str>>,
}

impl Gate {
    pub(super) fn new(journal: Journal) -> Self {
        let state = State { open: Vec::new(), reason: COMPARING.into(), broken: None };
        Self { journal: Arc::new(journal), state: Mutex::new(state), awaited: Notify::new() }
    }

    pub(super) const fn journal(&self) -> &Arc<Journal> {
        &self.journal
    }

    /// Why accounts may not be asked for in `epoch`.
    pub(super) fn closed(&self, epoch: Epoch) -> Option<Arc<str>> {
        let state = self.state();
        if let Some(broken) = &state.broken {
            return Some(Arc::clone(broken));
        }
        (!state.open.contains(&epoch)).then(|| Arc::clone(&state.reason))
    }

    /// Opens it in `epochs`, and in no others.
    pub(super) fn open(&self, epochs: &[Epoch]) {
        let mut state = self.state();
        if state.open != epochs {
            info!("every gateway has compared the store with its journal: channels pay");
        }
        epochs.clone_into(&mut state.open);
    }

    /// Closes it in all epochs but those of `but` in which it is open.
    pub(super) fn close(&self, but: &[Epoch]) {
        self.state().open.retain(|epoch| but.contains(epoch));
    }

    /// Says why it is closed where it is.
    pub(super) fn explain(&self, reason: String) {
        let reason: Arc<str> = reason.into();
        let mut state = self.state();
        // Not at each beat.
        if state.reason != reason {
            warn!(%reason, "channels do not pay");
        }
        state.reason = reason;
    }

    /// Closes it until the gateway is started again.
    pub(super) fn shut(&self, reason: &Arc<str>) {
        self.state().broken = Some(Arc::clone(reason));
    }

    /// Writes to the journal what a server acknowledged, which is to be told if the gate is open in an epoch.
    ///
    /// # Errors
    /// The journal cannot be written, and will not be again: accounts stay closed. Or the gate was closed meanwhile, and
    /// what was acknowledged may not be what the accounts are raised to.
    pub(super) async fn record(
        &self,
        accounts: Vec<(ContractId, Acknowledged)>,
        told_in: Option<Epoch>,
    ) -> Result<(), Error> {
        if accounts.is_empty() {
            return Ok(());
        }
        let journal = Arc::clone(&self.journal);
        let written = on_disk(move || journal.record(&accounts)).await;
        written.map_err(|fault| {
            let reason: Arc<str> = format!(
                "the journal cannot be written ({fault}): make room or mend the disk, and start the gateway again"
            )
            .into();
            error!(%reason, "paid channels are stopped");
            self.shut(&reason);
            Error::Unavailable { reason }
        })?;
        // The warden closes it before it reads the journal: what was recorded while it is open is read.
        match told_in.and_then(|epoch| self.closed(epoch)) {
            None => Ok(()),
            Some(reason) => Err(Error::Unavailable { reason }),
        }
    }

    /// Takes channels that have ended out of the journal, in its own time: what there was is collected, and nothing of it
    /// can be lost any more.
    pub(super) fn forget(&self, ended: Vec<ContractId>) {
        if ended.is_empty() || self.state().broken.is_some() {
            return;
        }
        let journal = Arc::clone(&self.journal);
        drop(spawn_blocking(move || {
            if let Err(fault) = journal.forget(&ended) {
                error!(%fault, "channels that have ended stay in the journal");
            }
        }));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here can be half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Carries out what waits for the disk.
pub(super) async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let stopped = |error: tokio::task::JoinError| Error::Stopped {
        reason: format!("the journal's task ended: {error}").into(),
    };
    spawn_blocking(work).await.map_err(stopped)?
}

pub(super) const COMPARING: &str = "the accounts are being compared with the journal";
