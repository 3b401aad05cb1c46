//! How many of something there are now.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

/// How many there are. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Level(Arc<AtomicUsize>);

/// One of them, until it is dropped.
#[derive(Debug)]
pub struct Raised(Level);

impl Level {
    /// One more, as long as what is returned is kept.
    #[must_use]
    pub fn raise(&self) -> Raised {
        self.0.fetch_add(1, Relaxed);
        Raised(self.clone())
    }

    /// How many there are now.
    #[must_use]
    pub fn now(&self) -> usize {
        self.0.load(Relaxed)
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Relaxed);
    }
}
