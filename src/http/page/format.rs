//! Formats numbers, dates and prices for a reader's locale, by Unicode's CLDR.

use chrono::{DateTime, Datelike, TimeDelta, Timelike, Utc};
use icu_datetime::FixedCalendarDateTimeFormatter;
use icu_datetime::fieldsets::YMD;
use icu_datetime::input::{Date, DateTime as DateAndTime, Time};
use icu_decimal::DecimalFormatter;
use icu_decimal::input::Decimal;
use icu_decimal::options::DecimalFormatterOptions;
use icu_locale_core::Locale;

use super::i18n::{Price, fill};
use crate::money::Money;
use crate::time_zone::Tz;

/// A whole number.
pub(super) fn count(locale: &Locale, count: u64) -> String {
    decimal(locale, &Decimal::from(count))
}

/// The last day of a pass that ends at `end`, in this time zone; with the time if it ends before the end of that day.
pub(super) fn last_moment(locale: &Locale, end: DateTime<Utc>, zone: &Tz) -> String {
    let (day, to_its_end) = last_day(end, zone);
    let written = date(locale, &day, !to_its_end);
    written.unwrap_or_else(|| day.format("%Y-%m-%d %H:%M").to_string())
}

/// The same without a time, for an expired pass.
pub(super) fn day_of_end(locale: &Locale, end: DateTime<Utc>, zone: &Tz) -> String {
    let (day, _) = last_day(end, zone);
    date(locale, &day, false).unwrap_or_else(|| day.format("%Y-%m-%d").to_string())
}

/// A moment of the last day, and whether the pass is valid to the end of that day.
fn last_day(end: DateTime<Utc>, zone: &Tz) -> (DateTime<Tz>, bool) {
    let end = end.with_timezone(zone);
    if end.num_seconds_from_midnight() == 0 {
        return (end - TimeDelta::seconds(1), true);
    }
    let is_last_minute = (end.hour(), end.minute()) == (23, 59);
    (end, is_last_minute)
}

/// `None`: the year is out of ICU's range.
fn date(locale: &Locale, at: &DateTime<Tz>, with_time: bool) -> Option<String> {
    let part = |number: u32| u8::try_from(number).ok();
    let (month, day) = (part(at.month())?, part(at.day())?);
    let date = Date::try_new_gregorian(at.year(), month, day).ok()?;
    if !with_time {
        let formatter = FixedCalendarDateTimeFormatter::try_new(locale.into(), YMD::long());
        return Some(formatter.ok()?.format(&date).to_string());
    }
    let time = Time::try_new(part(at.hour())?, part(at.minute())?, 0, 0).ok()?;
    let fields = YMD::long().with_time_hm();
    let formatter = FixedCalendarDateTimeFormatter::try_new(locale.into(), fields);
    Some(formatter.ok()?.format(&DateAndTime { date, time }).to_string())
}

/// A price with all decimals of its currency.
pub(super) fn price(locale: &Locale, words: &Price, price: Money) -> String {
    let mut amount = Decimal::from(price.amount);
    amount.multiply_pow10(-i16::try_from(price.currency.exponent()).unwrap_or(0));
    let amount = decimal(locale, &amount);
    let code = price.currency.code();
    if let Some(symbol) = words.symbols.get(code) {
        return fill(&words.with_symbol, &[("symbol", symbol), ("amount", &amount)]);
    }
    let code = code.to_ascii_uppercase();
    fill(&words.with_code, &[("code", &code), ("amount", &amount)])
}

fn decimal(locale: &Locale, number: &Decimal) -> String {
    match DecimalFormatter::try_new(locale.into(), DecimalFormatterOptions::default()) {
        Ok(formatter) => formatter.format(number).to_string(),
        Err(_) => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::page::i18n;

    fn written(tag: &str, write: impl Fn(&Locale, &Price) -> String) -> String {
        let languages = i18n::load(std::path::Path::new("nowhere")).unwrap();
        let locale: Locale = tag.parse().unwrap();
        let is_norwegian = tag.starts_with("nb");
        let language = languages
            .iter()
            .find(|one| (one.tag == "nb") == is_norwegian)
            .unwrap();
        write(&locale, &language.words.price)
    }

    fn priced(tag: &str, amount: i64, code: &str) -> String {
        let currency = code.parse().unwrap();
        written(tag, |locale, words| {
            price(locale, words, Money { amount, currency })
        })
    }

    /// As JavaScript's `Intl.NumberFormat` has them, which writes by the same data.
    #[test]
    fn prices_are_written_as_the_language_does_and_zero_and_three_decimal_currencies_are_right() {
        assert_eq!(priced("en", 150_000, "nok"), "NOK\u{a0}1,500.00");
        assert_eq!(priced("nb", 150_000, "nok"), "1\u{a0}500,00\u{a0}kr");
        assert_eq!(priced("en", 1_999, "usd"), "$19.99");
        assert_eq!(priced("nb", 1_999, "usd"), "19,99\u{a0}USD");
        assert_eq!(priced("en", 150_000, "jpy"), "¥150,000");
        assert_eq!(priced("nb", 1_500, "jpy"), "1\u{a0}500\u{a0}JPY");
        assert_eq!(priced("en", 1_234_567, "kwd"), "KWD\u{a0}1,234.567");
        assert_eq!(priced("nb", 1_234_567, "kwd"), "1\u{a0}234,567\u{a0}KWD");
        assert_eq!(priced("en", 5, "eur"), "€0.05");
        assert_eq!(priced("nb", 0, "nok"), "0,00\u{a0}kr");
        assert_eq!(priced("en", i64::MAX, "gbp"), "£92,233,720,368,547,758.07");
    }

    #[test]
    fn a_pass_is_valid_until_its_last_day_in_the_shops_time_zone() {
        let until = |tag: &str, end: &str, zone: &Tz| {
            let end = end.parse().unwrap();
            written(tag, |locale, _| last_moment(locale, end, zone))
        };
        let oslo = &"Europe/Oslo".parse().unwrap();
        // 23:59:59 in Oslo is still the 30th there, and in UTC, too; half an hour more is not.
        assert_eq!(until("nb", "2027-06-30T21:59:59Z", oslo), "30. juni 2027");
        assert_eq!(until("en-GB", "2027-06-30T21:59:59Z", oslo), "30 June 2027");
        assert_eq!(until("en", "2027-06-30T21:59:59Z", oslo), "June 30, 2027");
        // Midnight is the end of the day before.
        assert_eq!(until("nb", "2027-06-30T22:00:00Z", oslo), "30. juni 2027");
        assert_eq!(until("nb", "2027-12-31T23:00:00Z", oslo), "31. desember 2027");
        // Any other time is told.
        assert_eq!(
            until("nb", "2027-06-30T22:30:00Z", oslo),
            "1. juli 2027 kl. 00:30"
        );
        assert_eq!(
            until("en-GB", "2027-02-21T13:05:00Z", oslo),
            "21 February 2027 at 14:05"
        );
    }

    #[test]
    fn a_date_that_no_calendar_has_room_for_is_told_all_the_same() {
        let end = DateTime::<Utc>::MAX_UTC;
        assert!(!written("nb", |locale, _| last_moment(locale, end, &Tz::UTC)).is_empty());
    }
}
