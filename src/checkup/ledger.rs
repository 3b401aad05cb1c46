//! What the ledger says of the assets that are asked for, of who is paid, and of who pays the fees.
//!
//! A classic asset has a contract of its own, and an account holds it in a trustline; of another token only its contract
//! knows who holds what.

use std::collections::BTreeMap;

use stellar_xdr as xdr;
use xdr::{LedgerEntryData, LedgerKey, ScVal};

use super::Report;
use crate::{
    config::{Payment, Settings},
    ledger::{
        classic::ClassicAsset,
        own::{self, lumens},
        rpc::{AuthMode, Error, MOST_ENTRIES, Rpc, Simulation},
    },
    protocol::{
        money::Amount,
        stellar::{AccountId, Address, Asset, ContractId, Network},
        transfer,
    },
    route::Access,
};

/// How the asset behind a contract is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// The lumen: every account holds it.
    Native,
    /// In a trustline of this asset.
    Classic(ClassicAsset),
    /// As its contract sees fit.
    Other,
}

/// What routes ask for one payee in one asset.
struct Asked<'a> {
    asset: &'a Asset,
    /// The highest price.
    amount: Amount,
    routes: Vec<&'a str>,
}

/// Looks at the contract of every asset that a route asks for or that is configured; those that exist are returned.
pub(super) async fn examine_assets(
    settings: &Settings,
    payment: &Payment,
    rpc: &Rpc,
    report: &mut Report,
) -> Result<BTreeMap<ContractId, Token>, Error> {
    let network = payment.network;
    let built_in = [network.usdc().contract, network.xlm().contract];
    let asked = asked(settings);
    let mut assets: BTreeMap<ContractId, &Asset> =
        asked.iter().map(|((contract, _), asked)| (*contract, asked.asset)).collect();
    for asset in payment.assets.iter().filter(|asset| !built_in.contains(&asset.contract)) {
        assets.insert(asset.contract, asset);
    }
    let mut tokens = BTreeMap::new();
    for (contract, asset) in assets {
        if let Some(token) = examine_asset(asset, network, rpc, report).await? {
            tokens.insert(contract, token);
        }
    }
    Ok(tokens)
}

async fn examine_asset(
    asset: &Asset,
    network: Network,
    rpc: &Rpc,
    report: &mut Report,
) -> Result<Option<Token>, Error> {
    let (name, contract) = (&asset.name, asset.contract);
    if instance(rpc, contract).await?.is_none() {
        let hint = "see `contract` of it under `stellar.assets`, and `network`: the contract belongs to one network";
        let what = format!("the contract {contract} of {name} does not exist on {network}");
        report.fault("asset-contract", what, hint);
        return Ok(None);
    }
    match view(rpc, contract, "decimals").await? {
        Ok(ScVal::U32(places)) if usize::try_from(places) == Ok(asset.decimals.places()) => {
            let what = format!("{name} is {contract}, with {places} decimals");
            report.fine("asset", what);
        }
        Ok(ScVal::U32(places)) => report.fault(
            "asset-decimals",
            format!(
                "{name} has {places} decimals, and the configuration says {}: every price in it is wrong",
                asset.decimals.places()
            ),
            format!("write `decimals: {places}` for it under `stellar.assets`"),
        ),
        answer => {
            let why = match answer {
                Ok(_) => "`decimals()` is no number".to_owned(),
                Err(error) => format!("`decimals()` fails: {error}"),
            };
            report.fault(
                "asset-contract",
                format!("the contract {contract} of {name} is no token: {why}"),
                "name a contract with the interface of SEP-41 under `stellar.assets`",
            );
            return Ok(None);
        }
    }
    // The name alone proves nothing: the contract has to be the one that the named asset has.
    let named = match view(rpc, contract, "name").await? {
        Ok(ScVal::String(name)) => String::from_utf8_lossy(name.as_slice()).into_owned(),
        _ => String::new(),
    };
    let classic = named.parse::<ClassicAsset>().ok();
    Ok(Some(match classic.filter(|asset| asset.contract(network) == contract) {
        _ if contract == network.xlm().contract => Token::Native,
        Some(classic) => Token::Classic(classic),
        None => Token::Other,
    }))
}

