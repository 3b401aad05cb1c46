//! The steps of an account.

use super::{
    Account, ChallengeDigest, Claimed, Collection, Held, Lapsed, MOST_HELD, MOST_IN_FLIGHT,
    MOST_UNTOLD, Phase, Reserve, Reserved, Reserving, Standing, Token, Unfit, Use, UseState,
    WINDOW,
};
use crate::{
    protocol::{money::Amount, stellar::TxHash},
    store::Binding,
};

impl Account {
    /// Takes a commitment for a request: claims its challenge and its amount, keeps its signature, and reserves the
    /// price. Unless the outcome is [`Reserving::Reserved`], nothing of the account changes but what [`Account::sweep`]
    /// would change.
    ///
    /// Asked again with the same token it answers the same, so one whose answer was lost may be repeated.
    pub fn reserve(&mut self, ask: &Reserve) -> Reserving {
        self.sweep(ask.now);
        if self.uses.iter().any(|used| used.is_in_flight_for(ask.token)) {
            return Reserving::Reserved(self.standing());
        }
        let known = ask.at_least.max(ask.withdrawn).max(self.withdrawn);
        if self.authorised < known {
            return Reserving::RolledBack { found: self.authorised, at_least: known };
        }
        if self.phase != Phase::Open {
            return Reserving::Ended(self.phase);
        }
        let again = match self.find(ask.commitment.amount) {
            Some(used) => match self.again(used, ask) {
                Ok(claim) => Some(claim),
                Err(outcome) => return outcome,
            },
            None => None,
        };
        if again.is_none()
            && let Err(unfit) = self.fits(ask)
        {
            return Reserving::Refused(unfit);
        }
        if ask.commitment.amount > ask.deposited {
            return Reserving::Refused(Unfit::OverDeposit);
        }
        let authorised = self.authorised.max(ask.commitment.amount);
        let Some(spent) = self.spent.checked_add(ask.price) else {
            return Reserving::Refused(Unfit::OverDeposit);
        };
        if authorised < spent {
            return Reserving::Refused(Unfit::Short { needed: spent });
        }
        let withdrawn = self.withdrawn.max(ask.withdrawn);
        if spent.less(withdrawn) > ask.most_unsettled {
            return Reserving::Unsettled;
        }
        if self.flights() >= MOST_IN_FLIGHT {
            return Reserving::Busy;
        }
        let claim = again.unwrap_or_else(|| Claimed {
            binding: ask.binding,
            attempts: 0,
            most: ask.redelivery.attempts,
            until: ask.now.saturating_add(ask.redelivery.within.as_secs()),
        });
        let claim = Claimed { attempts: claim.attempts.saturating_add(1), ..claim };
        self.put(Use {
            amount: ask.commitment.amount,
            challenge: ask.challenge,
            state: UseState::InFlight(Reserved {
                token: ask.token,
                lease_until: ask.lease_until,
                price: ask.price,
                claim,
            }),
        });
        self.spent = spent;
        self.authorised = authorised;
        self.withdrawn = withdrawn;
        self.used_at = self.used_at.max(ask.now);
        self.unsettled_since.get_or_insert(ask.now);
        self.settle_clock();
        self.grow(ask.deposited);
        self.hold(ask.commitment);
        self.trim();
        Reserving::Reserved(self.standing())
    }

    /// Records that a reservation bought an answer with `status`; it is spent for good, unless its caller does not hear so
    /// and takes it back.
    ///
    /// Asked again with the same token it answers the same, until [`Account::told`].
    ///
    /// # Errors
    /// [`Lapsed`] if it was given back meanwhile, or if what ends the channel does not collect it: the answer must not leave.
    pub fn keep(&mut self, token: Token, status: u16) -> Result<Standing, Lapsed> {
        let (delivered, last) = (self.delivered(), self.last_collected());
        let standing = self.standing();
        let used = self.reserved_for(token).ok_or(Lapsed)?;
        let UseState::InFlight(reserved) = used.state else { return Ok(standing) };
        if let Some(last) = last
            && delivered.checked_add(reserved.price).is_none_or(|delivered| delivered > last)
        {
            return Err(Lapsed);
        }
        used.state = UseState::Kept { status, reserved };
        self.trim();
        Ok(standing)
    }

    /// Hears that the caller of [`Account::keep`] knows that its reservation is kept: it neither asks again nor takes it back.
    pub fn told(&mut self, token: Token) {
        if let Some(used) = self.reserved_for(token) {
            used.hear();
            self.trim();
        }
    }

