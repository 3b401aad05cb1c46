//! The strict reading of a request's head: what two parties could read in two ways is refused.
//!
//! Knows nothing of routes; the target's own rules are in [`crate::protocol::target`].

use std::net::SocketAddr;

use http::{
    HeaderMap, HeaderValue, Method, Request, Uri, Version, header, request::Parts, uri::Scheme,
};

use super::Inbound;
use crate::protocol::target::{Ambiguous, Target};

/// Why a request is not let in; nothing of it goes further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The target has more than one reading. 400, or 414 if it is too long.
    #[error(transparent)]
    Target(#[from] Ambiguous),
    /// More than one `Host`. 400.
    #[error("the request has more than one `Host`")]
    TwoHosts,
    /// No `Host`, where the protocol demands one. 400.
    #[error("the request has no `Host`")]
    NoHost,
    /// A `Host` or `:authority` that is not `host` or `host:port`. 400.
    #[error("the request's host is not `host` or `host:port`")]
    BadHost,
    /// `Host` is another than the one in the target or in `:authority`. 400.
    #[error("the request names two hosts")]
    OtherHost,
    /// A method that the gateway does not know. 501.
    #[error("the request's method is not one of GET, HEAD, POST, PUT, PATCH, DELETE and OPTIONS")]
    UnknownMethod,
    /// CONNECT or TRACE. 405.
    #[error("CONNECT and TRACE are not served")]
    ForbiddenMethod,
    /// A transfer coding other than one `chunked`. 501.
    #[error("the request has another transfer coding than one `chunked`")]
    TransferCoding,
    /// An `Expect` other than `100-continue`. 417.
    #[error("the request expects something else than `100-continue`")]
    Expectation,
}

/// Reads the head of a request.
pub(super) fn read<B>(request: Request<B>, peer: SocketAddr) -> Result<Inbound<B>, Refused> {
    let (mut head, body) = request.into_parts();
    check_method(&head.method)?;
    let target = Target::read(&head.uri)?;
    let host = read_host(&head)?;
    check_codings(&head.headers)?;
    let mut uri = Uri::builder().path_and_query(target.path_and_query().clone());
    if let Some(host) = host {
        uri = uri.scheme(Scheme::HTTP).authority(host.as_bytes());
        head.headers.insert(header::HOST, host);
    }
    head.uri = uri.build().map_err(|_| Refused::BadHost)?;
    head.extensions.insert(peer);
    Ok(Inbound { request: Request::from_parts(head, body), target })
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
