-- As migrations/sqlite/0006_campaigns.sql, where it is explained. Here tables are changed in place: the campaign is their
-- last column. Each primary key holds the campaign, as a database that is spread by it wants; where an operator looks by
-- the id alone, the id leads it.
ALTER TABLE pings DROP CONSTRAINT pings_pkey, ADD PRIMARY KEY (ping_id, campaign);
ALTER TABLE leads DROP CONSTRAINT leads_pkey, ADD PRIMARY KEY (lead_id, campaign);

ALTER TABLE past_deliveries ADD COLUMN campaign TEXT NOT NULL DEFAULT '';
UPDATE past_deliveries SET campaign = leads.campaign FROM leads WHERE leads.lead_id = past_deliveries.lead_id;
ALTER TABLE past_deliveries DROP CONSTRAINT past_deliveries_pkey, ADD PRIMARY KEY (delivery_id, campaign);

ALTER TABLE late_answers ADD COLUMN campaign TEXT NOT NULL DEFAULT '';
UPDATE late_answers SET campaign = pings.campaign FROM pings WHERE pings.ping_id = owner_id;
UPDATE late_answers SET campaign = leads.campaign FROM leads WHERE leads.lead_id = owner_id;
ALTER TABLE late_answers DROP CONSTRAINT late_answers_pkey, ADD PRIMARY KEY (campaign, owner_id, buyer);

CREATE OR REPLACE VIEW ping_rows AS
SELECT
    pings.ping_id, pings.campaign, pings.src, pings.is_test, pings.created_ms, pings.expires_ms, pings.state,
    pings.reason, pings.winner, pings.bid_micros, pings.payout_micros, pings.config_version, pings.repeat_key,
    pings.lead_id, pings.record, late_answers.answer AS late_answer
FROM pings
LEFT JOIN late_answers ON late_answers.campaign = pings.campaign AND late_answers.owner_id = pings.ping_id;

CREATE OR REPLACE VIEW lead_rows AS
SELECT
    leads.lead_id, leads.ping_id, leads.campaign, leads.src, leads.is_test, leads.created_ms, leads.updated_ms,
    leads.state, leads.reason, leads.delivery_id, leads.buyer, leads.price_micros, leads.payout_micros,
    leads.config_version, leads.record, late_answers.answer AS late_answer
FROM leads
LEFT JOIN late_answers ON late_answers.campaign = leads.campaign AND late_answers.owner_id = leads.lead_id;

ALTER TABLE cap_counters ADD COLUMN campaign TEXT NOT NULL DEFAULT '';
UPDATE cap_counters SET campaign = split_part(counter, ':', 1);
ALTER TABLE cap_counters DROP CONSTRAINT cap_counters_pkey, ADD PRIMARY KEY (campaign, counter);

ALTER TABLE cap_holds ADD COLUMN campaign TEXT NOT NULL DEFAULT '';
UPDATE cap_holds SET campaign = split_part(counter, ':', 1);
ALTER TABLE cap_holds DROP CONSTRAINT cap_holds_pkey, ADD PRIMARY KEY (campaign, ping_id, counter);
DROP INDEX cap_holds_by_expiry;
CREATE INDEX cap_holds_by_expiry ON cap_holds (campaign, expires_ms);

-- Whoever looks by these names the campaign too.
DROP INDEX fingerprints_by_lead;
CREATE INDEX fingerprints_by_lead ON fingerprints (campaign, lead_id);
DROP INDEX pings_by_repeat_key;
CREATE INDEX pings_by_repeat_key ON pings (campaign, repeat_key, created_ms) WHERE repeat_key IS NOT NULL;
