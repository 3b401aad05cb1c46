//! A ledger, a gateway from YAML, and npm clients that pay it.

use std::{path::PathBuf, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode};
use serde_json::Value;
use tempfile::TempDir;
use tollgate::{
    app::Gateway,
    config::{self, Env},
    ledger::Http,
    telemetry::Clock,
};
use tollgate_sandbox::{DevAccount, Sandbox};

use crate::{
    agent::{Agent, Answer},
    binary::until,
    middleman::Middleman,
    npm::{OverTls, json_lines},
    server::Server,
    upstream::{BODY, Hit, Script, Upstream},
};

/// The price of every priced route in base units: `$0.001`.
pub(crate) const PRICE: i128 = 10_000;

/// The key of the reference facilitator.
pub(crate) const KEY: &str = "a key of the tests";

/// What a gateway is configured with.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// `payments.x402.facilitator`, as YAML; empty where x402 is not taken.
    pub(crate) facilitator: String,
    /// Whether `payments.mpp.charge` is sponsored; `None` where it is not taken.
    pub(crate) charge: Option<bool>,
    /// Whether routes name charge before x402.
    pub(crate) charge_first: bool,
    /// What `OZ_API_KEY` is.
    pub(crate) key: String,
    /// `host:port` of the upstream.
    pub(crate) upstream: String,
    pub(crate) max_timeout_seconds: u32,
    /// How long the upstream may take, in seconds.
    pub(crate) timeout_seconds: u32,
}

impl Plan {
    /// The gateway settles by itself.
    pub(crate) fn own(upstream: impl ToString) -> Self {
        Self { facilitator: "self".to_owned(), ..Self::remote("", upstream) }
    }

    /// The facilitator at `url` settles.
    pub(crate) fn remote(url: &str, upstream: impl ToString) -> Self {
        Self {
            facilitator: format!("{{ url: {url}, api_key: {{ env: OZ_API_KEY }}, timeout: 1s }}"),
            charge: None,
            charge_first: false,
            key: KEY.to_owned(),
            upstream: upstream.to_string(),
            max_timeout_seconds: 60,
            timeout_seconds: 5,
        }
    }

    /// The gateway takes charges, and nothing else.
    pub(crate) fn charge(sponsored: bool, upstream: impl ToString) -> Self {
        let facilitator = String::new();
        Self { facilitator, charge: Some(sponsored), ..Self::remote("", upstream) }
    }

    /// The gateway takes charges and x402.
    pub(crate) fn both(sponsored: bool, upstream: impl ToString) -> Self {
        Self { charge: Some(sponsored), ..Self::own(upstream) }
    }

    /// Writes the `gateway.yaml`; answers where.
    pub(crate) fn write(&self, folder: &TempDir) -> PathBuf {
        let Self { facilitator, charge, upstream, max_timeout_seconds, timeout_seconds, .. } = self;
        let sponsors = if facilitator == "self" || *charge == Some(true) { SPONSORS } else { "" };
        let mut accept = Vec::new();
        let mut payments = Vec::new();
        if !facilitator.is_empty() {
            accept.push("x402");
            payments.push(format!(
                "x402: {{ facilitator: {facilitator}, max_timeout_seconds: {max_timeout_seconds} }}"
            ));
        }
        if let Some(sponsored) = charge {
            accept.push("mpp.charge");
            payments.push(format!(
                "mpp: {{ realm: api.example.com, secret_key: {{ env: MPP_SECRET_KEY }}, \
                 charge: {{ sponsored: {sponsored} }} }}"
            ));
        }
        if self.charge_first {
            accept.reverse();
        }
        let accept = accept.join(", ");
        let payments = payments.join("\n  ");
        let yaml = format!(
            r#"version: 1
listen: 127.0.0.1:0
upstream: http://{upstream}
network: {{ env: STELLAR_NETWORK }}
stellar:
  rpc_url: {{ env: STELLAR_RPC_URL }}
  pay_to: {{ env: STELLAR_RECIPIENT }}
{sponsors}
payments:
  {payments}
store: {{ embedded: {{ path: ./state.redb }} }}
drain: {{ delay: 0s, timeout: 10s }}
routes:
  - {{ match: GET /weather, price: "$0.001", accept: [{accept}], timeout: {timeout_seconds}s }}
  - {{ match: POST /echo, price: "$0.001", accept: [{accept}], timeout: {timeout_seconds}s }}
  - match: GET /headers
    price: "$0.001"
    accept: [{accept}]
    describe: {{ summary: 'Payment for "API" — ☀' }}
    timeout: {timeout_seconds}s
  - {{ match: GET /health, free: true }}
"#
        );
        let path = folder.path().join("gateway.yaml");
        std::fs::write(&path, yaml).unwrap();
        path
    }

