//! What a running gateway is configured with, for its operator: everything but what must stay secret.
//!
//! Built field by field from the settings, never by their `Debug`: a setting that is added later is left out until somebody
//! decides how it is told.

mod callers;

use http::{Uri, uri::Authority};
use serde_json::{Value, json};

use crate::{
    config::{self, FacilitatorSettings, Settings},
    pay::Terms,
    route::{Access, HeaderChanges, Route},
};

/// The configuration; what is secret stands there as [`REDACTED`].
pub(super) fn config(settings: &Settings) -> Value {
    let listeners = settings.listeners.iter().map(|listener| {
        json!({
            "name": listener.name,
            "address": listener.address.to_string(),
            "tls": listener.tls.is_some(),
            "connections": listener.limits.connections,
            "connections_of_one": listener.limits.connections_of_one,
            "trusted_proxies":
                listener.proxies.networks().iter().map(ToString::to_string).collect::<Vec<_>>(),
            "proxy_protocol": listener.proxy_protocol,
        })
    });
    let upstreams = settings.upstreams.iter().map(|upstream| {
        json!({
            "name": upstream.name,
            "servers": upstream.servers.iter().map(Authority::as_str).collect::<Vec<_>>(),
            "tls": upstream.tls.is_some(),
            "connect_timeout_seconds": upstream.connect_timeout.as_secs_f64(),
            "idle_timeout_seconds": upstream.idle_timeout.as_secs_f64(),
            "max_in_flight": upstream.max_in_flight,
            "max_waiting": upstream.max_waiting,
            "health": upstream.check.is_some(),
            "headers": headers(&upstream.headers),
        })
    });
    let admin = settings.admin.as_ref().map(|admin| {
        let token = admin.token.as_ref().map(|_| REDACTED);
        json!({ "address": admin.address.to_string(), "token": token })
    });
    let webhooks = settings.webhooks.iter().map(|webhook| {
        let events = webhook.kinds.iter().map(|kind| kind.as_str());
        json!({
            "host": webhook.host(),
            "secret": REDACTED,
            "events": events.collect::<Vec<_>>(),
        })
    });
    json!({
        "hash": settings.hash.to_string(),
        "listeners": listeners.collect::<Vec<_>>(),
        "public_url": settings.public_url.as_deref(),
        "payment": settings.payment.as_ref().map(payment),
        "upstreams": upstreams.collect::<Vec<_>>(),
        "routes": routes(settings),
        "drain": {
            "delay_seconds": settings.drain.delay.as_secs_f64(),
            "timeout_seconds": settings.drain.timeout.as_secs_f64(),
        },
        "reload": {
            "watch": settings.reload.watch,
            "debounce_seconds": settings.reload.debounce.as_secs_f64(),
        },
        "admin": admin,
        "webhooks": webhooks.collect::<Vec<_>>(),
    })
}

/// The routes, in the order of the file.
pub(super) fn routes(settings: &Settings) -> Value {
    let routes = settings.table.routes().iter();
    routes.map(|one| route(one, settings)).collect::<Vec<_>>().into()
}

fn route(route: &Route, settings: &Settings) -> Value {
    let (access, status) = match &route.access {
        Access::Free => ("free", None),
        Access::Denied(status) => ("denied", Some(status.as_u16())),
        Access::Priced(_) if route.asks_for_money() => ("priced", None),
        Access::Priced(_) => ("observed", None),
    };
    let callers = matches!(route.access, Access::Priced(_)).then(|| callers::of(&route.callers));
    let offers = match &route.access {
        Access::Priced(terms) => offers(terms),
        Access::Free | Access::Denied(_) => Vec::new(),
    };
    let upstream = settings.upstreams.get(route.upstream).map(|upstream| &upstream.name);
    json!({
        "name": &*route.name,
        "match": route.pattern.to_string(),
        "access": access,
        "status": status,
        "offers": offers,
        "callers": callers,
        "upstream": upstream,
        "timeout_seconds": route.timeout.as_secs_f64(),
        "body_limit_bytes": route.body_limit,
        "headers": route.rewrite.as_ref().map(|rewrite| headers(&rewrite.headers)),
    })
}

