//! What browsers need in order to pay: preflights answered without payment, payment headers that scripts may read.
//!
//! Source: protocol notes on CORS for x402; Fetch standard, CORS protocol.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use http_body_util::Full;

/// The method that a preflight asks about, if this request is one.
#[must_use]
pub fn preflight_of(method: &Method, headers: &HeaderMap) -> Option<Method> {
    let asked = headers.get(header::ACCESS_CONTROL_REQUEST_METHOD)?;
    let is_preflight = method == Method::OPTIONS && headers.contains_key(header::ORIGIN);
    is_preflight.then(|| Method::from_bytes(asked.as_bytes()).ok()).flatten()
}

/// The answer to the preflight of a priced route: any origin may ask and pay, without cookies.
#[must_use]
pub fn preflight_answer(asked: &Method, headers: &HeaderMap) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let answer = response.headers_mut();
    answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    if let Ok(method) = HeaderValue::try_from(asked.as_str()) {
        answer.insert(header::ACCESS_CONTROL_ALLOW_METHODS, method);
    }
    answer.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed_headers(headers));
    answer.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    answer.insert(
        header::VARY,
        HeaderValue::from_static("Access-Control-Request-Method, Access-Control-Request-Headers"),
    );
    answer.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Lets scripts read the payment headers; a 402 of ours may be read by scripts of any origin, as it holds no secret.
pub(super) fn expose_to_scripts(headers: &mut HeaderMap) {
    headers.append(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
    if headers.contains_key(HeaderName::from_static("payment-required")) {
        headers.entry(header::ACCESS_CONTROL_ALLOW_ORIGIN).or_insert(HeaderValue::from_static("*"));
    }
}

/// What paying needs, and what was asked for besides.
fn allowed_headers(headers: &HeaderMap) -> HeaderValue {
    let asked = headers
        .get(header::ACCESS_CONTROL_REQUEST_HEADERS)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let extra = asked
        .split(',')
        .map(str::trim)
        .filter(|name| HeaderName::from_bytes(name.as_bytes()).is_ok())
        .filter(|name| !NEEDED.iter().any(|needed| needed.eq_ignore_ascii_case(name)));
    let all: Vec<&str> = NEEDED.into_iter().chain(extra).collect();
    HeaderValue::try_from(all.join(", ")).unwrap_or(HeaderValue::from_static("PAYMENT-SIGNATURE"))
}

/// `Access-Control-Expose-Headers` is a response header, and reference clients send it in requests all the same.
const NEEDED: [&str; 5] = [
    "PAYMENT-SIGNATURE",
    "X-PAYMENT",
    "Authorization",
    "Content-Type",
    "Access-Control-Expose-Headers",
];
const EXPOSED: &str =
    "PAYMENT-REQUIRED, PAYMENT-RESPONSE, X-PAYMENT-RESPONSE, WWW-Authenticate, Payment-Receipt";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preflight_allows_what_was_asked_and_what_paying_needs() {
        let mut headers = HeaderMap::new();
        headers.insert(header::ORIGIN, HeaderValue::from_static("https://a.example"));
        assert_eq!(preflight_of(&Method::OPTIONS, &headers), None);
        headers.insert(header::ACCESS_CONTROL_REQUEST_METHOD, HeaderValue::from_static("POST"));
        headers.insert(
            header::ACCESS_CONTROL_REQUEST_HEADERS,
            HeaderValue::from_static("x-one, payment-signature, b@d"),
        );
        assert_eq!(preflight_of(&Method::GET, &headers), None);
        let asked = preflight_of(&Method::OPTIONS, &headers).unwrap();
        let answer = preflight_answer(&asked, &headers);
        assert_eq!(answer.status(), StatusCode::NO_CONTENT);
        assert_eq!(answer.headers()["access-control-allow-methods"], "POST");
        assert_eq!(
            answer.headers()["access-control-allow-headers"],
            "PAYMENT-SIGNATURE, X-PAYMENT, Authorization, Content-Type, \
             Access-Control-Expose-Headers, x-one"
        );
        assert!(!answer.headers().contains_key("access-control-allow-credentials"));
    }
}