    /// The environment that the `gateway.yaml` refers to.
    pub(crate) fn env(&self, sandbox: &Sandbox) -> Vec<(&'static str, String)> {
        let mut env = sandbox.env_lines();
        env.push(("OZ_API_KEY", self.key.clone()));
        env.push(("MPP_SECRET_KEY", "a secret of the tests, of at least 32 bytes".to_owned()));
        env
    }
}

/// A ledger and a gateway.
pub(crate) struct World {
    pub(crate) network: OverTls,
    pub(crate) gateway: Gateway,
    _folder: TempDir,
}

impl World {
    /// A gateway as `plan` says, which may not be ready.
    pub(crate) async fn start(network: OverTls, plan: &Plan) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = plan.write(&folder);
        let settings = config::load(&path, &Env::fixed(plan.env(&network.sandbox)))
            .unwrap_or_else(|error| panic!("{error}"));
        let gateway = Gateway::start(settings, Clock::system()).await.unwrap();
        Self { network, gateway, _folder: folder }
    }

    /// A gateway as `plan` says, which takes payments.
    pub(crate) async fn ready(network: OverTls, plan: &Plan) -> Self {
        let world = Self::start(network, plan).await;
        world.gateway.ready(PATIENCE).await.unwrap();
        world
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.gateway.addresses()[0])
    }

    pub(crate) fn agent(&self) -> Agent {
        self.agent_of(&self.network.sandbox.accounts().payer)
    }

    pub(crate) fn agent_of(&self, account: &DevAccount) -> Agent {
        Agent::new(&self.network.sandbox, account, self.url(""))
    }

    /// What the npm client `package` of `payer` prints when it pays for `arguments`: a URL, a method, a body.
    pub(crate) async fn npm_pays(
        &self,
        package: &str,
        payer: &DevAccount,
        arguments: &[&str],
    ) -> Value {
        npm_pays(&self.network, package, payer, arguments).await
    }

    /// Why the gateway takes no payments, once it has tried.
    pub(crate) async fn trouble(&self) -> String {
        until("the gateway says why it is not ready", async || {
            let told = self.gateway.ready(Duration::from_millis(50)).await.err()?.0;
            Some(told).filter(|told| !told.contains("has not been asked yet"))
        })
        .await
    }

    pub(crate) fn payee_usdc(&self) -> i128 {
        payee_usdc(&self.network.sandbox)
    }

    /// Stops everything in order.
    pub(crate) async fn end(self) {
        self.gateway.stop().await;
        self.network.sandbox.shutdown().await;
    }
}

/// A gateway that settles through the reference facilitator, with a middleman between them and a recording upstream.
pub(crate) struct Through {
    pub(crate) world: World,
    pub(crate) upstream: Upstream,
    pub(crate) middleman: Middleman,
    _facilitator: Server,
}

