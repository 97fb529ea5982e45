-- Every row says which campaign it belongs to, so that a statement can name the shard that its rows are in
-- (docs/scaling.md). Primary keys do not change in place, so the tables that need one with the campaign are made anew.
-- The columns of a key come first: SQLite 3.40 takes a table WITHOUT ROWID that is made otherwise for a broken one.
DROP VIEW ping_rows;
DROP VIEW lead_rows;

CREATE TABLE late_answers_of_campaigns (
    campaign TEXT NOT NULL,
    owner_id TEXT NOT NULL,
    buyer TEXT NOT NULL,
    answer TEXT NOT NULL,
    PRIMARY KEY (campaign, owner_id, buyer)
) STRICT;

INSERT INTO late_answers_of_campaigns
SELECT
    COALESCE(
        (SELECT campaign FROM pings WHERE ping_id = owner_id), (SELECT campaign FROM leads WHERE lead_id = owner_id), ''
    ),
    owner_id, buyer, answer
FROM late_answers;

DROP TABLE late_answers;
ALTER TABLE late_answers_of_campaigns RENAME TO late_answers;

CREATE VIEW ping_rows AS
SELECT
    pings.ping_id, pings.campaign, pings.src, pings.is_test, pings.created_ms, pings.expires_ms, pings.state,
    pings.reason, pings.winner, pings.bid_micros, pings.payout_micros, pings.config_version, pings.repeat_key,
    pings.lead_id, pings.record, late_answers.answer AS late_answer
FROM pings
LEFT JOIN late_answers ON late_answers.campaign = pings.campaign AND late_answers.owner_id = pings.ping_id;

CREATE VIEW lead_rows AS
SELECT
    leads.lead_id, leads.ping_id, leads.campaign, leads.src, leads.is_test, leads.created_ms, leads.updated_ms,
    leads.state, leads.reason, leads.delivery_id, leads.buyer, leads.price_micros, leads.payout_micros,
    leads.config_version, leads.record, late_answers.answer AS late_answer
FROM leads
LEFT JOIN late_answers ON late_answers.campaign = leads.campaign AND late_answers.owner_id = leads.lead_id;

ALTER TABLE past_deliveries ADD COLUMN campaign TEXT NOT NULL DEFAULT '';
UPDATE past_deliveries SET campaign = COALESCE(
    (SELECT campaign FROM leads WHERE leads.lead_id = past_deliveries.lead_id), '');

-- The name of a counter begins with its campaign.
CREATE TABLE counters_of_campaigns (
    campaign TEXT NOT NULL,
    counter TEXT NOT NULL,
    used INTEGER NOT NULL CHECK (used >= 0),
    PRIMARY KEY (campaign, counter)
) STRICT, WITHOUT ROWID;

INSERT INTO counters_of_campaigns
SELECT SUBSTR(counter, 1, INSTR(counter || ':', ':') - 1), counter, used FROM cap_counters;

DROP TABLE cap_counters;
ALTER TABLE counters_of_campaigns RENAME TO cap_counters;

CREATE TABLE holds_of_campaigns (
    campaign TEXT NOT NULL,
    ping_id TEXT NOT NULL,
    counter TEXT NOT NULL,
    amount INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    PRIMARY KEY (campaign, ping_id, counter)
) STRICT, WITHOUT ROWID;

INSERT INTO holds_of_campaigns
SELECT SUBSTR(counter, 1, INSTR(counter || ':', ':') - 1), ping_id, counter, amount, expires_ms FROM cap_holds;

DROP TABLE cap_holds;
ALTER TABLE holds_of_campaigns RENAME TO cap_holds;
CREATE INDEX cap_holds_by_expiry ON cap_holds (campaign, expires_ms);

-- Whoever looks by these names the campaign too.
DROP INDEX fingerprints_by_lead;
CREATE INDEX fingerprints_by_lead ON fingerprints (campaign, lead_id);
DROP INDEX pings_by_repeat_key;
CREATE INDEX pings_by_repeat_key ON pings (campaign, repeat_key, created_ms) WHERE repeat_key IS NOT NULL;
