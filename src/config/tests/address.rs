//! Addresses: where the gateway listens, what it is called, where the API is; and files that are none.

use std::{fs, path::Path};

use insta::assert_snapshot;

use super::{broken, changed, read};
use crate::config::{Env, load};

#[test]
fn an_address_to_listen_on_is_an_ip_address_and_a_port() {
    let listen = |text: &str| broken("127.0.0.1:8402", text);
    assert_snapshot!(listen("localhost:8402"), @r"
    gateway.yaml:2:9: listen: `localhost:8402` is not an address to listen on

    hint: write `127.0.0.1:8402`
    ");
    assert_snapshot!(listen(":8402"), @r"
    gateway.yaml:2:9: listen: `:8402` is not an address to listen on

    hint: for every interface write `0.0.0.0:8402`
    ");
    assert_snapshot!(listen("8402"), @r"
    gateway.yaml:2:9: listen: `8402` is not an address to listen on

    hint: write an IP address too: `127.0.0.1:8402`
    ");
    assert_snapshot!(listen("127.0.0.1:99999"), @r#"
    gateway.yaml:2:9: listen: `127.0.0.1:99999` is not an address to listen on

    hint: write an IP address and a port: `127.0.0.1:8402` or `"[::1]:8402"`
    "#);
    let two = "listeners:\n  - { name: a, address: 127.0.0.1:80 }\n  - { name: a, address: 127.0.0.1:80 }\n";
    assert_snapshot!(broken("listen: 127.0.0.1:8402\n", two), @r"
    gateway.yaml:4:5: listeners[1]: the name `a` is taken by `listeners[0]`

    hint: give each listener a name of its own
    gateway.yaml:4:5: listeners[1]: the address `127.0.0.1:80` is taken by `listeners[0]`

    hint: give each listener an address of its own
    ");
    assert_snapshot!(broken("listen: 127.0.0.1:8402\n", "listeners: []\n"), @r"
    gateway.yaml:2:12: listeners: there is no listener

    hint: say where to listen: `listen: 127.0.0.1:8402`
    ");
}

#[test]
fn an_upstream_is_an_origin_and_nothing_more() {
    let upstream = |text: &str| broken("http://127.0.0.1:3000", text);
    assert_snapshot!(upstream("127.0.0.1:3000"), @r"
    gateway.yaml:3:11: upstream: `127.0.0.1:3000` is not an `http` or `https` URL

    hint: write it like `http://127.0.0.1:3000`
    ");
    assert_snapshot!(upstream("ftp://127.0.0.1"), @r"
    gateway.yaml:3:11: upstream: `ftp://127.0.0.1` is not an `http` or `https` URL

    hint: write it like `http://127.0.0.1:3000`
    ");
    assert_snapshot!(upstream("http://127.0.0.1:3000/v1"), @r"
    gateway.yaml:3:11: upstream: `http://127.0.0.1:3000/v1` has a path

    hint: write the origin alone: the request's own path is forwarded unchanged
    ");
    assert_snapshot!(upstream("http://127.0.0.1:3000?a=b"), @r"
    gateway.yaml:3:11: upstream: `http://127.0.0.1:3000?…` has a query

    hint: write it like `http://127.0.0.1:3000`
    ");
    assert_snapshot!(upstream("http://127.0.0.1:3000#top"), @r"
    gateway.yaml:3:11: upstream: `http://127.0.0.1:3000#top` has a fragment

    hint: write it like `http://127.0.0.1:3000`
    ");
    assert_snapshot!(upstream("http://127.0.0.1:0"), @r"
    gateway.yaml:3:11: upstream: `http://127.0.0.1:0` has no usable port

    hint: write a port from 1 to 65535
    ");
    assert_snapshot!(upstream("http://user:hunter2@127.0.0.1:3000"), @r"
    gateway.yaml:3:11: upstream: the URL carries a user name or password

    hint: write it like `http://127.0.0.1:3000`
    ");
    assert_snapshot!(broken("upstream: http://127.0.0.1:3000", "upstreams: { a: { servers: [] } }"), @r"
    gateway.yaml:3:28: upstreams.a.servers: there is no server

    hint: list one or more: `[http://127.0.0.1:3000]`
    ");
    assert_snapshot!(broken("upstream: http://127.0.0.1:3000", "upstreams: {}"), @r"
    gateway.yaml:3:12: upstreams: there is no upstream

    hint: say where the API is: `upstream: http://127.0.0.1:3000`
    ");
}

#[test]
fn a_public_url_is_an_origin() {
    let public = |text: &str| broken("store:", &format!("public_url: {text}\nstore:"));
    assert_snapshot!(public("api.example.com"), @r"
    gateway.yaml:10:13: public_url: `api.example.com` is not an `http` or `https` URL

    hint: write it like `https://api.example.com`
    ");
    assert_snapshot!(public("https://api.example.com/v1"), @r"
    gateway.yaml:10:13: public_url: `https://api.example.com/v1` has a path

    hint: write it like `https://api.example.com`
    ");
    let read = read(&changed("store:", "public_url: https://api.example.com/\nstore:")).unwrap();
    assert_eq!(read.public_url.as_deref(), Some("https://api.example.com"));
    let open = changed("listen: 127.0.0.1:8402", "listen: 0.0.0.0:8402");
    assert_snapshot!(super::read(&open).unwrap().warnings, @r"
    gateway.yaml:1:1: `public_url` is missing: challenges will name `http://0.0.0.0:8402`

    hint: say what clients call the gateway: `public_url: https://api.example.com`
    ");
}

#[test]
fn a_file_that_is_no_configuration_is_refused_before_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let load = |content: &[u8]| {
        let path = folder.path().join("gateway.yaml");
        fs::write(&path, content).unwrap();
        let faults = load(&path, &Env::fixed([("", ""); 0])).unwrap_err().to_string();
        faults.replace(folder.path().to_str().unwrap(), "")
    };
    assert_snapshot!(load(&vec![b'#'; (1 << 20) + 1]), @r"
    /gateway.yaml: the file is larger than 1024 KiB

    hint: this is no file for a gateway: is the path right?
    ");
    assert_snapshot!(load(b"version: 1\nlisten: \xff\n"), @r"
    /gateway.yaml:2:9: the file is not UTF-8 text

    hint: save it as UTF-8
    ");
    assert_snapshot!(load(b"\xff"), @r"
    /gateway.yaml:1:1: the file is not UTF-8 text

    hint: save it as UTF-8
    ");
    let missing = crate::config::load(Path::new("no/such/gateway.yaml"), &Env::process());
    assert_snapshot!(missing.unwrap_err(), @r"
    no/such/gateway.yaml: cannot read the file: No such file or directory (os error 2)

    hint: name a readable file: `-c gateway.yaml`
    ");
}
