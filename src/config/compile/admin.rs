//! The section `admin`: where the operator's own port is, and what its callers must have.

use secrecy::{ExposeSecret as _, SecretString};

use super::listener;
use crate::config::{
    read::{Keys, Spot},
    settings::{Admin, Listener},
};

/// Reads the section; `listeners` are those that customers reach, if they could be read.
pub(super) fn read(spot: &Spot<'_>, listeners: Option<&[Listener]>) -> Option<Admin> {
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
