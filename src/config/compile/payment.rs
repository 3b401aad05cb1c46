//! How payments are taken: the network, who is paid, who pays the fees, who settles, what remembers.

use std::{
    collections::{BTreeSet, HashMap},
    ops::RangeInclusive,
    time::Duration,
};

use http::Uri;

use super::{
    asset::{Assets, shown},
    mpp::Mpp,
    store,
};
use crate::{
    config::{
        read::{Fields, Keys, Spot, Text},
        settings::{self, FacilitatorSettings, Payment},
        value::{Url, is_loopback},
    },
    ledger::{Budget, own, remote, rpc, signer::Seed},
    pay::{MethodName, Offer},
    protocol::{
        money::Amount,
        stellar::{AccountId, Address, AddressError, Asset, Network},
    },
    route::{Access, Table},
};

/// What routes need to know of money, and what [`Payment`] is made of.
#[derive(Debug)]
pub(super) struct Money<'a> {
    pub(super) assets: Assets,
    pub(super) network: Network,
    /// Who is paid where a route says nothing else; the outer `None` is a fault that is noted already.
    pub(super) pay_to: Option<Option<Payee<'a>>>,
    /// How x402 payments are taken, if they are.
    pub(super) x402: Option<X402>,
    /// How MPP payments are taken, if they are.
    pub(super) mpp: Option<Mpp>,
    payments: Option<Spot<'a>>,
    stellar: Option<Spot<'a>>,
    rpc_url: Option<Uri>,
    sponsors: Vec<(Seed, String)>,
    lanes: u32,
    max_fee_stroops: u32,
    budget: Budget,
    store: Option<settings::Store>,
}

/// The section `payments.x402`.
#[derive(Debug)]
pub(super) struct X402 {
    pub(super) max_timeout_seconds: u32,
    /// `None` if it is faulty.
    facilitator: Option<FacilitatorSettings>,
}

/// Who is paid, and where the file says so.
#[derive(Clone, Debug)]
pub(super) struct Payee<'a> {
    pub(super) address: Address,
    text: Text<'a>,
}

impl<'a> Money<'a> {
    /// Reads `network`, `stellar`, `payments` and `store`, as far as they are there.
    pub(super) fn read(root: &Fields<'a>) -> Self {
        let named = root.get("network").map(|spot| read_network(&spot));
        // The assets of a stand-in let the prices be judged all the same.
        let network = named.flatten().unwrap_or(Network::Testnet);
        let spot = root.get("stellar");
        let stellar = spot.as_ref().and_then(|spot| spot.fields(&STELLAR));
        let sponsors = stellar.as_ref().and_then(|stellar| stellar.get("sponsors"));
        let sponsors = sponsors.and_then(|spot| read_sponsors(&spot));
        let number = |key: &str, range| {
            stellar.as_ref().and_then(|stellar| stellar.get(key)?.number::<u32>(range))
        };
        let budget =
            stellar.as_ref().and_then(|stellar| read_budget(&stellar.get("sponsor_budget")?));
        let mut money = Self {
            assets: Assets::read(stellar.as_ref(), network),
            network,
            pay_to: Some(None),
            x402: None,
            mpp: None,
            rpc_url: stellar.as_ref().and_then(|stellar| read_rpc_url(stellar, network)),
            sponsors: sponsors.unwrap_or_default(),
            lanes: number("lanes", own::LANE_COUNTS).unwrap_or(own::LANES),
            max_fee_stroops: number("max_fee_stroops", own::MAX_FEES)
                .unwrap_or(own::MAX_FEE_STROOPS),
            budget: budget.unwrap_or(Budget::USUAL),
            store: root.get("store").and_then(|spot| store::read(&spot)),
            stellar: spot,
            payments: root.get("payments"),
        };
        money.pay_to = match stellar.as_ref().and_then(|stellar| stellar.get("pay_to")) {
            None => Some(None),
            Some(spot) => {
                let payee = money.read_payee(&spot);
                payee.filter(|payee| payee.check(&money.assets.default).is_some()).map(Some)
            }
        };
        (money.x402, money.mpp) = money.read_payments().unwrap_or_default();
        if money.x402.is_some() || money.mpp.is_some() {
            for (key, hint) in [
                ("network", "say where the money moves: `network: stellar:testnet`"),
                ("stellar", "`stellar: { pay_to: { env: STELLAR_RECIPIENT } }` at least"),
                (
                    "store",
                    "payments are remembered in a file: `store: { embedded: { path: ./state.redb } }`",
                ),
            ] {
                root.need(key, hint);
            }
        }
        money
    }

