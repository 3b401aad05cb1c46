//! Pays out: accounts with lumens, USDC, and funded payers in bulk.
//!
//! An account has one transaction waiting at a time, so that a single one could serve one request a ledger: payouts go
//! through a pool of tellers. It knows no HTTP; `faucet` speaks to people.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ed25519_dalek::SigningKey;
use stellar_xdr::{
    AccountId, ContractId, Hash, Operation, OperationBody, OperationResult, OperationResultTr,
    PaymentResult, ScVal, Transaction, TransactionResult, TransactionResultResult,
};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::channel::{self, OpenChannel};
use crate::clock::{self, Clock};
use crate::code;
use crate::contract_account::{self, ContractPayer};
use crate::dev_accounts::DevAccount;
use crate::ledger::{Ledger, SimulationFailure, Submission, TransactionRecord, TransactionStatus};
use crate::{balance, envelope};

/// Why something was not paid out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The account to be created exists.
    #[error("the account exists already")]
    AccountExists,
    /// The account to be paid does not exist.
    #[error("the account does not exist")]
    NoAccount,
    /// The account to be paid has no USDC trustline.
    #[error("the account has no USDC trustline")]
    NoTrustline,
    /// The network refused the transaction for another reason.
    #[error("the network refused the transaction: `{}`", .0.result.name())]
    Refused(Box<TransactionResult>),
    /// The transaction was accepted and then never found: an armed fault.
    #[error("the transaction was accepted and then lost")]
    Lost,
    /// The transaction could not be built.
    #[error("build the transaction")]
    Build(#[source] stellar_xdr::Error),
    /// The host refuses the call that would pay out.
    #[error("simulate the transaction")]
    Simulate(#[source] SimulationFailure),
    /// The host panicked, or the runtime is going down.
    #[error("the simulation was stopped")]
    Stopped,
    /// The teller's account is missing: the bootstrap did not run.
    #[error("no teller's account exists")]
    NoTeller,
}

/// How a payout gets into a ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inclusion {
    /// The clock closes the next ledger. With a clock by hand this is [`Inclusion::AtOnce`].
    NextLedger,
    /// A ledger is closed for it.
    AtOnce,
}

/// What a funded payer starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Funds {
    /// USDC base units, on a trustline.
    pub usdc_units: i64,
    /// Stroops above the reserve of an account with one trustline; 0 for a payer that cannot pay a fee.
    pub spare_stroops: i64,
}

/// The pool of tellers.
pub(crate) struct Treasury {
    ledger: Ledger,
    clock: Clock,
    free: Semaphore,
    tellers: Mutex<Vec<SigningKey>>,
    payers: AtomicU32,
    contract_payers: AtomicU32,
    channels: AtomicU32,
}

impl Treasury {
    /// A treasury whose tellers the bootstrap has created.
    pub(crate) fn new(ledger: Ledger, clock: Clock) -> Self {
        let tellers: Vec<_> = tellers().map(|teller| teller.key().clone()).collect();
        Self {
            ledger,
            clock,
            free: Semaphore::new(tellers.len()),
            tellers: Mutex::new(tellers),
            payers: AtomicU32::new(0),
            contract_payers: AtomicU32::new(0),
            channels: AtomicU32::new(0),
        }
    }

    /// Creates `account` with `stroops`.
    pub(crate) async fn create_account(
        &self,
        account: &AccountId,
        stroops: i64,
        inclusion: Inclusion,
    ) -> Result<Arc<TransactionRecord>, Error> {
        if balance::account(&self.ledger.snapshot(), account).is_some() {
            return Err(Error::AccountExists);
        }
        self.pay(vec![envelope::create_account(account, stroops)], &[], inclusion).await
    }

    /// Issues `units` of USDC to `account`.
    pub(crate) async fn send_usdc(
        &self,
        account: &AccountId,
        units: i64,
        inclusion: Inclusion,
    ) -> Result<Arc<TransactionRecord>, Error> {
        let snapshot = self.ledger.snapshot();
        if balance::account(&snapshot, account).is_none() {
            return Err(Error::NoAccount);
        }
        if balance::trustline(&snapshot, account).is_none() {
            return Err(Error::NoTrustline);
        }
        self.pay(vec![envelope::issue_usdc(account, units)], &[], inclusion).await
    }

