//! What a transfer does to the ledger, by the events it emits and the entries it changes.
//!
//! A transaction that succeeds proves nothing by itself: only the token's own event says that the money moved.

use stellar_xdr as xdr;

use super::{Error, Movement, authorization::symbol};
use crate::protocol::stellar::Address;

impl Movement {
    /// Checks that `events`, all the contract events of a transaction, are one event of this transfer and nothing else.
    ///
    /// # Errors
    /// [`Error`] names the first rule that they break.
    pub fn check_events(&self, events: &[xdr::ContractEvent]) -> Result<(), Error> {
        for event in events {
            self.check_source(event)?;
        }
        let event = match events {
            [] => return Err(Error::NoTransferEvent),
            [event] => event,
            _ => return Err(Error::ManyTransferEvents),
        };
        let xdr::ContractEventBody::V0(body) = &event.body;
        let [_, from, to, ..] = body.topics.as_slice() else { return Err(Error::EventNotTransfer) };
        if *from != xdr::ScVal::Address(self.payer.to_xdr()) {
            return Err(Error::EventWrongFrom);
        }
        if *to != xdr::ScVal::Address(self.payee.to_xdr()) {
            return Err(Error::EventWrongTo);
        }
        if body.data != self.event_value() { Err(Error::EventWrongAmount) } else { Ok(()) }
    }

    /// How many of `events` tell exactly this transfer.
    #[must_use]
    pub fn times_told_by(&self, events: &[xdr::ContractEvent]) -> usize {
        let tells =
            |event: &&xdr::ContractEvent| self.check_events(std::slice::from_ref(*event)).is_ok();
        events.iter().filter(tells).count()
    }

    /// Checks that `changed`, the keys of the entries that a transaction changes, belong to this transfer: balances of
    /// payer and payee, entries of the token, and the payer's own (its nonce, and the state of a contract account).
    ///
    /// # Errors
    /// [`Error::OtherChanges`].
    pub fn check_changes(&self, changed: &[xdr::LedgerKey]) -> Result<(), Error> {
        let party = |account: &xdr::AccountId| {
            let address = Address::from_xdr(&xdr::ScAddress::Account(account.clone()));
            address == Some(self.payer) || address == Some(self.payee)
        };
        let ours = |key: &xdr::LedgerKey| match key {
            xdr::LedgerKey::Account(key) => party(&key.account_id),
            xdr::LedgerKey::Trustline(key) => party(&key.account_id),
            xdr::LedgerKey::ContractData(key) => {
                key.contract == self.asset.to_xdr() || key.contract == self.payer.to_xdr()
            }
            xdr::LedgerKey::Ttl(_) => true,
            _ => false,
        };
        if changed.iter().all(ours) { Ok(()) } else { Err(Error::OtherChanges) }
    }

    /// The topics of this transfer's event, as alternatives for a search: a Stellar Asset Contract adds the asset's name.
    #[must_use]
    pub fn event_topics(&self) -> Vec<Vec<Option<xdr::ScVal>>> {
        let plain = vec![
            Some(xdr::ScVal::Symbol(symbol("transfer"))),
            Some(xdr::ScVal::Address(self.payer.to_xdr())),
            Some(xdr::ScVal::Address(self.payee.to_xdr())),
        ];
        let mut named = plain.clone();
        named.push(None);
        vec![plain, named]
    }

    /// The value of this transfer's event.
    #[must_use]
    pub fn event_value(&self) -> xdr::ScVal {
        xdr::ScVal::from(self.amount.units())
    }

