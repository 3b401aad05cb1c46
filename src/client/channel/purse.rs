//! What one channel's payer has signed, and what it signs next.
//!
//! A server can ask for no more than the limits say, and cannot talk a purse into more than the price for a request,
//! whatever it claims: it is believed about what was accepted only up to what was signed. What is signed is written down
//! first.
//!
//! The rule. A server takes a commitment when the highest one that it has covers all that was spent and the price. So a
//! challenge says what is needed in all, `cumulativeAmount` + `amount`, as of when it was asked for; whatever may have
//! been spent since by requests of this purse comes on top. The full price on top of all that was signed is always enough,
//! and therefore the most that is signed; one unit on top of it is the least, since an amount is used once. What a refused
//! request was signed for is thus part of what is signed next, not lost.

use std::{
    collections::{BTreeMap, VecDeque},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use http::{HeaderMap, Method, Request, Uri};
use sha2::{Digest as _, Sha256};

use super::{
    super::{Credential, Error, Limit, Money},
    PurseError,
    file::{Owner, StateFile},
    offer::Offer,
};
use crate::protocol::{
    commitment::{Commitment, CommitmentSeed},
    money::Amount,
    mpp::{
        self, PAYMENT_RECEIPT,
        channel::{Action, Payload, Receipt, next_challenge},
        digest,
    },
    stellar::{Address, Asset, ContractId, Network},
};

/// The channel that a purse pays from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The network that it is on.
    pub network: Network,
    /// Its contract.
    pub channel: ContractId,
    /// What it pays in.
    pub asset: Asset,
    /// Whom it pays.
    pub payee: Address,
    /// All that was ever paid in, in base units of the asset: no more is signed.
    pub deposited: Amount,
}

/// The most that a purse signs, in base units of the channel's asset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// For one request; without it, whatever is asked.
    pub each: Option<Amount>,
    /// For all requests since the channel was opened; without it, the deposit.
    pub total: Option<Amount>,
}

/// One channel, the key of its commitments, and what was signed. Signs for any number of requests at a time.
pub struct Purse {
    terms: Terms,
    seed: CommitmentSeed,
    limits: Limits,
    file: Option<StateFile>,
    books: Mutex<Books>,
}

impl Purse {
    /// A purse that remembers nothing when it is dropped; `signed` is what was signed on the channel before.
    #[must_use]
    pub fn in_memory(terms: Terms, seed: CommitmentSeed, limits: Limits, signed: Amount) -> Self {
        Self { terms, seed, limits, file: None, books: Mutex::new(Books::new(signed)) }
    }

    /// A purse that writes down what it signs in the file at `path`, which need not be there yet. `least` is what was
    /// signed on the channel before, as far as the caller knows otherwise.
    ///
    /// # Errors
    /// [`PurseError`].
    pub fn on_file(
        path: &Path,
        terms: Terms,
        seed: CommitmentSeed,
        limits: Limits,
        least: Amount,
    ) -> Result<Self, PurseError> {
        let owner = Owner { network: terms.network, channel: terms.channel, key: seed.key() };
        let (file, signed) = StateFile::open(path, owner)?;
        let signed = signed.unwrap_or_default().max(least);
        let purse = Self::in_memory(terms, seed, limits, signed);
        Ok(Self { file: Some(file), ..purse })
    }

    /// The channel.
    #[must_use]
    pub const fn terms(&self) -> &Terms {
        &self.terms
    }

    /// The highest total that was signed, whatever became of it.
    #[must_use]
    pub fn signed(&self) -> Amount {
        self.books().signed
    }

    /// An amount as people read it.
    #[must_use]
    pub fn money(&self, amount: Amount) -> Money {
        Money::of(amount, &self.terms.asset)
    }

    /// Whether signing takes a disk's time.
    pub(super) const fn is_on_file(&self) -> bool {
        self.file.is_some()
    }

    /// A mark from before a request is sent, which [`Offer::since`] is of.
    pub(super) fn mark(&self) -> Amount {
        self.books().answered
    }

