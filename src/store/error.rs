//! Classifies database errors: whether a retry can help.

use sqlx::error::{DatabaseError, ErrorKind};

use crate::tls;

/// Why a call to the store failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The whole store is unavailable: no connection, a lock, no permission, a missing table or a full disk.
    /// Every call can wait until it is back.
    #[error("the store is not available: {0}")]
    Outage(String),
    /// An unknown error: a retry may or may not help.
    #[error("the store failed: {0}")]
    Transient(String),
    /// The call can never succeed: its data violates a constraint, or the address is invalid.
    #[error("the store refused: {0}")]
    Permanent(String),
    /// The address is invalid. The text begins with it, without the password.
    #[error("{0}")]
    Address(String),
    /// The data conflicts with existing data.
    #[error("{0}")]
    Conflict(String),
}

impl StoreError {
    /// Whether a retry can help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Outage(_) | Self::Transient(_))
    }
}

impl From<sqlx::Error> for StoreError {
    /// Only the database's own message is used: it names tables and constraints, but no rows and no
    /// passwords.
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(refusal) => sort(refusal.as_ref()),
            sqlx::Error::PoolTimedOut => Self::Outage("no connection to the database within 5 s".to_owned()),
            // The call is fine, but a stored record is not.
            sqlx::Error::Decode(_)
            | sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::ColumnNotFound(_)
            | sqlx::Error::TypeNotFound { .. } => Self::Outage(format!(
                "this version of Surepass cannot read a stored record: {error}"
            )),
            sqlx::Error::Encode(_) => Self::Permanent(error.to_string()),
            sqlx::Error::Io(_) | sqlx::Error::Tls(_) => Self::Outage(tls::told(&error)),
            sqlx::Error::Protocol(_)
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::BeginFailed => Self::Outage(error.to_string()),
            _ => Self::Transient(error.to_string()),
        }
    }
}

/// PostgreSQL: appendix A of its manual ("Error Codes"); SQLite: "Result and Error Codes".
fn sort(refusal: &dyn DatabaseError) -> StoreError {
    let code = refusal.code().unwrap_or_default();
    let message = format!("{} ({code})", refusal.message());
    match refusal.kind() {
        ErrorKind::UniqueViolation => return StoreError::Conflict(message),
        // This program sets every column that it knows, so the schema must differ.
        ErrorKind::NotNullViolation => return StoreError::Outage(message),
        // The tenant was removed after the catalog was read; a retry reads it again.
        ErrorKind::ForeignKeyViolation => return StoreError::Transient(message),
        ErrorKind::CheckViolation => return StoreError::Permanent(message),
        _ => {}
    }
    if refusal.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some() {
        return sort_sqlite(code.parse().unwrap_or_default(), message);
    }
    match code.get(..2) {
        // Data exceptions, and other constraint violations.
        Some("22" | "23") => StoreError::Permanent(message),
        // A value is too large for an index. The rest of the class concerns statements.
        Some("54") if code == "54000" => StoreError::Permanent(message),
        // Connection; feature of a pooler; transaction state such as read-only; unknown prepared statement;
        // login; catalog and schema name; missing permission or table; resources; object in use; operator;
        // system; internal. Not class 40: there two transactions conflicted and the store works.
        Some(
            "08" | "0A" | "25" | "26" | "28" | "3D" | "3F" | "42" | "53" | "55" | "57" | "58" | "F0" | "XX",
        ) => StoreError::Outage(message),
        _ => StoreError::Transient(message),
    }
}

/// By the low byte of an extended code.
fn sort_sqlite(code: u32, message: String) -> StoreError {
    match code & 0xff {
        SQLITE_TOOBIG | SQLITE_CONSTRAINT | SQLITE_MISMATCH => StoreError::Permanent(message),
        // Missing table, permission, busy, locked, read-only, I/O, corrupt, full, missing file, not a
        // database, …
        code if code <= SQLITE_SCHEMA => StoreError::Outage(message),
        SQLITE_NOLFS | SQLITE_AUTH | SQLITE_NOTADB => StoreError::Outage(message),
        _ => StoreError::Transient(message),
    }
}

const SQLITE_SCHEMA: u32 = 17;
const SQLITE_TOOBIG: u32 = 18;
const SQLITE_CONSTRAINT: u32 = 19;
const SQLITE_MISMATCH: u32 = 20;
const SQLITE_NOLFS: u32 = 22;
const SQLITE_AUTH: u32 = 23;
const SQLITE_NOTADB: u32 = 26;

/// Another writer came in between or the connection broke. A retry is likely to succeed at once.
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

/// The error of a statement that took too long.
pub(super) fn timed_out() -> sqlx::Error {
    sqlx::Error::Io(std::io::Error::new(
        std::io::ErrorKind::TimedOut,
        "no answer from the database within 10 s",
    ))
}
