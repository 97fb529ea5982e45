-- Slots of a counter that a process has taken ahead, in blocks, for leads to come. They are part of `used`, so leased and
-- used together stay at or below the cap. `amount_back` is not 0 only within a unit that gives a lease back.
CREATE TABLE cap_leases (
    campaign TEXT NOT NULL,
    counter TEXT NOT NULL,
    worker TEXT NOT NULL,
    amount_left INTEGER NOT NULL CHECK (amount_left >= 0),
    amount_back INTEGER NOT NULL DEFAULT 0 CHECK (amount_back >= 0),
    PRIMARY KEY (campaign, counter, worker)
) STRICT, WITHOUT ROWID;
