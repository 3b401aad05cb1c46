//! What is noticed of files that change, and what a bad one does.

use std::{fs, os::unix::fs::symlink, path::Path};

use crate::site::{Process, Site, Version};

const LISTEN: &str = "listen: 127.0.0.1:0";

/// Which configuration a free request is served by now.
async fn stamp(gateway: &Process) -> String {
    let answer = fetch(gateway).await;
    answer.chars().last().unwrap().to_string()
}

async fn fetch(gateway: &Process) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(gateway.address).await.unwrap();
    let ask = b"GET /free HTTP/1.1\r\nHost: gw\r\nConnection: close\r\n\r\n";
    stream.write_all(ask).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn an_editors_rename_and_a_config_map_swap_are_each_seen_twice_in_a_row() {
    let site = Site::start().await;
    let yaml = |version| {
        site.yaml(LISTEN, version)
            .replace("./state.redb", &site.folder.path().join("s.redb").display().to_string())
    };
    let root = site.folder.path();
    let swap = |number: u8, version| {
        let data = root.join(format!("..{number}"));
        fs::create_dir(&data).unwrap();
        fs::write(data.join("gateway.yaml"), yaml(version)).unwrap();
        symlink(format!("..{number}"), root.join("..data_tmp")).unwrap();
        fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
        if let Some(old) = number.checked_sub(1) {
            drop(fs::remove_dir_all(root.join(format!("..{old}"))));
        }
    };
    swap(1, Version::A);
    symlink("..data/gateway.yaml", site.config()).unwrap();
    let gateway = site.run().await;
    for (number, version) in [(2, Version::B), (3, Version::A)] {
        swap(number, version);
        gateway.logged_times("configuration swapped", usize::from(number) - 1).await;
        assert_eq!(stamp(&gateway).await, version.stamp());
    }
    for (number, version) in [(4, Version::B), (5, Version::A)] {
        site.write(&yaml(version));
        gateway.logged_times("configuration swapped", number - 1).await;
        assert_eq!(stamp(&gateway).await, version.stamp());
    }
}

#[tokio::test]
async fn j01_what_cannot_be_swapped_changes_nothing_and_the_log_says_where_and_why() {
    let site = Site::start().await;
    let good = site.yaml(LISTEN, Version::A);
    site.write(&good);
    let gateway = site.run().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let other = site.yaml(LISTEN, Version::B);
    let bad = [
        (other.replace("GET /paid", "GET paid"), "gateway.yaml:22:"),
        (other.replace("drain:", "drian:"), "did you mean `drain`?"),
        (other.replace("\"20000\"", "\"0\""), "gateway.yaml:22:"),
        (other[..other.len() / 2].to_owned(), "gateway.yaml:"),
        (String::new(), "gateway.yaml:"),
        (other.replace("./state.redb", "./other.redb"), "a changed `store` needs a restart"),
        (other.replace("stellar:testnet", "stellar:pubnet"), "a changed `network` needs a restart"),
        (
            format!("{other}admin: {{ address: \"127.0.0.1:0\" }}\n"),
            "a changed `admin.address` needs a restart",
        ),
        (other.replace("127.0.0.1:0", &address.to_string()), "Address already in use"),
    ];
    for (number, (text, why)) in bad.iter().enumerate() {
        site.write(text);
        gateway.logged_times("not reloaded", number + 1).await;
        let log = gateway.log();
        let told = log.lines().rfind(|line| line.contains("not reloaded")).unwrap();
        assert!(told.contains(why), "{why}: {told}");
        assert_eq!(stamp(&gateway).await, "a", "{why}");
    }
    site.write(&other);
    gateway.logged_times("configuration swapped", 1).await;
    assert_eq!(stamp(&gateway).await, "b");
    let swapped = gateway.logged("configuration swapped").await;
    assert_eq!(swapped["fields"]["changed"], "routes, upstreams");
}

#[tokio::test]
async fn a_certificate_that_is_replaced_is_shown_without_a_word_to_the_gateway() {
    let site = Site::start().await;
    let issue = |folder: &Path| {
        let issued = rcgen::generate_simple_self_signed(vec!["gw.example".to_owned()]).unwrap();
        fs::write(folder.join("tls.key"), issued.signing_key.serialize_pem()).unwrap();
        fs::write(folder.join("tls.crt"), issued.cert.pem()).unwrap();
    };
    issue(site.folder.path());
    let listen = "listeners: [{ name: a, address: \"127.0.0.1:0\", tls: { cert_file: tls.crt, key_file: tls.key } }]";
    site.write(&site.yaml(listen, Version::A));
    let gateway = site.run().await;
    for count in 1..=2 {
        issue(site.folder.path());
        // A half of the pair may be seen first, and is refused.
        gateway.logged_times("configuration swapped", count).await;
        let swapped = gateway.log();
        assert!(
            swapped
                .lines()
                .rfind(|l| l.contains("configuration swapped"))
                .unwrap()
                .contains("tls.crt")
        );
    }
}
