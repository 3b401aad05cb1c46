//! Upstreams: what they speak, and who vouches for them.

use std::fs;

use insta::assert_snapshot;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tempfile::TempDir;

use super::{SHORT, variables};
use crate::{
    config::{Env, Settings, parse},
    upstream::Protocol,
};

/// A folder with the certificates `a` and `b`, and a file that is none.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a", "b"] {
        let hosts = vec![format!("{name}.example")];
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(hosts).unwrap();
        fs::write(folder.path().join(format!("{name}.crt")), cert.pem()).unwrap();
        fs::write(folder.path().join(format!("{name}.key")), signing_key.serialize_pem()).unwrap();
    }
    fs::write(folder.path().join("empty"), "").unwrap();
    folder
}

fn read(upstream: &str) -> Result<Settings, String> {
    let folder = folder();
    let upstreams = format!("upstreams: {{ a: {{ {upstream} }} }}\n");
    let text = SHORT.replace("upstream: http://127.0.0.1:3000\n", &upstreams);
    let settings = parse(&text, "gateway.yaml", folder.path(), &Env::fixed(variables()));
    settings.map_err(|faults| faults.to_string())
}

#[track_caller]
fn bad(upstream: &str) -> String {
    read(upstream).expect_err("the file has a fault")
}

#[track_caller]
fn spoken(upstream: &str) -> (Protocol, bool) {
    let upstream = read(upstream).unwrap().upstreams.remove(0);
    (upstream.protocol, upstream.tls.is_some())
}

#[test]
fn an_upstream_speaks_what_its_servers_and_its_protocol_say() {
    let (http, https) = ("servers: [http://a:1]", "servers: [https://a:1, https://b]");
    let ca = "tls: { ca_file: a.crt }";
    assert_eq!(spoken(http), (Protocol::Http1, false));
    assert_eq!(spoken(&format!("{http}, protocol: http1")), (Protocol::Http1, false));
    assert_eq!(spoken(&format!("{http}, protocol: h2c")), (Protocol::Http2, false));
    assert_eq!(spoken(&format!("{https}, {ca}")), (Protocol::Negotiated, true));
    assert_eq!(spoken(&format!("{https}, {ca}, protocol: h2")), (Protocol::Http2, true));
    assert_eq!(spoken(&format!("{https}, {ca}, protocol: http1")), (Protocol::Http1, true));
    let all =
        "tls: { ca_file: a.crt, server_name: llm.internal, cert_file: b.crt, key_file: b.key }";
    assert_eq!(spoken(&format!("{https}, {all}")), (Protocol::Negotiated, true));
}

#[test]
fn what_contradicts_itself_is_a_fault() {
    assert_snapshot!(bad("servers: [http://a:1, https://b:1]"), @r"
    gateway.yaml:3:41: upstreams.a.servers[1]: some servers are `https` and some are `http`

    hint: make two upstreams of them: what one promises, all of its servers keep
    ");
    assert_snapshot!(bad("servers: [http://a:1], protocol: h2"), @r"
    gateway.yaml:3:52: upstreams.a.protocol: `h2` is HTTP/2 over TLS, and the servers are `http`

    hint: write `protocol: h2c`, or their URLs with `https`
    ");
    assert_snapshot!(bad("servers: [https://a:1], protocol: h2c, tls: { ca_file: a.crt }"), @r"
    gateway.yaml:3:53: upstreams.a.protocol: `h2c` is HTTP/2 without TLS, and the servers are `https`

    hint: write `protocol: h2`, or leave it to be agreed on
    ");
    assert_snapshot!(bad("servers: [http://a:1], protocol: spdy"), @r"
    gateway.yaml:3:52: upstreams.a.protocol: `spdy` is no protocol of an upstream

    hint: write `http1`, `h2` (over TLS) or `h2c` (without)
    ");
    assert_snapshot!(bad("servers: [http://a:1], tls: { ca_file: a.crt }"), @r"
    gateway.yaml:3:47: upstreams.a.tls: the servers are `http`, where nothing is secured

    hint: write their URLs with `https`, or remove `tls`
    ");
}

#[test]
fn a_file_that_cannot_vouch_for_anybody_is_a_fault() {
    let tls = |text: &str| bad(&format!("servers: [https://a:1], tls: {{ {text} }}"));
    assert_snapshot!(tls("ca_file: none.crt"), @r"
    gateway.yaml:3:59: upstreams.a.tls.ca_file: cannot read `none.crt`: No such file or directory (os error 2)

    hint: the file must exist and be readable for this process
    ");
    assert_snapshot!(tls("ca_file: empty"), @r"
    gateway.yaml:3:59: upstreams.a.tls.ca_file: `empty` holds no certificate in PEM form

    hint: name a file with the certificates of those who vouch for the servers
    ");
    assert_snapshot!(tls("ca_file: a.crt, cert_file: a.crt"), @r"
    gateway.yaml:3:48: upstreams.a.tls: `key_file` is missing

    hint: name both files of the gateway's own certificate: `cert_file` and `key_file`
    ");
    assert_snapshot!(tls("ca_file: a.crt, cert_file: a.crt, key_file: b.key"), @r"
    gateway.yaml:3:94: upstreams.a.tls.key_file: the certificate and the key cannot be used together

    hint: name the file with the private key of `cert_file`
    ");
    assert_snapshot!(tls("ca_file: a.crt, cert_file: a.crt, key_file: empty"), @r"
    gateway.yaml:3:94: upstreams.a.tls.key_file: `empty` holds no private key in PEM form

    hint: name the file with the private key of `cert_file`
    ");
    assert_snapshot!(tls("ca_file: a.crt, server_name: \"https://a\""), @r"
    gateway.yaml:3:79: upstreams.a.tls.server_name: `https://a` is no name of a server

    hint: write a host alone, such as `api.internal`
    ");
    assert_snapshot!(tls("ca_file: a.crt, insecure: true"), @r"
    gateway.yaml:3:66: upstreams.a.tls: unknown key `insecure`

    hint: known here: `ca_file`, `server_name`, `cert_file` or `key_file`
    ");
}
