//! One call, on its way through a handler.

use serde_json::{Value, json};

use super::error::ApiError;
use super::params::Params;
use crate::table::{Query, Record, Table, Tag};
use crate::world::{Cause, Objects, Scope, World};

/// Who calls, and the parameters that no handler has taken yet.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) world: &'a mut World,
    pub(super) scope: Scope,
    pub(super) path: &'a str,
    pub(super) params: Params,
    pub(super) cause: Cause,
}

pub(super) type Answer = Result<Value, ApiError>;

impl Call<'_> {
    pub(super) fn objects(&mut self) -> &mut Objects {
        self.world.objects(&self.scope)
    }

    /// Reads the parameters that every list has, refuses those that nobody has taken, and answers a page of the rows
    /// that bear a tag of each group.
    pub(super) fn list<T: Record>(
        &mut self,
        table: impl FnOnce(&mut Objects) -> &mut Table<T>,
        tags: Vec<Vec<Tag>>,
        json: impl Fn(&T) -> Value,
    ) -> Answer {
        let created = created(&mut self.params)?;
        self.list_created(table, created, tags, json)
    }

    /// The same, where the range of `created` (Unix seconds, both included) is known.
    pub(super) fn list_created<T: Record>(
        &mut self,
        table: impl FnOnce(&mut Objects) -> &mut Table<T>,
        created: (i64, i64),
        tags: Vec<Vec<Tag>>,
        json: impl Fn(&T) -> Value,
    ) -> Answer {
        let limit = self.limit()?;
        let cursor = |text: Option<String>| text.filter(|text| !text.is_empty());
        let query = Query {
            created,
            tags,
            limit,
            starting_after: cursor(self.params.text("starting_after")?),
            ending_before: cursor(self.params.text("ending_before")?),
        };
        self.params.finish()?;
        if query.starting_after.is_some() && query.ending_before.is_some() {
            return Err(ApiError::invalid(
                "You cannot use both starting_after and ending_before.",
            ));
        }
        let page = table(self.world.objects(&self.scope)).page(&query)?;
        let data: Vec<_> = page.rows.iter().map(|row| json(row)).collect();
        Ok(json!({"object": "list", "data": data, "has_more": page.has_more, "url": self.path}))
    }

    /// 1 to 100; 10 where none is given.
    pub(super) fn limit(&mut self) -> Result<usize, ApiError> {
        let limit = self.params.integer("limit")?.unwrap_or(10);
        let fitting = usize::try_from(limit).ok();
        fitting.filter(|limit| (1..=100).contains(limit)).ok_or_else(|| {
            let message = format!("Invalid limit: {limit}. It must be from 1 to 100.");
            ApiError::invalid(message)
                .code("parameter_invalid_integer")
                .param("limit")
        })
    }
}

/// `created=…`, or `created[gt|gte|lt|lte]=…`, as the first and the last second.
pub(super) fn created(params: &mut Params) -> Result<(i64, i64), ApiError> {
    if !params.is_object("created") {
        let exactly = params.integer("created")?;
        return Ok(exactly.map_or((0, i64::MAX), |second| (second, second)));
    }
    let Some(mut range) = params.object("created")? else {
        return Ok((0, i64::MAX));
    };
    let (mut first, mut last) = (0, i64::MAX);
    if let Some(second) = range.integer("gt")? {
        first = first.max(second.saturating_add(1));
    }
    if let Some(second) = range.integer("gte")? {
        first = first.max(second);
    }
    if let Some(second) = range.integer("lt")? {
        last = last.min(second.saturating_sub(1));
    }
    if let Some(second) = range.integer("lte")? {
        last = last.min(second);
    }
    range.finish()?;
    Ok((first, last))
}
