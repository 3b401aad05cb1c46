//! The operator's own port of a gateway that runs, and the command that asks it.

use std::{
    fs::Permissions, net::SocketAddr, os::unix::fs::PermissionsExt as _, process::Output,
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use serde_json::{Value, json};
use tokio::process::Command;
use tollgate::ledger::Http;
use tollgate_sandbox::{Fault, Method as Rpc, Times};

use crate::{
    process::{Process, Site},
    world::{PRICE, Plan, ROUTES, until, yaml},
};

const TOKEN: &str = "canary-token-canary-token-canary-token";
const CHANNEL: &str = "CABAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAFNSZ";
const EVERYTHING: &str = "  - { name: everything, match: ANY /*, free: true }";

/// A site whose gateway has an admin port; its file is `edit`ed last.
async fn site(routes: &str, edit: impl Fn(String) -> String) -> Site {
    let plan = Plan { routes, ..Plan::default() };
    let site = Site::new(&plan).await;
    let token = site.config().with_file_name("token");
    std::fs::write(&token, TOKEN).unwrap();
    std::fs::set_permissions(&token, Permissions::from_mode(0o600)).unwrap();
    site.write(&edit(with_admin(&yaml(&site.upstream, &plan))));
    site
}

fn with_admin(yaml: &str) -> String {
    format!("{yaml}admin: {{ address: 127.0.0.1:0, token: {{ file: ./token }} }}\n")
}

async fn admin_address(process: &Process) -> SocketAddr {
    let opened = process.logged("admin port open").await;
    opened["fields"]["address"].as_str().unwrap().parse().unwrap()
}

async fn ask(line: &str, headers: &[(&str, &str)]) -> (StatusCode, Value) {
    let (method, url) = line.split_once(' ').unwrap();
    let mut request = Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Bytes::new()).unwrap();
    let (status, body) = Http::new().send(request, Duration::from_secs(30), 1 << 16).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

/// `tollgate channels` with the arguments in `line`.
async fn channels(site: &Site, line: &str) -> Output {
    command(site, &format!("channels {line}")).await
}

async fn command(site: &Site, line: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .args(line.split_whitespace())
        .env_clear()
        .envs(site.sandbox.env_lines())
        .envs([("TOKEN", TOKEN), ("WRONG", "wrong")])
        .output()
        .await
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap().trim_end().to_owned()
}

/// What the command says when it ends with 1.
fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    text(&output.stderr)
}

