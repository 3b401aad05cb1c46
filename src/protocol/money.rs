//! Amounts of an asset in base units, and their decimal text.
//!
//! Knows no currency and no rate: a price in dollars is a price in the pegged asset, one to one.
//! There is no floating point here, and no rounding: what does not fit is an error.

use std::fmt;

/// A non-negative number of an asset's base units (USDC has 7 decimals: `$0.001` is 10,000 units).
///
/// Never above `i128::MAX`, the bound of SEP-41.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Amount(i128);

impl Amount {
    /// No money.
    pub const ZERO: Self = Self(0);

    /// One base unit, the least there is.
    pub const ONE: Self = Self(1);

    /// The amount of `units` base units, or `None` if it is negative.
    #[must_use]
    pub const fn from_units(units: i128) -> Option<Self> {
        if units < 0 { None } else { Some(Self(units)) }
    }

    /// Reads base units as the wire formats write them: decimal digits, no sign, no leading zero.
    ///
    /// # Errors
    /// [`Error::NotUnits`] for any other text, [`Error::TooLarge`] above `i128::MAX`.
    pub fn parse_units(text: &str) -> Result<Self, Error> {
        let digits = text.as_bytes();
        let canonical = !digits.is_empty()
            && digits.iter().all(u8::is_ascii_digit)
            && (digits.len() == 1 || digits.first() != Some(&b'0'));
        if !canonical {
            return Err(Error::NotUnits);
        }
        text.parse().map(Self).map_err(|_| Error::TooLarge)
    }

    /// Reads a price such as `$0.001`, `0.25` or `1.5 USDC` (the unit is the caller's to check: see [`Price`]).
    ///
    /// # Errors
    /// [`Error::TooPrecise`] if it has more decimals than the asset; it is never rounded.
    pub fn parse_decimal(text: &str, decimals: Decimals) -> Result<Self, Error> {
        let (whole, fraction) = match text.split_once('.') {
            Some((whole, fraction)) if !fraction.is_empty() => (whole, fraction),
            Some(_) => return Err(Error::NotDecimal),
            None => (text, ""),
        };
        let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !is_digits(whole) || !is_digits(fraction) {
            return Err(Error::NotDecimal);
        }
        if fraction.len() > decimals.places() {
            return Err(Error::TooPrecise { decimals: fraction.len(), asset: decimals });
        }
        let digits = format!("{whole}{fraction:0<places$}", places = decimals.places());
        digits.parse().map(Self).map_err(|_| Error::TooLarge)
    }

    /// The number of base units, never negative.
    #[must_use]
    pub const fn units(self) -> i128 {
        self.0
    }

    /// Whether this is no money at all.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The sum; `None` above `i128::MAX`.
    #[must_use]
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// What is left after taking `other` away; nothing if that is more than there is.
    #[must_use]
    pub fn less(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0).max(0))
    }

    /// The amount as decimal text of an asset with `decimals`, without trailing zeros: `0.001`.
    #[must_use]
    pub fn to_decimal(self, decimals: Decimals) -> String {
        let places = decimals.places();
        let digits = format!("{:0>width$}", self.0, width = places.saturating_add(1));
        let (whole, fraction) = digits.split_at(digits.len().saturating_sub(places));
        match fraction.trim_end_matches('0') {
            "" => whole.to_owned(),
            fraction => format!("{whole}.{fraction}"),
        }
    }
}

/// Writes base units, as the wire formats do.
impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How many decimals an asset has: one whole unit is ten to their power in base units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decimals(u8);

impl Decimals {
    /// Every classic Stellar asset has 7.
    pub const STELLAR: Self = Self(7);

    /// `places` decimals; `None` above 38, which no `i128` could carry.
    #[must_use]
    pub const fn new(places: u8) -> Option<Self> {
        if places <= 38 { Some(Self(places)) } else { None }
    }

    /// The number of decimals.
    #[must_use]
    pub fn places(self) -> usize {
        self.0.into()
    }
}

impl fmt::Display for Decimals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A price as an operator writes it, split into its number and its unit, not yet an amount.
///
/// `$0.001` and `0.001` are in the pegged default asset; `0.5 XLM` names its asset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Price<'a> {
    /// The decimal number as written, to be read with [`Amount::parse_decimal`].
    pub number: &'a str,
    /// The asset's name, or `None` for the pegged default asset.
    pub asset: Option<&'a str>,
}

