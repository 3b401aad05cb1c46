//! How a server is reached: by a user who may do little, and by TLS.

use std::{net::TcpListener, process::Command};

use tollgate::store::{Error, Store};

use crate::{
    claim, fresh, settle_and_deliver, settled,
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

/// What README.md says of it.
#[tokio::test]
async fn its_user_needs_few_commands_and_no_keys_but_its_own() {
    let server = stores::server().await;
    () = server.ask(
        "ACL SETUSER gateway on >word ~gw:test:* -@all +evalsha +eval +script|load +mget +get +set +zadd +zrem \
         +zrangebylex +time +info +config|get",
    )
    .await;
    let url = server.url().replace("redis://", "redis://gateway:word@");
    works(&Store::redis(settings(url.clone())).await.unwrap()).await;
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

const URL: &str = "TOLLGATE_TEST_REDIS_URL";
