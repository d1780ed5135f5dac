//! One state of the catalogue, read as far as it is asked for.

use std::collections::{BTreeMap, HashMap};
use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};

use crate::store::{Store, StoreError};

use super::catalogue::{Catalogue, Directory};
use super::error::Reason;
use super::keys::Keys;
use super::purchase::Purchase;
use super::shelf::Shelf;

/// How long a read may take: a job has its time limit, and a store that hangs must not use it up.
pub(super) const PATIENCE: Duration = Duration::from_secs(8);

/// How many passes are at hand at least, those asked for last, and half of how many at most: some 10 MB.
const GENERATION: usize = 8_000;

/// Knows every tenant; reads a tenant's passes when a purchase asks for them, and what tells all passes when one names no tenant.
/// What was read stays right for as long as the catalogue does not change: see [`super::cache`].
#[derive(Debug)]
pub(super) struct Copy {
    store: Arc<dyn Store>,
    directory: Arc<Directory>,
    shelves: Mutex<Shelves>,
    keys: Mutex<Option<Read<Arc<Keys>>>>,
}

/// A read that all who ask for the same share.
type Read<T> = Shared<BoxFuture<'static, Result<T, Reason>>>;

/// The tenants' passes that were asked for last, by place, in two generations: when the younger is full, the elder is dropped.
#[derive(Debug, Default)]
struct Shelves {
    younger: HashMap<usize, Read<Option<Arc<Shelf>>>>,
    elder: HashMap<usize, Read<Option<Arc<Shelf>>>>,
    /// Of the younger.
    passes: Arc<AtomicUsize>,
}

impl Copy {
    pub(super) async fn read(store: Arc<dyn Store>) -> Result<Self, StoreError> {
        let directory = Directory::new(store.known_tenants().await?);
        Ok(Self {
            store,
            directory: Arc::new(directory),
            shelves: Mutex::default(),
            keys: Mutex::default(),
        })
    }

    pub(super) fn directory(&self) -> &Directory {
        &self.directory
    }

    /// What the purchase asks of the catalogue.
    ///
    /// # Errors
    /// The store's.
    pub(super) async fn of(&self, purchase: &Purchase) -> Result<Catalogue, Reason> {
        let mut shelves = BTreeMap::new();
        for at in self.directory.named_by(purchase) {
            shelves.extend(self.shelf(at).await?.map(|shelf| (at, shelf)));
        }
        let mut catalogue = Catalogue::new(Arc::clone(&self.directory), shelves);
        if catalogue.needs_keys(purchase)
            && let Some(seller) = catalogue.learn(self.keys().await?, purchase)
            && let Some(shelf) = self.shelf(seller).await?
        {
            catalogue.add(seller, shelf);
        }
        Ok(catalogue)
    }

    /// The tenant at this place, with its passes; `None`: it has gone meanwhile.
    ///
    /// # Errors
    /// The store's.
    pub(super) async fn shelf(&self, at: usize) -> Result<Option<Arc<Shelf>>, Reason> {
        let Some(tenant) = self.directory.get(at) else {
            return Ok(None);
        };
        let read = locked(&self.shelves).get(at, |passes| {
            let (store, id) = (Arc::clone(&self.store), tenant.id.clone());
            in_time(async move {
                let found = store.tenant(&id).await?.map(Shelf::new);
                passes.fetch_add(found.as_ref().map_or(0, Shelf::weight), Ordering::Relaxed);
                Ok(found.map(Arc::new))
            })
        });
        let answer = read.clone().await;
        if answer.is_err() {
            locked(&self.shelves).forget(at, &read);
        }
        answer
    }

    /// What tells the passes of all tenants.
    ///
    /// # Errors
    /// The store's.
    pub(super) async fn keys(&self) -> Result<Arc<Keys>, Reason> {
        let read = locked(&self.keys)
            .get_or_insert_with(|| {
                let (store, directory) = (Arc::clone(&self.store), Arc::clone(&self.directory));
                in_time(async move { Ok(Arc::new(Keys::read(&*store, directory.by_id()).await?)) })
            })
            .clone();
        let answer = read.clone().await;
        if answer.is_err() {
            locked(&self.keys).take_if(|held| held.ptr_eq(&read));
        }
        answer
    }
}

impl Shelves {
    /// The read of a tenant's passes; `begin` makes one, and counts its passes when they are there.
    fn get(
        &mut self,
        at: usize,
        begin: impl FnOnce(Arc<AtomicUsize>) -> Read<Option<Arc<Shelf>>>,
    ) -> Read<Option<Arc<Shelf>>> {
        if let Some(read) = self.younger.get(&at) {
            return read.clone();
        }
        if self.passes.load(Ordering::Relaxed) >= GENERATION {
            self.elder = mem::take(&mut self.younger);
            self.passes = Arc::default();
        }
        let read = match self.elder.remove(&at) {
            Some(read) => {
                let held = read.peek().and_then(|read| read.as_ref().ok()?.as_deref());
                self.passes
                    .fetch_add(held.map_or(0, Shelf::weight), Ordering::Relaxed);
                read
            }
            None => begin(Arc::clone(&self.passes)),
        };
        self.younger.insert(at, read.clone());
        read
    }

    /// Drops a read that failed, unless another has taken its place.
    fn forget(&mut self, at: usize, failed: &Read<Option<Arc<Shelf>>>) {
        for generation in [&mut self.younger, &mut self.elder] {
            if generation.get(&at).is_some_and(|held| held.ptr_eq(failed)) {
                generation.remove(&at);
            }
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn in_time<T: Clone + Send + Sync + 'static>(
    read: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> Read<T> {
    async {
        let read = tokio::time::timeout(PATIENCE, read).await;
        let read = read.unwrap_or_else(|_| Err(too_slow()));
        read.map_err(|error| Reason::from(&error))
    }
    .boxed()
    .shared()
}

pub(super) fn too_slow() -> StoreError {
    StoreError::Outage("the catalogue was not read within 8 s".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn of_the_tenants_asked_for_last_the_passes_stay_and_those_of_others_go() {
        let mut shelves = Shelves::default();
        let mut reads = Vec::new();
        let third = GENERATION / 3 + 1;
        let mut ask = |at: usize| {
            let read = shelves.get(at, |passes| {
                reads.push(at);
                passes.fetch_add(third, Ordering::Relaxed);
                in_time(async { Ok(None) })
            });
            assert!(read.now_or_never().is_some_and(|read| read.is_ok()));
        };
        // The first stays in use.
        for at in 1..20 {
            ask(0);
            ask(at);
        }
        ask(19);
        ask(1);
        let mut expected: Vec<_> = (0..20).collect();
        expected.push(1);
        assert_eq!(reads, expected);
        assert!(shelves.younger.len() + shelves.elder.len() <= 8);
    }
}
