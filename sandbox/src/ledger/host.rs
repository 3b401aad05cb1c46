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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_on_the_big_stack_is_an_answer_and_not_a_crash() {
        let broken = on_big_stack(|| -> u8 { panic!("as the host might") });
        assert!(matches!(broken, Err(Broken::Panic)));
        assert!(matches!(on_big_stack(|| 7), Ok(7)));
    }

    #[test]
    fn the_big_stack_is_big() {
        fn deep(levels: u32) -> u32 {
            let page = std::hint::black_box([levels; 1024]);
            levels.checked_sub(1).map_or(0, |left| deep(left).max(page[7]))
        }
        assert!(matches!(on_big_stack(|| deep(10_000)), Ok(10_000)));
    }
}
