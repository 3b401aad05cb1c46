//! The services behind the gateway.

use std::{collections::HashSet, time::Duration};

use http::uri::Authority;

use super::{health, rewrite, trust};
use crate::{
    config::{
        diagnostic::quoted,
        read::{Fields, Keys, Spot},
        value::{NAME_HINT, is_name},
    },
    route::HeaderChanges,
    upstream,
};

/// An upstream, and what its routes inherit.
#[derive(Clone, Debug)]
pub(super) struct Upstream {
    pub(super) settings: upstream::Settings,
    /// How long the first response byte may take, where a route says nothing else.
    pub(super) timeout: Duration,
}

/// The upstreams: `upstream: URL`, or `upstreams:` with names. A faulty one keeps its name and its place, so that the
/// routes that name it are not faulted too.
pub(super) fn read(root: &Fields<'_>) -> Option<Vec<Upstream>> {
    match (root.get("upstream"), root.get("upstreams")) {
        (Some(_), Some(_)) => root.fault_key(
            "upstreams",
            "`upstream` and `upstreams` are both given",
            "`upstream` is the short form for one upstream: keep one of the two",
        ),
        (Some(url), None) => {
            let mut upstream = named("upstream");
            if let Some(server) = read_server(&url) {
                if server.is_https
                    && let Some((protocol, tls)) = trust::usual(&url)
                {
                    (upstream.settings.protocol, upstream.settings.tls) = (protocol, tls);
                }
                upstream.settings.servers.push(server.address);
            }
            Some(vec![upstream])
        }
        (None, Some(map)) => {
            let entries = map.entries()?;
            if entries.is_empty() {
                return map.fault("there is no upstream", UPSTREAM_HINT);
            }
            let mut upstreams = Vec::new();
            for (entry, spot) in entries {
                if !is_name(&entry.key) {
                    let what = format!("{} is no name", quoted(&entry.key));
                    spot.reading.fault_at(entry.key_at, &map.path, &what, NAME_HINT);
                }
                let upstream = read_upstream(&entry.key, &spot);
                upstreams.push(upstream.unwrap_or_else(|| named(&entry.key)));
            }
            Some(upstreams)
        }
        (None, None) => root.spot.fault("`upstream` is missing", UPSTREAM_HINT),
    }
}

fn named(name: &str) -> Upstream {
    let settings = upstream::Settings {
        name: name.to_owned(),
        servers: Vec::new(),
        protocol: upstream::Protocol::Http1,
        tls: None,
        connect_timeout: CONNECT_TIMEOUT,
        idle_timeout: IDLE_TIMEOUT,
        max_in_flight: MAX_IN_FLIGHT,
        max_waiting: MAX_WAITING,
        is_sold: false,
        eject: upstream::Eject::default(),
        check: None,
        headers: HeaderChanges::default(),
    };
    Upstream { settings, timeout: TIMEOUT }
}

fn read_upstream(name: &str, spot: &Spot<'_>) -> Option<Upstream> {
    let fields = spot.fields(&UPSTREAM)?;
    let servers = fields
        .need("servers", "list its origins: `servers: [http://127.0.0.1:3000]`")
        .and_then(|servers| read_servers(&servers));
    let connect_timeout = fields.duration("connect_timeout");
    let timeout = fields.duration("timeout");
    let idle_timeout = fields.duration("idle_timeout");
    let max_in_flight = fields.get("max_in_flight").and_then(|spot| spot.number(1..=1_000_000));
    let max_waiting = fields.get("max_waiting").and_then(|spot| spot.number(0..=1_000_000));
    let check = match fields.get("health") {
        Some(spot) => health::read_check(&spot).map(Some),
        None => Some(None),
    };
    let eject = fields.get("eject").and_then(|eject| health::read_eject(&eject));
    let headers = fields.get("headers").and_then(|spot| rewrite::read_headers(&spot));
    let (is_https, servers) = servers?;
    let (protocol, tls) = trust::read(&fields, is_https)?;
    let settings = upstream::Settings {
        name: name.to_owned(),
        servers,
        protocol,
        tls,
        connect_timeout: connect_timeout.unwrap_or(CONNECT_TIMEOUT),
        idle_timeout: idle_timeout.unwrap_or(IDLE_TIMEOUT),
        max_in_flight: max_in_flight.unwrap_or(MAX_IN_FLIGHT),
        max_waiting: max_waiting.unwrap_or(MAX_WAITING),
        // Known when all routes are.
        is_sold: false,
        eject: eject.unwrap_or_default(),
        check: check?,
        headers: headers.unwrap_or_default(),
    };
    Some(Upstream { settings, timeout: timeout.unwrap_or(TIMEOUT) })
}

/// A server, and whether its URL is `https`.
struct Server {
    address: Authority,
    is_https: bool,
}

/// The servers, and whether they are `https`, which all of them are or none.
fn read_servers(list: &Spot<'_>) -> Option<(bool, Vec<Authority>)> {
    let items = list.items()?;
    if items.is_empty() {
        return list.fault("there is no server", "list one or more: `[http://127.0.0.1:3000]`");
    }
    let mut seen = HashSet::new();
    let servers = items.iter().map(|item| {
        let server = read_server(item)?;
        if !seen.insert(server.address.to_string()) {
            let what = format!("`{}` is in the list already", server.address);
            return item.fault(what, "list each server once");
        }
        Some((item, server))
    });
    // Collected twice so that every faulty server is noted, not the first one only.
    let servers: Vec<_> = servers.collect();
    let servers: Vec<_> = servers.into_iter().collect::<Option<_>>()?;
    let is_https = servers.first().is_some_and(|(_, first)| first.is_https);
    if let Some((item, _)) = servers.iter().find(|(_, server)| server.is_https != is_https) {
        return item.fault(
            "some servers are `https` and some are `http`",
            "make two upstreams of them: what one promises, all of its servers keep",
        );
    }
    Some((is_https, servers.into_iter().map(|(_, server)| server.address).collect()))
}

fn read_server(spot: &Spot<'_>) -> Option<Server> {
    let url = spot.url("http://127.0.0.1:3000")?;
    if !url.is_origin() {
        return url.text.fault(
            "has a path",
            "write the origin alone: the request's own path is forwarded unchanged",
        );
    }
    let is_https = url.is_https();
    Some(Server { address: url.uri.into_parts().authority?, is_https })
}

const UPSTREAM: Keys = Keys {
    known: &[
        "servers",
        "protocol",
        "tls",
        "connect_timeout",
        "timeout",
        "idle_timeout",
        "max_in_flight",
        "max_waiting",
        "health",
        "eject",
        "headers",
    ],
    later: &[],
};

const UPSTREAM_HINT: &str = "say where the API is: `upstream: http://127.0.0.1:3000`";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(30);
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);
const MAX_IN_FLIGHT: u32 = 256;
/// As many as payments may be under way at once: only who has paid waits.
const MAX_WAITING: u32 = 1024;
