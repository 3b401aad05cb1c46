//! Secrets come by reference and never show: not in a message, not in `Debug`.

use std::fs;

use insta::assert_snapshot;
use secrecy::ExposeSecret as _;

use super::{RECIPIENT, SHORT, SPONSOR, broken, changed, read_with, variables};
use crate::config::{Env, FacilitatorSettings, load, parse};

/// A canary for every kind of secret.
const API_KEY: &str = "oz-canary-4711";
const HEADER: &str = "Bearer canary-4712";

#[test]
fn j09_a_secret_in_the_file_is_refused_and_not_repeated() {
    assert_snapshot!(broken("{ env: SPONSOR_SECRET }", SPONSOR), @r"
    gateway.yaml:8:14: stellar.sponsors[0]: a secret must not be written in this file

    hint: put it into the environment, `{ env: NAME }`, or a file, `{ file: PATH }`
    ");
    assert_snapshot!(broken("{ env: SPONSOR_SECRET }", &format!("{{ env: X, default: {SPONSOR} }}")), @r"
    gateway.yaml:8:14: stellar.sponsors[0]: a secret has no default

    hint: remove `default`: a secret comes from `{ env: NAME }` or `{ file: PATH }`
    ");
    assert_snapshot!(broken("{ env: SPONSOR_SECRET }", &format!("{{ env: {SPONSOR} }}")), @r"
    gateway.yaml:8:14: stellar.sponsors[0]: the environment variable `S…` is not set

    hint: set `S…`
    ");
    assert_snapshot!(broken("{ env: SPONSOR_SECRET }", "{ env: A, file: B }"), @r"
    gateway.yaml:8:14: stellar.sponsors[0]: expected one of `env` and `file`

    hint: write `{ env: NAME }` or `{ file: PATH }`
    ");
    assert_snapshot!(broken("{ env: SPONSOR_SECRET }", "{}"), @r"
    gateway.yaml:8:14: stellar.sponsors[0]: expected one of `env` and `file`

    hint: write `{ env: NAME }` or `{ file: PATH }`
    ");
    assert_snapshot!(broken("self", &format!("{{ url: https://f.example, api_key: {API_KEY} }}")), @r"
    gateway.yaml:9:69: payments.x402.facilitator.api_key: a secret must not be written in this file

    hint: put it into the environment, `{ env: NAME }`, or a file, `{ file: PATH }`
    ");
    let upstream = format!(
        "upstreams: {{ a: {{ servers: [http://127.0.0.1:1], headers: {{ set: {{ Authorization: \"{HEADER}\" }} }} }} }}"
    );
    assert_snapshot!(broken("upstream: http://127.0.0.1:3000", &upstream), @r"
    gateway.yaml:3:83: upstreams.a.headers.set.Authorization: a secret must not be written in this file

    hint: put it into the environment, `{ env: NAME }`, or a file, `{ file: PATH }`
    ");
}

#[test]
fn a_secret_key_is_not_repeated_wherever_it_was_put() {
    for (old, new) in [
        ("{ env: STELLAR_RECIPIENT }", SPONSOR.to_owned()),
        ("store:", format!("{SPONSOR}: 1\nstore:")),
        ("\"$0.001\"", SPONSOR.to_owned()),
        ("\"$0.001\"", format!("{{ amount: \"1\", asset: {SPONSOR} }}")),
        ("GET /health", format!("GET {SPONSOR}")),
        ("http://127.0.0.1:3000", format!("http://{SPONSOR}@127.0.0.1")),
        ("{ env: STELLAR_RPC_URL }", format!("https://rpc.example/testnet/pubnet/{SPONSOR}")),
        ("version: 1", format!("version: {SPONSOR}")),
        ("[x402]", format!("[{SPONSOR}]")),
        ("./state.redb } }", format!("./state.redb, {SPONSOR}: 1 }} }}")),
        ("{ match: GET /health", format!("{{ upstream: {SPONSOR}, match: GET /health")),
    ] {
        let shown = broken(old, &new);
        assert!(!shown.contains(SPONSOR), "{shown}");
    }
}

#[test]
fn a_variables_value_is_not_repeated() {
    for name in ["STELLAR_NETWORK", "STELLAR_RPC_URL", "STELLAR_RECIPIENT", "SPONSOR_SECRET"] {
        let mut variables = variables();
        variables.retain(|(known, _)| *known != name);
        variables.push((name, API_KEY));
        let shown = read_with(SHORT, &Env::fixed(variables)).unwrap_err();
        assert!(shown.contains(name), "{shown}");
        assert!(!shown.contains(API_KEY), "{shown}");
    }
}

#[test]
fn a_missing_variable_is_named_with_its_key() {
    let env = Env::fixed([("STELLAR_RECIPIENT", RECIPIENT), ("STELLAR_RPC_URL", "")]);
    assert_snapshot!(read_with(SHORT, &env).unwrap_err(), @r"
    gateway.yaml:6:12: stellar.rpc_url: the environment variable `STELLAR_RPC_URL` is empty

    hint: set `STELLAR_RPC_URL`, or give a default: `{ env: STELLAR_RPC_URL, default: … }`
    gateway.yaml:8:14: stellar.sponsors[0]: the environment variable `SPONSOR_SECRET` is not set

    hint: set `SPONSOR_SECRET`
    ");
}

#[test]
fn a_secret_may_come_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("sponsor"), format!("{SPONSOR}\n")).unwrap();
    fs::write(folder.path().join("empty"), "\n").unwrap();
    fs::write(folder.path().join("account"), RECIPIENT).unwrap();
    let read = |file: &str| {
        let text = changed("{ env: SPONSOR_SECRET }", &format!("{{ file: {file} }}"));
        parse(&text, "gateway.yaml", folder.path(), &Env::fixed(variables()))
    };
    let settings = read("sponsor").unwrap();
    let own = settings.payment.unwrap().sponsor.unwrap();
    assert_eq!(own.sponsors[0].account().to_string(), super::SPONSOR_ACCOUNT);
    assert_snapshot!(read("missing").unwrap_err(), @r"
    gateway.yaml:8:22: stellar.sponsors[0].file: cannot read the secret in `missing`: No such file or directory (os error 2)

    hint: the file must exist, be readable for this process, and hold text
    ");
    assert_snapshot!(read("empty").unwrap_err(), @r"
    gateway.yaml:8:22: stellar.sponsors[0].file: the secret file `empty` is empty

    hint: write the secret into it, and nothing else
    ");
    assert_snapshot!(read("account").unwrap_err(), @r"
    gateway.yaml:8:14: stellar.sponsors[0]: the content of `account` is an address, not a Stellar secret key

    hint: a secret key begins with `S` and has 56 characters
    ");
}

#[test]
fn a_file_that_is_none_or_too_large_is_refused_wherever_it_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    fs::write(root.join("large"), vec![b'#'; (1 << 20) + 1]).unwrap();
    assert!(
        std::process::Command::new("mkfifo").arg(root.join("pipe")).status().unwrap().success()
    );
    let listener = |cert: &str| {
        let tls = format!("tls: {{ cert_file: {cert}, key_file: key }}");
        let text = format!("listeners: [{{ name: a, address: 127.0.0.1:1, {tls} }}]");
        changed("listen: 127.0.0.1:8402", &text)
    };
    let upstream = |ca: &str| {
        let text =
            format!("upstreams: {{ a: {{ servers: [https://a:1], tls: {{ ca_file: {ca} }} }} }}");
        changed("upstream: http://127.0.0.1:3000", &text)
    };
    let jwks = |file: &str| {
        let rule = format!("jwt: {{ issuer: me, audience: [api], jwks_file: {file} }}");
        changed("accept: [x402] }", &format!("accept: [x402], allow: [{{ {rule} }}] }}"))
    };
    let secret = |file: &str| changed("{ env: SPONSOR_SECRET }", &format!("{{ file: {file} }}"));
    for (file, why) in [("large", "it is larger than 1024 KiB"), ("pipe", "it is no regular file")]
    {
        for text in [listener(file), upstream(file), jwks(file), secret(file)] {
            let read = parse(&text, "gateway.yaml", root, &Env::fixed(variables()));
            let faults = read.unwrap_err();
            assert!(faults.to_string().contains(why), "{faults}");
            let looked_for = &faults.contents().files;
            assert!(looked_for.iter().any(|named| named.path == root.join(file)), "{looked_for:?}");
        }
    }
    let env = root.join(".env");
    for name in ["large", "pipe"] {
        drop(fs::remove_file(&env));
        std::os::unix::fs::symlink(root.join(name), &env).unwrap();
        assert!(crate::config::EnvFile::read(&env).is_err(), "{name}");
    }
}

#[cfg(unix)]
#[test]
fn j09_a_secret_file_that_everyone_can_read_is_a_warning() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sponsor");
    fs::write(&file, SPONSOR).unwrap();
    let warnings = |mode| {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let text = changed("{ env: SPONSOR_SECRET }", "{ file: sponsor }");
        let read = parse(&text, "gateway.yaml", folder.path(), &Env::fixed(variables()));
        read.unwrap().warnings.to_string()
    };
    assert_snapshot!(warnings(0o644), @r"
    gateway.yaml:8:22: stellar.sponsors[0].file: every user of this machine can read the secret in `sponsor`

    hint: take the right away: `chmod o-r`
    ");
    assert_eq!(warnings(0o640), "");
}

#[test]
fn headers_of_the_connection_and_of_payments_are_not_the_operators_to_set() {
    let headers = |text: &str| {
        let upstream = format!(
            "upstreams: {{ a: {{ servers: [http://127.0.0.1:1], headers: {{ set: {{ {text} }} }} }} }}"
        );
        broken("upstream: http://127.0.0.1:3000", &upstream)
    };
    assert_snapshot!(headers("Host: { env: SPONSOR_SECRET }"), @r"
    gateway.yaml:3:68: upstreams.a.headers.set: `host` belongs to the connection or to the payment

    hint: the gateway sets or removes it itself: remove it here
    ");
    assert_snapshot!(headers("\"a b\": { env: SPONSOR_SECRET }"), @r"
    gateway.yaml:3:68: upstreams.a.headers.set: `a b` is no header name

    hint: such as `X-Api-Key`
    ");
    assert_snapshot!(headers("X-A: { env: SPONSOR_SECRET }, x-a: { env: SPONSOR_SECRET }"), @r"
    gateway.yaml:3:98: upstreams.a.headers.set: `x-a` is given twice

    hint: header names ignore case: keep one
    ");
}

#[test]
fn j06_secrets_do_not_show_in_debug() {
    let text = changed(
        "upstream: http://127.0.0.1:3000",
        "upstreams: { a: { servers: [http://127.0.0.1:1], headers: { set: { Authorization: { env: HEADER } } } } }",
    );
    let remote = text.replace("self", "{ url: https://f.example, api_key: { env: OZ_API_KEY } }");
    let mut variables = variables();
    variables.retain(|(name, _)| *name != "STELLAR_RPC_URL");
    variables.extend([
        ("HEADER", HEADER),
        ("OZ_API_KEY", API_KEY),
        ("STELLAR_RPC_URL", "https://rpc.example/canary-4713?key=canary-4714"),
    ]);
    let env = Env::fixed(variables);
    let mut shown = format!("{env:#?}");
    for text in [text, remote] {
        let settings = read_with(&text, &env).unwrap();
        assert_eq!(settings.upstreams[0].headers.set[0].1, HEADER);
        if let Some(FacilitatorSettings::Remote(remote)) =
            settings.payment.as_ref().map(|p| &p.x402.as_ref().unwrap().facilitator)
        {
            assert_eq!(remote.api_key.as_ref().unwrap().expose_secret(), API_KEY);
        }
        shown.push_str(&format!("{settings:#?}{settings:?}"));
    }
    assert!(shown.contains("Remote") && shown.contains("Own"), "both facilitators are shown");
    assert!(!shown.contains("canary") && !shown.contains(SPONSOR), "{shown}");
}

#[test]
fn the_process_environment_is_read_where_no_other_is_given() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.yaml");
    fs::write(&path, SHORT.replace("STELLAR_RECIPIENT", "PATH")).unwrap();
    let faults = load(&path, &Env::process()).unwrap_err().to_string();
    assert!(faults.contains("the value of `PATH` is not a Stellar address"), "{faults}");
}
