//! Accounts as bytes: a version, the fields in a fixed order, and a checksum over them and their channel.

use crate::{
    protocol::{
        money::Amount,
        stellar::{ContractId, TxHash},
    },
    store::{
        Binding, Error,
        bytes::{Reader, checksum, put_digest},
    },
};

use super::{
    Account, ChallengeDigest, Claimed, Collection, Held, Phase, Reserved, Token, Use, UseState,
};

/// Writes the account of `channel`.
pub(in crate::store) fn encode(channel: ContractId, account: &Account) -> Vec<u8> {
    let (held, uses) = (account.held.len(), account.uses.len());
    let room = uses.saturating_mul(USE).saturating_add(held.saturating_mul(HELD));
    let mut out = Vec::with_capacity(room.saturating_add(HEAD));
    out.push(FORMAT);
    put_head(&mut out, account);
    put_count(&mut out, account.held.len());
    for held in &account.held {
        put_held(&mut out, held);
    }
    put_count(&mut out, account.uses.len());
    for used in &account.uses {
        put_use(&mut out, used);
    }
    let sum = checksum(&channel.0, &out);
    out.extend(sum);
    out
}

/// Reads the account of `channel`.
///
/// # Errors
/// [`Error::UnknownFormat`] or [`Error::Corrupt`].
pub(in crate::store) fn decode(channel: ContractId, bytes: &[u8]) -> Result<Account, Error> {
    match bytes.first() {
        Some(&FORMAT) => {}
        Some(&found) => return Err(Error::UnknownFormat { found, known: FORMAT }),
        None => return Err(corrupt(channel)),
    }
    read(channel, bytes).ok_or_else(|| corrupt(channel))
}

fn read(channel: ContractId, bytes: &[u8]) -> Option<Account> {
    let (body, sum) = bytes.split_last_chunk()?;
    if checksum(&channel.0, body) != *sum {
        return None;
    }
    let mut reader = Reader::new(body.get(1..)?);
    let reader = &mut reader;
    let mut account = read_head(reader)?;
    account.held = list(reader, read_held)?;
    account.uses = list(reader, read_use)?;
    reader.is_done().then_some(account)
}

/// What an account has once.
pub(super) fn put_head(out: &mut Vec<u8>, account: &Account) {
    for amount in [account.authorised, account.spent, account.withdrawn, account.floor] {
        put_amount(out, amount);
    }
    match account.phase {
        Phase::Open => out.push(OPEN),
        Phase::Closing => out.push(CLOSING),
        Phase::Closed { transaction } => {
            out.push(CLOSED);
            put_digest(out, transaction.map(|TxHash(hash)| hash));
        }
    }
    match &account.collection {
        None => out.push(0),
        Some(collection) => {
            out.push(1);
            out.push(collection.closes.into());
            put_amount(out, collection.amount);
            out.extend(collection.transaction.0);
            out.extend(collection.valid_until.to_be_bytes());
            out.extend(collection.since_ledger.to_be_bytes());
        }
    }
    // 0 is no instant at which anything was sold.
    out.extend(account.unsettled_since.unwrap_or(0).to_be_bytes());
    out.extend(account.used_at.to_be_bytes());
    out.extend(account.steps.to_be_bytes());
    put_amount(out, account.deposited);
    out.push(account.sure.is_some().into());
    if let Some(sure) = &account.sure {
        put_held(out, sure);
    }
}

/// An account without its lists.
pub(super) fn read_head(reader: &mut Reader<'_>) -> Option<Account> {
    Some(Account {
        authorised: amount(reader)?,
        spent: amount(reader)?,
        withdrawn: amount(reader)?,
        floor: amount(reader)?,
        phase: match reader.u8()? {
            OPEN => Phase::Open,
            CLOSING => Phase::Closing,
            CLOSED => Phase::Closed { transaction: reader.digest()?.map(TxHash) },
            _ => return None,
        },
        collection: match reader.u8()? {
            0 => None,
            1 => Some(Collection {
                closes: flag(reader)?,
                amount: amount(reader)?,
                transaction: TxHash(reader.array()?),
                valid_until: reader.u64()?,
                since_ledger: reader.u32()?,
            }),
            _ => return None,
        },
        unsettled_since: Some(reader.u64()?).filter(|since| *since > 0),
        used_at: reader.u64()?,
        steps: reader.u64()?,
        deposited: amount(reader)?,
        sure: match flag(reader)? {
            true => Some(read_held(reader)?),
            false => None,
        },
        held: Vec::new(),
        uses: Vec::new(),
    })
}

