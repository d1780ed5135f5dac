//! What several test programs share.

pub mod home;
pub mod postgres;
pub mod purchases;
