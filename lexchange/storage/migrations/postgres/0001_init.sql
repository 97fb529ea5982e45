-- The schema of migrations/sqlite, to its latest version: the same tables, views and columns in the same order, and
-- there they are explained. Here is what differs.
--
-- Ids compare byte by byte (COLLATE "C"), whatever the database's locale, because they are in the order of time only so.
--
-- Pings and leads are partitioned by the month that their ids begin with (schema.py makes the months ahead), so that
-- what is too old is dropped as a table and not deleted row by row. By the month, not the day, because every statement
-- locks each partition that it may touch. The default partition takes what no month was made for.
-- No index makes a ping's lead unique: it would have to hold the month of the lead. The guarded claim sees to it, and
-- pings.lead_id names the lead.
CREATE TABLE pings (
    ping_id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    campaign TEXT NOT NULL,
    src TEXT NOT NULL,
    is_test BIGINT NOT NULL CHECK (is_test IN (0, 1)),
    created_ms BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('offered', 'no_sale', 'claimed')),
    reason TEXT NOT NULL,
    winner TEXT,
    bid_micros BIGINT CHECK (bid_micros >= 0),
    payout_micros BIGINT CHECK (payout_micros >= 0),
    config_version TEXT NOT NULL,
    repeat_key TEXT,
    lead_id TEXT COLLATE "C",
    record TEXT NOT NULL
) PARTITION BY RANGE (ping_id);

CREATE TABLE pings_default PARTITION OF pings DEFAULT;

CREATE INDEX pings_by_repeat_key ON pings (repeat_key, created_ms) WHERE repeat_key IS NOT NULL;

CREATE TABLE leads (
    lead_id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    ping_id TEXT COLLATE "C",
    campaign TEXT NOT NULL,
    src TEXT NOT NULL,
    is_test BIGINT NOT NULL CHECK (is_test IN (0, 1)),
    created_ms BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('claimed', 'sending', 'delivered', 'rejected', 'failed', 'unknown')),
    reason TEXT NOT NULL,
    delivery_id TEXT COLLATE "C",
    buyer TEXT,
    price_micros BIGINT CHECK (price_micros >= 0),
    payout_micros BIGINT CHECK (payout_micros >= 0),
    config_version TEXT NOT NULL,
    record TEXT NOT NULL
) PARTITION BY RANGE (lead_id);

CREATE TABLE leads_default PARTITION OF leads DEFAULT;

CREATE INDEX leads_by_delivery ON leads (delivery_id) WHERE delivery_id IS NOT NULL;
CREATE INDEX leads_unresolved ON leads (lead_id) WHERE state IN ('claimed', 'sending', 'unknown');

CREATE TABLE past_deliveries (
    delivery_id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    lead_id TEXT COLLATE "C" NOT NULL
);

CREATE TABLE late_answers (
    owner_id TEXT COLLATE "C" NOT NULL,
    buyer TEXT NOT NULL,
    answer TEXT NOT NULL,
    PRIMARY KEY (owner_id, buyer)
);

CREATE VIEW ping_rows AS
SELECT
    pings.ping_id, pings.campaign, pings.src, pings.is_test, pings.created_ms, pings.expires_ms, pings.state,
    pings.reason, pings.winner, pings.bid_micros, pings.payout_micros, pings.config_version, pings.repeat_key,
    pings.lead_id, pings.record, late_answers.answer AS late_answer
FROM pings LEFT JOIN late_answers ON late_answers.owner_id = pings.ping_id;

CREATE VIEW lead_rows AS
SELECT
    leads.lead_id, leads.ping_id, leads.campaign, leads.src, leads.is_test, leads.created_ms, leads.updated_ms,
    leads.state, leads.reason, leads.delivery_id, leads.buyer, leads.price_micros, leads.payout_micros,
    leads.config_version, leads.record, late_answers.answer AS late_answer
FROM leads LEFT JOIN late_answers ON late_answers.owner_id = leads.lead_id;

-- Counters are updated in place again and again: room in their pages keeps the updates out of the index.
CREATE TABLE cap_counters (
    counter TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    used BIGINT NOT NULL CHECK (used >= 0)
) WITH (fillfactor = 50);

CREATE TABLE cap_holds (
    ping_id TEXT COLLATE "C" NOT NULL,
    counter TEXT COLLATE "C" NOT NULL,
    amount BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL,
    PRIMARY KEY (ping_id, counter)
);

CREATE INDEX cap_holds_by_expiry ON cap_holds (expires_ms);

CREATE TABLE fingerprints (
    campaign TEXT NOT NULL,
    digest TEXT COLLATE "C" NOT NULL,
    scope_key TEXT NOT NULL,
    lead_id TEXT COLLATE "C" NOT NULL,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (campaign, digest, scope_key, lead_id)
);

CREATE INDEX fingerprints_by_lead ON fingerprints (lead_id);

CREATE TABLE turns (
    campaign TEXT NOT NULL,
    buyer TEXT NOT NULL,
    last_sale_ms BIGINT NOT NULL,
    PRIMARY KEY (campaign, buyer)
);

CREATE TABLE remembered_calls (
    src TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    body_hash TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('running', 'answered')),
    answer BYTEA,
    lead_id TEXT COLLATE "C",
    created_ms BIGINT NOT NULL,
    worker TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (src, idempotency_key)
);

CREATE INDEX remembered_calls_running ON remembered_calls (worker) WHERE state = 'running';

CREATE TABLE config_versions (
    version TEXT NOT NULL PRIMARY KEY,
    loaded_ms BIGINT NOT NULL,
    summary TEXT NOT NULL
);

CREATE TABLE breakers (
    campaign TEXT NOT NULL,
    buyer TEXT NOT NULL,
    stage TEXT NOT NULL CHECK (stage IN ('ping', 'post')),
    state TEXT NOT NULL CHECK (state IN ('closed', 'open', 'half_open')),
    is_enforced BIGINT NOT NULL CHECK (is_enforced IN (0, 1)),
    why TEXT NOT NULL,
    changed_ms BIGINT NOT NULL,
    retry_ms BIGINT,
    reset_ms BIGINT,
    PRIMARY KEY (campaign, buyer, stage)
);

CREATE TABLE workers (
    worker TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    lease_until_ms BIGINT NOT NULL
);
