//! Runs the Soroban host off the async threads.

/// What `work` returns, run on a thread that may block. `None` if it panicked, which the panic hook has told, or if the
/// runtime is going down.
pub(crate) async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
}
