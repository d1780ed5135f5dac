//! The limit of a worker: takes 200 from a list, writes their rows in one transaction.

use chrono::{DateTime, TimeDelta, Utc};
use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;
use sqlx::postgres::PgArguments;
use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{
    Arguments, AssertSqlSafe, ConnectOptions, Connection, PgConnection, SqlSafeStr, SqliteConnection,
};
use surepass::clock::Clock;
use surepass::fulfil::Purchase;
use surepass::ingest::{Triage, triage};
use surepass::store::{CreatedVia, Synchronous};
use surepass::stripe::Event;
use surepass::up::RedisServer;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::bare_server::BARE_LIST;
use crate::{Outcome, system};

/// Rows in one transaction, at most.
pub(crate) const BATCH: usize = 200;

/// Columns that the rows of a purchase have: in `users`, and in `subscriptions`.
const WIDTHS: [usize; 2] = [4, 26];

const INSERTS: [&str; 2] = [
    "INSERT INTO users (id, email, name, created_at) VALUES ",
    "INSERT INTO subscriptions (id, user_id, tenant_id, type, start_date, end_date, remaining_clips, pass_id, \
     pass_name, purchase_price, original_price, final_price, discount_amount, promo_code, currency, \
     stripe_payment_id, stripe_session_id, stripe_customer_id, webhook_event_id, is_active, is_upgrade, \
     upgraded_from_subscription_id, upgrade_cost, created_via, created_at, updated_at) VALUES ",
];

/// A connection that writes to the tables of a store.
#[derive(Debug)]
pub(crate) enum Bare {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Bare {
    pub(crate) async fn open(url: &str, synchronous: Synchronous) -> Outcome<Self> {
        if url.starts_with("postgres") {
            let mut connection = PgConnection::connect(url).await?;
            sqlx::query("SET plan_cache_mode = 'force_generic_plan'")
                .execute(&mut connection)
                .await?;
            return Ok(Self::Postgres(connection));
        }
        let options: SqliteConnectOptions = url.parse()?;
        let connection = options
            .foreign_keys(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(match synchronous {
                Synchronous::Normal => SqliteSynchronous::Normal,
                Synchronous::Full => SqliteSynchronous::Full,
            })
            .pragma("cache_size", "-8000")
            .pragma("wal_autocheckpoint", "8000")
            .pragma("temp_store", "MEMORY")
            .disable_statement_logging()
            .connect()
            .await?;
        Ok(Self::Sqlite(connection))
    }

    /// Writes the rows that the product writes for these purchases.
    pub(crate) async fn insert(&mut self, purchases: &[Purchase], now: DateTime<Utc>) -> Outcome<()> {
        let rows = purchases.iter().map(|purchase| Row::new(purchase, now));
        let rows = rows
            .collect::<Option<Vec<_>>>()
            .ok_or("no purchase of the sample catalog")?;
        match self {
            Self::Sqlite(connection) => {
                let [users, subscriptions] = sqlite_arguments(&rows)?;
                let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
                for (nth, arguments) in [users, subscriptions].into_iter().enumerate() {
                    let text = text(nth, rows.len(), |_| "?".to_owned());
                    sqlx::query_with(AssertSqlSafe(text).into_sql_str(), arguments)
                        .execute(&mut *transaction)
                        .await?;
                }
                transaction.commit().await?;
            }
            Self::Postgres(connection) => {
                let [users, subscriptions] = postgres_arguments(&rows)?;
                let mut transaction = connection.begin().await?;
                for (nth, arguments) in [users, subscriptions].into_iter().enumerate() {
                    let text = text(nth, rows.len(), |position| format!("${position}"));
                    sqlx::query_with(AssertSqlSafe(text).into_sql_str(), arguments)
                        .execute(&mut *transaction)
                        .await?;
                }
                transaction.commit().await?;
            }
        }
        Ok(())
    }
}

fn text(nth: usize, rows: usize, placeholder: impl Fn(usize) -> String) -> String {
    let width = WIDTHS[nth];
    let tuple = |row: usize| {
        let names: Vec<_> = (1..=width)
            .map(|column| placeholder(row * width + column))
            .collect();
        format!("({})", names.join(","))
    };
    let tuples: Vec<_> = (0..rows).map(tuple).collect();
    format!("{}{}", INSERTS[nth], tuples.join(","))
}

/// Takes up to a batch of bodies from a list.
pub(crate) async fn take(redis: &mut MultiplexedConnection, list: &str) -> Outcome<Vec<Vec<u8>>> {
    let taken: Option<Vec<Vec<u8>>> = redis::cmd("LPOP").arg(list).arg(BATCH).query_async(redis).await?;
    Ok(taken.unwrap_or_default())
}

/// Takes what the bare server has put into its list and writes it, on a thread of its own, until it is stopped.
pub(crate) struct Consumer {
    runtime: Runtime,
    working: JoinHandle<Outcome<()>>,
}

impl Consumer {
    pub(crate) fn start(redis: &RedisServer, database: &str) -> Outcome<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let (mut redis, mut bare) = runtime.block_on(async {
            let redis = system::connect(redis).await?;
            Outcome::Ok((redis, Bare::open(database, Synchronous::Normal).await?))
        })?;
        let working = runtime.spawn(async move {
            loop {
                // The rest of a batch comes with the second call.
                let first: Option<(String, Vec<u8>)> = redis.blpop(BARE_LIST, 0.1).await?;
                let Some((_, first)) = first else { continue };
                let mut bodies = take(&mut redis, BARE_LIST).await?;
                bodies.push(first);
                let mut purchases = Vec::with_capacity(bodies.len());
                for body in &bodies {
                    match triage(&Event::parse(body)?, None, CreatedVia::Webhook) {
                        Triage::Fulfil(purchase) => purchases.push(purchase),
                        Triage::Ignore(why) => return Outcome::<()>::Err(why.into()),
                    }
                }
                bare.insert(&purchases, Clock::system().now()).await?;
            }
        });
        Ok(Self { runtime, working })
    }

