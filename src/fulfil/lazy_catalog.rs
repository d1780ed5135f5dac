//! One version of the catalog, loaded on demand.

use std::collections::{BTreeMap, HashMap};
use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};

use crate::store::{Store, StoreError};

use super::catalog::{Catalog, TenantPasses};
use super::directory::Directory;
use super::error::Reason;
use super::pass_index::PassIndex;
use super::purchase::Purchase;

/// The time limit of a read: a hanging store must not use up a job's time.
pub(super) const TIMEOUT: Duration = Duration::from_secs(8);

/// The passes kept in memory: at least this many, at most twice as many, some 10 MB.
const GENERATION_SIZE: usize = 8_000;

/// Loads a tenant's passes when a purchase needs them, and the index of all passes when a purchase names no
/// tenant. Valid while the catalog does not change: see [`super::catalog_cache`].
#[derive(Debug)]
pub(super) struct LazyCatalog {
    store: Arc<Store>,
    directory: Arc<Directory>,
    passes: Mutex<PassesByTenant>,
    keys: Mutex<Option<Read<Arc<PassIndex>>>>,
}

/// A read shared by all callers.
type Read<T> = Shared<BoxFuture<'static, Result<T, Reason>>>;

/// The recently used passes by tenant, in two generations. When the younger is full, the elder is dropped.
#[derive(Debug, Default)]
struct PassesByTenant {
    younger: HashMap<usize, Read<Option<Arc<TenantPasses>>>>,
    elder: HashMap<usize, Read<Option<Arc<TenantPasses>>>>,
    /// The number of passes in the younger.
    passes: Arc<AtomicUsize>,
}

impl LazyCatalog {
    pub(super) async fn load(store: Arc<Store>) -> Result<Self, StoreError> {
        let directory = Directory::new(store.catalog().known().await?);
        Ok(Self {
            store,
            directory: Arc::new(directory),
            passes: Mutex::default(),
            keys: Mutex::default(),
        })
    }

    pub(super) fn directory(&self) -> &Directory {
        &self.directory
    }

    /// The part of the catalog that the purchase needs.
    ///
    /// # Errors
    /// The store's.
    pub(super) async fn of(&self, purchase: &Purchase) -> Result<Catalog, Reason> {
        let mut passes = BTreeMap::new();
        for at in self.directory.named_by(purchase) {
            passes.extend(self.passes_of(at).await?.map(|passes_of| (at, passes_of)));
        }
        let mut catalog = Catalog::new(Arc::clone(&self.directory), passes);
        if catalog.needs_index(purchase)
            && let Some(seller) = catalog.learn(self.keys().await?, purchase)
            && let Some(passes_of) = self.passes_of(seller).await?
        {
            catalog.add(seller, passes_of);
        }
        Ok(catalog)
    }

    /// The tenant at this position, with its passes. `None`: it was removed.
    ///
    /// # Errors
    /// The store's.
    pub(super) async fn passes_of(&self, at: usize) -> Result<Option<Arc<TenantPasses>>, Reason> {
        let Some(tenant) = self.directory.get(at) else {
            return Ok(None);
        };
        let read = locked(&self.passes).get(at, |passes| {
            let (store, id) = (Arc::clone(&self.store), tenant.id.clone());
            with_timeout(async move {
                let found = store.catalog().one(&id).await?.map(TenantPasses::new);
                passes.fetch_add(found.as_ref().map_or(0, TenantPasses::weight), Ordering::Relaxed);
                Ok(found.map(Arc::new))
            })
        });
        let answer = read.clone().await;
        if answer.is_err() {
            locked(&self.passes).forget(at, &read);
        }
        answer
    }

    /// The index of all tenants' passes.
    ///
    /// # Errors
    /// The store's.
    pub(super) async fn keys(&self) -> Result<Arc<PassIndex>, Reason> {
        let read = locked(&self.keys)
            .get_or_insert_with(|| {
                let (store, directory) = (Arc::clone(&self.store), Arc::clone(&self.directory));
                with_timeout(async move { Ok(Arc::new(PassIndex::read(&store, &directory.by_id).await?)) })
            })
            .clone();
        let answer = read.clone().await;
        if answer.is_err() {
            locked(&self.keys).take_if(|held| held.ptr_eq(&read));
        }
        answer
    }
}

impl PassesByTenant {
    /// The read of a tenant's passes. `begin` starts one, and counts the passes when it is done.
    fn get(
        &mut self,
        at: usize,
        begin: impl FnOnce(Arc<AtomicUsize>) -> Read<Option<Arc<TenantPasses>>>,
    ) -> Read<Option<Arc<TenantPasses>>> {
        if let Some(read) = self.younger.get(&at) {
            return read.clone();
        }
        if self.passes.load(Ordering::Relaxed) >= GENERATION_SIZE {
            self.elder = mem::take(&mut self.younger);
            self.passes = Arc::default();
        }
        let read = match self.elder.remove(&at) {
            Some(read) => {
                let held = read.peek().and_then(|read| read.as_ref().ok()?.as_deref());
                self.passes
                    .fetch_add(held.map_or(0, TenantPasses::weight), Ordering::Relaxed);
                read
            }
            None => begin(Arc::clone(&self.passes)),
        };
        self.younger.insert(at, read.clone());
        read
    }

    /// Removes a failed read, unless another has replaced it.
    fn forget(&mut self, at: usize, failed: &Read<Option<Arc<TenantPasses>>>) {
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

fn with_timeout<T: Clone + Send + Sync + 'static>(
    read: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> Read<T> {
    async {
        let read = tokio::time::timeout(TIMEOUT, read).await;
        let read = read.unwrap_or_else(|_| Err(timeout_error()));
        read.map_err(|error| Reason::from(&error))
    }
    .boxed()
    .shared()
}

pub(super) fn timeout_error() -> StoreError {
    StoreError::Outage("could not read the catalog within 8 s".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn of_the_tenants_asked_for_last_the_passes_stay_and_those_of_others_go() {
        let mut passes = PassesByTenant::default();
        let mut reads = Vec::new();
        let third = GENERATION_SIZE / 3 + 1;
        let mut ask = |at: usize| {
            let read = passes.get(at, |passes| {
                reads.push(at);
                passes.fetch_add(third, Ordering::Relaxed);
                with_timeout(async { Ok(None) })
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
        assert!(passes.younger.len() + passes.elder.len() <= 8);
    }
}
