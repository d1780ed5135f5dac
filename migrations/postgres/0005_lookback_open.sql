-- Sessions that a sweep has met and that had no end then: not paid for yet, or paid for and without a subscription. A row
-- for each key under which the one who asks may be known.
CREATE TABLE lookback_open (
    customer   TEXT NOT NULL,
    session    TEXT NOT NULL,
    -- Empty: the key's own.
    account    TEXT NOT NULL,
    -- When the session was created.
    created_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (customer, session)
);

CREATE INDEX lookback_open_by_session ON lookback_open (session);
CREATE INDEX lookback_open_by_age ON lookback_open (created_at);

-- Marks that were raised before such sessions were noted do not say which there are. The next night raises them anew.
DELETE FROM lookback_marks WHERE detector = 'sessions';
