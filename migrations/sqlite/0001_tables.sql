-- Instants are whole milliseconds since 1970 UTC: datetime(start_date / 1000, 'unixepoch') shows one.
-- Amounts are minor units of the row's currency (øre, cents, yen). Flags are 0 or 1. Lists are JSON arrays.

CREATE TABLE tenants (
    id              TEXT PRIMARY KEY NOT NULL,
    slug            TEXT NOT NULL UNIQUE,
    name            TEXT NOT NULL,
    time_zone       TEXT NOT NULL,
    color           TEXT,
    webhook_secrets TEXT NOT NULL,
    stripe_account  TEXT UNIQUE
) STRICT;

CREATE TABLE passes (
    tenant_id        TEXT NOT NULL REFERENCES tenants (id),
    id               TEXT NOT NULL,
    name             TEXT NOT NULL,
    type             TEXT NOT NULL,
    classes_limit    INTEGER,
    price            INTEGER NOT NULL,
    currency         TEXT NOT NULL,
    validity_type    TEXT,
    validity_days    INTEGER,
    -- YYYY-MM-DD (the end of that day in the tenant's time zone) or an RFC 3339 instant.
    expiry_date      TEXT,
    stripe_price_ids TEXT NOT NULL,
    is_active        INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, id)
) STRICT;

CREATE TABLE users (
    id         TEXT PRIMARY KEY NOT NULL,
    -- Lower case. Not unique: the same person may have signed up twice.
    email      TEXT,
    name       TEXT,
    created_at INTEGER NOT NULL
) STRICT;

CREATE INDEX users_by_email ON users (email);

CREATE TABLE subscriptions (
    id                            TEXT PRIMARY KEY NOT NULL,
    user_id                       TEXT NOT NULL REFERENCES users (id),
    tenant_id                     TEXT NOT NULL REFERENCES tenants (id),
    type                          TEXT NOT NULL,
    start_date                    INTEGER NOT NULL,
    end_date                      INTEGER NOT NULL,
    remaining_clips               INTEGER,
    pass_id                       TEXT NOT NULL,
    pass_name                     TEXT NOT NULL,
    purchase_price                INTEGER NOT NULL,
    original_price                INTEGER,
    final_price                   INTEGER,
    discount_amount               INTEGER,
    promo_code                    TEXT,
    currency                      TEXT NOT NULL,
    -- NULL for a free purchase; as in every SQL database, NULLs do not collide in a unique index.
    stripe_payment_id             TEXT UNIQUE,
    -- Unique because the id is: a second index over random ids would halve the speed of inserts.
    stripe_session_id             TEXT NOT NULL CHECK (id = 'subscription-' || stripe_session_id),
    stripe_customer_id            TEXT,
    webhook_event_id              TEXT,
    is_active                     INTEGER NOT NULL,
    is_upgrade                    INTEGER NOT NULL,
    upgraded_from_subscription_id TEXT UNIQUE REFERENCES subscriptions (id),
    upgrade_cost                  INTEGER,
    created_via                   TEXT NOT NULL,
    created_at                    INTEGER NOT NULL,
    updated_at                    INTEGER NOT NULL,
    -- Set when a later purchase upgrades this subscription.
    upgraded_at                   INTEGER,
    upgraded_to_pass_id           TEXT,
    upgraded_to_pass_name         TEXT
) STRICT;

CREATE INDEX subscriptions_by_user ON subscriptions (user_id);
CREATE INDEX subscriptions_by_tenant ON subscriptions (tenant_id, created_at);
CREATE INDEX subscriptions_by_age ON subscriptions (created_at);

CREATE TABLE events (
    id          TEXT PRIMARY KEY NOT NULL,
    type        TEXT NOT NULL,
    account     TEXT,
    livemode    INTEGER NOT NULL,
    tenant_slug TEXT,
    object_id   TEXT,
    outcome     TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    -- LZ4 block with its size before it; NULL once its 30 days are over.
    body        BLOB
) STRICT;

CREATE INDEX events_by_age ON events (received_at);
CREATE INDEX events_by_object ON events (object_id);
CREATE INDEX events_with_body ON events (received_at) WHERE body IS NOT NULL;
