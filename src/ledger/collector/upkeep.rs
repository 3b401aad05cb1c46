//! Keeps what a channel has on the ledger from lapsing.
//!
//! It moves no money, and doing it twice does no harm: nothing of it is remembered. What has lapsed already is brought
//! back by the transaction that collects.

use stellar_xdr as xdr;

use super::{Collector, Error, Outcome, Purpose, build::Work};
use crate::{
    ledger::facilitator::Failure,
    protocol::{
        channel::{Instance, balance_key, instance_key},
        stellar::ContractId,
    },
};

impl Collector {
    /// Has all that `channel` needs on the ledger live for at least `ledgers` from now: its instance, its balance, its
    /// code. Waits until it does.
    ///
    /// # Errors
    /// [`Error`]; doing it again is safe, whatever became of it.
    pub async fn extend(&self, channel: ContractId, ledgers: u32) -> Result<(), Error> {
        let instance = instance_key(channel);
        let found = self.0.rpc.snapshot(std::slice::from_ref(&instance)).await?;
        let terms = found.entries.get(&instance);
        let terms = terms.and_then(|entry| Instance::read(channel, &entry.data).ok());
        let terms = terms.ok_or_else(missing)?;
        let code = xdr::LedgerKeyContractCode { hash: xdr::Hash(terms.code) };
        let balance = balance_key(terms.token, channel);
        let keys = vec![instance, balance, xdr::LedgerKey::ContractCode(code)];
        let found = self.0.rpc.snapshot(&keys).await?;
        // Others extend code, and views of it may be old: what is half as long as wanted does for now.
        let enough = found.ledger.saturating_add(ledgers.div_euclid(2));
        let lives = |key: &xdr::LedgerKey| found.entries.get(key)?.live_until;
        let keys: Vec<_> = keys
            .into_iter()
            .filter(|key| lives(key).is_some_and(|until: u32| until < enough))
            .collect();
        if keys.is_empty() {
            return Ok(());
        }
        let turn = self.turn().await;
        let draft = self.draft(&Work::Extend { keys, ledgers }, turn.lane()).await?;
        let prepared = self.ready(channel, Purpose::Extend, draft, turn)?;
        match self.send(prepared).await {
            Outcome::Landed => Ok(()),
            Outcome::Failed => Err(Error::Unavailable(Failure::unavailable(
                "the transaction that extends it was applied, and failed",
            ))),
            Outcome::Gone(failure) | Outcome::Unknown(failure) => Err(Error::Unavailable(failure)),
        }
    }
}

fn missing() -> Error {
    Error::WouldFail(
        "the channel is not on the ledger: it is archived, or was never there".to_owned(),
    )
}
