//! When something is due: cron's five fields, read in a time zone.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};

use crate::time_zone::Tz;

/// What a schedule must look like; follows "must be …".
const FORM: &str =
    "five fields of cron (minute hour day month weekday), such as `0 3 * * *` or `*/10 * * * *`";

/// Five fields of cron: minute, hour, day of the month, month, weekday. Names (`MON`, `JAN`) and `@daily` are understood.
///
/// With one minute and one hour (`30 2 * * *`) there is exactly one tick for each day: where the clocks are put forward over
/// it, right after the gap, and where they are put back, at the first of the two. All else goes by the wall clock: every ten
/// minutes is every ten minutes, also in the hour that comes twice.
#[derive(Clone)]
pub struct Schedule {
    source: String,
    cron: Cron,
}

impl Schedule {
    /// The first tick after `at`; `None`: there is none before the end of the calendar.
    #[must_use]
    pub fn after(&self, at: DateTime<Utc>, zone: &Tz) -> Option<DateTime<Utc>> {
        let next = self.cron.find_next_occurrence(&at.with_timezone(zone), false);
        // Ticks go forward, whatever a library makes of an odd time zone: one that did not would be fired for ever.
        next.ok().map(|tick| tick.to_utc()).filter(|tick| *tick > at)
    }

    /// The last tick that is not after `at`; `None`: there was none since the beginning of the calendar.
    #[must_use]
    pub fn before(&self, at: DateTime<Utc>, zone: &Tz) -> Option<DateTime<Utc>> {
        let last = self.cron.find_previous_occurrence(&at.with_timezone(zone), true);
        last.ok().map(|tick| tick.to_utc()).filter(|tick| *tick <= at)
    }
}

impl FromStr for Schedule {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parser = CronParser::builder()
            .seconds(Seconds::Disallowed)
            .year(Year::Disallowed)
            .build();
        let cron = parser.parse(text).map_err(|_| FORM)?;
        let schedule = Self {
            source: text.to_owned(),
            cron,
        };
        match schedule.after(DateTime::UNIX_EPOCH, &Tz::UTC) {
            Some(_) => Ok(schedule),
            None => Err("a schedule that comes at some time"),
        }
    }
}

impl fmt::Display for Schedule {
    /// As it was set.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Schedule({})", self.source)
    }
}

#[cfg(test)]
mod tests;
