//! Whole files: the short form, the full form, a file with a bit of everything wrong.

use std::{fs, path::PathBuf, time::Duration};

use insta::assert_snapshot;
use proptest::prelude::*;

use super::{RECIPIENT, SHORT, SPONSOR, SPONSOR_ACCOUNT, read, read_with, variables};
use crate::{
    config::{Drain, Env, FacilitatorSettings, Reload, Store, load},
    pay::{MethodName, SettleOrder},
    protocol::stellar::Network,
    route::{Access, Match},
};

/// Another account that can be paid.
const OTHER: &str = "GA5ZSEJYB37JRC5AVCIA5MOP4RHTM335X2KGX3IHOJAPP5RE34K4KZVN";

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn the_short_form_works_as_it_is_written() {
    let settings = read(SHORT).unwrap();
    assert_eq!(settings.listeners.len(), 1);
    assert_eq!(settings.listeners[0].address, "127.0.0.1:8402".parse().unwrap());
    assert_eq!(settings.upstreams[0].servers, ["127.0.0.1:3000"]);
    let payment = settings.payment.unwrap();
    assert_eq!(payment.network, Network::Testnet);
    assert_eq!(payment.rpc_url, "http://127.0.0.1:8000");
    assert_eq!(payment.x402.unwrap().max_timeout_seconds, 60);
    assert_eq!(payment.store, Store::Embedded(PathBuf::from("/etc/gateway/./state.redb")));
    let own = payment.sponsor.unwrap();
    assert_eq!(own.sponsors[0].account().to_string(), SPONSOR_ACCOUNT);
    assert_eq!((own.lanes, own.max_fee_stroops), (32, 200_000));
    assert_eq!(own.excluded, [RECIPIENT.parse().unwrap()]);

    let Match::Found(route) = settings.table.find(&http::Method::GET, "/weather") else { panic!() };
    assert_eq!(&*route.name, "GET /weather");
    assert_eq!((route.timeout, route.body_limit), (Duration::from_secs(30), 1 << 20));
    let Access::Priced(terms) = &route.access else { panic!() };
    assert_eq!(&*terms.route, "GET /weather");
    assert_eq!((terms.settle, terms.charge_when.below), (SettleOrder::ByMethod, 400));
    assert_eq!((terms.redelivery.attempts, terms.redelivery.within.as_secs()), (3, 86_400));
    let [offer] = &*terms.offers else { panic!() };
    assert_eq!((offer.method, offer.amount.units()), (MethodName::X402, 10_000));
    assert_eq!(offer.asset, Network::Testnet.usdc());
    assert_eq!((offer.network, offer.payee.to_string()), (Network::Testnet, RECIPIENT.to_owned()));
    let Match::Found(route) = settings.table.find(&http::Method::GET, "/health") else { panic!() };
    assert!(matches!(route.access, Access::Free));
}

#[test]
fn the_full_form_sets_every_key() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        r#"version: 1
listeners:
  - {{ name: public, address: 0.0.0.0:8402 }}
  - {{ name: local, address: "[::1]:0" }}
public_url: https://api.example.com
network: stellar:testnet
stellar:
  rpc_url: https://rpc.example/key
  pay_to: {RECIPIENT}
  assets: {{ TUSD: {{ contract: CAAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQC526, decimals: 6 }} }}
  default_asset: TUSD
  sponsors: [{{ env: SPONSOR_SECRET }}]
  lanes: 4
  max_fee_stroops: 300000
  sponsor_budget: {{ stroops: 100000, per: 30m, per_payer: 2000 }}
store:
  embedded: {{ path: /var/lib/gateway/state.redb }}
payments:
  x402:
    facilitator: {{ url: "https://f.example/x402", api_key: {{ env: SPONSOR_SECRET }}, timeout: 3s }}
    max_timeout_seconds: 200
