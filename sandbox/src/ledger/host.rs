//! Threads for the host, which recurses deeply and is not to be trusted with a panic.

use std::io;
use std::thread;

use soroban_env_host::budget::Budget;
use soroban_env_host::{Host, HostError, ModuleCache};

/// The work did not come to an end.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("start a thread")]
    Thread(#[source] io::Error),
    #[error("the host panicked")]
    Panic,
}

/// Runs `work` on a thread of its own with a stack as large as stellar-rpc gives the host, and waits for it.
pub(super) fn on_big_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, Broken> {
    thread::scope(|scope| {
        thread::Builder::new()
            .name("soroban".to_owned())
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, work)
            .map_err(Broken::Thread)?
            .join()
            .map_err(|_| Broken::Panic)
    })
}

/// An empty cache of compiled contracts, shared by all who clone it.
pub(super) fn modules() -> Result<ModuleCache, HostError> {
    ModuleCache::new(&Host::with_storage_and_budget(Default::default(), Budget::default()))
}

/// stellar-rpc's figure. Pages are taken only when touched.
const STACK_BYTES: usize = 100 << 20;
