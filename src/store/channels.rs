//! The store's verbs for channels: each is one step of one account, atomic, and durable before it returns.

use std::{fmt, time::Duration};

use rand_core::{OsRng, RngCore as _};
use tokio::time::{Instant, sleep};

use super::{
    Error, Store, backend,
    channel::{
        Account, Collection, Held, Lapsed, Page, Phase, Reserve, Reserving, Standing, Step,
        Stepped, Token,
    },
};
use crate::protocol::{
    money::Amount,
    stellar::{ContractId, TxHash},
};

/// The permit to end one reservation.
///
/// Dropping it is [`Store::give_back`] without waiting, so a panic or a cancelled request leaves no price reserved.
pub struct Reservation {
    hold: backend::Flight,
    token: Token,
    standing: Standing,
}

impl Reservation {
    /// Where the channel stood once the price was reserved.
    #[must_use]
    pub const fn standing(&self) -> Standing {
        self.standing
    }

    /// Which channel it is of.
    #[must_use]
    pub const fn channel(&self) -> ContractId {
        self.hold.channel()
    }
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation")
            .field("channel", &self.channel())
            .field("standing", &self.standing)
            .finish_non_exhaustive()
    }
}

impl Token {
    /// A name that no other reservation has.
    #[must_use]
    pub fn draw() -> Self {
        let mut token = [0; 16];
        OsRng.fill_bytes(&mut token);
        Self(token)
    }
}

impl Store {
    /// Takes a commitment for a request and reserves its price: challenge, amount and signature are durable when this
    /// returns. See [`Account::reserve`].
    ///
    /// # Errors
    /// As for every verb on a channel: [`Error::Unreachable`], [`Error::Stopped`]; [`Error::Corrupt`] and
    /// [`Error::UnknownFormat`] for this account. After [`Error::Unreachable`] the price may be reserved until its lease
    /// ends.
    pub async fn reserve(
        &self,
        channel: ContractId,
        ask: Reserve,
    ) -> Result<Result<Reservation, Reserving>, Error> {
        let token = ask.token;
        let flight = self.0.flight(channel, token);
        match self.step_channel(channel, Step::Reserve(Box::new(ask))).await {
            Ok(Stepped::Reserving(Reserving::Reserved(standing))) => {
                Ok(Ok(Reservation { hold: flight, token, standing }))
            }
            Ok(stepped) => {
                flight.forget();
                match stepped {
                    Stepped::Reserving(outcome) => Ok(Err(outcome)),
                    other => Err(unexpected(&other)),
                }
            }
            // It may be reserved all the same: dropping the flight gives it back then.
            Err(error) => Err(error),
        }
    }

