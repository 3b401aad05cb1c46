//! mppx, the reference client of the `Payment` scheme, pays through a gateway out of a channel, and closes it.

use serde_json::Value;
use stellar_xdr::ContractId;
use tempfile::TempDir;
use tollgate::{
    app::Gateway,
    config::{self, Env},
    protocol::commitment::CommitmentSeed,
    telemetry::Clock,
};
use tollgate_sandbox::{OpenChannel, UNITS};

use crate::{
    npm::{OverTls, json_lines},
    redis,
    shop::TICK,
    upstream::Upstream,
    world::{PATIENCE, PRICE, assert_on_the_ledger, payee_usdc},
};

#[tokio::test]
async fn npm_mppx_0_6_pays_out_of_a_channel_kept_in_a_file() {
    pays_and_closes("mppx-0.6", &Keeping::File).await;
}

#[tokio::test]
async fn npm_mppx_0_11_pays_out_of_a_channel_kept_in_a_file() {
    pays_and_closes("mppx-0.11", &Keeping::File).await;
}

#[tokio::test]
async fn npm_mppx_0_6_pays_out_of_a_channel_kept_in_redis() {
    let server = redis::Server::redis(redis::Settings::default()).await;
    pays_and_closes("mppx-0.6", &Keeping::Redis(server.url())).await;
}

#[tokio::test]
async fn npm_mppx_0_11_pays_out_of_a_channel_kept_in_redis() {
    let server = redis::Server::redis(redis::Settings::default()).await;
    pays_and_closes("mppx-0.11", &Keeping::Redis(server.url())).await;
}

/// Where the gateway keeps what was paid.
enum Keeping {
    File,
    /// At this URL.
    Redis(String),
}

/// A ledger with a channel on it, and a gateway that is paid from it.
struct Till {
    network: OverTls,
    gateway: Gateway,
    upstream: Upstream,
    channel: ContractId,
    _folder: TempDir,
}

impl Till {
    async fn open(keeping: &Keeping) -> Self {
        let network = OverTls::start(TICK).await;
        let upstream = Upstream::start().await;
        let folder = tempfile::tempdir().unwrap();
        let (store, url) = match keeping {
            Keeping::File => ("embedded: { path: ./state.redb }", String::new()),
            Keeping::Redis(url) => {
                ("redis: { url: { env: REDIS_URL }, durability: redis-single }", url.clone())
            }
        };
        let yaml = format!(
            r#"version: 1
listen: 127.0.0.1:0
upstream: http://{}
network: {{ env: STELLAR_NETWORK }}
stellar:
  rpc_url: {{ env: STELLAR_RPC_URL }}
  pay_to: {{ env: STELLAR_RECIPIENT }}
payments:
  mpp:
    realm: api.example.com
    secret_key: {{ env: MPP_SECRET_KEY }}
    channel: {{ signer: {{ env: RECIPIENT_SECRET }} }}
store: {{ {store} }}
drain: {{ delay: 0s, timeout: 10s }}
routes:
  - {{ match: GET /weather, price: "$0.001" }}
"#,
            upstream.address
        );
        let path = folder.path().join("gateway.yaml");
        std::fs::write(&path, yaml).unwrap();
        let mut env = network.sandbox.env_lines();
        env.push(("MPP_SECRET_KEY", "a secret of the tests, of at least 32 bytes".to_owned()));
        env.push(("REDIS_URL", url));
        let settings =
            config::load(&path, &Env::fixed(env)).unwrap_or_else(|error| panic!("{error}"));
        let gateway = Gateway::start(settings, Clock::system()).await.unwrap();
        gateway.ready(PATIENCE).await.unwrap();
        let accounts = network.sandbox.accounts();
        let channel = OpenChannel {
            payer: &accounts.payer,
            payee: &accounts.recipient.address(),
            token: &network.sandbox.usdc_contract(),
            commitment_key: SECRET.parse::<CommitmentSeed>().unwrap().key().to_bytes(),
            deposit: i128::from(UNITS),
            refund_waiting_ledgers: 17_280,
        };
        let channel = network.sandbox.open_channel(&channel).await.unwrap();
        Self { network, gateway, upstream, channel, _folder: folder }
    }

    /// What the client prints that pays so often one after another and so often at once, and then closes the channel.
    async fn pay(&self, package: &str, sequential: usize, parallel: usize) -> Value {
        let url = format!("http://{}/weather", self.gateway.addresses()[0]);
        let mut client = self.network.node(package, "channel.mjs");
        client.arg(url).env("COMMITMENT_SECRET", SECRET).env("CHANNEL", self.channel.to_string());
        client.env("SEQUENTIAL", sequential.to_string()).env("PARALLEL", parallel.to_string());
        json_lines(client).await.pop().unwrap()
    }

    fn payer_usdc(&self) -> i128 {
        let sandbox = &self.network.sandbox;
        sandbox.usdc_balance(&sandbox.accounts().payer.address()).unwrap()
    }
}

/// A hundred calls, eight at once, and a close: each served once, and paid to the last unit.
async fn pays_and_closes(package: &str, keeping: &Keeping) {
    let till = Till::open(keeping).await;
    let before = (till.payer_usdc(), payee_usdc(&till.network.sandbox));
    let told = till.pay(package, 100, 8).await;
    for (part, times) in [("sequential", 100), ("parallel", 8), ("close", 1)] {
        let answers = told[part]["answers"].as_array().unwrap();
        assert_eq!(answers.len(), times, "{part}");
        for answer in answers {
            assert_eq!(answer["status"], 200, "{part}: {answer}");
            assert_eq!(answer["receipt"]["status"], "success", "{part}: {answer}");
            assert_eq!(answer["receipt"]["channel"], till.channel.to_string(), "{part}: {answer}");
        }
        assert_eq!(told[part]["credentials"], times, "{part}: nothing was refused");
    }
    assert_eq!(till.upstream.hits().len(), 108);
    let paid = 108 * PRICE;
    // The close is signed for as a request is, and costs nothing.
    assert_eq!(told["signed"], (paid + PRICE).to_string());
    let receipt = &told["close"]["answers"][0]["receipt"];
    assert_eq!(receipt["spent"], paid.to_string(), "{receipt}");
    assert_on_the_ledger(&till.network.sandbox, receipt["reference"].as_str().unwrap());
    let rest = i128::from(UNITS) - paid;
    let after = (till.payer_usdc(), payee_usdc(&till.network.sandbox));
    assert_eq!(after, (before.0 + rest, before.1 + paid));
    till.gateway.stop().await;
    till.network.sandbox.shutdown().await;
}

const SECRET: &str = "0101010101010101010101010101010101010101010101010101010101010101";
