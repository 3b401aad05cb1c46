//! Headers on their way through: what belongs to a hop or to a payment stays here, the rest passes as it is.
//!
//! A name with underscores counts as the one with hyphens, since many servers cannot tell them apart. Who sends
//! `X-Forwarded-For` and its like is not repeated: they are set anew, by what the server knows of the client. Trailers pass where both sides have
//! announced them; over HTTP/2 nobody needs to.
//!
//! Source: RFC 9110 section 7.6.1.

use std::{borrow::Cow, net::SocketAddr};

use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Uri, Version, header,
    request::Parts,
    uri::{Authority, PathAndQuery, Scheme},
};
use http_body::Body;

use crate::{
    guard::Obstacle,
    protocol::mpp,
    route::{HeaderChanges, Prefix, Rewrite},
};

/// The protocol that a request asks to switch to, if it is one that may pass.
///
/// One that would have both sides read HTTP in another way is nobody's but the gateway's.
pub(super) fn wanted_upgrade(head: &Parts) -> Option<HeaderValue> {
    let mut protocols = head.headers.get_all(header::UPGRADE).iter();
    let protocol = protocols.next()?.clone();
    let name = protocol.to_str().ok()?.split('/').next()?.to_ascii_lowercase();
    let is_one = protocols.next().is_none()
        && !name.is_empty()
        && protocol.as_bytes().iter().all(|byte| byte.is_ascii_graphic() && *byte != b',');
    let is_http = matches!(name.as_str(), "h2c" | "h2" | "http" | "https" | "tls");
    let mut options = list(&head.headers, header::CONNECTION);
    let is_asked = options.any(|option| option.eq_ignore_ascii_case(b"upgrade"));
    (is_one && !is_http && is_asked && head.version == Version::HTTP_11).then_some(protocol)
}

/// Whether the client waits with its body until it is told to go on.
pub(super) fn expects_continue(head: &Parts) -> bool {
    head.version == Version::HTTP_11 && head.headers.contains_key(header::EXPECT)
}

/// Makes a client's request head what the upstream sees.
///
/// What the client's `Connection` nominates goes first, so that it can remove nothing that the gateway sets.
///
/// # Errors
/// [`Obstacle::Unreachable`] if the target is none that the route takes.
pub(crate) fn prepare_request(
    head: &mut Parts,
    changes: &HeaderChanges,
    rewrite: Option<&Rewrite>,
) -> Result<(), Obstacle> {
    let takes_trailers =
        list(&head.headers, header::TE).any(|coding| coding.eq_ignore_ascii_case(b"trailers"));
    let headers = &mut head.headers;
    remove_nominated(headers);
    remove(headers, |name| is_hop_by_hop(name) || stays_in_request(name));
    mpp::strip(headers);
    // Grown once, for what follows.
    headers.reserve(changes.set.len().saturating_add(OWN));
    if takes_trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    if let Some(peer) = head.extensions.get::<SocketAddr>()
        && let Ok(address) = HeaderValue::try_from(peer.ip().to_canonical().to_string())
    {
        headers.insert(FORWARDED_FOR, address);
    }
    let is_https = head.uri.scheme() == Some(&Scheme::HTTPS);
    let scheme = HeaderValue::from_static(if is_https { "https" } else { "http" });
    headers.insert(FORWARDED_PROTO, scheme);
    if let Some(host) = headers.get(header::HOST).cloned() {
        headers.insert(FORWARDED_HOST, host);
    }
    let Some(Rewrite { strip_prefix, headers: own }) = rewrite else {
        change(headers, &[changes]);
        return Ok(());
    };
    if let Some(prefix) = strip_prefix {
        headers.insert(FORWARDED_PREFIX, prefix.text().clone());
        head.uri = stripped(&head.uri, prefix).ok_or_else(|| {
            Obstacle::Unreachable("its route does not begin as it should".to_owned())
        })?;
    }
    change(headers, &[changes, own]);
    Ok(())
}

/// Makes the operator's changes: what the later ones set holds.
fn change(headers: &mut HeaderMap, all: &[&HeaderChanges]) {
    if all.iter().all(|changes| changes.is_empty()) {
        return;
    }
    remove(headers, |name| {
        let set = all.iter().flat_map(|changes| changes.set.iter().map(|(name, _)| name));
        let gone = all.iter().flat_map(|changes| &changes.remove);
        set.chain(gone).any(|changed| hyphenated(changed.as_str()) == name)
    });
    for (name, value) in all.iter().flat_map(|changes| &changes.set) {
        headers.insert(name, value.clone());
    }
}

