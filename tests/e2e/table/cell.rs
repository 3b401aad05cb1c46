//! The world of one cell: a gateway with one route, one payer, and the books of its money.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request};
use stellar_xdr as xdr;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::{Mutex, OwnedMutexGuard},
    task::{JoinHandle, spawn_blocking},
    time::sleep,
};
use tollgate::{
    ledger::signer::Seed,
    protocol::stellar::{AccountId, Network as Chain, TxHash},
    telemetry::Clock,
};
use tollgate_sandbox::{
    Clock as Ledgers, DevAccount, Funds, Method as Rpc, USDC_ISSUER,
    ledger::{Ledger, Submission, TransactionStatus},
};

use super::{
    origin::Origin,
    rail::{Proof, Rail, Settle},
    told::Heard,
};
use crate::world::{Agent, PRICE, Plan, World, still, until};

pub(super) struct Cell {
    pub(super) rail: Rail,
    pub(super) settle: Settle,
    pub(super) world: World,
    pub(super) origin: Origin,
    pub(super) network: Network,
    pub(super) payer: DevAccount,
    pub(super) agent: Agent,
    /// What payer and payee had at first.
    start: Books,
    /// What they must have now.
    books: Books,
}

/// What payer and payee have, in base units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Books {
    payer: i128,
    payee: i128,
}

/// What closes the ledgers of a cell, a few a second.
pub(super) struct Network {
    turn: Arc<Mutex<()>>,
    task: JoinHandle<()>,
}

/// A client with a connection of its own, which it can leave at any time.
pub(super) struct Visitor(TcpStream);

impl Cell {
    /// A cell whose gateway is ready; `origin` may stand elsewhere than the gateway believes.
    pub(super) async fn start(rail: Rail, settle: Settle, site: &Site) -> Self {
        let origin = Origin::start().await;
        let routes = routes(rail, settle, site.timeout);
        let plan = Plan {
            upstream: Some(site.address.unwrap_or(origin.address)),
            clock: still(),
            ledgers: Ledgers::Manual,
            ..plan(&routes)
        };
        let world = World::build(plan).await;
        let funds = Funds { usdc_units: UNITS, spare_stroops: 100_000_000 };
        let payer = world.sandbox.new_payers(1, funds).await.unwrap().remove(0);
        let network = Network::start(world.sandbox.ledger().clone());
        let agent = world.agent_of(&payer);
        let books = Books { payer: UNITS.into(), payee: world.payee_usdc() };
        Self { rail, settle, world, origin, network, payer, agent, start: books, books }
    }

    /// Has the gateway look for the origin where it is, and give it time.
    pub(super) fn mend(&self) {
        let routes = routes(self.rail, self.settle, PATIENT);
        let upstream = Some(self.origin.address);
        self.world.reload(&Plan { upstream, ..plan(&routes) });
    }

    /// Presents a payment, once.
    pub(super) async fn present(&self, proof: &Proof) -> Heard {
        self.presenting(proof).await.unwrap()
    }

    /// As [`Cell::present`], in a task of its own.
    pub(super) fn presenting(&self, proof: &Proof) -> JoinHandle<Heard> {
        let (agent, request) = (self.agent.clone(), self.request(proof));
        tokio::spawn(
            async move { Heard::read(agent.client.exchange(request).await.unwrap()).await },
        )
    }

