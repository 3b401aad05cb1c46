//! Headers on their way through: what belongs to a hop or to a payment stays here, the rest passes as it is.
//!
//! A name with underscores counts as the one with hyphens, since many servers cannot tell them apart. Who sends
//! `X-Forwarded-For` and its like is never believed: there are no trusted proxies. Trailers pass where both sides have
//! announced them.
//!
//! Source: RFC 9110 section 7.6.1.

use std::{borrow::Cow, net::SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue, header, request::Parts};

/// Makes a client's request head what the upstream sees.
///
/// What the client's `Connection` nominates goes first, so that it can remove nothing that the gateway sets.
pub(super) fn prepare_request(head: &mut Parts, set: &[(HeaderName, HeaderValue)]) {
    let takes_trailers = head
        .headers
        .get_all(header::TE)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"));
    let headers = &mut head.headers;
    remove_nominated(headers);
    remove(headers, |name| is_hop_by_hop(name) || stays_in_request(name));
    remove_payment_values(headers, header::AUTHORIZATION, |value| {
        is_payment_scheme(value).then_some(None)
    });
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
pub(super) fn strip_response(headers: &mut HeaderMap) {
    remove_nominated(headers);
    remove(headers, |name| is_hop_by_hop(name) || stays_in_response(name));
    remove_payment_values(headers, header::WWW_AUTHENTICATE, without_payment);
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

/// Rewrites the values of `name` for which `rewrite` says what they become, in their order; `None` is nothing.
fn remove_payment_values(
    headers: &mut HeaderMap,
    name: HeaderName,
    rewrite: impl Fn(&[u8]) -> Option<Option<HeaderValue>>,
) {
    if !headers.get_all(&name).iter().any(|value| rewrite(value.as_bytes()).is_some()) {
        return;
    }
    let kept: Vec<HeaderValue> = headers
        .get_all(&name)
        .iter()
        .filter_map(|value| rewrite(value.as_bytes()).unwrap_or_else(|| Some(value.clone())))
        .collect();
    headers.remove(&name);
    for value in kept {
        headers.append(&name, value);
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
