//! Heads on their way through: nothing of a hop or of a payment passes, and all else does, byte for byte.
//!
//! Input: a first byte that says the version, then lines of `name:value`.

use std::net::SocketAddr;

use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Version, header,
    request::Parts,
    uri::{Authority, Scheme},
};

use crate::{
    protocol::mpp,
    route::HeaderChanges,
    upstream::headers::{fit_h1, fit_h2, prepare_request, strip_response, strip_trailers},
};

pub(super) fn check(bytes: &[u8]) {
    let Some((first, lines)) = bytes.split_first() else { return };
    let Some(headers) = read(lines) else { return };
    let version = if first & 1 == 0 { Version::HTTP_11 } else { Version::HTTP_2 };
    goes_up(&headers, version);
    is_fitted(&headers, version);
    comes_down(&headers);
    ends(&headers);
}

fn goes_up(headers: &HeaderMap, version: Version) {
    let prepared = |headers: &HeaderMap, version| {
        let mut head = head(headers.clone(), version);
        prepare(&mut head);
        head.headers
    };
    let once = prepared(headers, version);
    assert_eq!(once, prepared(headers, version));
    assert_eq!(once, prepared(&once, Version::HTTP_11), "what went up once changes no more");
    assert!(matches!(mpp::find(&once), Ok(None)), "{once:?}");
    for name in once.keys() {
        let plain = name.as_str().replace('_', "-");
        let is_own = OURS_UP.contains(&name.as_str());
        assert!(is_own || !STAYS.contains(&plain.as_str()), "{name}");
        assert!(is_own || !plain.starts_with("x-forwarded-"), "{name}");
        assert!(!STAYS_UP.contains(&plain.as_str()), "{name}");
    }
    if let Some(te) = once.get(header::TE) {
        assert_eq!((te.as_bytes(), once.get_all(header::TE).iter().count()), (&b"trailers"[..], 1));
    }
    for (name, value) in set() {
        assert_eq!(values(&once, &name), [value.as_bytes()], "{name}");
    }
    assert_eq!(values(&once, &FORWARDED_FOR), [b"192.0.2.1"]);
    let nominated = nominated(headers);
    for name in headers.keys().filter(|name| !nominated.contains(name)) {
        let plain = name.as_str().replace('_', "-");
        let listed = [&STAYS[..], &STAYS_UP, &OURS_UP].concat().contains(&plain.as_str())
            || plain.starts_with("x-forwarded-")
            || name == header::AUTHORIZATION
            || plain == SET;
        if !listed {
            assert_eq!(values(headers, name), values(&once, name), "{name}");
        }
    }
    // What is no credential of ours stays as it is, to the byte.
    if matches!(mpp::find(headers), Ok(None)) && !nominated.contains(&header::AUTHORIZATION) {
        let name = &header::AUTHORIZATION;
        assert_eq!(values(headers, name), values(&once, name));
    }
}

fn prepare(head: &mut Parts) {
    let changes = HeaderChanges { set: set().to_vec(), remove: Vec::new() };
    prepare_request(head, &changes, None).expect("its target stays as it is");
}

/// What a head becomes for an upstream of the one protocol or the other.
fn is_fitted(headers: &HeaderMap, version: Version) {
    let address = Authority::from_static("upstream:80");
    let request = || {
        let mut head = head(headers.clone(), version);
        prepare(&mut head);
        Request::from_parts(head, ())
    };
    let sent = request();
    let mut h1 = request();
    if fit_h1(&mut h1, &address).is_ok() {
        let cookies = values(h1.headers(), &header::COOKIE);
        let crumbs = values(sent.headers(), &header::COOKIE);
        if version == Version::HTTP_2 && crumbs.len() > 1 {
            assert_eq!(cookies, [crumbs.join(&b"; "[..])]);
        } else {
            assert_eq!(cookies, crumbs);
        }
        let hosts = values(sent.headers(), &header::HOST);
        let named = values(h1.headers(), &header::HOST);
        assert_eq!(named, if hosts.is_empty() { vec![&b"upstream:80"[..]] } else { hosts });
        is_all_but(sent.headers(), h1.headers(), &[header::COOKIE, header::HOST]);
    }
    let mut h2 = request();
    if fit_h2(&mut h2, Scheme::HTTP, &address).is_ok() {
        assert!(!h2.headers().contains_key(header::HOST));
        let authority = h2.uri().authority().map(Authority::as_str);
        let host = sent.headers().get(header::HOST).and_then(|host| host.to_str().ok());
        assert_eq!(authority, Some(host.unwrap_or("upstream:80")));
        is_all_but(sent.headers(), h2.headers(), &[header::HOST]);
    }
}