/// The same target without the first segments of its path.
fn stripped(uri: &Uri, prefix: &Prefix) -> Option<Uri> {
    let mut parts = uri.clone().into_parts();
    let left = prefix.strip(parts.path_and_query.as_ref()?.as_str())?;
    parts.path_and_query = Some(left.parse().ok()?);
    Uri::from_parts(parts).ok()
}

/// Gives a request the form that HTTP/1.1 has, for a server at `address`.
pub(crate) fn fit_h1<B>(request: &mut Request<B>, address: &Authority) -> Result<(), http::Error> {
    if request.version() >= Version::HTTP_2 {
        join_cookies(request.headers_mut());
    }
    *request.version_mut() = Version::HTTP_11;
    let parts = std::mem::take(request.uri_mut()).into_parts();
    let headers = request.headers_mut();
    if !headers.contains_key(header::HOST) {
        // Only a client of HTTP/1.0 may say nothing; one that was fitted to HTTP/2 says it there.
        let host = parts.authority.as_ref().unwrap_or(address);
        headers.insert(header::HOST, HeaderValue::from_str(host.as_str())?);
    }
    *request.uri_mut() = parts.path_and_query.unwrap_or_else(root).into();
    Ok(())
}

/// Says on HTTP/1.1 that a body of unknown length comes in chunks: hyper takes a GET or a HEAD that says nothing for one
/// without a body, and would leave it out.
pub(super) fn frame<B: Body>(request: &mut Request<B>) {
    let body = request.body();
    let is_open_ended = !body.is_end_stream() && body.size_hint().exact().is_none();
    let headers = request.headers_mut();
    if is_open_ended && !headers.contains_key(header::CONTENT_LENGTH) {
        headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}

/// Gives a request the form that HTTP/2 has, for a server at `address`.
pub(crate) fn fit_h2<B>(
    request: &mut Request<B>,
    scheme: Scheme,
    address: &Authority,
) -> Result<(), http::Error> {
    *request.version_mut() = Version::HTTP_2;
    let headers = request.headers_mut();
    headers.remove(header::EXPECT);
    headers.remove(header::TRANSFER_ENCODING);
    let authority = match headers.remove(header::HOST) {
        Some(host) => Authority::try_from(host.as_bytes())?,
        None => address.clone(),
    };
    let target = request.uri_mut().path_and_query().cloned().unwrap_or_else(root);
    let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query(target);
    *request.uri_mut() = uri.build()?;
    Ok(())
}

/// Removes from a request's trailers what a client may not say there, and what the operator has `changed` in its headers:
/// there are servers that read trailers as headers.
pub(super) fn strip_request_trailers(trailers: &mut HeaderMap, changed: &[HeaderName]) {
    strip_trailers(trailers);
    remove(trailers, |name| changed.iter().any(|changed| hyphenated(changed.as_str()) == name));
}

/// The names that the operator's changes are about.
pub(super) fn changed_names(
    changes: &HeaderChanges,
    rewrite: Option<&Rewrite>,
) -> Box<[HeaderName]> {
    let own = rewrite.map(|rewrite| &rewrite.headers);
    let all = std::iter::once(changes).chain(own);
    all.flat_map(|changes| changes.set.iter().map(|(name, _)| name).chain(&changes.remove))
        .cloned()
        .collect()
}

/// Removes from trailers what neither side may say there.
pub(crate) fn strip_trailers(trailers: &mut HeaderMap) {
    remove(trailers, |name| {
        is_hop_by_hop(name)
            || stays_in_request(name)
            || stays_in_response(name)
            || matches!(
                name,
                "authorization"
                    | "content-length"
                    | "host"
                    | "trailer"
                    | "www-authenticate"
                    | "cache-control"
                    | "set-cookie"
            )
    });
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
    let nominated: Vec<HeaderName> = list(headers, header::CONNECTION)
        .filter_map(|name| HeaderName::from_bytes(name).ok())
        // The host and the body's framing belong to the message, whatever the client says.
        .filter(|name| *name != header::HOST && *name != header::CONTENT_LENGTH)
        // So does the way that it has come, to which the gateway has added itself.
        .filter(|name| name != CDN_LOOP)
        .collect();
    for name in nominated {
        headers.remove(name);
    }
}

/// The elements of a header that is a list.
fn list(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &[u8]> {
    let lines = headers.get_all(name).into_iter();
    lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
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

fn root() -> PathAndQuery {
    PathAndQuery::from_static("/")
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

/// What only the gateway says to a client, or nobody.
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
            // Where else the service is: a client that goes there goes past the gateway.
            | "alt-svc"
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

/// As many headers at most the gateway adds: four of where a request came from, `TE`, `Connection`, `Upgrade`, `Expect`.
const OWN: usize = 8;
const CDN_LOOP: &str = "cdn-loop";
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

#[cfg(test)]
mod tests;
