//! Routes: patterns, what they ask, where they go.

use insta::assert_snapshot;

use super::{SHORT, broken, changed, faults, read};
use crate::{pay::SettleOrder, route::Access};

const TWO_UPSTREAMS: &str = "upstreams: { weather: { servers: [http://127.0.0.1:3000] }, llm: { servers: [http://127.0.0.1:3001] } }";

#[test]
fn a_route_is_priced_or_free_or_denied() {
    assert_snapshot!(broken(", free: true", ""), @r#"
    gateway.yaml:13:5: routes[1]: the route has no price, and does not say `free` or `deny` either

    hint: say what it costs: `price: "$0.001"`, `free: true` or `deny: 404`
    "#);
    assert_snapshot!(broken("free: true", "free: false"), @r#"
    gateway.yaml:13:5: routes[1]: the route has no price, and does not say `free` or `deny` either

    hint: say what it costs: `price: "$0.001"`, `free: true` or `deny: 404`
    "#);
    assert_snapshot!(broken("free: true", "free: true, price: \"$1\""), @r"
    gateway.yaml:13:5: routes[1]: the route says more than one of `price`, `free` and `deny`

    hint: keep one of them
    ");
    assert_snapshot!(broken("free: true", "free: true, deny: 404"), @r"
    gateway.yaml:13:5: routes[1]: the route says more than one of `price`, `free` and `deny`

    hint: keep one of them
    ");
    assert_snapshot!(broken("price: \"$0.001\", ", ""), @r#"
    gateway.yaml:12:5: routes[0]: the route has no price, and does not say `free` or `deny` either

    hint: say what it costs: `price: "$0.001"`, `free: true` or `deny: 404`
    "#);
    assert_snapshot!(broken("price: \"$0.001\"", "free: true, settle: after"), @r"
    gateway.yaml:12:40: routes[0]: `settle` means nothing on a free route

    hint: remove it, or give the route a price
    gateway.yaml:12:55: routes[0]: `accept` means nothing on a free route

    hint: remove it, or give the route a price
    ");
    assert!(read(&changed("price: \"$0.001\"", "free: false, price: \"$1\"")).is_ok());
}

#[test]
fn a_denied_route_answers_with_a_status_that_denies() {
    assert_snapshot!(broken("free: true", "deny: 402"), @r"
    gateway.yaml:13:33: routes[1].deny: 402 would promise that it can be paid

    hint: write `deny: 404` or `403`
    ");
    assert_snapshot!(broken("free: true", "deny: 200"), @r"
    gateway.yaml:13:33: routes[1].deny: `200` is out of range

    hint: write a whole number from 400 to 599
    ");
    assert_snapshot!(broken("free: true", "deny: true"), @r"
    gateway.yaml:13:33: routes[1].deny: `true` is not a whole number

    hint: write a whole number from 400 to 599
    ");
    let settings = read(&changed("free: true", "deny: 403")).unwrap();
    assert!(matches!(settings.table.routes()[1].access, Access::Denied(status) if status == 403));
}

#[test]
fn a_pattern_is_one_that_a_request_can_match() {
    let pattern = |text: &str| broken("GET /health", text);
    assert_snapshot!(pattern("/health"), @r"
    gateway.yaml:13:14: routes[1].match: `/health`: expected a method and a path, such as `GET /weather`

    hint: write `GET /health`, or `ANY /health` for every method
    ");
    assert_snapshot!(pattern("GET health"), @r"
    gateway.yaml:13:14: routes[1].match: `GET health`: the path does not start with `/`

    hint: write `GET /health`
    ");
    assert_snapshot!(pattern("get /health"), @r"
    gateway.yaml:13:14: routes[1].match: `get /health`: `get` is not upper case: methods are, such as `GET`

    hint: write `GET /health`
    ");
    assert_snapshot!(pattern("GTE /health"), @r"
    gateway.yaml:13:14: routes[1].match: `GTE /health`: `GTE` is not a method the gateway serves: expected GET, POST, PUT, PATCH, DELETE, OPTIONS or ANY

    hint: did you mean `GET`?
    ");
    assert_snapshot!(pattern("HEAD /health"), @r"
    gateway.yaml:13:14: routes[1].match: `HEAD /health`: a route for `GET` takes `HEAD` too, at the same price: write `GET`

    hint: write `GET /health`
    ");
    assert_snapshot!(pattern("CONNECT /health"), @r"
    gateway.yaml:13:14: routes[1].match: `CONNECT /health`: `CONNECT` is not a method the gateway serves: expected GET, POST, PUT, PATCH, DELETE, OPTIONS or ANY

    hint: write one of them, or `ANY` for every method
    ");
    assert_snapshot!(pattern("GET //health"), @r"
    gateway.yaml:13:14: routes[1].match: `GET //health`: the path has an empty segment: no request with such a path is let in

    hint: write the path as clients send it: one slash between segments, no `.` or `..`, percent-encoded only where it must be
    ");
    assert_snapshot!(pattern("GET /a/../health"), @r"
    gateway.yaml:13:14: routes[1].match: `GET /a/../health`: the path has a `.` or `..` segment: no request with such a path is let in

    hint: write the path as clients send it: one slash between segments, no `.` or `..`, percent-encoded only where it must be
    ");
    assert_snapshot!(pattern("GET /%68ealth"), @r"
    gateway.yaml:13:14: routes[1].match: `GET /%68ealth`: the path encodes a character that needs no encoding: no request with such a path is let in

    hint: write the path as clients send it: one slash between segments, no `.` or `..`, percent-encoded only where it must be
    ");
    assert_snapshot!(pattern("\"GET /health?full\""), @r"
    gateway.yaml:13:14: routes[1].match: `GET /health?full`: a path has no query: parameters behind `?` play no part in matching

    hint: write the path alone
    ");
    assert_snapshot!(pattern("\"GET /health#top\""), @r"
    gateway.yaml:13:14: routes[1].match: `GET /health#top`: the request target has a fragment: no request with such a path is let in

    hint: write the path as clients send it: one slash between segments, no `.` or `..`, percent-encoded only where it must be
    ");
    assert_snapshot!(pattern("GET /a b"), @r"
    gateway.yaml:13:14: routes[1].match: `GET /a b`: the request target has a character that must be percent-encoded: no request with such a path is let in

    hint: write the path as clients send it: one slash between segments, no `.` or `..`, percent-encoded only where it must be
    ");
    assert_snapshot!(pattern("GET /ä"), @r"
    gateway.yaml:13:14: routes[1].match: `GET /ä`: the request target has a character that must be percent-encoded: no request with such a path is let in

    hint: write the path as clients send it: one slash between segments, no `.` or `..`, percent-encoded only where it must be
    ");
    assert_snapshot!(pattern("\"GET /{a}-{b}\""), @r"
    gateway.yaml:13:14: routes[1].match: `GET /{a}-{b}`: `{a}-{b}` is not one parameter such as `{city}`, with or without text around it

    hint: paths are written like `/v1/weather/{city}` or `/v1/chat/*`
    ");
    assert_snapshot!(pattern("\"GET /{a}/{a}\""), @r"
    gateway.yaml:13:14: routes[1].match: `GET /{a}/{a}`: the parameter `a` stands twice in the path

    hint: paths are written like `/v1/weather/{city}` or `/v1/chat/*`
    ");
    assert_snapshot!(pattern("GET /*/health"), @r"
    gateway.yaml:13:14: routes[1].match: `GET /*/health`: `*` stands alone as the last segment, such as `/v1/chat/*`

    hint: paths are written like `/v1/weather/{city}` or `/v1/chat/*`
    ");
    for text in ["GET /", "ANY /*", "\"GET /v1/{city}.json\"", "OPTIONS /x", "GET /a/"] {
        assert!(read(&changed("GET /health", text)).is_ok(), "{text}");
    }
}

#[test]
fn routes_that_no_order_tells_apart_are_a_fault_of_the_later_one() {
    assert_snapshot!(broken("GET /health", "GET /weather"), @r"
    gateway.yaml:13:14: routes[1].match: matches the same requests as `GET /weather`, `routes[0]` in line 12

    hint: keep one of the two: the order in the file decides nothing
    ");
    let parameters = SHORT
        .replace("match: GET /weather", "match: \"GET /{a}/x\"")
        .replace("match: GET /health", "match: \"GET /{b}/x\"");
    assert_snapshot!(faults(&parameters), @r"
    gateway.yaml:13:14: routes[1].match: matches the same requests as `GET /{a}/x`, `routes[0]` in line 12

    hint: keep one of the two: the order in the file decides nothing
    ");
    let unordered = SHORT
        .replace("match: GET /weather", "match: \"GET /a{x}\"")
        .replace("match: GET /health", "match: \"GET /{y}b\"");
    assert_snapshot!(faults(&unordered), @r"
    gateway.yaml:13:14: routes[1].match: takes some of the paths of `GET /a{x}`, `routes[0]` in line 12

    hint: neither is the more specific: change one of the two
    ");
    assert!(read(&changed("GET /health", "ANY /weather")).is_ok(), "a method beats ANY");
    assert!(read(&changed("GET /health", "GET /*")).is_ok(), "a literal beats the rest");
}

#[test]
fn routes_clash_even_while_another_thing_is_wrong_with_them() {
    let text = changed("GET /health, free: true", "GET /weather, price: nothing");
    assert_snapshot!(faults(&text), @r"
    gateway.yaml:13:14: routes[1].match: matches the same requests as `GET /weather`, `routes[0]` in line 12

    hint: keep one of the two: the order in the file decides nothing
    gateway.yaml:13:35: routes[1].price: `nothing` is not a price

    hint: write a decimal number, such as `$0.001`
    ");
}

#[test]
fn no_two_routes_share_a_name() {
    let text = SHORT.replace("{ match:", "{ name: one, match:");
    assert_snapshot!(faults(&text), @r"
    gateway.yaml:13:13: routes[1].name: the name `one` is taken by `routes[0]`

    hint: give each route a name of its own
    ");
    assert_snapshot!(broken("{ match: GET /health", "{ name: GET /weather, match: GET /health"), @r"
    gateway.yaml:13:13: routes[1].name: the name `GET /weather` is taken by `routes[0]`

    hint: give each route a name of its own
    ");
    assert_snapshot!(broken("{ match: GET /health", "{ name: \"\", match: GET /health"), @r"
    gateway.yaml:13:13: routes[1].name: `` is no name

    hint: write 1 to 200 printable ASCII characters
    ");
}

#[test]
fn a_route_goes_to_an_upstream_of_the_configuration() {
    let two = SHORT.replace("upstream: http://127.0.0.1:3000", TWO_UPSTREAMS);
    assert_snapshot!(faults(&two), @r"
    gateway.yaml:12:5: routes[0]: `upstream` is missing: there is more than one

    hint: name one of `weather` or `llm`
    gateway.yaml:13:5: routes[1]: `upstream` is missing: there is more than one

    hint: name one of `weather` or `llm`
    ");
    assert_snapshot!(broken("free: true", "free: true, upstream: wether"), @r"
    gateway.yaml:13:49: routes[1].upstream: `wether` is no upstream of this configuration

    hint: there is one upstream, without a name: leave the key out
    ");
    let named = two.replace(" match:", " upstream: llm, match:");
    assert!(read(&named).unwrap().table.routes().iter().all(|route| route.upstream == 1));
    assert_snapshot!(faults(&named.replace("upstream: llm, match: GET /h", "upstream: weathr, match: GET /h")), @r"
    gateway.yaml:13:17: routes[1].upstream: `weathr` is no upstream of this configuration

    hint: did you mean `weather`?
    ");
    let both = format!("{SHORT}{TWO_UPSTREAMS}\n");
    assert_snapshot!(faults(&both), @r"
    gateway.yaml:14:1: `upstream` and `upstreams` are both given

    hint: `upstream` is the short form for one upstream: keep one of the two
    ");
}

#[test]
fn a_route_accepts_methods_that_are_configured() {
    let accept = |text: &str| broken("[x402]", text);
    assert_snapshot!(accept("[]"), @r"
    gateway.yaml:12:53: routes[0].accept: no method is accepted

    hint: name one: `accept: [x402]`
    ");
    assert_snapshot!(accept("[x403]"), @r"
    gateway.yaml:12:54: routes[0].accept[0]: `x403` is no payment method

    hint: did you mean `x402`?
    ");
    assert_snapshot!(accept("[x402, mpp.charge]"), @r"
    gateway.yaml:12:60: routes[0].accept[1]: `mpp.charge` is not configured under `payments`

    hint: configure it: `payments: { mpp: { charge: {} } }`
    ");
    assert_snapshot!(accept("[bitcoin]"), @r"
    gateway.yaml:12:54: routes[0].accept[0]: `bitcoin` is no payment method

    hint: this version knows `x402`, `mpp.charge` or `mpp.channel`
    ");
    assert_snapshot!(accept("[x402, x402]"), @r"
    gateway.yaml:12:60: routes[0].accept[1]: `x402` is in the list already

    hint: name it once
    ");
    assert_snapshot!(accept("{ mpp.channel: { price: \"$1\" } }"), @r"
    gateway.yaml:12:55: routes[0].accept: `mpp.channel` is not configured under `payments`

    hint: configure it: `payments: { mpp: { channel: { signer: { env: RECIPIENT_SECRET } } } }`
    ");
    assert_snapshot!(broken("price: \"$0.001\", accept: [x402]", "accept: { x402: {} }"), @r"
    gateway.yaml:12:5: routes[0]: `x402` has no price

    hint: give the method a price, or the route one for all its methods
    ");
    assert_snapshot!(broken("{ x402: { facilitator: self } }", "{}"), @r"
    gateway.yaml:9:11: payments: no payment method is configured

    hint: configure one or both: `payments: { x402: { facilitator: self }, mpp: { charge: {} } }`
    gateway.yaml:12:54: routes[0].accept[0]: `x402` is not configured under `payments`

    hint: configure it: `payments: { x402: { facilitator: self } }`
    ");
    assert_snapshot!(broken("payments: { x402: { facilitator: self } }\n", ""), @r"
    gateway.yaml:11:54: routes[0].accept[0]: `x402` is not configured under `payments`

    hint: configure it: `payments: { x402: { facilitator: self } }`
    ");
}

#[test]
fn a_method_may_have_a_price_of_its_own() {
    let text = changed("accept: [x402]", "accept: { x402: { price: \"$0.02\" } }");
    let settings = read(&text).unwrap();
    let Access::Priced(terms) = &settings.table.routes()[0].access else { panic!() };
    assert_eq!(terms.offers[0].amount.units(), 200_000);
    assert!(
        read(&text.replace("price: \"$0.001\", ", "")).is_ok(),
        "the methods' prices are enough"
    );
    let settings = read(&changed("[x402]", "{ x402: {} }")).unwrap();
    let Access::Priced(terms) = &settings.table.routes()[0].access else { panic!() };
    assert_eq!(terms.offers[0].amount.units(), 10_000, "the route's price is for all its methods");
}

#[test]
fn rules_of_money_are_inherited_and_overridden() {
    let text = format!(
        "{SHORT}  - {{ match: POST /chat, price: \"$1\", settle: after, charge_when: \"<500\", redelivery: {{ attempts: 2 }} }}\n\
         defaults: {{ settle: before, charge_when: \"<300\", redelivery: {{ attempts: 5, for: 1h }} }}\n",
    );
    let settings = read(&text).unwrap();
    let terms: Vec<_> = settings
        .table
        .routes()
        .iter()
        .filter_map(|route| match &route.access {
            Access::Priced(terms) => Some(terms),
            _ => None,
        })
        .collect();
    assert_eq!(
        (terms[0].settle, terms[1].settle),
        (SettleOrder::BeforeForward, SettleOrder::AfterHead)
    );
    assert_eq!((terms[0].charge_when.below, terms[1].charge_when.below), (300, 500));
    assert_eq!((terms[0].redelivery.attempts, terms[1].redelivery.attempts), (5, 2));
    assert_eq!(terms[0].redelivery.within, terms[1].redelivery.within);
    assert_snapshot!(broken("accept:", "settle: later, accept:"), @r"
    gateway.yaml:12:53: routes[0].settle: `later` is no order of settling

    hint: write `after` or `before`; left out, it is `after` for GET and `before` for the rest
    ");
    assert_snapshot!(broken("accept:", "charge_when: 2xx, accept:"), @r#"
    gateway.yaml:12:58: routes[0].charge_when: `2xx` does not say which answers are worth money

    hint: write a bound from `"<201"` to `"<600"`, such as `"<400"`
    "#);
    assert_snapshot!(broken("accept:", "charge_when: <200, accept:"), @r#"
    gateway.yaml:12:58: routes[0].charge_when: `<200` does not say which answers are worth money

    hint: write a bound from `"<201"` to `"<600"`, such as `"<400"`
    "#);
    assert_snapshot!(broken("accept:", "redelivery: { attempts: 0, for: 0s }, accept:"), @r"
    gateway.yaml:12:69: routes[0].redelivery.attempts: `0` is out of range

    hint: write a whole number from 1 to 100
    gateway.yaml:12:77: routes[0].redelivery.for: `0s` is no time at all

    hint: write a duration above zero, such as `30s`
    ");
}

#[test]
fn a_payment_has_to_outlive_the_upstream() {
    assert_snapshot!(broken("accept:", "timeout: 60s, accept:"), @r"
    gateway.yaml:12:54: routes[0].timeout: the upstream may take 60 s, and a payment lives 60 s until it has to be settled

    hint: raise `payments.x402.max_timeout_seconds` to 70, lower `timeout`, or say `settle: before`
    ");
    let close = read(&changed("accept:", "timeout: 55s, accept:")).unwrap();
    assert_snapshot!(close.warnings, @r"
    gateway.yaml:12:54: routes[0].timeout: the upstream may take 55 s, and a payment lives 60 s until it has to be settled

    hint: raise `payments.x402.max_timeout_seconds` to 65, lower `timeout`, or say `settle: before`
    ");
    assert!(read(&changed("accept:", "timeout: 50s, accept:")).unwrap().warnings.is_empty());
    let before = read(&changed("accept:", "timeout: 600s, settle: before, accept:")).unwrap();
    assert!(before.warnings.is_empty(), "what settles first has no such bound");
}

#[test]
fn there_is_a_route_at_least_and_what_matches_none_is_404() {
    let start = SHORT.split("routes:").next().unwrap();
    assert_snapshot!(faults(start), @r#"
    gateway.yaml:1:1: `routes` is missing

    hint: list at least one: `routes: [{ match: GET /weather, price: "$0.001" }]`
    "#);
    assert_snapshot!(faults(&format!("{start}routes: []\n")), @r#"
    gateway.yaml:11:9: routes: there is no route

    hint: list at least one: `routes: [{ match: GET /weather, price: "$0.001" }]`
    "#);
    assert_snapshot!(faults(&format!("{SHORT}unmatched: free\n")), @r"
    gateway.yaml:14:12: unmatched: `free` is not supported by this version

    hint: add a route for what is free: `{ match: ANY /*, free: true }`
    ");
    assert_snapshot!(faults(&format!("{SHORT}unmatched: 500\n")), @r"
    gateway.yaml:14:12: unmatched: `500` is no answer for what matches no route

    hint: write `unmatched: 404`
    ");
    assert!(read(&format!("{SHORT}unmatched: 404\n")).is_ok());
}

#[test]
fn what_is_changed_of_a_request_is_a_prefix_and_headers() {
    let route = "{ match: ANY /api/*, free: true, strip_prefix: /api, headers: { set: { X-Key: { env: SPONSOR_SECRET } }, remove: [Cookie, x_debug] } }";
    let settings = read(&changed("{ match: GET /health, free: true }", route)).unwrap();
    let rewrite = settings.table.routes()[1].rewrite.as_ref().unwrap();
    assert_eq!(rewrite.strip_prefix.as_ref().unwrap().text(), "/api");
    assert_eq!(rewrite.headers.set[0].0, "x-key");
    assert!(rewrite.headers.set[0].1.is_sensitive());
    assert_eq!(rewrite.headers.remove, ["cookie", "x_debug"]);
    assert!(settings.table.routes()[0].rewrite.is_none());
}

#[test]
fn a_priced_path_that_the_upstream_sees_as_a_free_one_is_a_warning() {
    let warnings = |free: &str| {
        let route =
            "{ match: \"GET /api/{city}\", price: \"$0.001\", accept: [x402], strip_prefix: /api }";
        let text = changed("{ match: GET /weather, price: \"$0.001\", accept: [x402] }", route);
        read(&text.replace("GET /health, free: true", free)).unwrap().warnings.to_string()
    };
    assert_snapshot!(warnings("ANY /*, free: true"), @r"
    gateway.yaml:12:80: routes[0].strip_prefix: its upstream serves this at paths such as `/x` too, which `ANY /*` gives away

    hint: price that path as well, deny it, or keep the free route to other paths
    ");
    assert_eq!(warnings("ANY /*, deny: 404"), "");
    assert_eq!(warnings("ANY /health/*, free: true"), "");
}

#[test]
fn a_change_that_cannot_be_made_is_a_fault() {
    let route = |more: &str| {
        let route = format!("{{ match: ANY /api/*, free: true, {more} }}");
        broken("{ match: GET /health, free: true }", &route)
    };
    assert_snapshot!(route("strip_prefix: api"), @r"
    gateway.yaml:13:52: routes[1].strip_prefix: `api` does not begin with a slash, or ends with one

    hint: write whole segments, such as `/api`
    ");
    assert_snapshot!(route("strip_prefix: /api/"), @r"
    gateway.yaml:13:52: routes[1].strip_prefix: `/api/` does not begin with a slash, or ends with one

    hint: write whole segments, such as `/api`
    ");
    assert_snapshot!(route("strip_prefix: /ap"), @r"
    gateway.yaml:13:52: routes[1].strip_prefix: `/ap` is not how the route's paths begin

    hint: write the first segments of `/api/*`, and leave it at least one
    ");
    assert_snapshot!(route("strip_prefix: \"/api/*\""), @r"
    gateway.yaml:13:52: routes[1].strip_prefix: `/api/*` is not how the route's paths begin

    hint: write the first segments of `/api/*`, and leave it at least one
    ");
    assert_snapshot!(route("headers: { remove: [Host] }"), @r"
    gateway.yaml:13:58: routes[1].headers.remove[0]: `host` belongs to the connection or to the payment

    hint: the gateway sets or removes it itself: remove it here
    ");
    assert_snapshot!(route("headers: { remove: [\"a b\"] }"), @r"
    gateway.yaml:13:58: routes[1].headers.remove[0]: `a b` is no header name

    hint: such as `X-Api-Key`
    ");
    assert_snapshot!(route("headers: { set: { X-Key: plain } }"), @r"
    gateway.yaml:13:63: routes[1].headers.set.X-Key: a secret must not be written in this file

    hint: put it into the environment, `{ env: NAME }`, or a file, `{ file: PATH }`
    ");
    assert_snapshot!(route("headers: { add: {} }"), @r"
    gateway.yaml:13:49: routes[1].headers: unknown key `add`

    hint: known here: `set` or `remove`
    ");
}
