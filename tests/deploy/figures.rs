//! Alerts and the dashboard name only figures that the gateway tells.

use std::{collections::BTreeSet, fs, path::Path};

use crate::{
    monitoring::{RULES, questions},
    tools::{read, tree},
};

/// What the source gives to what makes a figure, as a literal; it says neither the prefix nor what its kind adds.
#[test]
fn alerts_and_dashboard_name_only_figures_that_there_are() {
    let mut source = String::new();
    read_all(&tree("src"), &mut source);
    let told = told_in(&source);
    let is_told = |name: &str| {
        let name = name.strip_prefix("gateway_").unwrap();
        let ends = ["", "_total", "_bucket", "_sum", "_count"];
        ends.iter().any(|end| name.strip_suffix(end).is_some_and(|name| told.contains(name)))
    };
    let mut asked = names_in(&read(RULES));
    assert!(asked.len() > 8, "{asked:?}");
    asked.extend(questions().iter().flat_map(|question| names_in(question)));
    let unknown: Vec<_> = asked.iter().filter(|name| !is_told(name)).collect();
    assert!(unknown.is_empty(), "the gateway tells no {unknown:?}");
    assert!(!is_told("gateway_channel_refund_deadline_second"), "it looks");
}

#[test]
fn a_figure_is_what_is_made_one() {
    let source = "page.family(\n  \"requests_total\", Kind::Counter, \"a\"); x(\"paid\"); add(\"channels\", \"b\")";
    assert_eq!(told_in(source), BTreeSet::from(["requests_total", "channels"]));
    let asked = names_in("sum by (a) (rate(gateway_a_total{b=\"c\"}[5m])) > gateway_b");
    assert_eq!(asked, BTreeSet::from(["gateway_a_total".to_owned(), "gateway_b".to_owned()]));
}

fn told_in(source: &str) -> BTreeSet<&str> {
    let parts: Vec<&str> = source.split('"').collect();
    let is_made = |before: &str| MAKERS.iter().any(|maker| before.trim_end().ends_with(maker));
    let pairs = parts.windows(2).filter(|pair| is_made(pair[0]));
    pairs.map(|pair| pair[1]).collect()
}

fn names_in(text: &str) -> BTreeSet<String> {
    let is_of_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let words = text.split(|letter| !is_of_name(letter));
    words.filter(|word| word.starts_with("gateway_")).map(str::to_owned).collect()
}

fn read_all(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_all(&path, text);
        } else if path.extension().is_some_and(|end| end == "rs") {
            text.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

const MAKERS: &[&str] = &["family(", "add(", "add_gauge(", "add_counter(", "add_histogram("];
