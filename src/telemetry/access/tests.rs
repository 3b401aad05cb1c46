use std::fs;

use serde_json::Value;

use super::*;
use crate::protocol::{
    money::Amount,
    stellar::{Address, ContractId, TxHash},
};

fn settings(path: PathBuf, format: Format, unpaid_per_million: u32) -> Settings {
    Settings { format, output: Output::File(path), unpaid_per_million }
}

fn asked(target: &str) -> Asked {
    Asked {
        method: Method::GET,
        target: target.parse().unwrap(),
        client: Some([192, 0, 2, 7].into()),
        bytes_in: Some(5),
        id: HeaderValue::from_static("abc"),
        trace: None,
    }
}

fn open(settings: Settings) -> AccessLog {
    AccessLog::open(settings, Clock::fixed(1_700_000_000)).unwrap()
}

#[tokio::test]
async fn a_line_tells_what_became_of_a_request_and_no_query() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let log = open(settings(path.clone(), Format::Json, 0));
    let ticket = log.begin(asked("/weather/%22x?key=secret"));
    ticket.enter(&"weather".into(), Some("api"));
    ticket.note_upstream(Duration::from_millis(3));
    let worth = Worth {
        payer: Some(Address::Contract(ContractId([2; 32]))),
        channel: Some((ContractId([3; 32]), Amount::from_units(70).unwrap())),
        transaction: Some(TxHash([4; 32])),
        ..Worth::of(ContractId([1; 32]), Amount::from_units(7).unwrap())
    };
    ticket.note_payment(Rail::Channel, Outcome::Delivered, Some(worth));
    ticket.answered(200);
    ticket.note_sent(17);
    drop(ticket);
    drop(log.begin(asked("/gone")));
    log.flush().await;
    assert_eq!(log.counts(), (2, 0));
    let text = fs::read_to_string(path).unwrap();
    assert!(!text.contains("secret"), "{text}");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (name, value) in [
        ("ts", "2023-11-14T22:13:20.000Z".into()),
        ("level", "info".into()),
        ("method", "GET".into()),
        ("path", "/weather/%22x".into()),
        ("route", "weather".into()),
        ("status", 200.into()),
        ("bytes_in", 5.into()),
        ("bytes_out", 17.into()),
        ("upstream", "api".into()),
        ("upstream_ms", 3.0.into()),
        ("request_id", "abc".into()),
        ("trace_id", Value::Null),
        ("client_ip", "192.0.2.7".into()),
    ] {
        assert_eq!(lines[0][name], value, "{name}");
    }
    let payment = &lines[0]["payment"];
    for (name, value) in [
        ("method", "mpp.channel".to_owned()),
        ("outcome", "delivered".to_owned()),
        ("amount", "7".to_owned()),
        ("asset", ContractId([1; 32]).to_string()),
        ("payer", ContractId([2; 32]).to_string()),
        ("channel", ContractId([3; 32]).to_string()),
        ("cumulative", "70".to_owned()),
        ("tx", "04".repeat(32)),
    ] {
        assert_eq!(payment[name], Value::String(value), "{name}");
    }
    assert_eq!(lines[1]["status"], 499);
}

#[tokio::test]
async fn one_in_ten_of_those_that_pay_nothing_has_a_line_and_each_that_pays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let log = open(settings(path.clone(), Format::Combined, 100_000));
    for n in 0..100 {
        let unpaid = log.begin(asked("/a"));
        unpaid.note_unpaid();
        // Whatever status stands for that: gRPC has one of its own.
        unpaid.answered([402, 429, 200][n % 3]);
        drop(unpaid);
        if n < 3 {
            let paid = log.begin(asked("/b"));
            paid.note_payment(Rail::X402, Outcome::Rejected, None);
            paid.answered(402);
        }
    }
    log.flush().await;
    let text = fs::read_to_string(path).unwrap();
    let count = |path: &str| text.lines().filter(|line| line.contains(path)).count();
    assert_eq!((count("GET /a "), count("GET /b ")), (10, 3), "{text}");
    let line = r#"192.0.2.7 - - [14/Nov/2023:22:13:20 +0000] "GET /a HTTP" 402 0 "-" "-" abc"#;
    assert!(text.lines().any(|told| told == line), "{text}");
}

/// A flood that nobody is asked to pay for, on a disk that hangs, leaves room for what was paid.
#[tokio::test]
async fn a_flood_of_other_lines_loses_no_line_of_what_was_paid() {
    let folder = tempfile::tempdir().unwrap();
    let (pipe, reader) = hanging(&folder);
    let log = open(settings(pipe, Format::Json, 1_000_000));
    for n in 0..MOST_WAITING * 2 {
        let ticket = log.begin(asked("/a"));
        match n % 3 {
            0 => ticket.note_unpaid(),
            1 => ticket.note_payment(Rail::X402, Outcome::Rejected, None),
            _ => {}
        }
    }
    let (_, lost) = log.counts();
    assert!(lost > 0, "{lost}");
    for _ in 0..KEPT_FOR_MONEY {
        log.begin(asked("/b")).note_payment(Rail::X402, Outcome::Delivered, None);
    }
    assert_eq!(log.counts().1, lost);
    drop(reader);
}

/// A pipe that nobody reads, and its other end: opened for reading too, or else to open it would hang.
fn hanging(folder: &tempfile::TempDir) -> (PathBuf, File) {
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let reader = OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
    (pipe, reader)
}

#[tokio::test]
async fn a_file_that_was_moved_away_is_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (path, moved) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
    let log = open(settings(path.clone(), Format::Combined, 0));
    drop(log.begin(asked("/before")));
    log.flush().await;
    fs::rename(&path, &moved).unwrap();
    log.reopen();
    drop(log.begin(asked("/behind")));
    log.flush().await;
    let (old, new) = (fs::read_to_string(moved).unwrap(), fs::read_to_string(path).unwrap());
    assert!(old.contains("/before") && !old.contains("/behind"), "{old}");
    assert!(new.contains("/behind") && !new.contains("/before"), "{new}");
}

/// A disk that hangs, as a pipe that nobody reads does.
#[tokio::test]
async fn a_slow_disk_loses_lines_and_delays_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let (pipe, reader) = hanging(&folder);
    let log = open(settings(pipe, Format::Json, 0));
    let count = u64::try_from(MOST_WAITING * 2).unwrap();
    for _ in 0..count {
        drop(log.begin(asked("/a")));
    }
    let (_, lost) = log.counts();
    assert!(lost > 0 && lost < count, "{lost}");
    drop(reader);
}

#[tokio::test]
async fn a_file_that_cannot_be_opened_is_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("missing").join("access.log");
    let refused = AccessLog::open(settings(path, Format::Json, 0), Clock::system());
    assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::NotFound);
}
