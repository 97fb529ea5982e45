-- Processes that serve. One whose lease is over has ended, however it did; what it left in flight is swept by others.
CREATE TABLE workers (
    worker TEXT NOT NULL PRIMARY KEY,
    lease_until_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
