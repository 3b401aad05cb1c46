//! Where the gateway listens, and what clients call it.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use ipnet::IpNet;

use crate::{
    config::{
        diagnostic::quoted,
        read::{Fields, Keys, Spot},
        secret::is_open_to_all,
        settings::Listener,
    },
    server::{
        Limits, Proxies,
        tls::{Fault, Identity, Protocol, Tls},
    },
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
            let address = read_address(&listen)?;
            let (name, limits) = ("public".to_owned(), Limits::USUAL);
            let proxies = Proxies::default();
            Some(vec![Listener {
                name,
                address,
                tls: None,
                limits,
                proxies,
                proxy_protocol: false,
            }])
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
            format!(
                "`public_url` is missing: challenges will name `{}`",
                listener.url(listener.address)
            ),
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
    let tls = fields.get("tls").map_or(Some(None), |tls| read_tls(&tls).map(Some));
    let limits = fields.get("limits").map_or(Some(Limits::USUAL), |limits| read_limits(&limits));
    let proxies = match fields.get("trusted_proxies") {
        Some(list) => read_proxies(&list),
        None => Some(Vec::new()),
    };
    let proxy_protocol = match fields.get("proxy_protocol") {
        Some(spot) if proxies.as_ref().is_some_and(Vec::is_empty) => {
            let is_spoken = spot.flag()?;
            if is_spoken {
                spot.fault::<()>("nobody is trusted to speak it", PROXIES_HINT);
            }
            Some(is_spoken)
        }
        Some(spot) => spot.flag(),
        None => Some(false),
    };
    let proxies = proxies.map(Proxies::from);
    Some(Listener {
        name: name?,
        address: address?,
        tls: tls?,
        limits: limits?,
        proxies: proxies?,
        proxy_protocol: proxy_protocol?,
    })
}

/// The networks of proxies that are believed: `10.0.0.0/8`, or an address alone.
fn read_proxies(list: &Spot<'_>) -> Option<Vec<IpNet>> {
    let networks: Vec<_> = list
        .items()?
        .iter()
        .map(|item| {
            let text = item.text()?;
            let address = text.text.parse().map(|address: IpAddr| address.to_canonical());
            match text.text.parse().ok().or_else(|| address.ok().map(IpNet::from)) {
                Some(network) if network.prefix_len() == 0 => {
                    item.warn(
                        "everybody is a trusted proxy: any client says for itself where it comes from",
                        "name your proxies alone, such as `10.0.0.0/8`",
                    );
                    Some(network)
                }
                Some(network) => Some(unmapped(network)),
                None => text.fault("is no network of proxies", "write `10.0.0.0/8`, or `10.0.0.1`"),
            }
        })
        .collect();
    networks.into_iter().collect()
}

/// A network of addresses of IPv4 as such, where it is written as one of IPv6: they are compared so.
fn unmapped(network: IpNet) -> IpNet {
    let mapped = match (network.addr(), network.prefix_len().checked_sub(MAPPED_BITS)) {
        (IpAddr::V6(address), Some(bits)) => address.to_ipv4_mapped().zip(Some(bits)),
        _ => None,
    };
    let unmapped = mapped.and_then(|(address, bits)| IpNet::new(address.into(), bits).ok());
    unmapped.unwrap_or(network)
}

/// What a listener bounds, but for the size of heads, which stands with the defaults of routes.
fn read_limits(spot: &Spot<'_>) -> Option<Limits> {
    let fields = spot.fields(&LIMITS)?;
    let usual = Limits::USUAL;
    let duration = |key, usual| fields.get(key).map_or(Some(usual), |spot| spot.duration());
    let number = |key, most, usual| match fields.get(key) {
        Some(spot) => spot.number(1..=most),
        None => Some(usual),
    };
    let connections = number("connections", MOST_CONNECTIONS, usual.connections);
    let half = connections.map_or(usual.connections_of_one, |all| all.div_ceil(2));
    let of_one = number("connections_per_address", MOST_CONNECTIONS, half);
    let headers = number("headers", MOST_HEADERS, usual.headers);
    let streams = fields.get("streams").map_or(Some(usual.streams), |spot| spot.number(1..=1000));
    let header_timeout = duration("header_timeout", usual.header_timeout);
    let idle_timeout = duration("idle_timeout", usual.idle_timeout);
    let body_timeout = duration("body_timeout", usual.body_timeout);
    let write_timeout = duration("write_timeout", usual.write_timeout);
    let handshake_timeout = duration("handshake_timeout", usual.handshake_timeout);
    Some(Limits {
        connections: connections?,
        connections_of_one: of_one?,
        header_bytes: usual.header_bytes,
        headers: headers?,
        header_timeout: header_timeout?,
        idle_timeout: idle_timeout?,
        body_timeout: body_timeout?,
        write_timeout: write_timeout?,
        handshake_timeout: handshake_timeout?,
        streams: streams?,
    })
}