/// J07: what customers reach is the upstream, whatever they call it.
#[tokio::test(flavor = "multi_thread")]
async fn j07_nothing_leads_from_the_public_port_to_the_admin_port() {
    let site = site(EVERYTHING, |yaml| yaml).await;
    let process = site.run_unready().await;
    let admin = admin_address(&process).await;
    let bearer = format!("Bearer {TOKEN}");
    let localhost = format!("localhost:{}", admin.port());
    let headers = [("host", localhost.as_str()), ("authorization", &bearer)];
    for path in ["/channels", "/readyz", "/healthz"] {
        let (_, told) = ask(&format!("GET {}{path}", process.base()), &headers).await;
        assert!(told.get("status").is_none() && told.get("channels").is_none(), "{told}");
    }
    assert_eq!(site.upstream.hits().len(), 3, "the upstream answered them all");
    let url = format!("http://{admin}/channels");
    let (status, told) = ask(&format!("GET {url}"), &headers).await;
    assert_eq!((status, told), (StatusCode::OK, json!({ "channels": [], "unreadable": [] })));
    assert_eq!(ask(&format!("GET {url}"), &[]).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(site.upstream.hits().len(), 3);
    assert!(!process.log().contains("canary"), "{}", process.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_is_ready_until_it_is_told_to_stop() {
    let site = site(ROUTES, |yaml| yaml.replace("delay: 0s", "delay: 60s")).await;
    let process = site.run_unready().await;
    let admin = admin_address(&process).await;
    let ready = format!("GET http://{admin}/readyz");
    assert_eq!(ask(&ready, &[]).await, (StatusCode::OK, json!({ "status": "ready" })));
    process.terminate().await;
    process.logged("stopping").await;
    let stopping = json!({ "status": "not ready", "error": "the gateway is stopping" });
    assert_eq!(ask(&ready, &[]).await, (StatusCode::SERVICE_UNAVAILABLE, stopping));
    let health = ask(&format!("GET http://{admin}/healthz"), &[]).await;
    assert_eq!(health, (StatusCode::OK, json!({ "status": "ok" })));
    // It still takes connections: whoever balances the load has not asked yet.
    assert_eq!(ask(&format!("GET {}/nothing", process.base()), &[]).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_asks_the_admin_port_of_a_gateway_that_runs() {
    let site = site(ROUTES, |yaml| yaml).await;
    let process = site.run_unready().await;
    let admin = admin_address(&process).await;
    let with = |line: &str| format!("--admin http://{admin} --token-env TOKEN {line}");

    let listed = channels(&site, &with("list -o table")).await;
    assert!(listed.status.success(), "{listed:?}");
    assert_eq!(text(&listed.stdout), "nothing was paid from a channel yet");
    // Nobody reads it at a terminal.
    let listed = channels(&site, &with("list")).await;
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(listed, json!({ "channels": [], "unreadable": [] }));
    let closed = channels(&site, &with("close --all -o json")).await;
    assert!(closed.status.success(), "{closed:?}");
    let closed: Value = serde_json::from_slice(&closed.stdout).unwrap();
    assert_eq!(closed, json!({ "closed": [], "nothing_to_collect": [], "failed": [] }));

    let unknown = format!("tollgate: no commitment of the channel {CHANNEL} is held");
    for order in ["show", "settle", "close", "close --dry-run"] {
        let output = channels(&site, &with(&format!("{order} {CHANNEL}"))).await;
        assert_eq!(refused(&output), unknown, "{order}");
    }
    let wrong = channels(&site, &format!("list --admin http://{admin} --token-env WRONG")).await;
    let missing =
        "tollgate: the token is missing or wrong: name the variable that has it with --token-env";
    assert_eq!(refused(&wrong), missing);
    let none = channels(&site, &format!("list --admin http://{admin}")).await;
    assert_eq!(refused(&none), missing);
    let unset = channels(&site, &format!("list --admin http://{admin} --token-env UNSET")).await;
    assert_eq!(refused(&unset), "tollgate: UNSET is not set");
    let public = channels(&site, &format!("list --admin {}", process.base())).await;
    let other = format!("tollgate: {} does not answer as an admin port does", process.base());
    assert_eq!(refused(&public), other);
    let usage = channels(&site, &with("close")).await;
    assert_eq!(usage.status.code(), Some(2), "{usage:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_reads_in_the_configuration_where_the_port_is() {
    let site = site(ROUTES, |yaml| yaml).await;
    let process = site.run_unready().await;
    let address = admin_address(&process).await;
    let line = format!("list -c {}", site.config().display());
    let any_port =
        "tollgate: the admin port has whatever number the system chose: name it with --admin";
    assert_eq!(refused(&channels(&site, &line).await), any_port);

    // A port that moves needs a restart: the gateway goes on with the one that it has, which is the one that is named now.
    let plan = Plan { routes: ROUTES, ..Plan::default() };
    let unnamed = with_admin(&yaml(&site.upstream, &plan));
    site.write(&unnamed.replace("127.0.0.1:0, token", &format!("{address}, token")));
    process.logged("a changed `admin.address` needs a restart").await;
    let listed = channels(&site, &format!("{line} -o table")).await;
    assert_eq!(text(&listed.stdout), "nothing was paid from a channel yet", "{listed:?}");

    site.write(&yaml(&site.upstream, &plan));
    let no_port = refused(&channels(&site, &line).await);
    assert!(no_port.contains("opens no admin port"), "{no_port}");
    site.write("version: 1\n");
    let bad = channels(&site, &line).await;
    assert_eq!(bad.status.code(), Some(78), "{bad:?}");
    // Nothing listens on the first port of all.
    let down = refused(&channels(&site, "list --admin http://127.0.0.1:1").await);
    let nobody = "tollgate: cannot ask the admin port at http://127.0.0.1:1, is the gateway running?: cannot connect";
    assert_eq!(down, nobody);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_is_listed_until_its_outcome_is_known() {
    let site = site(ROUTES, |yaml| yaml).await;
    let mut process = site.run().await;
    let (agent, before) = (site.agent(&process), site.payee_usdc());
    let payer = site.sandbox.accounts().payer.address();
    let credential = agent.sign_for(Method::POST, "/order").await;
    site.sandbox.faults().arm(Rpc::GetTransaction, Times::Always, Fault::Drop);
    let sent = site.sandbox.calls(Rpc::SendTransaction);
    let presented = agent.presenting(Method::POST, "/order", &credential);
    until("it is sent", || site.sandbox.calls(Rpc::SendTransaction) > sent).await;
    until("it is on the ledger", || site.payee_usdc() > before).await;
    process.kill().await;
    presented.abort();

    let next = site.run_unready().await;
    let admin = admin_address(&next).await;
    let line = format!("payments list --admin http://{admin} --token-env TOKEN");
    let listed: Value = serde_json::from_slice(&command(&site, &line).await.stdout).unwrap();
    let [payment] = &**listed["unresolved"].as_array().unwrap() else { panic!("{listed}") };
    assert_eq!(
        (&payment["method"], &payment["amount"]),
        (&"x402".into(), &PRICE.to_string().into())
    );
    assert_eq!((&payment["asset"]["name"], &payment["payer"]), (&"USDC".into(), &payer.into()));
    assert_eq!(payment["transaction"].as_str().unwrap().len(), 64, "{payment}");
    let table = text(&command(&site, &format!("{line} -o table")).await.stdout);
    assert!(table.starts_with("METHOD") && table.contains(" USDC "), "{table}");

    site.sandbox.faults().clear();
    while text(&command(&site, &format!("{line} -o table")).await.stdout)
        != "no payment waits for its outcome to be found out"
    {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(site.payee_usdc() - before, PRICE);
    let refused = command(&site, &format!("payments list --admin http://{admin}")).await;
    assert!(!refused.status.success() && refused.stdout.is_empty(), "{refused:?}");
}
