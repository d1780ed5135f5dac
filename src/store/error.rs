//! What a database's error means: whether trying again can help.

use sqlx::error::{DatabaseError, ErrorKind};

/// Why the store could not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Trying again can help: connection lost, busy, time-out, disk full, and whatever is not known.
    #[error("the store did not answer as it should: {0}")]
    Transient(String),
    /// Trying again cannot help until a person acts: no permission, a missing table, a broken constraint.
    #[error("the store refused: {0}")]
    Permanent(String),
    /// The address leads to no store; begins with the address, its password masked.
    #[error("{0}")]
    Address(String),
    /// The data contradicts what is there.
    #[error("{0}")]
    Conflict(String),
}

impl From<sqlx::Error> for StoreError {
    /// Only the database's own message is taken over: it names tables and constraints, neither rows nor passwords.
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(refusal) => sort(refusal.as_ref()),
            sqlx::Error::PoolTimedOut => {
                Self::Transient("no connection to the database within 5 s".to_owned())
            }
            sqlx::Error::Decode(_)
            | sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::ColumnNotFound(_)
            | sqlx::Error::TypeNotFound { .. }
            | sqlx::Error::Encode(_) => Self::Permanent(format!(
                "a record is not as this version of Surepass keeps it: {error}"
            )),
            _ => Self::Transient(error.to_string()),
        }
    }
}

impl From<sqlx::migrate::MigrateError> for StoreError {
    fn from(error: sqlx::migrate::MigrateError) -> Self {
        use sqlx::migrate::MigrateError;
        match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error.into(),
            other => Self::Permanent(format!("the tables cannot be brought up to date: {other}")),
        }
    }
}

/// PostgreSQL: appendix A of its manual ("Error Codes"); SQLite: "Result and Error Codes", the low byte of its
/// extended codes.
fn sort(refusal: &dyn DatabaseError) -> StoreError {
    let code = refusal.code().unwrap_or_default();
    let message = || format!("{} ({code})", refusal.message());
    match refusal.kind() {
        ErrorKind::UniqueViolation => return StoreError::Conflict(message()),
        ErrorKind::ForeignKeyViolation | ErrorKind::NotNullViolation | ErrorKind::CheckViolation => {
            return StoreError::Permanent(message());
        }
        _ => {}
    }
    if refusal.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some() {
        let primary = code.parse::<u32>().unwrap_or_default() & 0xff;
        return match primary {
            SQLITE_ERROR | SQLITE_PERM | SQLITE_READONLY | SQLITE_CORRUPT | SQLITE_TOOBIG
            | SQLITE_CONSTRAINT | SQLITE_MISMATCH | SQLITE_AUTH | SQLITE_NOTADB => {
                StoreError::Permanent(message())
            }
            _ => StoreError::Transient(message()),
        };
    }
    match code.get(..2) {
        // Data exception, integrity constraint, syntax error or access rule (no permission, no such table), and what is
        // larger than a row or an index holds.
        Some("22" | "23" | "42" | "54") => StoreError::Permanent(message()),
        _ => StoreError::Transient(message()),
    }
}

const SQLITE_ERROR: u32 = 1;
const SQLITE_PERM: u32 = 3;
const SQLITE_READONLY: u32 = 8;
const SQLITE_CORRUPT: u32 = 11;
const SQLITE_TOOBIG: u32 = 18;
const SQLITE_CONSTRAINT: u32 = 19;
const SQLITE_MISMATCH: u32 = 20;
const SQLITE_AUTH: u32 = 23;
const SQLITE_NOTADB: u32 = 26;

/// Another writer came in between, or the connection broke: nothing is wrong with what was asked, and asking again
/// at once is likely to succeed.
pub(super) fn is_passing(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(error) => error.kind() != std::io::ErrorKind::TimedOut,
        sqlx::Error::Protocol(_) => true,
        sqlx::Error::Database(refusal) => {
            refusal.is_unique_violation()
                || refusal
                    .try_downcast_ref::<sqlx::postgres::PgDatabaseError>()
                    .is_some_and(|error| {
                        // Connection exception, transaction rollback (deadlock), the server is shutting down.
                        matches!(error.code().get(..2), Some("08" | "40"))
                            || matches!(error.code(), "57P01" | "57P02" | "57P03")
                    })
        }
        _ => false,
    }
}

/// The error that stands for a statement which took too long.
pub(super) fn timed_out() -> sqlx::Error {
    sqlx::Error::Io(std::io::Error::new(
        std::io::ErrorKind::TimedOut,
        "no answer from the database within 10 s",
    ))
}
