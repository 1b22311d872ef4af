-- profile-store, format 1, for Citus (distributed PostgreSQL). Run it once, on the coordinator; the store
-- does not. Grants as in postgresql.sql.
--
-- A guru lives on one node: its batches, lists and counts are local, and no reader sees a part of a batch.
-- No guru can outgrow its node.

CREATE SCHEMA profile_store;

-- One row: the format that the tables have.
CREATE TABLE profile_store.format (
    singleton smallint PRIMARY KEY DEFAULT 1 CHECK (singleton = 1),
    version   integer  NOT NULL
);

CREATE TABLE profile_store.profile (
    -- Byte order, as every backend lists.
    guru_slug        text COLLATE "C" NOT NULL,
    external_user_id text COLLATE "C" NOT NULL,
    -- The JSON text itself, byte for byte. Not jsonb, which reorders keys and drops duplicates.
    memory           text             NOT NULL,
    -- Microseconds since 1970, UTC.
    created_at       bigint           NOT NULL,
    updated_at       bigint           NOT NULL,
    -- Two, so that a memory can be replaced without a look at when its profile was made:
    -- over guru, id, memory and updated_at;
    checksum         bigint           NOT NULL,
    -- over guru, id and created_at. Both tell whether a row is still the one that was read.
    created_checksum bigint           NOT NULL,
    -- NULL in every stored row. A row on its way in says here which checksum it expects to replace.
    expected         bigint,
    PRIMARY KEY (guru_slug, external_user_id)
);

-- What a write probe writes.
CREATE TABLE profile_store.probe (
    singleton smallint PRIMARY KEY DEFAULT 1 CHECK (singleton = 1),
    at        bigint   NOT NULL
);

SELECT create_reference_table('profile_store.format');
SELECT create_reference_table('profile_store.probe');
SELECT create_distributed_table('profile_store.profile', 'guru_slug');

-- Last: the tables are ready.
INSERT INTO profile_store.format (version) VALUES (1);
