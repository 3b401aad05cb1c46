//! How a server is reached: by a user who may do little, and by TLS.

use std::{net::TcpListener, process::Command, time::Duration};

use tollgate::store::{Claiming, Error, Notice, Receiver, Store, channel::Token};

use crate::{
    NOW, claim, fresh, settle_and_deliver, settled,
    shared::pay,
    stores::{self, settings},
    submitting,
    support::{Server, Settings},
};

/// Everything that a store asks of a server.
async fn works(store: &Store) {
    pay(store, 5, 5).await;
    let mut ticket = fresh(store, claim(1)).await;
    store.submitting(&mut ticket, submitting(1)).await.unwrap();
    store.release(ticket).await.unwrap();
    assert_eq!(store.pending(None).await.unwrap().len(), 1);
    let ticket = fresh(store, claim(2)).await;
    settle_and_deliver(store, ticket, settled(2), 200).await;
    assert_eq!(store.accounts(None).await.unwrap().accounts.len(), 1);
    store.secret("quotes").await.unwrap();
}

/// And what webhooks ask of it.
async fn tells(store: &Store) {
    store.tell(vec![notice(1), notice(2)]).await.unwrap();
    let page = store.waiting(notice(1).receiver, None).await.unwrap();
    assert_eq!((page.notices.len(), page.waiting), (2, 2));
    for _ in 0..2 {
        let lease = Duration::from_secs(60);
        assert!(store.is_teller(notice(1).receiver, Token([7; 16]), lease).await.unwrap());
    }
    // Over the bound, which asks for more commands.
    for _ in 0..10 {
        store.tell((0..1_000).map(notice).collect()).await.unwrap();
    }
    let page = store.waiting(notice(1).receiver, None).await.unwrap();
    assert_eq!((page.waiting, page.dropped), (10_000, 2));
    let places = page.notices.iter().map(|(place, _)| *place).collect();
    store.arrived(notice(1).receiver, places).await.unwrap();
}

fn notice(n: u16) -> Notice {
    let mut id = [0; 16];
    id[..2].copy_from_slice(&n.to_be_bytes());
    Notice { receiver: Receiver([1; 8]), id, at: NOW, body: "told".into() }
}

/// A record of money is not undone because nobody can be told of it.
#[tokio::test]
async fn a_user_who_may_not_tell_may_be_paid() {
    let server = stores::server().await;
    () = server.ask(&format!("ACL SETUSER gateway on >word {PAYS}")).await;
    let url = server.url().replace("redis://", "redis://gateway:word@");
    let store = Store::redis(settings(url)).await.unwrap();
    assert!(store.tell(vec![notice(1)]).await.is_err());
    let mut ticket = fresh(&store, claim(3)).await;
    store.submitting(&mut ticket, submitting(3)).await.unwrap();
    ticket.tell(vec![notice(2)]);
    store.settled(&mut ticket, settled(3)).await.unwrap();
    store.release(ticket).await.unwrap();
    assert!(matches!(store.claim(claim(3)).await.unwrap(), Claiming::Redeliver(..)));
    works(&store).await;
}

/// What README.md says of it.
#[tokio::test]
async fn its_user_needs_few_commands_and_no_keys_but_its_own() {
    let server = stores::server().await;
    () = server.ask(&format!("ACL SETUSER gateway on >word {PAYS} {TELLS}")).await;
    let url = server.url().replace("redis://", "redis://gateway:word@");
    let store = Store::redis(settings(url.clone())).await.unwrap();
    works(&store).await;
    tells(&store).await;
    () = server.ask("ACL SETUSER gateway -config|get").await;
    let blind = Store::redis(settings(url)).await;
    let is_told = |told: &Error| told.to_string().contains("let this user ask `CONFIG GET`");
    assert!(blind.as_ref().is_err_and(is_told), "{blind:?}");
}

/// The child below trusts the server's certificate; this process does not.
#[tokio::test]
async fn by_tls_a_server_is_believed_only_if_its_certificate_is() {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let path = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let more = vec![
        ("tls-port", port.to_string()),
        ("tls-cert-file", path(&cert)),
        ("tls-key-file", path(&key)),
        ("tls-auth-clients", "no".to_owned()),
    ];
    let _server = Server::redis(Settings { more, ..Settings::default() }).await;
    let url = format!("rediss://127.0.0.1:{port}/");
    let refused = Store::redis(settings(url.clone())).await;
    assert!(matches!(refused, Err(Error::Unavailable { .. })), "{refused:?}");
    let mut child = Command::new(std::env::current_exe().unwrap());
    child
        .args(["--exact", "server::reach::the_child_that_trusts", "--nocapture"])
        .env(URL, url)
        .env("SSL_CERT_FILE", cert);
    let child = tokio::task::spawn_blocking(move || child.output()).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&child.stdout).into_owned();
    assert!(child.status.success() && said.contains("it works"), "{said}{child:?}");
}

/// Not a test of its own: what `by_tls_a_server_is_believed_only_if_its_certificate_is` starts.
#[tokio::test]
async fn the_child_that_trusts() {
    use std::io::Write as _;
    let Some(url) = std::env::var_os(URL) else { return };
    works(&Store::redis(settings(url.into_string().unwrap())).await.unwrap()).await;
    writeln!(std::io::stdout(), "it works").unwrap();
}

const PAYS: &str = "~gw:test:* -@all +evalsha +eval +script|load +mget +get +set +zadd +zrem +zrangebylex +time +info \
                    +config|get";
const TELLS: &str = "+xlen +xtrim +xadd +xrange +xdel +incrby +pexpire +getdel";
const URL: &str = "TOLLGATE_TEST_REDIS_URL";
