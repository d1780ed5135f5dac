-- What the lookback did: a row for each run, with its counts once it has ended.
CREATE TABLE lookback_runs (
    id         TEXT PRIMARY KEY,
    -- The dedupe key of its job.
    key        TEXT NOT NULL,
    -- NULL: the key's own account, or all.
    account    TEXT,
    from_at    TIMESTAMPTZ NOT NULL,
    to_at      TIMESTAMPTZ NOT NULL,
    via        TEXT NOT NULL,
    -- waiting, then (of a sweep) listing, gathering, enqueueing; settling; done or failed.
    phase      TEXT NOT NULL,
    -- Which of a sweep's slices may write. An older one that comes back late finds another number.
    slice      BIGINT NOT NULL,
    -- Where the phase goes on; empty: at its beginning.
    cursor     TEXT NOT NULL,
    pages      BIGINT NOT NULL,
    customers  BIGINT NOT NULL,
    unreadable BIGINT NOT NULL,
    found      BIGINT NOT NULL,
    created    BIGINT NOT NULL,
    skipped    BIGINT NOT NULL,
    failed     BIGINT NOT NULL,
    pending    BIGINT NOT NULL,
    error      TEXT,
    began_at   TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL
);

CREATE INDEX lookback_runs_by_age ON lookback_runs (began_at);
CREATE INDEX lookback_runs_by_key ON lookback_runs (key, began_at);

-- The paid sessions that a run has found. Of those that need nothing more only the errors outlive the run.
CREATE TABLE lookback_sessions (
    run      TEXT NOT NULL,
    session  TEXT NOT NULL,
    customer TEXT NOT NULL,
    -- JSON: what a fulfil job would carry; NULL once it is handed in, and where it is not needed or not known yet.
    purchase TEXT,
    -- staged, enqueued; existing, created, ignored, dead, failed.
    state    TEXT NOT NULL,
    error    TEXT,
    PRIMARY KEY (run, session)
);

CREATE INDEX lookback_sessions_by_customer ON lookback_sessions (run, customer);

-- Up to where a detector has proven that nothing is missing. The account is empty for the key's own.
CREATE TABLE lookback_marks (
    detector   TEXT NOT NULL,
    account    TEXT NOT NULL,
    from_at    TIMESTAMPTZ NOT NULL,
    to_at      TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (detector, account)
);
