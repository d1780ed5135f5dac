-- Purchases that were paid for and have no pass ("cases"): one for each account and session. Kept until closed, and closed
-- ones for 400 days.
CREATE TABLE unmatched_payments (
    id          TEXT PRIMARY KEY NOT NULL,
    -- What a customer can read out; not to be guessed from the session.
    reference   TEXT NOT NULL UNIQUE,
    -- Empty: the key's own.
    account     TEXT NOT NULL,
    session     TEXT NOT NULL,
    payment     TEXT,
    tenant_id   TEXT,
    -- The slug of the path that the webhook came in by.
    path_tenant TEXT,
    reason      TEXT NOT NULL,
    detail      TEXT NOT NULL,
    -- JSON: metadata, line items, amount, currency, email, name, created.
    evidence    TEXT NOT NULL,
    -- JSON: what a fulfil job would carry.
    purchase    TEXT,
    -- 0: nothing was paid, for information only.
    is_paid     INTEGER NOT NULL,
    -- open, closed.
    state       TEXT NOT NULL,
    -- How it was closed: subscription, refund, person.
    resolution  TEXT,
    -- JSON, an object a line: who, when, what, why.
    history     TEXT NOT NULL,
    opened_at   INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    UNIQUE (account, session)
) STRICT;

CREATE INDEX unmatched_open_by_session ON unmatched_payments (session) WHERE state = 'open';
CREATE INDEX unmatched_open_by_age ON unmatched_payments (opened_at) WHERE state = 'open';
CREATE INDEX unmatched_by_session ON unmatched_payments (session);
CREATE INDEX unmatched_by_payment ON unmatched_payments (payment) WHERE payment IS NOT NULL;
CREATE INDEX unmatched_closed_by_age ON unmatched_payments (updated_at) WHERE state = 'closed';

-- A subscription closes the case of its session in the same transaction, whoever inserts it. A pass for the first of several
-- paid places does not.
CREATE TRIGGER unmatched_fulfilled AFTER INSERT ON subscriptions
BEGIN
    UPDATE unmatched_payments SET state = 'closed', resolution = 'subscription', updated_at = NEW.created_at
    WHERE session = NEW.stripe_session_id AND state = 'open' AND reason <> 'items_short'
        AND (tenant_id IS NULL OR tenant_id = NEW.tenant_id);
END;

ALTER TABLE tenants ADD COLUMN support_email TEXT;
ALTER TABLE tenants ADD COLUMN support_url TEXT;
ALTER TABLE tenants ADD COLUMN shop_url TEXT;
-- park, ignore: what becomes of paid sessions without any of our keys.
ALTER TABLE tenants ADD COLUMN unmatched TEXT NOT NULL DEFAULT 'park';
