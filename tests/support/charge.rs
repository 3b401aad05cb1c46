//! An agent that pays by MPP charge, and what it is answered.

use http::{Method, StatusCode};
use tollgate::{
    client::{self, ChargeOffer, Credential, Mode, Offer, Overrides, Wanted},
    protocol::{
        mpp,
        stellar::{Network, TxHash},
    },
};

use crate::agent::{Agent, Answer};

impl Agent {
    /// The same agent, who pays by `method` only, the way of `mode`.
    pub(crate) fn paying_by(&self, method: client::Method, mode: Mode) -> Self {
        Self { client: self.client.clone().paying_by(method, mode), base: self.base.clone() }
    }

    /// Asks without payment, and reads what it costs by charge.
    pub(crate) async fn charge_offer_of(&self, method: Method, path: &str) -> ChargeOffer {
        let challenge = self.challenge_of(method, path).await;
        match challenge.choose(&Wanted::by(client::Method::Charge, Network::Testnet)).unwrap() {
            Offer::Charge(offer) => *offer,
            Offer::X402(offer) => panic!("{offer:?}"),
        }
    }

    /// Asks for GET `path` and signs a payment of its charge for the gateway to send, changed as `overrides` say.
    pub(crate) async fn sign_charge(&self, path: &str, overrides: &Overrides) -> Credential {
        let offer = self.charge_offer_of(Method::GET, path).await;
        self.client.sign_charge(&offer, overrides).await.unwrap()
    }

    /// Asks for GET `path`, puts a payment of its charge on the ledger, and signs for it; changed as `overrides` say.
    pub(crate) async fn push_charge(&self, path: &str, overrides: &Overrides) -> Credential {
        let offer = self.charge_offer_of(Method::GET, path).await;
        self.client.push_charge(&offer, overrides).await.unwrap()
    }

    /// Asks for GET `path`, and signs a payment of its charge after `change` of what the credential says.
    pub(crate) async fn forge_charge(
        &self,
        path: &str,
        change: impl FnOnce(&mut mpp::Credential),
    ) -> Credential {
        let honest = self.sign_charge(path, &Overrides::default()).await;
        let mut forged = honest.as_charge().unwrap().clone();
        change(&mut forged);
        Credential::charge(forged)
    }
}

impl Answer {
    /// Asserts that it is paid by a charge, and tells by which transaction.
    #[track_caller]
    pub(crate) fn assert_charge_paid(&self) -> String {
        assert_eq!(self.status, StatusCode::OK, "{self:?}");
        let receipt = self.receipt().expect("a receipt");
        assert_eq!(receipt.method, "stellar", "{receipt:?}");
        let hash: TxHash = receipt.reference.parse().expect("the hash of a transaction");
        assert!(self.settlement().is_none(), "{self:?}");
        assert_eq!(self.headers["cache-control"], "private", "{self:?}");
        hash.to_string()
    }
}