fn offers(terms: &Terms) -> Vec<Value> {
    let offers = terms.offers.iter().map(|offer| {
        json!({
            "method": offer.method.as_str(),
            "amount": offer.amount.to_decimal(offer.asset.decimals),
            "base_units": offer.amount.to_string(),
            "asset": &*offer.asset.name,
            "contract": offer.asset.contract.to_string(),
            "payee": offer.payee.to_string(),
        })
    });
    offers.collect()
}

fn payment(payment: &config::Payment) -> Value {
    let assets = payment.assets.iter().map(|asset| {
        json!({
            "name": &*asset.name,
            "contract": asset.contract.to_string(),
            "decimals": asset.decimals.places(),
        })
    });
    let sponsor = payment.sponsor.as_ref().map(|sponsor| {
        let accounts = sponsor.sponsors.iter().map(|seed| seed.account().to_string());
        json!({
            "accounts": accounts.collect::<Vec<_>>(),
            "seeds": REDACTED,
            "lanes": sponsor.lanes,
            "max_fee_stroops": sponsor.max_fee_stroops,
        })
    });
    let x402 = payment.x402.as_ref().map(|x402| {
        let facilitator = match &x402.facilitator {
            FacilitatorSettings::Own => json!("self"),
            FacilitatorSettings::Remote(remote) => json!({
                "place": place(&remote.url),
                "api_key": remote.api_key.as_ref().map(|_| REDACTED),
            }),
        };
        json!({ "facilitator": facilitator, "max_timeout_seconds": x402.max_timeout_seconds })
    });
    let mpp = payment.mpp.as_ref().map(|mpp| {
        let channel = mpp.channel.as_ref().map(|channel| {
            json!({
                "payee": channel.signer.account().to_string(),
                "signer": REDACTED,
                "channel": channel.configured.map(|channel| channel.to_string()),
                "wasm_hashes": channel.vet.code.iter().map(hex::encode).collect::<Vec<_>>(),
                "min_refund_waiting_ledgers": channel.vet.min_refund_waiting_ledgers,
            })
        });
        json!({
            "realm": &*mpp.realm,
            "secret_key": mpp.secrets.as_ref().map(|_| REDACTED),
            "challenge_ttl_seconds": mpp.challenge_ttl.as_secs_f64(),
            "charge": mpp.charge.map(|charge| json!({ "unsigned_push": charge.unsigned_push })),
            "channel": channel,
        })
    });
    let store = match &payment.store {
        config::Store::Embedded(path) => json!({ "embedded": path.display().to_string() }),
        config::Store::Redis(redis) => {
            json!({ "redis": { "url": REDACTED, "key_prefix": redis.prefix } })
        }
    };
    json!({
        "network": payment.network.name(),
        "rpc": place(&payment.rpc_url),
        "assets": assets.collect::<Vec<_>>(),
        "sponsor": sponsor,
        "x402": x402,
        "mpp": mpp,
        "store": store,
    })
}

/// What is set may be a credential of the upstream's.
fn headers(changes: &HeaderChanges) -> Value {
    let set = changes.set.iter().map(|(name, _)| (name.to_string(), json!(REDACTED)));
    let removed = changes.remove.iter().map(ToString::to_string).collect::<Vec<_>>();
    json!({ "set": Value::Object(set.collect()), "remove": removed })
}

/// Where a service is, without the path and the query, which is where providers put their keys.
fn place(url: &Uri) -> String {
    let (scheme, host) = (url.scheme_str().unwrap_or_default(), url.host().unwrap_or_default());
    match url.port() {
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    }
}

/// What stands in place of a secret.
const REDACTED: &str = "[redacted]";
