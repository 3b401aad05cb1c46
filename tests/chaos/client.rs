//! A client: pays for one request after another from one channel, whatever happens to the gateways, and keeps a journal.
//!
//! It presents a payment again while it does not know what came of it, and takes the new challenge when it is refused. What
//! it cannot find out soon it lays aside and goes on: the price is given back when the lease of a dead gateway ends.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header::AUTHORIZATION};
use http_body_util::BodyExt as _;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tollgate::protocol::mpp::{self, Challenge, Credential, PAYMENT_RECEIPT, channel};

use crate::{
    below,
    history::{Request, Seen, Standing},
    payer::{Payer, asked, due},
    site::PRICE,
    upstream::answer_to,
};

/// Where gateways are now; `None` when it is over.
pub(crate) type Addresses = watch::Receiver<Option<Vec<Arc<str>>>>;

/// A channel and its key. Clones are other clients that pay from it too, and sign different amounts.
#[derive(Clone)]
pub(crate) struct Wallet {
    /// Its place among all channels.
    pub(crate) number: usize,
    pub(crate) payer: Payer,
    /// The highest amount that was signed.
    pub(crate) signed: Arc<Mutex<i128>>,
    pub(crate) ids: Arc<AtomicU64>,
    /// How many answers all clients together have got.
    pub(crate) served: watch::Sender<usize>,
}

/// What one client has signed and heard.
pub(crate) struct Journal {
    pub(crate) wallet: Wallet,
    pub(crate) purchases: Vec<Purchase>,
    /// What receipts have said, in their order.
    pub(crate) receipts: Vec<Standing>,
}

/// A request and what pays for it.
pub(crate) struct Purchase {
    pub(crate) credential: Credential,
    pub(crate) request: Request,
}

/// Pays until it is over.
pub(crate) async fn live(wallet: Wallet, mut addresses: Addresses) -> Journal {
    let mut journal = Journal::of(wallet);
    let mut next = None;
    while let Some(base) = any(&mut addresses).await {
        let Some(challenge) = next.take() else {
            next = journal.wallet.ask(&base).await;
            if next.is_none() {
                sleep(PAUSE).await;
            }
            continue;
        };
        next = journal.pay(challenge, &mut addresses).await;
    }
    journal
}

/// The address of any gateway, as soon as there is one; `None` when it is over.
async fn any(addresses: &mut Addresses) -> Option<Arc<str>> {
    let is_there = |now: &Option<Vec<_>>| now.as_ref().is_none_or(|now| !now.is_empty());
    let now = addresses.wait_for(is_there).await.ok()?.clone()?;
    let at = usize::try_from(below(u64::try_from(now.len()).unwrap())).unwrap();
    Some(Arc::clone(&now[at]))
}

impl Journal {
    pub(crate) const fn of(wallet: Wallet) -> Self {
        Self { wallet, purchases: Vec::new(), receipts: Vec::new() }
    }

    /// Pays for one request; returns the challenge for the next one, if it got one.
    async fn pay(&mut self, challenge: Challenge, addresses: &mut Addresses) -> Option<Challenge> {
        let mut purchase = self.wallet.sign(&challenge);
        let mut next = None;
        let mut pause = PAUSE;
        for _ in 0..PATIENCE {
            let Some(base) = any(addresses).await else { break };
            next = self.present(&mut purchase, &base).await;
            match purchase.request.seen.last() {
                // Now and then it is greedy: what has bought an answer must buy no other.
                Some(Seen::Served(_)) if below(20) == 0 => {}
                // It may come again, or be left: then what it did not buy is credit.
                Some(Seen::Failed) if below(2) == 0 => {}
                _ if purchase.request.is_open() => {}
                _ => break,
            }
            sleep(pause).await;
            pause = pause.saturating_mul(2);
        }
        self.purchases.push(purchase);
        next
    }

    /// Presents a payment once, and writes down what came of it; returns the challenge that the answer brings.
    pub(crate) async fn present(
        &mut self,
        purchase: &mut Purchase,
        base: &str,
    ) -> Option<Challenge> {
        let (seen, next) = self.wallet.present(purchase, base).await;
        self.receipts.extend(seen.receipt());
        if matches!(seen, Seen::Served(_)) {
            self.wallet.served.send_modify(|served| *served += 1);
        }
        purchase.request.seen.push(seen);
        next
    }
}

impl Wallet {
    /// Asks what the next request costs; `None` if it is not told.
    pub(crate) async fn ask(&self, base: &str) -> Option<Challenge> {
        let (status, headers, _) = self.send(base, 0, None).await?;
        (status == StatusCode::PAYMENT_REQUIRED).then(|| challenge_of(&headers)).flatten()
    }

    /// Signs what a challenge asks for.
    pub(crate) fn sign_exactly(&self, challenge: &Challenge) -> Purchase {
        self.commit(challenge, due(challenge))
    }

