//! A strict reading of the text that Prometheus reads.

use std::collections::{BTreeMap, BTreeSet};

/// The values of a page, by series.
#[derive(Clone, Debug, Default)]
pub(crate) struct Page(BTreeMap<Series, String>);

/// A name with its labels, in the order of their names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Series {
    name: String,
    labels: BTreeMap<String, String>,
}

impl Page {
    /// Reads a page; panics at whatever `promtool check metrics` would not like, and at more.
    pub(crate) fn read(text: &str) -> Self {
        let mut page = Self::default();
        let mut families = BTreeSet::new();
        let mut family: Option<(String, String)> = None;
        let mut help = None;
        for line in text.lines() {
            if let Some(said) = line.strip_prefix("# HELP ") {
                let (name, sentence) = said.split_once(' ').unwrap();
                assert!(sentence.ends_with('.') && sentence.len() > 8, "{line}");
                help = Some(name.to_owned());
            } else if let Some(said) = line.strip_prefix("# TYPE ") {
                let (name, kind) = said.split_once(' ').unwrap();
                assert_eq!(help.take().as_deref(), Some(name), "{line}");
                assert!(families.insert(name.to_owned()), "told twice: {line}");
                assert!(name.starts_with("gateway_"), "{line}");
                assert!(
                    name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'),
                    "{line}"
                );
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                family = Some((name.to_owned(), kind.to_owned()));
            } else {
                let (series, value) = Series::read(line);
                let (name, kind) = family.as_ref().expect("a family before its values");
                let part = series.name.strip_prefix(name.as_str()).expect(line);
                let parts: &[&str] =
                    if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
                assert!(parts.contains(&part), "{line}");
                assert!(value.parse::<f64>().is_ok_and(f64::is_finite), "{line}");
                assert!(page.0.insert(series, value).is_none(), "told twice: {line}");
            }
        }
        page.check_histograms();
        page
    }

    /// The value of one series; 0 if it is not told.
    #[track_caller]
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> u128 {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let series = Series { name: name.to_owned(), labels: labels.collect() };
        self.0.get(&series).map_or(0, |value| value.parse().unwrap())
    }

    /// The values of all series of a name whose labels include these, added up.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> u128 {
        let fits = |series: &Series| {
            series.name == name
                && labels
                    .iter()
                    .all(|(name, value)| series.labels.get(*name).is_some_and(|is| is == value))
        };
        let found = self.0.iter().filter(|(series, _)| fits(series));
        found.map(|(_, value)| value.parse::<u128>().unwrap()).sum()
    }

    /// The same page, whose counters are told as if they had begun when `before` was read.
    pub(crate) fn since(mut self, before: &Self) -> Self {
        for (series, value) in &mut self.0 {
            let counts = ["_total", "_count"].iter().any(|end| series.name.ends_with(end));
            if let Some(before) = before.0.get(series).filter(|_| counts) {
                let [now, before] = [&*value, before].map(|text| text.parse::<u128>().unwrap());
                *value = (now - before).to_string();
            }
        }
        self
    }

    /// The labels of every series of a name.
    pub(crate) fn labels(&self, name: &str) -> Vec<BTreeMap<String, String>> {
        let of_name = self.0.keys().filter(|series| series.name == name);
        of_name.map(|series| series.labels.clone()).collect()
    }

    /// Buckets rise with their bounds, and the last has all.
    fn check_histograms(&self) {
        let mut all: BTreeMap<Series, Vec<(f64, u128)>> = BTreeMap::new();
        for (series, value) in &self.0 {
            let Some(name) = series.name.strip_suffix("_bucket") else { continue };
            let mut labels = series.labels.clone();
            let bound = labels.remove("le").expect("a bucket has a bound");
            let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().unwrap() };
            let of = Series { name: format!("{name}_count"), labels };
            all.entry(of).or_default().push((bound, value.parse().unwrap()));
        }
        for (count, mut buckets) in all {
            buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
            assert!(buckets.is_sorted_by_key(|(_, below)| *below), "{count:?} {buckets:?}");
            let (bound, last) = *buckets.last().unwrap();
            assert!(bound.is_infinite(), "{count:?}");
            assert_eq!(self.0[&count], last.to_string(), "{count:?}");
        }
    }
}

impl Series {
    fn read(line: &str) -> (Self, String) {
        let (series, value) = line.rsplit_once(' ').expect(line);
        let (name, labels) = match series.split_once('{') {
            None => (series, ""),
            Some((name, labels)) => (name, labels.strip_suffix('}').expect(line)),
        };
        let mut read = BTreeMap::new();
        let mut rest = labels;
        while !rest.is_empty() {
            let (name, behind) = rest.split_once("=\"").expect(line);
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{line}");
            let (value, behind) = unquoted(behind).expect(line);
            assert!(read.insert(name.to_owned(), value).is_none(), "{line}");
            rest = behind.strip_prefix(',').unwrap_or(behind);
            assert_eq!(behind.is_empty(), rest.is_empty(), "{line}");
        }
        (Self { name: name.to_owned(), labels: read }, value.to_owned())
    }
}

/// What stands before the closing quote, and what behind it.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match letters.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            other => value.push(other),
        }
    }
    None
}
