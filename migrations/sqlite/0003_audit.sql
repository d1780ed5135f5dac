-- What operators did. A row is there before its act begins; without an outcome the act was cut off, or goes on.
CREATE TABLE audit (
    id       TEXT PRIMARY KEY NOT NULL,
    actor    TEXT NOT NULL,
    action   TEXT NOT NULL,
    -- JSON: the ids, the filter or the queue that it was about.
    target   TEXT NOT NULL,
    reason   TEXT,
    began_at INTEGER NOT NULL,
    ended_at INTEGER,
    outcome  TEXT
) STRICT;

CREATE INDEX audit_by_age ON audit (began_at);
