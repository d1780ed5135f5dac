//! A fresh, empty home for a store, of either kind.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use secrecy::{ExposeSecret, SecretString};
use sqlx::{AssertSqlSafe, Connection, Executor};
use surepass::store::{self, Options, Store, Synchronous, WebhookSecrets};
use tempfile::TempDir;

use super::postgres::Cluster;
use super::purchases::tenant;

/// Where a test's stores live.
pub enum Home {
    Sqlite(TempDir),
    Postgres { cluster: Arc<Cluster>, database: String },
}

impl Home {
    pub fn sqlite() -> Self {
        Self::Sqlite(tempfile::tempdir().expect("a temporary folder"))
    }

    /// A database of its own in `cluster`.
    pub async fn postgres(cluster: Arc<Cluster>) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        cluster.make(&name).await;
        Self::Postgres {
            cluster,
            database: name,
        }
    }

    pub fn address(&self) -> SecretString {
        match self {
            Self::Sqlite(folder) => {
                format!("sqlite://{}", folder.path().join("data/test.db").display()).into()
            }
            Self::Postgres { cluster, database } => cluster.url(database).into(),
        }
    }

    /// A handle of its own: its own connections, its own batches.
    pub async fn open(&self) -> Arc<Store> {
        let options = Options {
            synchronous: Synchronous::Normal,
            ..Options::default()
        };
        store::open(&self.address(), &options)
            .await
            .expect("the store opens")
    }

    /// A handle, with the tables made and the tenants `studio` and `other` in them.
    pub async fn ready(&self) -> Arc<Store> {
        let store = self.open().await;
        store.migrate().await.expect("the tables are made");
        store
            .catalog()
            .import(&[tenant("studio"), tenant("other")], &WebhookSecrets::new())
            .await
            .expect("the tenants are imported");
        store
    }

    /// What a query of one integer answers, past the store.
    pub async fn number(&self, sql: &str) -> i64 {
        let sql = AssertSqlSafe(sql.to_owned());
        let address = self.address();
        let address = address.expose_secret();
        match self {
            Self::Sqlite(_) => {
                let mut connection = sqlx::SqliteConnection::connect(address).await.expect("the file");
                sqlx::query_scalar(sql)
                    .fetch_one(&mut connection)
                    .await
                    .expect("a number")
            }
            Self::Postgres { .. } => {
                let mut connection = sqlx::PgConnection::connect(address).await.expect("the server");
                sqlx::query_scalar(sql)
                    .fetch_one(&mut connection)
                    .await
                    .expect("a number")
            }
        }
    }

    /// Runs a statement past the store.
    pub async fn run(&self, sql: &str) {
        let sql = AssertSqlSafe(sql.to_owned());
        let address = self.address();
        let address = address.expose_secret();
        match self {
            Self::Sqlite(_) => {
                let mut connection = sqlx::SqliteConnection::connect(address).await.expect("the file");
                connection.execute(sql).await.expect("it runs");
            }
            Self::Postgres { .. } => {
                let mut connection = sqlx::PgConnection::connect(address).await.expect("the server");
                connection.execute(sql).await.expect("it runs");
            }
        }
    }
}