    /// Creates `count` new payers with `funds` each, 19 a ledger, closing the ledgers itself.
    pub(crate) async fn new_payers(
        &self,
        count: usize,
        funds: Funds,
    ) -> Result<Vec<DevAccount>, Error> {
        let payers: Vec<_> = (0..count)
            .map(|_| self.payers.fetch_add(1, Ordering::Relaxed))
            .map(|number| DevAccount::from_label(&format!("funded payer {number}")))
            .collect();
        for group in payers.chunks(envelope::COSIGNERS) {
            let operations = group.iter().flat_map(|payer| self.funding(payer, funds)).collect();
            let signers: Vec<_> = group.iter().map(DevAccount::key).collect();
            self.pay(operations, &signers, Inclusion::AtOnce).await?;
        }
        Ok(payers)
    }

    /// Deploys a new payer that is a contract with `usdc_units`, closing the ledgers itself.
    pub(crate) async fn new_contract_payer(&self, usdc_units: i64) -> Result<ContractPayer, Error> {
        let network_id = self.ledger.network_id();
        let number = self.contract_payers.fetch_add(1, Ordering::Relaxed);
        let payer = ContractPayer::new(&network_id, number).map_err(Error::Build)?;
        let mut calls = vec![contract_account::create(&payer)];
        if usdc_units > 0 {
            calls.push(contract_account::mint(&network_id, &payer, usdc_units));
        }
        if !contract_account::is_uploaded(&self.ledger.snapshot()) {
            calls.insert(0, contract_account::upload());
        }
        for call in calls {
            self.pay(vec![call.map_err(Error::Build)?], &[], Inclusion::AtOnce).await?;
        }
        Ok(payer)
    }

    /// Opens a channel; the payer authorizes it, a teller pays the fee.
    pub(crate) async fn open_channel(&self, wanted: &OpenChannel<'_>) -> Result<ContractId, Error> {
        let number = self.channels.fetch_add(1, Ordering::Relaxed);
        let network_id = self.ledger.network_id();
        let (channel, call) = channel::open(&network_id, wanted, number).map_err(Error::Build)?;
        self.pay(vec![call], &[wanted.payer.key()], Inclusion::AtOnce).await?;
        Ok(channel)
    }

    /// Calls `function` of `channel` as `payer`; a teller pays the fee.
    pub(crate) async fn call_channel(
        &self,
        channel: &ContractId,
        payer: &DevAccount,
        function: &str,
        args: Vec<ScVal>,
    ) -> Result<(), Error> {
        let call = channel::call(channel, payer, function, args).map_err(Error::Build)?;
        self.pay(vec![call], &[payer.key()], Inclusion::AtOnce).await.map(drop)
    }

    /// Account, trustline and USDC of one new payer.
    pub(crate) fn funding(&self, payer: &DevAccount, funds: Funds) -> Vec<Operation> {
        let id = payer.account_id();
        let reserve = i64::from(self.ledger.snapshot().ledger().header.base_reserve);
        let stroops = reserve.saturating_mul(RESERVES_WITH_TRUSTLINE);
        let mut operations = vec![
            envelope::create_account(&id, stroops.saturating_add(funds.spare_stroops)),
            envelope::trust_usdc(&id),
        ];
        if funds.usdc_units > 0 {
            operations.push(envelope::issue_usdc(&id, funds.usdc_units));
        }
        operations
    }

    async fn pay(
        &self,
        operations: Vec<Operation>,
        cosigners: &[&SigningKey],
        inclusion: Inclusion,
    ) -> Result<Arc<TransactionRecord>, Error> {
        let teller = self.teller().await;
        loop {
            let transaction = self.next(&teller, operations.clone()).await?;
            let signers: Vec<_> =
                std::iter::once(&teller.key).chain(cosigners.iter().copied()).collect();
            let signed =
                envelope::sign(&self.ledger, transaction, &signers).map_err(Error::Build)?;
            match self.ledger.submit_unsigned(signed) {
                Submission::Pending { hash } => {
                    return succeeded(self.included(&hash, inclusion).await?);
                }
                // The last user of this teller went away before its transaction was in a ledger.
                Submission::TryAgainLater { .. } | Submission::Duplicate { .. } => {
                    self.next_ledger(inclusion).await;
                }
                Submission::Error { result, .. } => return Err(Error::Refused(result)),
            }
        }
    }

