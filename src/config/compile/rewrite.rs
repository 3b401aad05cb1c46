//! What of a request is changed on its way to the upstream: the beginning of its path, and headers.

use http::{HeaderName, HeaderValue, Method};
use secrecy::ExposeSecret as _;

use crate::{
    config::{
        diagnostic::quoted,
        read::{Fields, Keys, Spot},
    },
    route::{Access, HeaderChanges, Match, Pattern, Prefix, PrefixError, Rewrite, Table},
};

/// The keys `strip_prefix` and `headers` of a route; `None` too if it has neither.
pub(super) fn read(fields: &Fields<'_>, pattern: Option<&Pattern>) -> Option<Rewrite> {
    let strip_prefix = fields.get("strip_prefix").and_then(|spot| read_prefix(&spot, pattern?));
    let headers = fields.get("headers").and_then(|spot| read_headers(&spot));
    if strip_prefix.is_none() && headers.is_none() {
        return None;
    }
    Some(Rewrite { strip_prefix, headers: headers.unwrap_or_default() })
}

/// What a priced route has the upstream serve may be had for nothing by the path that the upstream sees.
pub(super) fn warn_of_ways_around(table: &Table, spots: &[&Spot<'_>]) {
    for (spot, route) in spots.iter().zip(table.routes()) {
        let prefix = route.rewrite.as_ref().and_then(|rewrite| rewrite.strip_prefix.as_ref());
        let (Access::Priced(_), Some(prefix)) = (&route.access, prefix) else { continue };
        let example = route.pattern.example();
        let Some(seen) = prefix.strip(&example) else { continue };
        let method = route.pattern.method.as_ref().unwrap_or(&Method::GET);
        if let Match::Found(other) = table.find(method, seen)
            && other.upstream == route.upstream
            && matches!(other.access, Access::Free)
        {
            let what = format!(
                "its upstream serves this at paths such as `{seen}` too, which `{}` gives away",
                other.pattern
            );
            let spot = spot.child_named("strip_prefix").unwrap_or_else(|| (*spot).clone());
            spot.warn(
                what,
                "price that path as well, deny it, or keep the free route to other paths",
            );
        }
    }
}

/// `headers: { set: { NAME: … }, remove: [NAME] }`.
pub(super) fn read_headers(spot: &Spot<'_>) -> Option<HeaderChanges> {
    let fields = spot.fields(&HEADERS)?;
    let set = fields.get("set").and_then(|set| read_set(&set));
    let remove = fields.get("remove").and_then(|remove| read_remove(&remove));
    Some(HeaderChanges { set: set.unwrap_or_default(), remove: remove.unwrap_or_default() })
}

fn read_prefix(spot: &Spot<'_>, pattern: &Pattern) -> Option<Prefix> {
    let text = spot.text()?;
    let error = match Prefix::parse(&text.text, pattern) {
        Ok(prefix) => return Some(prefix),
        Err(error) => error,
    };
    let hint = match error {
        PrefixError::Form => "write whole segments, such as `/api`".to_owned(),
        PrefixError::NotOfThePattern => {
            format!("write the first segments of `{}`, and leave it at least one", pattern.path)
        }
    };
    text.fault(error.to_string(), hint)
}

fn read_set(set: &Spot<'_>) -> Option<Vec<(HeaderName, HeaderValue)>> {
    let mut headers: Vec<(HeaderName, HeaderValue)> = Vec::new();
    for (entry, value) in set.entries()? {
        let name = match read_name(&entry.key) {
            Ok(name) if headers.iter().any(|(known, _)| *known == name) => {
                let what = format!("`{name}` is given twice");
                Err((what, "header names ignore case: keep one"))
            }
            name => name,
        };
        let name = name.map_err(|(what, hint)| {
            value.reading.fault_at(entry.key_at, &set.path, &what, hint);
        });
        let Some(secret) = value.secret() else { continue };
        let header = HeaderValue::from_str(secret.text.expose_secret());
        match (name, header) {
            (Ok(name), Ok(mut header)) => {
                header.set_sensitive(true);
                headers.push((name, header));
            }
            (Err(()), _) => {}
            (Ok(_), Err(_)) => {
                let what = format!("{} cannot be a header's value", secret.origin);
                value.fault::<()>(what, "a header's value is one line of printable ASCII");
            }
        }
    }
    Some(headers)
}

fn read_remove(list: &Spot<'_>) -> Option<Vec<HeaderName>> {
    let names = list.items()?.into_iter().filter_map(|item| {
        let text = item.text()?;
        match read_name(&text.text) {
            Ok(name) => Some(name),
            Err((what, hint)) => item.fault(what, hint),
        }
    });
    Some(names.collect())
}

/// The header called `name`, or what is wrong with it and a hint.
fn read_name(name: &str) -> Result<HeaderName, (String, &'static str)> {
    match HeaderName::from_bytes(name.as_bytes()) {
        Err(_) => Err((format!("{} is no header name", quoted(name)), "such as `X-Api-Key`")),
        Ok(name) if OURS.contains(&name.as_str()) => Err((
            format!("`{name}` belongs to the connection or to the payment"),
            "the gateway sets or removes it itself: remove it here",
        )),
        Ok(name) => Ok(name),
    }
}

const HEADERS: Keys = Keys { known: &["set", "remove"], later: &[] };

/// Headers that are not the operator's to change.
const OURS: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "payment-signature",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-payment",
];
