//! The text that Prometheus reads: families of figures, each with what it is and its values.
//!
//! Knows the form and no figure. A family without a value is not told.
//! Source: Prometheus text format 0.0.4.

use std::fmt::{self, Display, Write as _};

use super::histogram::Snapshot;

/// A page of figures that is being written.
#[derive(Debug, Default)]
pub struct Page(String);

/// A family of it.
#[derive(Debug)]
pub struct Family<'p> {
    page: &'p mut Page,
    name: &'p str,
    kind: Kind,
    help: &'p str,
    is_begun: bool,
}

/// What the values of a family do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// They rise; the name ends with `_total`.
    Counter,
    /// They rise and fall.
    Gauge,
    /// They are counted by their size.
    Histogram,
}

/// Names and values that tell the values of a family apart.
pub type Labels<'l> = [(&'l str, &'l str)];

impl Page {
    /// Begins the family `gateway_NAME`; `help` is a sentence.
    pub fn family<'p>(&'p mut self, name: &'p str, kind: Kind, help: &'p str) -> Family<'p> {
        Family { page: self, name, kind, help, is_begun: false }
    }

    /// The text.
    #[must_use]
    pub fn into_text(self) -> String {
        self.0
    }

    /// Takes over what was written in OpenMetrics, where a counter's family has not its `_total`.
    pub(super) fn take_over(&mut self, openmetrics: &str) {
        let mut help = None;
        for line in openmetrics.lines() {
            if let Some(said) = line.strip_prefix("# HELP ") {
                help = said.split_once(' ');
            } else if let Some((name, kind)) =
                line.strip_prefix("# TYPE ").and_then(|said| said.split_once(' '))
            {
                let end = if kind == "counter" { "_total" } else { "" };
                if let Some((_, help)) = help.take() {
                    self.line(format_args!("# HELP {name}{end} {help}"));
                }
                self.line(format_args!("# TYPE {name}{end} {kind}"));
            } else if !line.starts_with('#') {
                self.line(format_args!("{line}"));
            }
        }
    }

    fn line(&mut self, line: fmt::Arguments<'_>) {
        writeln!(self.0, "{line}").expect("a string takes whatever is written");
    }

    fn sample(&mut self, name: &str, end: &str, labels: &Labels<'_>, value: &dyn Display) {
        let labels = Braces(labels);
        self.line(format_args!("{PREFIX}{name}{end}{labels} {value}"));
    }
}

impl Family<'_> {
    /// Tells one value.
    pub fn tell(&mut self, labels: &Labels<'_>, value: impl Display) {
        self.begin();
        self.page.sample(self.name, "", labels, &value);
    }

    /// Tells a histogram, if there is anything in it.
    pub fn tell_histogram(&mut self, labels: &Labels<'_>, snapshot: &Snapshot) {
        if snapshot.count == 0 {
            return;
        }
        self.begin();
        let mut with_bound = labels.to_vec();
        for (bound, count) in snapshot.buckets() {
            with_bound.push(("le", bound));
            self.page.sample(self.name, "_bucket", &with_bound, &count);
            with_bound.pop();
        }
        self.page.sample(self.name, "_sum", labels, &snapshot.seconds());
        self.page.sample(self.name, "_count", labels, &snapshot.count);
    }

    fn begin(&mut self) {
        if !self.is_begun {
            self.is_begun = true;
            let Self { name, help, .. } = self;
            let kind = match self.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram => "histogram",
            };
            self.page.line(format_args!("# HELP {PREFIX}{name} {help}."));
            self.page.line(format_args!("# TYPE {PREFIX}{name} {kind}"));
        }
    }
}

struct Braces<'l>(&'l Labels<'l>);

impl Display for Braces<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut before = '{';
        for (name, value) in self.0 {
            write!(f, "{before}{name}=\"")?;
            for letter in value.chars() {
                match letter {
                    '\\' | '"' => write!(f, "\\{letter}")?,
                    '\n' => f.write_str("\\n")?,
                    other => f.write_char(other)?,
                }
            }
            f.write_char('"')?;
            before = ',';
        }
        if self.0.is_empty() { Ok(()) } else { f.write_char('}') }
    }
}

/// What [`Page::into_text`] is.
pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
/// What every name begins with.
const PREFIX: &str = "gateway_";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::telemetry::histogram::Histogram;

    #[test]
    fn families_are_told_with_their_kind_and_labels_are_escaped() {
        let mut page = Page::default();
        page.family("none_total", Kind::Counter, "Nothing");
        let mut family = page.family("asked_total", Kind::Counter, "What was asked");
        family.tell(&[("route", "a \"b\" \\ c\n")], 3_u64);
        family.tell(&[], u128::MAX);
        let expected = [
            "# HELP gateway_asked_total What was asked.",
            "# TYPE gateway_asked_total counter",
            r#"gateway_asked_total{route="a \"b\" \\ c\n"} 3"#,
            "gateway_asked_total 340282366920938463463374607431768211455",
        ];
        assert_eq!(page.into_text().lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_histogram_is_told_by_bounds_that_each_count_all_below() {
        let histogram = Histogram::default();
        for millis in [1, 2, 2, 40_000] {
            histogram.note(Duration::from_millis(millis));
        }
        let mut page = Page::default();
        let mut family = page.family("wait_seconds", Kind::Histogram, "How long");
        family.tell_histogram(&[("route", "a")], &Snapshot::default());
        family.tell_histogram(&[("route", "b")], &histogram.snapshot());
        let text = page.into_text();
        assert!(!text.contains("route=\"a\""), "{text}");
        for line in [
            r#"gateway_wait_seconds_bucket{route="b",le="0.0005"} 0"#,
            r#"gateway_wait_seconds_bucket{route="b",le="0.001"} 1"#,
            r#"gateway_wait_seconds_bucket{route="b",le="0.0025"} 3"#,
            r#"gateway_wait_seconds_bucket{route="b",le="30"} 3"#,
            r#"gateway_wait_seconds_bucket{route="b",le="+Inf"} 4"#,
            r#"gateway_wait_seconds_sum{route="b"} 40.005000000"#,
            r#"gateway_wait_seconds_count{route="b"} 4"#,
        ] {
            assert!(text.lines().any(|told| told == line), "{line}\n{text}");
        }
    }
}
