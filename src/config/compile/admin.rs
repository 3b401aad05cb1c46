//! The section `admin`: where the operator's own port is, and what its callers must have.

use std::net::SocketAddr;

use http::uri::Authority;
use secrecy::{ExposeSecret as _, SecretString};

use super::{listener, upstream::Upstream};
use crate::config::{
    read::{Keys, Spot},
    settings::{Admin, Listener},
    value::is_loopback,
};

/// Reads the section; `listeners` and `upstreams` are what customers reach, as far as they could be read.
pub(super) fn read(
    spot: &Spot<'_>,
    listeners: Option<&[Listener]>,
    upstreams: Option<&[Upstream]>,
) -> Option<Admin> {
    let fields = spot.fields(&ADMIN)?;
    let address = fields.need("address", "say where: `address: 127.0.0.1:9901`").and_then(|spot| {
        let address = listener::read_address(&spot)?;
        let mut listeners = listeners.unwrap_or_default().iter();
        match listeners.find(|listener| listener.address == address && address.port() != 0) {
            None => Some(address),
            Some(listener) => spot.fault(
                format!("`{address}` is the address of the listener `{}`", listener.name),
                "customers must not reach the admin port: give it an address of its own",
            ),
        }
    });
    let address = address.filter(|address| {
        let mut upstreams = upstreams.unwrap_or_default().iter();
        let leads_here = |upstream: &Upstream| {
            let usual = if upstream.settings.tls.is_some() { 443 } else { 80 };
            upstream.settings.servers.iter().any(|server| is_at(server, usual, *address))
        };
        upstreams.find(|upstream| leads_here(upstream)).is_none_or(|upstream| {
            fields.spot.fault::<()>(
                format!("`{address}` is a server of the upstream `{}`", upstream.settings.name),
                "customers must not reach the admin port: give it an address of its own",
            );
            false
        })
    });
    let token = match fields.get("token") {
        None => Some(None),
        Some(spot) => read_token(&spot).map(Some),
    };
    let (address, token) = (address?, token?);
    if token.is_none() && !address.ip().is_loopback() {
        return fields.spot.fault(
            format!("`{address}` can be reached from elsewhere, and there is no `token`"),
            "set one, `token: { env: ADMIN_TOKEN }`, or listen on 127.0.0.1",
        );
    }
    Some(Admin { address, token })
}

/// Whether the upstream server `server`, `host:port` with a `usual` port, is what listens on `address`.
fn is_at(server: &Authority, usual: u16, address: SocketAddr) -> bool {
    let host = server.host();
    let same_host = host.trim_start_matches('[').trim_end_matches(']') == address.ip().to_string();
    let here = is_loopback(host) && (address.ip().is_loopback() || address.ip().is_unspecified());
    server.port_u16().unwrap_or(usual) == address.port() && (same_host || here)
}

fn read_token(spot: &Spot<'_>) -> Option<SecretString> {
    let secret = spot.secret()?;
    let text = secret.text.expose_secret();
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return spot.fault(
            format!("{} cannot stand in a header", secret.origin),
            "take printable ASCII characters without spaces: `openssl rand -hex 32`",
        );
    }
    if text.len() < LEAST_TOKEN {
        return spot.fault(
            format!(
                "{} has {} characters, and needs at least {LEAST_TOKEN}",
                secret.origin,
                text.len()
            ),
            "make a token that nobody guesses: `openssl rand -hex 32`",
        );
    }
    Some(secret.text)
}

const ADMIN: Keys = Keys { known: &["address", "token"], later: &[] };
const LEAST_TOKEN: usize = 32;
