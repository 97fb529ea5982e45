-- The first schema. Ids are TEXT and start with their time, so new rows land at the end of every index; money is
-- INTEGER micros, instants are INTEGER epoch milliseconds; STRICT keeps a fraction out of both.
-- `record` is JSON of all that is only read back whole. What is searched or guarded has its own column.
-- State names are those of lexchange/lead.py; a test compares them.

-- One row a ping: the buyers' answers live in `record`, half the cost of a row for each (measured).
-- No index by time or source: ping_id is in time order, and an index more is paid at every ping.
CREATE TABLE pings (
    ping_id TEXT NOT NULL PRIMARY KEY,
    campaign TEXT NOT NULL,
    src TEXT NOT NULL,
    is_test INTEGER NOT NULL CHECK (is_test IN (0, 1)),
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('offered', 'no_sale', 'claimed')),
    reason TEXT NOT NULL,
    winner TEXT,
    bid_micros INTEGER CHECK (bid_micros >= 0),
    payout_micros INTEGER CHECK (payout_micros >= 0),
    config_version TEXT NOT NULL,
    repeat_key TEXT,
    lead_id TEXT,
    record TEXT NOT NULL
) STRICT;

CREATE INDEX pings_by_repeat_key ON pings (repeat_key, created_ms) WHERE repeat_key IS NOT NULL;

CREATE TABLE leads (
    lead_id TEXT NOT NULL PRIMARY KEY,
    ping_id TEXT,
    campaign TEXT NOT NULL,
    src TEXT NOT NULL,
    is_test INTEGER NOT NULL CHECK (is_test IN (0, 1)),
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('claimed', 'sending', 'delivered', 'rejected', 'failed', 'unknown')),
    reason TEXT NOT NULL,
    delivery_id TEXT,
    buyer TEXT,
    price_micros INTEGER CHECK (price_micros >= 0),
    payout_micros INTEGER CHECK (payout_micros >= 0),
    config_version TEXT NOT NULL,
    record TEXT NOT NULL
) STRICT;

-- A ping is consumed once: the guarded claim sees to it, this index would catch a claim that forgot.
CREATE UNIQUE INDEX leads_by_ping ON leads (ping_id) WHERE ping_id IS NOT NULL;
CREATE INDEX leads_by_delivery ON leads (delivery_id) WHERE delivery_id IS NOT NULL;
-- Small whatever the table's size: a lead leaves it when its outcome is known.
CREATE INDEX leads_unresolved ON leads (lead_id) WHERE state IN ('claimed', 'sending', 'unknown');

-- Deliveries of earlier attempts, written only when a lead goes on to its next buyer.
CREATE TABLE past_deliveries (
    delivery_id TEXT NOT NULL PRIMARY KEY,
    lead_id TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Buyers' answers that came after the source's. Rows of their own, because the record they belong to may be rewritten
-- at the same moment by a delivery. `owner_id` is a ping_id, or the lead_id of a direct post.
CREATE TABLE late_answers (
    owner_id TEXT NOT NULL,
    buyer TEXT NOT NULL,
    answer TEXT NOT NULL,
    PRIMARY KEY (owner_id, buyer)
) STRICT;

-- What is read of a ping and of a lead: its row, once for each late answer. Code selects * and knows this order.
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

-- `used` counts leads or micros, in flight included. Below zero would mean a slot was given back twice.
CREATE TABLE cap_counters (
    counter TEXT NOT NULL PRIMARY KEY,
    used INTEGER NOT NULL CHECK (used >= 0)
) STRICT, WITHOUT ROWID;

-- Slots that an offered ping keeps until it is claimed or expires (`reserve: ping`). They are part of `used`.
CREATE TABLE cap_holds (
    ping_id TEXT NOT NULL,
    counter TEXT NOT NULL,
    amount INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    PRIMARY KEY (ping_id, counter)
) STRICT, WITHOUT ROWID;

CREATE INDEX cap_holds_by_expiry ON cap_holds (expires_ms);

-- Fingerprints of leads that are sold, in flight or unknown; a lead that ends otherwise takes its own away.
CREATE TABLE fingerprints (
    campaign TEXT NOT NULL,
    digest TEXT NOT NULL,
    scope_key TEXT NOT NULL,
    lead_id TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    PRIMARY KEY (campaign, digest, scope_key, lead_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX fingerprints_by_lead ON fingerprints (lead_id);

-- Round robin: when each buyer last bought.
CREATE TABLE turns (
    campaign TEXT NOT NULL,
    buyer TEXT NOT NULL,
    last_sale_ms INTEGER NOT NULL,
    PRIMARY KEY (campaign, buyer)
) STRICT, WITHOUT ROWID;

-- First answers under an idempotency key. `running` is the mark of a call that has not answered yet; once its lead is
-- claimed it names the lead, and no repeat may take the call over.
CREATE TABLE remembered_calls (
    src TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    body_hash TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('running', 'answered')),
    answer BLOB,
    lead_id TEXT,
    created_ms INTEGER NOT NULL,
    PRIMARY KEY (src, idempotency_key)
) STRICT, WITHOUT ROWID;

CREATE TABLE config_versions (
    version TEXT NOT NULL PRIMARY KEY,
    loaded_ms INTEGER NOT NULL,
    summary TEXT NOT NULL
) STRICT;
