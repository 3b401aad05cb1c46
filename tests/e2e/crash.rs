//! Case K01: the gateway is killed at random moments while agents pay through it.
//!
//! Invariants 2, 3 and 5: what was answered was recorded, a payment buys one answer, and an unknown outcome is found
//! later by presenting the same payment again. The ledger and the upstream outlive every gateway, and are the judges.

use std::{collections::HashSet, sync::Arc, time::Duration};

use http::{Method, StatusCode};
use rand_core::RngCore as _;
use tokio::{sync::watch, task::JoinHandle, time::sleep};
use tollgate::client::{Credential, Offer, Overrides};
use tollgate_sandbox::{Clock as Ledgers, Funds, UNITS};

use crate::{
    process::Site,
    world::{Agent, Answer, PRICE, Plan, try_read},
};

#[tokio::test]
async fn k01_a_gateway_killed_ten_times_charges_each_payment_once_and_serves_it() {
    let ledgers = Ledgers::Interval(Duration::from_millis(500));
    let site = Site::new(&Plan { ledgers, ..Plan::default() }).await;
    let before = site.payee_usdc();
    let funds = Funds { usdc_units: UNITS, spare_stroops: 0 };
    let payers = site.sandbox.new_payers(CLIENTS, funds).await.unwrap();
    let (stage, _) = watch::channel(Stage::Between);
    let clients: Vec<JoinHandle<Client>> = payers
        .iter()
        .enumerate()
        .map(|(number, payer)| {
            let agent = Agent::new(&site.sandbox, payer, String::new());
            let client = Client { number, agent, stage: stage.subscribe(), purchases: Vec::new() };
            tokio::spawn(client.live())
        })
        .collect();

    for kill in 0..KILLS {
        let process = site.run_unready().await;
        stage.send_replace(Stage::Open(format!("http://{}", process.address).into()));
        let moment = Duration::from_millis(rand_core::OsRng.next_u64() % 2_000);
        println!("kill {kill} comes after {moment:?}");
        sleep(moment).await;
        process.kill().await;
        stage.send_replace(Stage::Between);
    }
    let process = site.run().await;
    let base: Arc<str> = format!("http://{}", process.address).into();
    stage.send_replace(Stage::Closing(base.clone()));
    let mut purchases = Vec::new();
    for client in clients {
        let client = client.await.unwrap();
        let agent = client.agent.at(base.to_string());
        // Every payment that was answered is used, whichever process answered it.
        for purchase in client.purchases.iter().filter(|purchase| purchase.is_bought()) {
            let answer = purchase.present(&agent).await.unwrap();
            answer.assert_refused("duplicate_settlement");
        }
        purchases.extend(client.purchases);
    }

    let count = |end: fn(&End) -> bool| {
        purchases.iter().filter(|purchase| purchase.end.as_ref().is_some_and(end)).count()
    };
    let served = count(|end| matches!(end, End::Served { .. }));
    let unheard = count(|end| matches!(end, End::Unheard));
    let refused = count(|end| matches!(end, End::Refused));
    let unsure = purchases.iter().filter(|purchase| purchase.presented > 1).count();
    println!(
        "{} payments: {served} served, {unheard} served to nobody, {refused} refused; {unsure} came more than once",
        purchases.len()
    );
    assert_eq!(served + unheard + refused, purchases.len(), "every payment has an end");
    assert!(served >= KILLS, "too few to tell anything");
    assert!(unsure > 0, "no kill met a payment");

    // The ledger: one charge for each payment that bought something, and none for any other.
    let bought = i128::try_from(served + unheard).unwrap();
    assert_eq!(site.payee_usdc() - before, bought * PRICE);
    let transactions: HashSet<&str> = purchases.iter().filter_map(Purchase::transaction).collect();
    assert_eq!(transactions.len(), served);

    // The upstream: nothing bought that never reached it, nothing refused that made it act.
    let hits = site.upstream.hits();
    for purchase in &purchases {
        let hits = hits.iter().filter(|hit| hit.target == purchase.path).count();
        match purchase.end {
            Some(End::Refused) if purchase.method == Method::POST => {
                assert_eq!(hits, 0, "{purchase:?}");
            }
            Some(End::Refused) | None => {}
            Some(_) => assert!(hits >= 1, "{purchase:?}"),
        }
    }
    process.terminate().await;
    assert!(process.ended().await.success());
}

