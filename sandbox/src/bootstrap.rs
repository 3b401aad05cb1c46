//! What stands on the network when it starts: tellers, the USDC issuer and contract, the dev accounts, and the code of
//! channels.

use ed25519_dalek::SigningKey;
use stellar_xdr::{
    ContractExecutable, ContractIdPreimage, CreateContractArgs, HostFunction, Operation,
    TransactionEnvelope, TransactionResult,
};

use crate::channel::{CHANNEL_FACTORY_WASM, CHANNEL_WASM};
use crate::dev_accounts::DevAccounts;
use crate::ledger::{Ledger, SimulationFailure, Submission, TransactionStatus};
use crate::treasury::{self, Funds, Treasury};
use crate::usdc::{self, UNITS};
use crate::{clock, code, envelope};

/// Why the network did not come up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A transaction of the bootstrap could not be built.
    #[error("build the bootstrap's transaction")]
    Build(#[source] stellar_xdr::Error),
    /// The ledger holds no root account or no teller, or one of its numbers is off.
    #[error("no account can pay for the bootstrap")]
    NoRoot,
    /// The USDC contract, or the code of channels, could not be simulated.
    #[error("simulate the deployment of contracts")]
    Simulate(#[source] SimulationFailure),
    /// The host panicked, or the runtime is going down.
    #[error("the bootstrap was stopped")]
    Stopped,
    /// The ledger refused one of the bootstrap's transactions.
    #[error("the ledger refused the bootstrap: {0:?}")]
    Refused(Box<TransactionResult>),
    /// One of the bootstrap's transactions did not get into a ledger.
    #[error("a transaction of the bootstrap did not get into a ledger: {0:?}")]
    Lost(Box<Submission>),
}

/// Sets the network up, in two ledgers.
pub(crate) async fn run(
    ledger: &Ledger,
    treasury: &Treasury,
    accounts: &DevAccounts,
) -> Result<(), Error> {
    let root = ledger.root();
    let mut operations: Vec<_> = treasury::tellers()
        .map(|teller| envelope::create_account(&teller.account_id(), TELLER_STROOPS))
        .collect();
    operations.push(envelope::create_account(&usdc::issuer(), ISSUER_STROOPS));
    let dev = [
        (&accounts.recipient, Funds { usdc_units: 0, spare_stroops: xlm_in_all(100) }),
        (&accounts.payer, Funds { usdc_units: usdc_units(1_000), spare_stroops: xlm_in_all(100) }),
        (&accounts.zero_xlm_payer, Funds { usdc_units: usdc_units(100), spare_stroops: 0 }),
        (&accounts.sponsor, Funds { usdc_units: 0, spare_stroops: xlm_in_all(10_000) }),
    ];
    for (account, funds) in dev {
        operations.extend(treasury.funding(account, funds));
    }
    let signers = [
        &root,
        accounts.recipient.key(),
        accounts.payer.key(),
        accounts.zero_xlm_payer.key(),
        accounts.sponsor.key(),
    ];
    let transaction = envelope::next(ledger, &root, operations).ok_or(Error::NoRoot)?;
    apply(ledger, vec![envelope::sign(ledger, transaction, &signers).map_err(Error::Build)?])
        .await?;

    // An account has one transaction a ledger, so that each of these has a source of its own.
    let uploads = [CHANNEL_WASM, CHANNEL_FACTORY_WASM].map(|wasm| code::upload(None, wasm));
    let tellers: Vec<_> = treasury::tellers().take(uploads.len()).collect();
    let mut calls = vec![(&root, deploy_usdc())];
    for (teller, upload) in tellers.iter().zip(uploads) {
        calls.push((teller.key(), upload.map_err(Error::Build)?));
    }
    let mut deployments = Vec::new();
    for (source, call) in calls {
        deployments.push(deployment(ledger, source, call).await?);
    }
    apply(ledger, deployments).await
}

/// The signed transaction of `source` that makes `call`, which needs no authorization.
async fn deployment(
    ledger: &Ledger,
    source: &SigningKey,
    call: Operation,
) -> Result<TransactionEnvelope, Error> {
    let deploy = envelope::next(ledger, source, vec![call]).ok_or(Error::NoRoot)?;
    let found = envelope::simulate(ledger, deploy.clone()).await.ok_or(Error::Stopped)?;
    let found = found.map_err(Error::Simulate)?.transaction_data;
    let deploy = envelope::with_resources(deploy, found).ok_or(Error::NoRoot)?;
    envelope::sign(ledger, deploy, &[source]).map_err(Error::Build)
}

/// Gets `signed` into the next ledger.
async fn apply(ledger: &Ledger, signed: Vec<TransactionEnvelope>) -> Result<(), Error> {
    let mut submissions = Vec::new();
    for signed in signed {
        let submission = ledger.submit_unsigned(signed);
        let hash = match &submission {
            Submission::Pending { hash } => hash.clone(),
            Submission::Error { result, .. } => return Err(Error::Refused(result.clone())),
            _ => return Err(Error::Lost(Box::new(submission))),
        };
        submissions.push((hash, submission));
    }
    clock::close(ledger, clock::unix_now()).await.ok_or(Error::Stopped)?;
    for (hash, submission) in submissions {
        match ledger.transaction(&hash) {
            Some(record) if record.status == TransactionStatus::Success => {}
            Some(record) => return Err(Error::Refused(Box::new(record.result.clone()))),
            None => return Err(Error::Lost(Box::new(submission))),
        }
    }
    Ok(())
}

fn deploy_usdc() -> Operation {
    let host_function = HostFunction::CreateContract(CreateContractArgs {
        contract_id_preimage: ContractIdPreimage::Asset(usdc::asset()),
        executable: ContractExecutable::StellarAsset,
    });
    code::invoke(None, host_function)
}

/// The stroops above the reserve of an account that holds `xlm` lumens in all.
fn xlm_in_all(xlm: i64) -> i64 {
    xlm.saturating_mul(UNITS).saturating_sub(RESERVE_STROOPS)
}

fn usdc_units(whole: i64) -> i64 {
    whole.saturating_mul(UNITS)
}

/// The reserve of an account with one trustline, at half a lumen an entry.
const RESERVE_STROOPS: i64 = 15_000_000;

/// 100 million lumens: a teller creates accounts of 10,000.
const TELLER_STROOPS: i64 = 1_000_000_000_000_000;

const ISSUER_STROOPS: i64 = 1_000_000_000;
