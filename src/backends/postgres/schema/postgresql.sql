-- profile-store, format 2, for PostgreSQL 13 or newer.
--
-- The store runs this by itself when it is opened by a role that may create a schema in the database.
-- For a role with less, run it once as the owner, and grant what the store needs:
--
--   GRANT USAGE ON SCHEMA profile_store TO app;
--   GRANT SELECT ON profile_store.format TO app;
--   GRANT SELECT, INSERT, UPDATE, DELETE ON profile_store.profile, profile_store.receipt TO app;

CREATE SCHEMA profile_store;

-- One row: the format that the tables have.
CREATE TABLE profile_store.format (
    singleton smallint PRIMARY KEY DEFAULT 1 CHECK (singleton = 1),
    version   integer  NOT NULL
);
INSERT INTO profile_store.format (version) VALUES (2);

CREATE TABLE profile_store.profile (
    -- Byte order, as every backend lists.
    guru_slug        text COLLATE "C" NOT NULL,
    external_user_id text COLLATE "C" NOT NULL,
    -- The JSON text itself, byte for byte. Not jsonb, which reorders keys and drops duplicates.
    memory           text             NOT NULL,
    -- Microseconds since 1970, UTC.
    created_at       bigint           NOT NULL,
    updated_at       bigint           NOT NULL,
    -- Over guru, id, times and memory. It also tells whether a row is still the one that was read.
    checksum         bigint           NOT NULL,
    -- NULL in every stored row. A row on its way in says here which checksum it expects to replace.
    expected         bigint,
    PRIMARY KEY (guru_slug, external_user_id)
);

-- The last transaction of each writer: it proves a commit whose answer was lost.
CREATE TABLE profile_store.receipt (
    -- On Citus the guru that was written, so that the receipt is on its node; else empty.
    guru_slug text COLLATE "C" NOT NULL,
    writer    bigint           NOT NULL,
    -- A number that no other transaction has.
    token     bigint           NOT NULL,
    -- Receipts of a day are swept when a store is opened.
    at        timestamptz      NOT NULL DEFAULT now(),
    PRIMARY KEY (guru_slug, writer)
);
