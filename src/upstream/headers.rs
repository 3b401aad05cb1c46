//! Headers on their way through: what belongs to a hop or to a payment stays here, the rest passes as it is.
//!
//! A name with underscores counts as the one with hyphens, since many servers cannot tell them apart. Who sends
//! `X-Forwarded-For` and its like is never believed: there are no trusted proxies. Trailers pass where both sides have
//! announced them.
//!
//! Source: RFC 9110 section 7.6.1.

use std::{borrow::Cow, net::SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue, Version, header, request::Parts};

use crate::protocol::mpp;

/// Makes a client's request head what the upstream sees.
///
/// What the client's `Connection` nominates goes first, so that it can remove nothing that the gateway sets.
pub(crate) fn prepare_request(head: &mut Parts, set: &[(HeaderName, HeaderValue)]) {
    let takes_trailers = head
        .headers
        .get_all(header::TE)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"));
    let headers = &mut head.headers;
    if head.version >= Version::HTTP_2 {
        join_cookies(headers);
    }
    remove_nominated(headers);
    remove(headers, |name| is_hop_by_hop(name) || stays_in_request(name));
    mpp::strip(headers);
    if takes_trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    if let Some(peer) = head.extensions.get::<SocketAddr>()
        && let Ok(address) = HeaderValue::try_from(peer.ip().to_canonical().to_string())
    {
        headers.insert(FORWARDED_FOR, address);
    }
    let scheme = head.uri.scheme_str().unwrap_or("http");
    if let Ok(scheme) = HeaderValue::from_str(scheme) {
        headers.insert(FORWARDED_PROTO, scheme);
    }
    if let Some(host) = headers.get(header::HOST).cloned() {
        headers.insert(FORWARDED_HOST, host);
    }
    for (name, value) in set {
        headers.insert(name, value.clone());
    }
}

/// Makes an upstream's answer head what the client sees, as far as it is the upstream's to say.
pub(crate) fn strip_response(headers: &mut HeaderMap) {
    remove_nominated(headers);
    remove(headers, |name| is_hop_by_hop(name) || stays_in_response(name));
    remove_challenges(headers);
}

/// HTTP/2 clients may send each cookie in a field of its own, which HTTP/1.1 knows nothing of. RFC 9113 section 8.2.3.
fn join_cookies(headers: &mut HeaderMap) {
    let crumbs: Vec<&[u8]> =
        headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() > 1
        && let Ok(mut cookie) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
    {
        cookie.set_sensitive(true);
        headers.insert(header::COOKIE, cookie);
    }
}

fn remove_nominated(headers: &mut HeaderMap) {
    let nominated: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        // The host and the body's framing belong to the message, whatever the client says.
        .filter(|name| *name != header::HOST && *name != header::CONTENT_LENGTH)
        .collect();
    for name in nominated {
        headers.remove(name);
    }
}

fn remove(headers: &mut HeaderMap, stays: impl Fn(&str) -> bool) {
    let stays = |name: &&HeaderName| stays(&hyphenated(name.as_str()));
    let found: Vec<HeaderName> = headers.keys().filter(stays).cloned().collect();
    for name in found {
        headers.remove(name);
    }
}

/// Takes the challenges of the scheme `Payment` out of an answer, and leaves the upstream's own as they are.
fn remove_challenges(headers: &mut HeaderMap) {
    let lines = || headers.get_all(header::WWW_AUTHENTICATE).iter();
    if !lines().any(|line| without_payment(line.as_bytes()).is_some()) {
        return;
    }
    let kept: Vec<HeaderValue> = lines()
        .filter_map(|line| without_payment(line.as_bytes()).unwrap_or_else(|| Some(line.clone())))
        .collect();
    headers.remove(header::WWW_AUTHENTICATE);
    for line in kept {
        headers.append(header::WWW_AUTHENTICATE, line);
    }
}

fn hyphenated(name: &str) -> Cow<'_, str> {
    if name.contains('_') { Cow::Owned(name.replace('_', "-")) } else { Cow::Borrowed(name) }
}

fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "transfer-encoding"
            | "upgrade"
            | "http2-settings"
    )
}

/// What a client says to the gateway, or would have the upstream believe.
fn stays_in_request(name: &str) -> bool {
    matches!(
        name,
        // Payments.
        "payment-signature" | "x-payment" | "payment-authorization" | "payment-channel"
            | "accept-payment"
            // Another method or path than the one that was priced.
            | "x-http-method-override" | "x-http-method" | "x-method-override"
            | "x-original-url" | "x-original-uri" | "x-rewrite-url"
            // Where the request came from: set anew.
            | "forwarded" | "x-real-ip"
            // Answered here.
            | "expect"
    ) || name.starts_with("x-forwarded-")
}

