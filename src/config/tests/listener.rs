//! Listeners: what they show to those who come in.

use std::{fs, time::Duration};

use insta::assert_snapshot;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tempfile::TempDir;

use super::{SHORT, variables};
use crate::{
    config::{Env, Settings, parse},
    server::Limits,
};

/// A folder with the certificates `a` and `b`, and files that are none.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a", "b"] {
        let hosts = vec![format!("{name}.example")];
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(hosts).unwrap();
        let write = |end, text: String| {
            fs::write(folder.path().join(format!("{name}.{end}")), text).unwrap();
        };
        write("crt", cert.pem());
        write("key", signing_key.serialize_pem());
    }
    fs::write(folder.path().join("empty"), "").unwrap();
    let odd = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    fs::write(folder.path().join("odd.crt"), odd).unwrap();
    folder
}

fn read(tls: &str) -> Result<Settings, String> {
    read_with(&format!("tls: {tls}"))
}

fn read_with(keys: &str) -> Result<Settings, String> {
    let folder = folder();
    let listeners = format!("listeners: [{{ name: a, address: 127.0.0.1:0, {keys} }}]\n");
    let text = SHORT.replace("listen: 127.0.0.1:8402\n", &listeners);
    let settings = parse(&text, "gateway.yaml", folder.path(), &Env::fixed(variables()));
    settings.map_err(|faults| faults.to_string())
}

#[test]
fn a_listener_may_show_one_certificate_or_several() {
    for tls in [
        "{ cert_file: a.crt, key_file: a.key }",
        "{ cert_file: a.crt, key_file: a.key, alpn: [http/1.1] }",
        "{ certificates: [{ cert_file: a.crt, key_file: a.key }, { cert_file: b.crt, key_file: b.key }] }",
    ] {
        let settings = read(tls).unwrap();
        assert!(settings.listeners[0].tls.is_some(), "{tls}");
        assert_eq!(
            settings.listeners[0].url(([127, 0, 0, 1], 8443).into()),
            "https://127.0.0.1:8443"
        );
    }
}