impl Through {
    /// All of it, with a ledger each `interval`; the gateway is ready.
    pub(crate) async fn start(interval: Duration, max_timeout_seconds: u32) -> Self {
        let through = Self::with(interval, |plan| Plan { max_timeout_seconds, ..plan }).await;
        through.world.gateway.ready(PATIENCE).await.unwrap();
        through
    }

    /// All of it, with a gateway as `change` makes it, which may not be ready.
    pub(crate) async fn with(interval: Duration, change: impl FnOnce(Plan) -> Plan) -> Self {
        Self::behind(interval, Middleman::up, change).await
    }

    /// As [`Through::with`]; `first` is what becomes of the middleman, which is down, before the gateway starts.
    pub(crate) async fn behind(
        interval: Duration,
        first: impl FnOnce(&mut Middleman),
        change: impl FnOnce(Plan) -> Plan,
    ) -> Self {
        let network = OverTls::start(interval).await;
        let upstream = Upstream::start().await;
        let facilitator = facilitator(&network).await;
        let mut middleman = Middleman::new(&facilitator.url);
        first(&mut middleman);
        let plan = change(Plan::remote(&middleman.url, upstream.address));
        let world = World::start(network, &plan).await;
        upstream.play(Script { headers: vec![("set-cookie", "paid=1")], ..Script::default() });
        Self { world, upstream, middleman, _facilitator: facilitator }
    }

    /// What reached the upstream's priced paths.
    pub(crate) fn hits(&self) -> Vec<Hit> {
        self.upstream.hits().into_iter().filter(|hit| hit.target != "/health").collect()
    }

    /// Asserts that the free route does not notice anything.
    pub(crate) async fn assert_free_works(&self) {
        let (status, body) = get(&self.world.url("/health")).await;
        assert_eq!((status, &body[..]), (StatusCode::OK, BODY));
    }

    /// Asserts that `answer` has nothing of the upstream's.
    #[track_caller]
    pub(crate) fn assert_nothing_of_the_upstream(&self, answer: &Answer) {
        assert!(!answer.headers.contains_key("set-cookie"), "{answer:?}");
        assert!(!String::from_utf8_lossy(&answer.body).contains("temperature"), "{answer:?}");
    }

    pub(crate) async fn end(self) {
        self.world.end().await;
    }
}

/// The reference facilitator at 2.9.0, which settles from the sponsor's account for those with [`KEY`].
pub(crate) async fn facilitator(network: &OverTls) -> Server {
    let mut command = network.node("x402-2.9", "facilitator-server.mjs");
    command.env("FACILITATOR_SECRET", network.sandbox.accounts().sponsor.secret());
    command.env("BEARER", KEY).env("MAX_FEE_STROOPS", "200000");
    Server::start(command).await
}

/// As [`World::npm_pays`], anywhere.
pub(crate) async fn npm_pays(
    network: &OverTls,
    package: &str,
    payer: &DevAccount,
    arguments: &[&str],
) -> Value {
    let mut client = network.node(package, "client.mjs");
    client.args(arguments).env("CLIENT_SECRET", payer.secret());
    json_lines(client).await.pop().unwrap()
}

pub(crate) fn payee_usdc(sandbox: &Sandbox) -> i128 {
    sandbox.usdc_balance(&sandbox.accounts().recipient.address()).unwrap()
}

/// Asserts that the ledger has this transaction.
pub(crate) fn assert_on_the_ledger(sandbox: &Sandbox, transaction: &str) {
    let hash = stellar_xdr::Hash(hex::decode(transaction).unwrap().try_into().unwrap());
    assert!(sandbox.ledger().transaction(&hash).is_some(), "the receipt names {transaction}");
}

pub(crate) async fn get(url: &str) -> (StatusCode, Bytes) {
    let request = Request::get(url).body(Bytes::new()).unwrap();
    Http::new().send(request, PATIENCE, 1 << 20).await.unwrap()
}

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

const SPONSORS: &str = "  sponsors: [{ env: SPONSOR_SECRET }]\n  lanes: 2";
