-- Programs that know less than this version must not work on the tables. A version that only adds leaves it as it is; one
-- that older programs could not live with sets it to its own number.
CREATE TABLE schema_compat (
    oldest BIGINT NOT NULL
);

INSERT INTO schema_compat (oldest) VALUES (0);

-- Changes whenever tenants or passes do, so that a copy of the catalogue need not be read again to see that it is new. It holds
-- the time, too: a store that was restored does not come back to a number that stood for something else.
CREATE TABLE catalogue_version (
    version TEXT NOT NULL
);

INSERT INTO catalogue_version (version) VALUES (txid_current() || ' ' || transaction_timestamp());

-- Once for each transaction, however many rows it touches.
CREATE FUNCTION catalogue_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    own TEXT := txid_current() || ' ' || transaction_timestamp();
BEGIN
    UPDATE catalogue_version SET version = own WHERE version <> own;
    RETURN NULL;
END
$$;

CREATE TRIGGER tenants_changed AFTER INSERT OR UPDATE OR DELETE ON tenants
    FOR EACH ROW EXECUTE FUNCTION catalogue_changed();
CREATE TRIGGER passes_changed AFTER INSERT OR UPDATE OR DELETE ON passes
    FOR EACH ROW EXECUTE FUNCTION catalogue_changed();
CREATE TRIGGER passes_truncated AFTER TRUNCATE ON passes
    FOR EACH STATEMENT EXECUTE FUNCTION catalogue_changed();
