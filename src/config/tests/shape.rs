//! Syntax, keys and kinds of values.

use insta::assert_snapshot;

use super::{SHORT, broken, changed, faults, read};

#[test]
fn syntax_is_one_fault_at_its_place() {
    assert_snapshot!(faults("version: 1\nroutes: [a, b\n"), @r"
    gateway.yaml:2:9: not valid YAML: unclosed bracket '['

    hint: check the indentation; a value with `{`, `[`, `*`, `&`, `: ` or ` #` in it needs quotes
    ");
    assert_snapshot!(faults("version: 1\nstellar:\n\tpay_to: x\n"), @r"
    gateway.yaml:3:2: not valid YAML: a tab where YAML allows only spaces

    hint: indent with spaces
    ");
    assert_snapshot!(faults("listen: \"127.0.0.1:80\n"), @r"
    gateway.yaml:1:9: not valid YAML: a quote is opened and never closed

    hint: close the quote
    ");
    assert_snapshot!(faults("routes:\n  - match: *anything\n"), @r"
    gateway.yaml:2:12: not valid YAML: the alias (`*…`) refers to nothing

    hint: define it above with `&name`; a value that begins with `*` needs quotes
    ");
    assert_snapshot!(faults("drain: { delay: @5s }\n"), @r"
    gateway.yaml:1:17: not valid YAML: unexpected character `@`

    hint: check the indentation; a value with `{`, `[`, `*`, `&`, `: ` or ` #` in it needs quotes
    ");
    assert_snapshot!(faults("a: b: c\n"), @r"
    gateway.yaml:1:5: not valid YAML: mapping values are not allowed in this context

    hint: check the indentation; a value with `{`, `[`, `*`, `&`, `: ` or ` #` in it needs quotes
    ");
    assert_snapshot!(faults("version: !!int 1\n"), @r"
    gateway.yaml:1:10: a YAML tag (`!…`) has no meaning here

    hint: remove the tag; a value that begins with `!` needs quotes
    ");
    assert_snapshot!(faults("? [a]\n: 1\n"), @r"
    gateway.yaml:1:3: a key must be a single word

    hint: check the indentation; a value with `{`, `[`, `*`, `&`, `: ` or ` #` in it needs quotes
    ");
}

#[test]
fn a_template_in_braces_needs_quotes_inside_a_flow_mapping() {
    assert_snapshot!(broken("GET /weather", "GET /weather/{city}"), @r"
    gateway.yaml:12:27: not valid YAML: while parsing a flow mapping, did not find expected ',' or '}'

    hint: check the indentation; a value with `{`, `[`, `*`, `&`, `: ` or ` #` in it needs quotes
    ");
    assert!(read(&changed("GET /weather", "\"GET /weather/{city}\"")).is_ok());
}

#[test]
fn an_empty_file_is_no_configuration() {
    assert_snapshot!(faults(""), @r"
    gateway.yaml:1:1: the file is empty

    hint: begin with `version: 1`, then `listen`, `upstream` and `routes`
    ");
    assert_snapshot!(faults("# nothing\n---\n"), @r"
    gateway.yaml:1:1: the file is empty

    hint: begin with `version: 1`, then `listen`, `upstream` and `routes`
    ");
    assert_snapshot!(faults("just text\n"), @r"
    gateway.yaml:1:1: expected a mapping, got text

    hint: write a mapping here
    ");
}

#[test]
fn two_documents_are_a_fault_and_one_with_markers_is_not() {
    assert_snapshot!(faults(&format!("{SHORT}---\nversion: 1\n")), @r"
    gateway.yaml:14:1: a second YAML document begins here

    hint: keep one document in the file: remove the `---` between them
    ");
    assert!(read(&format!("---\n{SHORT}...\n")).is_ok());
}

#[test]
fn an_alias_bomb_is_refused() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..10 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    assert_snapshot!(faults(&bomb), @r"
    gateway.yaml:5:45: aliases blow the file up to more than 100000 values

    hint: use fewer aliases of aliases
    ");
    assert_snapshot!(faults("routes: &a [*a]\n"), @r"
    gateway.yaml:1:13: the alias refers to the value that it stands in

    hint: write the value out
    ");
    assert_snapshot!(faults(&format!("routes: {}{}\n", "[".repeat(40), "]".repeat(40))), @r"
    gateway.yaml:1:41: not valid YAML: nested more than 32 levels deep

    hint: write it flatter
    ");
}

#[test]
fn anchors_and_merges_work_and_what_is_written_out_wins() {
    let text = SHORT.replace(
        "  - { match: GET /health, free: true }",
        "  - &base { match: GET /a, price: \"$2\", timeout: 7s }\n  - { <<: *base, match: GET /b }",
    );
    let settings = read(&text).unwrap();
    let routes = settings.table.routes();
    assert_eq!(routes[2].pattern.path, "/b");
    assert_eq!(routes[2].timeout, routes[1].timeout);
    assert_snapshot!(faults(&text.replace("*base", "7")), @r"
    gateway.yaml:14:11: `<<` merges mappings, not text

    hint: give `<<` an alias of a mapping, such as `<<: *defaults`
    ");
    assert_snapshot!(faults(&text.replace("timeout: 7s", "timeoutt: 7s")), @r"
    gateway.yaml:13:41: routes[1]: unknown key `timeoutt`

    hint: did you mean `timeout`?
    gateway.yaml:13:41: routes[2]: unknown key `timeoutt`

    hint: did you mean `timeout`?
    ");
}

#[test]
fn a_key_is_given_once() {
    assert_snapshot!(broken("store:", "listen: 127.0.0.1:1\nstore:"), @r"
    gateway.yaml:10:1: `listen` is given twice, first in line 2

    hint: keep one of the two
    ");
    assert_snapshot!(broken("free: true", "free: true, free: false"), @r"
    gateway.yaml:13:39: routes[1]: `free` is given twice, first in line 13

    hint: keep one of the two
    ");
}

#[test]
fn an_unknown_key_gets_the_one_that_was_meant() {
    assert_snapshot!(broken("accept:", "acept:"), @r"
    gateway.yaml:12:45: routes[0]: unknown key `acept`

    hint: did you mean `accept`?
    ");
    assert_snapshot!(broken("  pay_to:", "  payto:"), @r"
    gateway.yaml:6:3: stellar: `pay_to` is missing

    hint: name the account that is paid: `pay_to: { env: STELLAR_RECIPIENT }`
    gateway.yaml:7:3: stellar: unknown key `payto`

    hint: did you mean `pay_to`?
    ");
    assert_snapshot!(broken("version: 1", "version: 1\nplugins: []"), @r"
    gateway.yaml:2:1: unknown key `plugins`

    hint: known here: `version`, `listen`, `listeners`, `public_url`, `network`, `stellar`, `store`, `payments`, `upstream`, `upstreams`, `defaults`, `mode`, `routes`, `unmatched`, `drain`, `reload`, `admin`, `access_log` or `webhooks`
    ");
    assert_snapshot!(broken("{ env: STELLAR_RECIPIENT }", "{ env: STELLAR_RECIPIENT, fallback: x }"), @r"
    gateway.yaml:7:37: stellar.pay_to: unknown key `fallback`

    hint: known here: `env` or `default`
    ");
}

#[test]
fn a_key_of_a_later_version_says_so() {
    assert_snapshot!(broken("version: 1", "version: 1\ndiscovery: {}"), @r"
    gateway.yaml:2:1: `discovery` is not supported by this version

    hint: remove it, or run a version that knows it
    ");
}

#[test]
fn a_missing_key_is_a_fault_of_what_lacks_it() {
    assert_snapshot!(broken("version: 1\n", ""), @r"
    gateway.yaml:1:1: `version` is missing

    hint: begin the file with `version: 1`
    ");
    assert_snapshot!(broken("listen: 127.0.0.1:8402\n", ""), @r"
    gateway.yaml:1:1: `listen` is missing

    hint: say where to listen: `listen: 127.0.0.1:8402`
    ");
    assert_snapshot!(broken("upstream: http://127.0.0.1:3000\n", ""), @r"
    gateway.yaml:1:1: `upstream` is missing

    hint: say where the API is: `upstream: http://127.0.0.1:3000`
    ");
    assert_snapshot!(broken("network: { env: STELLAR_NETWORK, default: \"stellar:testnet\" }\n", ""), @r"
    gateway.yaml:1:1: `network` is missing

    hint: say where the money moves: `network: stellar:testnet`
    ");
    assert_snapshot!(broken("store: { embedded: { path: ./state.redb } }\n", ""), @r"
    gateway.yaml:1:1: `store` is missing

    hint: payments are remembered in a file: `store: { embedded: { path: ./state.redb } }`
    ");
    assert_snapshot!(broken("payments: { x402: { facilitator: self } }\n", ""), @r"
    gateway.yaml:11:54: routes[0].accept[0]: `x402` is not configured under `payments`

    hint: configure it: `payments: { x402: { facilitator: self } }`
    ");
    assert_snapshot!(broken("match: GET /weather, ", ""), @r"
    gateway.yaml:12:5: routes[0]: `match` is missing

    hint: say what it matches: `match: GET /weather`
    ");
}

#[test]
fn a_value_of_another_kind_is_a_fault() {
    assert_snapshot!(broken("accept: [x402]", "accept: x402"), @r"
    gateway.yaml:12:53: routes[0].accept: expected a list, got text

    hint: write a list here
    ");
    assert_snapshot!(broken("{ match: GET /health, free: true }", "GET /health"), @r"
    gateway.yaml:13:5: routes[1]: expected a mapping, got text

    hint: write a mapping here
    ");
    assert_snapshot!(broken("{ x402: { facilitator: self } }", "[x402]"), @r"
    gateway.yaml:9:11: payments: expected a mapping, got a list

    hint: write a mapping here
    gateway.yaml:12:54: routes[0].accept[0]: `x402` is not configured under `payments`

    hint: configure it: `payments: { x402: { facilitator: self } }`
    ");
    assert_snapshot!(broken("free: true", "free: yes"), @r"
    gateway.yaml:13:33: routes[1].free: `yes` is neither `true` nor `false`

    hint: write `true` or `false`
    ");
    assert_snapshot!(broken("free: true", "free: \"true\""), @r"
    gateway.yaml:13:33: routes[1].free: `true` is in quotes, which makes it text

    hint: remove the quotes
    ");
    assert_snapshot!(broken("listen: 127.0.0.1:8402", "listen:"), @r"
    gateway.yaml:2:7: listen: expected text, got nothing

    hint: give the key a value, or remove it
    ");
}

#[test]
fn another_version_is_refused_never_guessed() {
    assert_snapshot!(broken("version: 1", "version: 2"), @r"
    gateway.yaml:1:10: version: `2` is not a version of this format

    hint: this version reads `version: 1`
    ");
    assert_snapshot!(broken("version: 1", "version: 1.0"), @r"
    gateway.yaml:1:10: version: `1.0` is not a version of this format

    hint: this version reads `version: 1`
    ");
}

#[test]
fn durations_sizes_and_numbers_have_units_and_bounds() {
    let drain = |text: &str| faults(&format!("{SHORT}drain: {{ timeout: {text} }}\n"));
    assert_snapshot!(drain("30"), @r"
    gateway.yaml:14:19: drain.timeout: `30` has no unit

    hint: write `30s`, `30m` or the like
    ");
    assert_snapshot!(drain("30 seconds"), @r"
    gateway.yaml:14:19: drain.timeout: `30 seconds` is not a duration

    hint: write a whole number and a unit: `500ms`, `30s`, `5m`, `24h`
    ");
    assert_snapshot!(drain("-5s"), @r"
    gateway.yaml:14:19: drain.timeout: `-5s` is not a duration

    hint: write a whole number and a unit: `500ms`, `30s`, `5m`, `24h`
    ");
    assert_snapshot!(drain("0s"), @r"
    gateway.yaml:14:19: drain.timeout: `0s` is no time at all

    hint: write a duration above zero, such as `30s`
    ");
    assert_snapshot!(drain("1.5h"), @r"
    gateway.yaml:14:19: drain.timeout: `1.5h` is not a duration

    hint: write a whole number and a unit: `500ms`, `30s`, `5m`, `24h`
    ");
    assert_snapshot!(drain("99999h"), @r"
    gateway.yaml:14:19: drain.timeout: `99999h` is longer than a year

    hint: write a shorter duration
    ");
    let body = |text: &str| faults(&format!("{SHORT}defaults: {{ limits: {{ body: {text} }} }}\n"));
    assert_snapshot!(body("1MB"), @r"
    gateway.yaml:14:29: defaults.limits.body: `1MB` is not a size

    hint: write `1MiB`
    ");
    assert_snapshot!(body("1048576"), @r"
    gateway.yaml:14:29: defaults.limits.body: `1048576` has no unit

    hint: write a number and a unit: `512B`, `32KiB`, `1MiB`, `1GiB`
    ");
    assert_snapshot!(body("0KiB"), @r"
    gateway.yaml:14:29: defaults.limits.body: `0KiB` is no size at all

    hint: write a size above zero, such as `1MiB`
    ");
    let lanes = |text: &str| broken("  sponsors:", &format!("  lanes: {text}\n  sponsors:"));
    assert_snapshot!(lanes("0"), @r"
    gateway.yaml:8:10: stellar.lanes: `0` is out of range

    hint: write a whole number from 1 to 100
    ");
    assert_snapshot!(lanes("101"), @r"
    gateway.yaml:8:10: stellar.lanes: `101` is out of range

    hint: write a whole number from 1 to 100
    ");
    assert_snapshot!(lanes("0x10"), @r"
    gateway.yaml:8:10: stellar.lanes: `0x10` is not a whole number

    hint: write a whole number from 1 to 100
    ");
}
