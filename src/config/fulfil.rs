//! How purchases are read.

use std::str::FromStr;

use serde::Deserialize;

use super::value;
use crate::store::UnmatchedPolicy;

/// `[fulfil]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FulfilSettings {
    /// What a session's `client_reference_id` is.
    #[serde(deserialize_with = "value::word")]
    pub client_reference_id: ClientReference,
    /// Of paid sessions without any of our keys, where no tenant is known.
    pub unmatched: UnmatchedPolicy,
}

/// What a session's `client_reference_id` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientReference {
    /// A user's id.
    #[default]
    User,
    /// Something else, such as a cart's id: it names nobody.
    Ignore,
}

impl FromStr for ClientReference {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "user" => Ok(Self::User),
            "ignore" => Ok(Self::Ignore),
            _ => Err("`user` or `ignore`"),
        }
    }
}
