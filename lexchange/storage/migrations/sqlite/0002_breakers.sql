-- The latest word of any process on a buyer's breakers; `reset_ms` is an operator's, which every process heeds.
CREATE TABLE breakers (
    campaign TEXT NOT NULL,
    buyer TEXT NOT NULL,
    stage TEXT NOT NULL CHECK (stage IN ('ping', 'post')),
    state TEXT NOT NULL CHECK (state IN ('closed', 'open', 'half_open')),
    is_enforced INTEGER NOT NULL CHECK (is_enforced IN (0, 1)),
    why TEXT NOT NULL,
    changed_ms INTEGER NOT NULL,
    retry_ms INTEGER,
    reset_ms INTEGER,
    PRIMARY KEY (campaign, buyer, stage)
) STRICT, WITHOUT ROWID;
