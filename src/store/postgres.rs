//! PostgreSQL: for several machines.

use std::borrow::Cow;
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, SubsecRound, Utc};
use secrecy::{ExposeSecret, SecretString};
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgPoolOptions, PgRow};
use sqlx::{
    Arguments, AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection, Postgres, Row, SqlStr,
};

use super::dialect::{Bind, Dialect, STATEMENTS, fields};
use super::pools::Pools;
use super::sql::SqlStore;
use super::trust::trusting;
use super::{ACQUIRE, Options, StoreError};
use crate::address::masked;

/// The store in a PostgreSQL database.
pub type PostgresStore = SqlStore<Postgres>;

/// Concurrent batches of purchases, each on its own connection.
const PARALLEL: usize = 4;

/// A custom setting that only a direct connection has: a pooler does not pass on the connection's options.
const DIRECT: &str = "surepass.session";

/// The settings of a direct connection. The server cancels slow statements a little before this side gives
/// up. Prepared statements keep one plan, since planning an insert of hundreds of rows takes longer than
/// running it. Such a plan may date from when the tables were empty, so it must not use sequential scans.
const SESSION: [(&str, &str); 5] = [
    (DIRECT, "direct"),
    ("statement_timeout", "9s"),
    ("idle_in_transaction_session_timeout", "15s"),
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
];

/// Behind a pooler (`PgBouncer` in transaction mode) sessions are shared, and the next transaction may run in
/// another one. No setting and no prepared statement may outlive a transaction.
const BEGIN_POOLED: &str = "BEGIN; SET LOCAL statement_timeout = '9s'; \
    SET LOCAL idle_in_transaction_session_timeout = '15s'";

/// A connection that was idle for longer is checked before use.
const TRUSTED: Duration = Duration::from_secs(1);

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/postgres");

impl PostgresStore {
    /// Prepares connections to a `postgres://…` address, direct or through a pooler. Connects on the first
    /// call, so that a server can start while the database is unavailable.
    ///
    /// # Errors
    /// [`StoreError`]: the address is invalid.
    pub fn open(url: &SecretString, options: &Options) -> Result<Self, StoreError> {
        let address = PgConnectOptions::from_str(url.expose_secret())
            // The error's text could contain the address with its password.
            .map_err(|_| {
                StoreError::Address(format!(
                    "`{}` cannot be read: expected postgres://USER:PASSWORD@HOST:PORT/DATABASE, with what is special in the \
                     password percent-encoded",
                    masked(url.expose_secret())
                ))
            })?
            .application_name("surepass")
            // It concerns only floats, which we do not store; poolers reject it.
            .extra_float_digits(None)
            .disable_statement_logging();
        let address = trusting(address, url.expose_secret())?;
        let pool = PgPoolOptions::new()
            .max_connections(options.max_connections.max(1))
            .acquire_timeout(ACQUIRE)
            .test_before_acquire(false)
            .before_acquire(|connection, about| {
                Box::pin(async move { Ok(about.idle_for < TRUSTED || connection.ping().await.is_ok()) })
            })
            .after_connect(|connection, _| Box::pin(recognise(connection)))
            .connect_lazy_with(address.clone().options(SESSION));
        let pools = Pools::new(pool.clone(), pool, None).with_plain_options(address);
        Ok(Self::new(pools, PARALLEL))
    }
}

/// Checks whether the connection is direct. If so, prepares a statement, by which [`is_pooled`] recognises
/// it.
async fn recognise(connection: &mut PgConnection) -> sqlx::Result<()> {
    // Without parameters, so that it is not prepared.
    let asked = format!("SELECT current_setting('{DIRECT}', true)");
    let session: Option<String> = connection.fetch_one(AssertSqlSafe(asked)).await?.try_get(0)?;
    if session.is_some_and(|session| !session.is_empty()) {
        sqlx::query("SELECT 1").execute(connection).await?;
    }
    Ok(())
}

/// Whether a pooler is in between. Then no prepared statements are used.
fn is_pooled(connection: &PgConnection) -> bool {
    connection.cached_statements_size() == 0
}

