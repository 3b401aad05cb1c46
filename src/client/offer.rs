//! What a 402 asks, by whatever rail, and which of its offers is taken.

use std::{borrow::Cow, fmt};

use http::{HeaderMap, Response, StatusCode, header::WWW_AUTHENTICATE};

use super::{
    Error,
    charge::ChargeOffer,
    x402::{self, X402Offer},
};
use crate::protocol::{
    money::Amount,
    mpp,
    stellar::{Address, Asset, ContractId, Network},
    x402::{Malformed, PAYMENT_REQUIRED},
};

/// All that a 402 offers.
#[derive(Debug)]
pub struct Challenge {
    x402: Option<Result<x402::Challenge, Malformed>>,
    /// Every `Payment` challenge, whatever its method.
    payment: Vec<Result<mpp::Challenge, mpp::Malformed>>,
    /// Which of the two came first.
    x402_first: bool,
}

/// One way to pay, which this client understands.
#[derive(Clone, Debug)]
pub enum Offer {
    /// x402 `exact`.
    X402(X402Offer),
    /// MPP `charge`.
    Charge(Box<ChargeOffer>),
}

/// The rail to pay by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// The cheapest.
    #[default]
    Any,
    /// x402 `exact`.
    X402,
    /// MPP `charge`.
    Charge,
}

/// Who puts the payment on the ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// The server, or its facilitator.
    #[default]
    Pull,
    /// The client itself, before it asks again. Only an unsponsored charge is paid so.
    Push,
}

/// Which offers will do.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Where the money is.
    pub network: Network,
    /// In what to pay, if not in anything.
    pub asset: Option<&'a Asset>,
    /// The rail.
    pub method: Method,
    /// Who sends.
    pub mode: Mode,
}

/// An amount of an asset, as people read it: `0.001 USDC`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Money(String);

impl Wanted<'_> {
    /// Whatever can be paid by `method` on `network`.
    #[must_use]
    pub const fn by(method: Method, network: Network) -> Self {
        Self { network, asset: None, method, mode: Mode::Pull }
    }
}

impl Challenge {
    /// The challenge of `response`; `None` if it asks for no payment of a kind that is known here.
    ///
    /// # Errors
    /// [`Error::Challenge`] if it asks for one by x402 alone, in a way that cannot be read.
    pub fn of<B>(response: &Response<B>) -> Result<Option<Self>, Error> {
        if response.status() != StatusCode::PAYMENT_REQUIRED {
            return Ok(None);
        }
        let headers = response.headers();
        let payment = mpp::parse_challenges(headers.get_all(WWW_AUTHENTICATE));
        let x402 = headers.get(PAYMENT_REQUIRED);
        let x402 = x402.map(|header| x402::Challenge::decode(header.as_bytes()));
        match (x402, payment.is_empty()) {
            (None, true) => Ok(None),
            (Some(Err(error)), true) => Err(Error::Challenge(error)),
            (x402, _) => Ok(Some(Self { x402, payment, x402_first: x402_first(headers) })),
        }
    }

    /// The cheapest way to pay that will do: among those in the asset of the first one, at equal price one whose fee is
    /// sponsored, else the one that the server names first.
    ///
    /// # Errors
    /// [`Error::NoOffer`] tells of each way why it cannot be used.
    pub fn choose(&self, wanted: &Wanted<'_>) -> Result<Offer, Error> {
        let mut all = self.charges(wanted);
        let at = if self.x402_first { 0 } else { all.len() };
        all.splice(at..at, self.x402s(wanted));
        let mut reasons = Vec::new();
        let mut usable = Vec::new();
        for offer in all {
            match offer {
                Ok(offer) => usable.push(offer),
                Err(reason) => reasons.push(reason.into_owned()),
            }
        }
        let Some(asset) = usable.first().map(Offer::asset) else {
            return Err(Error::NoOffer { reasons });
        };
        // Of equals the first is taken.
        usable
            .into_iter()
            .filter(|offer| offer.asset() == asset)
            .min_by_key(|offer| (offer.amount(), !offer.is_sponsored()))
            .ok_or(Error::NoOffer { reasons })
    }

