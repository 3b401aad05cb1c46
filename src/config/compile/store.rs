//! The section `store`: a file of this process, or a Redis server that several gateways share.

use std::{num::NonZeroU8, ops::RangeInclusive, time::Duration};

use secrecy::{ExposeSecret as _, SecretString};

use crate::{
    config::{
        diagnostic::{nearest, one_of},
        read::{Fields, Keys, Spot},
        settings::Store,
        value::is_loopback,
    },
    store::{Durability, RedisSettings},
};

/// Reads the section.
pub(super) fn read(spot: &Spot<'_>) -> Option<Store> {
    let fields = spot.fields(&STORE)?;
    match (fields.get("embedded"), fields.get("redis")) {
        (Some(_), Some(_)) => fields.fault_key(
            "redis",
            "`embedded` and `redis` are both given",
            "payments are remembered in one place: keep one of the two",
        ),
        (None, Some(redis)) => read_redis(&redis).map(Store::Redis),
        (embedded, None) => {
            let embedded = embedded.or_else(|| fields.need("embedded", EMBEDDED_HINT))?;
            let path = embedded.fields(&EMBEDDED)?.need("path", EMBEDDED_HINT)?;
            path.file_path().map(Store::Embedded)
        }
    }
}

fn read_redis(spot: &Spot<'_>) -> Option<RedisSettings> {
    let fields = spot.fields(&REDIS)?;
    let url = fields.need("url", "say where it is: `url: { env: REDIS_URL }`");
    let url = url.and_then(|spot| read_url(&spot));
    let prefix = fields.get("key_prefix");
    let prefix = prefix.map_or_else(|| Some(KEY_PREFIX.to_owned()), |spot| read_prefix(&spot));
    let timeout = fields.get("timeout");
    let timeout = timeout.map_or(Some(TIMEOUT), |spot| spot.duration_in(TIMEOUTS, TIMEOUT_HINT));
    let durability = read_durability(&fields);
    Some(RedisSettings {
        url: url?,
        prefix: prefix?,
        timeout: timeout?,
        lease: LEASE,
        durability: durability?,
    })
}

/// The URL; it may carry a password, so no message repeats it.
fn read_url(spot: &Spot<'_>) -> Option<SecretString> {
    // What stands in the file, be it as a default, is no secret.
    let is_written = !spot.is_mapping() || spot.has_key("default");
    let url = match is_written {
        true => SecretString::from(spot.text()?.text.into_owned()),
        false => spot.secret()?.text,
    };
    let text = url.expose_secret();
    let Some((scheme, rest)) = text.split_once("://") else {
        return spot.fault("expected the URL of a Redis server", URL_HINT);
    };
    if !SCHEMES.contains(&scheme) {
        return spot.fault("the URL is not one of a Redis server", URL_HINT);
    }
    let (_, path) = rest.split_once('/').unwrap_or_default();
    if scheme.ends_with(SENTINEL) && path.split(['/', '?']).next().is_none_or(str::is_empty) {
        return spot.fault(
            "the URL does not say what the Sentinels call the primary",
            "write `redis+sentinel://HOST:26379,HOST:26379/NAME`",
        );
    }
    if scheme.ends_with(CLUSTER) && !path.is_empty() {
        return spot.fault(
            "the URL names a database, and a cluster has none",
            "write `redis+cluster://HOST:6379,HOST:6379`",
        );
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    if host.is_empty() || host.split(',').any(str::is_empty) {
        return spot.fault("the URL names no server", URL_HINT);
    }
    let has_password =
        user.is_some_and(|user| user.contains(':')) || rest.contains("sentinel_password=");
    if is_written && has_password {
        spot.warn(
            "the URL carries a password, which whoever reads this file has then",
            "put the URL into the environment, `{ env: REDIS_URL }`, or a file, `{ file: PATH }`",
        );
    }
    let is_plain = !scheme.starts_with("rediss");
    if is_plain && !host.split(',').all(|host| is_loopback(without_port(host))) {
        spot.warn(
            "the server is reached without TLS, and is not on this machine",
            "whoever is on the way can make payments count twice: reach it by `rediss://`",
        );
    }
    Some(url)
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, _)) if host.ends_with(']') || name.is_empty() => host,
        Some((name, _)) => name,
        None => host,
    }
}

