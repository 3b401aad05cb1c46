//! How long things take, counted by how long.

use std::{
    fmt::{self, Display},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Times, counted between fixed bounds.
#[derive(Debug, Default)]
pub struct Histogram {
    counts: [AtomicU64; BOUNDS.len() + 1],
    nanoseconds: AtomicU64,
}

/// What a histogram had seen at one time, or several together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    counts: [u64; BOUNDS.len() + 1],
    nanoseconds: u64,
    /// How many times were noted.
    pub count: u64,
}

impl Histogram {
    /// Notes one time.
    pub fn note(&self, took: Duration) {
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let place = BOUNDS.partition_point(|(bound, _)| *bound < nanoseconds);
        if let Some(count) = self.counts.get(place) {
            count.fetch_add(1, Relaxed);
        }
        self.nanoseconds.fetch_add(nanoseconds, Relaxed);
    }

    /// What was noted so far.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot::default();
        snapshot.add(self);
        snapshot
    }
}

impl Snapshot {
    /// Adds what another histogram has seen.
    pub fn add(&mut self, histogram: &Histogram) {
        for (sum, count) in self.counts.iter_mut().zip(&histogram.counts) {
            let count = count.load(Relaxed);
            *sum = sum.saturating_add(count);
            self.count = self.count.saturating_add(count);
        }
        let nanoseconds = histogram.nanoseconds.load(Relaxed);
        self.nanoseconds = self.nanoseconds.saturating_add(nanoseconds);
    }

    /// Each bound, in seconds, and how many times were not above it.
    pub(super) fn buckets(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let bounds = BOUNDS.iter().map(|(_, bound)| *bound).chain(["+Inf"]);
        let mut below = 0_u64;
        bounds.zip(&self.counts).map(move |(bound, count)| {
            below = below.saturating_add(*count);
            (bound, below)
        })
    }

    /// All times together.
    pub(super) const fn seconds(&self) -> impl Display + use<> {
        Seconds(self.nanoseconds)
    }
}

/// Nanoseconds, shown as seconds.
struct Seconds(u64);

impl Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = Duration::from_nanos(self.0);
        write!(f, "{}.{:09}", time.as_secs(), time.subsec_nanos())
    }
}

/// In nanoseconds, and as they are told: from what the gateway alone takes to what a patient client waits for.
const BOUNDS: [(u64, &str); 15] = [
    (500_000, "0.0005"),
    (1_000_000, "0.001"),
    (2_500_000, "0.0025"),
    (5_000_000, "0.005"),
    (10_000_000, "0.01"),
    (25_000_000, "0.025"),
    (50_000_000, "0.05"),
    (100_000_000, "0.1"),
    (250_000_000, "0.25"),
    (500_000_000, "0.5"),
    (1_000_000_000, "1"),
    (2_500_000_000, "2.5"),
    (5_000_000_000, "5"),
    (10_000_000_000, "10"),
    (30_000_000_000, "30"),
];
