-- Programs that know less than this version must not work on the tables. A version that only adds leaves it as it is; one
-- that older programs could not live with sets it to its own number.
CREATE TABLE schema_compat (
    oldest INTEGER NOT NULL
) STRICT;

INSERT INTO schema_compat (oldest) VALUES (0);

-- Changes whenever tenants or passes do, so that a copy of the catalogue need not be read again to see that it is new. Random:
-- a store that was restored does not come back to a number that stood for something else.
CREATE TABLE catalogue_version (
    version TEXT NOT NULL
) STRICT;

INSERT INTO catalogue_version (version) VALUES (hex(randomblob(8)));

CREATE TRIGGER tenants_inserted AFTER INSERT ON tenants BEGIN UPDATE catalogue_version SET version = hex(randomblob(8)); END;
CREATE TRIGGER tenants_updated AFTER UPDATE ON tenants BEGIN UPDATE catalogue_version SET version = hex(randomblob(8)); END;
CREATE TRIGGER tenants_deleted AFTER DELETE ON tenants BEGIN UPDATE catalogue_version SET version = hex(randomblob(8)); END;
CREATE TRIGGER passes_inserted AFTER INSERT ON passes BEGIN UPDATE catalogue_version SET version = hex(randomblob(8)); END;
CREATE TRIGGER passes_updated AFTER UPDATE ON passes BEGIN UPDATE catalogue_version SET version = hex(randomblob(8)); END;
CREATE TRIGGER passes_deleted AFTER DELETE ON passes BEGIN UPDATE catalogue_version SET version = hex(randomblob(8)); END;
