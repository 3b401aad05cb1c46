//! Figures for an operator's monitoring: named gauges and counters, each with few labels, told as text that Prometheus
//! reads.
//!
//! Whoever has a figure makes it by `default`, keeps a clone, and adds it under its name once. Knows no figure by itself,
//! and not who may read them. Labels are bounded: a state or an asset, never a payer, a channel or a path.
//! Source: OpenMetrics 1.0, text format; operations.md section 2.5.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicI64, AtomicU64},
};

use prometheus_client::{
    encoding::text::encode,
    metrics::{counter, family::Family, gauge},
    registry::Registry,
};

/// All figures of this process. Clones share them.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Mutex<Registry>>);

/// Values that rise and fall, one for each set of labels. Clones share them; one that was never set is not told.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Family<Labels, gauge::Gauge<i64, AtomicI64>>);

/// Values that rise, one for each set of labels. Clones share them; one that was never raised is not told.
#[derive(Clone, Debug, Default)]
pub struct Counter(Family<Labels, counter::Counter<u64, AtomicU64>>);

type Labels = Vec<(&'static str, String)>;

impl Default for Metrics {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Registry::with_prefix("gateway"))))
    }
}

impl Metrics {
    /// Tells `gauge` from now on as `gateway_NAME`. Once for each name; its unit is the name's last word, and `help` is a
    /// sentence without its period.
    pub fn add_gauge(&self, name: &str, help: &str, gauge: &Gauge) {
        self.registry().register(name, help, gauge.0.clone());
    }

    /// Tells `counter` from now on as `gateway_NAME_total`; as [`Metrics::add_gauge`].
    pub fn add_counter(&self, name: &str, help: &str, counter: &Counter) {
        self.registry().register(name, help, counter.0.clone());
    }

    /// All figures as they are now, as [`MEDIA_TYPE`].
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry()).expect("a string takes whatever is written");
        text
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gauge {
    /// Sets the value for `labels`; what is beyond 2^63 is told as that.
    pub fn set(&self, labels: &[(&'static str, &str)], value: impl TryInto<i64>) {
        self.0.get_or_create(&owned(labels)).set(value.try_into().unwrap_or(i64::MAX));
    }

    /// Tells no value for `labels` any more.
    pub fn unset(&self, labels: &[(&'static str, &str)]) {
        self.0.remove(&owned(labels));
    }
}

impl Counter {
    /// Raises the value for `labels`.
    pub fn add(&self, labels: &[(&'static str, &str)], value: u64) {
        self.0.get_or_create(&owned(labels)).inc_by(value);
    }
}

fn owned(labels: &[(&'static str, &str)]) -> Labels {
    labels.iter().map(|(key, value)| (*key, (*value).to_owned())).collect()
}

/// What [`Metrics::text`] is.
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_told_by_name_and_labels_once_there_are_any() {
        let metrics = Metrics::default();
        let (owed, sent) = (Gauge::default(), Counter::default());
        metrics.add_gauge("owed_base_units", "What is owed", &owed);
        metrics.add_counter("sent", "What was sent", &sent);
        assert_eq!(metrics.text(), "# EOF\n");
        owed.set(&[("asset", "a \"b\"")], u128::MAX);
        owed.set(&[("asset", "c")], 5_u64);
        owed.set(&[("asset", "c")], 4_u64);
        owed.unset(&[("asset", "d")]);
        sent.add(&[], 2);
        sent.add(&[], 1);
        let text = metrics.text();
        let mut lines: Vec<_> = text.lines().collect();
        lines[2..4].sort_unstable();
        let expected = [
            "# HELP gateway_owed_base_units What is owed.",
            "# TYPE gateway_owed_base_units gauge",
            "gateway_owed_base_units{asset=\"a \\\"b\\\"\"} 9223372036854775807",
            "gateway_owed_base_units{asset=\"c\"} 4",
            "# HELP gateway_sent What was sent.",
            "# TYPE gateway_sent counter",
            "gateway_sent_total{} 3",
            "# EOF",
        ];
        assert_eq!(lines, expected);
    }
}
