use clap::Parser as _;
use insta::assert_snapshot;

use super::*;

const OPEN: &str = "CABAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAFNSZ";
const OVER: &str = "CABQGAYDAMBQGAYDAMBQGAYDAMBQGAYDAMBQGAYDAMBQGAYDAMBQHZAW";

#[derive(Debug, clap::Parser)]
struct Line {
    #[command(flatten)]
    arguments: Arguments,
}

fn parse(line: &str) -> Result<Arguments, clap::error::ErrorKind> {
    let line = Line::try_parse_from(["channels"].into_iter().chain(line.split_whitespace()));
    line.map(|line| line.arguments).map_err(|error| error.kind())
}

fn told() -> Value {
    json!({ "channels": [
        {
            "channel": OPEN, "state": "open", "asset": { "name": "USDC", "decimals": 7 },
            "authorised": "30000", "spent": "20000", "delivered": "15000", "settled": "0",
            "at_risk": "15000", "deposited": "10000000", "deadline": null, "unsettled_since": 0,
            "used_at": 1_700_000_000, "live_until": 99, "collecting": null, "closed_by": null,
        },
        {
            "channel": OVER, "state": "closed", "asset": null,
            "authorised": "170141183460469231731687303715884105727", "spent": "1",
            "delivered": "1", "settled": "1", "at_risk": "0", "deposited": null,
            "deadline": { "ledger": 77, "seconds": 7_265 }, "unsettled_since": null,
            "used_at": 0, "live_until": null, "collecting": null, "closed_by": "ab",
        },
    ] })
}

fn channels() -> Vec<Channel> {
    port::read::<Listed>(&told()).unwrap().channels
}

