//! J06: what must stay secret is in nothing that leaves the gateway, however much it is made to say.

use std::{path::Path, process::Stdio, sync::Mutex};

use base64::{Engine as _, prelude::BASE64_STANDARD, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderValue, Method, Request};
use tokio::process::Command;
use tollgate::{
    client::{Credential, Overrides},
    protocol::mpp,
};

use crate::{
    agent::{Answer, read},
    payer::{Payer, due},
    site::{MPP_SECRET, Site, TOKEN},
};

/// What must not be seen, each with what it is.
#[derive(Debug, Default)]
struct Canaries(Mutex<Vec<(String, String)>>);

impl Canaries {
    fn add(&self, what: &str, secret: impl Into<String>) {
        let secret = secret.into();
        assert!(secret.len() >= 16, "{what}: `{secret}` is found anywhere");
        self.0.lock().unwrap().push((what.to_owned(), secret));
    }

    /// Bytes, in the forms in which they could be written.
    fn add_bytes(&self, what: &str, bytes: &[u8]) {
        self.add(what, hex::encode(bytes));
        self.add(what, hex::encode_upper(bytes));
        self.add(what, BASE64_STANDARD.encode(bytes).trim_end_matches('='));
        self.add(what, BASE64_URL_SAFE_NO_PAD.encode(bytes));
        let list: Vec<_> = bytes.iter().take(12).map(u8::to_string).collect();
        self.add(what, list.join(", "));
    }

    /// A header that pays.
    fn add_header(&self, what: &str, value: &HeaderValue) {
        let text = value.to_str().unwrap();
        let payload = text.rsplit(' ').next().unwrap();
        // Its end is the payer's: the beginning of many is the same.
        self.add(what, &payload[payload.len().saturating_sub(48)..]);
    }

    #[track_caller]
    fn assert_none_in(&self, place: &str, said: &str) {
        for (what, secret) in &*self.0.lock().unwrap() {
            if let Some(at) = said.find(secret.as_str()) {
                let start = said[..at].rfind('\n').map_or(0, |line| line + 1);
                let line: String =
                    said[start..].lines().next().unwrap().chars().take(600).collect();
                panic!("{place} shows {what}: {line}");
            }
        }
    }
}

/// Everything that an answer to a client says.
fn told(answer: &Answer) -> String {
    format!("{:?} {}", answer.headers, String::from_utf8_lossy(&answer.body))
}

