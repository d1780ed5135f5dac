use chrono::{Datelike, NaiveDate, NaiveDateTime, TimeDelta};
use proptest::prelude::*;

use super::*;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn ticks(schedule: &str, zone: &Tz, from: &str, to: &str) -> Vec<DateTime<Utc>> {
    let schedule: Schedule = schedule.parse().unwrap();
    let (from, to) = (at(from), at(to));
    std::iter::successors(schedule.after(from, zone), |tick| schedule.after(*tick, zone))
        .take_while(|tick| *tick <= to)
        .collect()
}

fn written(ticks: &[DateTime<Utc>]) -> Vec<String> {
    ticks
        .iter()
        .map(|tick| tick.format("%d %H:%M").to_string())
        .collect()
}

fn oslo() -> Tz {
    "Europe/Oslo".parse().unwrap()
}

#[test]
fn a_tick_at_half_past_two_comes_once_on_the_day_when_that_does_not_exist() {
    // On 29 March 2026, 02:00 in Oslo (01:00 UTC) is followed by 03:00.
    let night = ticks(
        "30 2 * * *",
        &oslo(),
        "2026-03-28T00:00:00Z",
        "2026-03-30T12:00:00Z",
    );
    assert_eq!(written(&night), ["28 01:30", "29 01:00", "30 00:30"]);
}

#[test]
fn a_tick_at_half_past_two_comes_once_on_the_day_when_that_exists_twice() {
    // On 25 October 2026, 03:00 in Oslo (01:00 UTC) is followed by 02:00.
    let night = ticks(
        "30 2 * * *",
        &oslo(),
        "2026-10-24T00:00:00Z",
        "2026-10-26T12:00:00Z",
    );
    assert_eq!(written(&night), ["24 00:30", "25 00:30", "26 01:30"]);
}

#[test]
fn every_ten_minutes_stays_every_ten_minutes_over_the_dst_change_both_ways() {
    for (from, to) in [
        ("2026-03-28T20:00:00Z", "2026-03-29T06:00:00Z"),
        ("2026-10-24T20:00:00Z", "2026-10-25T06:00:00Z"),
    ] {
        let ticks = ticks("*/10 * * * *", &oslo(), from, to);
        assert_eq!(ticks.len(), 60, "{ticks:?}");
        assert!(
            ticks
                .windows(2)
                .all(|pair| pair[1] - pair[0] == TimeDelta::minutes(10)),
            "{ticks:?}"
        );
    }
}

#[test]
fn the_tick_before_an_instant_is_the_one_that_was_last_due() {
    let schedule: Schedule = "30 2 * * *".parse().unwrap();
    let before = |text: &str| schedule.before(at(text), &oslo()).unwrap();
    assert_eq!(before("2026-03-29T01:00:00Z"), at("2026-03-29T01:00:00Z"));
    assert_eq!(before("2026-03-29T00:59:59Z"), at("2026-03-28T01:30:00Z"));
    assert_eq!(before("2026-10-25T01:30:00Z"), at("2026-10-25T00:30:00Z"));
    assert_eq!(before("2026-10-25T01:29:59.999Z"), at("2026-10-25T00:30:00Z"));
    assert_eq!(before("2026-10-26T01:30:00.5Z"), at("2026-10-26T01:30:00Z"));
}

#[test]
fn what_is_no_schedule_is_refused() {
    let parsed = |text: &str| text.parse::<Schedule>().map(drop);
    for text in [
        "",
        "hourly",
        "0 3 * *",
        "0 0 3 * * *",
        "60 3 * * *",
        "0 3 * * MOO",
        "@reboot",
    ] {
        assert_eq!(parsed(text), Err(FORM), "{text}");
    }
    assert_eq!(parsed("0 0 31 2 *"), Err("a schedule that comes at some time"));
    for text in ["@daily", "0 3 * * MON-FRI", "*/10 8-18 * * *"] {
        assert_eq!(parsed(text), Ok(()), "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_day_has_exactly_one_tick_in_every_time_zone(
        zone in prop::sample::select(crate::time_zone::all()),
        hour in 0..24_u32,
        minute in 0..60_u32,
        year in 2024..2028_i32,
    ) {
        let schedule: Schedule = format!("{minute} {hour} * * *").parse().unwrap();
        let days: Vec<_> = NaiveDate::from_ymd_opt(year, 1, 1)
            .unwrap()
            .iter_days()
            .take_while(|day| day.year() == year)
            .map(|day| first_of(day.and_hms_opt(hour, minute, 0).unwrap(), &zone))
            .collect();
        let before = days[0] - TimeDelta::seconds(1);
        let ticks: Vec<_> = std::iter::successors(schedule.after(before, &zone), |tick| schedule.after(*tick, &zone))
            .take(days.len())
            .collect();
        prop_assert_eq!(&ticks, &days);
        for tick in ticks {
            prop_assert_eq!(schedule.before(tick, &zone), Some(tick));
            let later = tick + TimeDelta::hours(2);
            prop_assert_eq!(schedule.before(later, &zone), Some(tick));
        }
    }
}

/// The instant of this wall clock time: the first of two, or the end of the gap that it falls into.
fn first_of(wall: NaiveDateTime, zone: &Tz) -> DateTime<Utc> {
    let minutes = (0..).map(|minute| wall + TimeDelta::minutes(minute));
    let instants = minutes.filter_map(|wall| wall.and_local_timezone(zone.clone()).earliest());
    instants.map(|at| at.to_utc()).next().unwrap()
}