    /// Presents a payment again as long as the first request with it is under way.
    pub(super) async fn present_after_it(&self, proof: &Proof) -> Heard {
        loop {
            let heard = self.present(proof).await;
            if heard.status != 409 {
                return heard;
            }
            assert_eq!(heard.problem(), "payment-in-use", "{heard:?}");
            assert!(heard.headers.contains_key("retry-after"), "{heard:?}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Presents a payment over a connection that can be left.
    pub(super) async fn visit(&self, proof: &Proof) -> Visitor {
        let address = self.world.gateway.addresses()[0];
        let (name, value) = &proof.header;
        let value = value.to_str().unwrap();
        let head = format!("GET {PATH} HTTP/1.1\r\nHost: {address}\r\n{name}: {value}\r\n\r\n");
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        Visitor(stream)
    }

    /// Notes that the payer has paid once.
    pub(super) fn charge(&mut self) {
        self.books.payer -= PRICE;
        self.books.payee += PRICE;
    }

    /// Whether it is the gateway that puts the payment on the ledger, and when.
    pub(super) fn settles(&self, settle: Settle) -> bool {
        self.settle == settle && self.rail.is_settled_by_us()
    }

    /// The payer gives all its money away, by a transaction of its own.
    pub(super) async fn spend_everything(&mut self) {
        let books = self.on_ledger();
        let transaction = self.giving_away(i64::try_from(books.payer).unwrap());
        let taken = self.world.sandbox.ledger().submit(transaction);
        assert!(matches!(taken, Submission::Pending { .. }), "{taken:?}");
        until("it is spent", || self.on_ledger().payer == 0).await;
        self.books.payer = 0;
    }

    /// The payer comes by new money.
    pub(super) async fn earn(&mut self) {
        self.world.sandbox.send_usdc(&self.payer, UNITS).await.unwrap();
        self.books.payer += i128::from(UNITS);
    }

    /// Payer and payee have on the ledger what they must have.
    pub(super) fn assert_books(&self, when: &str) {
        assert_eq!(self.on_ledger(), self.books, "what payer and payee have {when}");
    }

    /// The transaction that a receipt names is on the ledger, and succeeded.
    pub(super) fn assert_landed(&self, receipt: &str) {
        let hash: TxHash = receipt.parse().unwrap();
        let landed = self.world.sandbox.ledger().transaction(&xdr::Hash(hash.0));
        assert!(landed.is_some_and(|landed| landed.status == TransactionStatus::Success));
    }

    fn on_ledger(&self) -> Books {
        let payer = self.world.sandbox.usdc_balance(&self.payer.address()).unwrap();
        Books { payer, payee: self.world.payee_usdc() }
    }

    /// How many transactions were sent to the network, by whomever.
    pub(super) fn sent(&self) -> u64 {
        self.world.sandbox.calls(Rpc::SendTransaction)
    }

    /// Waits until the payee has its money.
    pub(super) async fn until_landed(&self) {
        until("the payment is on the ledger", || self.on_ledger() != self.start).await;
    }

    /// The payer's next transaction, which gives so many base units of USDC back to the issuer.
    fn giving_away(&self, amount: i64) -> xdr::TransactionEnvelope {
        let seed: Seed = self.payer.secret().parse().unwrap();
        let account = self.payer.account_id();
        let key = xdr::LedgerKey::Account(xdr::LedgerKeyAccount { account_id: account });
        let found = self.world.sandbox.ledger().entries(&[key]).remove(0);
        let xdr::LedgerEntryData::Account(source) = found.entry.data else { unreachable!() };
        let issuer: AccountId = USDC_ISSUER.parse().unwrap();
        let usdc =
            xdr::AlphaNum4 { asset_code: xdr::AssetCode4(*b"USDC"), issuer: issuer.to_xdr() };
        let payment = xdr::OperationBody::Payment(xdr::PaymentOp {
            destination: issuer.to_muxed(),
            asset: xdr::Asset::CreditAlphanum4(usdc),
            amount,
        });
        let tx = xdr::Transaction {
            source_account: seed.account().to_muxed(),
            fee: 100,
            seq_num: xdr::SequenceNumber(source.seq_num.0 + 1),
            cond: xdr::Preconditions::None,
            memo: xdr::Memo::None,
            operations: vec![xdr::Operation { source_account: None, body: payment }]
                .try_into()
                .unwrap(),
            ext: xdr::TransactionExt::V0,
        };
        let hash = tx.hash(Chain::Testnet.id()).unwrap();
        let signatures = vec![seed.sign(&hash)].try_into().unwrap();
        xdr::TransactionEnvelope::Tx(xdr::TransactionV1Envelope { tx, signatures })
    }

    fn request(&self, proof: &Proof) -> Request<Bytes> {
        let mut request = self.agent.request(Method::GET, PATH);
        let (name, value) = proof.header.clone();
        request.headers_mut().insert(name, value);
        request
    }
}

/// What is special about the place of a cell.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Site {
    /// How long the origin may take.
    pub(super) timeout: Option<&'static str>,
    /// Where the gateway believes it to be.
    pub(super) address: Option<std::net::SocketAddr>,
}

impl Network {
    fn start(ledger: Ledger) -> Self {
        let turn = Arc::new(Mutex::new(()));
        let taken = turn.clone();
        let task = tokio::spawn(async move {
            loop {
                sleep(LEDGER).await;
                let _turn = taken.lock().await;
                let ledger = ledger.clone();
                spawn_blocking(move || ledger.close(Clock::system().now())).await.unwrap();
            }
        });
        Self { turn, task }
    }

    /// Closes no ledger as long as the answer lives.
    pub(super) async fn stand_still(&self) -> OwnedMutexGuard<()> {
        self.turn.clone().lock_owned().await
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Visitor {
    /// Reads until `text` has come.
    pub(super) async fn hear(&mut self, text: &[u8]) {
        let mut heard = Vec::new();
        while !heard.windows(text.len()).any(|window| window == text) {
            heard.push(self.0.read_u8().await.unwrap());
        }
    }

    /// Goes away without an answer, and waits until the gateway has noticed.
    pub(super) async fn leave(mut self) {
        self.0.shutdown().await.unwrap();
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&rest), "", "it had not been answered");
    }

    /// Breaks the connection off.
    pub(super) fn hang_up(self) {
        self.0.set_zero_linger().unwrap();
    }
}

fn routes(rail: Rail, settle: Settle, timeout: Option<&str>) -> String {
    let (accept, timeout) = (rail.accept(), timeout.unwrap_or("10s"));
    let settle = match settle {
        Settle::After => "after",
        Settle::Before => "before",
    };
    format!(
        "  - {{ name: work, match: GET {PATH}, price: \"$0.001\", accept: {accept}, settle: {settle}, timeout: {timeout} }}"
    )
}

fn plan(routes: &str) -> Plan<'_> {
    Plan { routes, x402: ", max_timeout_seconds: 300", payments: MPP, ..Plan::default() }
}

/// What every cell sells.
pub(super) const PATH: &str = "/work";
/// More of `payments:`.
const MPP: &str = ", mpp: { realm: api.example.com, charge: {} }";
/// What a payer starts with, in base units.
const UNITS: i64 = 100_000;
/// The origin may take as long as a route lets it by default.
const PATIENT: Option<&str> = None;
/// Between two ledgers.
const LEDGER: Duration = Duration::from_millis(200);
