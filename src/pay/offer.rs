//! One way to pay a route: how much of what to whom, by which method.

use std::sync::OnceLock;

use crate::protocol::{
    money::Amount,
    stellar::{Address, Asset, Network},
    x402::Template,
};

/// One way to pay a route.
#[derive(Clone, Debug)]
pub struct Offer {
    /// How the money comes.
    pub method: MethodName,
    /// The network it moves on.
    pub network: Network,
    /// How much, in the asset's base units; never zero.
    pub amount: Amount,
    /// Of what.
    pub asset: Asset,
    /// Who is paid.
    pub payee: Address,
    /// What its challenges say alike.
    pub wording: Wording,
}

/// What all challenges of an offer say alike; each method writes its own when it makes the first.
///
/// Offers are made anew with every configuration, so a wording never outlives the settings that it was written under.
#[derive(Clone, Debug, Default)]
pub struct Wording {
    pub(crate) x402: OnceLock<Template>,
    /// The `request` of a charge.
    pub(crate) charge: OnceLock<String>,
}

/// The payment methods by their names in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MethodName {
    /// x402 `exact`.
    X402,
    /// MPP `charge` by method `stellar`.
    Charge {
        /// Whether the gateway pays the network's fee.
        sponsored: bool,
    },
    /// MPP `channel` by method `stellar`.
    Channel,
}

impl MethodName {
    /// The name of [`MethodName::Charge`].
    pub const CHARGE: &'static str = "mpp.charge";
    /// The name of [`MethodName::Channel`].
    pub const CHANNEL: &'static str = "mpp.channel";

    /// The name as the configuration and the metrics write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::X402 => "x402",
            Self::Charge { .. } => Self::CHARGE,
            Self::Channel => Self::CHANNEL,
        }
    }
}