#[test]
fn channels_are_written_as_plain_columns() {
    assert_snapshot!(table::list(&channels()), @r"
    CHANNEL                                                   STATE   ASSET       AUTHORISED                               SPENT  SETTLED  AT RISK  DEADLINE
    CABAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAFNSZ  open    USDC        0.003                                    0.002  0        0.0015   -
    CABQGAYDAMBQGAYDAMBQGAYDAMBQGAYDAMBQGAYDAMBQGAYDAMBQHZAW  closed  base units  170141183460469231731687303715884105727  1      1        0        ledger 77, in 2h1m
    ");
    assert_snapshot!(table::list(&[]), @"nothing was paid from a channel yet");
    assert_snapshot!(table::show(&channels()[0]), @r"
    channel          CABAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAFNSZ
    state            open
    authorised       0.003 USDC
    spent            0.002 USDC
    delivered        0.0015 USDC
    settled          0 USDC
    at risk          0.0015 USDC
    deposited        1 USDC
    deadline         -
    unsettled since  1970-01-01T00:00:00Z
    last used        2023-11-14T22:13:20Z
    lives until      ledger 99
    collecting       -
    closed by        -
    ");
    assert_snapshot!(table::show(&channels()[1]), @r"
    channel          CABQGAYDAMBQGAYDAMBQGAYDAMBQGAYDAMBQGAYDAMBQGAYDAMBQHZAW
    state            closed
    authorised       170141183460469231731687303715884105727 base units
    spent            1 base units
    delivered        1 base units
    settled          1 base units
    at risk          0 base units
    deposited        -
    deadline         ledger 77, in 2h1m
    unsettled since  -
    last used        1970-01-01T00:00:00Z
    lives until      -
    collecting       -
    closed by        ab
    ");
}

#[test]
fn deadlines_are_told_in_the_unit_that_people_would_use() {
    let mut channel = channels().remove(0);
    let mut deadline = |seconds| {
        channel.deadline = Some(Deadline { ledger: 9, seconds });
        let shown = table::show(&channel);
        shown.lines().find_map(|line| line.strip_prefix("deadline         ")).unwrap().to_owned()
    };
    assert_eq!(deadline(59), "ledger 9, in 59s");
    assert_eq!(deadline(60), "ledger 9, in 1m");
    assert_eq!(deadline(3_599), "ledger 9, in 59m");
    assert_eq!(deadline(3_660), "ledger 9, in 1h1m");
}

#[test]
fn outcomes_are_a_line_a_channel() {
    let outcome: ClosedAll = port::read(&json!({
        "closed": [
            { "channel": OPEN, "transaction": "09", "settled": "15000", "closed": true },
            { "channel": OVER, "transaction": null, "settled": "1", "closed": true },
        ],
        "nothing_to_collect": [OPEN],
        "failed": [{ "channel": OVER, "error": "the fee budget for collecting is spent" }],
    }))
    .unwrap();
    assert_snapshot!(outcome.lines(&channels()), @r"
    CABAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAFNSZ: closed, 0.0015 USDC in all, transaction 09
    CABQGAYDAMBQGAYDAMBQGAYDAMBQGAYDAMBQGAYDAMBQGAYDAMBQHZAW: closed, 1 base units in all, not by a transaction of this gateway
    CABAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAFNSZ: left open, nothing to collect
    CABQGAYDAMBQGAYDAMBQGAYDAMBQGAYDAMBQGAYDAMBQGAYDAMBQHZAW: NOT closed, the fee budget for collecting is spent
    ");
    let previews = channels().iter().map(|channel| channel.preview("close")).collect::<Vec<_>>();
    assert_snapshot!(previews.join("\n"), @r"
    CABAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAFNSZ: would be closed, 0.0015 USDC to collect
    CABQGAYDAMBQGAYDAMBQGAYDAMBQGAYDAMBQGAYDAMBQGAYDAMBQHZAW: is closed already
    ");
}

#[test]
fn a_port_is_reached_from_the_machine_that_it_is_on() {
    let url = |address: &str| port::url_of(address.parse().unwrap());
    assert_eq!(url("127.0.0.1:9901").unwrap(), "http://127.0.0.1:9901");
    assert_eq!(url("10.0.0.7:1").unwrap(), "http://10.0.0.7:1");
    assert_eq!(url("0.0.0.0:9901").unwrap(), "http://127.0.0.1:9901");
    assert_eq!(url("[::]:9901").unwrap(), "http://[::1]:9901");
    assert_eq!(url("[::1]:9901").unwrap(), "http://[::1]:9901");
    assert!(matches!(url("127.0.0.1:0"), Err(Error::AnyPort)));
}

#[test]
fn closing_takes_one_channel_or_says_all() {
    use clap::error::ErrorKind;
    assert!(parse("list -o json --admin http://127.0.0.1:9901 --token-env TOKEN").is_ok());
    assert!(parse(&format!("close {OPEN} --dry-run")).is_ok());
    assert!(parse("close --all").is_ok());
    assert_eq!(parse("close").unwrap_err(), ErrorKind::MissingRequiredArgument);
    assert_eq!(parse(&format!("close {OPEN} --all")).unwrap_err(), ErrorKind::ArgumentConflict);
    assert_eq!(parse("settle --all").unwrap_err(), ErrorKind::UnknownArgument);
    assert_eq!(parse("show G123").unwrap_err(), ErrorKind::ValueValidation);
    assert_eq!(parse("list --admin localhost:9901").unwrap_err(), ErrorKind::ValueValidation);
}

#[test]
fn amounts_that_do_not_read_are_no_amounts() {
    for text in ["-1", "1.5", "", "170141183460469231731687303715884105728"] {
        let mut told = told();
        told["channels"][0]["at_risk"] = json!(text);
        assert!(matches!(port::read::<Listed>(&told), Err(Error::Unread(_))), "{text}");
    }
}

#[test]
fn members_are_written_with_who_is_waited_for() {
    let told = json!({ "members": [
        { "id": "09", "name": "one", "is_reconciled": true },
        { "id": "0a", "name": "two", "is_reconciled": false },
    ] });
    let Members { members } = port::read(&told).unwrap();
    assert_eq!(members[0].line(), "09 on `one`: has compared the store with its journal");
    assert!(members[1].line().starts_with("0a on `two`: is WAITED FOR"));
    let id = "0123456789abcdef0123456789abcdef";
    let dismissed = parse(&format!("dismiss {id}")).unwrap();
    assert!(matches!(dismissed.order, Order::Dismiss { member } if member.to_string() == id));
    assert!(parse("dismiss 0123").is_err());
}
