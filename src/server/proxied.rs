//! Proxies before the gateway: which of them are believed, and what they say of who is behind them.
//!
//! A trusted proxy may say so before everything else on a connection (the PROXY protocol, version 1 or 2), or in the
//! headers of each request (`X-Forwarded-For`, `X-Forwarded-Proto`). Of anybody else neither is believed. Whether the
//! PROXY protocol is spoken at a listener is never guessed: where it is, whoever does not speak it, and whoever is not
//! trusted, is turned away.
//! Source: the PROXY protocol, versions 1 and 2 (HAProxy's `proxy-protocol.txt`).

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use http::HeaderMap;
use ipnet::IpNet;
use ppp::{v1, v2};
use tokio::{io::AsyncReadExt as _, net::TcpStream};

/// Who is believed. Clones share it; the default believes nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies(Arc<[IpNet]>);

impl From<Vec<IpNet>> for Proxies {
    fn from(networks: Vec<IpNet>) -> Self {
        Self(networks.into())
    }
}

impl Proxies {
    /// The networks of those who are believed.
    #[must_use]
    pub fn networks(&self) -> &[IpNet] {
        &self.0
    }

    /// Whether what comes from this address is believed.
    #[must_use]
    pub fn trust(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Who sent a request that came from `peer`, by `headers`: behind the trusted proxies the first address that is none of
    /// theirs, without a port. What stands before it anybody may have written.
    pub(super) fn sender(&self, peer: SocketAddr, headers: &HeaderMap) -> SocketAddr {
        if self.0.is_empty() || !self.trust(peer.ip()) {
            return peer;
        }
        let mut sender = peer;
        let lines: Vec<_> = headers.get_all(FORWARDED_FOR).iter().collect();
        let hops = lines.iter().rev().flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
        for hop in hops {
            let text = std::str::from_utf8(hop.trim_ascii()).ok();
            // Whoever wrote something else cannot be asked what it means: the last one that is known is whom we know.
            let Some(address) = text.and_then(read_address) else { break };
            sender = SocketAddr::new(address, 0);
            if !self.trust(address) {
                break;
            }
        }
        sender
    }

    /// Whether a trusted proxy says that the request came to it over TLS.
    pub(super) fn has_secured(&self, peer: SocketAddr, headers: &HeaderMap) -> bool {
        let mut told = headers.get_all(FORWARDED_PROTO).iter();
        let is_https =
            told.next().is_some_and(|told| told.as_bytes().eq_ignore_ascii_case(b"https"));
        is_https && told.next().is_none() && !self.0.is_empty() && self.trust(peer.ip())
    }

    /// Takes off `stream` what the proxy `peer` says of who is behind it, and nothing else; without a time-out. `None` of a
    /// check of the proxy's own, and of what is no TCP: then it speaks for itself.
    ///
    /// # Errors
    /// If the peer is not trusted, or says it otherwise than the PROXY protocol does.
    pub(super) async fn introduced(
        &self,
        stream: &mut TcpStream,
        peer: SocketAddr,
    ) -> io::Result<Option<SocketAddr>> {
        if !self.trust(peer.ip()) {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "no trusted proxy"));
        }
        let mut start = [0; SIGNATURE.len()];
        stream.read_exact(&mut start).await?;
        if start == SIGNATURE {
            read_v2(stream, start).await
        } else if start.starts_with(V1) {
            read_v1(stream, start).await
        } else {
            Err(malformed("no header of the PROXY protocol"))
        }
    }
}

