//! Figures for an operator's monitoring: named gauges and counters, each with few labels, told as text that Prometheus
//! reads.
//!
//! Whoever has a figure that changes now and then makes it by `default`, keeps a clone, and adds it under its name once;
//! what is found out when it is asked for, or counted in its own way, is told by a source. Knows no figure by itself,
//! and not who may read them. Labels are bounded: a state or an asset, never a payer, a channel or a path.
//! Source: operations.md section 2.5.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, AtomicU64},
    },
};

use prometheus_client::{
    encoding::text::encode,
    metrics::{counter, family::Family, gauge},
    registry::Registry,
};

use super::page::Page;

/// All figures of a gateway. Clones share them.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Figures>);

struct Figures {
    registry: Mutex<Registry>,
    sources: Mutex<Vec<Source>>,
}

type Source = Box<dyn Fn(&mut Page) + Send + Sync>;

/// Values that rise and fall, one for each set of labels. Clones share them; one that was never set is not told.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Family<Labels, gauge::Gauge<i64, AtomicI64>>);

/// Values that rise, one for each set of labels. Clones share them; one that was never raised is not told.
#[derive(Clone, Debug, Default)]
pub struct Counter(Family<Labels, counter::Counter<u64, AtomicU64>>);

type Labels = Vec<(&'static str, String)>;

impl Default for Metrics {
    fn default() -> Self {
        Self(Arc::new(Figures {
            registry: Mutex::new(Registry::with_prefix("gateway")),
            sources: Mutex::default(),
        }))
    }
}

impl fmt::Debug for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Figures").finish_non_exhaustive()
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

    /// Has `source` tell what it has, whenever the figures are asked for. It must not wait for anything.
    pub fn add_source(&self, source: impl Fn(&mut Page) + Send + Sync + 'static) {
        self.0.sources.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(source));
    }

    /// All figures as they are now, as [`MEDIA_TYPE`](super::page::MEDIA_TYPE).
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry()).expect("a string takes whatever is written");
        let mut page = Page::default();
        page.take_over(&text);
        let sources = self.0.sources.lock().unwrap_or_else(PoisonError::into_inner);
        sources.iter().for_each(|source| source(&mut page));
        page.into_text()
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.0.registry.lock().unwrap_or_else(PoisonError::into_inner)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::page::Kind;

    #[test]
    fn figures_are_told_by_name_and_labels_once_there_are_any() {
        let metrics = Metrics::default();
        let (owed, sent) = (Gauge::default(), Counter::default());
        metrics.add_gauge("owed_base_units", "What is owed", &owed);
        metrics.add_counter("sent", "What was sent", &sent);
        assert_eq!(metrics.text(), "");
        metrics.add_source(|page| page.family("up", Kind::Gauge, "Whether it runs").tell(&[], 1));
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
            "# HELP gateway_sent_total What was sent.",
            "# TYPE gateway_sent_total counter",
            "gateway_sent_total{} 3",
            "# HELP gateway_up Whether it runs.",
            "# TYPE gateway_up gauge",
            "gateway_up 1",
        ];
        assert_eq!(lines, expected);
    }
}