/// Where the gateway is.
#[derive(Clone, Debug)]
enum Stage {
    /// Nowhere.
    Between,
    /// Here.
    Open(Arc<str>),
    /// Here, and nobody buys anything new.
    Closing(Arc<str>),
}

/// Someone who buys one thing after another, and presents a payment again until its end is known.
struct Client {
    number: usize,
    agent: Agent,
    stage: watch::Receiver<Stage>,
    purchases: Vec<Purchase>,
}

/// One payment and what came of it.
#[derive(Debug)]
struct Purchase {
    method: Method,
    path: String,
    credential: Credential,
    presented: u32,
    end: Option<End>,
}

#[derive(Debug)]
enum End {
    /// Answered, with a receipt.
    Served { transaction: String },
    /// It has bought its answer, which was lost with a gateway.
    Unheard,
    /// Not taken, and never will be.
    Refused,
}

impl Client {
    async fn live(mut self) -> Self {
        loop {
            let (base, is_closing) = match self.stage.borrow_and_update().clone() {
                Stage::Between => (None, false),
                Stage::Open(base) => (Some(base), false),
                Stage::Closing(base) => (Some(base), true),
            };
            let Some(base) = base else {
                self.stage.changed().await.unwrap();
                continue;
            };
            let agent = self.agent.at(base.to_string());
            if let Some(open) = self.purchases.iter_mut().find(|purchase| purchase.end.is_none()) {
                if !open.try_to_end(&agent).await {
                    sleep(Duration::from_millis(50)).await;
                }
            } else if is_closing {
                return self;
            } else if let Some(purchase) = self.sign(&agent).await {
                self.purchases.push(purchase);
            } else {
                sleep(Duration::from_millis(50)).await;
            }
        }
    }

    /// Asks and signs; `None` if the gateway went away meanwhile, or takes no payments.
    async fn sign(&self, agent: &Agent) -> Option<Purchase> {
        let count = self.purchases.len();
        // Both orders of settling, by turns.
        let (method, path) = if count.is_multiple_of(2) {
            (Method::GET, "/weather")
        } else {
            (Method::POST, "/order")
        };
        let path = format!("{path}?client={}&purchase={count}", self.number);
        let request = agent.request(method.clone(), &path);
        let challenge = agent.client.challenge(request).await.ok().flatten()?;
        let Offer::X402(offer) = agent.client.choose(&challenge).unwrap() else { return None };
        let credential = agent.client.sign_x402(&offer, &Overrides::default()).await.unwrap();
        Some(Purchase { method, path, credential, presented: 0, end: None })
    }
}

impl Purchase {
    /// Presents the payment; `false` if its end is still not known.
    async fn try_to_end(&mut self, agent: &Agent) -> bool {
        self.presented += 1;
        let Some(answer) = self.present(agent).await else { return false };
        self.end = match answer.status {
            StatusCode::OK => {
                answer.assert_paid();
                Some(End::Served { transaction: answer.settlement().unwrap().transaction })
            }
            StatusCode::PAYMENT_REQUIRED => Some(self.refused(&answer)),
            // In use by the request that was cut off, pending, or not ready yet.
            StatusCode::CONFLICT | StatusCode::SERVICE_UNAVAILABLE => None,
            _ => panic!("{self:?}: {answer:?}"),
        };
        self.end.is_some()
    }

    fn refused(&self, answer: &Answer) -> End {
        let reason = answer.reason();
        let kind = answer.json()["type"].as_str().unwrap().to_owned();
        assert!(self.presented > 1, "refused at first sight: {self:?} {answer:?}");
        match (reason.as_str(), kind.rsplit('/').next().unwrap()) {
            ("duplicate_settlement", "invalid-challenge") => End::Unheard,
            ("duplicate_settlement", "settlement-failed") => End::Refused,
            ("invalid_exact_stellar_payload_auth_already_expired", _) => End::Refused,
            _ => panic!("{self:?}: {answer:?}"),
        }
    }

    /// `None` if the gateway went away before the whole answer was there.
    async fn present(&self, agent: &Agent) -> Option<Answer> {
        let request = agent.request(self.method.clone(), &self.path);
        let response = agent.client.present(request, &self.credential).await.ok()?;
        try_read(response).await.ok()
    }

    const fn is_bought(&self) -> bool {
        matches!(self.end, Some(End::Served { .. } | End::Unheard))
    }

    fn transaction(&self) -> Option<&str> {
        match &self.end {
            Some(End::Served { transaction }) => Some(transaction),
            _ => None,
        }
    }
}

const CLIENTS: usize = 8;
const KILLS: usize = 10;
