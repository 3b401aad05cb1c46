//! A ledger, a store, and closers on them; channels, and payments through them as a gateway takes them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use stellar_xdr::{LedgerKey, LedgerKeyContractCode};
use tokio::time::{sleep, timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tollgate::{
    closer::{Closer, Settings},
    ledger::{
        Budget, Http,
        channels::{self, Channels, View},
        collector::{self, Collector},
        own,
        rpc::{EventQuery, LiveEntry, Rpc, Start},
    },
    protocol::{
        channel::{balance_key, instance_key},
        commitment::CommitmentSeed,
        money::Amount,
        stellar::{AccountId, ContractId, Network, TxHash},
    },
    store::{
        Binding, Durability, Redelivery, RedisSettings, Reservation, Store,
        channel::{Account, ChallengeDigest, Held, Phase, Reserve, Reserving, Token},
    },
    telemetry::Clock,
};
use tollgate_sandbox::{DevAccount, OpenChannel, Options, Sandbox, channel_code};

use crate::redis::{self, Server};

/// What every channel of a test is opened with, in base units.
pub(crate) const DEPOSIT: i128 = 100;
/// How long its payer waits.
pub(crate) const WAITING_LEDGERS: u32 = 1_000;

pub(crate) struct World {
    pub(crate) sandbox: Sandbox,
    pub(crate) rpc: Rpc,
    pub(crate) clock: Clock,
    /// What the payments of the test go through; gateways on a server have their own.
    pub(crate) store: Store,
    server: Option<Server>,
    seed: CommitmentSeed,
    challenges: AtomicU64,
}

/// A closer and what it runs on; it dies with this, wherever it stands.
pub(crate) struct Running {
    pub(crate) closer: Closer,
    pub(crate) channels: Channels,
    pub(crate) settings: Settings,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Running {
    /// Has a channel known, as a request with a commitment of it does.
    pub(crate) async fn know(&self, of: &Channel) {
        let ready = async {
            while self.channels.supported().is_err() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, ready).await.unwrap();
        self.channels.look(of.id, None).await.unwrap();
    }

    /// Ends it in the middle of what it does, as a crash does.
    pub(crate) async fn crash(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// A channel of a payer of its own.
pub(crate) struct Channel {
    pub(crate) id: ContractId,
    pub(crate) contract: stellar_xdr::ContractId,
    pub(crate) payer: DevAccount,
}

impl World {
    /// A channel through which so much was delivered, and which nobody knows yet.
    pub(crate) async fn owing(units: i128) -> (Self, Channel) {
        let world = Self::start().await;
        let channel = world.owing_channel(units).await;
        (world, channel)
    }

    /// Opens a channel and delivers so much through it.
    pub(crate) async fn owing_channel(&self, units: i128) -> Channel {
        let channel = self.open().await;
        if units > 0 {
            self.pay(&channel, units, units).await;
        }
        channel
    }

    /// As [`Self::owing`], with a closer that settles nothing by itself and knows the channel.
    pub(crate) async fn watched(units: i128) -> (Self, Channel, Running) {
        let (world, channel) = Self::owing(units).await;
        let it = world.closer();
        it.know(&channel).await;
        (world, channel, it)
    }

    /// A network that closes ledgers fast, and gateways that share a Redis.
    pub(crate) async fn on_redis() -> Self {
        let server = Server::redis(redis::Settings::default()).await;
        let mut world = Self::start().await;
        world.store = on(&server).await;
        world.server = Some(server);
        world
    }

    /// A network that closes ledgers fast.
    pub(crate) async fn start() -> Self {
        Self::with(tollgate_sandbox::Clock::Interval(Duration::from_millis(200))).await
    }

    /// A network whose ledgers close by hand.
    pub(crate) async fn by_hand() -> Self {
        Self::with(tollgate_sandbox::Clock::Manual).await
    }

    async fn with(clock: tollgate_sandbox::Clock) -> Self {
        let sandbox = Sandbox::start(Options { clock, ..Options::default() }).await.unwrap();
        let url = sandbox.rpc_url().parse().unwrap();
        let rpc = Rpc::new(Http::new(), url, Network::Testnet);
        let now = rpc.latest_ledger().await.unwrap().closed_at.unwrap();
        Self {
            sandbox,
            rpc,
            clock: Clock::fixed(now),
            store: Store::in_memory().await.unwrap(),
            server: None,
            seed: CommitmentSeed::from_bytes(&[7; 32]),
            challenges: AtomicU64::new(0),
        }
    }

    /// A closer that settles nothing by itself but what is about to be taken back.
    pub(crate) fn closer(&self) -> Running {
        self.closer_with(settings(), self.collector())
    }

    /// A gateway's closer: as [`Self::closer_with`], over a connection of its own where there is a server.
    pub(crate) async fn gateway(&self, settings: Settings, collector: Collector) -> Running {
        let store = match &self.server {
            Some(server) => on(server).await,
            None => self.store.clone(),
        };
        self.closer_on(store, settings, collector)
    }

    /// As [`Self::closer`], with other limits.
    pub(crate) fn closer_with(&self, settings: Settings, collector: Collector) -> Running {
        self.closer_on(self.store.clone(), settings, collector)
    }

    fn closer_on(&self, store: Store, settings: Settings, collector: Collector) -> Running {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let watched = channels::Settings {
            code: vec![channel_code()],
            min_refund_waiting_ledgers: 1,
            max_state_age: Duration::from_secs(30),
        };
        let (rpc, clock) = (self.rpc.clone(), self.clock.clone());
        let channels = Channels::start(watched, rpc, clock.clone(), &tasks, stop.clone());
        let watch = channels.clone();
        let closer = Closer::start(settings, store, watch, collector, clock, &tasks, stop.clone());
        Running { closer, channels, settings, tasks, stop }
    }

    pub(crate) fn collector(&self) -> Collector {
        self.collector_with(collector::MAX_FEE_STROOPS, collector::BUDGET)
    }

    pub(crate) fn collector_with(&self, max_fee_stroops: u32, budget: Budget) -> Collector {
        self.collector_by(None, max_fee_stroops, budget)
    }

    /// One that sends by the lanes of `sponsor` too.
    pub(crate) fn sponsored_collector(&self, sponsor: own::Facilitator) -> Collector {
        self.collector_by(Some(sponsor), collector::MAX_FEE_STROOPS, collector::BUDGET)
    }

    fn collector_by(
        &self,
        sponsor: Option<own::Facilitator>,
        max_fee_stroops: u32,
        budget: Budget,
    ) -> Collector {
        let signer = self.sandbox.accounts().recipient.secret().parse().unwrap();
        let settings = collector::Settings { signer, max_fee_stroops, budget };
        Collector::new(settings, self.rpc.clone(), self.clock.clone(), sponsor)
    }

    /// A sponsor whose lanes are ready.
    pub(crate) async fn sponsor(&self, lanes: u32) -> own::Facilitator {
        let sponsor = self.sponsor_of(&self.sandbox.accounts().sponsor, lanes);
        let ready = async {
            while sponsor.supported().is_err() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        let ready = timeout(PATIENCE, ready);
        self.closing_ledgers(ready).await.expect("the lanes are not ready");
        sponsor
    }

    pub(crate) fn sponsor_of(&self, account: &DevAccount, lanes: u32) -> own::Facilitator {
        let settings = own::Settings {
            network: Network::Testnet,
            sponsors: vec![account.secret().parse().unwrap()],
            lanes,
            max_fee_stroops: own::MAX_FEE_STROOPS,
            budget: Budget::USUAL,
            excluded: Vec::new(),
        };
        // It goes with the test.
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        own::Facilitator::start(settings, self.rpc.clone(), self.clock.clone(), &tasks, stop)
    }

    /// Opens a channel to the payee.
    pub(crate) async fn open(&self) -> Channel {
        self.open_waiting(WAITING_LEDGERS).await
    }

    pub(crate) async fn open_waiting(&self, refund_waiting_ledgers: u32) -> Channel {
        self.open_as(&self.payee(), refund_waiting_ledgers).await
    }

    /// Opens a channel to somebody else.
    pub(crate) async fn open_to(&self, payee: &DevAccount) -> Channel {
        self.open_as(&payee.address(), WAITING_LEDGERS).await
    }

    async fn open_as(&self, payee: &str, refund_waiting_ledgers: u32) -> Channel {
        let payer = self.sandbox.accounts().payer.clone();
        let contract = self
            .sandbox
            .open_channel(&OpenChannel {
                payer: &payer,
                payee,
                token: &self.sandbox.usdc_contract(),
                commitment_key: self.seed.key().to_bytes(),
                deposit: DEPOSIT,
                refund_waiting_ledgers,
            })
            .await
            .unwrap();
        Channel { id: contract.to_string().parse().unwrap(), contract, payer }
    }

    /// Reserves `price` by a commitment of `cumulative`.
    pub(crate) async fn reserve(&self, of: &Channel, cumulative: i128, price: i128) -> Reservation {
        self.try_reserve(of, cumulative, price).await.unwrap()
    }

    pub(crate) async fn try_reserve(
        &self,
        of: &Channel,
        cumulative: i128,
        price: i128,
    ) -> Result<Reservation, Reserving> {
        let signed = self.seed.sign(Network::Testnet, of.id, amount(cumulative));
        let mut challenge = [0; 16];
        let number = self.challenges.fetch_add(1, Ordering::Relaxed);
        challenge[..8].copy_from_slice(&number.to_be_bytes());
        // What its challenge would name, unless it comes late.
        let known = self.store.account(of.id).await.unwrap().unwrap_or_default();
        let base = known.standing().authorised;
        let ask = Reserve {
            commitment: Held { amount: signed.amount, signature: signed.signature },
            challenge: ChallengeDigest(challenge),
            base: if amount(cumulative) > base { base } else { Amount::ZERO },
            binding: Binding([0; 32]),
            price: amount(price),
            // As of a view that may be wrong: the test says which commitments come in.
            deposited: amount(DEPOSIT.max(cumulative)),
            withdrawn: Amount::ZERO,
            at_least: Amount::ZERO,
            most_unsettled: amount(1_000_000),
            expired: false,
            token: Token::draw(),
            now: self.clock.now(),
            lease_until: self.clock.now() + LEASE_SECONDS,
            redelivery: Redelivery { attempts: 3, within: Duration::from_secs(60) },
        };
        self.store.reserve(of.id, ask).await.unwrap()
    }

    /// Delivers something for `price`, by a commitment of `cumulative`.
    pub(crate) async fn pay(&self, of: &Channel, cumulative: i128, price: i128) {
        let reservation = self.reserve(of, cumulative, price).await;
        self.store.keep(reservation, 200).await.unwrap();
    }

    pub(crate) async fn account(&self, of: &Channel) -> Account {
        self.store.account(of.id).await.unwrap().unwrap()
    }

    /// Waits until the account of a channel is as wanted.
    pub(crate) async fn until(&self, of: &Channel, wanted: impl Fn(&Account) -> bool) -> Account {
        let look = async {
            loop {
                let account = self.account(of).await;
                if wanted(&account) {
                    return account;
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        match timeout(PATIENCE, look).await {
            Ok(account) => account,
            Err(_) => panic!("{:?}", self.account(of).await),
        }
    }

    /// Waits until so much is withdrawn, and nothing is under way.
    pub(crate) async fn until_withdrawn(&self, of: &Channel, units: i128) -> Account {
        self.until(of, |account| account.withdrawn() == amount(units) && is_at_rest(account)).await
    }

    /// Waits until the channel is closed, and says by which transaction.
    pub(crate) async fn until_closed(&self, of: &Channel) -> Option<TxHash> {
        let is_closed = |account: &Account| matches!(account.phase(), Phase::Closed { .. });
        let account = self.until(of, |account| is_closed(account) && is_at_rest(account)).await;
        let Phase::Closed { transaction } = account.phase() else { unreachable!() };
        transaction
    }

    /// Lets time pass, on the ledger and here.
    pub(crate) async fn pass(&self, by: Duration) {
        self.sandbox.close_ledger_at(self.clock.now() + by.as_secs()).await;
        self.clock.advance(by);
    }

    /// Waits until a channel is seen as wanted, and closes a ledger now and then.
    pub(crate) async fn until_seen(
        &self,
        it: &Running,
        of: &Channel,
        wanted: impl Fn(&View) -> bool,
    ) -> Arc<View> {
        let look = async {
            loop {
                if let Some(view) = it.channels.seen(of.id).filter(|view| wanted(view)) {
                    return view;
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        let look = timeout(PATIENCE, look);
        self.closing_ledgers(look).await.expect("it is not seen so")
    }

    /// Waits until a channel's entries live for so many ledgers more.
    pub(crate) async fn until_lives_on(&self, of: &Channel, ledgers: u32) {
        let extended = async {
            while self.lives_on(of).await < ledgers {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, extended).await.unwrap();
    }

    /// How many ledgers the first to end of a channel's instance, its balance and its code lives on.
    async fn lives_on(&self, of: &Channel) -> u32 {
        let code = LedgerKeyContractCode { hash: stellar_xdr::Hash(channel_code()) };
        let keys = [
            instance_key(of.id),
            balance_key(Network::Testnet.usdc().contract, of.id),
            LedgerKey::ContractCode(code),
        ];
        let found = self.rpc.snapshot(&keys).await.unwrap();
        let ends = |entry: &LiveEntry| entry.live_until.unwrap() - found.ledger;
        keys.iter().map(|key| ends(&found.entries[key])).min().unwrap()
    }

    /// Closes a ledger now and then until `work` is done.
    pub(crate) async fn closing_ledgers<T>(&self, work: impl Future<Output = T>) -> T {
        let close = async {
            loop {
                sleep(Duration::from_millis(200)).await;
                self.sandbox.close_ledger().await;
            }
        };
        tokio::select! {
            done = work => done,
            () = close => unreachable!("it goes on"),
        }
    }

    pub(crate) fn payee(&self) -> String {
        self.sandbox.accounts().recipient.address()
    }

    /// What the channel, its payer beyond the first channel, and the payee hold.
    pub(crate) fn balance(&self, address: &str) -> i128 {
        self.sandbox.usdc_balance(address).unwrap_or_default()
    }

    /// How many transactions the payee has put on the ledger.
    pub(crate) async fn sequence(&self) -> i64 {
        let payee: AccountId = self.payee().parse().unwrap();
        self.rpc.accounts(&[payee]).await.unwrap()[0].seq_num.0
    }

    /// What was withdrawn from a channel, payment by payment, as the token tells.
    pub(crate) async fn withdrawals(&self, of: &Channel) -> usize {
        let name = stellar_xdr::ScVal::Symbol("withdraw".try_into().unwrap());
        let latest = self.rpc.latest_ledger().await.unwrap().sequence;
        let query = EventQuery {
            start: Start::Ledger(latest.saturating_sub(5_000).max(2)),
            contract: of.id,
            topics: vec![vec![Some(name)]],
        };
        self.rpc.events(&query).await.unwrap().events.len()
    }
}

async fn on(server: &Server) -> Store {
    let settings = RedisSettings {
        url: server.url().into(),
        prefix: "gw:".to_owned(),
        timeout: Duration::from_secs(10),
        lease: Duration::from_secs(60),
        durability: Durability::Single,
    };
    Store::redis(settings).await.unwrap()
}

/// Has each of these run on a store in memory, and on a Redis that gateways share.
macro_rules! on_each_store {
    ($($test:ident),+ $(,)?) => {
        mod in_memory {$(
            #[tokio::test]
            async fn $test() {
                super::$test(crate::world::World::start().await).await;
            }
        )+}

        mod on_redis {$(
            #[tokio::test]
            async fn $test() {
                super::$test(crate::world::World::on_redis().await).await;
            }
        )+}
    };
}
pub(crate) use on_each_store;

/// Limits that no test passes by accident.
pub(crate) fn settings() -> Settings {
    Settings {
        at_claimable: amount(1_000_000),
        max_unsettled: amount(1_000_000),
        min_value: Amount::ZERO,
        unsettled_for: Duration::from_secs(1_000_000),
        idle_for: Duration::from_secs(1_000_000),
        before_refund: Duration::from_secs(7_200),
    }
}

pub(crate) fn amount(units: i128) -> Amount {
    Amount::from_units(units).unwrap()
}

fn is_at_rest(account: &Account) -> bool {
    account.collection().is_none()
}

const LEASE_SECONDS: u64 = 60;
const PATIENCE: Duration = Duration::from_secs(40);
