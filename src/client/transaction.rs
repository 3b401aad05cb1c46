//! A transfer as its payer signs it: an authorization in a transaction that somebody else sends, or a transaction of the
//! payer's own.
//!
//! The client makes the call and its authorization itself and takes nothing from a simulation but resources and fees:
//! what is signed is what was asked, whatever the RPC says. What the transfer pays for is its callers' affair.
//! Source: x402 v2, scheme `exact` on Stellar; MPP `stellar` charge.

use rand_core::{OsRng, RngCore as _};
use stellar_xdr as xdr;

use super::Error;
use crate::{
    ledger::{
        rpc::{AuthMode, Rpc, Simulation},
        signer::Seed,
    },
    protocol::{
        money::Amount,
        stellar::{AccountId, Address, ContractId, Network},
        transfer::{self, NOBODY},
    },
};

/// What a test changes of an honest payment; nothing by default.
///
/// What is not here can be changed in what comes out: see [`super::charge`] for the steps of a charge.
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
    /// The sequence number of the transaction.
    pub sequence: Option<i64>,
    /// After when the transaction must not land, in Unix seconds.
    pub max_time: Option<u64>,
    /// Declares these resources without asking the RPC, which would not simulate a transfer that fails.
    pub resources: Option<xdr::SorobanTransactionData>,
    /// x402: echoes these requirements instead of the chosen ones.
    pub accepted: Option<serde_json::Value>,
    /// Charge: pays as if the server paid the fee, or as if it did not.
    pub sponsored: Option<bool>,
}

/// Until when a signed transfer can be settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// The last ledger, by the payer's authorization.
    Ledger(u32),
    /// The last second, in Unix time, by the bounds of the payer's own transaction.
    Time(u64),
}

/// What signing takes.
pub(super) struct Signer<'a> {
    pub(super) seed: &'a Seed,
    pub(super) network: Network,
    pub(super) rpc: &'a Rpc,
}

/// The transfer that is wanted.
pub(super) struct Order {
    pub(super) asset: ContractId,
    pub(super) payee: Address,
    pub(super) amount: Amount,
    pub(super) sender: Sender,
    /// For how many ledgers an authorization holds.
    pub(super) life: u32,
    /// In Unix seconds.
    pub(super) max_time: u64,
}

/// Who sends the transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    /// Somebody who builds one of his own around the payer's authorization.
    Sponsor,
    /// The payer: it is the source, and pays the fee.
    Payer,
}

/// A transfer that its payer authorized. Nothing of the envelope is signed yet.
pub(super) struct Made {
    pub(super) tx: xdr::Transaction,
    pub(super) payer: Address,
    pub(super) until: Until,
}

