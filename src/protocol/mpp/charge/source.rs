//! The `source` of a charge credential.

use std::{fmt, str::FromStr};

use crate::protocol::stellar::{Address, Network};

/// Who says to pay, as a DID: `did:pkh:stellar:testnet:G…`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Source {
    /// The network of the account.
    pub network: Network,
    /// The payer: an account, or a contract, which `@stellar/mpp` does not know.
    pub address: Address,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}:{}", self.network, self.address)
    }
}

impl FromStr for Source {
    type Err = NotSource;

    fn from_str(text: &str) -> Result<Self, NotSource> {
        let (network, address) = text
            .strip_prefix(PREFIX)
            .and_then(|account| account.rsplit_once(':'))
            .ok_or(NotSource)?;
        Ok(Self {
            network: network.parse().map_err(|_| NotSource)?,
            address: address.parse().map_err(|_| NotSource)?,
        })
    }
}

/// The text is no DID of an account or contract on a network that we know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`source` is not `did:pkh:stellar:<testnet|pubnet>:<G…|C…>`")]
pub struct NotSource;

const PREFIX: &str = "did:pkh:";
