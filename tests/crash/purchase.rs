//! A client's side: one payment, and the journal of what came of it.

use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tokio::sync::watch;
use tollgate::{
    client::{Client, Credential},
    protocol::{
        mpp,
        stellar::Network,
        transfer::Pulled,
        x402::{PAYMENT_RESPONSE, Settlement},
    },
    store::ClaimKey,
};
use tollgate_sandbox::DevAccount;

use crate::upstream::BODY;

/// How the money comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Rail {
    /// x402 `exact`, settled by the gateway.
    X402,
    /// A charge, pulled, whose fee the gateway pays.
    Sponsored,
    /// A charge, pulled, whose payer signs a whole transaction.
    Relayed,
    /// A charge, pushed: its payer has put it on the ledger.
    Pushed,
}

/// When the money moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Order {
    After,
    Before,
}

/// One payment for one request, by a payer that makes no other.
#[derive(Debug)]
pub(crate) struct Purchase {
    pub(crate) rail: Rail,
    pub(crate) order: Order,
    pub(crate) payer: DevAccount,
    pub(crate) credential: Credential,
    /// What came of each time that it was presented.
    pub(crate) journal: Vec<Seen>,
}

/// What a client sees of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Nothing: the connection broke.
    Nothing,
    /// A head that promised an answer, and then the connection broke.
    Head(StatusCode),
    /// The outcome is not known yet.
    Pending,
    /// Somebody else is at it, or the gateway cannot take payments now.
    Later(StatusCode),
    /// This is its end.
    End(End),
}

/// What becomes of a payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Answered, and settled by this transaction.
    Served { transaction: String },
    /// It has bought its answer, which went down with a gateway.
    Unheard,
    /// It moved no money, and never will: it was lost, or came too late.
    Refused,
}

impl Rail {
    pub(crate) const ALL: [Self; 4] = [Self::X402, Self::Sponsored, Self::Relayed, Self::Pushed];

    /// Whether the gateway puts it on the ledger in a transaction of its own.
    pub(crate) const fn is_own(self) -> bool {
        matches!(self, Self::X402 | Self::Sponsored)
    }
}

impl Purchase {
    /// The request's path: its route names the order, its query the payer.
    pub(crate) fn path(rail: Rail, order: Order, payer: &DevAccount) -> String {
        let route = match (rail, order) {
            (Rail::Relayed | Rail::Pushed, Order::After) => "unsponsored/after",
            (Rail::Relayed | Rail::Pushed, Order::Before) => "unsponsored/before",
            (_, Order::After) => "after",
            (_, Order::Before) => "before",
        };
        format!("/{route}?{}", payer.address())
    }

    /// Presents it once more to the gateway at `base`; `heads` counts the heads of paid answers.
    pub(crate) async fn present(
        &mut self,
        client: &Client,
        base: &str,
        heads: &watch::Sender<usize>,
    ) {
        let path = Self::path(self.rail, self.order, &self.payer);
        let request = Request::get(format!("{base}{path}")).body(bytes::Bytes::new()).unwrap();
        let seen = match client.present(request, &self.credential).await {
            Err(_) => Seen::Nothing,
            Ok(response) => {
                let (head, body) = response.into_parts();
                if head.status.is_success() {
                    heads.send_modify(|heads| *heads += 1);
                }
                match body.collect().await {
                    Err(_) => Seen::Head(head.status),
                    Ok(body) => self.read(head.status, &head.headers, &body.to_bytes()),
                }
            }
        };
        self.journal.push(seen);
    }

    /// How it ended, if it has.
    pub(crate) fn end(&self) -> Option<&End> {
        self.journal.iter().find_map(|seen| match seen {
            Seen::End(end) => Some(end),
            _ => None,
        })
    }

    pub(crate) fn is_served(&self) -> bool {
        matches!(self.end(), Some(End::Served { .. }))
    }

    pub(crate) fn last(&self) -> &Seen {
        self.journal.last().unwrap()
    }

    /// The name of its claim; what was pushed is never pending, and needs none here.
    pub(crate) fn key(&self) -> Option<ClaimKey> {
        let transaction = match self.rail {
            Rail::X402 => self.credential.payload().pointer("/payload/transaction"),
            Rail::Sponsored | Rail::Relayed => self.credential.payload().get("transaction"),
            Rail::Pushed => return None,
        };
        let network = Network::Testnet;
        let presented = Pulled::parse(transaction.unwrap().as_str().unwrap(), network).unwrap();
        Some(ClaimKey(match presented {
            Pulled::Unsigned(transfer) => transfer.claim_key(network),
            Pulled::Whole(whole) => whole.claim_key(),
        }))
    }

    fn read(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Seen {
        if status == StatusCode::OK {
            assert_eq!(body, BODY.concat().as_bytes(), "{self:?}");
            return Seen::End(End::Served { transaction: self.receipt(headers) });
        }
        let problem: Value = serde_json::from_slice(body).unwrap();
        let text = |name: &str| problem[name].as_str().unwrap_or_default();
        let kind = text("type").rsplit('/').next().unwrap_or_default();
        assert!(headers.get("retry-after").is_some() || status == StatusCode::PAYMENT_REQUIRED);
        match (status, kind, text("detail")) {
            (StatusCode::SERVICE_UNAVAILABLE, "settlement-pending", _) => Seen::Pending,
            (StatusCode::SERVICE_UNAVAILABLE | StatusCode::CONFLICT, _, _) => Seen::Later(status),
            (StatusCode::PAYMENT_REQUIRED, "invalid-challenge", detail)
                if detail.contains("has bought its answer") =>
            {
                Seen::End(End::Unheard)
            }
            (StatusCode::PAYMENT_REQUIRED, "settlement-failed", detail)
                if detail.contains("failed to settle before") =>
            {
                Seen::End(End::Refused)
            }
            // It comes too late, and did not move money before.
            (StatusCode::PAYMENT_REQUIRED, _, _) if text("reason").contains("expired") => {
                Seen::End(End::Refused)
            }
            (StatusCode::PAYMENT_REQUIRED, _, detail) if detail.contains("leave the time to") => {
                Seen::End(End::Refused)
            }
            _ => panic!("{status} {problem}: {self:?}"),
        }
    }

    /// The transaction that the receipt of a paid answer names.
    fn receipt(&self, headers: &HeaderMap) -> String {
        if self.rail == Rail::X402 {
            let settlement = Settlement::decode(headers[PAYMENT_RESPONSE].as_bytes()).unwrap();
            assert!(settlement.success, "{settlement:?}");
            return settlement.transaction;
        }
        mpp::Receipt::decode(headers[mpp::PAYMENT_RECEIPT].as_bytes()).unwrap().reference
    }
}
