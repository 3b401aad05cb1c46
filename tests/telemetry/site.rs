//! A gateway in a process of its own that takes payments of all three kinds, and who looks at it.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use tempfile::TempDir;
use tokio::process::Command;
use tollgate::{
    client::{self, Mode},
    ledger::Http,
    protocol::commitment::CommitmentSeed,
};
use tollgate_sandbox::{Clock as Ledgers, Options, Sandbox};

use crate::{agent::Agent, page::Page, payer::Payer, process::Process, upstream::Upstream};

pub(crate) struct Site {
    pub(crate) sandbox: Sandbox,
    pub(crate) upstream: Upstream,
    pub(crate) process: Process,
    pub(crate) admin: SocketAddr,
    pub(crate) folder: TempDir,
}

impl Site {
    /// Starts one whose configuration has `more` at its end.
    pub(crate) async fn start(more: &str) -> Self {
        Self::start_with(more, |_| {}).await
    }

    /// As [`Site::start`], by a command that is changed before.
    pub(crate) async fn start_with(more: &str, change: impl FnOnce(&mut Command)) -> Self {
        let ledgers = Ledgers::Interval(Duration::from_millis(250));
        let sandbox = Sandbox::start(Options { clock: ledgers, ..Options::default() }).await;
        let (sandbox, upstream) = (sandbox.unwrap(), Upstream::start().await);
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("gateway.yaml");
        std::fs::write(&config, yaml(&upstream, more)).unwrap();
        let process = Process::start_with(&config, &sandbox, |command| {
            command.envs([("ADMIN_TOKEN", TOKEN), ("MPP_SECRET_KEY", MPP_SECRET)]);
            change(command);
        })
        .await;
        let opened = process.logged("admin port open").await;
        let admin = opened["fields"]["address"].as_str().unwrap().parse().unwrap();
        let site = Self { sandbox, upstream, process, admin, folder };
        site.until_ready().await;
        site
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.folder.path().join("gateway.yaml")
    }

    /// Waits until each route can be paid.
    async fn until_ready(&self) {
        for path in ["/weather", "/report", "/order"] {
            let method = if path == "/order" { Method::POST } else { Method::GET };
            for _ in 0..600 {
                let answer = self.agent().ask(method.clone(), path).await;
                if answer.status == StatusCode::PAYMENT_REQUIRED {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    /// The agent with the payer's key.
    pub(crate) fn agent(&self) -> Agent {
        let payer = &self.sandbox.accounts().payer;
        Agent::new(&self.sandbox, payer, self.process.base())
    }

    /// The same agent, who pays by charge.
    pub(crate) fn charged(&self) -> Agent {
        self.agent().paying_by(client::Method::Charge, Mode::Pull)
    }

    /// The payer with a channel under this commitment key.
    pub(crate) async fn payer(&self, key: [u8; 32], deposit: i128) -> Payer {
        let seed = CommitmentSeed::from_bytes(&key);
        let (account, base) = (&self.sandbox.accounts().payer, self.agent().base);
        Payer::open(&self.sandbox, account, base, seed, (deposit, 100_000)).await
    }

    pub(crate) fn payee_usdc(&self) -> i128 {
        self.sandbox.usdc_balance(&self.sandbox.accounts().recipient.address()).unwrap()
    }

    /// Asks the admin port.
    pub(crate) async fn admin(&self, method: Method, path: &str) -> (StatusCode, String) {
        let body = if method == Method::POST { "{}" } else { "" };
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.admin))
            .header("authorization", format!("Bearer {TOKEN}"))
            .header("content-type", "application/json")
            .body(Bytes::from(body))
            .unwrap();
        let asked = Http::new().send(request, Duration::from_secs(30), 1 << 22).await;
        let (status, body) = asked.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    /// The text of the figures.
    pub(crate) async fn figures(&self) -> String {
        let (status, text) = self.admin(Method::GET, "/metrics").await;
        assert_eq!(status, StatusCode::OK, "{text}");
        text
    }

    pub(crate) async fn page(&self) -> Page {
        Page::read(&self.figures().await)
    }
}

/// What callers of the admin port must have.
pub(crate) const TOKEN: &str = "canary-admin-token-canary-admin-token";
/// The secret that challenges are made under.
pub(crate) const MPP_SECRET: &str = "canary-challenge-secret-canary-challenge-secret";

fn yaml(upstream: &Upstream, more: &str) -> String {
    let code = hex::encode(tollgate_sandbox::channel_code());
    format!(
        r#"version: 1
listen: 127.0.0.1:0
upstream: http://{address}
network: stellar:testnet
stellar:
  rpc_url: {{ env: STELLAR_RPC_URL }}
  pay_to: {{ env: STELLAR_RECIPIENT }}
  sponsors: [{{ env: SPONSOR_SECRET }}]
payments:
  x402: {{ facilitator: self }}
  mpp:
    secret_key: {{ env: MPP_SECRET_KEY }}
    realm: api.example.com
    charge: {{}}
    channel: {{ wasm_hashes: ["{code}"], signer: {{ env: RECIPIENT_SECRET }} }}
store: {{ embedded: {{ path: ./state.redb }} }}
drain: {{ delay: 0s, timeout: 10s }}
admin: {{ address: 127.0.0.1:0, token: {{ env: ADMIN_TOKEN }} }}
routes:
  - {{ name: weather, match: GET /weather, price: "$0.001", accept: [x402], timeout: 5s }}
  - {{ name: report, match: GET /report, price: "$0.0020003", accept: [mpp.charge], timeout: 5s }}
  - {{ name: stream, match: GET /stream, price: "$0.0000007", accept: [mpp.channel], timeout: 5s }}
  - {{ name: order, match: POST /order, price: "$0.005", accept: [x402, mpp.charge], timeout: 5s }}
  - {{ name: health, match: ANY /health, free: true }}
{more}"#,
        address = upstream.address,
    )
}
