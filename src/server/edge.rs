//! The strict reading of a request's head: what two parties could read in two ways is refused.
//!
//! The second line in HTTP/1, behind the [framing](super::framing); the only one of ours in HTTP/2, whose framing is h2's.
//! Knows nothing of routes; the target's own rules are in [`crate::protocol::target`].

use std::{net::SocketAddr, sync::Arc};

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, header, request::Parts,
    uri::Scheme,
};

use super::{Inbound, Proxies, Secured, framing::Refused, tls::Named};
use crate::protocol::target::Target;

/// How a request came in.
#[derive(Clone, Debug)]
pub(super) struct Way {
    pub(super) peer: SocketAddr,
    /// `https` behind TLS.
    pub(super) scheme: Scheme,
    /// Whom the client asked for in its handshake, where others are here too.
    pub(super) named: Option<Arc<Named>>,
    /// Who is believed about who is behind them.
    pub(super) proxies: Proxies,
}

/// Reads the head of a request; the headers of one that is refused tell how to say so.
pub(super) fn read<B>(
    request: Request<B>,
    mut way: Way,
) -> Result<Inbound<B>, (Refused, HeaderMap)> {
    let (mut head, body) = request.into_parts();
    if way.proxies.has_secured(way.peer, &head.headers) {
        way.scheme = Scheme::HTTPS;
    }
    let is_secured = way.scheme == Scheme::HTTPS;
    let peer = way.proxies.sender(way.peer, &head.headers);
    let (target, host, uri) = match check(&head, way) {
        Ok(read) => read,
        Err(refused) => return Err((refused, head.headers)),
    };
    if let Some(host) = host {
        head.headers.insert(header::HOST, host);
    }
    head.uri = uri;
    head.extensions.insert(peer);
    if is_secured {
        head.extensions.insert(Secured);
    }
    Ok(Inbound { request: Request::from_parts(head, body), target })
}

/// The target, the host and the whole URI of a request with one reading.
fn check(head: &Parts, way: Way) -> Result<(Target, Option<HeaderValue>, Uri), Refused> {
    check_method(&head.method)?;
    let target = Target::read(&head.uri)?;
    let host = read_host(head)?;
    check_codings(&head.headers)?;
    check_length(&head.headers)?;
    if let (Some(named), Some(host)) = (&way.named, &host)
        && !named.answers_for(host)
    {
        return Err(Refused::Misdirected);
    }
    let mut uri = Uri::builder().path_and_query(target.path_and_query().clone());
    if let Some(host) = &host {
        uri = uri.scheme(way.scheme).authority(host.as_bytes());
    }
    let uri = uri.build().map_err(|_| Refused::BadHost)?;
    Ok((target, host, uri))
}

fn check_method(method: &Method) -> Result<(), Refused> {
    match *method {
        Method::GET
        | Method::HEAD
        | Method::POST
        | Method::PUT
        | Method::PATCH
        | Method::DELETE
        | Method::OPTIONS => Ok(()),
        Method::CONNECT | Method::TRACE => Err(Refused::ForbiddenMethod),
        _ => Err(Refused::UnknownMethod),
    }
}

/// The one host that the request names; `None` only before HTTP/1.1.
fn read_host(head: &Parts) -> Result<Option<HeaderValue>, Refused> {
    let mut hosts = head.headers.get_all(header::HOST).iter();
    let (host, second) = (hosts.next(), hosts.next());
    if second.is_some() {
        return Err(Refused::TwoHosts);
    }
    let authority = head.uri.authority().map(http::uri::Authority::as_str);
    if let (Some(host), Some(authority)) = (host, authority)
        && !host.as_bytes().eq_ignore_ascii_case(authority.as_bytes())
    {
        return Err(Refused::OtherHost);
    }
    let host = match (host, authority) {
        (Some(host), _) if head.version < Version::HTTP_2 => host.clone(),
        (_, Some(authority)) if head.version >= Version::HTTP_2 => {
            HeaderValue::from_str(authority).map_err(|_| Refused::BadHost)?
        }
        (Some(host), None) => host.clone(),
        _ if head.version < Version::HTTP_11 => return Ok(None),
        _ => return Err(Refused::NoHost),
    };
    if is_host(host.as_bytes()) { Ok(Some(host)) } else { Err(Refused::BadHost) }
}

