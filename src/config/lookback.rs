//! What is set for the lookback.

use serde::Deserialize;

use super::value::{self, Days, Hours, Seconds};
use crate::schedule::Schedule;
use crate::time_zone::Tz;

/// `[lookback]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LookbackSettings {
    /// The time zone of the schedules.
    #[serde(deserialize_with = "value::time_zone")]
    pub time_zone: Tz,
    /// When the long lookback begins; `None`: never.
    #[serde(deserialize_with = "value::optional_word")]
    pub nightly: Option<Schedule>,
    /// How far back it goes, 1 to 400 days.
    #[serde(rename = "nightly_days")]
    pub nightly_window: Days<1, 400>,
    /// When the short lookback begins; `None`: never.
    #[serde(deserialize_with = "value::optional_word")]
    pub recent: Option<Schedule>,
    /// How far back it goes, 1 to 720 hours.
    #[serde(rename = "recent_hours")]
    pub recent_window: Hours<1, 720>,
    /// When our webhook endpoints at Stripe are looked at; `None`: never.
    #[serde(deserialize_with = "value::optional_word")]
    pub audit: Option<Schedule>,
    /// Over how long a tick's accounts are spread, up to 6 hours.
    #[serde(rename = "spread_seconds")]
    pub spread: Seconds<0, 21_600>,
}
