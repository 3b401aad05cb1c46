//! Bounds what channels that nobody knows may cost: how often one client may have some looked up, and for how long a
//! channel that is not fit is not looked up again. All of it has a fixed size.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    time::Duration,
};

use tokio::time::Instant;

use super::Unfit;
use crate::{protocol::stellar::ContractId, subnet};

/// Who asks, and what is not worth asking.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    /// When each client has its whole allowance again.
    clients: HashMap<IpAddr, Instant>,
    swept: Option<Instant>,
    unfit: HashMap<ContractId, (Unfit, Instant)>,
    /// Those of `unfit`, oldest first.
    order: VecDeque<(ContractId, Instant)>,
}

impl Strangers {
    /// Lets `client` have one channel looked up, or tells after how long it may.
    pub(super) fn admit(&mut self, client: IpAddr, now: Instant) -> Result<(), Duration> {
        let client = subnet::of(client);
        let whole_at = self.clients.get(&client).copied().unwrap_or(now).max(now);
        let Some(then) = whole_at.checked_add(EACH) else { return Err(EACH) };
        let owed = then.saturating_duration_since(now);
        if let Some(wait) = owed.checked_sub(ALLOWANCE).filter(|wait| !wait.is_zero()) {
            return Err(wait);
        }
        if !self.clients.contains_key(&client) && !self.has_room(now) {
            return Err(SWEEP_PAUSE);
        }
        self.clients.insert(client, then);
        Ok(())
    }

    /// Why `channel` was not fit, if that was a moment ago.
    pub(super) fn unfit(&self, channel: ContractId, now: Instant) -> Option<Unfit> {
        let (unfit, until) = self.unfit.get(&channel)?;
        (now < *until).then_some(*unfit)
    }

    /// Remembers for a moment that `channel` is not fit. Not for long: it may be opened, or mended, any time.
    pub(super) fn refuse(&mut self, channel: ContractId, unfit: Unfit, now: Instant) {
        let Some(until) = now.checked_add(UNFIT_LIFE) else { return };
        self.unfit.insert(channel, (unfit, until));
        self.order.push_back((channel, until));
        while let Some((oldest, until)) = self.order.front().copied()
            && (until <= now || self.order.len() > MOST_UNFIT)
        {
            self.order.pop_front();
            // It may have been refused again since, and have a later end.
            if self.unfit.get(&oldest).is_some_and(|(_, end)| *end <= until) {
                self.unfit.remove(&oldest);
            }
        }
    }

    /// Whether there is room for one client more. Those who have their whole allowance need no place.
    fn has_room(&mut self, now: Instant) -> bool {
        let rested = self.swept.is_none_or(|at| now.saturating_duration_since(at) >= SWEEP_PAUSE);
        if self.clients.len() >= MOST_CLIENTS && rested {
            self.swept = Some(now);
            self.clients.retain(|_, whole_at| *whole_at > now);
        }
        self.clients.len() < MOST_CLIENTS
    }
}

/// A client gets one look-up back each such time,
const EACH: Duration = Duration::from_millis(200);
/// and has at most fifty.
const ALLOWANCE: Duration = Duration::from_secs(10);
const MOST_CLIENTS: usize = 10_000;
const SWEEP_PAUSE: Duration = Duration::from_secs(1);
const MOST_UNFIT: usize = 10_000;
/// Less than a ledger, so that a channel is found soon after it was opened.
const UNFIT_LIFE: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    fn client(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    fn channel(number: u32) -> ContractId {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        ContractId(bytes)
    }

    #[test]
    fn a_client_has_an_allowance_that_comes_back_and_others_have_their_own() {
        let now = Instant::now();
        let mut strangers = Strangers::default();
        let admitted = (0..10_000).filter(|_| strangers.admit(client(1), now).is_ok()).count();
        assert_eq!(admitted, 50);
        assert_eq!(strangers.admit(client(1), now), Err(EACH));
        assert_eq!(strangers.admit(client(2), now), Ok(()));
        assert_eq!(strangers.admit(client(1), now + EACH), Ok(()));
        assert_eq!(strangers.admit(client(1), now + EACH), Err(EACH));
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_client() {
        let now = Instant::now();
        let mut strangers = Strangers::default();
        let address = |low: u16| IpAddr::from([0x2001, 0xdb8, 0, 7, low, 0, 0, low]);
        let admitted = (0..1_000).filter(|low| strangers.admit(address(*low), now).is_ok()).count();
        assert_eq!(admitted, 50);
        let neighbour = IpAddr::from([0x2001, 0xdb8, 0, 8, 0, 0, 0, 1]);
        assert_eq!(strangers.admit(neighbour, now), Ok(()));
    }

    #[test]
    fn the_table_of_clients_is_bounded_and_frees_itself() {
        let now = Instant::now();
        let mut strangers = Strangers::default();
        for number in 0..20_000 {
            let admitted = strangers.admit(client(number), now);
            assert_eq!(admitted.is_ok(), number < 10_000);
        }
        assert_eq!(strangers.clients.len(), MOST_CLIENTS);
        assert_eq!(strangers.admit(client(7), now), Ok(()));
        assert_eq!(strangers.admit(client(20_000), now + SWEEP_PAUSE), Ok(()));
        assert!(strangers.clients.len() < 10);
    }

    #[test]
    fn what_is_not_fit_is_remembered_for_a_moment_and_never_more_than_so_many() {
        let now = Instant::now();
        let mut strangers = Strangers::default();
        strangers.refuse(channel(1), Unfit::Missing, now);
        assert_eq!(strangers.unfit(channel(1), now), Some(Unfit::Missing));
        assert_eq!(strangers.unfit(channel(2), now), None);
        assert_eq!(strangers.unfit(channel(1), now + UNFIT_LIFE), None);
        // Refused again: the first end is not the last.
        let later = now + Duration::from_secs(2);
        strangers.refuse(channel(1), Unfit::Key, later);
        strangers.refuse(channel(2), Unfit::Missing, now + UNFIT_LIFE);
        assert_eq!(strangers.unfit(channel(1), now + UNFIT_LIFE), Some(Unfit::Key));
        for number in 10..50_000 {
            strangers.refuse(channel(number), Unfit::Missing, later);
        }
        assert!(strangers.unfit.len() <= MOST_UNFIT && strangers.order.len() <= MOST_UNFIT);
        assert_eq!(strangers.unfit(channel(10), later), None);
        assert_eq!(strangers.unfit(channel(49_999), later), Some(Unfit::Missing));
    }
}
