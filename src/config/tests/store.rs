//! The section `store`: a file, or Redis at a named durability.

use std::{path::Path, time::Duration};

use insta::assert_snapshot;
use secrecy::ExposeSecret as _;

use super::{SHORT, broken, changed, faults, read, read_with, variables};
use crate::{
    config::{Env, Settings, Store},
    store::{Durability, RedisSettings},
};

const EMBEDDED: &str = "{ embedded: { path: ./state.redb } }";

fn text(redis: &str) -> String {
    changed(EMBEDDED, &format!("{{ redis: {redis} }}"))
}

fn env() -> Env {
    let mut variables = variables();
    variables.extend([
        ("REDIS_URL", "redis://:canary-password@127.0.0.1:6379/1"),
        ("OPEN_URL", "redis://u:canary-password@10.0.0.1:6380"),
        ("NONSENSE", "canary-password"),
    ]);
    Env::fixed(variables)
}

fn good(redis: &str) -> Settings {
    read_with(&text(redis), &env()).unwrap_or_else(|faults| panic!("{faults}"))
}

fn bad(redis: &str) -> String {
    read_with(&text(redis), &env()).expect_err("the file has a fault")
}

fn redis(settings: Settings) -> RedisSettings {
    match settings.payment.unwrap().store {
        Store::Redis(redis) => redis,
        Store::Embedded(path) => panic!("{}", path.display()),
    }
}

