//! Who may call: the keys `mode`, `allow` and `free_quota` of a route or the defaults, and the rates under `limits`.

use std::{sync::Arc, time::Duration};

use http::HeaderName;
use secrecy::ExposeSecret as _;

use crate::{
    callers::{Allow, Keys as ApiKeys, Mode, Quota, Rate, Rules, TokenKeys, Tokens},
    config::{
        diagnostic::{nearest, one_of, quoted},
        read::{Fields, Keys, Spot},
        secret::Secret,
        settings::TokenSource,
    },
};

/// What was read of callers, beside the rules themselves.
#[derive(Debug, Default)]
pub(super) struct Sources(pub(super) Vec<TokenSource>);

/// Reads what `fields` and their `limits` say; what they do not is `inherited`. What is counted is counted under `scope`.
pub(super) fn read(
    fields: &Fields<'_>,
    limits: Option<&Fields<'_>>,
    scope: &str,
    inherited: &Rules,
    sources: &mut Sources,
) -> Rules {
    let mut rules = inherited.clone();
    if let Some(allow) = fields.get("allow").and_then(|spot| read_allow(&spot, sources)) {
        rules.allow = allow;
    }
    if let Some(free) = fields.get("free_quota").and_then(|spot| read_quota(&spot, scope)) {
        rules.free = free;
    }
    let rate = |key| {
        let per_second = limits?.get(key)?.number(1..=MOST_PER_SECOND)?;
        Some(Rate { per_second: per_second.try_into().ok()?, scope: scope.into() })
    };
    rules.unpaid = rate("unpaid_rps_per_ip").or(rules.unpaid);
    rules.paid = rate("paid_rps_per_payer").or(rules.paid);
    rules
}

/// Reads the key `mode`.
pub(super) fn read_mode(spot: &Spot<'_>) -> Option<Mode> {
    let text = spot.text()?;
    let known = ["enforce", "observe"];
    match text.text.as_ref() {
        "enforce" => Some(Mode::Enforce),
        "observe" => {
            spot.warn(
                "nobody is asked to pay here: every request goes through, and what it would cost is counted",
                "remove it, or write `mode: enforce`, once prices are to hold",
            );
            Some(Mode::Observe)
        }
        other => {
            let hint = nearest(other, known).map_or_else(
                || format!("write {}", one_of(known)),
                |meant| format!("did you mean `{meant}`?"),
            );
            text.fault("is no mode", hint)
        }
    }
}

/// Notes rates that mean nothing on a route that asks nobody to pay.
pub(super) fn only_for_priced(limits: Option<&Fields<'_>>, kind: &str) {
    let Some(limits) = limits else { return };
    for key in ["unpaid_rps_per_ip", "paid_rps_per_payer"] {
        if limits.get(key).is_some() {
            let what = format!("`{key}` means nothing on a {kind} route");
            limits.fault_key::<()>(key, &what, "remove it, or give the route a price");
        }
    }
}

fn read_allow(spot: &Spot<'_>, sources: &mut Sources) -> Option<Arc<[Allow]>> {
    let read = |item: &Spot<'_>, sources: &mut Sources| {
        let fields = item.fields(&ALLOW)?;
        match (fields.get("api_key"), fields.get("jwt")) {
            (Some(keys), None) => read_keys(&keys).map(Allow::Keys),
            (None, Some(tokens)) => read_tokens(&tokens, sources).map(Allow::Tokens),
            (None, None) if !fields.is_empty() => None,
            _ => item.fault(
                "expected one of `api_key` and `jwt`",
                "write one rule an item: `- api_key: { keys: [{ env: PARTNER_KEY }] }`",
            ),
        }
    };
    let items: Vec<_> = spot.items()?.iter().map(|item| read(item, sources)).collect();
    items.into_iter().collect()
}

