-- What each configuration says, so that every process can take it from here; and which one is in force. `generation`
-- counts up with each change. The documents are those of campaign_file/documents.py.
ALTER TABLE config_versions ADD COLUMN documents BLOB;

CREATE TABLE current_configuration (
    name TEXT NOT NULL PRIMARY KEY CHECK (name = 'current'),
    generation INTEGER NOT NULL,
    version TEXT NOT NULL,
    published_ms INTEGER NOT NULL,
    node TEXT NOT NULL
) STRICT, WITHOUT ROWID;