pub(super) fn put_held(out: &mut Vec<u8>, held: &Held) {
    put_amount(out, held.amount);
    out.extend(held.signature);
}

pub(super) fn read_held(reader: &mut Reader<'_>) -> Option<Held> {
    Some(Held { amount: amount(reader)?, signature: reader.array()? })
}

pub(super) fn put_use(out: &mut Vec<u8>, used: &Use) {
    put_amount(out, used.amount);
    out.extend(used.challenge.0);
    match &used.state {
        UseState::Told { status, binding } => {
            out.push(TOLD);
            out.extend(status.to_be_bytes());
            out.extend(binding);
        }
        UseState::InFlight(reserved) => {
            out.push(IN_FLIGHT);
            put_reserved(out, reserved);
        }
        UseState::Kept { status, reserved } => {
            out.push(KEPT);
            out.extend(status.to_be_bytes());
            put_reserved(out, reserved);
        }
        UseState::Returned(claim) => {
            out.push(RETURNED);
            put_claim(out, claim);
        }
    }
}

pub(super) fn read_use(reader: &mut Reader<'_>) -> Option<Use> {
    Some(Use {
        amount: amount(reader)?,
        challenge: ChallengeDigest(reader.array()?),
        state: match reader.u8()? {
            TOLD => UseState::Told { status: reader.u16()?, binding: reader.array()? },
            IN_FLIGHT => UseState::InFlight(read_reserved(reader)?),
            KEPT => UseState::Kept { status: reader.u16()?, reserved: read_reserved(reader)? },
            RETURNED => UseState::Returned(read_claim(reader)?),
            _ => return None,
        },
    })
}

fn put_reserved(out: &mut Vec<u8>, reserved: &Reserved) {
    out.extend(reserved.token.0);
    out.extend(reserved.lease_until.to_be_bytes());
    put_amount(out, reserved.price);
    put_claim(out, &reserved.claim);
}

fn read_reserved(reader: &mut Reader<'_>) -> Option<Reserved> {
    Some(Reserved {
        token: Token(reader.array()?),
        lease_until: reader.u64()?,
        price: amount(reader)?,
        claim: read_claim(reader)?,
    })
}

fn put_claim(out: &mut Vec<u8>, claim: &Claimed) {
    out.extend(claim.binding.0);
    out.push(claim.attempts);
    out.push(claim.most);
    out.extend(claim.until.to_be_bytes());
}

fn read_claim(reader: &mut Reader<'_>) -> Option<Claimed> {
    Some(Claimed {
        binding: Binding(reader.array()?),
        attempts: reader.u8()?,
        most: reader.u8()?,
        until: reader.u64()?,
    })
}

pub(super) fn put_amount(out: &mut Vec<u8>, amount: Amount) {
    out.extend(amount.units().to_be_bytes());
}

pub(super) fn amount(reader: &mut Reader<'_>) -> Option<Amount> {
    Amount::from_units(i128::from_be_bytes(reader.array()?))
}

fn flag(reader: &mut Reader<'_>) -> Option<bool> {
    match reader.u8()? {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

/// The lists of an account are bounded far below this.
pub(super) fn put_count(out: &mut Vec<u8>, count: usize) {
    out.extend(u16::try_from(count).unwrap_or(u16::MAX).to_be_bytes());
}

pub(super) fn list<T>(
    reader: &mut Reader<'_>,
    mut item: impl FnMut(&mut Reader<'_>) -> Option<T>,
) -> Option<Vec<T>> {
    let count = reader.u16()?;
    (0..count).map(|_| item(reader)).collect()
}

fn corrupt(channel: ContractId) -> Error {
    Error::Corrupt { what: format!("the account of channel {channel} does not read").into() }
}

/// What the parts of most accounts take, in bytes: more than that is made room for when it comes.
const HEAD: usize = 512;
const HELD: usize = 80;
const USE: usize = 64;

/// Of an account, and of the changes of one.
pub(in crate::store) const FORMAT: u8 = 2;

const OPEN: u8 = 0;
const CLOSING: u8 = 1;
const CLOSED: u8 = 2;

const TOLD: u8 = 1;
const IN_FLIGHT: u8 = 2;
const RETURNED: u8 = 3;
const KEPT: u8 = 4;
