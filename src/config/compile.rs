//! The node tree to [`Settings`]: what the keys mean, and every rule that a file can break.
//!
//! One pass in the order of what depends on what: money first, then upstreams, then the routes that name both. A part
//! that is faulty is noted and stood in for, so that the parts after it are still read and judged.

mod access;
mod admin;
mod asset;
mod caller;
mod channel;
mod health;
mod listener;
mod mpp;
mod payment;
mod price;
mod rewrite;
mod route;
mod rule;
mod store;
mod trust;
mod upstream;
mod webhook;

use std::{sync::Arc, time::Duration};

use self::{payment::Money, rule::Defaults};
use super::{
    diagnostic::{Diagnostics, Position},
    node::{Entry, Node, Value},
    read::{Fields, Keys, Reading},
    settings::{ContentHash, Drain, Reload, Section, Settings},
};
use crate::route::{Access, Route};

/// Compiles the document, or says everything that is wrong with it.
pub(super) fn compile(
    document: &Node,
    reading: Reading<'_>,
    hash: ContentHash,
) -> Result<Settings, Diagnostics> {
    let settings = read(document, &reading, hash);
    if settings.is_none() && reading.is_clean() {
        // Every fault is noted where it is found; if one was not, the file is refused all the same.
        reading.fault_at(
            Position::START,
            "",
            "the file is refused, and the reason was not noted",
            "this is a fault of Tollgate: please report it, with the file and without its secrets",
        );
    }
    let is_clean = reading.is_clean();
    let (faults, warnings) = reading.finish();
    match settings {
        Some(settings) if is_clean => Ok(Settings { warnings, ..settings }),
        _ => Err(faults),
    }
}

fn read(document: &Node, reading: &Reading<'_>, hash: ContentHash) -> Option<Settings> {
    let root = reading.root(document).fields(&ROOT)?;
    read_version(&root);
    let mut listeners = listener::read(&root);
    let public_url = listener::read_public_url(&root);
    let upstreams = upstream::read(&root);
    let money = Money::read(&root);
    let mut sources = caller::Sources::default();
    let defaults = Defaults::read(&root, &money, &mut sources);
    for listener in listeners.iter_mut().flatten() {
        listener.limits.header_bytes = defaults.header_bytes.try_into().unwrap_or(usize::MAX);
    }
    let routes = route::read(&root, &defaults, &money, upstreams.as_deref(), &mut sources);
    read_unmatched(&root);
    let drain = read_drain(&root);
    let reload = read_reload(&root);
    let admin = root
        .get("admin")
        .map(|spot| admin::read(&spot, listeners.as_deref(), upstreams.as_deref()));
    let access_log = root.get("access_log").map(|spot| access::read(&spot));
    let webhooks = root.get("webhooks").map(|spot| webhook::read(&spot));
    let table = routes?;
    let is_priced = |route: &Arc<Route>| matches!(route.access, Access::Priced(_));
    let asks_for_money = table.routes().iter().any(is_priced);
    let payment = money.finish(&table, public_url.as_deref());
    // Whatever made the payment section unusable was noted; a price without it must not get any further.
    if asks_for_money && payment.is_none() {
        return None;
    }
    if let Some(spot) = root.get("webhooks").filter(|_| payment.is_none()) {
        webhook::warn_of_silence(&spot);
    }
    let listeners = listeners?;
    if payment.is_some() && public_url.is_none() {
        listener::warn_of_missing_url(&root, &listeners);
    }
    let sells =
        |at| table.routes().iter().any(|route| route.upstream == at && route.asks_for_money());
    let upstreams = upstreams?.into_iter().enumerate();
    let upstreams = upstreams.map(|(at, upstream)| crate::upstream::Settings {
        is_sold: sells(at),
        ..upstream.settings
    });
    Some(Settings {
        listeners,
        public_url,
        payment,
        upstreams: upstreams.collect(),
        table,
        tokens: sources.0,
        drain,
        reload,
        access_log: access_log.map_or(Some(None), |log| log.map(Some))?,
        webhooks: webhooks.unwrap_or_else(|| Some(Vec::new()))?,
        admin: admin.map_or(Some(None), |admin| admin.map(Some))?,
        hash,
        sections: sections(document),
        files: reading.files(),
        warnings: Diagnostics::default(),
    })
}

fn sections(document: &Node) -> Vec<Section> {
    let Value::Mapping(entries) = &document.value else { return Vec::new() };
    let section = |entry: &Entry| Section { key: entry.key.clone(), hash: entry.value.hash() };
    entries.iter().map(section).collect()
}

fn read_version(root: &Fields<'_>) -> Option<()> {
    let version = root.need("version", "begin the file with `version: 1`")?.text()?;
    match version.text.as_ref() {
        "1" => Some(()),
        _ => version.fault("is not a version of this format", "this version reads `version: 1`"),
    }
}

fn read_unmatched(root: &Fields<'_>) -> Option<()> {
    let unmatched = root.get("unmatched")?.text()?;
    match unmatched.text.as_ref() {
        "404" => Some(()),
        "free" => unmatched.fault(
            "is not supported by this version",
            "add a route for what is free: `{ match: ANY /*, free: true }`",
        ),
        _ => unmatched.fault("is no answer for what matches no route", "write `unmatched: 404`"),
    }
}

fn read_drain(root: &Fields<'_>) -> Drain {
    let fields = root.get("drain").and_then(|drain| drain.fields(&DRAIN));
    let delay = fields.as_ref().and_then(|fields| fields.get("delay")?.duration_or_zero());
    let timeout = fields.as_ref().and_then(|fields| fields.duration("timeout"));
    Drain { delay: delay.unwrap_or_default(), timeout: timeout.unwrap_or(DRAIN_TIMEOUT) }
}

fn read_reload(root: &Fields<'_>) -> Reload {
    let fields = root.get("reload").and_then(|reload| reload.fields(&RELOAD));
    let watch = fields.as_ref().and_then(|fields| fields.get("watch")?.flag());
    let debounce = fields.as_ref().and_then(|fields| fields.duration("debounce"));
    Reload { watch: watch.unwrap_or(true), debounce: debounce.unwrap_or(DEBOUNCE) }
}

const ROOT: Keys = Keys {
    known: &[
        "version",
        "listen",
        "listeners",
        "public_url",
        "network",
        "stellar",
        "store",
        "payments",
        "upstream",
        "upstreams",
        "defaults",
        "mode",
        "routes",
        "unmatched",
        "drain",
        "reload",
        "admin",
        "access_log",
        "webhooks",
    ],
    later: &["discovery", "tracing"],
};
const DRAIN: Keys = Keys { known: &["delay", "timeout"], later: &[] };
const RELOAD: Keys = Keys { known: &["watch", "debounce"], later: &[] };

const DRAIN_TIMEOUT: Duration = Duration::from_secs(25);
const DEBOUNCE: Duration = Duration::from_millis(500);
