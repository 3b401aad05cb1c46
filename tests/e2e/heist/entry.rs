//! Payers who sign an entry instead of a transaction: whose transaction lands it is not theirs to choose.

use std::time::Duration;

use http::Method;
use stellar_xdr as xdr;
use tokio::task::JoinHandle;
use tollgate::{
    client::{ChargeOffer, Credential, Overrides},
    ledger::signer::Seed,
    protocol::stellar::{AccountId, Address, ContractId, TxHash},
};
use tollgate_sandbox::{Clock as Ledgers, ContractPayer, Method as Rpc, Moment};

use super::{changed, key, send, somebody, unsponsored};
use crate::world::{Agent, Answer, PRICE, Plan, World, still, until};

/// A contract that pays, the account that sends its transactions, and a stranger.
struct Scene {
    world: World,
    contract: ContractPayer,
    source: Seed,
    stranger: Seed,
    agent: Agent,
}

impl Scene {
    async fn start() -> Self {
        let plan = Plan { ledgers: Ledgers::Manual, clock: still(), ..unsponsored() };
        let world = World::build(plan).await;
        let deployed = world.sandbox.new_contract_payer(i64::try_from(PRICE * 3).unwrap());
        let contract = world.while_ledgers_close(deployed).await.unwrap();
        let source = key(&somebody(&world, 0).await);
        let stranger = key(&somebody(&world, 0).await);
        let agent = world.agent_of(contract.signer());
        Self { world, contract, source, stranger, agent }
    }

    /// The transaction by which the contract pays what POST /order costs, from the account of `source`.
    async fn order(&self, source: &Seed) -> (ChargeOffer, xdr::TransactionEnvelope, Credential) {
        let offer = self.agent.charge_offer_of(Method::POST, "/order").await;
        let contract = Address::Contract(ContractId(self.contract.contract_id().0.0));
        let overrides = Overrides {
            payer: Some(contract),
            sequence: Some(self.next(source.account()).await),
            source: Some(source.account()),
            ..Overrides::default()
        };
        let made = self.agent.client.transaction(&offer, &overrides).await.unwrap();
        let envelope = changed(&made.envelope, &[source], |_| {});
        let pulled = offer.pull(&envelope, contract).unwrap();
        (offer, envelope, pulled)
    }

    async fn next(&self, source: AccountId) -> i64 {
        self.agent.client.rpc().accounts(&[source]).await.unwrap()[0].seq_num.0 + 1
    }

    /// The entry of `envelope` in a transaction of `by`, which lands.
    async fn land(&self, envelope: &xdr::TransactionEnvelope, by: &Seed) -> TxHash {
        let sequence = self.next(by.account()).await;
        let own = changed(envelope, &[by], |tx| {
            tx.source_account = by.account().to_muxed();
            tx.seq_num = xdr::SequenceNumber(sequence);
            // Another transaction, whoever sends it.
            tx.fee += 1;
        });
        let hash = self.agent.client.hash(&own).unwrap();
        send(&self.world, &own);
        self.world.sandbox.close_ledger().await;
        let landed = self.world.sandbox.ledger().transaction(&xdr::Hash(hash.0));
        assert!(landed.is_some(), "it did not land");
        hash
    }

    fn presenting(&self, credential: &Credential) -> JoinHandle<Answer> {
        self.agent.presenting(Method::POST, "/order", credential)
    }

    /// Presents `credential` and waits until its transaction has been sent and is looked for.
    async fn sent(&self, credential: &Credential) -> JoinHandle<Answer> {
        let calls = |of| self.world.sandbox.calls(of);
        let sent = calls(Rpc::SendTransaction);
        let presented = self.presenting(credential);
        until("it is sent", || calls(Rpc::SendTransaction) > sent).await;
        // The gateway's watch asks for one now and then, to learn the time.
        let looked = calls(Rpc::GetTransaction);
        until("it is followed", || calls(Rpc::GetTransaction) > looked + 1).await;
        presented
    }