#[test]
fn payments_are_remembered_in_one_place() {
    let Store::Embedded(path) = read(SHORT).unwrap().payment.unwrap().store else { panic!() };
    assert_eq!(path, Path::new("/etc/gateway/./state.redb"));
    assert_snapshot!(broken(EMBEDDED, "{}"), @r"
    gateway.yaml:10:8: store: `embedded` is missing

    hint: payments are remembered in a file: `embedded: { path: ./state.redb }`
    ");
    assert_snapshot!(broken(EMBEDDED, "{ embedded: {} }"), @r"
    gateway.yaml:10:20: store.embedded: `path` is missing

    hint: payments are remembered in a file: `embedded: { path: ./state.redb }`
    ");
    assert_snapshot!(broken(EMBEDDED, "{ embeded: { path: x } }"), @r"
    gateway.yaml:10:10: store: unknown key `embeded`

    hint: did you mean `embedded`?
    ");
    assert_snapshot!(faults(&changed("{ embedded:", "{ redis: { url: redis://localhost, durability: redis-single }, embedded:")), @r"
    gateway.yaml:10:10: store: `embedded` and `redis` are both given

    hint: payments are remembered in one place: keep one of the two
    ");
}

#[test]
fn redis_is_named_with_what_it_must_hold() {
    let settings = good("{ url: { env: REDIS_URL }, durability: redis-single }");
    assert_eq!(settings.warnings.to_string(), "");
    let single = redis(settings);
    assert_eq!(single.url.expose_secret(), "redis://:canary-password@127.0.0.1:6379/1");
    assert_eq!((&*single.prefix, single.timeout), ("tollgate:", Duration::from_millis(250)));
    assert_eq!(single.durability, Durability::Single);
    let full = good(
        "{ url: { env: REDIS_URL }, durability: best-effort, key_prefix: \"gw:\", timeout: 1s }",
    );
    let full = redis(full);
    assert_eq!((&*full.prefix, full.timeout), ("gw:", Duration::from_secs(1)));
    assert_eq!(full.durability, Durability::BestEffort);
    let ha = good(
        "{ url: \"redis+sentinel://127.0.0.1:1,[::1]:2/main\", durability: redis-ha, promotable_replicas: 2, \
         journal: ./j }",
    );
    assert_eq!(ha.warnings.to_string(), "");
    let ha = redis(ha);
    let Durability::Replicated { promotable_replicas, journal } = &ha.durability else { panic!() };
    assert_eq!((promotable_replicas.get(), &**journal), (2, Path::new("/etc/gateway/./j")));
    assert_ne!(Store::Redis(full), Store::Redis(single.clone()));
    assert_eq!(Store::Redis(single.clone()), Store::Redis(single));

    assert_snapshot!(bad("{}"), @r"
    gateway.yaml:10:17: store.redis: `url` is missing

    hint: say where it is: `url: { env: REDIS_URL }`
    gateway.yaml:10:17: store.redis: `durability` is missing

    hint: say how sure a record must be: `redis-single` (on the server's disk before it counts), `redis-ha` (on the disks of all replicas that may take over too) or `best-effort` (a lost record is a lost payment)
    ");
    let with = |rest: &str| bad(&format!("{{ url: {{ env: REDIS_URL }}, durability: {rest} }}"));
    assert_snapshot!(with("best_effort"), @r"
    gateway.yaml:10:56: store.redis.durability: `best_effort` is no durability

    hint: did you mean `best-effort`?
    ");
    assert_snapshot!(with("sure"), @r"
    gateway.yaml:10:56: store.redis.durability: `sure` is no durability

    hint: write `redis-single`, `redis-ha` or `best-effort`
    ");
    assert_snapshot!(with("redis-ha"), @r"
    gateway.yaml:10:17: store.redis: `promotable_replicas` is missing

    hint: say how many replicas may take over, and have no others: `promotable_replicas: 1`
    gateway.yaml:10:17: store.redis: `journal` is missing

    hint: say where this gateway keeps its own record, on a disk that outlives it: `journal: /var/lib/gateway/journal`
    ");
    assert_snapshot!(with("redis-ha, promotable_replicas: 0, journal: j"), @r"
    gateway.yaml:10:87: store.redis.promotable_replicas: `0` is out of range

    hint: write a whole number from 1 to 5
    ");
    assert_snapshot!(with("best-effort, promotable_replicas: 1"), @r"
    gateway.yaml:10:90: store.redis.promotable_replicas: is for `durability: redis-ha` alone

    hint: remove it, or write `durability: redis-ha` if replicas may take over
    ");
    assert_snapshot!(with("redis-single, journal: j"), @r"
    gateway.yaml:10:79: store.redis.journal: is for `durability: redis-ha` alone

    hint: remove it, or write `durability: redis-ha` if replicas may take over
    ");
    assert_snapshot!(with("redis-single, timeout: 9ms, key_prefix: \"a{b}\""), @r"
    gateway.yaml:10:79: store.redis.timeout: `9ms` is out of range

    hint: write a duration from `10ms` to `10s`
    gateway.yaml:10:96: store.redis.key_prefix: `a{b}` is no beginning of keys

    hint: write up to 100 printable ASCII characters, no spaces and no braces: `gw:prod:`
    ");
}

#[test]
fn the_url_of_redis_is_one() {
    let of = |url: &str| bad(&format!("{{ url: {url}, durability: redis-single }}"));
    assert_snapshot!(of("127.0.0.1:6379"), @r"
    gateway.yaml:10:24: store.redis.url: expected the URL of a Redis server

    hint: write `redis://HOST:6379`, or `rediss://HOST:6379` for TLS, or `redis+sentinel://HOST:26379,HOST:26379/NAME` for the primary that Sentinels call NAME, or `redis+cluster://HOST:6379,HOST:6379` for a cluster
    ");
    assert_snapshot!(of("https://127.0.0.1:6379"), @r"
    gateway.yaml:10:24: store.redis.url: the URL is not one of a Redis server

    hint: write `redis://HOST:6379`, or `rediss://HOST:6379` for TLS, or `redis+sentinel://HOST:26379,HOST:26379/NAME` for the primary that Sentinels call NAME, or `redis+cluster://HOST:6379,HOST:6379` for a cluster
    ");
    assert_snapshot!(of("redis:///0"), @r"
    gateway.yaml:10:24: store.redis.url: the URL names no server

    hint: write `redis://HOST:6379`, or `rediss://HOST:6379` for TLS, or `redis+sentinel://HOST:26379,HOST:26379/NAME` for the primary that Sentinels call NAME, or `redis+cluster://HOST:6379,HOST:6379` for a cluster
    ");
    assert_snapshot!(of("redis+sentinel://10.0.0.1:26379"), @r"
    gateway.yaml:10:24: store.redis.url: the URL does not say what the Sentinels call the primary

    hint: write `redis+sentinel://HOST:26379,HOST:26379/NAME`
    ");
    assert_snapshot!(of("\"redis+sentinel://10.0.0.1,/main\""), @r"
    gateway.yaml:10:24: store.redis.url: the URL names no server

    hint: write `redis://HOST:6379`, or `rediss://HOST:6379` for TLS, or `redis+sentinel://HOST:26379,HOST:26379/NAME` for the primary that Sentinels call NAME, or `redis+cluster://HOST:6379,HOST:6379` for a cluster
    ");
    assert_snapshot!(of("redis+cluster://10.0.0.1:6379/1"), @r"
    gateway.yaml:10:24: store.redis.url: the URL names a database, and a cluster has none

    hint: write `redis+cluster://HOST:6379,HOST:6379`
    ");
    assert_snapshot!(of("{ env: MISSING }"), @r"
    gateway.yaml:10:24: store.redis.url: the environment variable `MISSING` is not set

    hint: set `MISSING`
    ");
    let hidden = of("{ env: NONSENSE }");
    assert!(hidden.contains("expected the URL") && !hidden.contains("canary"), "{hidden}");
}

/// J09: a password in the file, and a server that anyone on the way can speak for.
#[test]
fn j09_a_password_in_the_file_and_a_plain_connection_are_warnings() {
    let warnings = |url: &str| {
        let settings = good(&format!("{{ url: {url}, durability: redis-single }}"));
        settings.warnings.to_string()
    };
    assert_snapshot!(warnings("redis://:canary@127.0.0.1:6379"), @r"
    gateway.yaml:10:24: store.redis.url: the URL carries a password, which whoever reads this file has then

    hint: put the URL into the environment, `{ env: REDIS_URL }`, or a file, `{ file: PATH }`
    ");
    assert_snapshot!(warnings("{ env: NOT_SET, default: \"redis://user:canary@localhost\" }"), @r"
    gateway.yaml:10:24: store.redis.url: the URL carries a password, which whoever reads this file has then

    hint: put the URL into the environment, `{ env: REDIS_URL }`, or a file, `{ file: PATH }`
    ");
    assert_snapshot!(warnings("redis://redis.example"), @r"
    gateway.yaml:10:24: store.redis.url: the server is reached without TLS, and is not on this machine

    hint: whoever is on the way can make payments count twice: reach it by `rediss://`
    ");
    assert_snapshot!(warnings("{ env: OPEN_URL }"), @r"
    gateway.yaml:10:24: store.redis.url: the server is reached without TLS, and is not on this machine

    hint: whoever is on the way can make payments count twice: reach it by `rediss://`
    ");
    for fine in ["rediss://redis.example:6379", "redis://[::1]:6379", "redis://user@localhost/2"] {
        assert_eq!(warnings(&format!("\"{fine}\"")), "", "{fine}");
    }
}

#[test]
fn j06_the_password_of_redis_does_not_show() {
    let settings = good("{ url: { env: REDIS_URL }, durability: redis-single }");
    let shown = format!("{settings:?}{settings:#?}");
    assert!(shown.contains("prefix") && !shown.contains("canary"), "{shown}");
}