    /// The settings, once every route is known; `None` if no method is configured or something was faulty.
    pub(super) fn finish(self, table: &Table, public_url: Option<&str>) -> Option<Payment> {
        if self.configured_methods().is_empty() {
            return None;
        }
        let sponsored = self.mpp.as_ref().is_some_and(|mpp| mpp.sponsored) || sponsors(table);
        let x402 = match self.x402 {
            None => None,
            Some(X402 { max_timeout_seconds, facilitator }) => {
                Some(settings::X402 { facilitator: facilitator?, max_timeout_seconds })
            }
        };
        let settles =
            x402.as_ref().is_some_and(|x402| matches!(x402.facilitator, FacilitatorSettings::Own));
        // Where a sponsor is named, channels are collected from by its lanes too.
        let has_channel = self.mpp.as_ref().is_some_and(|mpp| mpp.channel_payee().is_some());
        let collects = has_channel && !self.sponsors.is_empty();
        let sponsor = (settles || sponsored || collects).then(|| own::Settings {
            network: self.network,
            sponsors: self.sponsors.into_iter().map(|(seed, _)| seed).collect(),
            lanes: self.lanes,
            max_fee_stroops: self.max_fee_stroops,
            budget: self.budget,
            excluded: payees(table),
        });
        Some(Payment {
            network: self.network,
            rpc_url: self.rpc_url?,
            assets: self.assets.all,
            x402,
            mpp: self.mpp.map(|mpp| mpp.finish(public_url)),
            sponsor,
            store: self.store?,
        })
    }

    /// Reads an address that is to be paid.
    pub(super) fn read_payee(&self, spot: &Spot<'a>) -> Option<Payee<'a>> {
        let text = spot.text()?;
        let address = match text.text.parse::<Address>() {
            Ok(address) => address,
            Err(AddressError::Muxed) => {
                return text.fault(
                    "is a muxed account (`M…`), which cannot be paid this way",
                    "write the account behind it, `G…`",
                );
            }
            Err(AddressError::Secret) => {
                return spot.fault(
                    "expected an address, got a secret key",
                    "write the account's address, `G…`; the key is no secret any more: replace it",
                );
            }
            Err(_) => {
                return text.fault(
                    "is not a Stellar address",
                    "an address begins with `G` (or `C` for a contract) and has 56 characters",
                );
            }
        };
        let sponsor =
            self.sponsors.iter().find(|(seed, _)| Address::Account(seed.account()) == address);
        if let Some((_, path)) = sponsor {
            return text.fault(
                format!("is the account of `{path}`, which pays the network's fees"),
                "be paid into an account whose key is not on this machine",
            );
        }
        Some(Payee { address, text })
    }

    /// Who is paid where the route says nothing.
    pub(super) fn default_payee(&self) -> Option<Payee<'a>> {
        let payee = self.pay_to.as_ref()?;
        if payee.is_none() {
            // Without a `stellar` section that section is what is missing, and noted.
            let stellar = self.stellar.as_ref()?;
            return stellar.fault(
                "`pay_to` is missing",
                "name the account that is paid: `pay_to: { env: STELLAR_RECIPIENT }`",
            );
        }
        payee.clone()
    }

    /// Whether the ledger is one on this machine: a sandbox.
    pub(super) fn has_local_ledger(&self) -> bool {
        let host = self.rpc_url.as_ref().and_then(Uri::host);
        self.network == Network::Testnet && host.is_some_and(is_loopback)
    }