#[test]
fn a_certificate_that_cannot_be_shown_is_a_fault_of_the_file() {
    assert_snapshot!(read("{ cert_file: a.crt }").unwrap_err(), @r"
    gateway.yaml:2:51: listeners[0].tls: `key_file` is missing

    hint: name the files: `cert_file: tls.crt` and `key_file: tls.key`
    ");
    assert_snapshot!(read("{ cert_file: none.crt, key_file: a.key }").unwrap_err(), @r"
    gateway.yaml:2:64: listeners[0].tls.cert_file: the certificate `none.crt`: cannot read it: No such file or directory (os error 2)

    hint: name a file with the certificate first, then those that vouch for it
    ");
    assert_snapshot!(read("{ cert_file: empty, key_file: a.key }").unwrap_err(), @r"
    gateway.yaml:2:64: listeners[0].tls.cert_file: the certificate `empty`: it holds no certificate in PEM form

    hint: name a file with the certificate first, then those that vouch for it
    ");
    assert_snapshot!(read("{ cert_file: odd.crt, key_file: a.key }").unwrap_err(), @r"
    gateway.yaml:2:64: listeners[0].tls.cert_file: the certificate `odd.crt`: it is of no use for TLS: invalid peer certificate: BadEncoding

    hint: name a file with the certificate first, then those that vouch for it
    ");
    assert_snapshot!(read("{ cert_file: a.crt, key_file: empty }").unwrap_err(), @r"
    gateway.yaml:2:81: listeners[0].tls.key_file: the key `empty`: it holds no private key in PEM form

    hint: name the file with the private key of `cert_file`
    ");
    assert_snapshot!(read("{ cert_file: a.crt, key_file: b.key }").unwrap_err(), @r"
    gateway.yaml:2:81: listeners[0].tls.key_file: the key `b.key`: it does not belong to the certificate

    hint: name the file with the private key of `cert_file`
    ");
    assert_snapshot!(read("{ certificates: [] }").unwrap_err(), @r"
    gateway.yaml:2:67: listeners[0].tls.certificates: there is no certificate

    hint: name the files: `cert_file: tls.crt` and `key_file: tls.key`
    ");
    let both = "{ cert_file: a.crt, key_file: a.key, certificates: [] }";
    assert_snapshot!(read(both).unwrap_err(), @r"
    gateway.yaml:2:88: listeners[0].tls: `certificates` stands beside `cert_file` and `key_file`

    hint: put the pair into the list, as its first item
    ");
    let odd = "{ cert_file: a.crt, key_file: a.key, alpn: [h2, h2, h3] }";
    assert_snapshot!(read(odd).unwrap_err(), @r"
    gateway.yaml:2:99: listeners[0].tls.alpn[1]: `h2` is in the list already

    hint: name it once
    gateway.yaml:2:103: listeners[0].tls.alpn[2]: `h3` is no protocol

    hint: write `alpn: [h2, http/1.1]`, or one of the two
    ");
}

#[test]
fn a_listener_has_limits_and_what_is_left_out_is_usual() {
    let limits = |keys: &str| read_with(&format!("limits: {{ {keys} }}"));
    let read =
        limits("connections: 101, headers: 20, streams: 7, header_timeout: 3s, idle_timeout: 2m");
    let read = read.unwrap().listeners[0].limits;
    let expected = Limits {
        connections: 101,
        connections_of_one: 51,
        headers: 20,
        streams: 7,
        header_timeout: Duration::from_secs(3),
        idle_timeout: Duration::from_secs(120),
        ..Limits::USUAL
    };
    assert_eq!(read, expected);
    let read = limits("connections_per_address: 5, body_timeout: 1s, write_timeout: 4s").unwrap();
    assert_eq!(read.listeners[0].limits.connections, Limits::USUAL.connections);
    assert_eq!(read.listeners[0].limits.connections_of_one, 5);
    assert_eq!(read.listeners[0].limits.write_timeout, Duration::from_secs(4));
    assert_snapshot!(limits("connections: 0, idle: 3s, header_timeout: 5").unwrap_err(), @r"
    gateway.yaml:2:69: listeners[0].limits.connections: `0` is out of range

    hint: write a whole number from 1 to 1000000
    gateway.yaml:2:72: listeners[0].limits: unknown key `idle`

    hint: known here: `connections`, `connections_per_address`, `headers`, `streams`, `header_timeout`, `idle_timeout`, `body_timeout`, `write_timeout` or `handshake_timeout`
    gateway.yaml:2:98: listeners[0].limits.header_timeout: `5` has no unit

    hint: write `5s`, `5m` or the like
    ");
}

#[test]
fn proxies_are_believed_by_network_and_speak_for_others_only_where_somebody_is_trusted() {
    let trusted = |keys: &str, address: &str| {
        let settings = read_with(keys).unwrap();
        let listener = &settings.listeners[0];
        (listener.proxies.trust(address.parse().unwrap()), listener.proxy_protocol)
    };
    let keys = "trusted_proxies: [10.0.0.0/8, \"::1\", 192.0.2.7], proxy_protocol: true";
    assert_eq!(trusted(keys, "10.1.2.3"), (true, true));
    assert_eq!(trusted(keys, "::ffff:192.0.2.7"), (true, true));
    assert_eq!(trusted(keys, "192.0.2.8"), (false, true));
    assert_eq!(trusted("trusted_proxies: [0.0.0.0/0]", "192.0.2.8"), (true, false));
    let mapped = "trusted_proxies: [\"::ffff:10.0.0.0/104\"]";
    assert_eq!((trusted(mapped, "10.1.2.3").0, trusted(mapped, "11.1.2.3").0), (true, false));
    let warned = |keys: &str| read_with(keys).unwrap().warnings.to_string();
    assert_snapshot!(warned("trusted_proxies: [0.0.0.0/0]"), @r"
    gateway.yaml:2:64: listeners[0].trusted_proxies[0]: everybody is a trusted proxy: any client says for itself where it comes from

    hint: name your proxies alone, such as `10.0.0.0/8`
    ");
    assert_eq!(warned(mapped), "");
    assert_eq!(trusted("proxy_protocol: false", "10.1.2.3"), (false, false));
    assert_snapshot!(read_with("proxy_protocol: true").unwrap_err(), @r"
    gateway.yaml:2:62: listeners[0].proxy_protocol: nobody is trusted to speak it

    hint: name the proxies beside it: `trusted_proxies: [10.0.0.0/8]`
    ");
    assert_snapshot!(read_with("trusted_proxies: [10.0.0.0/33, proxy.internal]").unwrap_err(), @r"
    gateway.yaml:2:64: listeners[0].trusted_proxies[0]: `10.0.0.0/33` is no network of proxies

    hint: write `10.0.0.0/8`, or `10.0.0.1`
    gateway.yaml:2:77: listeners[0].trusted_proxies[1]: `proxy.internal` is no network of proxies

    hint: write `10.0.0.0/8`, or `10.0.0.1`
    ");
}