fn read_quota(spot: &Spot<'_>, scope: &str) -> Option<Option<Quota>> {
    if !spot.is_mapping() {
        let text = spot.text()?;
        return match text.text.as_ref() {
            "none" => Some(None),
            _ => text.fault("is no quota", QUOTA_HINT),
        };
    }
    let fields = spot.fields(&QUOTA)?;
    let requests = fields.need("requests", QUOTA_HINT).and_then(|spot| spot.number(1..=u32::MAX));
    let per = fields.need("per", QUOTA_HINT).and_then(|spot| {
        let range = Duration::from_secs(1)..=LONGEST_PERIOD;
        spot.duration_in(range, "write a period from `1s` to `744h`")
    });
    let keys = match fields.get("api_key") {
        None => Some(None),
        Some(spot) => read_keys(&spot).map(Some),
    };
    let (requests, per, keys) = (requests?.try_into().ok()?, per?, keys?);
    Some(Some(Quota { requests, per, keys, scope: scope.into() }))
}

/// `{ header: X-Api-Key, keys: [{ env: NAME }, { file: PATH }, { sha256: … }] }`.
fn read_keys(spot: &Spot<'_>) -> Option<ApiKeys> {
    let fields = spot.fields(&API_KEY)?;
    let header = match fields.get("header") {
        None => Some(HeaderName::from_static("x-api-key")),
        Some(spot) => read_header(&spot),
    };
    let list = fields.need("keys", KEYS_HINT)?;
    let items = list.items()?;
    if items.is_empty() {
        return list.fault("there is no key", KEYS_HINT);
    }
    let digests: Vec<_> = items.iter().map(read_key).collect();
    let digests: Option<Vec<_>> = digests.into_iter().collect();
    Some(ApiKeys::new(header?, digests?))
}

/// What is kept of one key.
fn read_key(spot: &Spot<'_>) -> Option<[u8; 32]> {
    if spot.has_key("sha256") {
        let fields = spot.fields(&Keys { known: &["sha256"], later: &[] })?;
        let text = fields.get("sha256")?.text()?;
        let mut digest = [0; 32];
        return match hex::decode_to_slice(text.text.as_bytes(), &mut digest) {
            Ok(()) => Some(digest),
            Err(_) => fields.get("sha256")?.fault(
                "this is no SHA-256 in hex",
                "write the 64 digits that `printf %s \"$KEY\" | sha256sum` prints",
            ),
        };
    }
    let Secret { text, origin, .. } = spot.secret()?;
    let key = text.expose_secret();
    if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return spot.fault(
            format!("{origin} cannot stand in a header"),
            "a key is one word of printable ASCII characters",
        );
    }
    if key.len() < LEAST_KEY {
        return spot.fault(
            format!("{origin} has {} characters, and needs at least {LEAST_KEY}", key.len()),
            "take a key that nobody guesses: `openssl rand -hex 32`",
        );
    }
    Some(ApiKeys::digest(key.as_bytes()))
}

fn read_header(spot: &Spot<'_>) -> Option<HeaderName> {
    let text = spot.text()?;
    let Ok(name) = HeaderName::from_bytes(text.text.as_bytes()) else {
        return text.fault("is no name of a header", "write one such as `X-Api-Key`");
    };
    // Many servers take an underscore for a hyphen, and so they stay behind.
    let read = name.as_str().replace('_', "-");
    if TAKEN.contains(&&*read) || read.starts_with("x-forwarded-") {
        return text.fault(
            "is a header with a meaning of its own, and carries no key",
            "name the header that your customers send their keys in, such as `X-Api-Key`",
        );
    }
    Some(name)
}

fn read_tokens(spot: &Spot<'_>, sources: &mut Sources) -> Option<Tokens> {
    let fields = spot.fields(&JWT)?;
    let issuer = fields
        .need("issuer", "name who makes the tokens, as their `iss` does")
        .and_then(|spot| read_claim(&spot));
    let audience = fields.need("audience", "name whom they are for, as their `aud` does");
    let audience = audience.and_then(|spot| match spot.text_or_items() {
        None => Some(vec![read_claim(&spot)?]),
        Some(items) if items.is_empty() => {
            spot.fault("there is no audience", "name one: `audience: api.example.com`")
        }
        Some(items) => items.iter().map(read_claim).collect(),
    });
    let keys = match (fields.get("jwks_file"), fields.get("jwks_url"), fields.get("secret")) {
        (Some(file), None, None) => read_set(&file),
        (None, Some(url), None) => read_set_url(&url, sources),
        (None, None, Some(secret)) => read_shared(&secret),
        _ => fields.spot.fault(
            "expected one of `jwks_file`, `jwks_url` and `secret`",
            "say what the tokens are signed with: `jwks_file: jwks.json`",
        ),
    };
    Some(Tokens::new(issuer?.into(), audience?, keys?))
}