fn read_prefix(spot: &Spot<'_>) -> Option<String> {
    let text = spot.text()?;
    // Braces would say which part of a key places it in a cluster, and that is not for the prefix to say.
    let is_fit = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'{' | b'}');
    if text.text.len() > MOST_PREFIX || !text.text.bytes().all(is_fit) {
        return text.fault(
            "is no beginning of keys",
            "write up to 100 printable ASCII characters, no spaces and no braces: `gw:prod:`",
        );
    }
    Some(text.text.into_owned())
}

fn read_durability(fields: &Fields<'_>) -> Option<Durability> {
    let text = fields.need("durability", DURABILITY_HINT)?.text()?;
    let alone = |durability| {
        let of_ha = ["promotable_replicas", "journal"].into_iter().find_map(|key| fields.get(key));
        match of_ha {
            Some(spot) => spot.fault(
                "is for `durability: redis-ha` alone",
                "remove it, or write `durability: redis-ha` if replicas may take over",
            ),
            None => Some(durability),
        }
    };
    match text.text.as_ref() {
        SINGLE => alone(Durability::Single),
        BEST_EFFORT => alone(Durability::BestEffort),
        HA => {
            let replicas = fields.need("promotable_replicas", REPLICAS_HINT);
            let replicas = replicas.and_then(|spot| spot.number(1..=MOST_REPLICAS));
            let journal = fields.need("journal", JOURNAL_HINT).and_then(|spot| spot.file_path());
            let promotable_replicas = NonZeroU8::new(replicas?)?;
            Some(Durability::Replicated { promotable_replicas, journal: journal? })
        }
        other => {
            let names = [SINGLE, HA, BEST_EFFORT];
            let hint = nearest(other, names).map_or_else(
                || format!("write {}", one_of(names)),
                |meant| format!("did you mean `{meant}`?"),
            );
            text.fault("is no durability", hint)
        }
    }
}

const STORE: Keys = Keys { known: &["embedded", "redis"], later: &[] };
const EMBEDDED: Keys = Keys { known: &["path"], later: &[] };
const EMBEDDED_HINT: &str = "payments are remembered in a file: `embedded: { path: ./state.redb }`";
const REDIS: Keys = Keys {
    known: &["url", "key_prefix", "timeout", "durability", "promotable_replicas", "journal"],
    later: &[],
};

const SCHEMES: [&str; 6] =
    ["redis", "rediss", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster"];
const SENTINEL: &str = "+sentinel";
const CLUSTER: &str = "+cluster";
const URL_HINT: &str = "write `redis://HOST:6379`, or `rediss://HOST:6379` for TLS, or \
     `redis+sentinel://HOST:26379,HOST:26379/NAME` for the primary that Sentinels call NAME, or \
     `redis+cluster://HOST:6379,HOST:6379` for a cluster";
/// Each has to acknowledge each payment, so a gateway with more of them waits for the slowest of many.
const MOST_REPLICAS: u8 = 5;
const REPLICAS_HINT: &str =
    "say how many replicas may take over, and have no others: `promotable_replicas: 1`";
const JOURNAL_HINT: &str = "say where this gateway keeps its own record, on a disk that outlives it: \
     `journal: /var/lib/gateway/journal`";
const KEY_PREFIX: &str = "tollgate:";
const MOST_PREFIX: usize = 100;
const TIMEOUT: Duration = Duration::from_millis(250);
const TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(10);
const TIMEOUT_HINT: &str = "write a duration from `10ms` to `10s`";

/// How long a claim of a gateway that died stays its own.
const LEASE: Duration = Duration::from_secs(30);

const SINGLE: &str = "redis-single";
const HA: &str = "redis-ha";
const BEST_EFFORT: &str = "best-effort";
const DURABILITY_HINT: &str = "say how sure a record must be: `redis-single` (on the server's disk before it counts), `redis-ha` (on \
     the disks of all replicas that may take over too) or `best-effort` (a lost record is a lost payment)";
