//! The transactions of a payee: what they do, what they may cost, and their signature.

use stellar_xdr as xdr;
use xdr::OperationBody;

use super::Error;
use crate::{
    ledger::{rpc::AuthMode, signer::Seed},
    protocol::{
        stellar::{AccountId, Address, Network, TxHash},
        transfer::{authorization, root_invocation},
    },
};

/// What a transaction is to do.
#[derive(Clone, Debug)]
pub(super) enum Work {
    /// A call of a contract that asks its source for leave, and nobody else.
    Call(xdr::InvokeContractArgs),
    /// Has the entries under these keys live for so many ledgers from now.
    Extend { keys: Vec<xdr::LedgerKey>, ledgers: u32 },
}

/// Who sends a transaction, and until when it may land.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sender<'a> {
    pub(super) account: AccountId,
    pub(super) sequence: i64,
    pub(super) valid_until: u64,
    /// How the payee gives its leave where it is not the sender.
    pub(super) leave: Option<Leave<'a>>,
}

/// The payee's leave for one call, which counts once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leave<'a> {
    pub(super) payee: &'a Seed,
    pub(super) network: Network,
    pub(super) nonce: i64,
    pub(super) expiration_ledger: u32,
}

/// A transaction that would succeed, not signed yet.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) transaction: xdr::Transaction,
    pub(super) valid_until: u64,
    pub(super) since: u32,
    /// What it costs at most, in stroops, all fees included.
    pub(super) fee: u32,
}

impl Work {
    /// As a transaction of `sender`, with the least that its simulation needs.
    pub(super) fn transaction(&self, sender: &Sender<'_>) -> xdr::Transaction {
        let Sender { account, sequence, valid_until, leave } = *sender;
        let (body, footprint) = self.body(leave);
        let operation = xdr::Operation { source_account: None, body };
        let ext = footprint.map_or(xdr::TransactionExt::V0, |footprint| {
            xdr::TransactionExt::V1(xdr::SorobanTransactionData {
                ext: xdr::SorobanTransactionDataExt::V0,
                resources: xdr::SorobanResources {
                    footprint,
                    instructions: 0,
                    disk_read_bytes: 0,
                    write_bytes: 0,
                },
                resource_fee: 0,
            })
        });
        xdr::Transaction {
            source_account: account.to_muxed(),
            fee: LEAST_BID,
            seq_num: xdr::SequenceNumber(sequence),
            cond: xdr::Preconditions::Time(xdr::TimeBounds {
                min_time: xdr::TimePoint(0),
                max_time: xdr::TimePoint(valid_until),
            }),
            memo: xdr::Memo::None,
            operations: vec![operation].try_into().expect("one operation is below the bound"),
            ext,
        }
    }

    /// What the simulation does about authorizations.
    pub(super) const fn auth_mode(&self) -> AuthMode {
        match self {
            Self::Call(_) => AuthMode::Enforce,
            Self::Extend { .. } => AuthMode::Absent,
        }
    }

    /// The operation, and the footprint where it is for the sender to say.
    fn body(&self, leave: Option<Leave<'_>>) -> (OperationBody, Option<xdr::LedgerFootprint>) {
        match self {
            Self::Call(call) => {
                // Our own words and not the simulation's: the payee allows this call and nothing beneath it.
                let auth = match leave {
                    None => xdr::SorobanAuthorizationEntry {
                        credentials: xdr::SorobanCredentials::SourceAccount,
                        root_invocation: root_invocation(call.clone()),
                    },
                    Some(leave) => leave.sign(call),
                };
                let body = OperationBody::InvokeHostFunction(xdr::InvokeHostFunctionOp {
                    host_function: xdr::HostFunction::InvokeContract(call.clone()),
                    auth: vec![auth].try_into().expect("one entry is below the bound"),
                });
                (body, None)
            }
            Self::Extend { keys, ledgers } => {
                let ext = xdr::ExtensionPoint::V0;
                let body = xdr::ExtendFootprintTtlOp { ext, extend_to: *ledgers };
                let read_only = keys.clone().try_into();
                let footprint = xdr::LedgerFootprint {
                    read_only: read_only.expect("a channel's entries are below the bound of 2^32"),
                    read_write: xdr::VecM::default(),
                };
                (OperationBody::ExtendFootprintTtl(body), Some(footprint))
            }
        }
    }
}