    /// A challenge at hand for a request like this one, which still holds a while at `now`, in Unix seconds.
    pub(super) fn at_hand<B: AsRef<[u8]>>(&self, request: &Request<B>, now: u64) -> Option<Offer> {
        let mut books = self.books();
        let finished = books.finished;
        let shelf = &mut books.places.get_mut(&Place::of(request))?.shelf;
        shelf.retain(|kept| {
            kept.offer.expires.is_none_or(|end| end > now.saturating_add(MARGIN_SECONDS))
                && finished.saturating_sub(kept.finished) < STALE
        });
        let at = shelf.iter().position(|kept| fits(&kept.offer, request.body().as_ref()))?;
        shelf.remove(at).map(|kept| kept.offer)
    }

    /// Signs for `offer`, which a request to `place` is to be paid by.
    ///
    /// # Errors
    /// [`Error::Overclaimed`], [`Error::OverLimit`], [`Error::Exhausted`], [`Error::Purse`]: nothing was signed.
    pub(super) fn sign(
        self: &Arc<Self>,
        offer: &Offer,
        place: Place,
        action: Action,
    ) -> Result<Draft, Error> {
        let mut books = self.books();
        let asked = offer.request.amount;
        if let Some(each) = self.limits.each
            && asked > each
        {
            let limit = Limit { amount: each, asset: self.terms.asset.clone() };
            let limit = Money::of(limit.amount, &limit.asset);
            return Err(Error::OverLimit { asked: self.money(asked), limit });
        }
        let signed = books.signed;
        if offer.request.cumulative > signed {
            let claimed = self.money(offer.request.cumulative);
            return Err(Error::Overclaimed { claimed, signed: self.money(signed) });
        }
        let route = books.route(&place);
        route.price = route.price.max(asked);
        let price = self.limits.each.map_or(route.price, |each| route.price.min(each));

        let unsure = books.presented.less(offer.since);
        let needed = plus(offer.request.cumulative, asked);
        let least = plus(signed, ONE).max(needed);
        let amount = plus(signed, ONE).max(plus(needed, unsure)).min(plus(signed, price));
        let most = self.terms.deposited.min(self.limits.total.unwrap_or(self.terms.deposited));
        let amount = if least <= most {
            amount.min(most)
        } else if action == Action::Close && !signed.is_zero() {
            // It buys nothing: that it was signed before is enough to show whose channel it is.
            signed
        } else {
            let (needed, most) = (self.money(least), self.money(most));
            return Err(Error::Exhausted { needed, most });
        };
        if let Some(file) = &self.file {
            file.write(amount).map_err(Error::Purse)?;
        }
        books.signed = amount;
        books.presented = plus(books.presented, price);
        let since = plus(books.answered, price);
        drop(books);
        let commitment = self.seed.sign(self.terms.network, self.terms.channel, amount);
        Ok(Draft { purse: Arc::clone(self), place, price, since, commitment, action, open: true })
    }

    /// What the headers of an answer say of this channel; `None` if nothing that can be read.
    fn receipt(&self, headers: &HeaderMap) -> Option<Receipt> {
        let receipt = mpp::Receipt::decode(headers.get(PAYMENT_RECEIPT)?.as_bytes()).ok()?;
        let receipt = Receipt::from_mpp(&receipt).ok()?;
        (receipt.channel == self.terms.channel).then_some(receipt)
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        // Nothing in a critical section leaves the books half written.
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Shows no key and no signature.
impl std::fmt::Debug for Purse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Purse")
            .field("channel", &self.terms.channel)
            .field("signed", &self.signed())
            .finish_non_exhaustive()
    }
}

/// A commitment for one request, until the request is answered. One that is dropped counts as taken.
pub(super) struct Draft {
    purse: Arc<Purse>,
    place: Place,
    /// What the request costs at most, without any discount.
    price: Amount,
    /// What its answer is a mark of; see [`Offer::since`].
    since: Amount,
    pub(super) commitment: Commitment,
    action: Action,
    open: bool,
}

impl Draft {
    /// The credential that answers `offer`.
    pub(super) fn credential(&self, offer: &Offer) -> Credential {
        let payload = Payload::new(self.action, self.commitment).to_json();
        let challenge = offer.challenge.clone();
        Credential::channel(mpp::Credential { challenge, payload: Some(payload), source: None })
    }