    /// Gives a reservation back: nothing was delivered for it. If nothing was even asked to deliver, which `tried` says,
    /// that counts as no attempt.
    ///
    /// So is one that was kept, as long as its caller was not told. Of a channel that was closed meanwhile its payer has
    /// nothing of that: what was delivered was collected.
    ///
    /// # Errors
    /// [`Lapsed`] if it was given back before.
    pub fn give_back(&mut self, token: Token, tried: bool) -> Result<Standing, Lapsed> {
        let used = self.reserved_for(token).ok_or(Lapsed)?;
        if let UseState::InFlight(reserved) | UseState::Kept { reserved, .. } = used.state {
            let mut claim = reserved.claim;
            if !tried {
                claim.attempts = claim.attempts.saturating_sub(1);
            }
            used.state = UseState::Returned(claim);
            self.spent = self.spent.less(reserved.price);
        }
        self.settle_clock();
        self.trim();
        Ok(self.standing())
    }

    /// Gives back every reservation whose lease ended before `now`: whoever made it is gone. Whether there was one.
    ///
    /// So is whoever has not said for long that it knows that its reservation was kept; that one stays kept.
    pub fn sweep(&mut self, now: u64) -> bool {
        for used in &mut self.uses {
            if let UseState::Kept { reserved, .. } = used.state
                && reserved.lease_until.saturating_add(DEAF_SECONDS) < now
            {
                used.hear();
            }
        }
        self.give_back_where(|lease_until| lease_until < now)
    }

    /// Gives back every reservation: whoever made them is gone. Whether there was one.
    pub fn give_back_all(&mut self) -> bool {
        self.give_back_where(|_| true)
    }

    /// Takes no more commitments: what is in flight ends, and then the channel is closed on the ledger. Whether that is
    /// new.
    pub fn begin_closing(&mut self) -> bool {
        let is_new = self.phase == Phase::Open;
        if is_new {
            self.phase = Phase::Closing;
        }
        is_new
    }

    /// Has a channel take commitments again that was to be closed and cannot be: what was in flight has bought nothing. Whether
    /// that is new; as long as something is in flight, or on its way to the ledger, it is not.
    pub fn reopen(&mut self) -> bool {
        let is_over = self.collection.is_none() && self.flights() == 0;
        let is_new = self.phase == Phase::Closing && is_over;
        if is_new {
            self.phase = Phase::Open;
        }
        is_new
    }

    /// Records the transaction that is about to be sent to collect. One at a time. One that closes the channel has it
    /// take no more commitments, as [`Account::begin_closing`].
    ///
    /// # Errors
    /// The one that is under way, if there is one; the same one again is no error.
    pub fn collect(&mut self, collection: Collection) -> Result<(), Collection> {
        match &self.collection {
            Some(other) if *other != collection => Err(other.clone()),
            _ => {
                if collection.closes {
                    self.begin_closing();
                }
                self.collection = Some(collection);
                Ok(())
            }
        }
    }

    /// Records what became of a collection: whether it landed. Does nothing, and says `false`, if that one is not under
    /// way: whoever found out first has recorded it.
    pub fn collected(&mut self, transaction: TxHash, landed: bool) -> bool {
        let Some(collection) = self.collection.take_if(|it| it.transaction == transaction) else {
            return false;
        };
        if landed {
            if collection.closes {
                self.phase = Phase::Closed { transaction: Some(transaction) };
            }
            self.saw_withdrawn(collection.amount);
        }
        true
    }

    /// Records what the ledger says was withdrawn; it never falls. Whether that is new.
    pub fn saw_withdrawn(&mut self, withdrawn: Amount) -> bool {
        let is_new = withdrawn > self.withdrawn;
        self.withdrawn = self.withdrawn.max(withdrawn);
        if is_new && self.unsettled_since.is_some() {
            // What is left was sold since the collection was made, a moment ago.
            self.unsettled_since = Some(self.used_at);
        }
        self.settle_clock();
        self.trim();
        is_new
    }

    /// Records that somebody else ended the channel on the ledger.
    pub fn ended(&mut self) {
        if !matches!(self.phase, Phase::Closed { .. }) {
            self.phase = Phase::Closed { transaction: None };
        }
    }

    /// Raises an account to what a journal, or the ledger, remembers of it: what was authorised, and what was spent after so
    /// many steps. Whether it was behind, which is an account that was rolled back. Then every amount up to the commitment
    /// is used, and what was in flight with one counts as delivered: whether it was, nobody can say any more.
    pub fn restore(&mut self, commitment: Held, spent: Amount, steps: u64, now: u64) -> bool {
        if self.authorised >= commitment.amount && self.steps >= steps {
            return false;
        }
        // What is remembered from after these steps holds: something may have been given back since. What is not, is of
        // another history, and then more is safe.
        let is_later = steps > self.steps && commitment.amount >= self.authorised;
        self.authorised = self.authorised.max(commitment.amount);
        let spent = spent.min(self.authorised);
        self.spent = if is_later { spent } else { self.spent.max(spent) };
        self.floor = self.floor.max(commitment.amount);
        self.uses.retain(|used| used.amount > commitment.amount);
        self.steps = self.steps.max(steps);
        // When it was used last nobody knows; it is not idle for that.
        self.used_at = self.used_at.max(now);
        if self.spent > self.withdrawn {
            self.unsettled_since.get_or_insert(now);
        }
        self.hold(commitment);
        self.trim();
        true
    }