fn is_all_but(one: &HeaderMap, other: &HeaderMap, but: &[HeaderName]) {
    for name in one.keys().chain(other.keys()).filter(|name| !but.contains(name)) {
        assert_eq!(values(one, name), values(other, name), "{name}");
    }
}

/// Trailers say nothing of a hop, of a payment or of the message's frame, and else what they said.
fn ends(headers: &HeaderMap) {
    let mut once = headers.clone();
    strip_trailers(&mut once);
    let mut twice = once.clone();
    strip_trailers(&mut twice);
    assert_eq!(once, twice);
    for name in headers.keys() {
        let plain = name.as_str().replace('_', "-");
        let stays = [&STAYS[..], &STAYS_UP, &STAYS_DOWN, &STAYS_AT_THE_END].concat();
        let is_told = once.contains_key(name);
        let stays = stays.contains(&plain.as_str()) || plain.starts_with("x-forwarded-");
        assert_eq!(is_told, !stays, "{name}");
        assert!(!is_told || values(headers, name) == values(&once, name), "{name}");
    }
}

fn comes_down(headers: &HeaderMap) {
    let stripped = |headers: &HeaderMap| {
        let mut headers = headers.clone();
        strip_response(&mut headers);
        headers
    };
    let once = stripped(headers);
    assert_eq!(once, stripped(headers));
    assert_eq!(once, stripped(&once), "what came down once changes no more");
    let challenges = mpp::parse_challenges(once.get_all(header::WWW_AUTHENTICATE));
    assert!(challenges.is_empty(), "{challenges:?}");
    for name in once.keys() {
        let plain = name.as_str().replace('_', "-");
        assert!(
            !STAYS.contains(&plain.as_str()) && !STAYS_DOWN.contains(&plain.as_str()),
            "{name}"
        );
        assert!(*name != header::TE, "{name}");
    }
    let nominated = nominated(headers);
    for name in headers.keys().filter(|name| !nominated.contains(name)) {
        let plain = name.as_str().replace('_', "-");
        let stays = [&STAYS[..], &STAYS_DOWN, &["te"]].concat().contains(&plain.as_str());
        if !stays && *name != header::WWW_AUTHENTICATE {
            assert_eq!(values(headers, name), values(&once, name), "{name}");
        }
    }
    if mpp::parse_challenges(headers.get_all(header::WWW_AUTHENTICATE)).is_empty()
        && !nominated.contains(&header::WWW_AUTHENTICATE)
    {
        let name = &header::WWW_AUTHENTICATE;
        assert_eq!(values(headers, name), values(&once, name));
    }
}

fn read(lines: &[u8]) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for line in lines.split(|byte| *byte == b'\n') {
        let at = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = line.split_at_checked(at)?;
        let name = HeaderName::from_bytes(name).ok()?;
        headers.append(name, HeaderValue::from_bytes(value.get(1..)?).ok()?);
        if headers.len() > MOST_LINES {
            return None;
        }
    }
    Some(headers)
}

fn head(headers: HeaderMap, version: Version) -> Parts {
    let mut head = Request::new(()).into_parts().0;
    head.headers = headers;
    head.version = version;
    head.extensions.insert(SocketAddr::from(([192, 0, 2, 1], 4711)));
    head
}

fn set() -> [(HeaderName, HeaderValue); 1] {
    [(HeaderName::from_static(SET), HeaderValue::from_static("ours"))]
}

/// What `Connection` names, but for what belongs to the message itself.
fn nominated(headers: &HeaderMap) -> Vec<HeaderName> {
    let names = values(headers, &header::CONNECTION).join(&b',');
    let names = names.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    names.filter_map(|name| HeaderName::from_bytes(name).ok()).collect()
}

fn values<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Vec<&'a [u8]> {
    headers.get_all(name).iter().map(HeaderValue::as_bytes).collect()
}

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const SET: &str = "x-set";
/// Names that the gateway writes itself.
const OURS_UP: [&str; 5] = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "te", SET];
/// Names that pass neither way.
const STAYS: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];
const STAYS_UP: [&str; 14] = [
    "payment-signature",
    "x-payment",
    "payment-authorization",
    "payment-channel",
    "accept-payment",
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-original-url",
    "x-original-uri",
    "x-rewrite-url",
    "forwarded",
    "x-real-ip",
    "expect",
];
const STAYS_DOWN: [&str; 8] = [
    "alt-svc",
    "payment-required",
    "payment-response",
    "x-payment-response",
    "payment-receipt",
    "payment-next",
    "settlement-overrides",
    "extension-responses",
];
/// Names that no trailer has.
const STAYS_AT_THE_END: [&str; 8] = [
    "authorization",
    "cache-control",
    "content-length",
    "host",
    "set-cookie",
    "te",
    "trailer",
    "www-authenticate",
];
const MOST_LINES: usize = 200;
