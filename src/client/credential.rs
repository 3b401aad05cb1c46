//! A payment as it is presented: a transfer, signed by its payer, in a transaction that a facilitator may send.
//!
//! The client signs one authorization entry, for exactly the transfer that was asked, and no transaction: whoever sends it
//! pays the fees and can change nothing of it. Source: x402 v2, scheme `exact` on Stellar; `protocol/x402.md` 4.1.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::HeaderValue;
use rand_core::{OsRng, RngCore as _};
use serde_json::{Map, Value, json};
use stellar_xdr::{self as xdr, WriteXdr as _};

use super::{Challenge, Error, Offer};
use crate::{
    ledger::{
        rpc::{AuthMode, Rpc, Simulation},
        signer::Seed,
    },
    protocol::{
        money::Amount,
        stellar::{AccountId, Address, ContractId, Network},
        transfer, x402,
    },
};

/// A signed payment. It may be presented any number of times, and moves money at most once.
#[derive(Clone)]
pub struct Credential {
    header: HeaderValue,
    payload: Value,
    expiration_ledger: u32,
}

/// What a test changes of an honest payment; nothing by default.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// Pays another amount.
    pub amount: Option<Amount>,
    /// Pays someone else.
    pub payee: Option<Address>,
    /// Pays in another asset.
    pub asset: Option<ContractId>,
    /// Claims to pay for another account, or for a contract that takes the key's bare signature.
    pub payer: Option<Address>,
    /// Signs with this key instead of the client's own.
    pub seed: Option<Seed>,
    /// Signs for another network.
    pub network: Option<Network>,
    /// The last ledger in which the authorization holds.
    pub expiration_ledger: Option<u32>,
    /// The authorization's nonce.
    pub nonce: Option<i64>,
    /// The fee that the transaction bids, in stroops.
    pub fee: Option<u32>,
    /// The resource fee that the transaction declares, in stroops.
    pub resource_fee: Option<i64>,
    /// The source of the transaction.
    pub source: Option<AccountId>,
    /// After when the transaction must not land, in Unix seconds.
    pub max_time: Option<u64>,
    /// Declares these resources without asking the RPC, which would not simulate a transfer that fails.
    pub resources: Option<xdr::SorobanTransactionData>,
    /// Echoes these requirements instead of the chosen ones.
    pub accepted: Option<Value>,
}

/// What signing takes.
pub(super) struct Signer<'a> {
    pub(super) seed: &'a Seed,
    pub(super) network: Network,
    pub(super) rpc: &'a Rpc,
    /// In Unix seconds.
    pub(super) now: u64,
}

impl Credential {
    /// The value of the `PAYMENT-SIGNATURE` header.
    #[must_use]
    pub const fn header(&self) -> &HeaderValue {
        &self.header
    }

    /// The payload that the header carries.
    #[must_use]
    pub const fn payload(&self) -> &Value {
        &self.payload
    }

    /// The last ledger in which it can be settled.
    #[must_use]
    pub const fn expiration_ledger(&self) -> u32 {
        self.expiration_ledger
    }

    /// A credential that says `payload`, whatever that is: for tests of what is refused.
    #[must_use]
    pub fn forge(payload: Value) -> Self {
        Self { header: x402::encode(&payload), payload, expiration_ledger: 0 }
    }
}

/// Not the credential itself: whoever reads it can present it.
impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("expiration_ledger", &self.expiration_ledger)
            .finish_non_exhaustive()
    }
}

