//! When a pass ends.

use proptest::prelude::*;

use super::*;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn zone(name: &str) -> Tz {
    name.parse().unwrap()
}

fn days(kind: Option<&str>, days: i64) -> Validity {
    Validity {
        kind: kind.map(str::to_owned),
        days: Some(days),
        expiry: None,
    }
}

fn date(text: &str) -> Validity {
    Validity {
        kind: Some("date".to_owned()),
        days: None,
        expiry: Some(Expiry::Date(text.parse().unwrap())),
    }
}

#[test]
fn end_is_start_and_validity_days_of_24_hours_in_utc() {
    let start = at("2025-03-01T12:34:56Z");
    let end_in_oslo = end(&days(Some("days"), 90), start, &zone("Europe/Oslo")).unwrap();
    assert_eq!(end_in_oslo, at("2025-05-30T12:34:56Z"));
    assert_eq!(end(&days(None, 90), start, &Tz::UTC).unwrap(), end_in_oslo);
}

#[test]
fn leap_days_count_as_days() {
    let end_of = |start| end(&days(None, 1), at(start), &Tz::UTC).unwrap();
    assert_eq!(end_of("2024-02-28T10:00:00Z"), at("2024-02-29T10:00:00Z"));
    assert_eq!(end_of("2025-02-28T10:00:00Z"), at("2025-03-01T10:00:00Z"));
    assert_eq!(end_of("2100-02-28T10:00:00Z"), at("2100-03-01T10:00:00Z"));
    let year = end(&days(None, 365), at("2024-02-29T10:00:00Z"), &Tz::UTC).unwrap();
    assert_eq!(year, at("2025-02-28T10:00:00Z"));
}

#[test]
fn a_fixed_date_ends_with_its_day_in_the_tenants_time_zone() {
    let start = at("2025-01-01T00:00:00Z");
    let in_zone = |text: &str, zone: &Tz| end(&date(text), start, zone).unwrap();
    assert_eq!(
        in_zone("2025-12-31", &zone("Europe/Oslo")),
        at("2025-12-31T22:59:59.999Z")
    );
    assert_eq!(
        in_zone("2025-07-31", &zone("Europe/Oslo")),
        at("2025-07-31T21:59:59.999Z")
    );
    assert_eq!(in_zone("2024-02-29", &Tz::UTC), at("2024-02-29T23:59:59.999Z"));
    assert_eq!(
        in_zone("2025-07-31", &zone("Asia/Kathmandu")),
        at("2025-07-31T18:14:59.999Z")
    );
}

#[test]
fn a_day_ends_by_the_newest_rules_of_its_time_zone() {
    let start = at("2026-01-01T00:00:00Z");
    let last_of_2026 = |name| end(&date("2026-12-31"), start, &zone(name)).unwrap();
    // British Columbia kept the time of the summer of 2026, and Morocco gave its own up.
    assert_eq!(last_of_2026("America/Vancouver"), at("2027-01-01T06:59:59.999Z"));
    assert_eq!(last_of_2026("Africa/Casablanca"), at("2026-12-31T23:59:59.999Z"));
}

#[test]
fn the_days_on_which_clocks_change_end_at_their_own_midnight() {
    let start = at("2018-01-01T00:00:00Z");
    let in_zone = |text: &str, zone: &Tz| end(&date(text), start, zone).unwrap();
    assert_eq!(
        in_zone("2025-03-30", &zone("Europe/Oslo")),
        at("2025-03-30T21:59:59.999Z")
    );
    assert_eq!(
        in_zone("2025-10-26", &zone("Europe/Oslo")),
        at("2025-10-26T22:59:59.999Z")
    );
    // Clocks went from 23:59:59 on the 3rd to 01:00 on the 4th: the 4th had no midnight.
    assert_eq!(
        in_zone("2018-11-03", &zone("America/Sao_Paulo")),
        at("2018-11-04T02:59:59.999Z")
    );
    // Clocks went from 23:59:59 back to 23:00: the hour before midnight came twice.
    assert_eq!(
        in_zone("2018-02-17", &zone("America/Sao_Paulo")),
        at("2018-02-18T02:59:59.999Z")
    );
    // Clocks went from 00:59:59 on the 2nd back to 00:00: midnight came twice, the day began at the first.
    assert_eq!(
        in_zone("2025-11-01", &zone("America/Havana")),
        at("2025-11-02T03:59:59.999Z")
    );
}

#[test]
fn a_full_instant_is_kept_as_it_is() {
    let validity = Validity {
        kind: Some("date".to_owned()),
        days: Some(30),
        expiry: Some(Expiry::Instant(at("2025-06-01T08:30:00Z"))),
    };
    let end = end(&validity, at("2025-01-01T00:00:00Z"), &zone("Europe/Oslo")).unwrap();
    assert_eq!(end, at("2025-06-01T08:30:00Z"));
}

#[test]
fn a_validity_that_says_nothing_or_contradicts_itself_is_refused() {
    let expiry = Some(Expiry::Instant(at("2030-01-01T00:00:00Z")));
    let cases = [
        (None, None, None),
        (Some("date"), None, None),
        (Some("date"), Some(30), None),
        (Some("days"), None, None),
        (Some("days"), None, expiry),
        (Some("forever"), Some(30), expiry),
        (Some("days"), Some(0), None),
        (Some("days"), Some(-30), None),
        (None, Some(36_501), None),
        (None, Some(i64::MAX), None),
    ];
    for (kind, days, expiry) in cases {
        let validity = Validity {
            kind: kind.map(str::to_owned),
            days,
            expiry,
        };
        assert!(
            end(&validity, at("2025-01-01T00:00:00Z"), &Tz::UTC).is_err(),
            "{validity:?}"
        );
    }
}

proptest! {
    #[test]
    fn a_fixed_date_ends_with_the_last_instant_of_its_day_in_every_time_zone(
        zone in prop::sample::select(crate::time_zone::all()),
        day in 0..25_000_u64,
    ) {
        let date = NaiveDate::from_ymd_opt(1980, 1, 1).unwrap() + Days::new(day);
        let last = last_instant(date, &zone).unwrap();
        // Not equal: Samoa skipped a whole day.
        prop_assert!(last.with_timezone(&zone).date_naive() <= date);
        prop_assert!((last + TimeDelta::milliseconds(1)).with_timezone(&zone).date_naive() > date);
    }
}
