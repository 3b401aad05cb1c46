//! What a line says, in either form.

use std::{io::Write as _, net::IpAddr, sync::Arc, time::Duration};

use http::{HeaderValue, Method, uri::PathAndQuery};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::Asked;
use crate::{
    protocol::mpp::timestamp,
    telemetry::{
        label::{Outcome, Rail},
        trace::TraceId,
        worth::Worth,
    },
};

/// What a line looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A JSON object.
    Json,
    /// As web servers have always written it, without the referer, which tells queries, and without the user agent.
    Combined,
}

/// What is known of a request.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// When it came, in milliseconds since 1970.
    at_ms: u64,
    method: Method,
    target: Option<PathAndQuery>,
    client: Option<IpAddr>,
    bytes_in: Option<u64>,
    id: Option<HeaderValue>,
    trace: Option<TraceId>,
    pub(super) route: Option<Arc<str>>,
    pub(super) upstream: Option<String>,
    /// `None` where the client went away before.
    pub(super) status: Option<u16>,
    pub(super) bytes_out: u64,
    pub(super) took: Duration,
    pub(super) upstream_took: Option<Duration>,
    pub(super) payment: Option<(Rail, Outcome, Option<Worth>)>,
    /// Whether it was asked to pay, or to come later, and carried no payment that was looked at.
    pub(super) is_unpaid: bool,
}

impl Line {
    pub(super) fn new(asked: Asked, at_ms: u64) -> Self {
        let Asked { method, target, client, bytes_in, id, trace } = asked;
        let target = Some(target);
        Self { at_ms, method, target, client, bytes_in, id: Some(id), trace, ..Self::default() }
    }

    /// Whether it has a payment that was more than refused.
    pub(super) fn is_about_money(&self) -> bool {
        let outcome = self.payment.as_ref().map(|(_, outcome, _)| *outcome);
        outcome.is_some_and(|one| !matches!(one, Outcome::Rejected | Outcome::TurnedAway))
    }

    /// Writes it, with the end of the line.
    pub(super) fn put(&self, format: Format, to: &mut Vec<u8>) {
        match format {
            Format::Json => {
                serde_json::to_writer(&mut *to, &self.json()).expect("memory takes it all");
                to.push(b'\n');
            }
            Format::Combined => self.put_combined(to),
        }
    }

    fn json(&self) -> Value {
        let mut line = Map::new();
        let mut put = |name: &str, value: Value| drop(line.insert(name.to_owned(), value));
        put("ts", timestamp::write(self.at_ms).into());
        put("level", "info".into());
        put("msg", "request".into());
        put("method", self.method.as_str().into());
        put("path", self.path().into());
        put("route", self.route.as_deref().into());
        put("status", self.status().into());
        put("bytes_in", self.bytes_in.into());
        put("bytes_out", self.bytes_out.into());
        put("duration_ms", millis(self.took).into());
        put("upstream", self.upstream.as_deref().into());
        put("upstream_ms", self.upstream_took.map(millis).into());
        if let Some((rail, outcome, worth)) = &self.payment {
            put("payment", payment(*rail, *outcome, worth.as_ref()));
        }
        put("request_id", self.id().into());
        put("trace_id", self.trace.as_ref().map(TraceId::as_str).into());
        put("client_ip", self.client.map(|client| client.to_string()).into());
        Value::Object(line)
    }

    /// A target is canonical and so all of it is printable, and has neither quotes nor backslashes.
    fn put_combined(&self, to: &mut Vec<u8>) {
        let client = self.client.map_or_else(|| "-".to_owned(), |client| client.to_string());
        let at = common(self.at_ms);
        let (method, path) = (&self.method, self.path());
        let written = writeln!(
            to,
            "{client} - - [{at}] \"{method} {path} HTTP\" {} {} \"-\" \"-\" {}",
            self.status(),
            self.bytes_out,
            self.id(),
        );
        written.expect("memory takes it all");
    }

    fn path(&self) -> &str {
        self.target.as_ref().map_or("", PathAndQuery::path)
    }

    fn id(&self) -> &str {
        self.id.as_ref().and_then(|id| id.to_str().ok()).unwrap_or_default()
    }

    fn status(&self) -> u16 {
        self.status.unwrap_or(crate::telemetry::traffic::GONE)
    }
}

fn payment(rail: Rail, outcome: Outcome, worth: Option<&Worth>) -> Value {
    let mut told = json!({ "method": rail.as_str(), "outcome": outcome.as_str() });
    if let (Some(worth), Some(told)) = (worth, told.as_object_mut()) {
        let mut put = |name: &str, value: String| drop(told.insert(name.to_owned(), value.into()));
        put("amount", worth.amount.to_string());
        put("asset", worth.asset.to_string());
        if let Some(payer) = worth.payer {
            put("payer", payer.to_string());
        }
        if let Some((channel, cumulative)) = worth.channel {
            put("channel", channel.to_string());
            put("cumulative", cumulative.to_string());
        }
        if let Some(transaction) = worth.transaction {
            put("tx", transaction.to_string());
        }
    }
    told
}

/// A time as web servers write it: `10/Oct/2000:13:55:36 +0000`.
fn common(unix_ms: u64) -> String {
    let seconds = i64::try_from(unix_ms.div_euclid(1_000)).unwrap_or_default();
    let time = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let month: String = time.month().to_string().chars().take(3).collect();
    let (day, year) = (time.day(), time.year());
    let (hour, minute, second) = time.to_hms();
    format!("{day:02}/{month}/{year}:{hour:02}:{minute:02}:{second:02} +0000")
}

/// In milliseconds, to the thousandth.
fn millis(time: Duration) -> f64 {
    Duration::from_micros(u64::try_from(time.as_micros()).unwrap_or(u64::MAX)).as_secs_f64()
        * 1_000.0
}