    /// Whether `price` can be paid by `mpp.channel` in `asset`, by what the section of channels says; `route` asks it.
    pub(super) fn check_channel(
        &self,
        route: &Spot<'_>,
        price: Amount,
        asset: &Asset,
        payee: &Payee<'_>,
    ) -> Option<()> {
        let default = &self.assets.default;
        if asset.contract != default.contract {
            return route.fault(
                format!(
                    "`mpp.channel` is priced in {}, and the amounts of `payments.mpp.channel` are in {}",
                    asset.name, default.name
                ),
                format!(
                    "give it a price in {}, or leave `mpp.channel` out of `accept`",
                    default.name
                ),
            );
        }
        self.mpp.as_ref().map_or(Some(()), |mpp| mpp.check_channel_price(route, price, asset))?;
        // A key that is missing or faulty was noted.
        let Some(account) = self.mpp.as_ref().and_then(Mpp::channel_payee) else { return Some(()) };
        if payee.address == Address::Account(account) {
            return Some(());
        }
        payee.text.fault(
            format!("is paid from channels, and `payments.mpp.channel.signer` is the key of `{account}`"),
            "only its payee can collect from a channel: name the payee's key as `signer`, or pay into the \
             account of that key",
        )
    }

    /// Whether the file says anything of payments.
    pub(super) const fn has_payments(&self) -> bool {
        self.payments.is_some()
    }

    /// The methods that have a section, be it a faulty one.
    pub(super) fn configured_methods(&self) -> Vec<MethodName> {
        let sponsored = self.mpp.as_ref().is_some_and(|mpp| mpp.sponsored);
        let payments = self.payments.as_ref();
        let has_x402 = payments.is_some_and(|spot| spot.has_key("x402"));
        let mpp = payments.and_then(|spot| spot.child_named("mpp"));
        let has_channel = mpp.as_ref().is_some_and(|spot| spot.has_key("channel"));
        // A section that has neither is faulty, and meant one of them.
        let has_charge = mpp.is_some_and(|spot| spot.has_key("charge") || !has_channel);
        [
            (has_x402, MethodName::X402),
            (has_charge, MethodName::Charge { sponsored }),
            (has_channel, MethodName::Channel),
        ]
        .into_iter()
        .filter_map(|(is_configured, method)| is_configured.then_some(method))
        .collect()
    }

    /// Whether the file names keys that pay fees, be they faulty; `true` where it says nothing of Stellar at all, which
    /// is noted and enough.
    pub(super) fn has_sponsors(&self) -> bool {
        self.stellar.as_ref().is_none_or(|stellar| stellar.has_key("sponsors"))
    }

    fn read_payments(&self) -> Option<(Option<X402>, Option<Mpp>)> {
        let fields = self.payments.as_ref()?.fields(&PAYMENTS)?;
        if fields.is_empty() {
            return fields.spot.fault(
                "no payment method is configured",
                "configure one or both: `payments: { x402: { facilitator: self }, mpp: { charge: {} } }`",
            );
        }
        let x402 = fields.get("x402").and_then(|spot| self.read_x402(&spot));
        let mpp = fields.get("mpp").and_then(|spot| Mpp::read(&spot, self));
        Some((x402, mpp))
    }

    fn read_x402(&self, spot: &Spot<'a>) -> Option<X402> {
        let x402 = spot.fields(&X402_KEYS)?;
        let seconds = x402.get("max_timeout_seconds").and_then(|spot| spot.number(LIVES));
        let facilitator = x402
            .need("facilitator", "say who settles: `facilitator: self`, or `{ url: … }`")
            .and_then(|spot| self.read_facilitator(&spot));
        Some(X402 { max_timeout_seconds: seconds.unwrap_or(MAX_TIMEOUT_SECONDS), facilitator })
    }

