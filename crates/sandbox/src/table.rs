//! Objects of one kind, newest first, with what Stripe's lists filter by. A page costs its own length and a logarithm,
//! however many objects there are.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::iter::Peekable;
use std::sync::Arc;

/// What a table has to know of an object.
pub(crate) trait Record: Clone {
    fn id(&self) -> &str;
    /// Unix seconds. Never changes.
    fn created(&self) -> i64;
    /// What lists are filtered by, as it is now.
    fn tags(&self) -> Vec<Tag>;
}

/// The name of a filter and a value.
pub(crate) type Tag = (&'static str, String);

/// When it was created, and as which one: two of one second have an order, too.
type Key = (i64, u64);

#[derive(Debug)]
pub(crate) struct Table<T> {
    rows: BTreeMap<Key, Arc<T>>,
    keys: HashMap<String, Key>,
    tagged: HashMap<Tag, BTreeSet<Key>>,
    inserted: u64,
}

/// What of a table is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Query {
    /// Unix seconds, both included.
    pub(crate) created: (i64, i64),
    /// A row must bear a tag of each of these groups.
    pub(crate) tags: Vec<Vec<Tag>>,
    pub(crate) limit: usize,
    pub(crate) starting_after: Option<String>,
    pub(crate) ending_before: Option<String>,
}

impl Default for Query {
    fn default() -> Self {
        Self {
            created: (0, i64::MAX),
            tags: Vec::new(),
            limit: 10,
            starting_after: None,
            ending_before: None,
        }
    }
}

/// Newest first.
#[derive(Debug)]
pub(crate) struct Page<T> {
    pub(crate) rows: Vec<Arc<T>>,
    /// Whether there are more in the direction that was asked for.
    pub(crate) has_more: bool,
}

/// The id of a cursor that no object of the table has.
#[derive(Debug)]
pub(crate) struct UnknownCursor {
    pub(crate) param: &'static str,
    pub(crate) id: String,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            rows: BTreeMap::new(),
            keys: HashMap::new(),
            tagged: HashMap::new(),
            inserted: 0,
        }
    }
}

impl<T: Record> Table<T> {
    pub(crate) fn insert(&mut self, record: T) -> Arc<T> {
        self.inserted += 1;
        let key = (record.created(), self.inserted);
        for tag in record.tags() {
            self.tagged.entry(tag).or_default().insert(key);
        }
        self.keys.insert(record.id().to_owned(), key);
        let record = Arc::new(record);
        self.rows.insert(key, record.clone());
        record
    }

    pub(crate) fn get(&self, id: &str) -> Option<&Arc<T>> {
        self.rows.get(self.keys.get(id)?)
    }

    /// Changes an object; whoever holds it as it was (an event does) keeps that.
    pub(crate) fn change(&mut self, id: &str, change: impl FnOnce(&mut T)) -> Option<Arc<T>> {
        let key = *self.keys.get(id)?;
        let row = self.rows.get_mut(&key)?;
        let before: BTreeSet<Tag> = row.tags().into_iter().collect();
        change(Arc::make_mut(row));
        let row = row.clone();
        let after: BTreeSet<Tag> = row.tags().into_iter().collect();
        for tag in before.difference(&after) {
            if let Some(keys) = self.tagged.get_mut(tag) {
                keys.remove(&key);
            }
        }
        for tag in after.difference(&before) {
            self.tagged.entry(tag.clone()).or_default().insert(key);
        }
        Some(row)
    }

    pub(crate) fn remove(&mut self, id: &str) -> Option<Arc<T>> {
        let key = self.keys.remove(id)?;
        let row = self.rows.remove(&key)?;
        for tag in row.tags() {
            if let Some(keys) = self.tagged.get_mut(&tag) {
                keys.remove(&key);
            }
        }
        Some(row)
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// All, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<T>> + use<'_, T> {
        self.rows.values()
    }

    /// All that bear a tag, oldest first.
    pub(crate) fn tagged(&self, tag: &Tag) -> impl Iterator<Item = &Arc<T>> + use<'_, T> {
        let keys = self.tagged.get(tag).into_iter().flatten();
        keys.filter_map(|key| self.rows.get(key))
    }

    pub(crate) fn page(&self, query: &Query) -> Result<Page<T>, UnknownCursor> {
        let mut low: Key = (query.created.0, 0);
        let mut high: Key = (query.created.1, u64::MAX);
        if let Some(id) = &query.starting_after {
            let (created, nth) = self.cursor("starting_after", id)?;
            high = high.min((created, nth - 1));
        }
        if let Some(id) = &query.ending_before {
            let (created, nth) = self.cursor("ending_before", id)?;
            low = low.max((created, nth + 1));
        }
        if low > high {
            let rows = Vec::new();
            return Ok(Page {
                rows,
                has_more: false,
            });
        }
        // The page before a cursor is the one that ends at it, so it is read upwards.
        let upwards = query.ending_before.is_some();
        let mut keys: Vec<Key> = self
            .matching(&query.tags, low, high, upwards)
            .take(query.limit + 1)
            .collect();
        let has_more = keys.len() > query.limit;
        keys.truncate(query.limit);
        if upwards {
            keys.reverse();
        }
        let rows = keys
            .iter()
            .filter_map(|key| self.rows.get(key).cloned())
            .collect();
        Ok(Page { rows, has_more })
    }

    fn cursor(&self, param: &'static str, id: &str) -> Result<Key, UnknownCursor> {
        self.keys.get(id).copied().ok_or_else(|| UnknownCursor {
            param,
            id: id.to_owned(),
        })
    }

    fn matching<'a>(
        &'a self,
        tags: &'a [Vec<Tag>],
        low: Key,
        high: Key,
        upwards: bool,
    ) -> Box<dyn Iterator<Item = Key> + 'a> {
        let groups: Vec<Vec<&BTreeSet<Key>>> = tags
            .iter()
            .map(|group| group.iter().filter_map(|tag| self.tagged.get(tag)).collect())
            .collect();
        let size = |group: &[&BTreeSet<Key>]| group.iter().map(|keys| keys.len()).sum::<usize>();
        let Some(driver) = (0..groups.len()).min_by_key(|&nth| size(&groups[nth])) else {
            let keys = self.rows.range(low..=high).map(|(key, _)| *key);
            return if upwards {
                Box::new(keys)
            } else {
                Box::new(keys.rev())
            };
        };
        let runs = groups[driver]
            .iter()
            .map(|keys| {
                let run = keys.range(low..=high).copied();
                let run: Box<dyn Iterator<Item = Key> + 'a> = if upwards {
                    Box::new(run)
                } else {
                    Box::new(run.rev())
                };
                run.peekable()
            })
            .collect();
        let merged = Merged { runs, upwards };
        Box::new(merged.filter(move |key| {
            groups
                .iter()
                .all(|group| group.iter().any(|keys| keys.contains(key)))
        }))
    }
}