    /// Goes on with an account that was rolled back and that nothing restores, at an operator's word: what the ledger says was
    /// withdrawn, and what is known besides, counts as authorised and spent, and every amount up to that is used. What was
    /// delivered beyond that and not withdrawn is forgotten; its payer may get as much once more. Whether the account was
    /// behind; one that is not stays as it is.
    pub fn adopt(&mut self, withdrawn: Amount, at_least: Amount) -> bool {
        let known = withdrawn.max(at_least).max(self.withdrawn);
        if self.authorised >= known {
            return false;
        }
        self.authorised = known;
        self.spent = known;
        self.floor = known;
        // All of them are for less, and no signature for so much is held.
        self.uses.clear();
        self.held.clear();
        self.saw_withdrawn(withdrawn);
        true
    }

    /// What is collected in all once the channel has ended, if it has or may be about to.
    const fn last_collected(&self) -> Option<Amount> {
        match (self.phase, &self.collection) {
            (Phase::Closed { .. }, _) => Some(self.withdrawn),
            (_, Some(collection)) if collection.closes => Some(collection.amount),
            _ => None,
        }
    }

    fn give_back_where(&mut self, is_over: impl Fn(u64) -> bool) -> bool {
        let over = |used: &Use| match used.state {
            UseState::InFlight(reserved) if is_over(reserved.lease_until) => Some(reserved.token),
            _ => None,
        };
        let tokens: Vec<_> = self.uses.iter().filter_map(over).collect();
        tokens.iter().filter(|token| self.give_back(**token, true).is_ok()).count() > 0
    }

    /// Whether a new commitment may be used at all.
    fn fits(&self, ask: &Reserve) -> Result<(), Unfit> {
        let amount = ask.commitment.amount;
        if amount <= self.floor {
            return Err(Unfit::Used);
        }
        if amount <= self.withdrawn.max(ask.withdrawn) || amount <= ask.base {
            return Err(Unfit::TooLow);
        }
        // Every answer to a challenge has an amount above the challenge's base. So if one was forgotten, the floor is above
        // the base.
        if ask.base < self.floor || self.is_answered(ask.challenge) {
            return Err(Unfit::ChallengeUsed);
        }
        if ask.expired {
            return Err(Unfit::Expired);
        }
        Ok(())
    }

    /// What the same amount buys when it comes again.
    fn again(&self, used: &Use, ask: &Reserve) -> Result<Claimed, Reserving> {
        if used.challenge != ask.challenge {
            return Err(Reserving::Refused(Unfit::Used));
        }
        match &used.state {
            UseState::InFlight(_) => Err(Reserving::InFlight),
            UseState::Kept { status, .. } | UseState::Told { status, .. } => {
                Err(if used.is_for(ask.binding) {
                    Reserving::Bought { status: *status, standing: self.standing() }
                } else {
                    Reserving::Refused(Unfit::Spent)
                })
            }
            // Once it was collected it is public.
            UseState::Returned(_) if used.amount <= self.withdrawn.max(ask.withdrawn) => {
                Err(Reserving::Refused(Unfit::TooLow))
            }
            UseState::Returned(claim)
                if used.is_for(ask.binding)
                    && claim.attempts < claim.most
                    && ask.now <= claim.until =>
            {
                Ok(*claim)
            }
            UseState::Returned(_) => Err(Reserving::Refused(Unfit::Spent)),
        }
    }

    fn find(&self, amount: Amount) -> Option<&Use> {
        let at = self.uses.binary_search_by_key(&amount, |used| used.amount).ok()?;
        self.uses.get(at)
    }

    fn put(&mut self, used: Use) {
        match self.uses.binary_search_by_key(&used.amount, |other| other.amount) {
            Ok(at) => {
                if let Some(place) = self.uses.get_mut(at) {
                    *place = used;
                }
            }
            Err(at) => self.uses.insert(at, used),
        }
    }

    /// The use whose caller has `token`: in flight, or kept and it may not know.
    fn reserved_for(&mut self, token: Token) -> Option<&mut Use> {
        self.uses.iter_mut().find(|used| used.reserved().is_some_and(|it| it.token == token))
    }

    fn flights(&self) -> usize {
        self.uses.iter().filter(|used| used.is_in_flight()).count()
    }

