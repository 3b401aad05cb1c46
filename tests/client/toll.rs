//! A server that is paid by a channel, by the gateway's own accounting, and fails as it is told to.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use secrecy::SecretString;
use sha2::{Digest as _, Sha256};
use tollgate::{
    protocol::{
        commitment::CommitmentKey,
        money::Amount,
        mpp::{
            self, CredentialHeader, PAYMENT_RECEIPT, Parts, Secrets,
            channel::{self, Action, PAYMENT_NEXT, Payload, Receipt, Request, reference},
        },
        stellar::{ContractId, Network},
    },
    store::{
        Binding, Redelivery,
        channel::{Account, ChallengeDigest, Held, Reserve, Reserving, Token},
    },
    telemetry::Clock,
};

use super::{
    amount,
    stub::{Asked, Stub},
};

pub(crate) const PRICE: i128 = 10_000;

/// What becomes of a request that is paid.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fate {
    /// It is delivered.
    Deliver,
    /// It is delivered, and the answer is lost.
    Lose,
    /// Nothing is delivered, the commitment comes back, and the answer is lost.
    Break,
    /// The server says that it cannot tell yet, and to ask again.
    Pend,
    /// The server says that the commitment is in use, by the request that came with it before.
    Conflict,
    /// The upstream fails: nothing is charged.
    Fail,
    /// It is refused, for no reason that the client could know.
    Refuse,
}

/// The server; it stops when dropped.
pub(crate) struct Toll {
    pub(crate) stub: Stub,
    books: Arc<Mutex<Books>>,
}

struct Books {
    secrets: Secrets,
    key: CommitmentKey,
    channel: ContractId,
    account: Account,
    issued: u64,
    fates: VecDeque<Fate>,
    /// What it claims to hold, whatever it holds.
    claim: Option<Amount>,
    brings_next: bool,
    closed: bool,
}

impl Toll {
    pub(crate) async fn open(channel: ContractId, key: CommitmentKey) -> Self {
        let secret = SecretString::from("a-secret-of-thirty-two-bytes-and-more");
        let books = Arc::new(Mutex::new(Books {
            secrets: Secrets::new(secret, []).unwrap(),
            key,
            channel,
            account: Account::default(),
            issued: 0,
            fates: VecDeque::new(),
            claim: None,
            brings_next: true,
            closed: false,
        }));
        let kept = Arc::clone(&books);
        let stub = Stub::start(move |asked| kept.lock().unwrap().answer(asked)).await;
        Self { stub, books }
    }

    /// What becomes of the next requests that are paid; those after them are delivered.
    pub(crate) fn play(&self, fates: impl IntoIterator<Item = Fate>) {
        self.books().fates.extend(fates);
    }

    /// From now on it says that it holds a commitment to this much.
    pub(crate) fn claim(&self, units: i128) {
        self.books().claim = Some(amount(units));
    }

    /// From now on a paid answer brings no challenge.
    pub(crate) fn bring_nothing(&self) {
        self.books().brings_next = false;
    }

    /// The best that it could collect with.
    pub(crate) fn account(&self) -> Account {
        self.books().account.clone()
    }

    pub(crate) fn closed(&self) -> bool {
        self.books().closed
    }

    /// The totals that were presented, in their order.
    pub(crate) fn presented(&self) -> Vec<i128> {
        self.stub.asked().iter().filter_map(|asked| Some(total(&asked.charge()?))).collect()
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap()
    }
}

