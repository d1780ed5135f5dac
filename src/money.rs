//! Money in minor units with its currency, as Stripe states it.

use std::fmt;
use std::str::FromStr;

use iso_currency::Currency as IsoCurrency;
use serde::{Deserialize, Serialize};

/// A three-letter ISO 4217 code, in Stripe's lower case.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency([u8; 3]);

/// The text is not three ASCII letters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a currency: expected a three-letter ISO 4217 code such as `nok`")]
pub struct InvalidCurrency(String);

impl Currency {
    /// The code, lower case.
    #[must_use]
    pub fn code(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("???")
    }

    /// Whether ISO 4217 lists the code.
    #[must_use]
    pub fn is_listed(&self) -> bool {
        IsoCurrency::from_code(&self.code().to_ascii_uppercase()).is_some()
    }

    /// How many decimals the major unit has in the amounts that Stripe sends.
    ///
    /// ISO 4217, except where Stripe's amounts differ from it ("Zero-decimal currencies" and "Special cases" in
    /// Stripe's currency documentation): ISK and UGX have two for backward compatibility, MGA has none.
    /// A code that ISO does not list has two.
    #[must_use]
    pub fn exponent(&self) -> u32 {
        match self.code() {
            "isk" | "ugx" => 2,
            "mga" => 0,
            code => IsoCurrency::from_code(&code.to_ascii_uppercase())
                .and_then(IsoCurrency::exponent)
                .map_or(2, u32::from),
        }
    }
}

impl FromStr for Currency {
    type Err = InvalidCurrency;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let code: [u8; 3] = text
            .trim()
            .as_bytes()
            .try_into()
            .map_err(|_| InvalidCurrency(shorten(text)))?;
        if !code.iter().all(u8::is_ascii_alphabetic) {
            return Err(InvalidCurrency(shorten(text)));
        }
        Ok(Self(code.map(|byte| byte.to_ascii_lowercase())))
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(16).collect()
}

impl TryFrom<String> for Currency {
    type Error = InvalidCurrency;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> Self {
        currency.code().to_owned()
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// An amount in minor units (øre, cents, yen) of one currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Money {
    pub amount: i64,
    pub currency: Currency,
}

impl Money {
    /// Reads an amount in major units, such as `1500` or `1499.50`, exactly.
    ///
    /// `None` for what is no plain decimal number, is negative, does not fit, or is finer than the currency's minor
    /// unit (zeros aside).
    #[must_use]
    pub fn from_major(text: &str, currency: Currency) -> Option<Self> {
        let text = text.trim();
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !is_digits(whole) || !is_digits(fraction) {
            return None;
        }
        let fraction = fraction.trim_end_matches('0');
        let missing = currency
            .exponent()
            .checked_sub(u32::try_from(fraction.len()).ok()?)?;
        let fraction: i64 = if fraction.is_empty() {
            0
        } else {
            fraction.parse().ok()?
        };
        let amount = whole
            .parse::<i64>()
            .ok()?
            .checked_mul(10_i64.checked_pow(currency.exponent())?)?
            .checked_add(fraction * 10_i64.pow(missing))?;
        Some(Self { amount, currency })
    }
}

impl fmt::Display for Money {
    /// In major units with the currency's own number of decimals: `1500.00 NOK`, `500 JPY`, `1.234 KWD`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self.currency.code().to_ascii_uppercase();
        let exponent = self.currency.exponent();
        let sign = if self.amount < 0 { "-" } else { "" };
        let unit = 10_u64.pow(exponent);
        let amount = self.amount.unsigned_abs();
        if exponent == 0 {
            return write!(f, "{sign}{amount} {code}");
        }
        let width = exponent as usize;
        write!(f, "{sign}{}.{:0width$} {code}", amount / unit, amount % unit)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(amount: i64, code: &str) -> String {
        Money {
            amount,
            currency: code.parse().unwrap(),
        }
        .to_string()
    }

    #[test]
    fn zero_two_and_three_decimal_currencies_are_shown_in_major_units() {
        assert_eq!(shown(150_000, "nok"), "1500.00 NOK");
        assert_eq!(shown(5, "USD"), "0.05 USD");
        assert_eq!(shown(500, "jpy"), "500 JPY");
        assert_eq!(shown(1_234, "kwd"), "1.234 KWD");
        assert_eq!(shown(-1_050, "eur"), "-10.50 EUR");
        assert_eq!(shown(i64::MIN, "eur"), "-92233720368547758.08 EUR");
    }

    #[test]
    fn stripes_special_cases_differ_from_iso_4217() {
        assert_eq!(shown(500, "isk"), "5.00 ISK");
        assert_eq!(shown(500, "ugx"), "5.00 UGX");
        assert_eq!(shown(500, "mga"), "500 MGA");
        assert_eq!(shown(500, "xyz"), "5.00 XYZ");
    }

    #[test]
    fn major_units_are_read_exactly() {
        let read =
            |text, code: &str| Money::from_major(text, code.parse().unwrap()).map(|money| money.amount);
        assert_eq!(read("1500", "nok"), Some(150_000));
        assert_eq!(read(" 1499.5 ", "nok"), Some(149_950));
        assert_eq!(read("0.05", "usd"), Some(5));
        assert_eq!(read("0", "usd"), Some(0));
        assert_eq!(read("19.990", "usd"), Some(1_999));
        assert_eq!(read("500", "jpy"), Some(500));
        assert_eq!(read("500.00", "jpy"), Some(500));
        assert_eq!(read("1.234", "kwd"), Some(1_234));
        assert_eq!(read("0.29", "eur"), Some(29));
        for (garbage, code) in [
            ("", "nok"),
            ("12.345", "nok"),
            ("500.5", "jpy"),
            ("-5", "nok"),
            ("+5", "nok"),
            ("1e3", "nok"),
            ("1,500.00", "nok"),
            ("1.", "nok"),
            (".5", "nok"),
            ("1.2.3", "nok"),
            ("NaN", "nok"),
            ("٣", "nok"),
            ("92233720368547758.08", "nok"),
            ("99999999999999999999", "nok"),
        ] {
            assert_eq!(read(garbage, code), None, "{garbage}");
        }
        assert_eq!(read("92233720368547758.07", "nok"), Some(i64::MAX));
    }

    #[test]
    fn what_is_no_currency_is_refused() {
        for text in ["", "no", "noks", "n0k", "ø1"] {
            assert!(text.parse::<Currency>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(amount in 0..=i64::MAX, code in "nok|jpy|kwd|isk|mga|clf|xyz") {
            let money = Money { amount, currency: code.parse().unwrap() };
            let shown = money.to_string();
            let (major, _) = shown.split_once(' ').unwrap();
            prop_assert_eq!(Money::from_major(major, money.currency), Some(money));
        }
    }
}
