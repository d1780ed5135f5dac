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
    fn what_is_no_currency_is_refused() {
        for text in ["", "no", "noks", "n0k", "ø1"] {
            assert!(text.parse::<Currency>().is_err(), "{text}");
        }
    }
}
