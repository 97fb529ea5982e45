-- As migrations/sqlite/0008_cap_leases.sql, where it is explained. Changed in place again and again, as counters are.
CREATE TABLE cap_leases (
    campaign TEXT NOT NULL,
    counter TEXT COLLATE "C" NOT NULL,
    worker TEXT COLLATE "C" NOT NULL,
    amount_left BIGINT NOT NULL CHECK (amount_left >= 0),
    amount_back BIGINT NOT NULL DEFAULT 0 CHECK (amount_back >= 0),
    PRIMARY KEY (campaign, counter, worker)
) WITH (fillfactor = 50);
