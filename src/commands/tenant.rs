//! The tenant that `--tenant` names.

use surepass::store::{KnownTenant, Store};

use super::terminal::safe;
use crate::Failure;

/// How many tenants are listed where the given one does not exist.
const NAMED: usize = 10;

/// The tenant with this id, else with this slug; `Err`: the message for wrong usage.
pub(super) fn named<'a>(tenants: &'a [KnownTenant], typed: &str) -> Result<&'a KnownTenant, String> {
    let by_id = tenants.iter().find(|tenant| tenant.id == typed);
    let found = by_id.or_else(|| tenants.iter().find(|tenant| tenant.slug == typed));
    found.ok_or_else(|| {
        let typed = safe(typed);
        let slugs: Vec<String> = tenants.iter().take(NAMED).map(|one| safe(&one.slug)).collect();
        let more = tenants.len().saturating_sub(NAMED);
        match (slugs.as_slice(), more) {
            ([], _) => format!("no tenant has the id or slug `{typed}`: there are no tenants yet. Next: `surepass catalog import FILE`"),
            (slugs, 0) => format!("no tenant has the id or slug `{typed}`. Tenants: {}", slugs.join(", ")),
            (slugs, more) => format!(
                "no tenant has the id or slug `{typed}`. Tenants: {} and {more} more (`surepass catalog list`)",
                slugs.join(", ")
            ),
        }
    })
}

/// The same of a command's option.
pub(super) async fn option(
    store: &Store,
    typed: Option<&str>,
) -> Result<Result<Option<KnownTenant>, String>, Failure> {
    let Some(typed) = typed else { return Ok(Ok(None)) };
    let tenants = store.catalog().known().await?;
    Ok(named(&tenants, typed).map(|tenant| Some(tenant.clone())))
}
