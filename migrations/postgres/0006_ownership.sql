-- Who has proved an email first, by a token in which it is verified: guests' purchases with it are theirs.
CREATE TABLE proved_emails (
    -- As `email::folded` gives it.
    email     TEXT PRIMARY KEY,
    -- Not a reference: who has proved an email may never buy anything.
    user_id   TEXT NOT NULL,
    proved_at TIMESTAMPTZ NOT NULL
);

CREATE INDEX proved_emails_by_user ON proved_emails (user_id);

-- Set when a person moves the subscription to another user: it is theirs from then on, whatever the rules say.
ALTER TABLE subscriptions ADD COLUMN moved_at TIMESTAMPTZ;
