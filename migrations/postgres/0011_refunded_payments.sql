-- Payments that a verified event reports as refunded in full, kept for 400 days: the event may come before the case opens.
CREATE TABLE refunded_payments (
    -- Empty: the key's own.
    account     TEXT NOT NULL,
    payment     TEXT NOT NULL,
    -- The slug of the path that the webhook came in by; empty: the platform's own.
    path_tenant TEXT NOT NULL,
    seen_at     TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (payment, account, path_tenant)
);

CREATE INDEX refunded_payments_by_age ON refunded_payments (seen_at);
