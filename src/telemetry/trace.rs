//! What a request is called, and the trace that it is of.
//!
//! A client's own name for a request passes if it can be written anywhere; else it is given one. A trace is continued: what
//! the upstream is told is a span of ours in the client's trace.
//! Source: W3C Trace Context, section 3.2.

use std::{
    fmt::Write as _,
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use http::{HeaderMap, HeaderName, HeaderValue};
use rand_core::{OsRng, RngCore as _};

/// The name of a trace: 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceId([u8; 32]);

impl TraceId {
    /// Its digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// The name of the request with these headers, which has it from now on.
pub fn name(headers: &mut HeaderMap) -> HeaderValue {
    let mut given = headers.get_all(REQUEST_ID).iter();
    let (first, second) = (given.next(), given.next());
    if let (Some(given), None) = (first, second)
        && is_name(given.as_bytes())
    {
        return given.clone();
    }
    let name = fresh();
    headers.insert(REQUEST_ID, name.clone());
    name
}

/// Continues the trace that a request is of, if it says so in a way that all can read; else it is of none.
pub fn follow(headers: &mut HeaderMap) -> Option<TraceId> {
    let mut given = headers.get_all(TRACE_PARENT).iter();
    let (first, second) = (given.next()?, given.next());
    let read = read(first.as_bytes()).filter(|_| second.is_none());
    let Some((id, flags)) = read else {
        headers.remove(TRACE_PARENT);
        headers.remove(TRACE_STATE);
        return None;
    };
    let span = next() | 1;
    let continued = format!("00-{}-{span:016x}-{flags:02x}", id.as_str());
    let continued = HeaderValue::try_from(continued).expect("letters and digits make a value");
    headers.insert(TRACE_PARENT, continued);
    Some(id)
}

/// The trace and the flags of a `traceparent`; of a version to come, what this one has of it.
fn read(text: &[u8]) -> Option<(TraceId, u8)> {
    let mut parts = text.split(|byte| *byte == b'-');
    let (version, id, parent, flags) = (
        hex(parts.next()?, 2)?,
        hex(parts.next()?, 32)?,
        hex(parts.next()?, 16)?,
        hex(parts.next()?, 2)?,
    );
    let is_first = version == b"00";
    let is_zero = |digits: &[u8]| digits.iter().all(|digit| *digit == b'0');
    if version == b"ff" || (is_first && parts.next().is_some()) || is_zero(id) || is_zero(parent) {
        return None;
    }
    let flags = u8::from_str_radix(std::str::from_utf8(flags).ok()?, 16).ok()?;
    // What else a version to come may say there is not known.
    Some((TraceId(id.try_into().ok()?), flags & if is_first { 0xff } else { 1 }))
}

/// The digits, if they are as many, and lower-case.
fn hex(text: &[u8], length: usize) -> Option<&[u8]> {
    let is_digit = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
    (text.len() == length && text.iter().all(is_digit)).then_some(text)
}

fn is_name(text: &[u8]) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:+/=@".contains(byte);
    (1..=LONGEST).contains(&text.len()) && text.iter().all(is_plain)
}

/// A name that no other request of any gateway has.
fn fresh() -> HeaderValue {
    let mut name = String::with_capacity(32);
    write!(name, "{:016x}{:016x}", *PROCESS, next()).expect("a string takes whatever is written");
    HeaderValue::try_from(name).expect("letters and digits make a value")
}

/// A number that this process did not have before, and that does not tell how many there were.
fn next() -> u64 {
    COUNT.fetch_add(1, Relaxed).wrapping_mul(SPREAD).wrapping_add(*PROCESS)
}

static PROCESS: LazyLock<u64> = LazyLock::new(|| OsRng.next_u64());
static COUNT: AtomicU64 = AtomicU64::new(0);
/// Odd, so that no two counts come to the same; from the golden ratio, so that they lie far apart.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
const LONGEST: usize = 128;

/// What a request is called.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACE_STATE: HeaderName = HeaderName::from_static("tracestate");

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn headers(given: &[(&'static str, &str)]) -> HeaderMap {
        let value = |text: &str| HeaderValue::from_bytes(text.as_bytes()).unwrap();
        given.iter().map(|(name, text)| (HeaderName::from_static(name), value(text))).collect()
    }

    #[test]
    fn a_plain_name_passes_and_any_other_is_replaced() {
        let long = "a".repeat(LONGEST);
        for given in ["a", "7f3c-11:b/c=@x", &long] {
            let mut headers = headers(&[("x-request-id", given)]);
            assert_eq!(name(&mut headers), given);
            assert_eq!(headers["x-request-id"], given);
        }
        let longer = "a".repeat(LONGEST + 1);
        let mut seen = HashSet::new();
        for given in ["", "a b", "a\"b", "a\u{fc}", "<b>", &longer] {
            let mut headers = headers(&[("x-request-id", given)]);
            let made = name(&mut headers);
            assert_eq!(made.len(), 32, "{given}");
            assert_eq!(headers["x-request-id"], made);
            assert!(seen.insert(made), "{given}");
        }
        let mut two = headers(&[("x-request-id", "a")]);
        two.append("x-request-id", HeaderValue::from_static("b"));
        assert_eq!(name(&mut two).len(), 32);
        assert_eq!(two.get_all("x-request-id").iter().count(), 1);
    }

    #[test]
    fn a_trace_is_continued_by_a_span_of_our_own() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        let given = format!("00-{id}-00f067aa0ba902b7-01");
        let mut headers = headers(&[("traceparent", &given), ("tracestate", "a=b")]);
        assert_eq!(follow(&mut headers).unwrap().as_str(), id);
        let told = headers["traceparent"].to_str().unwrap().to_owned();
        assert!(told.starts_with(&format!("00-{id}-")) && told.ends_with("-01"), "{told}");
        assert_ne!(told, given);
        assert_eq!(headers["tracestate"], "a=b");
        assert!(read(told.as_bytes()).is_some());
    }

    #[test]
    fn what_is_no_trace_goes_no_further() {
        let (id, span) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
        for given in [
            String::new(),
            format!("ff-{id}-{span}-01"),
            format!("00-{}-{span}-01", "0".repeat(32)),
            format!("00-{id}-{}-01", "0".repeat(16)),
            format!("00-{}-{span}-01", id.to_uppercase()),
            format!("00-{id}-{span}-1"),
            format!("00-{id}-{span}-01-x"),
            format!("00-{id}-{span}"),
        ] {
            let mut headers = headers(&[("traceparent", &given), ("tracestate", "a=b")]);
            assert_eq!(follow(&mut headers), None, "{given}");
            assert!(headers.is_empty(), "{given}");
        }
        let mut later = headers(&[("traceparent", &format!("01-{id}-{span}-ff-more"))]);
        assert!(follow(&mut later).is_some());
        assert!(later["traceparent"].to_str().unwrap().ends_with("-01"));
    }
}
