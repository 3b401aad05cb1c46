//! One request on its way through the gateway, for those who count: from its head to the head of its answer.

use std::time::Instant;

use http::Method;

use crate::telemetry::{
    label::Verb,
    traffic::{Counts, GONE},
};

/// A request on its way. One that is dropped before it was answered counts as one whose client went away.
#[derive(Debug)]
pub(super) struct Passage {
    verb: Verb,
    began: Instant,
    /// What it counts under.
    counts: Counts,
    is_over: bool,
}

impl Passage {
    /// A request that belongs to no route yet.
    pub(super) fn begin(method: &Method, unmatched: Counts) -> Self {
        Self { verb: method.into(), began: Instant::now(), counts: unmatched, is_over: false }
    }

    /// It belongs to the route with these counts.
    pub(super) fn enter(&mut self, counts: &Counts) {
        self.counts = counts.clone();
    }

    /// It is answered with this status.
    pub(super) fn end(mut self, status: u16) {
        self.is_over = true;
        self.counts.answered(self.verb, status, Some(self.began.elapsed()));
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        if !self.is_over {
            self.counts.answered(self.verb, GONE, None);
        }
    }
}
