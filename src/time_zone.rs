//! Time zones by their IANA names: jiff's tz database, for chrono. See docs/decisions/fulfilment.md for why not chrono-tz's.

use std::fmt;
use std::str::FromStr;

use chrono::offset::MappedLocalTime;
use chrono::{FixedOffset, NaiveDate, NaiveDateTime, NaiveTime, Offset, TimeZone, Utc};
use jiff::Timestamp;
use jiff::tz::AmbiguousOffset;
use serde::{Serialize, Serializer};

/// A time zone of the tz database, as it was when this program was built: `Europe/Oslo`, `UTC`. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tz(jiff::tz::TimeZone);

impl Tz {
    pub const UTC: Self = Self(jiff::tz::TimeZone::UTC);

    /// Its IANA name, spelled as the tz database does.
    #[must_use]
    pub fn name(&self) -> &str {
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
        let is_known = zone.iana_name().is_some() && !zone.is_unknown();
        is_known.then_some(Self(zone)).ok_or(UnknownTimeZone)
    }
}

impl Serialize for Tz {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.name())
    }
}

/// How far the clocks of a time zone are ahead of UTC at some moment.
#[derive(Debug, Clone)]
pub struct TzOffset {
    zone: Tz,
    ahead: FixedOffset,
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

impl Tz {
    fn offset(&self, ahead: jiff::tz::Offset) -> TzOffset {
        // The tz database has nothing beyond 16 hours.
        let ahead = FixedOffset::east_opt(ahead.seconds()).unwrap_or_else(|| Utc.fix());
        let zone = self.clone();
        TzOffset { zone, ahead }
    }
}

impl TimeZone for Tz {
    type Offset = TzOffset;

    fn from_offset(offset: &TzOffset) -> Self {
        offset.zone.clone()
    }

    fn offset_from_local_date(&self, local: &NaiveDate) -> MappedLocalTime<TzOffset> {
        self.offset_from_local_datetime(&local.and_time(NaiveTime::MIN))
    }

    fn offset_from_local_datetime(&self, local: &NaiveDateTime) -> MappedLocalTime<TzOffset> {
        let local = jiff::tz::Offset::UTC.to_datetime(as_utc(local));
        match self.0.to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Unambiguous { offset } => MappedLocalTime::Single(self.offset(offset)),
            AmbiguousOffset::Fold { before, after } => {
                MappedLocalTime::Ambiguous(self.offset(before), self.offset(after))
            }
            AmbiguousOffset::Gap { .. } => MappedLocalTime::None,
        }
    }

    fn offset_from_utc_date(&self, utc: &NaiveDate) -> TzOffset {
        self.offset_from_utc_datetime(&utc.and_time(NaiveTime::MIN))
    }

    fn offset_from_utc_datetime(&self, utc: &NaiveDateTime) -> TzOffset {
        self.offset(self.0.to_offset(as_utc(utc)))
    }
}

/// To the second: clocks change at whole ones. Years beyond 9999, which jiff does not know, become its last.
fn as_utc(time: &NaiveDateTime) -> Timestamp {
    let (first, last) = (Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
    let seconds = time.and_utc().timestamp().clamp(first, last);
    Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH)
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
        assert_eq!("europe/oslo".parse(), Ok(oslo.clone()));
        assert_eq!(oslo.name(), "Europe/Oslo");
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