/// Whether the text is `host` or `host:port`: a name, an IPv4 address or an IPv6 address in brackets, and nothing else.
fn is_host(text: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(text) else { return false };
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => {
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return false;
            }
            ("v6", if rest.is_empty() { None } else { Some(rest.strip_prefix(':').unwrap_or("")) })
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let is_name = !host.is_empty()
        && !host.ends_with('.')
        && host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
    let is_port = port.is_none_or(|port| {
        port.bytes().all(|byte| byte.is_ascii_digit())
            && port.parse().is_ok_and(|port: u16| port > 0)
    });
    is_name && is_port
}

fn check_codings(headers: &HeaderMap) -> Result<(), Refused> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    if codings.next().is_some_and(|coding| coding != "chunked") || codings.next().is_some() {
        return Err(Refused::TransferCoding);
    }
    let is_known =
        |expected: &HeaderValue| expected.as_bytes().eq_ignore_ascii_case(b"100-continue");
    if headers.get_all(header::EXPECT).iter().all(is_known) {
        Ok(())
    } else {
        Err(Refused::Expectation)
    }
}

/// HTTP/2 frames by itself; what goes on by HTTP/1.1 must have one length there too.
fn check_length(headers: &HeaderMap) -> Result<(), Refused> {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let is_number = |length: &HeaderValue| {
        !length.is_empty() && length.as_bytes().iter().all(u8::is_ascii_digit)
    };
    if !lengths.next().is_none_or(is_number) {
        return Err(Refused::Length);
    }
    if lengths.next().is_some() {
        return Err(Refused::TwoLengths);
    }
    // Servers that make variables of headers cannot tell these from the ones with hyphens.
    let is_twin =
        |name: &HeaderName| matches!(name.as_str(), "content_length" | "transfer_encoding");
    if headers.keys().any(is_twin) { Err(Refused::Field) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::target::Ambiguous;

    fn head(method: &str, uri: &str, version: Version, headers: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::builder().method(method).uri(uri).version(version);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    fn h1(method: &str, uri: &str, headers: &[(&str, &str)]) -> Result<Inbound<()>, Refused> {
        reading(head(method, uri, Version::HTTP_11, headers))
    }

    fn h2(uri: &str, headers: &[(&str, &str)]) -> Result<Inbound<()>, Refused> {
        reading(head("GET", uri, Version::HTTP_2, headers))
    }

    fn reading(request: Request<()>) -> Result<Inbound<()>, Refused> {
        read(request, way()).map_err(|(refused, _)| refused)
    }

    fn way() -> Way {
        Way { peer: peer(), scheme: Scheme::HTTP, named: None, proxies: Proxies::default() }
    }

    fn peer() -> SocketAddr {
        ([192, 0, 2, 1], 4711).into()
    }

    #[track_caller]
    fn host_of(inbound: Result<Inbound<()>, Refused>) -> String {
        inbound.unwrap().request.headers()[header::HOST].to_str().unwrap().to_owned()
    }

    #[test]
    fn a_plain_request_comes_in_as_it_is() {
        let inbound = h1("GET", "/a?b", &[("host", "gw:8402"), ("x", "1")]).unwrap();
        assert_eq!(inbound.target.as_str(), "/a?b");
        assert_eq!(inbound.request.uri(), "http://gw:8402/a?b");
        assert_eq!(inbound.request.extensions().get(), Some(&peer()));
        assert_eq!(inbound.request.headers().len(), 2);
    }

    #[test]
    fn e06_an_absolute_target_names_the_same_host_or_is_refused() {
        let other = h1("GET", "http://evil/paid/x", &[("host", "gw")]);
        assert_eq!(other.unwrap_err(), Refused::OtherHost);
        let same = h1("GET", "http://GW/paid/x", &[("host", "gw")]).unwrap();
        assert_eq!(same.request.uri(), "http://gw/paid/x");
        let user = h1("GET", "http://a@gw/paid/x", &[("host", "gw")]);
        assert_eq!(user.unwrap_err(), Refused::OtherHost);
    }

    #[test]
    fn e07_a_target_that_is_no_path_is_refused() {
        for (method, uri) in [("GET", "*"), ("OPTIONS", "*"), ("GET", "a"), ("GET", "evil:80")] {
            let refused = h1(method, uri, &[("host", "gw")]).unwrap_err();
            assert_eq!(refused, Refused::Target(Ambiguous::NotAPath), "{method} {uri}");
        }
    }

    #[test]
    fn e11_only_known_methods_come_in() {
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
            assert!(h1(method, "/", &[("host", "gw")]).is_ok(), "{method}");
        }
        for method in ["get", "Get", "FOO", "PROPFIND", "PURGE"] {
            let refused = h1(method, "/", &[("host", "gw")]).unwrap_err();
            assert_eq!(refused, Refused::UnknownMethod, "{method}");
        }
        for (method, uri) in [("TRACE", "/"), ("CONNECT", "gw:80"), ("CONNECT", "/")] {
            let refused = h1(method, uri, &[("host", "gw")]).unwrap_err();
            assert_eq!(refused, Refused::ForbiddenMethod, "{method}");
        }
    }

    #[test]
    fn a_request_names_one_host() {
        let two = h1("GET", "/", &[("host", "gw"), ("host", "gw")]);
        assert_eq!(two.unwrap_err(), Refused::TwoHosts);
        assert_eq!(h1("GET", "/", &[]).unwrap_err(), Refused::NoHost);
        let old = reading(head("GET", "/", Version::HTTP_10, &[])).unwrap();
        assert_eq!(old.request.uri(), "/");
        assert_eq!(host_of(h1("GET", "/", &[("host", "gw")])), "gw");
    }

    #[test]
    fn g02_http2_has_one_authority() {
        assert_eq!(host_of(h2("http://gw/x", &[])), "gw");
        assert_eq!(host_of(h2("http://gw/x", &[("host", "GW")])), "gw");
        assert_eq!(h2("http://gw/x", &[("host", "evil")]).unwrap_err(), Refused::OtherHost);
        assert_eq!(host_of(h2("/x", &[("host", "gw")])), "gw");
        assert_eq!(h2("/x", &[]).unwrap_err(), Refused::NoHost);
    }

    #[test]
    fn g03_a_host_is_a_name_or_an_address_and_a_port() {
        for host in
            ["gw", "a.b-c_d.example", "127.0.0.1:1", "[::1]", "[2001:db8::1]:8402", "gw:65535"]
        {
            assert_eq!(host_of(h1("GET", "/", &[("host", host)])), host);
        }
        for host in [
            "",
            "a@evil",
            "gw:0",
            "gw:",
            "gw:65536",
            "gw:+1",
            "gw.",
            "gw.:80",
            "[::1",
            "[fe80::1%25eth0]",
            "[::1]x",
            "[::1]:",
            "gw/x",
            "gw,evil",
            "gw evil",
            "g\u{fc}",
            "::1",
        ] {
            let refused = h1("GET", "/", &[("host", host)]).unwrap_err();
            assert_eq!(refused, Refused::BadHost, "{host}");
        }
        assert_eq!(h2("http://a@gw/x", &[]).unwrap_err(), Refused::BadHost);
    }

    #[test]
    fn f03_a_transfer_coding_is_one_chunked() {
        let with = |codings: &[&str]| {
            let mut headers = vec![("host", "gw")];
            headers.extend(codings.iter().map(|coding| ("transfer-encoding", *coding)));
            h1("POST", "/", &headers).map(|_| ())
        };
        assert_eq!(with(&["chunked"]), Ok(()));
        for codings in [
            &["gzip, chunked"][..],
            &["chunked", "chunked"],
            &["Chunked"],
            &["xchunked"],
            &["chunked, identity"],
            &[""],
        ] {
            assert_eq!(with(codings), Err(Refused::TransferCoding), "{codings:?}");
        }
    }

    #[test]
    fn f02_a_length_is_one_number_in_http2_too() {
        let with = |headers: &[(&str, &str)]| h2("http://gw/x", headers).map(|_| ());
        assert_eq!(with(&[("content-length", "5")]), Ok(()));
        let two = [("content-length", "5"), ("content-length", "5")];
        assert_eq!(with(&two), Err(Refused::TwoLengths));
        for odd in ["", "+5", "5, 5", "0x5", "-1"] {
            assert_eq!(with(&[("content-length", odd)]), Err(Refused::Length), "{odd}");
        }
        for twin in ["content_length", "transfer_encoding"] {
            assert_eq!(
                with(&[("content-length", "5"), (twin, "0")]),
                Err(Refused::Field),
                "{twin}"
            );
        }
    }

    #[test]
    fn only_the_continuation_can_be_expected() {
        let with = |expected| h1("POST", "/", &[("host", "gw"), ("expect", expected)]).map(|_| ());
        assert_eq!(with("100-Continue"), Ok(()));
        assert_eq!(with("foo"), Err(Refused::Expectation));
    }
}