/// Sorted runs as one sorted run.
struct Merged<I: Iterator<Item = Key>> {
    runs: Vec<Peekable<I>>,
    upwards: bool,
}

impl<I: Iterator<Item = Key>> Iterator for Merged<I> {
    type Item = Key;

    fn next(&mut self) -> Option<Key> {
        let heads = self.runs.iter_mut().filter_map(|run| run.peek().copied());
        let next = if self.upwards { heads.min() } else { heads.max() }?;
        for run in &mut self.runs {
            run.next_if_eq(&next);
        }
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone, PartialEq)]
    struct Row {
        id: String,
        created: i64,
        colour: u8,
        size: u8,
    }

    impl Record for Row {
        fn id(&self) -> &str {
            &self.id
        }

        fn created(&self) -> i64 {
            self.created
        }

        fn tags(&self) -> Vec<Tag> {
            vec![
                ("colour", self.colour.to_string()),
                ("size", self.size.to_string()),
            ]
        }
    }

    proptest! {
        /// The same as looking at all rows, one by one.
        #[test]
        fn a_page_holds_what_a_look_at_every_row_would_find(
            rows in prop::collection::vec((0..20_i64, 0..4_u8, 0..3_u8, 0..4_u8), 0..60),
            created in (0..20_i64, 0..20_i64),
            colours in prop::option::of(prop::collection::btree_set(0..5_u8, 0..3)),
            size in prop::option::of(0..4_u8),
            limit in 1..8_usize,
            cursor in prop::option::of((0..60_usize, any::<bool>())),
        ) {
            let mut table = Table::default();
            let mut model = Vec::new();
            for (nth, (created, colour, size, new_colour)) in rows.into_iter().enumerate() {
                let row = Row { id: format!("row_{nth}"), created, colour, size };
                table.insert(row);
                let changed = table.change(&format!("row_{nth}"), |row| row.colour = new_colour).unwrap();
                model.push((nth, changed));
            }
            // Newest first; of one second the last that came.
            model.sort_by_key(|(nth, row)| std::cmp::Reverse((row.created, *nth)));

            let mut query = Query { created, limit, ..Query::default() };
            if let Some(colours) = &colours {
                query.tags.push(colours.iter().map(|colour| ("colour", colour.to_string())).collect());
            }
            query.tags.extend(size.map(|size| vec![("size", size.to_string())]));
            let cursor = cursor.filter(|(nth, _)| *nth < model.len());
            let (mut from, mut to) = (0, model.len());
            if let Some((nth, after)) = cursor {
                let id = model[nth].1.id.clone();
                if after {
                    query.starting_after = Some(id);
                    from = nth + 1;
                } else {
                    query.ending_before = Some(id);
                    to = nth;
                }
            }
            let fits = |row: &Row| {
                (created.0..=created.1).contains(&row.created)
                    && colours.as_ref().is_none_or(|colours| colours.contains(&row.colour))
                    && size.is_none_or(|size| size == row.size)
            };
            let found: Vec<_> = model[from..to].iter().map(|(_, row)| row.clone()).filter(|row| fits(row)).collect();
            let left_out = found.len().saturating_sub(limit);
            let expected = if query.ending_before.is_some() {
                &found[left_out..]
            } else {
                &found[..found.len() - left_out]
            };
            let page = table.page(&query).unwrap();
            prop_assert_eq!(&page.rows, expected);
            prop_assert_eq!(page.has_more, left_out > 0);
        }
    }

    #[test]
    fn whoever_holds_a_row_keeps_it_as_it_was() {
        let mut table = Table::default();
        let held = table.insert(Row {
            id: "row".to_owned(),
            created: 1,
            colour: 1,
            size: 1,
        });
        table.change("row", |row| row.size = 2);
        assert_eq!((held.size, table.get("row").unwrap().size), (1, 2));
        table.remove("row");
        assert!(table.get("row").is_none());
        assert!(table.page(&Query::default()).unwrap().rows.is_empty());
    }
}
