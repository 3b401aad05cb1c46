//! Where the gateway listens, and what clients call it.

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use crate::config::{
    read::{Fields, Keys, Spot},
    settings::Listener,
};

/// The listeners: `listen: ADDRESS`, or `listeners:` with names.
pub(super) fn read(root: &Fields<'_>) -> Option<Vec<Listener>> {
    match (root.get("listen"), root.get("listeners")) {
        (Some(_), Some(_)) => root.fault_key(
            "listeners",
            "`listen` and `listeners` are both given",
            "`listen` is the short form for one listener: keep one of the two",
        ),
        (Some(listen), None) => {
            Some(vec![Listener { name: "public".to_owned(), address: read_address(&listen)? }])
        }
        (None, Some(list)) => read_list(&list),
        (None, None) => {
            root.spot.fault("`listen` is missing", "say where to listen: `listen: 127.0.0.1:8402`")
        }
    }
}

/// The address that clients know the gateway by, without a trailing slash.
pub(super) fn read_public_url(root: &Fields<'_>) -> Option<Arc<str>> {
    let example = "https://api.example.com";
    let url = root.get("public_url")?.url(example)?;
    if !url.is_origin() {
        return url.text.fault("has a path", format!("write it like `{example}`"));
    }
    let authority = url.uri.authority()?.as_str();
    let scheme = if url.is_https() { "https" } else { "http" };
    Some(format!("{scheme}://{authority}").into())
}

/// Challenges name the gateway's address: a listener that others reach needs the one that they know.
pub(super) fn warn_of_missing_url(root: &Fields<'_>, listeners: &[Listener]) {
    if let Some(listener) = listeners.first().filter(|first| !first.address.ip().is_loopback()) {
        root.spot.warn(
            format!("`public_url` is missing: challenges will name `http://{}`", listener.address),
            "say what clients call the gateway: `public_url: https://api.example.com`",
        );
    }
}

fn read_list(list: &Spot<'_>) -> Option<Vec<Listener>> {
    let items = list.items()?;
    if items.is_empty() {
        return list.fault("there is no listener", "say where to listen: `listen: 127.0.0.1:8402`");
    }
    let listeners: Vec<_> = items.iter().map(|item| (item, read_listener(item))).collect();
    let mut names = HashMap::new();
    let mut addresses = HashMap::new();
    for (item, listener) in &listeners {
        let Some(listener) = listener else { continue };
        if let Some(first) = names.insert(listener.name.as_str(), item.path.as_str()) {
            item.fault::<()>(
                format!("the name `{}` is taken by `{first}`", listener.name),
                "give each listener a name of its own",
            );
        }
        let port = listener.address.port();
        let first = addresses.insert(listener.address, item.path.as_str());
        if let Some(first) = first.filter(|_| port != 0) {
            item.fault::<()>(
                format!("the address `{}` is taken by `{first}`", listener.address),
                "give each listener an address of its own",
            );
        }
    }
    listeners.into_iter().map(|(_, listener)| listener).collect()
}

fn read_listener(item: &Spot<'_>) -> Option<Listener> {
    let fields = item.fields(&LISTENER)?;
    let name = fields.need("name", "give the listener a name: `name: public`")?.name();
    let address = fields.need("address", "say where to listen: `address: 127.0.0.1:8402`");
    let address = address.and_then(|address| read_address(&address));
    Some(Listener { name: name?, address: address? })
}

pub(super) fn read_address(spot: &Spot<'_>) -> Option<SocketAddr> {
    let text = spot.text()?;
    if let Ok(address) = text.text.parse() {
        return Some(address);
    }
    let port = text.text.rsplit_once(':').map_or_else(|| text.text.as_ref(), |(_, port)| port);
    let hint = match (port.parse::<u16>(), text.text.split_once(':')) {
        (Ok(port), Some(("" | "*", _))) => format!("for every interface write `0.0.0.0:{port}`"),
        (Ok(port), Some(("localhost", _))) => format!("write `127.0.0.1:{port}`"),
        (Ok(port), None) => format!("write an IP address too: `127.0.0.1:{port}`"),
        _ => "write an IP address and a port: `127.0.0.1:8402` or `\"[::1]:8402\"`".to_owned(),
    };
    text.fault("is not an address to listen on", hint)
}

const LISTENER: Keys = Keys { known: &["name", "address"], later: &["tls", "trusted_proxies"] };
