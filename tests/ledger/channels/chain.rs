//! Channels of the real contract, on the sandbox.

use std::{sync::Arc, time::Duration};

use sha2::{Digest as _, Sha256};
use stellar_xdr as xdr;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tollgate::{
    ledger::{
        Http,
        channels::{Channels, LookError, Settings, Unfit, View},
        rpc::{AuthMode, Lookup, Rpc, Simulation, Submission},
    },
    protocol::{
        channel::{Opening, contract_id},
        commitment::{CommitmentKey, CommitmentSeed},
        money::Amount,
        stellar::{Address, ContractId, Network},
    },
    telemetry::Clock,
};
use tollgate_sandbox::{
    CHANNEL_WASM, Clock as Ledgers, OpenChannel, Options, Sandbox, channel_code,
    channel_factory_code,
};

use super::fake::{is_closing, until};
use crate::support::seed;

/// A sandbox whose ledgers close by hand, or with what is done to a channel.
struct Chain {
    sandbox: Sandbox,
    stop: CancellationToken,
}

impl Drop for Chain {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Chain {
    async fn start() -> Self {
        let options = Options { clock: Ledgers::Manual, ..Options::default() };
        let sandbox = Sandbox::start(options).await.unwrap();
        Self { sandbox, stop: CancellationToken::new() }
    }

    /// A gateway's view that trusts `code`.
    async fn channels(&self, code: [u8; 32]) -> Channels {
        let url = self.sandbox.rpc_url().parse().unwrap();
        let rpc = Rpc::new(Http::new(), url, Network::Testnet);
        let settings = Settings {
            code: vec![code],
            min_refund_waiting_ledgers: 100,
            max_state_age: Duration::from_secs(60),
        };
        let (tasks, stop) = (TaskTracker::new(), self.stop.clone());
        let channels = Channels::start(settings, rpc, Clock::system(), &tasks, stop);
        until(|| channels.supported().is_ok()).await;
        channels
    }

    /// Has the payer carry out `function`.
    async fn carry_out(&self, function: xdr::HostFunction) {
        let rpc = Rpc::new(Http::new(), self.sandbox.rpc_url().parse().unwrap(), Network::Testnet);
        let payer = seed(&self.sandbox.accounts().payer);
        let operation = |auth: Vec<_>| xdr::Operation {
            source_account: None,
            body: xdr::OperationBody::InvokeHostFunction(xdr::InvokeHostFunctionOp {
                host_function: function.clone(),
                auth: auth.try_into().unwrap(),
            }),
        };
        let number = rpc.accounts(&[payer.account()]).await.unwrap()[0].seq_num.0;
        let transaction =
            |operation, data: Option<xdr::SorobanTransactionData>, fee| xdr::Transaction {
                source_account: payer.account().to_muxed(),
                fee,
                seq_num: xdr::SequenceNumber(number + 1),
                cond: xdr::Preconditions::None,
                memo: xdr::Memo::None,
                operations: vec![operation].try_into().unwrap(),
                ext: data.map_or(xdr::TransactionExt::V0, xdr::TransactionExt::V1),
            };
        let envelope = |tx, signatures: Vec<_>| {
            let signatures = signatures.try_into().unwrap();
            xdr::TransactionEnvelope::Tx(xdr::TransactionV1Envelope { tx, signatures })
        };
        let plain = envelope(transaction(operation(vec![]), None, 100), vec![]);
        let Simulation::Success(simulated) = rpc.simulate(&plain, AuthMode::Record).await.unwrap()
        else {
            panic!("it would fail")
        };
        let fee = simulated.min_resource_fee + 1_000;
        let tx = transaction(operation(simulated.authorizations), Some(simulated.data), fee);
        let hash = tx.hash(Network::Testnet.id()).unwrap();
        let signed = envelope(tx, vec![payer.sign(&hash)]);
        assert_eq!(rpc.send(&signed).await.unwrap(), Submission::Pending);
        self.sandbox.close_ledger().await;
        let found = rpc.transaction(rpc.hash(&signed).unwrap()).await.unwrap();
        assert!(matches!(found, Lookup::Applied(transaction) if transaction.success));
    }

