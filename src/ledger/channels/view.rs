//! What the ledger holds of a channel, as one value, and whether a payee may rely on it.
//!
//! Pure. Whose channel it is and in which token is for those who price to compare: here stand the rules that hold for every
//! payee. Source: mpp.md, "Checks a gateway must add".

use stellar_xdr as xdr;

use super::Settings;
use crate::{
    ledger::rpc::LiveEntry,
    protocol::{
        channel::{self, Balance, Instance},
        commitment::CommitmentKey,
        money::Amount,
        stellar::{Address, ContractId},
    },
};

/// A channel as it stood after one ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Its contract.
    pub channel: ContractId,
    /// The token that it pays in.
    pub token: ContractId,
    /// Who is paid.
    pub payee: Address,
    /// Who gets back what is left. Proves nothing about who paid it in.
    pub payer: Address,
    /// What its commitments are signed by.
    pub key: CommitmentKey,
    /// What it holds, in base units.
    pub balance: Amount,
    /// Whether the ledger told that. What it did not tell of may be archived, and there all the same.
    pub is_balance_known: bool,
    /// What was paid out of it, in base units.
    pub withdrawn: Amount,
    /// How many ledgers after `close_start` the payer may take back what is left.
    pub refund_waiting_ledgers: u32,
    /// The ledger from which the payer may take back what is left, once a close has begun.
    pub close_effective_at: Option<u32>,
    /// The last ledger in which instance, balance and code can all be used without being restored.
    pub live_until: u32,
    /// The ledger that this is as of.
    pub ledger: u32,
}

impl View {
    /// All that was ever in it, in base units: what commitments may add up to.
    #[must_use]
    pub fn deposited(&self) -> Amount {
        // No token has as much as would overflow; if one says so, what it holds is all that counts.
        self.balance.checked_add(self.withdrawn).unwrap_or(self.balance)
    }

    /// The ledgers that its entries live on without being extended.
    #[must_use]
    pub const fn lives_on(&self) -> u32 {
        self.live_until.saturating_sub(self.ledger)
    }

    /// Whether its entries want to be extended: they may end while a close waits, or within a day of it.
    #[must_use]
    pub const fn ends_soon(&self) -> bool {
        self.lives_on() < self.refund_waiting_ledgers.saturating_add(DAY_LEDGERS)
    }
}

/// Why a channel is not one to be paid by. `Display` is a sentence for its payer: the rule, and what mends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Nothing stands under its address.
    #[error(
        "there is no such contract on this network, or it is archived: open the channel, or restore it"
    )]
    Missing,
    /// It is no channel.
    #[error("the contract is not a payment channel ({0}): open one with the channel contract")]
    Unreadable(channel::Error),
    /// It runs code that the operator does not trust.
    #[error("the contract runs code that is not trusted here (`{}`): open a channel with code that is", hex::encode(.0))]
    Code([u8; 32]),
    /// Its commitments could be forged.
    #[error(
        "the channel's commitment key is weak or not canonical: open a channel with an ed25519 key of full order"
    )]
    Key,
    /// Its payer could take the money back before the payee has it.
    #[error(
        "the channel's refund waiting period is {ledgers} ledgers, and {least} are asked for at least: open one that waits \
         longer"
    )]
    Waiting {
        /// What it has.
        ledgers: u32,
        /// What is asked for.
        least: u32,
    },
    /// Its payer has begun to take the money back.
    #[error("the channel is being closed, effective at ledger {effective_at}: open another one")]
    Closing {
        /// From which ledger on the payer may take back what is left.
        effective_at: u32,
    },
    /// A Stellar Asset Contract keeps no balance of it.
    #[error(
        "the channel has no balance under its token: pay a deposit in, or restore the entry if it is archived; only tokens \
         of Stellar Asset Contracts are supported"
    )]
    NoBalance,
    /// Its balance is kept in a way of the token's own.
    #[error(
        "the channel's token is not a Stellar Asset Contract ({0}), and only those are supported"
    )]
    Token(channel::Error),
    /// Its money cannot move.
    #[error(
        "the token's issuer has not authorized the channel's balance, so that it cannot be paid out"
    )]
    Frozen,
    /// Its entries, or its code, are archived or soon will be.
    #[error(
        "the channel's ledger entries live until ledger {live_until}, {least} more than the current {ledger} are asked \
         for at least: extend or restore the contract's instance, its balance and its code"
    )]
    Expiring {
        /// The last ledger in which all can be used.
        live_until: u32,
        /// The ledger that this is as of.
        ledger: u32,
        /// How many ledgers are asked for.
        least: u32,
    },
}

