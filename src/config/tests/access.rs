//! The section `access_log`: the lines of requests.

use insta::assert_snapshot;

use super::{SHORT, read};
use crate::telemetry::access::{Format, Output, Settings};

fn text(log: &str) -> String {
    format!("{SHORT}access_log: {log}\n")
}

fn good(log: &str) -> Settings {
    read(&text(log)).unwrap_or_else(|faults| panic!("{faults}")).access_log.unwrap()
}

fn bad(log: &str) -> String {
    read(&text(log)).unwrap_err()
}

#[test]
fn lines_are_json_on_stdout_unless_the_section_says_otherwise() {
    assert!(read(SHORT).unwrap().access_log.is_none());
    let usual =
        Settings { format: Format::Json, output: Output::Stdout, unpaid_per_million: 1_000_000 };
    assert_eq!(good("{}"), usual);
    let file = good("{ format: combined, output: ./access.log, sample_unpaid: 0.1 }");
    assert_eq!((file.format, file.unpaid_per_million), (Format::Combined, 100_000));
    let Output::File(path) = file.output else { panic!("{file:?}") };
    assert!(path.ends_with("access.log"), "{}", path.display());
    assert_eq!(good("{ output: stderr }").output, Output::Stderr);
    for (given, share) in [("0", 0), ("1", 1_000_000), ("1.0", 1_000_000), ("0.000001", 1)] {
        let read = good(&format!("{{ sample_unpaid: {given} }}"));
        assert_eq!(read.unpaid_per_million, share, "{given}");
    }
}

#[test]
fn what_is_no_form_and_no_share_is_told() {
    assert_snapshot!(bad("{ format: text, sample_unpaid: 10% }"), @r"
    gateway.yaml:14:23: access_log.format: `text` is no form of a line

    hint: write `json` or `combined`
    gateway.yaml:14:44: access_log.sample_unpaid: `10%` is no share

    hint: write a number from 0 to 1, such as `0.1`
    ");
    for share in ["2", "1.000001", "0.0000001", "-1", ".5", "0."] {
        let told = bad(&format!("{{ sample_unpaid: {share} }}"));
        assert!(told.contains("is no share"), "{share}: {told}");
    }
}
