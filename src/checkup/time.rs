//! This machine's clock against the network's, and whether the RPC is up to date.
//!
//! A ledger that looks old has two causes: the RPC lags, or this clock is ahead. The date in the head of the RPC's HTTP
//! answers tells them apart; where it has none, both are named.

use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http::{Request, Uri, header};

use super::Report;
use crate::{
    ledger::{
        Http,
        rpc::{self, Rpc},
    },
    telemetry::Clock,
};

/// Compares the clocks.
pub(super) async fn examine(
    http: &Http,
    url: &Uri,
    rpc: &Rpc,
    clock: &Clock,
    report: &mut Report,
) -> Result<(), rpc::Error> {
    let closed = rpc.latest_ledger().await?.closed_at;
    let date = date(http, url).await;
    judge(clock.now(), closed, date, report);
    Ok(())
}

/// What it means that it is `now` here, that the latest ledger was closed at `closed`, and that the RPC's server wrote
/// `date`.
fn judge(now: u64, closed: Option<u64>, date: Option<u64>, report: &mut Report) {
    let age = closed.map(|closed| now.saturating_sub(closed));
    if let Some(closed) = closed.filter(|closed| closed.saturating_sub(now) > TOLERANCE) {
        return behind(closed.saturating_sub(now), report);
    }
    match (age, date) {
        // The ledger is the best witness: it is no later than now, and hardly earlier.
        (Some(age), _) if age <= TOLERANCE => {
            report.fine("clock", format!("the latest ledger closed {age} s ago"));
        }
        (_, Some(date)) if now.saturating_sub(date) > TOLERANCE => {
            let off = now.saturating_sub(date);
            report.fault("clock", format!("this machine's clock is {off} s ahead"), CLOCK_HINT);
        }
        (None, Some(date)) if date.saturating_sub(now) > TOLERANCE => {
            behind(date.saturating_sub(now), report);
        }
        (Some(age), Some(_)) if age > STALE => report.fault(
            "rpc-lag",
            format!("the Stellar RPC lags: its latest ledger closed {age} s ago"),
            "wait until it has caught up, or take another one: `stellar.rpc_url`",
        ),
        (Some(age), None) if age > STALE => report.fault(
            "clock",
            format!("the latest ledger of the Stellar RPC closed {age} s ago by this machine's clock"),
            "either the clock is ahead (have it set by NTP), or the RPC lags (take another one: `stellar.rpc_url`)",
        ),
        (Some(age), _) => report.fine("clock", format!("the latest ledger closed {age} s ago")),
        (None, Some(_)) => report.fine("clock", "it agrees with the Stellar RPC's"),
        (None, None) => report.fine("clock", "the Stellar RPC tells no time to compare it with"),
    }
}

fn behind(by: u64, report: &mut Report) {
    report.fault("clock", format!("this machine's clock is {by} s behind"), CLOCK_HINT);
}

/// When the RPC's server wrote the head of an answer, whatever the answer is.
async fn date(http: &Http, url: &Uri) -> Option<u64> {
    let request = Request::get(url.clone()).body(Bytes::new()).ok()?;
    let answer = tokio::time::timeout(TIMEOUT, http.exchange(request)).await.ok()?.ok()?;
    let date = answer.headers().get(header::DATE)?.to_str().ok()?;
    let since = httpdate::parse_http_date(date).ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(since.as_secs())
}

/// How far the clock may be off, in seconds.
const TOLERANCE: u64 = 30;
/// How old the latest ledger may be, in seconds: one closes every five.
const STALE: u64 = 60;
const TIMEOUT: Duration = Duration::from_secs(10);
const CLOCK_HINT: &str = "have it set by NTP: offers and payments expire by it";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ledger_is_believed_first_and_the_date_tells_a_lag_from_a_fast_clock() {
        let judged = |closed: Option<u64>, date: Option<u64>| {
            let mut report = Report::default();
            judge(1_000, closed, date, &mut report);
            let finding = report.iter().next().unwrap();
            format!("{} {}: {}", finding.severity.as_str(), finding.name, finding.what)
        };
        for (closed, date, said) in [
            (Some(995), Some(1_000), "ok clock: the latest ledger closed 5 s ago"),
            // The date of a server whose own clock is wrong.
            (Some(995), Some(5), "ok clock: the latest ledger closed 5 s ago"),
            (Some(1_030), None, "ok clock: the latest ledger closed 0 s ago"),
            (Some(1_031), Some(1_000), "error clock: this machine's clock is 31 s behind"),
            (Some(960), Some(969), "error clock: this machine's clock is 31 s ahead"),
            (Some(940), Some(970), "ok clock: the latest ledger closed 60 s ago"),
            (
                Some(939),
                Some(1_000),
                "error rpc-lag: the Stellar RPC lags: its latest ledger closed 61 s ago",
            ),
            (
                Some(939),
                None,
                "error clock: the latest ledger of the Stellar RPC closed 61 s ago by this machine's clock",
            ),
            (None, Some(1_031), "error clock: this machine's clock is 31 s behind"),
            (None, Some(969), "error clock: this machine's clock is 31 s ahead"),
            (None, Some(1_000), "ok clock: it agrees with the Stellar RPC's"),
            (None, None, "ok clock: the Stellar RPC tells no time to compare it with"),
        ] {
            assert_eq!(judged(closed, date), said, "{closed:?} {date:?}");
        }
    }
}
