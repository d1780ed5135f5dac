//! Time zones by their IANA names, as jiff knows them, for chrono.
//!
//! jiff keeps the tz database as the compact files that it is published as. chrono-tz keeps it as tables of addresses,
//! which each process has to relocate at its start: 1.8 MB of memory for zones that nobody asks for.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use chrono::offset::MappedLocalTime;
use chrono::{Datelike, FixedOffset, NaiveDate, NaiveDateTime, NaiveTime, Offset, TimeZone, Timelike, Utc};
use jiff::Timestamp;
use jiff::civil::DateTime as Civil;
use jiff::tz::AmbiguousOffset;
use serde::{Serialize, Serializer};

/// A time zone of the tz database, as it was when this program was built: `Europe/Oslo`, `UTC`.
#[derive(Clone, Copy)]
pub struct Tz(&'static jiff::tz::TimeZone);

static UTC: jiff::tz::TimeZone = jiff::tz::TimeZone::UTC;

/// What has been asked for. There are some six hundred names, so each is kept for ever.
static KNOWN: Mutex<BTreeMap<&'static str, Tz>> = Mutex::new(BTreeMap::new());

impl Tz {
    pub const UTC: Self = Self(&UTC);

    /// Its IANA name, spelled as the tz database does.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.0.iana_name().unwrap_or("UTC")
    }
}

/// There is no time zone of this name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no time zone of the tz database")]
pub struct UnknownTimeZone;

impl FromStr for Tz {
    type Err = UnknownTimeZone;

    /// Letters' case does not matter.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let zone = jiff::tz::TimeZone::get(name).map_err(|_| UnknownTimeZone)?;
        let name = zone.iana_name().filter(|_| !zone.is_unknown());
        let name = name.ok_or(UnknownTimeZone)?;
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(zone) = known.get(name) {
            return Ok(*zone);
        }
        let zone = Self(Box::leak(Box::new(zone)));
        known.insert(zone.name(), zone);
        Ok(zone)
    }
}

impl PartialEq for Tz {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Tz {}

impl fmt::Debug for Tz {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Tz {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Tz {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.name())
    }
}

/// How far the clocks of a time zone are ahead of UTC at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TzOffset {
    zone: Tz,
    ahead: FixedOffset,
}

impl TzOffset {
    fn new(zone: Tz, ahead: jiff::tz::Offset) -> Self {
        // The tz database has nothing beyond 16 hours.
        let ahead = FixedOffset::east_opt(ahead.seconds()).unwrap_or_else(|| Utc.fix());
        Self { zone, ahead }
    }
}

impl Offset for TzOffset {
    fn fix(&self) -> FixedOffset {
        self.ahead
    }
}

impl fmt::Display for TzOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ahead.fmt(f)
    }
}

impl TimeZone for Tz {
    type Offset = TzOffset;

    fn from_offset(offset: &TzOffset) -> Self {
        offset.zone
    }

    fn offset_from_local_date(&self, local: &NaiveDate) -> MappedLocalTime<TzOffset> {
        self.offset_from_local_datetime(&local.and_time(NaiveTime::MIN))
    }

    fn offset_from_local_datetime(&self, local: &NaiveDateTime) -> MappedLocalTime<TzOffset> {
        let offset = |ahead| TzOffset::new(*self, ahead);
        let Some(civil) = civil(local) else {
            return MappedLocalTime::Single(self.offset_from_utc_datetime(local));
        };
        match self.0.to_ambiguous_timestamp(civil).offset() {
            AmbiguousOffset::Unambiguous { offset: ahead } => MappedLocalTime::Single(offset(ahead)),
            AmbiguousOffset::Fold { before, after } => {
                MappedLocalTime::Ambiguous(offset(before), offset(after))
            }
            AmbiguousOffset::Gap { .. } => MappedLocalTime::None,
        }
    }

    fn offset_from_utc_date(&self, utc: &NaiveDate) -> TzOffset {
        self.offset_from_utc_datetime(&utc.and_time(NaiveTime::MIN))
    }

    fn offset_from_utc_datetime(&self, utc: &NaiveDateTime) -> TzOffset {
        let (first, last) = (Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
        let seconds = utc.and_utc().timestamp().clamp(first, last);
        let at = Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH);
        TzOffset::new(*self, self.0.to_offset(at))
    }
}

/// To the second: clocks change at whole ones. `None`: of a year that jiff does not count to, 9999 on either side.
fn civil(local: &NaiveDateTime) -> Option<Civil> {
    let small = |number: u32| i8::try_from(number).ok();
    let year = i16::try_from(local.year()).ok()?;
    let (month, day) = (small(local.month())?, small(local.day())?);
    let (hour, minute, second) = (
        small(local.hour())?,
        small(local.minute())?,
        small(local.second())?,
    );
    Civil::new(year, month, day, hour, minute, second, 0).ok()
}

/// Every zone that chrono-tz, a peer, knows too.
#[cfg(test)]
pub(crate) fn all() -> Vec<Tz> {
    let names = chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name());
    names.map(|name| name.parse().unwrap()).collect()
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_zone_is_known_by_its_name_in_any_case() {
        let oslo: Tz = "Europe/Oslo".parse().unwrap();
        assert_eq!("europe/oslo".parse(), Ok(oslo));
        assert_eq!(oslo.name(), "Europe/Oslo");
        assert_eq!(oslo.to_string(), "Europe/Oslo");
        assert_eq!(serde_json::to_string(&oslo).unwrap(), "\"Europe/Oslo\"");
        assert_eq!("UTC".parse(), Ok(Tz::UTC));
        assert_ne!(oslo, Tz::UTC);
    }

    #[test]
    fn what_is_no_name_of_a_zone_is_refused() {
        for name in [
            "",
            "Oslo",
            "Etc/Unknown",
            "CET-1CEST",
            "../../etc/passwd",
            "Europe/Oslo\0",
            "local",
        ] {
            assert_eq!(name.parse::<Tz>(), Err(UnknownTimeZone), "{name:?}");
        }
    }

    #[test]
    fn years_beyond_jiffs_have_the_offset_of_its_last() {
        let oslo: Tz = "Europe/Oslo".parse().unwrap();
        for at in [DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC] {
            let local = at.with_timezone(&oslo);
            assert_eq!(local.to_utc(), at);
            assert!(
                oslo.offset_from_local_datetime(&at.naive_utc())
                    .single()
                    .is_some()
            );
        }
    }

    #[test]
    fn every_zone_that_chrono_tz_knows_is_known() {
        for theirs in chrono_tz::TZ_VARIANTS {
            assert_eq!(
                theirs.name().parse::<Tz>().map(|ours| ours.name()),
                Ok(theirs.name())
            );
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]
        /// For years that later editions of the tz database have left as they were.
        #[test]
        fn chrono_tz_tells_the_same(
            theirs in prop::sample::select(&chrono_tz::TZ_VARIANTS[..]),
            seconds in 725_846_400_i64..1_640_995_200,
        ) {
            let ours: Tz = theirs.name().parse().unwrap();
            let at = DateTime::from_timestamp(seconds, 0).unwrap().naive_utc();
            prop_assert_eq!(
                ours.offset_from_utc_datetime(&at).fix(),
                theirs.offset_from_utc_datetime(&at).fix()
            );
            prop_assert_eq!(
                ours.offset_from_local_datetime(&at).map(|offset| offset.fix()),
                theirs.offset_from_local_datetime(&at).map(|offset| offset.fix())
            );
        }
    }
}