    /// Records that a reservation bought an answer with `status`, before that answer leaves. Where the store does not
    /// answer, or takes nothing, it is asked again for some seconds.
    ///
    /// # Errors
    /// As [`Store::reserve`]; [`Error::Lapsed`] if the reservation was given back meanwhile. The answer must not leave then:
    /// unless it had lapsed, the reservation is given back as soon as can be, even if it was recorded all the same.
    ///
    /// # Cancellation
    /// As with an error.
    pub async fn keep(&self, reservation: Reservation, status: u16) -> Result<Standing, Error> {
        // Dropped unless it was kept: that takes back what is recorded or may yet be.
        let Reservation { hold, token, .. } = reservation;
        let channel = hold.channel();
        let begun = Instant::now();
        loop {
            match self.step_channel(channel, Step::Keep { token, status }).await {
                Ok(Stepped::Stands(Ok(standing))) => {
                    hold.forget();
                    self.1.tell(channel, [token]);
                    return Ok(standing);
                }
                Ok(Stepped::Stands(Err(Lapsed))) => {
                    hold.forget();
                    return Err(Error::Lapsed);
                }
                Ok(other) => return Err(unexpected(&other)),
                Err(Error::Unreachable { .. } | Error::Unavailable { .. })
                    if begun.elapsed() < KEEPING =>
                {
                    sleep(PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Gives a reservation back, since nothing was delivered for it; `tried` says whether anything was asked to.
    ///
    /// # Errors
    /// As [`Store::keep`]. It is given back when its lease ends at the latest.
    pub async fn give_back(
        &self,
        reservation: Reservation,
        tried: bool,
    ) -> Result<Standing, Error> {
        // If nobody knows whether it was carried out, dropping the hold gives back what is still reserved.
        let Reservation { hold, token, .. } = reservation;
        let stepped = self.step_channel(hold.channel(), Step::GiveBack { token, tried }).await?;
        hold.forget();
        match stepped {
            Stepped::Stands(Ok(standing)) => Ok(standing),
            Stepped::Stands(Err(Lapsed)) => Err(Error::Lapsed),
            other => Err(unexpected(&other)),
        }
    }

    /// Where `channel` stands, and how far its life has come: as this process saw it last, if that was within a second, and
    /// as the store says otherwise.
    ///
    /// # Errors
    /// As [`Store::reserve`].
    pub async fn standing(&self, channel: ContractId) -> Result<(Standing, Phase), Error> {
        if let Some(seen) = self.1.seen(channel) {
            return Ok(seen);
        }
        let account = self.account(channel).await?.unwrap_or_default();
        self.1.saw(channel, &account);
        Ok((account.standing(), account.phase()))
    }

    /// What is remembered of `channel`; `None` if nothing was ever reserved from it.
    ///
    /// # Errors
    /// As [`Store::reserve`].
    pub async fn account(&self, channel: ContractId) -> Result<Option<Account>, Error> {
        self.0.account(channel).await
    }

    /// The accounts after `after`, 256 of them or what there are.
    ///
    /// # Errors
    /// As [`Store::reserve`].
    pub async fn accounts(&self, after: Option<ContractId>) -> Result<Page, Error> {
        self.0.accounts(after).await
    }

    /// Forgets the account of a channel that has ended and was last used at `used_by`, in seconds since 1970, or before.
    /// Whether it was such a one. It may be there for an hour more, unlisted.
    ///
    /// Whoever pays from the channel afterwards must be refused by what the ledger shows of it.
    ///
    /// # Errors
    /// As [`Store::reserve`].
    pub async fn forget(&self, channel: ContractId, used_by: u64) -> Result<bool, Error> {
        self.0.forget(channel, used_by).await
    }

    /// Gives back what was reserved by gateways that are gone: what the leases say at `now`. Whether there was any.
    ///
    /// # Errors
    /// As [`Store::reserve`].
    pub async fn sweep(&self, channel: ContractId, now: u64) -> Result<bool, Error> {
        self.done(channel, Step::Sweep { now }).await
    }

    /// Has `channel` take no more commitments. Whether it did until now.
    ///
    /// # Errors
    /// As [`Store::reserve`].
    pub async fn begin_closing(&self, channel: ContractId) -> Result<bool, Error> {
        self.done(channel, Step::BeginClosing).await
    }

    /// Has `channel` take commitments again, which was to be closed and cannot be. Whether it does now. See
    /// [`Account::reopen`].
    ///
    /// # Errors
    /// As [`Store::reserve`].
    pub async fn reopen(&self, channel: ContractId) -> Result<bool, Error> {
        self.done(channel, Step::Reopen).await
    }

    /// Records the transaction that is about to be sent to collect what `channel` holds. Durable when this returns: call it
    /// before sending. `Err` is another one that is under way: find out what became of it first.
    ///
    /// # Errors
    /// As [`Store::reserve`].
    pub async fn collect(
        &self,
        channel: ContractId,
        collection: Collection,
    ) -> Result<Result<(), Collection>, Error> {
        match self.step_channel(channel, Step::Collect(collection)).await? {
            Stepped::Collecting(outcome) => Ok(outcome),
            other => Err(unexpected(&other)),
        }
    }

    /// Records whether a collection landed; not landed, it must be certain never to. `false` if it is not under way.
    ///
    /// # Errors
    /// As [`Store::reserve`].
    pub async fn collected(
        &self,
        channel: ContractId,
        transaction: TxHash,
        landed: bool,
    ) -> Result<bool, Error> {
        self.done(channel, Step::Collected { transaction, landed }).await
    }

    /// Records what the ledger says was withdrawn from `channel`. Whether that is new.
    ///
    /// # Errors
    /// As [`Store::reserve`].
    pub async fn saw_withdrawn(
        &self,
        channel: ContractId,
        withdrawn: Amount,
    ) -> Result<bool, Error> {
        self.done(channel, Step::SawWithdrawn(withdrawn)).await
    }

    /// Records that the ledger has `channel` ended, by whomever.
    ///
    /// # Errors
    /// As [`Store::reserve`].
    pub async fn channel_ended(&self, channel: ContractId) -> Result<(), Error> {
        self.done(channel, Step::Ended).await.map(drop)
    }

    /// Carries out a step, and has the account hear on the way which reservations are known here to be kept.
    /// Raises an account to what a journal or the ledger proves that it was, at `now`. Whether it was behind that. See
    /// [`Account::restore`].
    ///
    /// # Errors
    /// As [`Store::reserve`].
    pub async fn restore(
        &self,
        channel: ContractId,
        (commitment, spent): (Held, Amount),
        steps: u64,
        now: u64,
    ) -> Result<bool, Error> {
        self.done(channel, Step::Restore { commitment, spent, steps, now }).await
    }

    async fn step_channel(&self, channel: ContractId, step: Step) -> Result<Stepped, Error> {
        let told = self.1.untold(channel);
        let step = match told.is_empty() {
            true => step,
            false => Step::After { told: told.clone(), then: Box::new(step) },
        };
        let stepped = self.0.step_channel(channel, step).await;
        self.1.heard(channel, &stepped);
        if !stepped.as_ref().is_ok_and(Stepped::may_have_changed) {
            self.1.tell(channel, told);
        }
        stepped
    }

    /// Goes on with an account that was rolled back, by what the ledger says was withdrawn. Whether it was behind that. See
    /// [`Account::adopt`].
    ///
    /// # Errors
    /// As [`Store::reserve`].
    pub async fn adopt(&self, channel: ContractId, withdrawn: Amount) -> Result<bool, Error> {
        self.done(channel, Step::Adopt { withdrawn, at_least: Amount::ZERO }).await
    }

    async fn done(&self, channel: ContractId, step: Step) -> Result<bool, Error> {
        match self.step_channel(channel, step).await? {
            Stepped::Done(changed) => Ok(changed),
            other => Err(unexpected(&other)),
        }
    }
}

/// A store answers a step with what came of that step; another answer is a fault of the store.
fn unexpected(stepped: &Stepped) -> Error {
    Error::Corrupt { what: format!("a step was answered with {stepped:?}").into() }
}

/// How long [`Store::keep`] asks the store to record a delivery whose answer is ready.
pub const KEEPING: Duration = Duration::from_secs(10);

/// How soon it is asked again.
const PAUSE: Duration = Duration::from_millis(250);
