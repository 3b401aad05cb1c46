//! Prices, and other amounts of money: `"$0.001"`, `"0.5 XLM"`, or `{ amount: "10000", asset: USDC }` in base units.
//!
//! Exact decimal text all the way; what would have to be rounded is a fault, and so is a price of nothing.

use super::asset::{Assets, shown};
use crate::{
    config::read::{Keys, Spot, Text},
    protocol::{
        money::{self, Amount, Decimals, Price},
        stellar::Asset,
    },
};

/// Reads a price.
pub(super) fn read(spot: &Spot<'_>, assets: &Assets) -> Option<(Amount, Asset)> {
    read_as(&PRICE, spot, assets)
}

/// Reads an amount of the default asset that is a limit and no price.
pub(super) fn read_limit(spot: &Spot<'_>, assets: &Assets) -> Option<Amount> {
    let (amount, asset) = read_as(&LIMIT, spot, assets)?;
    if asset.contract != assets.default.contract {
        let name = &assets.default.name;
        return spot.fault(
            format!("expected an amount of {name}, the default asset, got one of {}", asset.name),
            format!("write it in {name}"),
        );
    }
    Some(amount)
}

/// What an amount of money is for, in the words of its faults.
struct Purpose {
    article: &'static str,
    noun: &'static str,
    /// What to do where it is zero.
    if_zero: &'static str,
}

fn read_as(purpose: &Purpose, spot: &Spot<'_>, assets: &Assets) -> Option<(Amount, Asset)> {
    let noun = purpose.noun;
    if spot.is_mapping() && !spot.has_key("env") {
        return read_units(purpose, spot, assets);
    }
    let text = spot.text()?;
    let price = Price::split(&text.text);
    let asset = match price.asset {
        None => assets.default.clone(),
        Some(name) => match assets.all.iter().find(|asset| *asset.name == *name) {
            Some(asset) => asset.clone(),
            None => {
                return text.fault(
                    "is in no asset of this configuration",
                    format!(
                        "write `$0.001`, or name the asset behind the number: {}",
                        assets.names()
                    ),
                );
            }
        },
    };
    if text.text.trim_start().starts_with('$') && &*asset.name == "XLM" {
        return text.fault(
            "is in dollars, but XLM is not pegged to the dollar",
            "write it in its own unit, such as `0.5 XLM`, or in another asset",
        );
    }
    match Amount::parse_decimal(price.number, asset.decimals) {
        Ok(amount) => Some((not_zero(purpose, &text, amount)?, asset)),
        Err(money::Error::TooPrecise { decimals, .. }) => text.fault(
            format!("has {decimals} decimals, but {} has {}", shown(&asset), asset.decimals),
            format!("the smallest {noun} is {}", smallest(asset.decimals)),
        ),
        Err(money::Error::TooLarge) => {
            text.fault("is larger than any amount on the ledger", format!("write a smaller {noun}"))
        }
        Err(_) => text.fault(
            format!("is not {} {noun}", purpose.article),
            spelling_hint(price.number, &asset),
        ),
    }
}

/// Exact base units: `{ amount: "10000", asset: USDC }`.
fn read_units(purpose: &Purpose, spot: &Spot<'_>, assets: &Assets) -> Option<(Amount, Asset)> {
    let fields = spot.fields(&UNITS)?;
    let asset = fields
        .need("asset", format!("name the asset: {}", assets.names()))
        .and_then(|spot| assets.find(&spot.text()?));
    let amount = fields.need("amount", "write the base units: `amount: \"10000\"`")?.text()?;
    match Amount::parse_units(&amount.text) {
        Ok(units) => Some((not_zero(purpose, &amount, units)?, asset?)),
        Err(money::Error::TooLarge) => {
            let hint = format!("write a smaller {}", purpose.noun);
            amount.fault("is larger than any amount on the ledger", hint)
        }
        Err(_) => amount.fault(
            "is not a whole number of base units",
            "write digits only, such as `\"10000\"`, or a decimal price such as `\"$0.001\"`",
        ),
    }
}

fn not_zero(purpose: &Purpose, text: &Text<'_>, amount: Amount) -> Option<Amount> {
    if amount.is_zero() {
        return text.fault(format!("is no {}", purpose.noun), purpose.if_zero);
    }
    Some(amount)
}

/// What to write instead of `number`.
fn spelling_hint(number: &str, asset: &Asset) -> String {
    let is_decimal =
        |text: &str| !text.is_empty() && Amount::parse_decimal(text, asset.decimals).is_ok();
    let digits = number.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
    let (head, tail) = number.split_at_checked(digits).unwrap_or((number, ""));
    let example = "write a decimal number, such as `$0.001`";
    match tail.chars().next() {
        Some(',') => format!("{example}: no separators, and a point for the decimals"),
        Some('e' | 'E') if is_decimal(head) => {
            format!(
                "{example}: all digits, no exponent; the smallest is {}",
                smallest(asset.decimals)
            )
        }
        Some(letter) if letter.is_ascii_uppercase() && is_decimal(head) => {
            format!("put a space between number and asset: `{head} {tail}`")
        }
        Some('+' | '*' | '/') => format!("{example}: a number, nothing to compute"),
        _ => example.to_owned(),
    }
}

/// One base unit as decimal text.
fn smallest(decimals: Decimals) -> String {
    Amount::from_units(1).unwrap_or_default().to_decimal(decimals)
}

const PRICE: Purpose = Purpose {
    article: "a",
    noun: "price",
    if_zero: "a route that costs nothing says `free: true`",
};
const LIMIT: Purpose =
    Purpose { article: "an", noun: "amount", if_zero: "write more than nothing, such as `$5.00`" };
const UNITS: Keys = Keys { known: &["amount", "asset"], later: &[] };