/// What was read of one channel, all as of `ledger`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found<'a> {
    pub(super) ledger: u32,
    pub(super) instance: Option<&'a LiveEntry>,
    /// Under its token, if the instance names one.
    pub(super) balance: Option<&'a LiveEntry>,
    /// How long the code of the instance lives; `None` where it is not on the ledger.
    pub(super) code_live_until: Option<u32>,
}

/// What it came to. A channel can be seen and not be fit; what is fit is seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Judged {
    pub(super) ledger: u32,
    pub(super) view: Option<View>,
    pub(super) unfit: Option<Unfit>,
}

/// The code that the instance under `entry` runs, if it is a contract of its own code.
pub(super) fn code_of(entry: &LiveEntry) -> Option<[u8; 32]> {
    let xdr::LedgerEntryData::ContractData(data) = &entry.data else { return None };
    let xdr::ScVal::ContractInstance(instance) = &data.val else { return None };
    match &instance.executable {
        xdr::ContractExecutable::Wasm(code) => Some(code.0),
        _ => None,
    }
}

/// Reads and vets `channel`.
pub(super) fn judge(channel: ContractId, settings: &Settings, found: &Found<'_>) -> Judged {
    let ledger = found.ledger;
    let unseen = |unfit| Judged { ledger, view: None, unfit: Some(unfit) };
    let Some(entry) = found.instance else { return unseen(Unfit::Missing) };
    // Before anything that it says is believed.
    let code = code_of(entry);
    let distrusted = code.filter(|code| !settings.code.contains(code)).map(Unfit::Code);
    let instance = match Instance::read(channel, &entry.data) {
        Ok(instance) => instance,
        Err(error) => return unseen(distrusted.unwrap_or(Unfit::Unreadable(error))),
    };
    let Ok(key) = CommitmentKey::from_bytes(instance.commitment_key) else {
        return unseen(distrusted.unwrap_or(Unfit::Key));
    };
    let (balance, balance_entry) = match found.balance {
        None => (Err(Unfit::NoBalance), None),
        Some(entry) => {
            let balance = Balance::read(instance.token, channel, &entry.data);
            (balance.map_err(Unfit::Token), Some(entry))
        }
    };
    let live_until = [Some(entry), balance_entry]
        .into_iter()
        .flatten()
        .map(|entry| entry.live_until.unwrap_or(0))
        .chain([found.code_live_until.unwrap_or(0)])
        .min();
    let view = View {
        channel,
        token: instance.token,
        payee: instance.to,
        payer: instance.from,
        key,
        balance: balance.map_or(Amount::ZERO, |balance| balance.amount),
        is_balance_known: balance.is_ok(),
        withdrawn: instance.withdrawn,
        refund_waiting_ledgers: instance.refund_waiting_period,
        close_effective_at: instance.close_effective_at,
        live_until: live_until.unwrap_or(0),
        ledger,
    };
    let unfit = distrusted.or_else(|| vet(&view, balance, settings));
    Judged { ledger, view: Some(view), unfit }
}

/// The first rule that a channel of trusted code breaks. A close comes first: it is what others act on.
fn vet(view: &View, balance: Result<Balance, Unfit>, settings: &Settings) -> Option<Unfit> {
    if let Some(effective_at) = view.close_effective_at {
        return Some(Unfit::Closing { effective_at });
    }
    let (ledgers, least) = (view.refund_waiting_ledgers, settings.min_refund_waiting_ledgers);
    if ledgers < least {
        return Some(Unfit::Waiting { ledgers, least });
    }
    match balance {
        Err(unfit) => return Some(unfit),
        // That the issuer may claw it back is not held against it: who takes an asset trusts its issuer, who could take
        // it from the payee's own account as well.
        Ok(Balance { authorized: false, .. }) => return Some(Unfit::Frozen),
        Ok(_) => {}
    }
    let View { live_until, ledger, .. } = *view;
    (view.lives_on() < LEAST_LIFE_LEDGERS).then_some(Unfit::Expiring {
        live_until,
        ledger,
        least: LEAST_LIFE_LEDGERS,
    })
}

/// About a day of ledgers of five seconds.
const DAY_LEDGERS: u32 = 17_280;
/// What a channel's entries must live for at least: about an hour, in which whoever has money in it can extend them.
const LEAST_LIFE_LEDGERS: u32 = 720;

#[cfg(test)]
mod tests;