    /// Asserts that the payer was served once, for the money that `transaction` moved.
    async fn assert_served(self, answer: Answer, credential: &Credential, transaction: TxHash) {
        assert_eq!(answer.assert_charge_paid(), transaction.to_string());
        let again = self.presenting(credential).await.unwrap();
        again.assert_refused("duplicate_settlement");
        let left = self.world.sandbox.usdc_balance(&self.contract.address());
        assert_eq!(left, Some(PRICE * 2));
        assert_eq!(self.world.upstream.hits().len(), 1);
        self.world.end().await;
    }
}

#[tokio::test]
async fn a_contract_pays_by_a_transaction_of_anybodys() {
    let scene = Scene::start().await;
    let (_, envelope, credential) = scene.order(&scene.source).await;
    let own = scene.agent.client.hash(&envelope).unwrap();
    let answer = scene.world.while_ledgers_close(scene.presenting(&credential)).await.unwrap();
    scene.assert_served(answer, &credential, own).await;
}

#[tokio::test]
async fn an_entry_that_lands_in_a_strangers_transaction_has_paid() {
    let scene = Scene::start().await;
    let (_, envelope, credential) = scene.order(&scene.source).await;
    let held = scene.world.sandbox.faults().hold(Rpc::SendTransaction, Moment::BeforeEffect);
    let presented = scene.presenting(&credential);
    held.arrived().await;
    let landed = scene.land(&envelope, &scene.stranger).await;
    held.release();
    let answer = scene.world.while_ledgers_close(presented).await.unwrap();
    scene.assert_served(answer, &credential, landed).await;
}

#[tokio::test]
async fn an_entry_that_its_source_lands_in_another_transaction_has_paid() {
    let scene = Scene::start().await;
    let (_, envelope, credential) = scene.order(&scene.source).await;
    let held = scene.world.sandbox.faults().hold(Rpc::SendTransaction, Moment::BeforeEffect);
    let presented = scene.presenting(&credential);
    held.arrived().await;
    // The sequence number is used up, and the network refuses what was presented.
    let landed = scene.land(&envelope, &scene.source).await;
    held.release();
    let answer = scene.world.while_ledgers_close(presented).await.unwrap();
    scene.assert_served(answer, &credential, landed).await;
}

#[tokio::test]
async fn an_entry_whose_own_transaction_is_lost_has_paid_where_it_landed() {
    let scene = Scene::start().await;
    let (_, envelope, credential) = scene.order(&scene.source).await;
    let own = scene.agent.client.hash(&envelope).unwrap();
    scene.world.sandbox.faults().lose_transactions(1, |_| true);
    let presented = scene.sent(&credential).await;
    // Nobody can tell what became of it, and its payer is not asked for more.
    scene.world.clock.advance(Duration::from_secs(61));
    assert_eq!(presented.await.unwrap().assert_pending(), own.to_string());
    let landed = scene.land(&envelope, &scene.stranger).await;
    scene.world.pass(Duration::from_secs(310)).await;
    scene.world.until_ready().await;
    let answer = scene.presenting(&credential).await.unwrap();
    scene.assert_served(answer, &credential, landed).await;
}

#[tokio::test]
async fn an_entry_that_lands_nowhere_has_not_paid() {
    let scene = Scene::start().await;
    let (_, _, credential) = scene.order(&scene.source).await;
    scene.world.sandbox.faults().lose_transactions(1, |_| true);
    let presented = scene.sent(&credential).await;
    scene.world.clock.advance(Duration::from_secs(61));
    presented.await.unwrap().assert_pending();
    scene.world.pass(Duration::from_secs(310)).await;
    scene.world.until_ready().await;
    let refused = scene.presenting(&credential).await.unwrap();
    assert_eq!(refused.status, 402, "{refused:?}");
    assert!(scene.world.upstream.hits().is_empty());

    let (_, envelope, credential) = scene.order(&scene.source).await;
    let own = scene.agent.client.hash(&envelope).unwrap();
    let answer = scene.world.while_ledgers_close(scene.presenting(&credential)).await.unwrap();
    scene.assert_served(answer, &credential, own).await;
}
