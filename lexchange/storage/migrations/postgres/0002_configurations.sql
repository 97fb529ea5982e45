-- As migrations/sqlite/0005_configurations.sql, where it is explained.
ALTER TABLE config_versions ADD COLUMN documents BYTEA;

CREATE TABLE current_configuration (
    name TEXT NOT NULL PRIMARY KEY CHECK (name = 'current'),
    generation BIGINT NOT NULL,
    version TEXT NOT NULL,
    published_ms BIGINT NOT NULL,
    node TEXT NOT NULL
);