/// What only the gateway says to a client.
fn stays_in_response(name: &str) -> bool {
    matches!(
        name,
        "payment-required"
            | "payment-response"
            | "x-payment-response"
            | "payment-receipt"
            | "payment-next"
            | "settlement-overrides"
            | "extension-responses"
    )
}

/// Whether credentials are of the scheme `Payment`.
fn is_payment_scheme(value: &[u8]) -> bool {
    let scheme = value.trim_ascii_start().split(|byte| byte.is_ascii_whitespace()).next();
    scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"payment"))
}

/// A `WWW-Authenticate` value without its challenges of the scheme `Payment`, if it has any.
///
/// Challenges and their parameters are both separated by commas: an element begins a challenge if it begins with a word
/// that no `=` follows.
fn without_payment(value: &[u8]) -> Option<Option<HeaderValue>> {
    let mut is_payment = false;
    let mut kept: Vec<&[u8]> = Vec::new();
    let mut found = false;
    for element in split_unquoted(value) {
        let element = element.trim_ascii();
        let word = element.split(|byte| byte.is_ascii_whitespace() || *byte == b'=').next();
        let behind = element.get(word.map_or(0, <[u8]>::len)..).unwrap_or_default().trim_ascii();
        if !element.is_empty() && !behind.starts_with(b"=") {
            is_payment = is_payment_scheme(element);
        }
        found |= is_payment;
        if !is_payment {
            kept.push(element);
        }
    }
    if !found {
        return None;
    }
    Some(if kept.is_empty() { None } else { HeaderValue::from_bytes(&kept.join(&b", "[..])).ok() })
}