/// Looks at everybody who is paid.
pub(super) async fn examine_payees(
    settings: &Settings,
    tokens: &BTreeMap<ContractId, Token>,
    rpc: &Rpc,
    report: &mut Report,
) -> Result<(), Error> {
    for ((contract, payee), asked) in asked(settings) {
        // Without its contract the asset was told of already.
        let Some(token) = tokens.get(&contract) else { continue };
        let before = report.faults();
        match payee {
            Address::Account(account) => {
                examine_account(account, &asked, token, rpc, report).await?;
            }
            Address::Contract(payee) => examine_contract(payee, &asked, rpc, report).await?,
        }
        if report.faults() == before {
            let what =
                format!("{payee} can be paid in {}, for {}", asked.asset.name, asked.whose());
            report.fine("payee", what);
        }
    }
    Ok(())
}

async fn examine_account(
    account: AccountId,
    asked: &Asked<'_>,
    token: &Token,
    rpc: &Rpc,
    report: &mut Report,
) -> Result<(), Error> {
    let (name, whose) = (&asked.asset.name, asked.whose());
    if matches!(token, Token::Other) {
        return Ok(());
    }
    if rpc.accounts(&[account]).await?.is_empty() {
        report.fault(
            "payee-missing",
            format!("the payee {account} does not exist on {}, for {whose}", rpc.network()),
            "create the account by sending it XLM, or see `pay_to` and `network`",
        );
        return Ok(());
    }
    let Token::Classic(classic) = token else { return Ok(()) };
    if classic.issuer() == account {
        report.fault(
            "payee-issuer",
            format!("the payee {account} is the issuer of {name}, for {whose}: what is paid to it is gone"),
            "name an account of your own in `pay_to`",
        );
        return Ok(());
    }
    let Some(trustline) = classic.trustline(rpc, account).await? else {
        report.fault(
            "payee-trustline",
            format!("the payee {account} has no trustline for {name}, for {whose}"),
            format!("have the account open one for {classic}: in its wallet, or by `tollgate setup` on a test network"),
        );
        return Ok(());
    };
    if trustline.flags & AUTHORIZED == 0 {
        report.fault(
            "payee-unauthorized",
            format!("the payee {account} is not authorized to hold {name}, for {whose}"),
            format!("ask the issuer {} to authorize its trustline", classic.issuer()),
        );
        return Ok(());
    }
    let room = room(&trustline);
    if i128::from(room) < asked.amount.units() {
        let shown = |amount: Amount| amount.to_decimal(asked.asset.decimals);
        report.fault(
            "payee-limit",
            format!(
                "the payee {account} can take {} {name} more, and {} is asked, for {whose}",
                shown(Amount::from_units(room.into()).unwrap_or_default()),
                shown(asked.amount),
            ),
            "raise the limit of its trustline, or move some of what it holds",
        );
    }
    Ok(())
}

async fn examine_contract(
    payee: ContractId,
    asked: &Asked<'_>,
    rpc: &Rpc,
    report: &mut Report,
) -> Result<(), Error> {
    let whose = asked.whose();
    match instance(rpc, payee).await? {
        None => report.fault(
            "payee-missing",
            format!("the payee {payee} does not exist on {}, for {whose}: what is paid to it may be gone", rpc.network()),
            "see `pay_to` and `network`: it must be a contract that can pay out again, or an account (`G…`)",
        ),
        Some(xdr::ContractExecutable::StellarAsset) => report.fault(
            "payee-kind",
            format!("the payee {payee} is the contract of an asset, for {whose}: what is paid to it is gone"),
            "name an account (`G…`) in `pay_to`; the asset is named by the price",
        ),
        Some(_) => {}
    }
    Ok(())
}

/// Looks at who pays the fees of the network.
pub(super) async fn examine_sponsors(
    payment: &Payment,
    rpc: &Rpc,
    report: &mut Report,
) -> Result<(), Error> {
    let Some(settings) = &payment.sponsor else { return Ok(()) };
    for seed in &settings.sponsors {
        let sponsor = seed.account();
        let Some(entry) = rpc.accounts(&[sponsor]).await?.into_iter().next() else {
            report.fault(
                "sponsor-missing",
                format!("the sponsor {sponsor} does not exist on {}", payment.network),
                format!(
                    "fund it with at least {} XLM",
                    lumens(settings.needed_stroops(lanes(settings)))
                ),
            );
            continue;
        };
        let mut missing = 0_usize;
        for some in settings.lane_accounts(seed).chunks(MOST_ENTRIES) {
            let found = rpc.accounts(some).await?.len();
            missing = missing.saturating_add(some.len().saturating_sub(found));
        }
        let (balance, needed) = (entry.balance, settings.needed_stroops(missing));
        if balance < needed {
            report.fault(
                "sponsor-funds",
                format!(
                    "the sponsor {sponsor} has {} XLM, and needs {} for {missing} lanes to create and for fees",
                    lumens(balance),
                    lumens(needed)
                ),
                format!(
                    "fund it with at least {} XLM more, or set fewer `stellar.lanes`",
                    lumens(needed.saturating_sub(balance))
                ),
            );
        } else {
            report.fine("sponsor", format!("{sponsor} has {} XLM", lumens(balance)));
        }
    }
    Ok(())
}