/// `tls: { cert_file: …, key_file: … }`, or with several `certificates`.
fn read_tls(spot: &Spot<'_>) -> Option<Tls> {
    let fields = spot.fields(&TLS)?;
    let protocols = fields.get("alpn").map_or_else(|| Some(PROTOCOLS.to_vec()), |s| read_alpn(&s));
    let identities = match fields.get("certificates") {
        None => read_identity(&fields).map(|identity| vec![identity]),
        Some(list) if fields.get("cert_file").or_else(|| fields.get("key_file")).is_none() => {
            let items = list.items()?;
            if items.is_empty() {
                return list.fault("there is no certificate", FILES_HINT);
            }
            let identities: Vec<_> =
                items.iter().map(|item| read_identity(&item.fields(&CERTIFICATE)?)).collect();
            identities.into_iter().collect()
        }
        Some(_) => fields.fault_key(
            "certificates",
            "`certificates` stands beside `cert_file` and `key_file`",
            "put the pair into the list, as its first item",
        ),
    };
    Tls::new(identities?, &protocols?).map_or_else(
        |error| {
            spot.fault(format!("TLS cannot be spoken: {error}"), "look at the machine's entropy")
        },
        Some,
    )
}

fn read_identity(fields: &Fields<'_>) -> Option<Identity> {
    let cert = fields.need("cert_file", FILES_HINT);
    let key = fields.need("key_file", FILES_HINT);
    let (cert, key) = (cert?, key?);
    let (cert_path, key_path) = (cert.file_path(), key.file_path());
    let (cert_path, key_path) = (cert_path?, key_path?);
    let identity = match Identity::read(&cert_path, &key_path, |path| cert.reading.read_file(path))
    {
        Ok(identity) => identity,
        Err(Fault::Certificate(error)) => {
            let what = format!("the certificate {}: {error}", quoted(&cert.text()?.text));
            return cert.fault(
                what,
                "name a file with the certificate first, then those that vouch for it",
            );
        }
        Err(Fault::Key(error)) => {
            let what = format!("the key {}: {error}", quoted(&key.text()?.text));
            return key.fault(what, "name the file with the private key of `cert_file`");
        }
    };
    if is_open_to_all(&key_path) {
        key.warn(
            format!("every user of this machine can read the key in {}", quoted(&key.text()?.text)),
            "take the right away: `chmod o-r`",
        );
    }
    Some(identity)
}

fn read_alpn(spot: &Spot<'_>) -> Option<Vec<Protocol>> {
    let mut protocols: Vec<Option<Protocol>> = Vec::new();
    for item in spot.items()? {
        let Some(text) = item.text() else {
            protocols.push(None);
            continue;
        };
        let protocol = match text.text.as_ref() {
            "h2" => Some(Protocol::Http2),
            "http/1.1" => Some(Protocol::Http1),
            _ => text.fault("is no protocol", "write `alpn: [h2, http/1.1]`, or one of the two"),
        };
        if protocol.is_some() && protocols.contains(&protocol) {
            text.fault::<()>("is in the list already", "name it once");
        }
        protocols.push(protocol);
    }
    if protocols.is_empty() {
        return spot
            .fault("there is no protocol", "write `alpn: [h2, http/1.1]`, or one of the two");
    }
    protocols.into_iter().collect()
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

const LISTENER: Keys = Keys {
    known: &["name", "address", "tls", "limits", "trusted_proxies", "proxy_protocol"],
    later: &[],
};
/// As long is the beginning of all addresses of IPv4 that are written as ones of IPv6.
const MAPPED_BITS: u8 = 96;
const PROXIES_HINT: &str = "name the proxies beside it: `trusted_proxies: [10.0.0.0/8]`";
const LIMITS: Keys = Keys {
    known: &[
        "connections",
        "connections_per_address",
        "headers",
        "streams",
        "header_timeout",
        "idle_timeout",
        "body_timeout",
        "write_timeout",
        "handshake_timeout",
    ],
    later: &[],
};
const MOST_CONNECTIONS: usize = 1_000_000;
const MOST_HEADERS: usize = 1000;
const TLS: Keys = Keys { known: &["cert_file", "key_file", "certificates", "alpn"], later: &[] };
const CERTIFICATE: Keys = Keys { known: &["cert_file", "key_file"], later: &[] };

const PROTOCOLS: [Protocol; 2] = [Protocol::Http2, Protocol::Http1];
const FILES_HINT: &str = "name the files: `cert_file: tls.crt` and `key_file: tls.key`";
