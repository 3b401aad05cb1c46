//! The assets that prices can be in, by name: USDC and XLM of the network, and those configured.

use stellar_xdr as xdr;

use crate::{
    config::{
        diagnostic::{nearest, one_of, quoted},
        read::{Fields, Keys, Spot, Text},
    },
    protocol::{
        money::Decimals,
        stellar::{AccountId, AddressError, Asset, ContractId, Network},
    },
};

/// The assets of a configuration.
#[derive(Debug)]
pub(super) struct Assets {
    pub(super) all: Vec<Asset>,
    /// What `$` means, one to one.
    pub(super) default: Asset,
    network: Network,
}

impl Assets {
    /// Reads `assets` and `default_asset` of the `stellar` section, where there is one.
    pub(super) fn read(stellar: Option<&Fields<'_>>, network: Network) -> Self {
        let (all, default) = (vec![network.usdc(), network.xlm()], network.usdc());
        let mut assets = Self { all, default, network };
        if let Some(spot) = stellar.and_then(|stellar| stellar.get("assets")) {
            assets.read_configured(&spot);
        }
        let default = stellar.and_then(|stellar| stellar.get("default_asset"));
        if let Some(asset) = default.and_then(|spot| assets.find(&spot.text()?)) {
            assets.default = asset;
        }
        assets
    }

    /// The asset that `text` names.
    pub(super) fn find(&self, text: &Text<'_>) -> Option<Asset> {
        if let Some(asset) = self.all.iter().find(|asset| *asset.name == *text.text) {
            return Some(asset.clone());
        }
        if looks_like_issuer(&text.text) {
            return text.fault(
                "is a classic asset or its issuer; here an asset is named",
                format!("write {}, or add it to `stellar.assets` by its contract", self.names()),
            );
        }
        if text.text.parse::<ContractId>().is_ok() {
            return text.fault(
                "is a contract; here an asset is named",
                "give the contract a name under `stellar.assets`, and write the name here",
            );
        }
        let hint = nearest(&text.text, self.all.iter().map(|asset| &*asset.name)).map_or_else(
            || format!("write {}, or add it to `stellar.assets`", self.names()),
            |meant| format!("did you mean `{meant}`?"),
        );
        text.fault("is no asset of this configuration", hint)
    }

    pub(super) fn names(&self) -> String {
        one_of(self.all.iter().map(|asset| &*asset.name))
    }

    fn read_configured(&mut self, spot: &Spot<'_>) {
        for (entry, spot) in spot.entries().unwrap_or_default() {
            let name = entry.key.as_str();
            let is_word = name.bytes().all(|byte| byte.is_ascii_alphanumeric());
            let fault = if self.all.iter().any(|known| *known.name == *name) {
                Some(("is built in", "remove it, or give your asset another name"))
            } else if !is_word || !(1..=12).contains(&name.len()) {
                Some(("is no asset name", "write 1 to 12 letters and digits"))
            } else {
                None
            };
            if let Some((problem, hint)) = fault {
                let what = format!("{} {problem}", quoted(name));
                let parent = spot.path.rsplit_once('.').map_or("", |(parent, _)| parent);
                spot.reading.fault_at(entry.key_at, parent, &what, hint);
            }
            if let Some(asset) = self.read_asset(name, &spot).filter(|_| fault.is_none()) {
                self.all.push(asset);
            }
        }
    }

    fn read_asset(&self, name: &str, spot: &Spot<'_>) -> Option<Asset> {
        let fields = spot.fields(&ASSET)?;
        let decimals = fields
            .need("decimals", "say how many decimals its amounts have: `decimals: 7`")
            .and_then(|spot| Decimals::new(spot.number(0..=38)?));
        let contract = fields
            .need("contract", "name its contract: `contract: C…`")
            .and_then(|spot| self.read_contract(name, &spot));
        Some(Asset { name: name.into(), contract: contract?, decimals: decimals?, issuer: None })
    }

    fn read_contract(&self, name: &str, spot: &Spot<'_>) -> Option<ContractId> {
        let text = spot.text()?;
        let other = match self.network {
            Network::Testnet => Network::Pubnet,
            Network::Pubnet => Network::Testnet,
        };
        match text.text.parse::<ContractId>() {
            Ok(contract) if [other.usdc(), other.xlm()].iter().any(|a| a.contract == contract) => {
                text.fault(
                    format!("is a contract of `{other}`, and the network is `{}`", self.network),
                    "take the contract of this network",
                )
            }
            Ok(contract) => Some(contract),
            Err(AddressError::Secret) => spot.fault(
                "expected a contract (`C…`), got a secret key",
                "take the key out of this file and use another one: it is known now",
            ),
            Err(_) => {
                let hint = self.contract_of(name, &text.text).map_or_else(
                    || "an asset is named by its contract: `C…`, 56 characters".to_owned(),
                    |contract| format!("the contract of that asset is `{contract}`"),
                );
                let problem = if looks_like_issuer(&text.text) {
                    "is a classic asset or its issuer, not a contract (`C…`)"
                } else {
                    "is not a contract (`C…`)"
                };
                text.fault(problem, hint)
            }
        }
    }

    /// The contract that every classic asset has, so that the hint can name it.
    fn contract_of(&self, name: &str, text: &str) -> Option<ContractId> {
        let (code, issuer) = text.split_once(':').unwrap_or((name, text));
        let issuer = issuer.parse::<AccountId>().ok()?.to_xdr();
        let mut asset_code = [0; 12];
        asset_code.get_mut(..code.len())?.copy_from_slice(code.as_bytes());
        let asset = match code.len() {
            1..=4 => {
                let asset_code = xdr::AssetCode4(*asset_code.first_chunk()?);
                xdr::Asset::CreditAlphanum4(xdr::AlphaNum4 { asset_code, issuer })
            }
            5..=12 => {
                let asset_code = xdr::AssetCode12(asset_code);
                xdr::Asset::CreditAlphanum12(xdr::AlphaNum12 { asset_code, issuer })
            }
            _ => return None,
        };
        Some(ContractId::of_asset(asset, self.network))
    }
}

/// An asset for messages: `USDC (CBIE…DAMA)`.
pub(super) fn shown(asset: &Asset) -> String {
    let contract = asset.contract.to_string();
    let short = contract.split_at_checked(4).zip(contract.split_at_checked(52));
    match short {
        Some(((head, _), (_, tail))) => format!("{} ({head}…{tail})", asset.name),
        None => asset.name.to_string(),
    }
}

/// `G…`, or `CODE:G…` as Horizon and classic tools write an asset.
fn looks_like_issuer(text: &str) -> bool {
    let issuer = text.split_once([':', '-']).map_or(text, |(_, issuer)| issuer);
    issuer.parse::<AccountId>().is_ok()
}

const ASSET: Keys = Keys { known: &["contract", "decimals"], later: &[] };