    async fn open(&self, change: impl FnOnce(&mut OpenChannel<'_>)) -> ContractId {
        let token = self.sandbox.usdc_contract();
        let payee = self.sandbox.accounts().recipient.address();
        let mut wanted = OpenChannel {
            payer: &self.sandbox.accounts().payer,
            payee: &payee,
            token: &token,
            commitment_key: key().to_bytes(),
            deposit: 5_000_000,
            refund_waiting_ledgers: 100,
        };
        change(&mut wanted);
        ContractId(self.sandbox.open_channel(&wanted).await.unwrap().0.0)
    }
}

fn key() -> CommitmentKey {
    CommitmentSeed::from_bytes(&[1; 32]).key()
}

async fn look(channels: &Channels, channel: ContractId) -> Result<Arc<View>, LookError> {
    channels.look(channel, None).await
}

fn xdr_id(channel: ContractId) -> xdr::ContractId {
    xdr::ContractId(xdr::Hash(channel.0))
}

#[tokio::test]
async fn c10_a_channel_is_seen_from_its_opening_to_its_close() {
    let chain = Chain::start().await;
    let channels = chain.channels(channel_code()).await;
    let channel = chain.open(|_| ()).await;
    let accounts = chain.sandbox.accounts();
    let opened = look(&channels, channel).await.unwrap();
    let ledger = chain.sandbox.ledger().latest().sequence;
    let payer: Address = accounts.payer.address().parse().unwrap();
    let expected = View {
        channel,
        token: Network::Testnet.usdc().contract,
        payee: accounts.recipient.address().parse().unwrap(),
        payer,
        key: key(),
        balance: opened.deposited(),
        is_balance_known: true,
        withdrawn: Amount::ZERO,
        refund_waiting_ledgers: 100,
        close_effective_at: None,
        live_until: opened.live_until,
        ledger,
    };
    assert_eq!((*opened).clone(), expected);
    assert_eq!(opened.deposited().units(), 5_000_000);
    // Its code is older than it is itself.
    assert!(opened.lives_on() > 120_000 && opened.lives_on() < 120_959, "{}", opened.lives_on());

    chain.sandbox.top_up(&xdr_id(channel), &accounts.payer, 2_000_000).await.unwrap();
    let topped_up = channels.refresh(channel, None).await.unwrap();
    assert_eq!(topped_up.deposited().units(), 7_000_000);

    let mut changes = channels.changes();
    chain.sandbox.close_start(&xdr_id(channel), &accounts.payer).await.unwrap();
    let closing_at = chain.sandbox.ledger().latest().sequence + 100;
    // No ledger more is needed for it to be seen.
    assert_eq!(changes.recv().await, Ok(channel));
    assert_eq!(chain.sandbox.ledger().latest().sequence + 100, closing_at);
    let closing = LookError::Unfit(Unfit::Closing { effective_at: closing_at });
    assert_eq!(look(&channels, channel).await, Err(closing));
    assert_eq!(channels.seen(channel).unwrap().close_effective_at, Some(closing_at));
}

#[tokio::test]
async fn c10_a_channel_that_was_closing_before_it_was_known_is_refused() {
    let chain = Chain::start().await;
    let channel = chain.open(|_| ()).await;
    let payer = &chain.sandbox.accounts().payer;
    chain.sandbox.close_start(&xdr_id(channel), payer).await.unwrap();
    let channels = chain.channels(channel_code()).await;
    assert!(is_closing(&look(&channels, channel).await));
}

#[tokio::test]
async fn c12_a_waiting_period_below_the_least_is_refused() {
    let chain = Chain::start().await;
    let channels = chain.channels(channel_code()).await;
    for ledgers in [0, 1, 99] {
        let channel = chain.open(|wanted| wanted.refund_waiting_ledgers = ledgers).await;
        let refused = Err(LookError::Unfit(Unfit::Waiting { ledgers, least: 100 }));
        assert_eq!(look(&channels, channel).await, refused);
    }
    let channel = chain.open(|wanted| wanted.refund_waiting_ledgers = 100).await;
    assert_eq!(look(&channels, channel).await.unwrap().refund_waiting_ledgers, 100);
}

#[tokio::test]
async fn c13_code_that_is_not_on_the_list_is_refused_whatever_it_says() {
    let chain = Chain::start().await;
    let channel = chain.open(|_| ()).await;
    let distrustful = chain.channels(channel_factory_code()).await;
    let refused = Err(LookError::Unfit(Unfit::Code(channel_code())));
    assert_eq!(look(&distrustful, channel).await, refused);
    // Contracts that are no channels at all: the token's, which runs no code of its own.
    let trusting = chain.channels(channel_code()).await;
    assert!(look(&trusting, channel).await.is_ok());
    let token = Network::Testnet.usdc().contract;
    let refused = look(&trusting, token).await.unwrap_err();
    assert!(matches!(refused, LookError::Unfit(Unfit::Unreadable(_))), "{refused:?}");
}

#[tokio::test]
async fn c13_other_code_that_does_the_same_is_refused_until_it_is_trusted() {
    let chain = Chain::start().await;
    // The same code with a section that nobody reads.
    let other: Vec<u8> = [CHANNEL_WASM, &[0, 2, 1, b'x']].concat();
    let hash: [u8; 32] = Sha256::digest(&other).into();
    let upload = xdr::HostFunction::UploadContractWasm(other.try_into().unwrap());
    chain.carry_out(upload).await;
    let payer = seed(&chain.sandbox.accounts().payer);
    let from = Address::Account(payer.account());
    let opening = Opening {
        token: Network::Testnet.usdc().contract,
        from,
        commitment_key: key(),
        to: chain.sandbox.accounts().recipient.address().parse().unwrap(),
        amount: Amount::from_units(1_000).unwrap(),
        refund_waiting_period: 100,
    };
    chain.carry_out(opening.create(from, [1; 32], hash)).await;
    let channel = contract_id(from, [1; 32], Network::Testnet);
    let refused = Err(LookError::Unfit(Unfit::Code(hash)));
    assert_eq!(look(&chain.channels(channel_code()).await, channel).await, refused);
    let view = look(&chain.channels(hash).await, channel).await.unwrap();
    assert_eq!(view.deposited().units(), 1_000);
}

#[tokio::test]
async fn c14_payee_and_token_are_told_as_they_are() {
    let chain = Chain::start().await;
    let channels = chain.channels(channel_code()).await;
    let usual = chain.open(|_| ()).await;
    let sponsor = chain.sandbox.accounts().sponsor.address();
    let other_token = ContractId::of_asset(xdr::Asset::Native, Network::Testnet);
    let (usdc, lumens) = (chain.sandbox.usdc_contract(), other_token.to_string());
    let wanted = OpenChannel {
        payer: &chain.sandbox.accounts().payer,
        payee: &sponsor,
        token: &usdc,
        commitment_key: key().to_bytes(),
        deposit: 70,
        refund_waiting_ledgers: 100,
    };
    let elsewhere = ContractId(chain.sandbox.open_channel(&wanted).await.unwrap().0.0);
    let wanted = OpenChannel { token: &lumens, deposit: 0, ..wanted };
    let otherwise = ContractId(chain.sandbox.open_channel(&wanted).await.unwrap().0.0);
    let (usual, elsewhere_view) =
        (look(&channels, usual).await.unwrap(), look(&channels, elsewhere).await.unwrap());
    assert_ne!(usual.payee, elsewhere_view.payee);
    assert_eq!(elsewhere_view.payee, sponsor.parse::<Address>().unwrap());
    // A token that is not there holds nothing; the channel's word of it is seen all the same.
    assert_eq!(look(&channels, otherwise).await, Err(LookError::Unfit(Unfit::NoBalance)));
    channels.keep_watching(otherwise);
    until(|| channels.seen(otherwise).is_some()).await;
    assert_eq!(channels.seen(otherwise).unwrap().token, other_token);
    assert_eq!(usual.token, Network::Testnet.usdc().contract);
}

#[tokio::test]
async fn a_channel_without_a_deposit_is_refused_until_it_has_one() {
    let chain = Chain::start().await;
    let channels = chain.channels(channel_code()).await;
    let channel = chain.open(|wanted| wanted.deposit = 0).await;
    assert_eq!(look(&channels, channel).await, Err(LookError::Unfit(Unfit::NoBalance)));
    let payer = &chain.sandbox.accounts().payer;
    chain.sandbox.top_up(&xdr_id(channel), payer, 10).await.unwrap();
    let fit = async {
        while look(&channels, channel).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), fit).await.unwrap();
    assert_eq!(look(&channels, channel).await.unwrap().deposited().units(), 10);
}

#[tokio::test]
async fn a_weak_commitment_key_is_refused() {
    let chain = Chain::start().await;
    let channels = chain.channels(channel_code()).await;
    // The identity: a signature of zeros fits any message.
    let mut identity = [0; 32];
    identity[0] = 1;
    let weak = chain.open(|wanted| wanted.commitment_key = identity).await;
    assert_eq!(look(&channels, weak).await, Err(LookError::Unfit(Unfit::Key)));
    let strong = chain.open(|_| ()).await;
    assert_eq!(look(&channels, strong).await.unwrap().key, key());
}

#[tokio::test]
async fn a_channel_whose_entries_end_is_refused_and_not_taken_for_closed() {
    let chain = Chain::start().await;
    let channel = chain.open(|_| ()).await;
    let channels = chain.channels(channel_code()).await;
    let opened = look(&channels, channel).await.unwrap();
    assert!(!opened.ends_soon());
    channels.keep_watching(channel);
    let mut changes = channels.changes();
    chain.sandbox.skip_ledgers(opened.lives_on() - 10_000).await;
    assert_eq!(changes.recv().await, Ok(channel));
    assert!(look(&channels, channel).await.unwrap().ends_soon());
    chain.sandbox.skip_ledgers(20_000).await;
    assert_eq!(changes.recv().await, Ok(channel));
    let refused = look(&channels, channel).await.unwrap_err();
    assert!(matches!(refused, LookError::Unfit(Unfit::Expiring { .. })), "{refused:?}");
    assert_eq!(channels.seen(channel).unwrap().close_effective_at, None);
}