impl Leave<'_> {
    fn sign(self, call: &xdr::InvokeContractArgs) -> xdr::SorobanAuthorizationEntry {
        let Leave { payee, network, nonce, expiration_ledger } = self;
        let address = Address::Account(payee.account());
        let mut entry = authorization(call.clone(), address, nonce, expiration_ledger);
        let signed = payee.sign_authorization(&mut entry, network);
        signed.expect("its credentials are an address's");
        entry
    }
}

/// The fees to declare by a lane and by its sponsor, who pays: as [`fee`], where wrapping is one more operation.
pub(super) fn fees(resources: u32, bid: u32, most: u32) -> Result<(u32, u32), Error> {
    let twice = LEAST_BID.saturating_mul(2);
    let room = most.checked_sub(resources).filter(|room| *room >= twice);
    let needed = resources.saturating_add(twice);
    let room = room.ok_or(Error::TooDear { needed, most })?.div_euclid(2);
    let bid = bid.clamp(LEAST_BID, room);
    Ok((resources.saturating_add(bid), resources.saturating_add(bid.saturating_mul(2))))
}

/// The fee to declare: the resources, and `bid` for inclusion as far as `most` allows.
pub(super) fn fee(resources: u32, bid: u32, most: u32) -> Result<u32, Error> {
    let least = resources.saturating_add(LEAST_BID);
    let room = most.checked_sub(resources).filter(|room| *room >= LEAST_BID);
    let room = room.ok_or(Error::TooDear { needed: least, most })?;
    Ok(resources.saturating_add(bid.clamp(LEAST_BID, room)))
}

/// Signs by the payee; `None` if it cannot be encoded.
pub(super) fn sign(
    tx: xdr::Transaction,
    seed: &Seed,
    network: Network,
) -> Option<(xdr::TransactionEnvelope, TxHash)> {
    let hash = tx.hash(network.id()).ok()?;
    let signatures = vec![seed.sign(&hash)].try_into().ok()?;
    let envelope = xdr::TransactionV1Envelope { tx, signatures };
    Some((xdr::TransactionEnvelope::Tx(envelope), TxHash(hash)))
}

/// The network's least bid for one operation, in stroops.
pub(super) const LEAST_BID: u32 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fee_is_the_resources_and_a_bid_that_stays_below_the_ceiling() {
        assert_eq!(fee(1_000, 0, 10_000), Ok(1_100));
        assert_eq!(fee(1_000, 500, 10_000), Ok(1_500));
        assert_eq!(fee(1_000, 50_000, 10_000), Ok(10_000));
        assert_eq!(fee(9_900, 50_000, 10_000), Ok(10_000));
        for resources in [9_901, 10_000, 10_001, u32::MAX] {
            let needed = resources.saturating_add(LEAST_BID);
            assert_eq!(fee(resources, 0, 10_000), Err(Error::TooDear { needed, most: 10_000 }));
        }
    }

    #[test]
    fn a_lane_bids_twice_and_stays_below_the_same_ceiling() {
        assert_eq!(fees(1_000, 0, 10_000), Ok((1_100, 1_200)));
        assert_eq!(fees(1_000, 500, 10_000), Ok((1_500, 2_000)));
        assert_eq!(fees(1_000, 50_000, 10_000), Ok((5_500, 10_000)));
        assert_eq!(fees(9_800, 50_000, 10_000), Ok((9_900, 10_000)));
        for resources in [9_801, 10_001, u32::MAX] {
            let needed = resources.saturating_add(200);
            assert_eq!(fees(resources, 0, 10_000), Err(Error::TooDear { needed, most: 10_000 }));
        }
    }
}
