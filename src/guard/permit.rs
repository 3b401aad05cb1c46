//! The permit: a request that may go to the upstream.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// A request that the guard let through: paid, or on a route that is free.
///
/// The upstream takes nothing else, and only the guard can build one: an unpaid request to a priced route cannot be
/// forwarded, because it does not typecheck.
///
/// ```compile_fail,E0423
/// // Outside the guard there is no way to make a permit.
/// let unpaid = http::Request::new(());
/// let permit = tollgate::guard::Admitted(unpaid);
/// ```
///
/// ```compile_fail,E0624
/// let unpaid = http::Request::new(());
/// let permit = tollgate::guard::Admitted::new(unpaid);
/// ```
///
/// What comes out of one is plain again:
///
/// ```
/// fn forward(permit: tollgate::guard::Admitted<http::Request<()>>) -> http::Request<()> {
///     permit.into_inner()
/// }
/// ```
#[derive(Debug)]
pub struct Admitted<T>(T);

impl<T> Admitted<T> {
    pub(super) const fn new(inner: T) -> Self {
        Self(inner)
    }

    /// The request itself, which is no permit any more.
    #[must_use]
    pub fn into_inner(self) -> T {
        self.0
    }
}

/// Whether a request has begun to go out on a connection: from then on the upstream may have acted on it.
///
/// Travels in the extensions of a request that is paid for. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Reached(Arc<AtomicBool>);

impl Reached {
    /// Notes that the request goes out now, or that nothing of it did.
    pub fn set(&self, is_sent: bool) {
        self.0.store(is_sent, Ordering::Relaxed);
    }

    /// Whether it has begun to.
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