    fn read_facilitator(&self, spot: &Spot<'a>) -> Option<FacilitatorSettings> {
        if spot.is_mapping() && !spot.has_key("env") {
            return self.read_remote(spot).map(FacilitatorSettings::Remote);
        }
        let text = spot.text()?;
        if text.text != "self" {
            let hint = "write `self`, or `{ url: https://…, api_key: { env: OZ_API_KEY } }`";
            return text.fault("is no facilitator", hint);
        }
        if !self.has_sponsors() {
            return text.fault(
                "settles with keys of its own, and `stellar.sponsors` names none",
                "name one: `sponsors: [{ env: SPONSOR_SECRET }]`",
            );
        }
        Some(FacilitatorSettings::Own)
    }

    fn read_remote(&self, spot: &Spot<'a>) -> Option<remote::Settings> {
        let fields = spot.fields(&REMOTE)?;
        let example = "https://channels.openzeppelin.com/x402/testnet";
        let url = fields
            .need("url", format!("say where it is: `url: {example}`"))
            .and_then(|spot| spot.url(example))
            .filter(|url| is_of_network(url, self.network).is_some());
        let plain = url.as_ref().filter(|url| !url.is_https() && !url.is_loopback());
        if let Some(url) = plain {
            url.text.fault::<()>(
                "is not `https`, and leaves this machine",
                "a facilitator decides what is paid: reach it by `https`",
            );
        }
        let api_key = fields.get("api_key").map(|spot| spot.secret());
        let timeout = fields.duration("timeout").unwrap_or(FACILITATOR_TIMEOUT);
        let (api_key, api_key_name) = match api_key {
            None => (None, None),
            Some(secret) => secret.map(|secret| (Some(secret.text), Some(secret.name)))?,
        };
        Some(remote::Settings {
            network: self.network,
            url: url?.uri,
            api_key,
            api_key_name,
            timeout,
        })
    }
}

impl Payee<'_> {
    /// Whether `asset` can be paid to it; paying an issuer or the contract itself destroys the money.
    pub(super) fn check(&self, asset: &Asset) -> Option<()> {
        let whose = match self.address {
            Address::Account(account) if asset.issuer == Some(account) => "issuer",
            Address::Contract(contract) if asset.contract == contract => "contract",
            _ => return Some(()),
        };
        self.text.fault(
            format!("is the {whose} of {}: what is paid to it is gone", shown(asset)),
            "name an account of your own",
        )
    }
}

fn read_network(spot: &Spot<'_>) -> Option<Network> {
    let text = spot.text()?;
    if let Ok(network) = text.text.parse() {
        return Some(network);
    }
    let hint = match text.text.to_ascii_lowercase().as_str() {
        "testnet" | "test" | "stellar-testnet" => "write `stellar:testnet`",
        "pubnet" | "public" | "mainnet" | "stellar:mainnet" | "stellar:public" => {
            "write `stellar:pubnet`"
        }
        _ => "write `stellar:testnet` or `stellar:pubnet`",
    };
    text.fault("is no Stellar network", hint)
}

fn read_rpc_url(stellar: &Fields<'_>, network: Network) -> Option<Uri> {
    let Some(spot) = stellar.get("rpc_url") else {
        return match network {
            Network::Testnet => Some(Uri::from_static(rpc::TESTNET_URL)),
            Network::Pubnet => stellar.spot.fault(
                "`rpc_url` is missing, and `stellar:pubnet` has no default",
                "take an RPC provider's: `rpc_url: { env: STELLAR_RPC_URL }`",
            ),
        };
    };
    let url = spot.url_with_query(rpc::TESTNET_URL)?;
    is_of_network(&url, network)?;
    if !url.is_https() && !url.is_loopback() {
        url.text.spot.warn(
            format!("{} is not `https`, and leaves this machine", url.text.shown()),
            "whoever is on the way can lie about the ledger: reach it by `https`",
        );
    }
    Some(url.uri)
}

