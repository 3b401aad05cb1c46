//! What a gRPC client is told: the gateway's own refusals and faults as a gRPC status, without a message.
//!
//! The HTTP status is 200, as gRPC wants it, and the headers are those of the problem: a challenge stands where every other
//! client finds it. Source: gRPC over HTTP2, "Responses" and "Trailers-Only"; gRPC status codes.

use std::{
    fmt::Write as _,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use http_body::Body;
use http_body_util::Full;
use serde_json::Value;

/// Whether a request with these headers calls a gRPC method. gRPC-Web, whose trailers are in the body, does not count.
#[must_use]
pub fn is_call(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).map_or(&[][..], HeaderValue::as_bytes);
    match kind.strip_prefix(b"application/grpc") {
        Some(rest) => matches!(rest.first(), None | Some(b'+' | b';' | b' ')),
        None => false,
    }
}

/// A problem's answer as a gRPC client reads it; what is no problem stays as it is.
#[must_use]
pub fn told(answer: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
    if answer.status().as_u16() < 400 {
        return answer;
    }
    let code = code_of(answer.status());
    let (mut head, body) = answer.into_parts();
    head.status = StatusCode::OK;
    head.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    head.headers.remove(header::CONTENT_SECURITY_POLICY);
    head.headers.insert(STATUS, HeaderValue::from(code));
    if let Some(message) = detail_of(body).and_then(|detail| encoded(&detail).try_into().ok()) {
        head.headers.insert(MESSAGE, message);
    }
    Response::from_parts(head, Full::default())
}

/// The code for what the gateway means by a status.
fn code_of(status: StatusCode) -> u16 {
    match status {
        StatusCode::PAYMENT_REQUIRED | StatusCode::GONE => FAILED_PRECONDITION,
        StatusCode::UNAUTHORIZED => UNAUTHENTICATED,
        StatusCode::FORBIDDEN => PERMISSION_DENIED,
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => {
            UNIMPLEMENTED
        }
        StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT => DEADLINE_EXCEEDED,
        StatusCode::CONFLICT => ABORTED,
        StatusCode::PAYLOAD_TOO_LARGE | StatusCode::TOO_MANY_REQUESTS => RESOURCE_EXHAUSTED,
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE => UNAVAILABLE,
        _ if status.is_client_error() => INVALID_ARGUMENT,
        _ => INTERNAL,
    }
}

/// The sentence in a problem document.
fn detail_of(mut body: Full<Bytes>) -> Option<String> {
    let mut cx = Context::from_waker(Waker::noop());
    let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut body).poll_frame(&mut cx) else { return None };
    let document: Value = serde_json::from_slice(frame.data_ref()?).ok()?;
    document.get("detail")?.as_str().map(str::to_owned)
}

/// `grpc-message` is percent-encoded, but for printable ASCII.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(char::from(byte)),
            // Writing to a string does not fail.
            _ => drop(write!(encoded, "%{byte:02X}")),
        }
    }
    encoded
}

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

const INVALID_ARGUMENT: u16 = 3;
const DEADLINE_EXCEEDED: u16 = 4;
const PERMISSION_DENIED: u16 = 7;
const RESOURCE_EXHAUSTED: u16 = 8;
const FAILED_PRECONDITION: u16 = 9;
const ABORTED: u16 = 10;
const UNIMPLEMENTED: u16 = 12;
const INTERNAL: u16 = 13;
const UNAVAILABLE: u16 = 14;
const UNAUTHENTICATED: u16 = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::problem::Problem;

    #[test]
    fn a_call_is_known_by_its_content_type() {
        let is_call = |kind: &'static str| {
            let kind = (header::CONTENT_TYPE, HeaderValue::from_static(kind));
            super::is_call(&HeaderMap::from_iter([kind]))
        };
        for kind in ["application/grpc", "application/grpc+proto", "application/grpc;a=b"] {
            assert!(is_call(kind), "{kind}");
        }
        for kind in ["application/json", "application/grpc-web", "application/grpcx", ""] {
            assert!(!is_call(kind), "{kind}");
        }
        assert!(!super::is_call(&HeaderMap::new()));
    }

    #[test]
    fn a_problem_is_a_status_without_a_message_and_keeps_its_headers() {
        let problem = Problem::new(StatusCode::PAYMENT_REQUIRED, "50 % of \u{e9}\n")
            .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Payment id=\"x\""));
        let answer = told(problem.into_response());
        assert_eq!(answer.status(), StatusCode::OK);
        let headers = answer.headers();
        assert_eq!(headers["grpc-status"], "9");
        assert_eq!(headers["grpc-message"], "50 %25 of %C3%A9%0A");
        assert_eq!(headers["content-type"], "application/grpc");
        assert_eq!(headers["www-authenticate"], "Payment id=\"x\"");
        assert_eq!(headers["cache-control"], "no-store");
        assert!(answer.body().is_end_stream());
    }

    #[test]
    fn what_is_no_problem_stays_as_it_is() {
        let answer = told(Response::new(Full::from("ok")));
        assert!(!answer.headers().contains_key(STATUS));
        assert!(!answer.body().is_end_stream());
    }
}