impl Asked<'_> {
    /// For which routes, as a message names them.
    fn whose(&self) -> String {
        let shown: Vec<String> =
            self.routes.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
        let shown = shown.join(", ");
        match self.routes.len().saturating_sub(SHOWN) {
            0 => shown,
            more => format!("{shown} and {more} more"),
        }
    }
}

/// What the routes ask, by asset and payee.
fn asked(settings: &Settings) -> BTreeMap<(ContractId, Address), Asked<'_>> {
    let mut all = BTreeMap::new();
    for route in settings.table.routes() {
        let Access::Priced(terms) = &route.access else { continue };
        for offer in &terms.offers {
            let key = (offer.asset.contract, offer.payee);
            let asked = all.entry(key).or_insert_with(|| Asked {
                asset: &offer.asset,
                amount: offer.amount,
                routes: Vec::new(),
            });
            asked.amount = asked.amount.max(offer.amount);
            if asked.routes.last() != Some(&&*route.name) {
                asked.routes.push(&route.name);
            }
        }
    }
    all
}

/// What a contract runs; `None` where there is none.
async fn instance(
    rpc: &Rpc,
    contract: ContractId,
) -> Result<Option<xdr::ContractExecutable>, Error> {
    let key = LedgerKey::ContractData(xdr::LedgerKeyContractData {
        contract: contract.to_xdr(),
        key: ScVal::LedgerKeyContractInstance,
        durability: xdr::ContractDataDurability::Persistent,
    });
    let found = rpc.entries(&[key]).await?;
    Ok(found.into_iter().find_map(|(_, data)| match data {
        LedgerEntryData::ContractData(entry) => match entry.val {
            ScVal::ContractInstance(instance) => Some(instance.executable),
            _ => None,
        },
        _ => None,
    }))
}

/// What `function` of a contract returns when it is called without arguments; or why it fails.
async fn view(
    rpc: &Rpc,
    contract: ContractId,
    function: &str,
) -> Result<Result<ScVal, String>, Error> {
    let function_name = function.try_into().map(xdr::ScSymbol);
    let call = xdr::InvokeContractArgs {
        contract_address: contract.to_xdr(),
        function_name: function_name.expect("the names here are short"),
        args: xdr::VecM::default(),
    };
    let operation = xdr::Operation {
        source_account: None,
        body: xdr::OperationBody::InvokeHostFunction(xdr::InvokeHostFunctionOp {
            host_function: xdr::HostFunction::InvokeContract(call),
            auth: xdr::VecM::default(),
        }),
    };
    let envelope = transfer::unsigned_envelope(operation, None, LEAST_FEE, 0);
    Ok(match rpc.simulate(&envelope, AuthMode::Record).await? {
        Simulation::Success(simulated) => {
            simulated.returned.ok_or_else(|| "nothing comes back".to_owned())
        }
        // The host follows its error with a page of diagnostic events.
        Simulation::Failure { error, .. } => {
            Err(error.lines().next().unwrap_or_default().chars().take(200).collect())
        }
    })
}

/// How much more a trustline takes, in base units.
fn room(trustline: &xdr::TrustLineEntry) -> i64 {
    let buying = match &trustline.ext {
        xdr::TrustLineEntryExt::V0 => 0,
        xdr::TrustLineEntryExt::V1(ext) => ext.liabilities.buying,
    };
    trustline.limit.saturating_sub(trustline.balance).saturating_sub(buying).max(0)
}

fn lanes(settings: &own::Settings) -> usize {
    settings.lanes.try_into().unwrap_or(usize::MAX)
}

/// `AUTHORIZED_FLAG`: the trustline may receive.
const AUTHORIZED: u32 = 1;
/// How many routes a message names.
const SHOWN: usize = 3;
const LEAST_FEE: u32 = 100;
