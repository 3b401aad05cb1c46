//! An agent that asks and pays, and what it is answered.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::Value;
use tollgate::{
    client::{Client, Credential, Overrides, Settings},
    protocol::{stellar::Network, x402::Settlement},
};
use tollgate_sandbox::{DevAccount, Sandbox};

/// Someone who asks and pays at one place.
#[derive(Clone)]
pub(crate) struct Agent {
    client: Client,
    base: String,
}

impl Agent {
    /// The agent with `account`'s key, which asks at `base`.
    pub(crate) fn new(sandbox: &Sandbox, account: &DevAccount, base: String) -> Self {
        let settings = Settings {
            seed: account.secret().parse().unwrap(),
            network: Network::Testnet,
            rpc_url: sandbox.rpc_url().parse().unwrap(),
            limit: None,
            patience: Duration::ZERO,
        };
        Self { client: Client::new(settings), base }
    }

    /// Sends a request without payment.
    pub(crate) async fn ask(&self, what: Asked) -> Answer {
        read(self.client.exchange(self.request(what)).await.unwrap()).await
    }

    /// Asks, and signs a payment for what is asked, changed as `overrides` say.
    pub(crate) async fn sign(&self, what: Asked, overrides: &Overrides) -> Credential {
        let challenge = self.client.challenge(self.request(what)).await.unwrap().expect("a 402");
        let offer = challenge.choose(Network::Testnet, None).unwrap();
        self.client.sign(&challenge, &offer, overrides).await.unwrap()
    }

    /// Sends a request with a payment, once.
    pub(crate) async fn present(&self, what: Asked, credential: &Credential) -> Answer {
        read(self.client.present(self.request(what), credential).await.unwrap()).await
    }

    /// Asks and pays.
    pub(crate) async fn pay(&self, what: Asked) -> Answer {
        read(self.client.send(self.request(what), |_| {}).await.unwrap().response).await
    }

    fn request(&self, (method, path): Asked) -> Request<Bytes> {
        let uri = format!("{}{path}", self.base);
        Request::builder().method(method).uri(uri).body(Bytes::new()).unwrap()
    }
}

/// A method and a path.
pub(crate) type Asked = (Method, &'static str);

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The `PAYMENT-RESPONSE`, if there is one.
    pub(crate) fn settlement(&self) -> Option<Settlement> {
        let header = self.headers.get("payment-response")?;
        Some(Settlement::decode(header.as_bytes()).unwrap())
    }

    /// Asserts that it is paid, and tells by which transaction.
    #[track_caller]
    pub(crate) fn assert_paid(&self) -> String {
        assert_eq!(self.status, StatusCode::OK, "{self:?}");
        let settlement = self.settlement().expect("a receipt");
        assert!(settlement.success, "{settlement:?}");
        assert_eq!(settlement.network, "stellar:testnet");
        settlement.transaction
    }

    /// Asserts that it is a 402 with `reason` and a fresh challenge.
    #[track_caller]
    pub(crate) fn assert_refused(&self, reason: &str) {
        assert_eq!(self.status, StatusCode::PAYMENT_REQUIRED, "{self:?}");
        assert_eq!(self.json()["reason"], reason, "{self:?}");
        assert!(self.headers.contains_key("payment-required"), "{self:?}");
        assert_eq!(self.headers["cache-control"], "no-store", "{self:?}");
    }

    /// Asserts that it is a fault of the gateway's side, named `problem`: told when to come again, and asked for no
    /// new payment.
    #[track_caller]
    pub(crate) fn assert_fault(&self, problem: &str) {
        assert_eq!(self.status, StatusCode::SERVICE_UNAVAILABLE, "{self:?}");
        let json = self.json();
        assert_eq!(json["type"], format!("https://paymentauth.org/problems/{problem}"), "{self:?}");
        let wait: u64 = self.headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!(wait >= 1, "{self:?}");
        for header in ["payment-required", "www-authenticate", "payment-response", "set-cookie"] {
            assert!(!self.headers.contains_key(header), "{self:?}");
        }
        assert!(!String::from_utf8_lossy(&self.body).contains(SECRET), "{self:?}");
    }
}

async fn read(response: Response<Incoming>) -> Answer {
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer { status: head.status, headers: head.headers, body }
}

/// A word that faulty facilitators say, and that no client may read.
pub(crate) const SECRET: &str = "hunter2";
