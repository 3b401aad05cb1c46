//! A sandbox with a facilitator on it, and payers that sign as a client does.

use std::{ops::Deref, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;
use stellar_xdr::{self as xdr, WriteXdr as _};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tollgate::{
    ledger::{
        Budget, Http,
        facilitator::{Outcome, Payment, Presented, Settled},
        own::{Facilitator, Settings},
        rpc::{AuthMode, Rpc, Simulation},
        signer::Seed,
    },
    protocol::{
        money::Amount,
        stellar::{Address, Network},
        transfer::{self, Expected, Transfer},
    },
    telemetry::Clock,
};
use tollgate_sandbox::DevAccount;

use super::npm::OverTls;

/// A network, an own facilitator's settings, and the tasks of what was started.
pub(crate) struct World {
    network: OverTls,
    pub(crate) rpc: Rpc,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// To its sandbox, and the programs of npm on it.
impl Deref for World {
    type Target = OverTls;

    fn deref(&self) -> &OverTls {
        &self.network
    }
}

impl World {
    /// A network that closes a ledger each `interval`.
    pub(crate) async fn start(interval: Duration) -> Self {
        let network = OverTls::start(interval).await;
        let url = network.sandbox.rpc_url().parse().unwrap();
        let rpc = Rpc::new(Http::new(), url, Network::Testnet);
        Self { network, rpc, tasks: TaskTracker::new(), stop: CancellationToken::new() }
    }

    /// What a test changes little of.
    pub(crate) fn settings(&self, lanes: u32) -> Settings {
        Settings {
            network: Network::Testnet,
            sponsors: vec![seed(&self.sandbox.accounts().sponsor)],
            lanes,
            max_fee_stroops: 200_000,
            budget: Budget {
                stroops: 100_000_000,
                per_payer: 2_000_000,
                per: Duration::from_secs(3_600),
            },
            excluded: Vec::new(),
        }
    }

    /// A facilitator with `settings` that is not ready yet.
    pub(crate) fn facilitator(&self, settings: Settings) -> Facilitator {
        self.facilitator_at(settings, self.rpc.clone(), Clock::system())
    }

    /// As [`World::facilitator`], with another RPC and another clock.
    pub(crate) fn facilitator_at(&self, settings: Settings, rpc: Rpc, clock: Clock) -> Facilitator {
        Facilitator::start(settings, rpc, clock, &self.tasks, self.stop.clone())
    }

    /// A facilitator with `lanes` lanes that is ready.
    pub(crate) async fn ready(&self, lanes: u32) -> Facilitator {
        let facilitator = self.facilitator(self.settings(lanes));
        until_ready(&facilitator).await;
        facilitator
    }

    pub(crate) fn payer(&self) -> DevAccount {
        self.sandbox.accounts().payer.clone()
    }

    pub(crate) fn payee(&self) -> Address {
        self.sandbox.accounts().recipient.address().parse().unwrap()
    }

    pub(crate) fn payee_units(&self) -> i128 {
        self.sandbox.usdc_balance(&self.sandbox.accounts().recipient.address()).unwrap()
    }

    /// A payment of 0.001 USDC as a client makes it: simulated, signed, simulated again.
    pub(crate) async fn payment(&self, payer: &DevAccount) -> Payment {
        self.payment_of(payer, 10_000, 60).await
    }

    /// As [`Self::payment`], with the messages that it comes in.
    pub(crate) async fn presented(&self, payer: &DevAccount) -> Presented {
        self.presented_of(payer, 10_000, 60).await
    }

    /// A payment of `units` that may take `seconds` to settle.
    pub(crate) async fn payment_of(
        &self,
        payer: &DevAccount,
        units: i128,
        seconds: u32,
    ) -> Payment {
        self.presented_of(payer, units, seconds).await.payment
    }

    /// As [`Self::payment_of`], with the messages that it comes in.
    pub(crate) async fn presented_of(
        &self,
        payer: &DevAccount,
        units: i128,
        seconds: u32,
    ) -> Presented {
        let expected = Expected {
            network: Network::Testnet,
            asset: Network::Testnet.usdc().contract,
            payee: self.payee(),
            amount: Amount::from_units(units).unwrap(),
        };
        let ledger = self.rpc.latest_ledger().await.unwrap().sequence;
        let from = Address::Account(seed(payer).account());
        let call = transfer::transfer_call(expected.asset, from, expected.payee, expected.amount);
        let nonce = nonce();
        let mut entry =
            transfer::authorization(call.clone(), from, nonce, ledger + seconds.div_ceil(5) + 2);
        seed(payer).sign_authorization(&mut entry, expected.network).unwrap();
        let operation = xdr::Operation {
            source_account: None,
            body: xdr::OperationBody::InvokeHostFunction(xdr::InvokeHostFunctionOp {
                host_function: xdr::HostFunction::InvokeContract(call),
                auth: vec![entry].try_into().unwrap(),
            }),
        };
        let max_time = Clock::system().now() + 300;
        let plain = transfer::unsigned_envelope(operation.clone(), None, 100, max_time);
        let (data, fee) = match self.rpc.simulate(&plain, AuthMode::Enforce).await.unwrap() {
            Simulation::Success(simulated) => {
                (Some(simulated.data), 100 + simulated.min_resource_fee)
            }
            Simulation::Failure { .. } => (None, 50_000),
        };
        payment_with(expected, transfer::unsigned_envelope(operation, data, fee, max_time), seconds)
    }
}

/// The payment that carries `envelope`, as x402 presents it.
pub(crate) fn payment_with(
    expected: Expected,
    envelope: xdr::TransactionEnvelope,
    seconds: u32,
) -> Presented {
    let text = STANDARD.encode(envelope.to_xdr(xdr::Limits::none()).unwrap());
    let requirements = json!({
        "scheme": "exact",
        "network": expected.network.name(),
        "amount": expected.amount.to_string(),
        "asset": expected.asset.to_string(),
        "payTo": expected.payee.to_string(),
        "maxTimeoutSeconds": seconds,
        "extra": { "areFeesSponsored": true },
    });
    Presented {
        payment: Payment {
            transfer: Transfer::parse(&text).unwrap(),
            expected,
            max_timeout_seconds: seconds,
            min_remaining: 1,
            declares_fee: true,
        },
        payload: json!({
            "x402Version": 2,
            "accepted": requirements,
            "payload": { "transaction": text },
        }),
        requirements,
    }
}

/// Settles as the gateway does: prepares anew when a transaction went stale.
pub(crate) async fn settle(facilitator: &Facilitator, payment: &Payment) -> Outcome {
    for _ in 0..5 {
        let prepared = facilitator.prepare(payment).await.unwrap();
        match facilitator.submit(payment, prepared).await {
            Outcome::Stale => {}
            outcome => return outcome,
        }
    }
    panic!("stale time and again");
}

pub(crate) fn settled(outcome: Outcome) -> Settled {
    match outcome {
        Outcome::Settled(settled) => settled,
        other => panic!("not settled: {other:?}"),
    }
}

pub(crate) async fn until_ready(facilitator: &Facilitator) {
    let ready = async {
        while facilitator.supported().is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(30), ready).await;
    assert!(waited.is_ok(), "not ready: {:?}", facilitator.supported());
}

/// The sentence with which a facilitator says that it is not ready, once it says `part`.
pub(crate) async fn trouble(facilitator: &Facilitator, part: &str) -> String {
    let said = async {
        loop {
            if let Err(trouble) = facilitator.supported()
                && trouble.0.contains(part)
            {
                return trouble.0;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(30), said).await;
    waited.unwrap_or_else(|_| panic!("never said {part}: {:?}", facilitator.supported()))
}

pub(crate) fn seed(account: &DevAccount) -> Seed {
    account.secret().parse().unwrap()
}

fn nonce() -> i64 {
    use rand_core::RngCore as _;
    i64::from_be_bytes(rand_core::OsRng.next_u64().to_be_bytes())
}
