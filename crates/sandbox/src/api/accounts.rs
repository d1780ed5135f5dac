//! Accounts: the platform's own, and those that are connected to it.

use serde_json::json;

use super::call::{Answer, Call};
use super::error::ApiError;
use crate::objects::Account;

pub(super) fn own(call: &mut Call<'_>) -> Answer {
    call.params.finish()?;
    let account = match &call.scope.account {
        Some(id) => call.world.accounts.get(id),
        None => Some(&call.world.platform),
    };
    Ok(account.map(Account::json).unwrap_or_default())
}

pub(super) fn create(call: &mut Call<'_>) -> Answer {
    let email = call.params.text("email")?;
    call.params
        .ignore(&["type", "country", "capabilities", "controller", "business_type"]);
    call.params.finish()?;
    let id = call.world.ids.next("acct_1", 15);
    Ok(call.world.connect(id, call.cause.at, email).json())
}

pub(super) fn retrieve(call: &mut Call<'_>, id: &str) -> Answer {
    call.params.finish()?;
    if id == call.world.platform.id {
        return Ok(call.world.platform.json());
    }
    let account = call.world.accounts.get(id);
    account
        .map(Account::json)
        .ok_or_else(|| ApiError::missing("account", id, "account"))
}

pub(super) fn list(call: &mut Call<'_>) -> Answer {
    let limit = call.limit()?;
    let after = call.params.text("starting_after")?;
    call.params.finish()?;
    let mut accounts = call
        .world
        .accounts
        .values()
        .skip_while(|account| after.as_ref().is_some_and(|after| account.id <= *after));
    let data: Vec<_> = accounts.by_ref().take(limit).map(Account::json).collect();
    Ok(json!({"object": "list", "data": data, "has_more": accounts.next().is_some(), "url": call.path}))
}

/// No money is kept here; the call is a cheap way to see whether a key works.
pub(super) fn balance(call: &mut Call<'_>) -> Answer {
    call.params.finish()?;
    Ok(json!({"object": "balance", "available": [], "pending": [], "livemode": call.scope.livemode}))
}
