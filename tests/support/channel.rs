//! A payer with a channel, who signs what it likes: for the tests that look at single commitments.

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header::AUTHORIZATION};
use serde_json::Value;
use tollgate::{
    client::Client,
    protocol::{
        commitment::CommitmentSeed,
        money::Amount,
        mpp::{
            self,
            channel::{self, Action, PAYMENT_CHANNEL, Payload},
        },
        stellar::{ContractId, Network},
    },
};
use tollgate_sandbox::{DevAccount, OpenChannel, Sandbox};

use crate::agent::{Agent, Answer, read};

/// A payer with one channel.
#[derive(Clone)]
pub(crate) struct Payer {
    pub(crate) client: Client,
    /// A URL without a path.
    pub(crate) base: String,
    pub(crate) seed: CommitmentSeed,
    pub(crate) channel: ContractId,
}

impl Payer {
    /// Opens a channel of `account` to the usual payee under the commitment key of `seed`: with this deposit, which may be
    /// taken back after so many ledgers.
    pub(crate) async fn open(
        sandbox: &Sandbox,
        account: &DevAccount,
        base: String,
        seed: CommitmentSeed,
        (deposit, refund_waiting_ledgers): (i128, u32),
    ) -> Self {
        let wanted = OpenChannel {
            payer: account,
            payee: &sandbox.accounts().recipient.address(),
            token: &sandbox.usdc_contract(),
            commitment_key: seed.key().to_bytes(),
            deposit,
            refund_waiting_ledgers,
        };
        let channel = ContractId(sandbox.open_channel(&wanted).await.unwrap().0.0);
        let Agent { client, base } = Agent::new(sandbox, account, base);
        Self { client, base, seed, channel }
    }

    /// A request that names the channel.
    pub(crate) fn request(&self, method: Method, path: &str) -> Request<Bytes> {
        let channel = HeaderValue::try_from(self.channel.to_string()).unwrap();
        Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(PAYMENT_CHANNEL, channel)
            .body(Bytes::new())
            .unwrap()
    }

    pub(crate) async fn send(&self, request: Request<Bytes>) -> Answer {
        read(self.client.exchange(request).await.unwrap()).await
    }

    /// Asks for GET `path` without payment.
    pub(crate) async fn ask(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    /// Asks for GET `path`, and reads the channel's challenge.
    pub(crate) async fn challenge(&self, path: &str) -> mpp::Challenge {
        let answer = self.ask(path).await;
        answer.channel_challenge().unwrap_or_else(|| panic!("{answer:?}"))
    }

    /// The credential that commits to `amount` for this challenge.
    pub(crate) fn commit(&self, challenge: &mpp::Challenge, amount: i128) -> mpp::Credential {
        self.commit_for(Action::Voucher, challenge, amount)
    }

    pub(crate) fn commit_for(
        &self,
        action: Action,
        challenge: &mpp::Challenge,
        amount: i128,
    ) -> mpp::Credential {
        let amount = Amount::from_units(amount).unwrap();
        let commitment = self.seed.sign(Network::Testnet, self.channel, amount);
        credential(challenge, Payload::new(action, commitment).to_json())
    }

    /// Sends GET `path` with a credential, once.
    pub(crate) async fn present(&self, path: &str, credential: &mpp::Credential) -> Answer {
        let mut request = self.request(Method::GET, path);
        request.headers_mut().insert(AUTHORIZATION, credential.encode());
        self.send(request).await
    }

    /// Asks for GET `path` and pays what is asked.
    pub(crate) async fn pay(&self, path: &str) -> Answer {
        let challenge = self.challenge(path).await;
        let amount = due(&challenge);
        self.present(path, &self.commit(&challenge, amount)).await
    }
}

/// The least commitment that a challenge asks for.
pub(crate) fn due(challenge: &mpp::Challenge) -> i128 {
    let request = channel::Request::decode(&challenge.request).unwrap();
    request.cumulative.units() + request.amount.units()
}

/// What a challenge asks, and above what.
pub(crate) fn asked(challenge: &mpp::Challenge) -> (i128, i128) {
    let request = channel::Request::decode(&challenge.request).unwrap();
    (request.cumulative.units(), request.amount.units())
}

pub(crate) fn credential(challenge: &mpp::Challenge, payload: Value) -> mpp::Credential {
    mpp::Credential { challenge: challenge.clone(), payload: Some(payload), source: None }
}

impl Answer {
    /// The challenge to pay from a channel, if there is one.
    pub(crate) fn channel_challenge(&self) -> Option<mpp::Challenge> {
        self.charges().into_iter().find(|challenge| challenge.intent == channel::INTENT)
    }

    /// The challenge for the next request, if the answer brings one.
    pub(crate) fn next(&self) -> Option<mpp::Challenge> {
        channel::next_challenge(&self.headers).unwrap()
    }

    /// Asserts that it was paid from a channel, and tells what is authorised and spent now.
    #[track_caller]
    pub(crate) fn assert_channel_paid(&self) -> (i128, i128) {
        assert_eq!(self.status, StatusCode::OK, "{self:?}");
        assert_eq!(self.headers["cache-control"], "private", "{self:?}");
        let receipt = self.receipt().unwrap_or_else(|| panic!("no receipt: {self:?}"));
        let receipt = channel::Receipt::from_mpp(&receipt).unwrap();
        (receipt.accepted.units(), receipt.spent.units())
    }

    /// Asserts that it is refused with `reason` and challenged anew.
    #[track_caller]
    pub(crate) fn assert_channel_refused(&self, problem: &str, reason: &str) {
        assert_eq!(self.status, StatusCode::PAYMENT_REQUIRED, "{self:?}");
        let kind = format!("https://paymentauth.org/problems/{problem}");
        assert_eq!(self.json()["type"], kind, "{self:?}");
        assert_eq!(self.json()["reason"], reason, "{self:?}");
        assert_eq!(self.headers["cache-control"], "no-store", "{self:?}");
        assert!(self.receipt().is_none() && self.next().is_none(), "{self:?}");
    }
}