upstreams:
  weather:
    servers: [http://127.0.0.1:3000, "http://[::1]:3001"]
    connect_timeout: 1s
    timeout: 20s
    idle_timeout: 2m
    max_in_flight: 7
  llm:
    servers: [http://llm.internal]
    headers: {{ set: {{ X-Api-Key: {{ env: SPONSOR_SECRET }} }} }}
defaults:
  accept: [x402]
  limits: {{ body: 2MiB, header_bytes: 16KiB }}
  charge_when: "<500"
  redelivery: {{ attempts: 9, for: 2h }}
  settle: before
routes:
  - name: weather
    match: GET /v1/weather/{{city}}
    upstream: weather
    price: "$0.001"
    describe: {{ summary: Current weather for a city }}
  - name: chat
    match: POST /v1/chat/*
    upstream: llm
    accept: {{ x402: {{ price: {{ amount: "200000", asset: XLM }} }} }}
    settle: after
    charge_when: "<300"
    redelivery: {{ attempts: 1, for: 1h }}
    timeout: 120s
    pay_to: {OTHER}
    limits: {{ body: 8MiB, tunnel: 1h }}
  - {{ match: ANY /internal/*, deny: 404 }}
unmatched: 404
drain: {{ delay: 5s, timeout: 20s }}
reload: {{ watch: false, debounce: 250ms }}
"#
    );
    let path = folder.path().join("gateway.yaml");
    fs::write(&path, &text).unwrap();
    let settings =
        load(&path, &Env::fixed(variables())).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(settings.warnings.to_string(), "");

    let listeners: Vec<_> = settings.listeners.iter().map(|l| l.address.to_string()).collect();
    assert_eq!(listeners, ["0.0.0.0:8402", "[::1]:0"]);
    assert_eq!(settings.public_url.as_deref(), Some("https://api.example.com"));
    assert_eq!(settings.listeners[0].limits.header_bytes, 16 << 10);
    assert_eq!(settings.drain, Drain { delay: seconds(5), timeout: seconds(20) });
    let debounce = Duration::from_millis(250);
    assert_eq!(settings.reload, Reload { watch: false, debounce });

    let payment = settings.payment.unwrap();
    assert_eq!(payment.rpc_url, "https://rpc.example/key");
    let x402 = payment.x402.unwrap();
    assert_eq!(x402.max_timeout_seconds, 200);
    assert_eq!(payment.store, Store::Embedded(PathBuf::from("/var/lib/gateway/state.redb")));
    assert_eq!(payment.assets[2].decimals.places(), 6);
    let FacilitatorSettings::Remote(remote) = x402.facilitator else { panic!() };
    assert_eq!(
        (remote.url, remote.timeout),
        ("https://f.example/x402".parse().unwrap(), seconds(3))
    );
    assert_eq!(remote.api_key_name.as_deref(), Some("SPONSOR_SECRET"));

    let [weather, llm] = &*settings.upstreams else { panic!() };
    assert_eq!(weather.servers, ["127.0.0.1:3000", "[::1]:3001"]);
    assert_eq!((weather.connect_timeout, weather.idle_timeout), (seconds(1), seconds(120)));
    assert_eq!(weather.max_in_flight, 7);
    assert_eq!(llm.headers.set, [("x-api-key".parse().unwrap(), SPONSOR.parse().unwrap())]);

    let [city, chat, internal] = settings.table.routes() else { panic!() };
    let Access::Priced(terms) = &city.access else { panic!() };
    assert_eq!((&*city.name, city.upstream, city.timeout), ("weather", 0, seconds(20)));
    assert_eq!(city.tunnel, None);
    assert_eq!((city.body_limit, terms.settle), (2 << 20, SettleOrder::BeforeForward));
    assert_eq!(&*terms.description, "Current weather for a city");
    assert_eq!((terms.charge_when.below, terms.redelivery.attempts), (500, 9));
    assert_eq!((terms.offers[0].amount.units(), &*terms.offers[0].asset.name), (1_000, "TUSD"));
    let Access::Priced(terms) = &chat.access else { panic!() };
    assert_eq!((chat.upstream, chat.timeout, terms.timeout), (1, seconds(120), seconds(120)));
    assert_eq!(chat.tunnel, Some(Duration::from_secs(3600)));
    assert_eq!((chat.body_limit, terms.settle), (8 << 20, SettleOrder::AfterHead));
    assert_eq!((terms.charge_when.below, terms.redelivery.within), (300, seconds(3_600)));
    assert_eq!((terms.offers[0].amount.units(), &*terms.offers[0].asset.name), (200_000, "XLM"));
    assert_eq!(terms.offers[0].payee.to_string(), OTHER);
    assert!(matches!(internal.access, Access::Denied(status) if status == 404));
}

#[test]
fn everything_that_is_wrong_is_told_in_one_run_in_the_order_of_the_file() {
    let text = r#"version: 2
listen: localhost:8402
upstream: http://127.0.0.1:3000/api
network: testnet
tls: {}
stellar:
  pay_to: GBBD47IF6LWK7P7MDEVSCWR7DPUWV3NY3DTQEVFL4NAT4AQH3ZLLFLA5
  sponsors: [{ env: SPONSOR_SECRET }, { env: NOT_THERE }]
  lanes: 0
payments: { x402: { facilitator: self, max_timeout_seconds: 1m } }
store: { redis: { url: { env: REDIS_URL } } }
routes:
  - { match: GET /weather, price: 1e-7, acept: [x402] }
  - { match: GET /weather, free: true }
  - { match: GET health, free: true, deny: 404, timeout: 30 }
  - { match: GET /chat, price: "$0.00000001", upstream: llm, settle: never }
drain: { delay: 5 }
"#;
    assert_snapshot!(read(text).unwrap_err(), @r"
    gateway.yaml:1:10: version: `2` is not a version of this format

    hint: this version reads `version: 1`
    gateway.yaml:2:9: listen: `localhost:8402` is not an address to listen on

    hint: write `127.0.0.1:8402`
    gateway.yaml:3:11: upstream: `http://127.0.0.1:3000/api` has a path

    hint: write the origin alone: the request's own path is forwarded unchanged
    gateway.yaml:4:10: network: `testnet` is no Stellar network

    hint: write `stellar:testnet`
    gateway.yaml:5:1: unknown key `tls`

    hint: known here: `version`, `listen`, `listeners`, `public_url`, `network`, `stellar`, `store`, `payments`, `upstream`, `upstreams`, `defaults`, `mode`, `routes`, `unmatched`, `drain`, `reload`, `admin`, `access_log` or `webhooks`
    gateway.yaml:7:11: stellar.pay_to: `GBBD47IF6LWK7P7MDEVSCWR7DPUWV3NY3DTQEVFL4NAT4AQH3ZLLFLA5` is the issuer of USDC (CBIE…DAMA): what is paid to it is gone

    hint: name an account of your own
    gateway.yaml:8:39: stellar.sponsors[1]: the environment variable `NOT_THERE` is not set

    hint: set `NOT_THERE`
    gateway.yaml:9:10: stellar.lanes: `0` is out of range

    hint: write a whole number from 1 to 100
    gateway.yaml:10:61: payments.x402.max_timeout_seconds: `1m` is not a whole number

    hint: write a whole number from 5 to 3600
    gateway.yaml:11:17: store.redis: `durability` is missing

    hint: say how sure a record must be: `redis-single` (on the server's disk before it counts), `redis-ha` (on the disks of all replicas that may take over too) or `best-effort` (a lost record is a lost payment)
    gateway.yaml:11:24: store.redis.url: the environment variable `REDIS_URL` is not set

    hint: set `REDIS_URL`
    gateway.yaml:13:35: routes[0].price: `1e-7` is not a price

    hint: write a decimal number, such as `$0.001`: all digits, no exponent; the smallest is 0.0000001
    gateway.yaml:13:41: routes[0]: unknown key `acept`

    hint: did you mean `accept`?
    gateway.yaml:14:14: routes[1].match: matches the same requests as `GET /weather`, `routes[0]` in line 13

    hint: keep one of the two: the order in the file decides nothing
    gateway.yaml:15:5: routes[2]: the route says more than one of `price`, `free` and `deny`

    hint: keep one of them
    gateway.yaml:15:14: routes[2].match: `GET health`: the path does not start with `/`

    hint: write `GET /health`
    gateway.yaml:15:58: routes[2].timeout: `30` has no unit

    hint: write `30s`, `30m` or the like
    gateway.yaml:16:32: routes[3].price: `$0.00000001` has 8 decimals, but USDC (CBIE…DAMA) has 7

    hint: the smallest price is 0.0000001
    gateway.yaml:16:57: routes[3].upstream: `llm` is no upstream of this configuration

    hint: there is one upstream, without a name: leave the key out
    gateway.yaml:16:70: routes[3].settle: `never` is no order of settling

    hint: write `after` or `before`; left out, it is `after` for GET and `before` for the rest
    gateway.yaml:17:17: drain.delay: `5` has no unit

    hint: write `5s`, `5m` or the like
    ");
}

#[test]
fn a_gateway_that_charges_nothing_needs_no_money() {
    let text = "version: 1\nlisten: 127.0.0.1:0\nupstream: http://127.0.0.1:3000\nroutes: [{ match: ANY /*, free: true }]\n";
    let settings = read_with(text, &Env::fixed([("", ""); 0])).unwrap();
    assert!(settings.payment.is_none());
    assert!(settings.warnings.is_empty());
}

#[test]
fn the_hash_is_of_the_content() {
    let one = read(SHORT).unwrap().hash;
    assert_eq!(read(SHORT).unwrap().hash, one);
    assert_ne!(read(&format!("{SHORT}# a comment\n")).unwrap().hash, one);
}

#[test]
fn ten_thousand_routes_fit() {
    let mut text = SHORT.to_owned();
    for route in 0..10_000 {
        text.push_str(&format!(
            "  - {{ match: GET /r/{route}, price: \"$0.001\", accept: [x402] }}\n"
        ));
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.yaml");
    fs::write(&path, text).unwrap();
    let settings = load(&path, &Env::fixed(variables())).unwrap();
    assert_eq!(settings.table.routes().len(), 10_002);
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic_or_tell_a_secret(
        at in 0..SHORT.len(),
        length in 0..40_usize,
        text in "[ -~\t\nä]{0,20}|[{}\\[\\]&*<!:#,\"' \n-]{0,12}",
    ) {
        let rest = SHORT.chars().skip(at.saturating_add(length));
        let mutated: String = SHORT.chars().take(at).chain(text.chars()).chain(rest).collect();
        if let Err(faults) = read(&mutated) {
            prop_assert!(!faults.contains(SPONSOR));
            prop_assert!(!faults.is_empty() && !faults.contains("not noted"), "{}", faults);
        }
    }
}
