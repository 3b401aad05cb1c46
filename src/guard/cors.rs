//! What browsers need in order to pay: preflights answered without payment, payment headers that scripts may read.
//!
//! Source: protocol notes on CORS for x402; Fetch standard, CORS protocol.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use http_body_util::Full;

use crate::pay::{MethodName, Terms};

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

/// Lets scripts read the payment headers of an answer to a request for `terms`; one of ours may be read by scripts of any
/// origin, as it holds no secret and tells whether to pay.
///
/// Where a `Payment` challenge stands beside an x402 one, the order of the route's methods decides whether scripts see the
/// latter: an MPP client before 0.8 breaks off at it, and in a browser it cannot say beforehand that it is one.
pub(super) fn expose_to_scripts(response: &mut Response<impl Sized>, terms: &Terms, is_ours: bool) {
    let headers = response.headers_mut();
    let prefers_mpp = terms.offers.first().is_some_and(|offer| offer.method != MethodName::X402);
    let hides_x402 = is_ours && prefers_mpp && headers.contains_key(header::WWW_AUTHENTICATE);
    let exposed = if hides_x402 { EXPOSED_BY_MPP } else { EXPOSED };
    headers.append(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(exposed));
    if is_ours {
        headers.entry(header::ACCESS_CONTROL_ALLOW_ORIGIN).or_insert(HeaderValue::from_static("*"));
    }
}

/// Lets scripts of any origin read a refusal or a fault of ours, as they read what it costs.
pub fn show_problem(response: &mut Response<impl Sized>) {
    if response.status().as_u16() >= 400 {
        let headers = response.headers_mut();
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
const NEEDED: [&str; 8] = [
    "PAYMENT-SIGNATURE",
    "X-PAYMENT",
    "Authorization",
    "Payment-Authorization",
    "Accept-Payment",
    "Payment-Channel",
    "Content-Type",
    "Access-Control-Expose-Headers",
];
const EXPOSED: &str = "PAYMENT-REQUIRED, PAYMENT-RESPONSE, X-PAYMENT-RESPONSE, WWW-Authenticate, \
                       Payment-Receipt, Payment-Next";
const EXPOSED_BY_MPP: &str = "WWW-Authenticate, Payment-Receipt, Payment-Next";

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
            "PAYMENT-SIGNATURE, X-PAYMENT, Authorization, Payment-Authorization, Accept-Payment, \
             Payment-Channel, Content-Type, Access-Control-Expose-Headers, x-one"
        );
        assert!(!answer.headers().contains_key("access-control-allow-credentials"));
    }
}
