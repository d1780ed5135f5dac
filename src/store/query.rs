//! Builds a query from the conditions that a filter names.

use std::fmt::Write;

use super::database::Bind;

/// A query with conditions and their parameters.
pub(super) struct Query<'a> {
    text: String,
    binds: Vec<Bind<'a>>,
    has_condition: bool,
}

impl<'a> Query<'a> {
    pub(super) fn new(select: &str) -> Self {
        Self {
            text: select.to_owned(),
            binds: Vec::new(),
            has_condition: false,
        }
    }

    /// Adds a condition; each `?` stands for the next parameter.
    pub(super) fn and(&mut self, condition: &str, binds: Vec<Bind<'a>>) {
        self.text
            .push_str(if self.has_condition { " AND " } else { " WHERE " });
        self.has_condition = true;
        self.push(condition, binds);
    }

    /// Ends the query, as with `ORDER BY … LIMIT ?`.
    pub(super) fn end(mut self, end: &str, binds: Vec<Bind<'a>>) -> (String, Vec<Bind<'a>>) {
        self.push(end, binds);
        (self.text, self.binds)
    }

    fn push(&mut self, text: &str, binds: Vec<Bind<'a>>) {
        let mut parts = text.split('?');
        self.text.push_str(parts.next().unwrap_or_default());
        for (part, bind) in parts.zip(binds) {
            self.binds.push(bind);
            // Writing to a `String` cannot fail.
            let _ = write!(self.text, "${}{part}", self.binds.len());
        }
    }
}