impl Dialect for Postgres {
    const BEGIN: &'static str = "BEGIN";
    // Of text that cannot be compressed.
    const LARGE_INSERT: &'static str = "INSERT INTO audit (id, actor, action, target, began_at) \
        SELECT 'doctor', '', '', string_agg(md5(n::text), ''), now() FROM generate_series(1, 8192) AS n";
    const BEGIN_MIGRATION: &'static str = "BEGIN";
    // An arbitrary number, the same in all versions. The lock ends with the transaction, unlike a session's
    // lock.
    const LOCK_MIGRATIONS: &'static str = "SET LOCAL statement_timeout = 0; \
        SET LOCAL idle_in_transaction_session_timeout = 0; SELECT pg_advisory_xact_lock(7310868735423931)";
    const MIGRATION_TABLE: &'static str = "CREATE TABLE IF NOT EXISTS _sqlx_migrations (
        version BIGINT PRIMARY KEY, description TEXT NOT NULL,
        installed_on TIMESTAMPTZ NOT NULL DEFAULT now(), success BOOLEAN NOT NULL,
        checksum BYTEA NOT NULL, execution_time BIGINT NOT NULL)";
    const LOCKING: &'static str = " FOR UPDATE";
    const JOINS_STATEMENTS: bool = false;
    const LARGEST_INSERT: u32 = 8;
    const COUNT_MIGRATION_TABLES: &'static str =
        "SELECT COUNT(*) AS n FROM pg_catalog.pg_class WHERE oid = to_regclass('_sqlx_migrations')";
    const LOCK_CATALOGUE: Option<&'static str> = Some("LOCK TABLE tenants IN SHARE ROW EXCLUSIVE MODE");
    // Emails share at most 1,024 locks. Sorted, so that two transactions do not deadlock.
    const SHARE_EMAILS: Option<&'static str> = Some(
        "SELECT pg_advisory_xact_lock_shared(23703, slot) FROM (SELECT DISTINCT hashtext(email) & 1023 AS slot \
         FROM unnest($1::text[]) AS email ORDER BY slot) AS slots",
    );
    const LOCK_EMAIL: Option<&'static str> =
        Some("SELECT pg_advisory_xact_lock(23703, hashtext($1::text) & 1023)");

    fn migrations() -> &'static Migrator {
        &MIGRATIONS
    }

    fn one_of(position: usize) -> String {
        format!("= ANY(${position})")
    }

    fn placeholder(position: usize) -> String {
        format!("${position}")
    }

    async fn rows(
        connection: &mut PgConnection,
        sql: SqlStr,
        binds: Vec<Bind<'_>>,
    ) -> sqlx::Result<Vec<PgRow>> {
        tracing::trace!(target: STATEMENTS, statement = sql.as_str());
        let query = sqlx::query_with(sql, arguments(binds)?);
        if !is_pooled(connection) {
            return query.fetch_all(connection).await;
        }
        let query = query.persistent(false);
        if connection.is_in_transaction() {
            return query.fetch_all(connection).await;
        }
        let mut transaction = connection.begin_with(BEGIN_POOLED).await?;
        let rows = query.fetch_all(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(rows)
    }

    async fn execute(connection: &mut PgConnection, sql: SqlStr, binds: Vec<Bind<'_>>) -> sqlx::Result<u64> {
        tracing::trace!(target: STATEMENTS, statement = sql.as_str());
        let query = sqlx::query_with(sql, arguments(binds)?);
        let done = if !is_pooled(connection) {
            query.execute(connection).await?
        } else if connection.is_in_transaction() {
            query.persistent(false).execute(connection).await?
        } else {
            let mut transaction = connection.begin_with(BEGIN_POOLED).await?;
            let done = query.persistent(false).execute(&mut *transaction).await?;
            transaction.commit().await?;
            done
        };
        let rows = done.rows_affected();
        tracing::trace!(target: STATEMENTS, rows);
        Ok(rows)
    }

    async fn script(connection: &mut PgConnection, sql: SqlStr) -> sqlx::Result<()> {
        connection.execute(sql).await?;
        Ok(())
    }

    fn begin(connection: &PgConnection) -> &'static str {
        if is_pooled(connection) {
            BEGIN_POOLED
        } else {
            Self::BEGIN
        }
    }

    // PgBouncer: "unsupported startup parameter: options"; RDS Proxy: "… doesn't support command-line options".
    fn refuses_options(error: &sqlx::Error) -> bool {
        match error {
            sqlx::Error::Database(refusal) => {
                matches!(refusal.code().as_deref(), Some("08P01" | "0A000" | "42704"))
                    && (refusal.message().contains("option") || refusal.message().contains("parameter"))
            }
            _ => false,
        }
    }
}

fn arguments(binds: Vec<Bind<'_>>) -> sqlx::Result<PgArguments> {
    let mut arguments = PgArguments::default();
    arguments.reserve(binds.len(), binds.len() * 16);
    for bind in binds {
        match bind {
            Bind::Text(text) => arguments.add(storable(text)),
            Bind::MaybeText(text) => arguments.add(text.map(storable)),
            Bind::Texts(texts) => arguments.add(texts.into_iter().map(storable).collect::<Vec<_>>()),
            Bind::Int(int) => arguments.add(int),
            Bind::MaybeInt(int) => arguments.add(int),
            Bind::Flag(flag) => arguments.add(flag),
            Bind::Instant(instant) => arguments.add(instant.trunc_subsecs(3)),
            Bind::MaybeBytes(bytes) => arguments.add(bytes),
        }
        .map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

/// PostgreSQL's text cannot contain U+0000, but JSON can. Such a name must not block a purchase.
fn storable(text: &str) -> Cow<'_, str> {
    if text.contains('\0') {
        Cow::Owned(text.replace('\0', "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}

fields!(PgRow, |row: &PgRow, column: &str| row
    .try_get::<DateTime<Utc>, _>(column));