impl Signer<'_> {
    pub(super) async fn sign(
        &self,
        challenge: &Challenge,
        offer: &Offer,
        overrides: &Overrides,
    ) -> Result<Credential, Error> {
        let asked = &offer.requirements;
        let seed = overrides.seed.as_ref().unwrap_or(self.seed);
        let payer = overrides.payer.unwrap_or_else(|| Address::Account(seed.account()));
        let call = transfer::transfer_call(
            overrides.asset.unwrap_or(asked.asset),
            payer,
            overrides.payee.unwrap_or(asked.pay_to),
            overrides.amount.unwrap_or(asked.amount),
        );
        let expiration_ledger = match overrides.expiration_ledger {
            Some(ledger) => ledger,
            None => {
                let latest = self.rpc.latest_ledger().await.map_err(Error::Rpc)?;
                latest.sequence.saturating_add(life(asked.max_timeout_seconds))
            }
        };
        let nonce = overrides.nonce.unwrap_or_else(random_nonce);
        // Made here and not taken from a simulation: what is signed is what was asked, whatever the RPC says.
        let mut entry = transfer::authorization(call.clone(), payer, nonce, expiration_ledger);
        let network = overrides.network.unwrap_or(self.network);
        seed.sign_authorization(&mut entry, network).map_err(Error::Sign)?;

        let operation = invocation(call, entry);
        let max_time = overrides.max_time.unwrap_or_else(|| self.now.saturating_add(VALID_SECONDS));
        let (mut data, min_fee) = match &overrides.resources {
            Some(data) => (data.clone(), 0),
            None => self.simulate(operation.clone(), max_time).await?,
        };
        if let Some(resource_fee) = overrides.resource_fee {
            data.resource_fee = resource_fee;
        }
        let fee = overrides.fee.unwrap_or_else(|| BASE_FEE.saturating_add(min_fee));
        let mut envelope = transfer::unsigned_envelope(operation, Some(data), fee, max_time);
        if let (Some(source), xdr::TransactionEnvelope::Tx(envelope)) =
            (overrides.source, &mut envelope)
        {
            envelope.tx.source_account = source.to_muxed();
        }
        let bytes = envelope
            .to_xdr(xdr::Limits::none())
            .map_err(|_| Error::Sign(transfer::Error::Malformed))?;
        let accepted = overrides.accepted.as_ref().unwrap_or(&offer.accepted);
        let payload = payload(challenge, accepted, &STANDARD.encode(bytes));
        Ok(Credential { header: x402::encode(&payload), payload, expiration_ledger })
    }

    /// What the signed transfer needs, with its signature, nonce and expiry checked; and its least resource fee.
    async fn simulate(
        &self,
        operation: xdr::Operation,
        max_time: u64,
    ) -> Result<(xdr::SorobanTransactionData, u32), Error> {
        let envelope = transfer::unsigned_envelope(operation, None, BASE_FEE, max_time);
        match self.rpc.simulate(&envelope, AuthMode::Enforce).await.map_err(Error::Rpc)? {
            Simulation::Success(simulated) if simulated.needs_restore => Err(Error::Archived),
            Simulation::Success(simulated) => Ok((simulated.data, simulated.min_resource_fee)),
            Simulation::Failure { error, .. } => Err(Error::Refused { reason: error }),
        }
    }
}

fn invocation(
    call: xdr::InvokeContractArgs,
    entry: xdr::SorobanAuthorizationEntry,
) -> xdr::Operation {
    xdr::Operation {
        source_account: None,
        body: xdr::OperationBody::InvokeHostFunction(xdr::InvokeHostFunctionOp {
            host_function: xdr::HostFunction::InvokeContract(call),
            auth: vec![entry].try_into().expect("one entry is below the bound of 2^32"),
        }),
    }
}

/// The payload, with what the server sent echoed as it came.
fn payload(challenge: &Challenge, accepted: &Value, transaction: &str) -> Value {
    let mut payload = Map::new();
    payload.insert("x402Version".to_owned(), 2.into());
    for name in ["resource", "extensions"] {
        if let Some(value) = challenge.member(name) {
            payload.insert(name.to_owned(), value.clone());
        }
    }
    payload.insert("accepted".to_owned(), accepted.clone());
    payload.insert("payload".to_owned(), json!({ "transaction": transaction }));
    Value::Object(payload)
}

/// For how many ledgers an authorization of `seconds` is made to live.
///
/// Ledgers come every 5 to 6 seconds, and facilitators count with 5: with 6 an authorization is never too long for them,
/// even if their RPC is a ledger or two behind. It is not too short to be settled either.
const fn life(seconds: u32) -> u32 {
    let ledgers = seconds.div_ceil(6);
    if ledgers < MIN_LIFE { MIN_LIFE } else { ledgers }
}

fn random_nonce() -> i64 {
    let mut bytes = [0; 8];
    OsRng.fill_bytes(&mut bytes);
    i64::from_be_bytes(bytes)
}

const MIN_LIFE: u32 = 3;

/// In stroops; what the facilitator bids is its own affair.
const BASE_FEE: u32 = 100;

/// How long the client's own transaction could land, as the reference clients set it. Nobody sends it as it is.
const VALID_SECONDS: u64 = 300;
