//! The path of a call, which no id can leave.

use std::fmt;

use url::Url;

use super::error::Problem;

/// The longest id that is sent, in bytes. Stripe's own have at most 66.
const MAX_ID: usize = 255;

/// The path of an object or a list. Displayed without its id, which may be an email: old accounts chose their customers' ids.
#[derive(Clone)]
pub(super) struct Route {
    kind: &'static str,
    id: Option<String>,
    below: Option<&'static str>,
}

impl Route {
    pub(super) fn list(kind: &'static str) -> Self {
        Self {
            kind,
            id: None,
            below: None,
        }
    }

    pub(super) fn one(kind: &'static str, id: &str) -> Self {
        Self {
            id: Some(id.to_owned()),
            ..Self::list(kind)
        }
    }

    pub(super) fn below(kind: &'static str, id: &str, below: &'static str) -> Self {
        Self {
            below: Some(below),
            ..Self::one(kind, id)
        }
    }

    /// The id is one segment of the path, whatever it holds.
    pub(super) fn url(&self, base: &Url, query: &[(&'static str, String)]) -> Result<Url, Problem> {
        const NO_BASE: Problem = Problem::Request("STRIPE_API_BASE is not an address of a server");
        let mut url = base.clone();
        url.set_query(None);
        url.set_fragment(None);
        let mut path = url.path_segments_mut().map_err(|()| NO_BASE)?;
        path.pop_if_empty().push("v1").extend(self.kind.split('/'));
        if let Some(id) = &self.id {
            // The last two mean "here" and "up" in a path, however they are written.
            let odd = id.is_empty() || id.len() > MAX_ID || id.chars().any(char::is_control);
            if odd || matches!(id.as_str(), "." | "..") {
                return Err(Problem::Request("this is not a valid id of a Stripe object"));
            }
            path.push(id);
        }
        path.extend(self.below);
        drop(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/v1/{}", self.kind)?;
        if self.id.is_some() {
            f.write_str("/…")?;
        }
        self.below.map_or(Ok(()), |below| write!(f, "/{below}"))
    }
}