impl Signer<'_> {
    /// Makes the transfer that is wanted, changed as `overrides` say.
    pub(super) async fn make(&self, order: &Order, overrides: &Overrides) -> Result<Made, Error> {
        let seed = overrides.seed.as_ref().unwrap_or(self.seed);
        let own = seed.account();
        let payer = overrides.payer.unwrap_or(Address::Account(own));
        let call = transfer::transfer_call(
            overrides.asset.unwrap_or(order.asset),
            payer,
            overrides.payee.unwrap_or(order.payee),
            overrides.amount.unwrap_or(order.amount),
        );
        let max_time = overrides.max_time.unwrap_or(order.max_time);
        let (source, sequence) = match order.sender {
            Sender::Sponsor => (NOBODY, overrides.sequence.unwrap_or(1)),
            Sender::Payer => (own, self.sequence(own, overrides).await?),
        };
        let (entry, until) = if payer == Address::Account(source) {
            (authorized_by_source(call.clone(), payer), Until::Time(max_time))
        } else {
            let ledger = self.expiration(order, overrides).await?;
            let nonce = overrides.nonce.unwrap_or_else(random_nonce);
            let mut entry = transfer::authorization(call.clone(), payer, nonce, ledger);
            let network = overrides.network.unwrap_or(self.network);
            seed.sign_authorization(&mut entry, network).map_err(Error::Sign)?;
            (entry, Until::Ledger(ledger))
        };

        let operation = invocation(call, entry);
        let mut tx = transaction(operation, source, sequence, max_time);
        let (mut data, min_fee) = match &overrides.resources {
            Some(data) => (data.clone(), 0),
            None => self.simulate(&tx).await?,
        };
        if let Some(resource_fee) = overrides.resource_fee {
            data.resource_fee = resource_fee;
        }
        tx.ext = xdr::TransactionExt::V1(data);
        tx.fee = overrides.fee.unwrap_or_else(|| BASE_FEE.saturating_add(min_fee));
        if let Some(source) = overrides.source {
            tx.source_account = source.to_muxed();
        }
        Ok(Made { tx, payer, until })
    }

    async fn expiration(&self, order: &Order, overrides: &Overrides) -> Result<u32, Error> {
        match overrides.expiration_ledger {
            Some(ledger) => Ok(ledger),
            None => {
                let latest = self.rpc.latest_ledger().await.map_err(Error::Rpc)?;
                Ok(latest.sequence.saturating_add(order.life))
            }
        }
    }

    pub(super) async fn sequence(
        &self,
        source: AccountId,
        overrides: &Overrides,
    ) -> Result<i64, Error> {
        if let Some(sequence) = overrides.sequence {
            return Ok(sequence);
        }
        let found = self.rpc.accounts(&[source]).await.map_err(Error::Rpc)?;
        let account = found.first().ok_or(Error::NoAccount(source))?;
        Ok(account.seq_num.0.saturating_add(1))
    }

    /// What the transfer needs, with its signature, nonce and expiry checked; and its least resource fee.
    pub(super) async fn simulate(
        &self,
        tx: &xdr::Transaction,
    ) -> Result<(xdr::SorobanTransactionData, u32), Error> {
        let envelope = transfer::unsigned(tx.clone());
        match self.rpc.simulate(&envelope, AuthMode::Enforce).await.map_err(Error::Rpc)? {
            Simulation::Success(simulated) if simulated.needs_restore => Err(Error::Archived),
            Simulation::Success(simulated) => Ok((simulated.data, simulated.min_resource_fee)),
            Simulation::Failure { error, .. } => Err(Error::Refused { reason: error }),
        }
    }
}

/// The base64 of an envelope.
pub(super) fn encode(envelope: &xdr::TransactionEnvelope) -> Result<String, Error> {
    use xdr::WriteXdr as _;
    envelope.to_xdr_base64(xdr::Limits::none()).map_err(|_| Error::Sign(transfer::Error::Malformed))
}

/// For how many ledgers an authorization of `seconds` is made to live.
///
/// Ledgers come every 5 to 6 seconds, and servers count with 5: with 6 an authorization is never too long for them, even
/// if their RPC is a ledger or two behind.
pub(super) const fn life(seconds: u32) -> u32 {
    seconds.div_ceil(6)
}

/// A transaction of one operation, of which nothing is known yet but its source and its end.
pub(super) fn transaction(
    operation: xdr::Operation,
    source: AccountId,
    sequence: i64,
    max_time: u64,
) -> xdr::Transaction {
    xdr::Transaction {
        source_account: source.to_muxed(),
        fee: BASE_FEE,
        seq_num: xdr::SequenceNumber(sequence),
        cond: xdr::Preconditions::Time(xdr::TimeBounds {
            min_time: xdr::TimePoint(0),
            max_time: xdr::TimePoint(max_time),
        }),
        memo: xdr::Memo::None,
        operations: vec![operation].try_into().expect("one operation is below the bound of 100"),
        ext: xdr::TransactionExt::V0,
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

/// The authorization of a call by the signature of the whole transaction.
fn authorized_by_source(
    call: xdr::InvokeContractArgs,
    payer: Address,
) -> xdr::SorobanAuthorizationEntry {
    xdr::SorobanAuthorizationEntry {
        credentials: xdr::SorobanCredentials::SourceAccount,
        root_invocation: transfer::authorization(call, payer, 0, 0).root_invocation,
    }
}

fn random_nonce() -> i64 {
    let mut bytes = [0; 8];
    OsRng.fill_bytes(&mut bytes);
    i64::from_be_bytes(bytes)
}

/// In stroops, for inclusion; what a sponsor bids is its own affair.
pub(super) const BASE_FEE: u32 = 100;
