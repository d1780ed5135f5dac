//! What several test programs share.

pub(crate) mod home;
pub(crate) mod ports;
pub(crate) mod postgres;
pub(crate) mod purchases;