/// The elements between commas that stand outside of quotes.
fn split_unquoted(value: &[u8]) -> Vec<&[u8]> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    value
        .split(|byte| {
            let is_comma = *byte == b',' && !is_quoted;
            match byte {
                _ if is_escaped => is_escaped = false,
                b'\\' if is_quoted => is_escaped = true,
                b'"' => is_quoted = !is_quoted,
                _ => {}
            }
            is_comma
        })
        .collect()
}

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    /// What the upstream sees of these headers, as `name: value` lines in the order of the names.
    fn seen(headers: &[(&str, &str)], set: &[(&'static str, &'static str)]) -> Vec<String> {
        let mut request = Request::builder().uri("http://gw/x");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut head = request.body(()).unwrap().into_parts().0;
        head.extensions.insert(SocketAddr::from(([192, 0, 2, 1], 4711)));
        let set: Vec<_> = set
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        prepare_request(&mut head, &set);
        let own = ["x-forwarded-for: 192.0.2.1", "x-forwarded-proto: http", "x-forwarded-host: gw"];
        let mut lines = lines(&head.headers);
        if set.is_empty() {
            lines.retain(|line| !own.contains(&line.as_str()));
        }
        lines
    }

    fn lines(headers: &HeaderMap) -> Vec<String> {
        let line = |(name, value): (&HeaderName, &HeaderValue)| {
            format!("{name}: {}", value.to_str().unwrap())
        };
        let mut lines: Vec<String> = headers.iter().map(line).collect();
        lines.sort_by_key(|line| line.split(':').next().unwrap().to_owned());
        lines
    }

    #[test]
    fn ordinary_headers_pass_with_their_duplicates_in_order() {
        let headers = [
            ("host", "gw"),
            ("cookie", "b=1"),
            ("cookie", "a=2"),
            ("x-api-key", "k"),
            ("trailer", "digest"),
            ("accept-encoding", "gzip"),
            ("x_custom", "y"),
            ("content-length", "3"),
        ];
        let seen = seen(&headers, &[]);
        assert_eq!(
            seen,
            [
                "accept-encoding: gzip",
                "content-length: 3",
                "cookie: b=1",
                "cookie: a=2",
                "host: gw",
                "trailer: digest",
                "x-api-key: k",
                "x_custom: y",
            ]
        );
    }

    #[test]
    fn the_cookies_of_an_http2_client_become_one_header() {
        let cookies = |version| {
            let mut head = Request::new(()).into_parts().0;
            head.version = version;
            for cookie in ["a=1", "b=2; c=3"] {
                head.headers.append(header::COOKIE, HeaderValue::from_static(cookie));
            }
            prepare_request(&mut head, &[]);
            lines(&head.headers)
        };
        assert_eq!(cookies(Version::HTTP_2)[0], "cookie: a=1; b=2; c=3");
        assert_eq!(cookies(Version::HTTP_11)[..2], ["cookie: a=1", "cookie: b=2; c=3"]);
    }

    #[test]
    fn h01_nominated_headers_go_before_the_gateway_sets_its_own() {
        let headers = [
            ("host", "gw"),
            ("connection", "close, Authorization, X-Forwarded-For,host"),
            ("connection", "x-internal-auth, X-Hop"),
            ("authorization", "Bearer b"),
            ("x-hop", "1"),
            ("x-keep", "1"),
        ];
        assert_eq!(
            seen(&headers, &[("x-internal-auth", "secret")]),
            [
                "host: gw",
                "x-forwarded-for: 192.0.2.1",
                "x-forwarded-host: gw",
                "x-forwarded-proto: http",
                "x-internal-auth: secret",
                "x-keep: 1",
            ]
        );
    }

    #[test]
    fn hop_by_hop_headers_stay() {
        let headers = [
            ("keep-alive", "1"),
            ("proxy-connection", "x"),
            ("te", "gzip"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("http2-settings", "x"),
            ("proxy-authorization", "x"),
            ("expect", "100-continue"),
        ];
        assert_eq!(seen(&headers, &[]), Vec::<String>::new());
        assert_eq!(seen(&[("te", "gzip, trailers")], &[]), ["te: trailers"]);
    }

    #[test]
    fn h02_a_client_cannot_say_where_it_comes_from_nor_what_it_meant() {
        let headers = [
            ("host", "gw"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x_forwarded_for", "10.0.0.1"),
            ("x-forwarded-prefix", "/admin"),
            ("X-Forwarded_Host", "evil"),
            ("forwarded", "for=10.0.0.1"),
            ("x-real-ip", "10.0.0.1"),
            ("x_real_ip", "10.0.0.1"),
            ("x-http-method-override", "DELETE"),
            ("x-original-url", "/paid"),
            ("x_rewrite_url", "/paid"),
        ];
        assert_eq!(
            seen(&headers, &[("x-set", "1")]),
            [
                "host: gw",
                "x-forwarded-for: 192.0.2.1",
                "x-forwarded-host: gw",
                "x-forwarded-proto: http",
                "x-set: 1",
            ]
        );
    }

    #[test]
    fn h03_payments_stay_and_other_credentials_pass() {
        let headers = [
            ("payment-signature", "x"),
            ("x-payment", "x"),
            ("x_payment", "x"),
            ("payment_signature", "x"),
            ("payment-authorization", "x"),
            ("payment-channel", "x"),
            ("authorization", "Bearer one"),
            ("authorization", "PAYMENT abc"),
            ("authorization", " payment\tabc"),
            ("authorization", "Payments two"),
        ];
        assert_eq!(
            seen(&headers, &[]),
            ["authorization: Bearer one", "authorization: Payments two"]
        );
        assert_eq!(seen(&[("authorization", "Payment abc")], &[]), Vec::<String>::new());
    }

    #[test]
    fn configured_headers_replace_the_clients() {
        let seen = seen(&[("authorization", "Bearer client")], &[("authorization", "Bearer own")]);
        assert!(seen.contains(&"authorization: Bearer own".to_owned()), "{seen:?}");
        assert!(!seen.contains(&"authorization: Bearer client".to_owned()), "{seen:?}");
    }

    #[test]
    fn h05_an_upstream_cannot_speak_for_the_gateway() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("payment-required", "x"),
            ("payment-response", "x"),
            ("x-payment-response", "x"),
            ("payment_response", "x"),
            ("payment-receipt", "x"),
            ("payment-next", "x"),
            ("settlement-overrides", "x"),
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
            ("etag", "\"e\""),
            ("www-authenticate", "Payment id=\"x\", realm=\"y\""),
            ("www-authenticate", "Basic realm=\"z\""),
        ] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        strip_response(&mut headers);
        assert_eq!(
            lines(&headers),
            [
                "etag: \"e\"",
                "set-cookie: a=1",
                "set-cookie: b=2",
                "www-authenticate: Basic realm=\"z\""
            ]
        );
    }

    #[test]
    fn a_payment_challenge_is_taken_out_of_a_list_of_challenges() {
        for (value, kept) in [
            ("Payment", None),
            ("payment id=\"a, Basic b\", x=y", None),
            ("Basic realm=\"Payment x\"", Some("Basic realm=\"Payment x\"")),
            (
                "Basic realm=\"a\", Payment id=\"b\", method=\"c\", Bearer",
                Some("Basic realm=\"a\", Bearer"),
            ),
            (
                "Payment id=x, Digest realm=\"a\\\", Payment\", nonce=1",
                Some("Digest realm=\"a\\\", Payment\", nonce=1"),
            ),
            ("Digest payment=1, nonce = 2", Some("Digest payment=1, nonce = 2")),
            ("Bearer abc==, Payment x==", Some("Bearer abc==")),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(value));
            strip_response(&mut headers);
            assert_eq!(
                headers.get(header::WWW_AUTHENTICATE).map(|kept| kept.to_str().unwrap()),
                kept,
                "{value}"
            );
        }
    }
}