    fn check_source(&self, event: &xdr::ContractEvent) -> Result<(), Error> {
        let xdr::ContractEventBody::V0(body) = &event.body;
        let transfer = xdr::ScVal::Symbol(symbol("transfer"));
        if body.topics.first() != Some(&transfer) || body.topics.len() < 3 {
            return Err(Error::EventNotTransfer);
        }
        let of_asset =
            event.contract_id.as_ref().is_some_and(|contract| contract.0.0 == self.asset.0);
        if of_asset { Ok(()) } else { Err(Error::EventWrongAsset) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{money::Amount, stellar::AccountId, stellar::Network};

    fn transfer() -> Movement {
        *super::super::tests::transfer().movement()
    }

    fn account(seed: u8) -> xdr::ScVal {
        xdr::ScVal::Address(Address::Account(AccountId([seed; 32])).to_xdr())
    }

    fn event(change: impl FnOnce(&mut Vec<xdr::ScVal>, &mut xdr::ScVal)) -> xdr::ContractEvent {
        let transfer = transfer();
        let mut topics: Vec<xdr::ScVal> =
            transfer.event_topics().remove(0).into_iter().flatten().collect();
        topics.push(xdr::ScVal::String(xdr::ScString("USDC:G".try_into().unwrap())));
        let mut data = transfer.event_value();
        change(&mut topics, &mut data);
        xdr::ContractEvent {
            ext: xdr::ExtensionPoint::V0,
            contract_id: Some(xdr::ContractId(xdr::Hash(transfer.asset.0))),
            type_: xdr::ContractEventType::Contract,
            body: xdr::ContractEventBody::V0(xdr::ContractEventV0 {
                topics: topics.try_into().unwrap(),
                data,
            }),
        }
    }

    #[test]
    fn one_event_of_exactly_this_transfer_passes() {
        let transfer = transfer();
        assert_eq!(transfer.check_events(&[event(|_, _| ())]), Ok(()));
        let unnamed = event(|topics, _| drop(topics.pop()));
        assert_eq!(transfer.check_events(&[unnamed]), Ok(()));
        let told = |events: &[xdr::ContractEvent]| transfer.times_told_by(events);
        assert_eq!(told(&[event(|topics, _| topics.clear()), event(|_, _| ())]), 1);
        assert_eq!(told(&[event(|_, data| *data = xdr::ScVal::from(1_i128))]), 0);
        assert_eq!(told(&[event(|_, _| ()), event(|_, _| ())]), 2);
    }

    #[test]
    fn b06_any_other_event_is_refused() {
        let transfer = transfer();
        let good = || event(|_, _| ());
        let foreign = |id: Option<[u8; 32]>| {
            let mut event = good();
            event.contract_id = id.map(|id| xdr::ContractId(xdr::Hash(id)));
            event
        };
        for (events, verdict) in [
            (vec![], Error::NoTransferEvent),
            (vec![good(), good()], Error::ManyTransferEvents),
            (vec![foreign(None)], Error::EventWrongAsset),
            (vec![foreign(Some(Network::Pubnet.usdc().contract.0))], Error::EventWrongAsset),
            (vec![good(), foreign(Some([9; 32]))], Error::EventWrongAsset),
            (
                vec![event(|topics, _| topics[0] = xdr::ScVal::Symbol(symbol("burn")))],
                Error::EventNotTransfer,
            ),
            (vec![event(|topics, _| topics.truncate(2))], Error::EventNotTransfer),
            (vec![event(|topics, _| topics.clear())], Error::EventNotTransfer),
            (vec![event(|topics, _| topics[1] = account(9))], Error::EventWrongFrom),
            (vec![event(|topics, _| topics[2] = account(9))], Error::EventWrongTo),
            (vec![event(|_, data| *data = xdr::ScVal::from(9_999_i128))], Error::EventWrongAmount),
            (vec![event(|_, data| *data = xdr::ScVal::U64(10_000))], Error::EventWrongAmount),
        ] {
            assert_eq!(transfer.check_events(&events), Err(verdict));
        }
        assert_eq!(transfer.amount, Amount::from_units(10_000).unwrap());
    }

    #[test]
    fn only_entries_of_the_transfer_may_change() {
        let transfer = transfer();
        let data = |contract: xdr::ScAddress| {
            xdr::LedgerKey::ContractData(xdr::LedgerKeyContractData {
                contract,
                key: xdr::ScVal::Void,
                durability: xdr::ContractDataDurability::Persistent,
            })
        };
        let balance = |account: Address| match account {
            Address::Account(account) => {
                xdr::LedgerKey::Account(xdr::LedgerKeyAccount { account_id: account.to_xdr() })
            }
            Address::Contract(contract) => data(contract.to_xdr()),
        };
        let good = [
            balance(transfer.payer),
            balance(transfer.payee),
            data(transfer.payer.to_xdr()),
            data(transfer.asset.to_xdr()),
        ];
        assert_eq!(transfer.check_changes(&good), Ok(()));
        assert_eq!(transfer.check_changes(&[]), Ok(()));
        let stranger = Address::Account(AccountId([9; 32]));
        for other in [balance(stranger), data(stranger.to_xdr()), data(transfer.payee.to_xdr())] {
            let changed = [good[0].clone(), other];
            assert_eq!(transfer.check_changes(&changed), Err(Error::OtherChanges));
        }
    }
}