    fn x402s(&self, wanted: &Wanted<'_>) -> Vec<Usable> {
        match &self.x402 {
            None => Vec::new(),
            Some(Err(_)) => vec![Err("its x402 challenge cannot be read".into())],
            Some(Ok(_)) if wanted.method == Method::Charge => {
                vec![Err("it is by x402, not by charge".into())]
            }
            Some(Ok(_)) if wanted.mode == Mode::Push => {
                vec![Err("it is by x402, which cannot be pushed".into())]
            }
            Some(Ok(challenge)) => challenge
                .offers(wanted.network, wanted.asset)
                .map(|offer| offer.map(Offer::X402).map_err(Cow::Owned))
                .collect(),
        }
    }

    fn charges(&self, wanted: &Wanted<'_>) -> Vec<Usable> {
        let read = |challenge: &Result<mpp::Challenge, mpp::Malformed>| match challenge {
            Err(error) => Err(format!("its `Payment` challenge cannot be read: {error}").into()),
            Ok(_) if wanted.method == Method::X402 => Err("it is by charge, not by x402".into()),
            Ok(challenge) => {
                ChargeOffer::read(challenge, wanted.network, wanted.asset, wanted.mode)
                    .map(|offer| Offer::Charge(Box::new(offer)))
                    .map_err(Cow::Owned)
            }
        };
        self.payment.iter().map(read).collect()
    }
}

/// An offer, or why it will not do.
type Usable = Result<Offer, Cow<'static, str>>;

impl Offer {
    /// How much it costs.
    #[must_use]
    pub const fn amount(&self) -> Amount {
        match self {
            Self::X402(offer) => offer.requirements.amount,
            Self::Charge(offer) => offer.request.amount,
        }
    }

    /// Of what.
    #[must_use]
    pub const fn asset(&self) -> ContractId {
        match self {
            Self::X402(offer) => offer.requirements.asset,
            Self::Charge(offer) => offer.request.currency,
        }
    }

    /// Who is paid.
    #[must_use]
    pub const fn payee(&self) -> Address {
        match self {
            Self::X402(offer) => offer.requirements.pay_to,
            Self::Charge(offer) => offer.request.recipient,
        }
    }

    /// Where.
    #[must_use]
    pub const fn network(&self) -> Network {
        match self {
            Self::X402(offer) => offer.requirements.network,
            Self::Charge(offer) => offer.request.network,
        }
    }

    /// Whether somebody else pays the network's fee.
    #[must_use]
    pub const fn is_sponsored(&self) -> bool {
        match self {
            // What is not sponsored is not read.
            Self::X402(_) => true,
            Self::Charge(offer) => offer.request.fee_payer,
        }
    }

    /// What is sold, in the server's words; may be empty.
    #[must_use]
    pub fn description(&self) -> &str {
        match self {
            Self::X402(offer) => offer.description(),
            Self::Charge(offer) => offer.description(),
        }
    }

    /// What it costs, as people read it.
    #[must_use]
    pub fn money(&self) -> Money {
        let (network, amount, asset) = (self.network(), self.amount(), self.asset());
        match [network.usdc(), network.xlm()].into_iter().find(|known| known.contract == asset) {
            Some(asset) => Money::of(amount, &asset),
            None => Money(format!("{amount} base units of {asset}")),
        }
    }
}

impl Money {
    /// `amount` of `asset`.
    #[must_use]
    pub fn of(amount: Amount, asset: &Asset) -> Self {
        Self(format!("{} {}", amount.to_decimal(asset.decimals), asset.name))
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A server's words within a reason, which may be shown on a terminal.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(60).flat_map(char::escape_debug).collect()
}

/// The order of the two headers, as far as it can be known: their order among the names.
fn x402_first(headers: &HeaderMap) -> bool {
    headers.keys().find(|name| [PAYMENT_REQUIRED, WWW_AUTHENTICATE].contains(*name))
        != Some(&WWW_AUTHENTICATE)
}