    /// The next transaction of `teller`; a call of a contract, which is alone, with what it needs.
    async fn next(
        &self,
        teller: &Teller<'_>,
        operations: Vec<Operation>,
    ) -> Result<Transaction, Error> {
        let next = |operations| {
            envelope::next(&self.ledger, &teller.key, operations).ok_or(Error::NoTeller)
        };
        let [call @ Operation { body: OperationBody::InvokeHostFunction(_), .. }] = &*operations
        else {
            return next(operations);
        };
        let simulated = envelope::simulate(&self.ledger, next(operations.clone())?).await;
        let found = simulated.ok_or(Error::Stopped)?.map_err(Error::Simulate)?;
        let call = code::authorized(call.clone(), found.auth).map_err(Error::Build)?;
        envelope::with_resources(next(vec![call])?, found.transaction_data).ok_or(Error::NoTeller)
    }

    async fn included(
        &self,
        hash: &Hash,
        inclusion: Inclusion,
    ) -> Result<Arc<TransactionRecord>, Error> {
        // While a ledger is closing, a transaction is neither waiting nor recorded: look again after one more.
        let mut missed = 0_u8;
        while missed < 2 {
            if let Some(record) = self.ledger.transaction(hash) {
                return Ok(record);
            }
            missed = if self.ledger.is_pending(hash) { 0 } else { missed.saturating_add(1) };
            self.next_ledger(inclusion).await;
        }
        self.ledger.transaction(hash).ok_or(Error::Lost)
    }

    async fn next_ledger(&self, inclusion: Inclusion) {
        match (inclusion, self.clock) {
            (Inclusion::NextLedger, Clock::Interval(_)) => {
                let mut closed = self.ledger.closed();
                // An error says that the ledger is gone, which this borrow of it rules out.
                drop(closed.changed().await);
            }
            (Inclusion::AtOnce, _) | (_, Clock::Manual) => {
                clock::close(&self.ledger, clock::unix_now()).await;
            }
        }
    }

    async fn teller(&self) -> Teller<'_> {
        let permit = self.free.acquire().await.expect("the semaphore is never closed");
        let key = self.lock().pop().expect("as many permits as tellers");
        Teller { key, pool: self, _permit: permit }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<SigningKey>> {
        self.tellers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A teller at work; it goes back to the pool when dropped.
struct Teller<'a> {
    key: SigningKey,
    pool: &'a Treasury,
    _permit: SemaphorePermit<'a>,
}

impl Drop for Teller<'_> {
    fn drop(&mut self) {
        self.pool.lock().push(self.key.clone());
    }
}

/// The tellers' accounts.
pub(crate) fn tellers() -> impl Iterator<Item = DevAccount> {
    (0..TELLERS).map(|number| DevAccount::from_label(&format!("teller {number}")))
}

fn succeeded(record: Arc<TransactionRecord>) -> Result<Arc<TransactionRecord>, Error> {
    if record.status == TransactionStatus::Success {
        return Ok(record);
    }
    // Two requests for one account may race past the look at the state before; the result says it too.
    let TransactionResultResult::TxFailed(results) = &record.result.result else {
        return Err(Error::Refused(Box::new(record.result.clone())));
    };
    Err(match results.first() {
        Some(OperationResult::OpInner(OperationResultTr::CreateAccount(
            stellar_xdr::CreateAccountResult::AlreadyExist,
        ))) => Error::AccountExists,
        Some(OperationResult::OpInner(OperationResultTr::Payment(PaymentResult::NoTrust))) => {
            Error::NoTrustline
        }
        _ => Error::Refused(Box::new(record.result.clone())),
    })
}

/// Two reserves for the account, one for the trustline.
const RESERVES_WITH_TRUSTLINE: i64 = 3;

const TELLERS: u32 = 32;