#[tokio::test(flavor = "multi_thread")]
async fn j06_no_secret_is_in_any_output() {
    let out = tempfile::NamedTempFile::new().unwrap();
    let stdout = out.reopen().unwrap();
    let site = Site::start_with(WEBHOOKS, |command| {
        command.env("RUST_LOG", "trace").env("HOOK_SECRET", HOOK_SECRET);
        command.stdout(Stdio::from(stdout));
    })
    .await;
    let canaries = Canaries::default();
    canaries.add("the admin token", TOKEN);
    canaries.add("the secret of challenges", MPP_SECRET);
    canaries.add("the secret of a webhook", HOOK_SECRET.trim_start_matches("whsec_"));
    canaries.add("the key in a webhook's URL", HOOK_KEY);
    for (what, account) in [
        ("the sponsor's seed", &site.sandbox.accounts().sponsor),
        ("the payee's seed", &site.sandbox.accounts().recipient),
        ("the payer's seed", &site.sandbox.accounts().payer),
    ] {
        canaries.add(what, account.secret());
        let seed = stellar_strkey::ed25519::PrivateKey::from_string(&account.secret()).unwrap();
        canaries.add_bytes(what, &seed.0);
    }

    // Payments that are good, that come twice, and that are odd.
    let (agent, charged) = (site.agent(), site.charged());
    let mut answers = Vec::new();
    let offer = agent.offer_of(Method::GET, "/weather").await;
    let x402 = agent.client.sign_x402(&offer, &Overrides::default()).await.unwrap();
    note(&canaries, "an x402 payment", &x402, &agent.request(Method::GET, "/weather"));
    let charge = charged.sign_charge("/report", &Overrides::default()).await;
    note(&canaries, "a charge", &charge, &agent.request(Method::GET, "/report"));
    for _ in 0..2 {
        answers.push(agent.present_with(Method::GET, "/weather", &x402).await);
        answers.push(charged.present_with(Method::GET, "/report", &charge).await);
    }
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 2, "{answers:?}");
    let payer = site.payer([0xc7; 32], 1_000_000).await;
    canaries.add_bytes("the key of a channel", &[0xc7; 32]);
    answers.extend(channel(&payer, &canaries).await);
    for (header, value) in [
        ("payment-signature", "canary-odd-payment-canary-odd-payment"),
        ("authorization", "Payment canary-odd-credential-canary-odd"),
        ("authorization", "Bearer canary-customers-own-token-canary"),
        ("cookie", "session=canary-customers-cookie-canary"),
    ] {
        canaries.add(header, value.rsplit([' ', '=']).next().unwrap());
        for path in ["/weather?key=canary-query-canary-query", "/stream", "/health", "/nothing"] {
            let mut request = agent.request(Method::GET, path);
            request.headers_mut().insert(header, HeaderValue::from_static(value));
            answers.push(read(agent.client.exchange(request).await.unwrap()).await);
        }
    }
    canaries.add("a query", "canary-query-canary-query");
    for answer in &answers {
        canaries.assert_none_in("an answer", &told(answer));
    }

    // What the operator is told, and who is no operator.
    for (method, path) in [
        (Method::GET, "/metrics"),
        (Method::GET, "/config_dump"),
        (Method::GET, "/routes"),
        (Method::GET, "/channels"),
        (Method::GET, "/members"),
        (Method::GET, "/readyz"),
        (Method::POST, "/-/reload"),
        (Method::GET, "/nothing"),
    ] {
        let (status, said) = site.admin(method, path).await;
        assert_eq!(status.as_u16(), if path == "/nothing" { 404 } else { 200 }, "{path}: {said}");
        canaries.assert_none_in(path, &said);
    }
    let mut config = std::fs::read_to_string(site.config()).unwrap();
    let wrong = Request::get(format!("http://{}/metrics", site.admin))
        .header("authorization", "Bearer canary-wrong-token-canary-wrong-token")
        .body(Bytes::new());
    canaries.add("a wrong token", "canary-wrong-token-canary-wrong-token");
    let wrong = read(agent.client.exchange(wrong.unwrap()).await.unwrap()).await;
    assert_eq!(wrong.status, 401);
    canaries.assert_none_in("the answer to a wrong token", &told(&wrong));

    // What the commands say, of a good file and of one with the secrets where they must not stand.
    let commands = [&["check", "--config"][..], &["routes", "--config"]];
    for command in commands {
        let said = run(&site, command, &site.config()).await;
        canaries.assert_none_in(&command.join(" "), &said);
    }
    let seed = site.sandbox.accounts().sponsor.secret();
    config = config.replace("{ env: SPONSOR_SECRET }", &seed);
    config = config
        .replace("{ env: ADMIN_TOKEN }", TOKEN)
        .replace("{ env: MPP_SECRET_KEY }", MPP_SECRET);
    let inline = site.folder.path().join("inline.yaml");
    std::fs::write(&inline, config).unwrap();
    for command in commands {
        let said = run(&site, command, &inline).await;
        assert!(said.contains("inline.yaml:"), "{said}");
        canaries.assert_none_in("what is said of secrets in the file", &said);
    }

    let id = site.process.child.id().unwrap();
    let cmdline = std::fs::read(format!("/proc/{id}/cmdline")).unwrap();
    canaries.assert_none_in("its command line", &String::from_utf8_lossy(&cmdline));
    let log = site.process.log();
    let levels =
        ["TRACE", "DEBUG", "INFO"].map(|level| log.contains(&format!(r#""level":"{level}""#)));
    assert_eq!(levels, [true; 3], "it says all that it can");
    println!("{} secrets in {} bytes of log", canaries.0.lock().unwrap().len(), log.len());
    canaries.assert_none_in("the log", &log);
    let said = std::fs::read_to_string(out.path()).unwrap();
    canaries.assert_none_in("its output", &said);
}

/// Notes the header that carries a payment.
fn note(canaries: &Canaries, what: &str, credential: &Credential, request: &Request<Bytes>) {
    assert!(!request.headers().contains_key(credential.name()), "{what}");
    canaries.add_header(what, credential.header());
}

/// Pays from a channel, twice with each commitment, and once with one that nobody signed.
async fn channel(payer: &Payer, canaries: &Canaries) -> Vec<Answer> {
    let mut answers = Vec::new();
    for _ in 0..2 {
        let challenge = payer.challenge("/stream").await;
        let credential = payer.commit(&challenge, due(&challenge));
        note_commitment(canaries, &credential);
        for _ in 0..2 {
            answers.push(payer.present("/stream", &credential).await);
        }
    }
    assert_eq!(answers[0].status, 200, "{answers:?}");
    let stranger = Payer {
        seed: tollgate::protocol::commitment::CommitmentSeed::from_bytes(&[0xd8; 32]),
        ..payer.clone()
    };
    let challenge = stranger.challenge("/stream").await;
    let credential = stranger.commit(&challenge, due(&challenge));
    note_commitment(canaries, &credential);
    answers.push(stranger.present("/stream", &credential).await);
    answers
}

fn note_commitment(canaries: &Canaries, credential: &mpp::Credential) {
    canaries.add_header("a commitment", &credential.encode());
    let payload = credential.payload.as_ref().unwrap();
    canaries.add("a commitment's signature", payload["signature"].as_str().unwrap());
}

/// What a command says to somebody with the environment of the gateway.
async fn run(site: &Site, command: &[&str], config: &Path) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .args(command)
        .arg(config)
        .env_clear()
        .envs(site.sandbox.env_lines())
        .envs([("ADMIN_TOKEN", TOKEN), ("MPP_SECRET_KEY", MPP_SECRET), ("RUST_LOG", "trace")])
        .env("HOOK_SECRET", HOOK_SECRET)
        .output()
        .await
        .unwrap();
    String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
}

/// Nobody is there, so it is tried again and again.
const WEBHOOKS: &str = "webhooks:
  - { url: \"http://127.0.0.1:9/a?key=canary-hook-key-canary-hook-key\", secret: { env: HOOK_SECRET } }
";
const HOOK_KEY: &str = "canary-hook-key-canary-hook-key";
const HOOK_SECRET: &str = "whsec_Y2FuYXJ5LWhvb2stc2VjcmV0LWNhbmFyeQ==";