    /// What was delivered, if all that may be taken back was.
    fn surely_delivered(&self) -> Amount {
        self.uses.iter().fold(self.delivered(), |delivered, used| match used.state {
            UseState::Kept { reserved, .. } => delivered.less(reserved.price),
            _ => delivered,
        })
    }

    fn is_answered(&self, challenge: ChallengeDigest) -> bool {
        self.uses.iter().any(|used| used.challenge == challenge)
    }

    /// Hears what was ever in the channel. Who says so may be wrong, and then what comes in from now on is not collectable:
    /// it must not displace what is.
    fn grow(&mut self, deposited: Amount) {
        if deposited <= self.deposited {
            return;
        }
        self.deposited = deposited;
        if self.sure.is_none_or(|sure| sure.amount <= self.withdrawn) {
            self.sure = self.held.last().copied();
        }
    }

    /// Holds a commitment, and the last one always.
    fn hold(&mut self, commitment: Held) {
        match self.held.binary_search_by_key(&commitment.amount, |held| held.amount) {
            Ok(_) => {}
            Err(at) => self.held.insert(at, commitment),
        }
        if self.held.len() > MOST_HELD {
            // The first may cover what was surely delivered and less than what was delivered: then it is of use only if much
            // of that is taken back, which a gateway that died leaves open for an hour.
            let is_spare = self.held.first().is_some_and(|held| held.amount < self.delivered());
            let at = if is_spare { 0 } else { self.held.len().saturating_sub(2) };
            self.held.remove(at);
        }
    }

    /// Forgets what is of no use any more: finished uses beyond the window, and commitments below the smallest one that
    /// covers what was surely delivered and is yet to be withdrawn.
    fn trim(&mut self) {
        let is_untold = |used: &Use| matches!(used.state, UseState::Kept { .. });
        let surplus = self.uses.iter().filter(|used| is_untold(used)).count();
        let surplus = surplus.saturating_sub(MOST_UNTOLD);
        self.uses.iter_mut().filter(|used| is_untold(used)).take(surplus).for_each(Use::hear);
        let is_finished = |used: &Use| used.reserved().is_none();
        let mut surplus = self.uses.iter().filter(|used| is_finished(used)).count();
        surplus = surplus.saturating_sub(WINDOW);
        while surplus > 0 {
            let Some(at) = self.uses.iter().position(is_finished) else { break };
            let forgotten = self.uses.remove(at);
            self.floor = self.floor.max(forgotten.amount);
            surplus = surplus.saturating_sub(1);
        }
        let needed = self.surely_delivered().max(self.withdrawn);
        let first = self.held.iter().position(|held| held.amount >= needed);
        // The last one stays whatever was withdrawn: it is what `authorised` stands for.
        let first = first.unwrap_or_else(|| self.held.len().saturating_sub(1));
        self.held.drain(..first);
    }

    /// Nothing is unsettled any more once what is spent was withdrawn.
    fn settle_clock(&mut self) {
        if self.spent <= self.withdrawn {
            self.unsettled_since = None;
        }
    }
}

impl Use {
    const fn is_in_flight(&self) -> bool {
        matches!(self.state, UseState::InFlight(_))
    }

    fn is_in_flight_for(&self, token: Token) -> bool {
        matches!(self.state, UseState::InFlight(reserved) if reserved.token == token)
    }

    /// What is reserved, if somebody may yet keep it or give it back.
    const fn reserved(&self) -> Option<&Reserved> {
        match &self.state {
            UseState::InFlight(reserved) | UseState::Kept { reserved, .. } => Some(reserved),
            UseState::Told { .. } | UseState::Returned(_) => None,
        }
    }

    /// Whether it was made for the request with `binding`.
    fn is_for(&self, binding: Binding) -> bool {
        match &self.state {
            UseState::InFlight(reserved) | UseState::Kept { reserved, .. } => {
                reserved.claim.binding == binding
            }
            UseState::Told { binding: half, .. } => *half == first_half(binding),
            UseState::Returned(claim) => claim.binding == binding,
        }
    }

    /// Its caller knows that it is kept.
    fn hear(&mut self) {
        if let UseState::Kept { status, reserved } = self.state {
            let binding = first_half(reserved.claim.binding);
            self.state = UseState::Told { status, binding };
        }
    }
}

/// Enough of a digest to know a request by: another one that is told the same status gains nothing.
fn first_half(Binding(digest): Binding) -> [u8; 16] {
    let mut half = [0; 16];
    half.iter_mut().zip(digest).for_each(|(half, byte)| *half = byte);
    half
}

/// How long after its lease whoever kept a reservation may find out that it did: it asks as soon as the store answers.
const DEAF_SECONDS: u64 = 3_600;