    /// What an answer is a mark of that was given before this request was taken.
    pub(super) fn mark_if_refused(&self) -> Amount {
        self.since.less(self.price)
    }

    /// The server did not take it, and said so.
    pub(super) fn refused(mut self) {
        self.open = false;
        let mut books = self.purse.books();
        books.presented = books.presented.less(self.price);
    }

    /// The server answered otherwise: what it says of the payment, and a challenge for next time.
    pub(super) fn answered(mut self, headers: &HeaderMap) -> Option<Receipt> {
        let receipt = self.purse.receipt(headers);
        let next = next_challenge(headers).ok().flatten();
        let next = next.and_then(|next| Offer::read(&next, &self.purse.terms, self.since).ok());
        self.end();
        let mut books = self.purse.books();
        let finished = books.finished;
        let route = books.route(&self.place);
        if let Some(offer) = next {
            let asked = &offer.request;
            // Both are of one moment, so the discount is known, unless it is more than the price.
            if let Some(receipt) = &receipt
                && receipt.accepted == asked.cumulative
                && asked.amount > ONE
            {
                route.price = plus(asked.cumulative, asked.amount).less(receipt.spent);
            }
            if route.shelf.len() >= MOST_AT_HAND {
                route.shelf.pop_front();
            }
            route.shelf.push_back(Kept { offer, finished });
        }
        receipt
    }

    fn end(&mut self) {
        if std::mem::take(&mut self.open) {
            let mut books = self.purse.books();
            books.answered = plus(books.answered, self.price);
            books.finished = books.finished.saturating_add(1);
        }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        self.end();
    }
}

/// Where a request goes, as far as a challenge may depend on it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    method: String,
    origin: String,
    path: String,
}

impl Place {
    pub(super) fn of<B>(request: &Request<B>) -> Self {
        Self::new(request.method(), request.uri())
    }

    fn new(method: &Method, uri: &Uri) -> Self {
        let scheme = uri.scheme_str().unwrap_or_default();
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        Self {
            method: method.to_string(),
            origin: format!("{scheme}://{authority}"),
            path: uri.path().to_owned(),
        }
    }
}

/// What changes.
#[derive(Debug)]
struct Books {
    signed: Amount,
    /// The prices of all requests that were presented, but for those that were refused.
    presented: Amount,
    /// The prices of those among them that were answered.
    answered: Amount,
    /// How many were answered.
    finished: u64,
    places: BTreeMap<Place, Route>,
}

/// What is known of a place.
#[derive(Debug, Default)]
struct Route {
    /// Without any discount, as far as is known.
    price: Amount,
    /// The oldest first.
    shelf: VecDeque<Kept>,
}

#[derive(Debug)]
struct Kept {
    offer: Offer,
    /// [`Books::finished`] when it came.
    finished: u64,
}

impl Books {
    const fn new(signed: Amount) -> Self {
        Self {
            signed,
            presented: Amount::ZERO,
            answered: Amount::ZERO,
            finished: 0,
            places: BTreeMap::new(),
        }
    }

    fn route(&mut self, place: &Place) -> &mut Route {
        if self.places.len() >= MOST_PLACES && !self.places.contains_key(place) {
            // Whoever asks that many places asks them seldom.
            self.places.pop_first();
        }
        self.places.entry(place.clone()).or_default()
    }
}

/// Whether a request with this body can be paid by `offer`.
fn fits(offer: &Offer, body: &[u8]) -> bool {
    let bound = offer.challenge.digest.as_deref();
    bound.is_none_or(|bound| digest::matches(bound, &Sha256::digest(body).into()))
}

/// The sum. The ledger knows no amount above the bound.
fn plus(one: Amount, other: Amount) -> Amount {
    one.checked_add(other).unwrap_or(MOST)
}

const ONE: Amount = Amount::from_units(1).expect("is positive");
const MOST: Amount = Amount::from_units(i128::MAX).expect("is positive");

/// A challenge that ends sooner is not worth a try.
const MARGIN_SECONDS: u64 = 5;
/// A gateway knows the answered challenges among the last 64; of those that are older it takes none.
const STALE: u64 = 48;
const MOST_AT_HAND: usize = 256;
const MOST_PLACES: usize = 1_024;

#[cfg(test)]
mod tests;
