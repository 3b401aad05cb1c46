//! Files that a configuration names and that come late, never, or changed.

use std::fs;

use crate::{
    clients::LONG,
    site::{Process, Site, Version, replace},
    stop::fetch,
};

const ADMIN: &str =
    "listen: 127.0.0.1:0\nadmin: { address: \"127.0.0.1:0\", token: { file: token } }";

/// What the admin port answers to `line`, asked with `token`.
async fn ask(gateway: &Process, line: &str, token: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let address = gateway.logged("admin port open").await["fields"]["address"].clone();
    let mut stream = tokio::net::TcpStream::connect(address.as_str().unwrap()).await.unwrap();
    let ask = format!(
        "{line} HTTP/1.1\r\nHost: gw\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(ask.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

fn token(number: u8) -> String {
    number.to_string().repeat(40)
}

#[tokio::test]
async fn a_secret_that_comes_after_the_configuration_that_names_it_is_taken() {
    let site = Site::start().await;
    let yaml = |version| site.yaml("listen: 127.0.0.1:0", version);
    site.write(&yaml(Version::A));
    let gateway = site.run().await;
    site.write(&yaml(Version::B).replace("stamp-b", "secrets/new"));
    gateway.logged("not reloaded").await;
    assert!(fetch(gateway.address, "/free").await.unwrap().ends_with('a'));
    fs::create_dir(site.folder.path().join("secrets")).unwrap();
    fs::write(site.folder.path().join("secrets/new"), "b").unwrap();
    gateway.logged("configuration swapped").await;
    assert!(fetch(gateway.address, "/free").await.unwrap().ends_with('b'));
    // What was wrong was told once.
    assert_eq!(gateway.times("not reloaded"), 1);
}

#[tokio::test]
async fn a_pipe_as_a_secret_is_refused_and_keeps_nobody_from_stopping() {
    let site = Site::start().await;
    site.write(&site.yaml("listen: 127.0.0.1:0", Version::A));
    let mut gateway = site.run().await;
    let pipe = site.folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(pipe).status().unwrap().success());
    site.write(&site.yaml("listen: 127.0.0.1:0", Version::B).replace("stamp-b", "pipe"));
    let ended = async {
        gateway.logged("it is no regular file").await;
        gateway.signal("-TERM").await;
        gateway.child.wait().await.unwrap()
    };
    let ended = tokio::time::timeout(LONG, ended).await.expect("it ends");
    assert_eq!(ended.code(), Some(0));
}

#[tokio::test]
async fn secrets_that_were_rotated_do_not_hold_up_what_else_has_changed() {
    let site = Site::start().await;
    let file = |name: &str| site.folder.path().join(name);
    fs::write(file("token"), token(1)).unwrap();
    let lines = site.sandbox.env_lines();
    let sponsor = lines.iter().find(|(name, _)| *name == "SPONSOR_SECRET").unwrap().1.clone();
    fs::write(file("sponsor"), &sponsor).unwrap();
    let yaml = |version| {
        let sponsors = ("[{ env: SPONSOR_SECRET }]", "[{ file: sponsor }]");
        site.yaml(ADMIN, version).replace(sponsors.0, sponsors.1)
    };
    site.write(&yaml(Version::A));
    let gateway = site.run().await;
    assert!(ask(&gateway, "GET /routes", &token(1)).await.starts_with("HTTP/1.1 200 "));

    // Another token counts at once.
    replace(&file("token"), &token(2));
    gateway.logged_times("configuration swapped", 1).await;
    assert!(ask(&gateway, "GET /routes", &token(1)).await.starts_with("HTTP/1.1 401 "));
    assert!(ask(&gateway, "GET /routes", &token(2)).await.starts_with("HTTP/1.1 200 "));

    // Other sponsors count after a restart, and the rest of the reload does not wait for it.
    replace(&file("sponsor"), OTHER);
    gateway.logged_times("configuration swapped", 2).await;
    let told = gateway.logged("goes on with what it was until a restart").await;
    assert_eq!(told["fields"]["key"], "stellar.sponsors");
    let figures = ask(&gateway, "GET /metrics", &token(2)).await;
    assert!(figures.contains("\ngateway_config_needs_restart 1\n"), "{figures}");
    assert!(figures.contains("\ngateway_config_last_reload_successful 1\n"), "{figures}");
    replace(&file("stamp-a"), "c");
    gateway.logged_times("configuration swapped", 3).await;
    assert!(fetch(gateway.address, "/free").await.unwrap().ends_with('c'));
    let answer = ask(&gateway, "POST /-/reload", &token(2)).await;
    assert!(answer.contains("\"needs_restart\":[\"stellar.sponsors\"]"), "{answer}");

    // What the file itself says needs a restart as ever.
    site.write(&yaml(Version::A).replace("[{ file: sponsor }]", "[{ file: ./sponsor }]"));
    gateway.logged("a changed `stellar.sponsors` needs a restart").await;

    replace(&file("sponsor"), &sponsor);
    gateway.logged_times("configuration swapped", 5).await;
    let figures = ask(&gateway, "GET /metrics", &token(2)).await;
    assert!(figures.contains("\ngateway_config_needs_restart 0\n"), "{figures}");
}

#[tokio::test]
async fn a_reload_by_the_admin_port_is_known_to_the_watch() {
    let site = Site::start().await;
    fs::write(site.folder.path().join("token"), token(1)).unwrap();
    let yaml = |version, reload: &str| {
        let debounce = ("reload: { debounce: 20ms }", format!("reload: {{ {reload} }}"));
        site.yaml(ADMIN, version).replace(debounce.0, &debounce.1)
    };
    site.write(&yaml(Version::A, "watch: false"));
    let gateway = site.run().await;
    site.write(&yaml(Version::B, "watch: true, debounce: 20ms"));
    let answer = ask(&gateway, "POST /-/reload", &token(1)).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    // From now on it watches.
    replace(&site.folder.path().join("stamp-b"), "c");
    gateway.logged_times("configuration swapped", 2).await;
    assert!(fetch(gateway.address, "/free").await.unwrap().ends_with('c'));
}

/// The seed of 32 bytes that are 1.
const OTHER: &str = "SAAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQC5MY";