impl<'a> Price<'a> {
    /// Splits `text`; the number itself is not looked at.
    #[must_use]
    pub fn split(text: &'a str) -> Self {
        let text = text.trim();
        let bare = text.strip_prefix('$').map_or(text, str::trim_start);
        match bare.split_once(char::is_whitespace) {
            Some((number, unit)) => {
                let unit = unit.trim();
                let pegged = text.starts_with('$') && unit == "USD";
                Self { number, asset: if pegged { None } else { Some(unit) } }
            }
            None => Self { number: bare, asset: None },
        }
    }
}

/// Why a text is no amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not decimal digits without sign or leading zero.
    #[error("not a whole number of base units, written in decimal digits")]
    NotUnits,
    /// Not `123` or `0.123`.
    #[error("not a decimal number such as `0.001`")]
    NotDecimal,
    /// More decimals than the asset has; it would have to be rounded.
    #[error("has {decimals} decimals, but the asset has {asset}")]
    TooPrecise {
        /// Decimals as written.
        decimals: usize,
        /// Decimals of the asset.
        asset: Decimals,
    },
    /// Above `i128::MAX` base units.
    #[error("is larger than any amount on the ledger")]
    TooLarge,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn decimal_prices_become_exact_base_units() {
        for (text, units) in [
            ("0.001", 10_000),
            ("0.0000001", 1),
            ("1", 10_000_000),
            ("0001.50", 15_000_000),
            ("0", 0),
        ] {
            let amount = Amount::parse_decimal(text, Decimals::STELLAR);
            assert_eq!(amount, Ok(Amount(units)), "{text}");
        }
    }

    #[test]
    fn what_is_no_decimal_number_or_would_round_is_refused() {
        for text in [
            "", ".", "1.", ".5", "-1", "+1", "1e-7", "1,000", "0x10", "NaN", "٣", "0.1+0.2", " 1",
            "1_0",
        ] {
            assert_eq!(
                Amount::parse_decimal(text, Decimals::STELLAR),
                Err(Error::NotDecimal),
                "{text}"
            );
        }
        assert_eq!(
            Amount::parse_decimal("0.00000001", Decimals::STELLAR),
            Err(Error::TooPrecise { decimals: 8, asset: Decimals::STELLAR })
        );
        let huge = "9".repeat(40);
        assert_eq!(Amount::parse_decimal(&huge, Decimals::STELLAR), Err(Error::TooLarge));
    }

    #[test]
    fn base_units_have_one_spelling() {
        assert_eq!(Amount::parse_units("10000"), Ok(Amount(10_000)));
        assert_eq!(Amount::parse_units("0"), Ok(Amount::ZERO));
        assert_eq!(Amount::parse_units(&i128::MAX.to_string()), Ok(Amount(i128::MAX)));
        for text in ["", "00", "01", "+1", "-1", "1.0", "1e3", " 1", "0x1", "１"] {
            assert_eq!(Amount::parse_units(text), Err(Error::NotUnits), "{text}");
        }
        assert_eq!(
            Amount::parse_units("170141183460469231731687303715884105728"),
            Err(Error::TooLarge)
        );
    }

    #[test]
    fn a_price_is_split_into_number_and_asset() {
        for (text, number, asset) in [
            ("$0.001", "0.001", None),
            ("$ 0.5", "0.5", None),
            (" 0.25 ", "0.25", None),
            ("$1 USD", "1", None),
            ("1.5 XLM", "1.5", Some("XLM")),
            ("$0.001USDC", "0.001USDC", None),
        ] {
            assert_eq!(Price::split(text), Price { number, asset }, "{text}");
        }
    }

    proptest! {
        #[test]
        fn decimal_text_reads_back(units in 0..=i128::MAX, places in 0..=38_u8) {
            let decimals = Decimals(places);
            let text = Amount(units).to_decimal(decimals);
            prop_assert_eq!(Amount::parse_decimal(&text, decimals), Ok(Amount(units)));
        }

        #[test]
        fn no_text_makes_the_parsers_panic(text in ".*") {
            let _ = Amount::parse_units(&text);
            let _ = Amount::parse_decimal(&text, Decimals::STELLAR);
            let _ = Price::split(&text);
        }
    }
}