/// A line, whose end is not read past.
async fn read_v1(
    stream: &mut TcpStream,
    start: [u8; SIGNATURE.len()],
) -> io::Result<Option<SocketAddr>> {
    let mut line = start.to_vec();
    let mut more = [0; MOST_V1 - SIGNATURE.len()];
    loop {
        let room = MOST_V1.saturating_sub(line.len());
        let room = more.get_mut(..room).unwrap_or_default();
        if room.is_empty() {
            return Err(malformed("a line of the PROXY protocol without an end"));
        }
        let length = stream.peek(room).await?;
        let seen = room.get(..length).unwrap_or_default();
        let end = seen.iter().position(|byte| *byte == b'\n');
        let take = end.map_or(length, |end| end.saturating_add(1));
        let taken = room.get_mut(..take).unwrap_or_default();
        if taken.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        stream.read_exact(taken).await?;
        line.extend_from_slice(taken);
        if end.is_some() {
            break;
        }
    }
    let header = v1::Header::try_from(line.as_slice()).map_err(io::Error::other)?;
    Ok(match header.addresses {
        v1::Addresses::Tcp4(told) => Some((told.source_address, told.source_port).into()),
        v1::Addresses::Tcp6(told) => Some((told.source_address, told.source_port).into()),
        v1::Addresses::Unknown => None,
    })
}

async fn read_v2(
    stream: &mut TcpStream,
    start: [u8; SIGNATURE.len()],
) -> io::Result<Option<SocketAddr>> {
    let mut header = start.to_vec();
    let mut fixed = [0; 4];
    stream.read_exact(&mut fixed).await?;
    header.extend_from_slice(&fixed);
    let [_, _, high, low] = fixed;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > MOST_V2 {
        return Err(malformed("a header of the PROXY protocol that is too long"));
    }
    let mut rest = vec![0; length];
    stream.read_exact(&mut rest).await?;
    header.extend_from_slice(&rest);
    let header = v2::Header::try_from(header.as_slice()).map_err(io::Error::other)?;
    if header.command == v2::Command::Local {
        return Ok(None);
    }
    Ok(match header.addresses {
        v2::Addresses::IPv4(told) => Some((told.source_address, told.source_port).into()),
        v2::Addresses::IPv6(told) => Some((told.source_address, told.source_port).into()),
        v2::Addresses::Unspecified | v2::Addresses::Unix(_) => None,
    })
}

/// An address as proxies write it: some add a port.
fn read_address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok();
    let address = address.or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

fn malformed(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

const FORWARDED_FOR: &str = "x-forwarded-for";
const FORWARDED_PROTO: &str = "x-forwarded-proto";
const V1: &[u8] = b"PROXY ";
/// What version 2 begins with; no line of version 1 is as short.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// A line of version 1 has no more bytes, by its specification.
const MOST_V1: usize = 107;
/// Addresses, and what load balancers add to them.
const MOST_V2: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn sender(trusted: &[&str], peer: &str, lines: &[&str]) -> String {
        let networks = trusted.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpNet>>();
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, line.parse().unwrap());
        }
        let peer = SocketAddr::new(peer.parse().unwrap(), 4711);
        Proxies::from(networks).sender(peer, &headers).to_string()
    }

    #[test]
    fn the_sender_is_the_last_that_a_trusted_proxy_names_and_is_none_itself() {
        let inside = &["10.0.0.0/8", "2001:db8::/32"][..];
        for (peer, lines, expected) in [
            ("192.0.2.1", &["198.51.100.7"][..], "192.0.2.1:4711"),
            ("10.0.0.1", &[], "10.0.0.1:4711"),
            ("10.0.0.1", &["198.51.100.7"], "198.51.100.7:0"),
            ("::ffff:10.0.0.1", &["198.51.100.7"], "198.51.100.7:0"),
            ("10.0.0.1", &["203.0.113.9, 198.51.100.7"], "198.51.100.7:0"),
            ("10.0.0.1", &["203.0.113.9", "198.51.100.7, 10.0.0.2"], "198.51.100.7:0"),
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3:0"),
            ("10.0.0.1", &["198.51.100.7:1234"], "198.51.100.7:0"),
            ("2001:db8::1", &["[2001:db9::7]:1234"], "[2001:db9::7]:0"),
            ("10.0.0.1", &["203.0.113.9, unknown"], "10.0.0.1:4711"),
            ("10.0.0.1", &["203.0.113.9, , 10.0.0.2"], "10.0.0.2:0"),
        ] {
            assert_eq!(sender(inside, peer, lines), expected, "{peer} {lines:?}");
        }
        assert_eq!(sender(&[], "10.0.0.1", &["198.51.100.7"]), "10.0.0.1:4711");
    }
}
