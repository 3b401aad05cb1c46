//! A ledger with channels on it behind an RPC that does as it is told, and the gateway's view of them.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use stellar_xdr::{self as xdr, ReadXdr as _};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tollgate::{
    ledger::{
        Http,
        channels::{Channels, LookError, Settings, Unfit, View},
        rpc::Rpc,
    },
    protocol::{
        channel::{balance_key, instance_key},
        commitment::CommitmentSeed,
        stellar::{AccountId, Address, ContractId, Network},
    },
    telemetry::Clock,
};

use crate::stub::{Asked, Reply, Stub};

pub(super) const CODE: [u8; 32] = [7; 32];
pub(super) const PAYEE: Address = Address::Account(AccountId([3; 32]));
pub(super) const PAYER: Address = Address::Account(AccountId([4; 32]));

/// What stands on a ledger.
#[derive(Clone)]
pub(super) struct Ledger {
    pub(super) sequence: u32,
    entries: HashMap<xdr::LedgerKey, (xdr::LedgerEntryData, u32)>,
}

/// A channel's terms and state.
#[derive(Clone, Copy)]
pub(super) struct Terms {
    pub(super) token: ContractId,
    pub(super) waiting: u32,
    pub(super) withdrawn: i128,
    pub(super) close_at: Option<u32>,
    pub(super) balance: i128,
    pub(super) life: u32,
}

impl Terms {
    /// Of a channel that is fit.
    pub(super) fn fit() -> Self {
        Self {
            token: Network::Testnet.usdc().contract,
            waiting: 17_280,
            withdrawn: 0,
            close_at: None,
            balance: 1_000,
            life: 1_000_000,
        }
    }
}

impl Ledger {
    /// Writes `channel` as it is from the next ledger on.
    pub(super) fn put(&mut self, channel: ContractId, terms: &Terms) {
        self.sequence += 1;
        let key = CommitmentSeed::from_bytes(&[1; 32]).key().to_bytes();
        let mut storage = vec![
            (variant("CommitmentKey"), xdr::ScVal::Bytes(xdr::ScBytes(key.try_into().unwrap()))),
            (variant("From"), xdr::ScVal::Address(PAYER.to_xdr())),
            (variant("RefundWaitingPeriod"), xdr::ScVal::U32(terms.waiting)),
            (variant("To"), xdr::ScVal::Address(PAYEE.to_xdr())),
            (variant("Token"), xdr::ScVal::Address(terms.token.to_xdr())),
        ];
        if terms.withdrawn > 0 {
            storage.push((variant("WithdrawnAmount"), terms.withdrawn.into()));
        }
        if let Some(ledger) = terms.close_at {
            storage.push((variant("CloseEffectiveAtLedger"), xdr::ScVal::U32(ledger)));
        }
        let instance = xdr::ScVal::ContractInstance(xdr::ScContractInstance {
            executable: xdr::ContractExecutable::Wasm(xdr::Hash(CODE)),
            storage: Some(map(storage)),
        });
        let balance = xdr::ScVal::Map(Some(map(vec![
            (symbol("amount"), terms.balance.into()),
            (symbol("authorized"), xdr::ScVal::Bool(true)),
            (symbol("clawback"), xdr::ScVal::Bool(false)),
        ])));
        let live_until = self.sequence + terms.life;
        self.write(instance_key(channel), instance, live_until);
        self.write(balance_key(terms.token, channel), balance, live_until);
    }

    /// Takes `channel` away, as an archive does.
    pub(super) fn remove(&mut self, channel: ContractId) {
        self.sequence += 1;
        self.entries.remove(&instance_key(channel));
    }

    fn write(&mut self, key: xdr::LedgerKey, val: xdr::ScVal, live_until: u32) {
        let xdr::LedgerKey::ContractData(at) = &key else { unreachable!() };
        let entry = xdr::ContractDataEntry {
            ext: xdr::ExtensionPoint::V0,
            contract: at.contract.clone(),
            key: at.key.clone(),
            durability: at.durability,
            val,
        };
        self.entries.insert(key, (xdr::LedgerEntryData::ContractData(entry), live_until));
    }

    fn read(&self, asked: &[xdr::LedgerKey]) -> Value {
        let entry = |key: &xdr::LedgerKey| {
            let (data, live_until) = self.entries.get(key)?;
            Some(json!({ "key": text(key), "xdr": text(data), "lastModifiedLedgerSeq": 1,
                "liveUntilLedgerSeq": live_until }))
        };
        let entries: Vec<_> = asked.iter().filter_map(entry).collect();
        json!({ "entries": entries, "latestLedger": self.sequence })
    }
}

/// The ledger, its RPC, and the gateway's view.
pub(super) struct Fake {
    ledger: Arc<Mutex<Ledger>>,
    behaviour: Arc<Mutex<Behaviour>>,
    stub: Stub,
    pub(super) channels: Channels,
    stop: CancellationToken,
}