/// Refuses a URL that names the other network in so many words.
fn is_of_network(url: &Url<'_>, network: Network) -> Option<()> {
    let foreign: &[&str] = match network {
        Network::Testnet => &["mainnet", "pubnet"],
        Network::Pubnet => &["testnet", "futurenet"],
    };
    let address = format!("{}/{}", url.uri.host().unwrap_or_default(), url.uri.path());
    let mut words = address.split(|letter: char| !letter.is_ascii_alphanumeric());
    match words.find(|word| foreign.contains(word)) {
        None => Some(()),
        Some(word) => url.text.fault(
            format!("names `{word}`, and the network is `{network}`"),
            "network, RPC and facilitator belong together: change all of them",
        ),
    }
}

/// The sponsors' seeds and their paths; `None` if the list cannot be read.
fn read_sponsors(list: &Spot<'_>) -> Option<Vec<(Seed, String)>> {
    let items = list.items()?;
    if items.is_empty() {
        return list.fault("there is no sponsor", "name one: `[{ env: SPONSOR_SECRET }]`");
    }
    let mut accounts: HashMap<AccountId, String> = HashMap::new();
    let mut sponsors = Vec::new();
    for item in &items {
        let Some(seed) = item.seed() else { continue };
        if let Some(first) = accounts.get(&seed.account()) {
            item.fault::<()>(format!("is the same key as `{first}`"), "name each key once");
            continue;
        }
        accounts.insert(seed.account(), item.path.clone());
        sponsors.push((seed, item.path.clone()));
    }
    Some(sponsors)
}

fn read_budget(spot: &Spot<'_>) -> Option<Budget> {
    let fields = spot.fields(&BUDGET_KEYS)?;
    let stroops = |key| fields.get(key).map(|spot| spot.number(1..=MAX_STROOPS));
    let (all, payer) = (stroops("stroops"), stroops("per_payer"));
    let all = all.unwrap_or(Some(Budget::USUAL.stroops));
    let payer = payer.unwrap_or_else(|| Some(Budget::USUAL.per_payer.min(all?)));
    let per = fields.duration("per").unwrap_or(Budget::USUAL.per);
    let budget = Budget { stroops: all?, per_payer: payer?, per };
    if budget.per_payer > budget.stroops {
        return fields.get("per_payer")?.fault(
            format!("one payer's share is above the {} stroops of all", budget.stroops),
            "write at most as much as `stroops`",
        );
    }
    Some(budget)
}

/// The accounts that the table's routes pay.
fn payees(table: &Table) -> Vec<AccountId> {
    let accounts = offers(table).filter_map(|offer| offer.payee.account());
    accounts.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Whether one of the table's routes has its charges sponsored.
fn sponsors(table: &Table) -> bool {
    offers(table).any(|offer| offer.method == MethodName::Charge { sponsored: true })
}

fn offers(table: &Table) -> impl Iterator<Item = &Offer> {
    table.routes().iter().flat_map(|route| match &route.access {
        Access::Priced(terms) => &*terms.offers,
        Access::Free | Access::Denied(_) => &[],
    })
}

const STELLAR: Keys = Keys {
    known: &[
        "rpc_url",
        "pay_to",
        "assets",
        "default_asset",
        "sponsors",
        "lanes",
        "max_fee_stroops",
        "sponsor_budget",
    ],
    later: &[],
};
const PAYMENTS: Keys = Keys { known: &["x402", "mpp"], later: &[] };
const X402_KEYS: Keys = Keys { known: &["facilitator", "max_timeout_seconds"], later: &[] };
const REMOTE: Keys = Keys { known: &["url", "api_key", "timeout"], later: &[] };
const BUDGET_KEYS: Keys = Keys { known: &["stroops", "per", "per_payer"], later: &[] };

/// All the lumens there are.
const MAX_STROOPS: u64 = 1_054_439_020_873_472_865;
const FACILITATOR_TIMEOUT: Duration = Duration::from_secs(10);
/// What `max_timeout_seconds` may be.
pub(super) const LIVES: RangeInclusive<u32> = 5..=3_600;
const MAX_TIMEOUT_SECONDS: u32 = 60;
