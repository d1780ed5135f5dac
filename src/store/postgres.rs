//! PostgreSQL: for several machines.

use std::borrow::Cow;
use std::str::FromStr;
use std::time::Duration;

use chrono::SubsecRound;
use secrecy::{ExposeSecret, SecretString};
use sqlx::error::BoxDynError;
use sqlx::migrate::Migrator;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgPoolOptions, PgRow};
use sqlx::{
    Arguments, AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection, PgPool, Postgres, Row,
    SqlStr,
};

use super::database::{Bind, Dialect};
use super::trust::trusting;
use super::{ACQUIRE, Options, StoreError};
use crate::address::masked;

/// Concurrent batches of purchases, each on its own connection.
pub(super) const PARALLEL: usize = 4;

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

pub(super) struct Pools {
    pub(super) pool: PgPool,
    /// How to connect if the server rejects the session's options.
    plain: PgConnectOptions,
}

impl Pools {
    /// Prepares connections to a `postgres://…` address, direct or through a pooler. Connects on the first
    /// call, so that a server can start while the database is unavailable.
    ///
    /// # Errors
    /// [`StoreError`]: the address is invalid.
    pub(super) fn open(url: &SecretString, options: &Options) -> Result<Self, StoreError> {
        let plain = PgConnectOptions::from_str(url.expose_secret())
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
        let plain = trusting(plain, url.expose_secret())?;
        let pool = PgPoolOptions::new()
            .max_connections(options.max_connections.max(1))
            .acquire_timeout(ACQUIRE)
            .test_before_acquire(false)
            .before_acquire(|connection, about| {
                Box::pin(async move { Ok(about.idle_for < TRUSTED || connection.ping().await.is_ok()) })
            })
            .after_connect(|connection, _| Box::pin(recognise(connection)))
            .connect_lazy_with(plain.clone().options(SESSION));
        Ok(Self { pool, plain })
    }

    pub(super) async fn acquire(&self) -> Result<PoolConnection<Postgres>, StoreError> {
        match self.pool.acquire().await {
            Err(error) if refuses_options(&error) => {
                self.pool.set_connect_options(self.plain.clone());
                Ok(self.pool.acquire().await?)
            }
            connection => Ok(connection?),
        }
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

pub(super) const DIALECT: Dialect = Dialect {
    begin_migration: "BEGIN",
    // An arbitrary number, the same in all versions. The lock ends with the transaction, unlike a session's
    // lock.
    lock_migrations: "SET LOCAL statement_timeout = 0; \
        SET LOCAL idle_in_transaction_session_timeout = 0; SELECT pg_advisory_xact_lock(7310868735423931)",
    migration_table: "CREATE TABLE IF NOT EXISTS _sqlx_migrations (
        version BIGINT PRIMARY KEY, description TEXT NOT NULL,
        installed_on TIMESTAMPTZ NOT NULL DEFAULT now(), success BOOLEAN NOT NULL,
        checksum BYTEA NOT NULL, execution_time BIGINT NOT NULL)",
    count_migration_tables: "SELECT COUNT(*) AS n FROM pg_catalog.pg_class WHERE oid = to_regclass('_sqlx_migrations')",
    // Of text that cannot be compressed.
    large_insert: "INSERT INTO audit (id, actor, action, target, began_at) \
        SELECT 'doctor', '', '', string_agg(md5(n::text), ''), now() FROM generate_series(1, 8192) AS n",
    lock_catalog: "LOCK TABLE tenants IN SHARE ROW EXCLUSIVE MODE",
    // Emails share at most 1,024 locks. Sorted, so that two transactions do not deadlock.
    share_emails: "SELECT pg_advisory_xact_lock_shared(23703, slot) FROM (SELECT DISTINCT hashtext(email) & 1023 AS slot \
         FROM unnest($1::text[]) AS email ORDER BY slot) AS slots",
    lock_email: "SELECT pg_advisory_xact_lock(23703, hashtext($1::text) & 1023)",
    migrations: &MIGRATIONS,
};

/// Begins a transaction that writes.
pub(super) fn begin(connection: &PgConnection) -> &'static str {
    if is_pooled(connection) {
        BEGIN_POOLED
    } else {
        "BEGIN"
    }
}

