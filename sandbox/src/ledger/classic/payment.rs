//! Creating accounts and paying them.

use stellar_xdr::{
    AccountEntry, AccountId, Asset, CreateAccountOp, CreateAccountResult, MuxedAccount,
    OperationResult, OperationResultTr, PaymentOp, PaymentResult,
};

use super::{Act, Done, asset, inner};
use crate::ledger::outcome::Failure;
use crate::ledger::store::Working;
use crate::ledger::{account, event};

pub(super) fn check_create(operation: &CreateAccountOp, source: &AccountId) -> Result<(), Failure> {
    if operation.starting_balance < 0 || operation.destination == *source {
        return Err(uncreated(CreateAccountResult::Malformed));
    }
    Ok(())
}

/// Makes an account and funds it from its creator.
pub(super) fn create(
    state: &mut Working,
    operation: &CreateAccountOp,
    mut source: AccountEntry,
    act: &Act<'_>,
) -> Result<Done, Failure> {
    let CreateAccountOp { destination, starting_balance: amount } = operation;
    if account::load(state, destination).is_some() {
        return Err(uncreated(CreateAccountResult::AlreadyExist));
    }
    if *amount < account::reserve(0) {
        return Err(uncreated(CreateAccountResult::LowReserve));
    }
    if !account::add_balance(&mut source, amount.saturating_neg()) {
        return Err(uncreated(CreateAccountResult::Underfunded));
    }
    account::store(state, source);
    let sequence = account::starting_sequence(act.header.sequence);
    account::store(state, account::new(destination.clone(), *amount, sequence));
    let to = MuxedAccount::from(destination.clone());
    Ok(Done {
        result: OperationResultTr::CreateAccount(CreateAccountResult::Success),
        events: vec![movement(act, &Asset::Native, &to, *amount)],
    })
}

pub(super) fn check(operation: &PaymentOp) -> Result<(), Failure> {
    if operation.amount <= 0 || !asset::is_valid(&operation.asset) {
        return Err(unpaid(PaymentResult::Malformed));
    }
    Ok(())
}

/// Pays: the receiver first and the sender after, which decides which of two reasons a failure names.
pub(super) fn pay(
    state: &mut Working,
    operation: &PaymentOp,
    act: &Act<'_>,
) -> Result<Done, Failure> {
    let PaymentOp { destination, asset, amount } = operation;
    let receiver = destination.clone().account_id();
    let to_self_in_lumens = *asset == Asset::Native && receiver == act.source;
    if !to_self_in_lumens {
        receive(state, &receiver, asset, *amount)?;
        send(state, &act.source, asset, *amount)?;
    }
    Ok(Done {
        result: OperationResultTr::Payment(PaymentResult::Success),
        events: vec![movement(act, asset, destination, *amount)],
    })
}

fn receive(
    state: &mut Working,
    receiver: &AccountId,
    asset: &Asset,
    amount: i64,
) -> Result<(), Failure> {
    let is_issuer = asset::issuer(asset) == Some(receiver);
    let Some(account) = account::load(state, receiver) else {
        // Whoever sends to a merged issuer burns.
        return if is_issuer { Ok(()) } else { Err(unpaid(PaymentResult::NoDestination)) };
    };
    if *asset == Asset::Native {
        let mut account = account.clone();
        if !account::add_balance(&mut account, amount) {
            return Err(unpaid(PaymentResult::LineFull));
        }
        account::store(state, account);
        return Ok(());
    }
    if is_issuer {
        return Ok(());
    }
    let line = asset::load(state, receiver, asset).ok_or_else(|| unpaid(PaymentResult::NoTrust))?;
    if !asset::is_authorized(line) {
        return Err(unpaid(PaymentResult::NotAuthorized));
    }
    let balance = line.balance.checked_add(amount).filter(|balance| *balance <= line.limit);
    let balance = balance.ok_or_else(|| unpaid(PaymentResult::LineFull))?;
    let mut line = line.clone();
    line.balance = balance;
    asset::store(state, line);
    Ok(())
}

fn send(
    state: &mut Working,
    sender: &AccountId,
    asset: &Asset,
    amount: i64,
) -> Result<(), Failure> {
    if *asset == Asset::Native {
        let account = account::load(state, sender)
            .ok_or_else(|| Failure::from(OperationResult::OpNoAccount))?;
        let mut account = account.clone();
        if !account::add_balance(&mut account, amount.saturating_neg()) {
            return Err(unpaid(PaymentResult::Underfunded));
        }
        account::store(state, account);
        return Ok(());
    }
    if asset::issuer(asset) == Some(sender) {
        return Ok(());
    }
    let line =
        asset::load(state, sender, asset).ok_or_else(|| unpaid(PaymentResult::SrcNoTrust))?;
    if !asset::is_authorized(line) {
        return Err(unpaid(PaymentResult::SrcNotAuthorized));
    }
    let balance = line.balance.checked_sub(amount).filter(|balance| *balance >= 0);
    let balance = balance.ok_or_else(|| unpaid(PaymentResult::Underfunded))?;
    let mut line = line.clone();
    line.balance = balance;
    asset::store(state, line);
    Ok(())
}

fn movement(
    act: &Act<'_>,
    asset: &Asset,
    to: &MuxedAccount,
    amount: i64,
) -> stellar_xdr::ContractEvent {
    event::movement(&act.network.id, asset, &act.source, to, amount, &act.frame.tx.memo)
}

fn uncreated(result: CreateAccountResult) -> Failure {
    inner(OperationResultTr::CreateAccount(result))
}

fn unpaid(result: PaymentResult) -> Failure {
    inner(OperationResultTr::Payment(result))
}
