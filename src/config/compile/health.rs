//! When a server of an upstream is passed over: what its answers say, and what it says when it is asked.

use std::{ops::RangeInclusive, time::Duration};

use http::uri::PathAndQuery;

use crate::{
    config::read::{Fields, Keys, Spot},
    upstream::{Check, Eject},
};

/// `health: { path: /health, … }`: the checks that are made beside the requests.
pub(super) fn read_check(spot: &Spot<'_>) -> Option<Check> {
    let fields = spot.fields(&HEALTH)?;
    let path = fields.need("path", "say what is asked for: `path: /health`");
    let path = path.and_then(|path| read_path(&path));
    let interval = fields.duration("interval").unwrap_or(INTERVAL);
    let timeout = fields.duration("timeout");
    if let Some(timeout) = timeout.filter(|timeout| *timeout > interval) {
        let what =
            format!("a check may take {timeout:?}, and the next one comes after {interval:?}");
        return fields.get("timeout")?.fault(what, "lower `timeout`, or raise `interval`");
    }
    let (healthy_after, unhealthy_after) =
        (in_a_row(&fields, "healthy_after"), in_a_row(&fields, "unhealthy_after"));
    let expect = match fields.get("expect") {
        Some(expect) => read_expected(&expect),
        None => Some(EXPECTED),
    };
    Some(Check {
        path: path?,
        interval,
        timeout: timeout.unwrap_or_else(|| CHECK_TIMEOUT.min(interval)),
        healthy_after: healthy_after.unwrap_or(1),
        unhealthy_after: unhealthy_after.unwrap_or(3),
        expect: expect?,
    })
}

/// `eject: { after: 5, for: 1s, most: 50%, server_errors: true }`: what the answers to requests say.
pub(super) fn read_eject(spot: &Spot<'_>) -> Option<Eject> {
    let usual = Eject::default();
    let fields = spot.fields(&EJECT)?;
    let after = in_a_row(&fields, "after");
    let time = fields.duration("for");
    let most_percent = fields.get("most").and_then(|most| read_percent(&most));
    let server_errors = fields.get("server_errors").and_then(|spot| spot.flag());
    Some(Eject {
        after: after.unwrap_or(usual.after),
        time: time.unwrap_or(usual.time),
        most_percent: most_percent.unwrap_or(usual.most_percent),
        server_errors: server_errors.unwrap_or(usual.server_errors),
    })
}

fn in_a_row(fields: &Fields<'_>, key: &str) -> Option<u32> {
    fields.get(key)?.number(1..=1_000)
}

fn read_path(spot: &Spot<'_>) -> Option<PathAndQuery> {
    let text = spot.text()?;
    match PathAndQuery::try_from(text.text.as_ref()) {
        Ok(path) if text.text.starts_with('/') && !text.text.contains('#') => Some(path),
        _ => text.fault("is no path", "write the path that is asked for, such as `/health`"),
    }
}

fn read_expected(spot: &Spot<'_>) -> Option<RangeInclusive<u16>> {
    let text = spot.text()?;
    let (first, last) = text.text.split_once('-').unwrap_or((&text.text, &text.text));
    let status = |text: &str| text.trim().parse().ok().filter(|code| (200..=599).contains(code));
    match (status(first), status(last)) {
        (Some(first), Some(last)) if first <= last => Some(first..=last),
        _ => text.fault("is neither a status nor a range of them", "such as `200`, or `200-399`"),
    }
}

fn read_percent(spot: &Spot<'_>) -> Option<u32> {
    let text = spot.text()?;
    let number = text.text.strip_suffix('%').and_then(|number| number.trim_end().parse().ok());
    match number {
        Some(percent @ 0..=100_u32) => Some(percent),
        _ => text.fault("is no share of the servers", "write one from `0%` to `100%`"),
    }
}

const HEALTH: Keys = Keys {
    known: &["path", "interval", "timeout", "healthy_after", "unhealthy_after", "expect"],
    later: &[],
};
const EJECT: Keys = Keys { known: &["after", "for", "most", "server_errors"], later: &[] };

const INTERVAL: Duration = Duration::from_secs(5);
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);
const EXPECTED: RangeInclusive<u16> = 200..=399;
