//! A shop that takes charges in each way, and what its customers hand over.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method};
use tollgate::{
    client::{ChargeOffer, Credential, Overrides},
    ledger::signer::Seed,
};
use tollgate_sandbox::{Clock as Ledgers, Funds};

use super::MPP;
use crate::{
    forge::Spent,
    world::{Agent, Answer, PRICE, Plan, World, read},
};

/// How a charge is paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Pulled, the gateway pays the fee.
    Sponsored,
    /// Pulled, by a transaction of the payer's own.
    Own,
    /// By a transaction that the payer sent.
    Pushed,
}

impl Form {
    pub const ALL: [Self; 3] = [Self::Sponsored, Self::Own, Self::Pushed];
    /// The gateway sends the transaction.
    pub const PULLED: [Self; 2] = [Self::Sponsored, Self::Own];

    /// What is sold in this way.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Sponsored => "/weather",
            Self::Own | Self::Pushed => "/own",
        }
    }

    /// An honest payment for GET of its path.
    pub async fn payment(self, agent: &Agent) -> Credential {
        self.payment_of(agent, &agent.charge_offer_of(Method::GET, self.path()).await).await
    }

    /// An honest payment of `offer`.
    pub async fn payment_of(self, agent: &Agent, offer: &ChargeOffer) -> Credential {
        let honest = Overrides::default();
        match self {
            Self::Sponsored | Self::Own => agent.client.sign_charge(offer, &honest).await.unwrap(),
            Self::Pushed => agent.client.push_charge(offer, &honest).await.unwrap(),
        }
    }
}

impl Agent {
    /// Sends `headers` with a request that has `body`, once.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&'static str, HeaderValue)],
        body: &'static [u8],
    ) -> Answer {
        let mut request = self.request(method, path).map(|_| Bytes::from_static(body));
        for (name, value) in headers {
            request.headers_mut().append(*name, value.clone());
        }
        read(self.client.exchange(request).await.unwrap()).await
    }
}

/// What a shop is made of: ledgers close fast, since charges live for minutes.
pub fn plan() -> Plan<'static> {
    let ledgers = Ledgers::Interval(Duration::from_millis(250));
    Plan { routes: ROUTES, payments: MPP, ledgers, ..Plan::default() }
}

/// A shop whose gateway is ready.
pub async fn open() -> World {
    World::build(plan()).await
}

/// Customers with money for ten requests, and lumens to pay fees with: one of them may be a thief.
pub async fn customers<const N: usize>(world: &World) -> [(Agent, Seed); N] {
    let funds =
        Funds { usdc_units: i64::try_from(PRICE * 10).unwrap(), spare_stroops: 100_000_000 };
    let accounts = world.sandbox.new_payers(N, funds).await.unwrap();
    let customers: Vec<_> = accounts
        .iter()
        .map(|account| (world.agent_of(account), account.secret().parse().unwrap()))
        .collect();
    customers.try_into().ok().unwrap()
}

/// Presents `credential` for GET `path`: it is refused for `reason`, and what was spent before is what is spent after.
pub async fn refused(world: &World, path: &str, credential: &Credential, reason: &str) -> Answer {
    let spent = Spent::of(world);
    let answer = world.agent().present(path, credential).await;
    answer.assert_refused(reason);
    assert!(!answer.charges().is_empty() || answer.headers.contains_key("payment-required"));
    assert_eq!(Spent::of(world), spent, "{reason}");
    answer
}

pub const ROUTES: &str = r#"
  - { name: weather, match: GET /weather, price: "$0.001", accept: [mpp.charge], timeout: 5s }
  - { name: sibling, match: GET /sibling, price: "$0.001", accept: [mpp.charge], timeout: 5s }
  - { name: dear, match: GET /dear, price: "$0.1", accept: [mpp.charge], timeout: 5s }
  - { name: order, match: POST /order, price: "$0.001", accept: [mpp.charge], timeout: 5s }
  - { name: own, match: ANY /own, accept: { mpp.charge: { price: "$0.001", sponsored: false } }, settle: before, timeout: 5s }
  - { name: other, match: ANY /other, accept: { mpp.charge: { price: "$0.001", sponsored: false } }, settle: before, timeout: 5s }
  - { name: note, match: POST /note, price: "$0.001", accept: [mpp.charge, x402], bind_body: true, timeout: 5s }
  - { name: both, match: ANY /both, price: "$0.001", accept: [x402, mpp.charge], timeout: 5s }
  - { name: plain, match: GET /plain, price: "$0.001", accept: [x402], timeout: 5s }
  - { name: health, match: GET /health, free: true }
"#;