    pub(crate) fn stop(self) -> Outcome<()> {
        self.working.abort();
        match self.runtime.block_on(self.working) {
            Ok(Err(error)) => Err(error),
            _ => Ok(()),
        }
    }
}

/// What the rows of one purchase hold.
struct Row<'a> {
    purchase: &'a Purchase,
    id: String,
    user: &'a str,
    email: &'a str,
    name: &'a str,
    currency: &'a str,
    start: DateTime<Utc>,
    end: DateTime<Utc>,
    amount: i64,
    now: DateTime<Utc>,
}

impl<'a> Row<'a> {
    fn new(purchase: &'a Purchase, now: DateTime<Utc>) -> Option<Self> {
        let start = purchase.created?;
        Some(Self {
            purchase,
            id: format!("subscription-{}", purchase.session_id),
            user: purchase.user_id.as_deref()?,
            email: purchase.email.as_deref()?,
            name: purchase.name.as_deref()?,
            currency: purchase.currency.as_deref()?,
            start,
            end: start + TimeDelta::days(90),
            amount: purchase.amount?,
            now,
        })
    }
}

/// The values of all rows, in the order of [`INSERTS`], for a database that takes an instant as `$instant` makes it.
macro_rules! arguments {
    ($name:ident, $arguments:ty, $instant:expr) => {
        fn $name(rows: &[Row<'_>]) -> Outcome<[$arguments; 2]> {
            let instant = $instant;
            let (mut users, mut subscriptions) = (<$arguments>::default(), <$arguments>::default());
            users.reserve(rows.len() * WIDTHS[0], 0);
            subscriptions.reserve(rows.len() * WIDTHS[1], 0);
            for row in rows {
                users.add(row.user)?;
                users.add(row.email)?;
                users.add(row.name)?;
                users.add(instant(row.now))?;

                subscriptions.add(row.id.as_str())?;
                subscriptions.add(row.user)?;
                subscriptions.add("tenant-1")?;
                subscriptions.add("clipcard")?;
                subscriptions.add(instant(row.start))?;
                subscriptions.add(instant(row.end))?;
                subscriptions.add(10_i64)?;
                subscriptions.add("pass-10")?;
                subscriptions.add("10 classes")?;
                subscriptions.add(row.amount)?;
                subscriptions.add(None::<i64>)?;
                subscriptions.add(None::<i64>)?;
                subscriptions.add(None::<i64>)?;
                subscriptions.add(None::<&str>)?;
                subscriptions.add(row.currency)?;
                subscriptions.add(row.purchase.payment_intent.as_deref())?;
                subscriptions.add(row.purchase.session_id.as_str())?;
                subscriptions.add(row.purchase.customer.as_deref())?;
                subscriptions.add(row.purchase.event_id.as_deref())?;
                subscriptions.add(true)?;
                subscriptions.add(false)?;
                subscriptions.add(None::<&str>)?;
                subscriptions.add(None::<i64>)?;
                subscriptions.add("webhook")?;
                subscriptions.add(instant(row.now))?;
                subscriptions.add(instant(row.now))?;
            }
            Ok([users, subscriptions])
        }
    };
}

arguments!(sqlite_arguments, SqliteArguments, |at: DateTime<Utc>| at
    .timestamp_millis());
arguments!(postgres_arguments, PgArguments, |at: DateTime<Utc>| at);