/// What goes wrong.
#[derive(Clone, Default)]
pub(super) struct Behaviour {
    /// Another server answers, whose ledger is this one.
    pub(super) other: Option<Ledger>,
    /// Nobody answers.
    pub(super) down: bool,
    /// Entries come only after this time.
    pub(super) late: Duration,
    pub(super) pubnet: bool,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Fake {
    /// A ledger whose state may be a minute old.
    pub(super) async fn start() -> Self {
        Self::with(Duration::from_secs(60), Behaviour::default()).await
    }

    pub(super) async fn with(max_state_age: Duration, behaviour: Behaviour) -> Self {
        let entries = HashMap::from([code_entry()]);
        let ledger = Arc::new(Mutex::new(Ledger { sequence: 1_000, entries }));
        let wrong = behaviour.pubnet;
        let behaviour = Arc::new(Mutex::new(behaviour));
        let (of_ledger, of_behaviour) = (ledger.clone(), behaviour.clone());
        let stub = Stub::start(move |asked| {
            let behaviour = of_behaviour.lock().unwrap().clone();
            let now = of_ledger.lock().unwrap().clone();
            answer(asked, &behaviour, behaviour.other.as_ref().unwrap_or(&now))
        })
        .await;
        let rpc = Rpc::new(Http::new(), stub.url.parse().unwrap(), Network::Testnet);
        let settings =
            Settings { code: vec![CODE], min_refund_waiting_ledgers: 17_280, max_state_age };
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let channels = Channels::start(settings, rpc, Clock::system(), &tasks, stop.clone());
        let fake = Self { ledger, behaviour, stub, channels, stop };
        if !wrong {
            until(|| fake.channels.supported().is_ok()).await;
        }
        fake
    }

    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap()
    }

    pub(super) fn behave(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.behaviour.lock().unwrap());
    }

    pub(super) fn put(&self, channel: ContractId, terms: &Terms) {
        self.ledger().put(channel, terms);
    }

    pub(super) async fn look(&self, channel: ContractId) -> Result<Arc<View>, LookError> {
        self.channels.look(channel, Some(client(1))).await
    }

    pub(super) async fn refresh(&self, channel: ContractId) -> Result<Arc<View>, LookError> {
        self.channels.refresh(channel, Some(client(1))).await
    }

    /// The keys of each call for entries of contracts, code aside.
    pub(super) fn calls(&self) -> Vec<Vec<xdr::LedgerKey>> {
        let calls = self.stub.asked("POST /").into_iter().filter_map(|asked| keys(&asked.body));
        calls.filter(|keys| !matches!(keys[..], [xdr::LedgerKey::ContractCode(_)])).collect()
    }

    /// How many calls asked for `channel`.
    pub(super) fn calls_for(&self, channel: ContractId) -> usize {
        self.calls().iter().filter(|keys| keys.contains(&instance_key(channel))).count()
    }
}

fn answer(asked: &Asked, behaviour: &Behaviour, ledger: &Ledger) -> Reply {
    if behaviour.down {
        return Reply::Cut;
    }
    let result = match asked.body["method"].as_str() {
        Some("getNetwork") if behaviour.pubnet => {
            json!({ "passphrase": Network::Pubnet.passphrase() })
        }
        Some("getNetwork") => json!({ "passphrase": Network::Testnet.passphrase() }),
        Some("getTransaction") => json!({ "status": "NOT_FOUND", "latestLedger": ledger.sequence,
            "oldestLedger": 1 }),
        Some("getLedgerEntries") => ledger.read(&keys(&asked.body).unwrap()),
        _ => Value::Null,
    };
    let reply = Reply::Json(200, json!({ "jsonrpc": "2.0", "id": 1, "result": result }));
    match keys(&asked.body) {
        Some(_) if !behaviour.late.is_zero() => Reply::Late(behaviour.late, Box::new(reply)),
        _ => reply,
    }
}

/// Waits until `happened`, half a minute at most.
pub(super) async fn until(happened: impl Fn() -> bool) {
    let waiting = async {
        while !happened() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("it never happened");
}

pub(super) fn channel(number: u32) -> ContractId {
    let mut bytes = [9; 32];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    ContractId(bytes)
}

pub(super) fn client(number: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, number])
}

pub(super) fn is_closing(looked: &Result<Arc<View>, LookError>) -> bool {
    matches!(looked, Err(LookError::Unfit(Unfit::Closing { .. })))
}

pub(super) fn is_failed(looked: &Result<Arc<View>, LookError>) -> bool {
    matches!(looked, Err(LookError::Failed(_)))
}

fn keys(body: &Value) -> Option<Vec<xdr::LedgerKey>> {
    let decode = |key: &Value| {
        let bytes = STANDARD.decode(key.as_str().unwrap()).unwrap();
        xdr::LedgerKey::from_xdr(bytes, xdr::Limits::none()).unwrap()
    };
    Some(body["params"]["keys"].as_array()?.iter().map(decode).collect())
}

fn code_entry() -> (xdr::LedgerKey, (xdr::LedgerEntryData, u32)) {
    let hash = xdr::Hash(CODE);
    let key = xdr::LedgerKey::ContractCode(xdr::LedgerKeyContractCode { hash: hash.clone() });
    let ext = xdr::ContractCodeEntryExt::V0;
    let entry = xdr::ContractCodeEntry { ext, hash, code: xdr::BytesM::default() };
    (key, (xdr::LedgerEntryData::ContractCode(entry), 5_000_000))
}

fn variant(name: &str) -> xdr::ScVal {
    xdr::ScVal::Vec(Some(xdr::ScVec(vec![symbol(name)].try_into().unwrap())))
}

fn symbol(name: &str) -> xdr::ScVal {
    xdr::ScVal::Symbol(xdr::ScSymbol(name.try_into().unwrap()))
}

fn map(members: Vec<(xdr::ScVal, xdr::ScVal)>) -> xdr::ScMap {
    let entries: Vec<_> =
        members.into_iter().map(|(key, val)| xdr::ScMapEntry { key, val }).collect();
    xdr::ScMap(entries.try_into().unwrap())
}

fn text(value: &impl xdr::WriteXdr) -> String {
    STANDARD.encode(value.to_xdr(xdr::Limits::none()).unwrap())
}
