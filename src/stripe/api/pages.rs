//! Reads Stripe's lists page by page.

use std::collections::{HashSet, VecDeque};
use std::fmt;

use futures::Stream;
use futures::stream;
use serde_json::value::RawValue;

use super::StripeError;
use super::client::Account;
use super::error::Problem;
use super::filter::Query;
use super::route::Route;
use crate::stripe::json;

/// How one item is read, in the list of which account; `None`: it cannot be.
pub(super) type Reader<T> = fn(&RawValue, Option<&str>) -> Option<T>;

/// Stripe's own maximum.
const LARGEST_PAGE: u8 = 100;
/// The smaller sizes with which a failing page is requested, one after the other.
const SMALLER_PAGES: [u8; 2] = [25, 5];

/// One page.
#[derive(Debug, Clone)]
pub struct Page<T> {
    /// The newest first.
    pub items: Vec<T>,
    pub has_more: bool,
    /// The cursor of the next page, for `starting_after`. `None` for an empty page.
    pub last_id: Option<String>,
    /// How many items could not be read: no object, or one without an id. They are not in `items`.
    pub unreadable: usize,
}

impl<T> Default for Page<T> {
    /// An empty one, the last.
    fn default() -> Self {
        Self {
            items: Vec::new(),
            has_more: false,
            last_id: None,
            unreadable: 0,
        }
    }
}

/// All pages of a list, one call for each.
pub struct Pages<T> {
    account: Account,
    route: Route,
    query: Query,
    size: u8,
    /// The size of the next page: less than `size` after a page that failed.
    next_size: u8,
    read: Reader<T>,
    cursor: Option<String>,
    /// A cursor that comes again would repeat for ever.
    seen: HashSet<String>,
    ended: bool,
}

impl<T> Pages<T> {
    pub(super) fn new(account: Account, route: Route, query: Query, read: Reader<T>) -> Self {
        Self {
            account,
            route,
            query,
            size: LARGEST_PAGE,
            next_size: LARGEST_PAGE,
            read,
            cursor: None,
            seen: HashSet::new(),
            ended: false,
        }
    }

    pub(super) fn starting_after(mut self, cursor: Option<String>) -> Self {
        self.seen.extend(cursor.clone());
        self.cursor = cursor;
        self
    }

    /// With so many items a page, 1 to 100. 100 unless it is said.
    #[must_use]
    pub fn page_size(mut self, size: u8) -> Self {
        self.size = size.clamp(1, LARGEST_PAGE);
        self.next_size = self.size;
        self
    }

    /// The next page; `None` after the last. One call each. After an error the same page is requested again.
    ///
    /// A page that Stripe cannot return is requested in smaller pages before it is an error: one item of a hundred may be
    /// what Stripe fails on, or takes too long for. The pages after it grow again.
    ///
    /// # Errors
    /// [`StripeError`]. A list that repeats itself is an error, too, never an endless loop.
    pub async fn next(&mut self) -> Result<Option<Page<T>>, StripeError> {
        if self.ended {
            return Ok(None);
        }
        let size = self.next_size;
        let mut page = self.fetch(size, None).await;
        let mut tried = size;
        for smaller in SMALLER_PAGES.into_iter().filter(|smaller| *smaller < size) {
            match &page {
                Err(error) if error.may_depend_on_size() => {
                    tracing::warn!(list = %self.route, limit = tried, %error, "retrying a page of Stripe's with fewer items");
                    tried = smaller;
                    page = self.fetch(smaller, Some(1)).await;
                }
                _ => break,
            }
        }
        let page = page?;
        self.next_size = if tried < size {
            tried
        } else {
            self.size.min(size.saturating_mul(2))
        };
        if page.unreadable > 0 {
            let list = self.route.to_string();
            tracing::warn!(
                list,
                unreadable = page.unreadable,
                "items in a list from Stripe cannot be read"
            );
        }
        if page.has_more {
            self.seen.extend(page.last_id.clone());
            self.cursor.clone_from(&page.last_id);
        } else {
            self.ended = true;
        }
        Ok(Some(page))
    }

    /// One page of at most `size` items. `attempts` as in [`Account::get_with`].
    async fn fetch(&self, size: u8, attempts: Option<u32>) -> Result<Page<T>, StripeError> {
        let mut query = self.query.clone();
        query.push(("limit", size.to_string()));
        if let Some(cursor) = &self.cursor {
            query.push(("starting_after", cursor.clone()));
        }
        let answer = self.account.get_with(&self.route, &query, attempts).await?;
        self.read_page(&answer.body)
            .map_err(|problem| StripeError::new(self.route.to_string(), problem, answer.attempts))
    }

    fn read_page(&self, body: &[u8]) -> Result<Page<T>, Problem> {
        const NO_LIST: Problem = Problem::Body("is no list");
        let body = serde_json::from_slice::<&RawValue>(body).map_err(|_| Problem::Body("is not JSON"))?;
        let list = json::object::<ListFields<'_>>(Some(body))
            .ok()
            .flatten()
            .ok_or(NO_LIST)?;
        let raw = json::array(list.data).ok().flatten().ok_or(NO_LIST)?;
        // Without it the list may be incomplete.
        let has_more = json::boolean(list.has_more).ok().flatten().ok_or(NO_LIST)?;
        let last_id = raw.iter().rev().find_map(|item| id_of(item));
        let items: Vec<T> = raw
            .iter()
            .filter_map(|item| (self.read)(item, self.account.id()))
            .collect();
        if raw.is_empty() && has_more {
            // There is no id to continue after, so the next request would be the same.
            tracing::warn!(list = %self.route, "Stripe says that an empty page is not the last; the list is taken as ended");
        }
        let has_more = has_more && !raw.is_empty();
        if has_more {
            match &last_id {
                None => return Err(Problem::Cursor("has more items, but no id to continue after")),
                Some(id) if self.seen.contains(id) => {
                    return Err(Problem::Cursor("repeats itself"));
                }
                Some(_) => {}
            }
        }
        Ok(Page {
            unreadable: raw.len() - items.len(),
            items,
            has_more,
            last_id,
        })
    }

    /// The items of all pages. It ends with the first error; who must go on after one, or must count what cannot be
    /// read, takes [`Pages::next`].
    pub fn into_stream(self) -> impl Stream<Item = Result<T, StripeError>> {
        stream::try_unfold((self, VecDeque::new()), |(mut pages, mut items)| async move {
            loop {
                if let Some(item) = items.pop_front() {
                    return Ok(Some((item, (pages, items))));
                }
                match pages.next().await? {
                    Some(page) => items = page.items.into(),
                    None => return Ok(None),
                }
            }
        })
    }
}

impl<T> fmt::Debug for Pages<T> {
    /// Without the query: it may hold an email.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pages")
            .field("list", &self.route.to_string())
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

json::fields! { ListFields { data = "data", has_more = "has_more" } }
json::fields! { Item { id = "id" } }

fn id_of(raw: &RawValue) -> Option<String> {
    json::id(json::object::<Item<'_>>(Some(raw)).ok()??.id)
}