impl Books {
    fn answer(&mut self, asked: &Asked) -> Option<Response<Bytes>> {
        assert_eq!(channel::named(&asked.headers), Ok(Some(self.channel)));
        assert_eq!(asked.headers.get("accept-payment").unwrap(), "stellar/channel");
        let Some(credential) = asked.charge() else { return Some(self.refusal()) };
        credential.challenge.verify_id(&self.secrets, CredentialHeader::default()).unwrap();
        let fate = self.fates.pop_front().unwrap_or(Fate::Deliver);
        let later = match fate {
            Fate::Pend => Some(StatusCode::SERVICE_UNAVAILABLE),
            Fate::Conflict => Some(StatusCode::CONFLICT),
            _ => None,
        };
        if let Some(status) = later {
            let mut response = Response::new(Bytes::new());
            *response.status_mut() = status;
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("0"));
            return Some(response);
        }
        if fate == Fate::Refuse {
            return Some(self.refusal());
        }
        let token = match self.take(&credential) {
            Ok(token) => token,
            Err(outcome) => {
                assert!(
                    matches!(outcome, Reserving::Bought { .. } | Reserving::Refused(_)),
                    "{outcome:?}"
                );
                return Some(self.refusal());
            }
        };
        if matches!(fate, Fate::Break | Fate::Fail) {
            self.account.give_back(token, true).unwrap();
            let mut response = Response::new(Bytes::from_static(b"broken"));
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            return (fate == Fate::Fail).then_some(response);
        }
        self.account.keep(token, 200).unwrap();
        (fate != Fate::Lose).then(|| self.delivery(&credential))
    }

    fn take(&mut self, credential: &mpp::Credential) -> Result<Token, Reserving> {
        let payload = Payload::from_json(credential.payload.as_ref().unwrap()).unwrap();
        let request = Request::decode(&credential.challenge.request).unwrap();
        self.key.verify(Network::Testnet, self.channel, &payload.commitment()).unwrap();
        let digest = Sha256::digest(credential.challenge.id.as_str());
        let digest = *digest.first_chunk::<16>().unwrap();
        self.issued += 1;
        let mut token = [0; 16];
        token[..8].copy_from_slice(&self.issued.to_be_bytes());
        let outcome = self.account.reserve(&Reserve {
            commitment: Held { amount: payload.amount, signature: payload.signature },
            challenge: ChallengeDigest(digest),
            base: request.cumulative,
            binding: Binding([0; 32]),
            price: amount(PRICE),
            deposited: amount(i128::MAX),
            withdrawn: Amount::ZERO,
            at_least: Amount::ZERO,
            most_unsettled: amount(i128::MAX),
            expired: false,
            token: Token(token),
            now: 0,
            lease_until: 60,
            redelivery: Redelivery { attempts: 3, within: Duration::from_secs(60) },
        });
        match outcome {
            Reserving::Reserved(_) => {
                self.closed |= payload.action == Action::Close;
                Ok(Token(token))
            }
            outcome => Err(outcome),
        }
    }

    fn delivery(&mut self, credential: &mpp::Credential) -> Response<Bytes> {
        let standing = self.account.standing();
        let request = Request::decode(&credential.challenge.request).unwrap();
        let reference = if self.closed { "cd".repeat(32) } else { request.reference };
        let receipt = Receipt {
            reference,
            timestamp_ms: 0,
            external_id: None,
            challenge_id: credential.challenge.id.to_string(),
            channel: self.channel,
            accepted: standing.authorised,
            spent: standing.spent,
        };
        let mut response = Response::new(Bytes::from_static(b"the thing"));
        response.headers_mut().insert(PAYMENT_RECEIPT, receipt.to_mpp().encode());
        if self.brings_next {
            let next = self.challenge().to_next();
            response.headers_mut().insert(PAYMENT_NEXT, next);
        }
        response
    }

    fn refusal(&mut self) -> Response<Bytes> {
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = StatusCode::PAYMENT_REQUIRED;
        let challenge = self.challenge().to_header();
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        response
    }

    fn challenge(&mut self) -> mpp::Challenge {
        self.issued += 1;
        let standing = self.account.standing();
        let mut random = [0; 16];
        random[8..].copy_from_slice(&self.issued.to_be_bytes());
        let request = Request {
            amount: amount(PRICE).less(standing.credit()).max(amount(1)),
            channel: self.channel,
            cumulative: self.claim.unwrap_or(standing.authorised),
            external_id: None,
            network: Network::Testnet,
            reference: reference(random),
        };
        let parts = Parts {
            realm: "a",
            method: "stellar",
            intent: "channel",
            request: request.encode(),
            description: Some("A thing"),
            body: None,
            expires_ms: Clock::system().now_ms() + 300_000,
            header: CredentialHeader::default(),
            opaque: None,
        };
        mpp::Challenge::issue(&self.secrets, parts)
    }
}

/// The total that a credential commits to.
pub(crate) fn total(credential: &mpp::Credential) -> i128 {
    Payload::from_json(credential.payload.as_ref().unwrap()).unwrap().amount.units()
}
