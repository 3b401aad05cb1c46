//! Amounts as the admin port tells them, for people.

use serde::Deserialize;

use crate::protocol::money::{Amount, Decimals};

/// What an amount is of.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Asset {
    pub(super) name: String,
    pub(super) decimals: u8,
}

/// An amount in base units, as text.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Units(Amount);

impl TryFrom<String> for Units {
    type Error = crate::protocol::money::Error;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Amount::parse_units(&text).map(Self)
    }
}

impl Units {
    /// The number alone, in whole units of `asset`, or in base units if it is not known.
    pub(super) fn number(self, asset: Option<&Asset>) -> String {
        let decimals = asset.and_then(|asset| Decimals::new(asset.decimals));
        decimals.map_or_else(|| self.0.to_string(), |decimals| self.0.to_decimal(decimals))
    }

    /// The number with its unit.
    pub(super) fn with_unit(self, asset: Option<&Asset>) -> String {
        format!("{} {}", self.number(asset), unit(asset))
    }
}

pub(super) fn unit(asset: Option<&Asset>) -> &str {
    asset.map_or("base units", |asset| &asset.name)
}
