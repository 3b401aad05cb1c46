//! How long calls to others take, by what is called and how it ends: for calls that take so long that a lock is nothing.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::{
    histogram::Histogram,
    page::{Family, Labels},
};

/// Times of calls. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Timings(Arc<Mutex<Calls>>);

/// By what is called, and how it ended.
type Calls = BTreeMap<(&'static str, &'static str), Arc<Histogram>>;

impl Timings {
    /// Notes a call that took so long and ended so.
    pub fn note(&self, call: &'static str, outcome: &'static str, took: Duration) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let histogram = all.entry((call, outcome)).or_default().clone();
        drop(all);
        histogram.note(took);
    }

    /// Tells them, with what is called under the label `call`.
    pub fn tell(&self, family: &mut Family<'_>, labels: &Labels<'_>, call: &str) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for ((name, outcome), histogram) in all {
            let labels = [labels, &[(call, name), ("outcome", outcome)]].concat();
            family.tell_histogram(&labels, &histogram.snapshot());
        }
    }
}

/// How a call ended, as a label.
#[must_use]
pub const fn outcome<T, E>(result: &Result<T, E>) -> &'static str {
    if result.is_ok() { "ok" } else { "error" }
}
