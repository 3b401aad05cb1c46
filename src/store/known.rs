//! What this process knows of channels without asking the store: where they stand, and which reservations their accounts
//! have yet to hear are known to be kept.
//!
//! Nothing depends on it: all of it may be old, or lost. A challenge that was made of an old standing costs its payer one
//! more round trip; tidings that are lost cost some bytes of an account for a while.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    Error,
    channel::{Account, MOST_UNTOLD, Phase, Reserving, Standing, Stepped, Token},
};
use crate::protocol::stellar::ContractId;

#[derive(Debug, Default)]
pub(super) struct Known(Mutex<HashMap<ContractId, Channel>>);

#[derive(Debug, Default)]
struct Channel {
    /// Reservations that are known here to be kept.
    told: Vec<Token>,
    seen: Option<Seen>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    standing: Standing,
    phase: Phase,
    at: Instant,
}

impl Known {
    /// Where `channel` stands and how far its life has come, if that was seen lately.
    pub(super) fn seen(&self, channel: ContractId) -> Option<(Standing, Phase)> {
        let seen = self.channels().get(&channel)?.seen?;
        let is_fresh = seen.at.elapsed() < FRESH;
        is_fresh.then_some((seen.standing, seen.phase))
    }

    /// Learns of `channel` from its whole account.
    pub(super) fn saw(&self, channel: ContractId, account: &Account) {
        let (standing, phase) = (account.standing(), account.phase());
        let seen = Seen { standing, phase, at: Instant::now() };
        entry(&mut self.channels(), channel).seen = Some(seen);
    }

    /// Learns of `channel` from what came of a step.
    pub(super) fn heard(&self, channel: ContractId, stepped: &Result<Stepped, Error>) {
        let (standing, phase) = match stepped {
            Ok(Stepped::Reserving(
                Reserving::Reserved(standing) | Reserving::Bought { standing, .. },
            )) => (*standing, Some(Phase::Open)),
            Ok(Stepped::Stands(Ok(standing))) => (*standing, None),
            Ok(Stepped::Reserving(Reserving::InFlight) | Stepped::Done(false)) => return,
            // It may be otherwise than it was thought to be. Who is refused is told by what is stored how to pay.
            _ => {
                if let Some(channel) = self.channels().get_mut(&channel) {
                    channel.seen = None;
                }
                return;
            }
        };
        let mut channels = self.channels();
        let known = entry(&mut channels, channel);
        let before = known.seen.filter(|seen| seen.at.elapsed() < FRESH);
        let Some(phase) = phase.or_else(|| Some(before?.phase)) else { return };
        // The answers of steps that were carried out together come in any order.
        if before.is_none_or(|before| before.standing.authorised <= standing.authorised) {
            known.seen = Some(Seen { standing, phase, at: Instant::now() });
        }
    }

    /// Remembers reservations that are known to be kept until their account hears so.
    pub(super) fn tell(&self, channel: ContractId, tokens: impl IntoIterator<Item = Token>) {
        let mut tokens = tokens.into_iter().peekable();
        if tokens.peek().is_some() {
            let mut channels = self.channels();
            let told = &mut entry(&mut channels, channel).told;
            told.extend(tokens.take(MOST_UNTOLD.saturating_sub(told.len())));
        }
    }

    /// What the account of `channel` has yet to hear.
    pub(super) fn untold(&self, channel: ContractId) -> Vec<Token> {
        let mut channels = self.channels();
        channels.get_mut(&channel).map(|known| std::mem::take(&mut known.told)).unwrap_or_default()
    }

    fn channels(&self) -> MutexGuard<'_, HashMap<ContractId, Channel>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn entry(channels: &mut HashMap<ContractId, Channel>, channel: ContractId) -> &mut Channel {
    if channels.len() >= MOST_CHANNELS && !channels.contains_key(&channel) {
        channels.clear();
    }
    channels.entry(channel).or_default()
}

/// How long it is gone by without asking: other gateways may use the channel too.
const FRESH: Duration = Duration::from_secs(1);

/// Channels that are remembered.
const MOST_CHANNELS: usize = 10_000;

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;
    use crate::{protocol::money::Amount, store::channel::Unfit};

    const CHANNEL: ContractId = ContractId([1; 32]);

    fn standing(authorised: i128, spent: i128) -> Standing {
        let units = |units| Amount::from_units(units).unwrap();
        Standing { authorised: units(authorised), spent: units(spent) }
    }

    fn reserved(standing: Standing) -> Result<Stepped, Error> {
        Ok(Stepped::Reserving(Reserving::Reserved(standing)))
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_seen_lately_need_not_be_asked_for() {
        let known = Known::default();
        assert_eq!(known.seen(CHANNEL), None);
        known.saw(CHANNEL, &Account::default());
        assert_eq!(known.seen(CHANNEL), Some((standing(0, 0), Phase::Open)));
        advance(FRESH).await;
        assert_eq!(known.seen(CHANNEL), None);
        known.heard(CHANNEL, &Ok(Stepped::Stands(Ok(standing(10, 10)))));
        assert_eq!(known.seen(CHANNEL), None, "it may be closing by now");
        known.heard(CHANNEL, &reserved(standing(20, 20)));
        known.heard(CHANNEL, &Ok(Stepped::Stands(Ok(standing(20, 10)))));
        assert_eq!(known.seen(CHANNEL), Some((standing(20, 10), Phase::Open)));
        assert_eq!(known.seen(ContractId([2; 32])), None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_comes_late_does_not_set_the_mark_back() {
        let known = Known::default();
        known.heard(CHANNEL, &reserved(standing(20, 20)));
        known.heard(CHANNEL, &reserved(standing(10, 10)));
        assert_eq!(known.seen(CHANNEL), Some((standing(20, 20), Phase::Open)));
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_refused_is_told_what_is_stored() {
        let doubts = [
            Ok(Stepped::Reserving(Reserving::Refused(Unfit::Used))),
            Ok(Stepped::Reserving(Reserving::Ended(Phase::Closing))),
            Ok(Stepped::Done(true)),
            Ok(Stepped::Collecting(Ok(()))),
            Err(Error::Lapsed),
        ];
        for doubt in doubts {
            let known = Known::default();
            known.heard(CHANNEL, &reserved(standing(10, 10)));
            known.heard(CHANNEL, &doubt);
            assert_eq!(known.seen(CHANNEL), None, "{doubt:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn tidings_are_told_once_and_channels_have_a_bound() {
        let known = Known::default();
        known.tell(CHANNEL, [Token([1; 16]), Token([2; 16])]);
        known.saw(CHANNEL, &Account::default());
        assert_eq!(known.untold(CHANNEL), [Token([1; 16]), Token([2; 16])]);
        assert_eq!(known.untold(CHANNEL), []);
        for number in 0..2 * MOST_CHANNELS {
            let mut channel = [0; 32];
            channel[..8].copy_from_slice(&number.to_be_bytes());
            known.saw(ContractId(channel), &Account::default());
            assert!(known.channels().len() <= MOST_CHANNELS);
        }
        known.tell(CHANNEL, (0..=u8::MAX).map(|byte| Token([byte; 16])));
        known.tell(CHANNEL, [Token([1; 16])]);
        assert_eq!(known.untold(CHANNEL).len(), MOST_UNTOLD);
    }
}