fn read_claim(spot: &Spot<'_>) -> Option<String> {
    let text = spot.text()?;
    match text.text.as_ref() {
        "" => text.fault("says nothing", "write what stands in the tokens, letter by letter"),
        claim => Some(claim.to_owned()),
    }
}

fn read_set(spot: &Spot<'_>) -> Option<TokenKeys> {
    let path = spot.file_path()?;
    let written = quoted(&spot.text()?.text);
    let bytes = match spot.reading.read_file(&path) {
        Ok(bytes) => bytes,
        Err(error) => {
            return spot.fault(
                format!("cannot read {written}: {error}"),
                "the file must exist and be readable for this process",
            );
        }
    };
    TokenKeys::set(&bytes).ok().or_else(|| {
        spot.fault(format!("{written} is no JSON Web Key Set with a key of use here"), SET_HINT)
    })
}

fn read_set_url(spot: &Spot<'_>, sources: &mut Sources) -> Option<TokenKeys> {
    let url = spot.url_with_query("https://id.example.com/.well-known/jwks.json")?;
    if !url.is_https() && !url.is_loopback() {
        return url.text.fault(
            "is not `https`: whoever is in between could put in a key",
            "write the URL with `https`",
        );
    }
    // One that several routes name is fetched once.
    if let Some(known) = sources.0.iter().find(|known| known.url == url.uri) {
        return Some(known.keys.clone());
    }
    let keys = TokenKeys::unknown();
    sources.0.push(TokenSource { url: url.uri, keys: keys.clone() });
    Some(keys)
}

fn read_shared(spot: &Spot<'_>) -> Option<TokenKeys> {
    let Secret { text, origin, .. } = spot.secret()?;
    let secret = text.expose_secret();
    if secret.len() < LEAST_SHARED {
        return spot.fault(
            format!("{origin} has {} characters, and needs at least {LEAST_SHARED}", secret.len()),
            "a shorter one can be guessed from a token: `openssl rand -hex 32`",
        );
    }
    Some(TokenKeys::shared(secret.as_bytes()))
}

const ALLOW: Keys = Keys { known: &["api_key", "jwt"], later: &[] };
const API_KEY: Keys = Keys { known: &["header", "keys"], later: &[] };
const JWT: Keys =
    Keys { known: &["issuer", "audience", "jwks_file", "jwks_url", "secret"], later: &[] };
const QUOTA: Keys = Keys { known: &["requests", "per", "api_key"], later: &[] };
const QUOTA_HINT: &str = "write `{ requests: 100, per: 24h }`, or `none`";
const KEYS_HINT: &str = "list them: `keys: [{ env: PARTNER_KEY }, { sha256: \"…\" }]`";
const SET_HINT: &str =
    "take the one that the issuer publishes, with keys of RSA, P-256, P-384 or Ed25519";
const MOST_PER_SECOND: u32 = 1_000_000;
/// A month. What is counted is in memory, and forgotten by then.
const LONGEST_PERIOD: Duration = Duration::from_secs(744 * 3_600);
const LEAST_KEY: usize = 16;
/// As many bits as HS256 has. Source: RFC 7518 section 3.2.
const LEAST_SHARED: usize = 32;
/// Headers that frame a request, say where it comes from or what it is part of, have it read as another, or carry a payment.
const TAKEN: [&str; 28] = [
    "host",
    "connection",
    "content-length",
    "content-type",
    "transfer-encoding",
    "upgrade",
    "te",
    "trailer",
    "expect",
    "cookie",
    "origin",
    "forwarded",
    "x-real-ip",
    "cdn-loop",
    "x-request-id",
    "traceparent",
    "tracestate",
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-original-url",
    "x-original-uri",
    "x-rewrite-url",
    "payment-signature",
    "payment-authorization",
    "payment-channel",
    "accept-payment",
    "x-payment",
];