    /// Signs for a challenge, and more than another client of this channel has.
    fn sign(&self, challenge: &Challenge) -> Purchase {
        let (cumulative, _) = asked(challenge);
        let mut signed = self.signed.lock().unwrap();
        let least = if cumulative == *signed {
            due(challenge)
        } else {
            due(challenge).max(*signed + PRICE)
        };
        // Some give more than they must.
        let more = if below(20) == 0 { i128::from(below(30_000)) } else { 0 };
        let commitment = least + more;
        *signed = commitment;
        self.commit(challenge, commitment)
    }

    fn commit(&self, challenge: &Challenge, commitment: i128) -> Purchase {
        let credential = self.payer.commit(challenge, commitment);
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        Purchase { credential, request: Request { id, commitment, ..Request::default() } }
    }

    pub(crate) async fn present(
        &self,
        purchase: &Purchase,
        base: &str,
    ) -> (Seen, Option<Challenge>) {
        let Purchase { credential, request } = purchase;
        let Some((status, headers, body)) = self.send(base, request.id, Some(credential)).await
        else {
            return (Seen::Cut, None);
        };
        let receipt = || standing(&headers).unwrap_or_else(|| panic!("{status} {headers:?}"));
        let seen = match status {
            StatusCode::OK if body.is_empty() => Seen::Replayed(receipt()),
            StatusCode::OK => {
                assert_eq!(body, answer_to(request.id).as_bytes(), "the answer to another request");
                Seen::Served(receipt())
            }
            StatusCode::CONFLICT => Seen::Busy,
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::BAD_GATEWAY => Seen::Fault,
            StatusCode::INTERNAL_SERVER_ERROR => Seen::Failed,
            StatusCode::PAYMENT_REQUIRED => Seen::Refused(reason(&body)),
            other => panic!("{other}: {body:?}"),
        };
        let next = channel::next_challenge(&headers).unwrap().or_else(|| challenge_of(&headers));
        (seen, next)
    }

    /// Closes the channel; `false` if nothing can be collected with the close.
    pub(crate) async fn close(&self, base: &str, authorised: i128) -> bool {
        let challenge = loop {
            match self.ask(base).await {
                Some(challenge) => break challenge,
                None => sleep(PAUSE).await,
            }
        };
        let credential = self.payer.commit_for(channel::Action::Close, &challenge, authorised + 1);
        // Whoever was not told that it is closed asks so again with what closed it: there is no other challenge then.
        loop {
            let answer = self.send(base, 0, Some(&credential)).await;
            match answer {
                Some((StatusCode::OK, ..)) => return true,
                Some((StatusCode::PAYMENT_REQUIRED, _, body)) => {
                    assert!(
                        ["nothing_to_collect", "stale_close", "channel_finalized"]
                            .contains(&&*reason(&body)),
                        "{body:?}"
                    );
                    return false;
                }
                Some((StatusCode::SERVICE_UNAVAILABLE, ..)) | None => sleep(PAUSE).await,
                Some(other) => panic!("{other:?}"),
            }
        }
    }

    /// Asks for the request `id`, with a payment or without; `None` if the answer does not come, or not whole.
    async fn send(
        &self,
        base: &str,
        id: u64,
        credential: Option<&Credential>,
    ) -> Option<(StatusCode, HeaderMap, Bytes)> {
        let payer = Payer { base: base.to_owned(), ..self.payer.clone() };
        let mut request = payer.request(Method::GET, &format!("/paid?{id}"));
        if let Some(credential) = credential {
            request.headers_mut().insert(AUTHORIZATION, credential.encode());
        }
        let answer = async {
            let (head, body) = payer.client.exchange(request).await.ok()?.into_parts();
            let body = body.collect().await.ok()?.to_bytes();
            Some((head.status, head.headers, body))
        };
        // A close waits for the ledger, and for its turn; all others hear something soon.
        let is_close = credential.is_some() && id == 0;
        let longest = if is_close { LONGEST_CLOSE } else { LONGEST };
        timeout(longest, answer).await.expect("a gateway answers, or goes away")
    }
}

fn challenge_of(headers: &HeaderMap) -> Option<Challenge> {
    let values = headers.get_all("www-authenticate");
    let challenges = mpp::parse_challenges(values).into_iter().map(Result::unwrap);
    challenges.into_iter().find(|challenge| challenge.intent == channel::INTENT)
}

fn standing(headers: &HeaderMap) -> Option<Standing> {
    let receipt = mpp::Receipt::decode(headers.get(PAYMENT_RECEIPT)?.as_bytes()).unwrap();
    let receipt = channel::Receipt::from_mpp(&receipt).unwrap();
    Some(Standing { authorised: receipt.accepted.units(), spent: receipt.spent.units() })
}

fn reason(body: &[u8]) -> String {
    let problem: serde_json::Value = serde_json::from_slice(body).unwrap();
    problem["reason"].as_str().unwrap_or_default().to_owned()
}

/// Between two attempts, at first.
const PAUSE: Duration = Duration::from_millis(20);
/// Attempts in a row.
const PATIENCE: usize = 6;
/// Every dependency of a gateway has a timeout far below.
const LONGEST: Duration = Duration::from_secs(30);
/// For the last of all channels.
const LONGEST_CLOSE: Duration = Duration::from_secs(180);