pub(super) async fn rows(
    connection: &mut PgConnection,
    is_in_transaction: bool,
    sql: SqlStr,
    binds: Vec<Bind<'_>>,
) -> sqlx::Result<Vec<PgRow>> {
    let query = sqlx::query_with(sql, arguments(binds)?);
    if !is_pooled(connection) {
        return query.fetch_all(connection).await;
    }
    let query = query.persistent(false);
    if is_in_transaction {
        return query.fetch_all(connection).await;
    }
    let mut transaction = connection.begin_with(BEGIN_POOLED).await?;
    let rows = query.fetch_all(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(rows)
}

pub(super) async fn execute(
    connection: &mut PgConnection,
    is_in_transaction: bool,
    sql: SqlStr,
    binds: Vec<Bind<'_>>,
) -> sqlx::Result<u64> {
    let query = sqlx::query_with(sql, arguments(binds)?);
    let done = if !is_pooled(connection) {
        query.execute(connection).await?
    } else if is_in_transaction {
        query.persistent(false).execute(connection).await?
    } else {
        let mut transaction = connection.begin_with(BEGIN_POOLED).await?;
        let done = query.persistent(false).execute(&mut *transaction).await?;
        transaction.commit().await?;
        done
    };
    Ok(done.rows_affected())
}

/// `PgBouncer`: "unsupported startup parameter: options"; RDS Proxy: "… doesn't support command-line options".
fn refuses_options(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(refusal) => {
            matches!(refusal.code().as_deref(), Some("08P01" | "0A000" | "42704"))
                && (refusal.message().contains("option") || refusal.message().contains("parameter"))
        }
        _ => false,
    }
}

/// `SELECT * FROM UNNEST(…)` and its parameters, an array for each column: one text and one plan for any number
/// of rows.
pub(super) fn unnest<'a>(rows: Vec<Vec<Bind<'a>>>) -> (String, Vec<Bind<'a>>) {
    let mut columns: Vec<Vec<Bind<'a>>> = Vec::new();
    for row in rows {
        columns.resize_with(row.len(), Vec::new);
        for (column, bind) in columns.iter_mut().zip(row) {
            column.push(bind);
        }
    }
    let types = columns.iter().enumerate().map(|(n, column)| {
        let kind = match column.first() {
            Some(Bind::Int(_)) => "bigint",
            Some(Bind::Flag(_)) => "boolean",
            Some(Bind::Instant(_)) => "timestamptz",
            Some(Bind::Bytes(_)) => "bytea",
            _ => "text",
        };
        format!("${}::{kind}[]", n + 1)
    });
    let source = format!("SELECT * FROM UNNEST({})", types.collect::<Vec<_>>().join(", "));
    (source, columns.into_iter().map(Bind::Column).collect())
}

fn arguments(binds: Vec<Bind<'_>>) -> sqlx::Result<PgArguments> {
    let mut arguments = PgArguments::default();
    arguments.reserve(binds.len(), binds.len() * 16);
    for bind in binds {
        match bind {
            Bind::Text(text) => arguments.add(text.map(storable)),
            Bind::Texts(texts) => arguments.add(texts.into_iter().map(storable).collect::<Vec<_>>()),
            Bind::Int(int) => arguments.add(int),
            Bind::Flag(flag) => arguments.add(flag),
            Bind::Instant(instant) => arguments.add(instant.trunc_subsecs(3)),
            Bind::Bytes(bytes) => arguments.add(bytes),
            Bind::Column(values) => add_column(&mut arguments, &values),
        }
        .map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

/// Adds values of one kind as an array.
fn add_column(arguments: &mut PgArguments, values: &[Bind<'_>]) -> Result<(), BoxDynError> {
    /// The values of one kind of [`Bind`].
    macro_rules! array {
        ($kind:ident, $value:ident => $stored:expr) => {
            values
                .iter()
                .filter_map(|bind| match bind {
                    Bind::$kind($value) => Some($stored),
                    _ => None,
                })
                .collect::<Vec<_>>()
        };
    }
    match values.first() {
        Some(Bind::Int(_)) => arguments.add(array!(Int, int => *int)),
        Some(Bind::Flag(_)) => arguments.add(array!(Flag, flag => *flag)),
        Some(Bind::Instant(_)) => arguments.add(array!(Instant, instant => instant.trunc_subsecs(3))),
        Some(Bind::Bytes(_)) => arguments.add(array!(Bytes, bytes => *bytes)),
        _ => arguments.add(array!(Text, text => text.map(storable))),
    }
}

/// PostgreSQL's text cannot contain U+0000, but JSON can. Such a name must not block a purchase.
fn storable(text: &str) -> Cow<'_, str> {
    if text.contains('\0') {
        Cow::Owned(text.replace('\0', "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}
