//! An agent that asks and pays, and what it is answered: shared by the tests that go through real sockets.
//!
//! Each of them adds the shorthands that it wants in an `impl` of its own.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::Value;
use tollgate::{
    client::{self, Challenge, Client, Credential, Mode, Offer, Settings, Wanted, X402Offer},
    protocol::{
        mpp::{self, PAYMENT_RECEIPT, Receipt},
        stellar::Network,
        x402::Settlement,
    },
};
use tollgate_sandbox::{DevAccount, Sandbox};

/// Someone who asks and pays at one place.
#[derive(Clone)]
pub(crate) struct Agent {
    pub(crate) client: Client,
    /// A URL without a path.
    pub(crate) base: String,
}

impl Agent {
    /// The agent with `account`'s key, which asks at `base`.
    pub(crate) fn new(sandbox: &Sandbox, account: &DevAccount, base: String) -> Self {
        let settings = Settings {
            seed: account.secret().parse().unwrap(),
            network: Network::Testnet,
            rpc_url: sandbox.rpc_url().parse().unwrap(),
            limit: None,
            method: client::Method::Any,
            mode: Mode::Pull,
            patience: Duration::ZERO,
        };
        Self { client: Client::new(settings), base }
    }

    /// A request without payment.
    pub(crate) fn request(&self, method: Method, path: &str) -> Request<Bytes> {
        let uri = format!("{}{path}", self.base);
        Request::builder().method(method).uri(uri).body(Bytes::new()).unwrap()
    }

    /// Asks without payment, and reads what it costs by x402.
    pub(crate) async fn offer_of(&self, method: Method, path: &str) -> X402Offer {
        let challenge = self.challenge_of(method, path).await;
        match challenge.choose(&Wanted::by(client::Method::X402, Network::Testnet)).unwrap() {
            Offer::X402(offer) => offer,
            Offer::Charge(offer) => panic!("{offer:?}"),
        }
    }

    /// Asks without payment, and reads all that it may be paid by.
    pub(crate) async fn challenge_of(&self, method: Method, path: &str) -> Challenge {
        let request = self.request(method, path);
        self.client.challenge(request).await.unwrap().expect("a 402")
    }

    /// Sends a request without payment.
    pub(crate) async fn ask(&self, method: Method, path: &str) -> Answer {
        read(self.client.exchange(self.request(method, path)).await.unwrap()).await
    }

    /// Sends a request with a payment, once.
    pub(crate) async fn present_with(
        &self,
        method: Method,
        path: &str,
        credential: &Credential,
    ) -> Answer {
        let request = self.request(method, path);
        read(self.client.present(request, credential).await.unwrap()).await
    }

    /// Asks and pays.
    pub(crate) async fn pay_with(&self, method: Method, path: &str, body: Bytes) -> Answer {
        let request = self.request(method, path).map(|_| body);
        read(self.client.send(request, |_| {}).await.unwrap().response).await
    }
}

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
        assert_eq!(settlement.network, "stellar:testnet", "{settlement:?}");
        assert_eq!(settlement.transaction.len(), 64, "{settlement:?}");
        settlement.transaction
    }

    /// The `Payment-Receipt`, if there is one.
    pub(crate) fn receipt(&self) -> Option<Receipt> {
        let header = self.headers.get(PAYMENT_RECEIPT)?;
        Some(Receipt::decode(header.as_bytes()).unwrap())
    }

    /// The `Payment` challenges, in their order.
    pub(crate) fn charges(&self) -> Vec<mpp::Challenge> {
        let values = self.headers.get_all("www-authenticate");
        mpp::parse_challenges(values).into_iter().map(Result::unwrap).collect()
    }

    /// Asserts that it is a 402 with `reason`, fresh challenges of the rails that the route has, and nothing for caches.
    #[track_caller]
    pub(crate) fn assert_refused(&self, reason: &str) {
        assert_eq!(self.status, StatusCode::PAYMENT_REQUIRED, "{self:?}");
        assert_eq!(self.json()["reason"], reason, "{self:?}");
        let charges = self.charges();
        assert!(self.headers.contains_key("payment-required") || !charges.is_empty(), "{self:?}");
        if let Some(charge) = charges.first() {
            assert_eq!(self.json()["challengeId"], charge.id.as_str(), "{self:?}");
        }
        assert!(self.receipt().is_none(), "{self:?}");
        assert_eq!(self.headers["cache-control"], "no-store", "{self:?}");
        assert!(self.json().get("x402Version").is_none(), "{self:?}");
    }

    /// Asserts that it is a fault of the gateway's side, named `problem`: told when to come again, and asked for no
    /// new payment.
    #[track_caller]
    pub(crate) fn assert_fault(&self, problem: &str) {
        assert_eq!(self.status, StatusCode::SERVICE_UNAVAILABLE, "{self:?}");
        let name = format!("https://paymentauth.org/problems/{problem}");
        assert_eq!(self.json()["type"], name, "{self:?}");
        let wait: u64 = self.headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!(wait >= 1, "{self:?}");
        for header in [
            "payment-required",
            "www-authenticate",
            "payment-response",
            "payment-receipt",
            "set-cookie",
        ] {
            assert!(!self.headers.contains_key(header), "{header}: {self:?}");
        }
        assert_eq!(self.headers["cache-control"], "no-store", "{self:?}");
        assert!(!String::from_utf8_lossy(&self.body).contains(SECRET), "{self:?}");
    }
}

/// Reads an answer whole.
pub(crate) async fn read(response: Response<Incoming>) -> Answer {
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer { status: head.status, headers: head.headers, body }
}

/// A word that faulty dependencies say, and that no client may read.
pub(crate) const SECRET: &str = "hunter2";
