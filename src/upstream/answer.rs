//! The strict reading of an upstream's answer, and what comes before it.
//!
//! hyper takes a `Content-Length` beside a `Transfer-Encoding`, and the same one twice, and any coding before `chunked`;
//! it skips any number of interim answers. Here, what two parties could read in two ways is no answer.
//!
//! Source: RFC 9112 section 6.

use std::sync::atomic::{AtomicU32, Ordering};

use http::{HeaderMap, Request, StatusCode, header};
use tokio::task::AbortHandle;

use super::pace::GoAhead;

/// What is ambiguous in the head of an answer, if something is.
pub(super) fn ambiguity(headers: &HeaderMap) -> Option<&'static str> {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let (length, coding) = (lengths.next(), codings.next());
    if length.is_some() && coding.is_some() {
        return Some("its answer has both a length and a transfer coding");
    }
    let is_number = |length: &[u8]| length.iter().all(u8::is_ascii_digit);
    if lengths.next().is_some() || length.is_some_and(|length| !is_number(length.as_bytes())) {
        return Some("its answer does not have one length");
    }
    let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    if codings.next().is_some() || coding.is_some_and(|coding| !is_chunked(coding.as_bytes())) {
        return Some("its answer has another transfer coding than one `chunked`");
    }
    None
}

/// Whether the upstream closes the connection after its answer.
pub(super) fn is_last(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::CONNECTION).iter();
    let mut options = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    options.any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"))
}

/// The length that an answer names.
pub(super) fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Watches the interim answers to `request`: the first `100 Continue` is told, and too many cut the connection off.
pub(super) fn watch_interim<B>(
    request: &mut Request<B>,
    cutter: AbortHandle,
    go_ahead: Option<GoAhead>,
) {
    request.extensions_mut().clear();
    let seen = AtomicU32::new(0);
    hyper::ext::on_informational(request, move |head| {
        if seen.fetch_add(1, Ordering::Relaxed) >= MOST_INTERIM {
            cutter.abort();
        }
        if head.status() == StatusCode::CONTINUE
            && let Some(go_ahead) = &go_ahead
        {
            go_ahead.give();
        }
    });
}

/// More interim answers than anybody has a use for.
const MOST_INTERIM: u32 = 32;

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let line = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        let mut headers = HeaderMap::new();
        for (name, value) in lines.iter().map(line) {
            headers.append(name, value);
        }
        headers
    }

    #[test]
    fn f12_an_answer_has_one_framing() {
        let (cl, te) = ("content-length", "transfer-encoding");
        for lines in [&[][..], &[(cl, "0")], &[(cl, "17")], &[(te, "chunked")], &[(te, "Chunked")]]
        {
            assert_eq!(ambiguity(&headers(lines)), None, "{lines:?}");
        }
        for lines in [
            &[(cl, "4"), (te, "chunked")][..],
            &[(te, "chunked"), (cl, "4")],
            &[(cl, "4"), (cl, "4")],
            &[(cl, "4, 4")],
            &[(cl, "+4")],
            &[(te, "gzip, chunked")],
            &[(te, "chunked"), (te, "chunked")],
            &[(te, "identity")],
        ] {
            assert!(ambiguity(&headers(lines)).is_some(), "{lines:?}");
        }
    }

    #[test]
    fn an_upstream_that_closes_says_so() {
        assert!(is_last(&headers(&[("connection", "x, Close")])));
        assert!(is_last(&headers(&[("connection", "x"), ("connection", "close")])));
        assert!(!is_last(&headers(&[("connection", "keep-alive")])));
        assert!(!is_last(&headers(&[])));
    }
}
