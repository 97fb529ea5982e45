"""Every SQL statement of the store, named; in the SQL that SQLite and PostgreSQL share.

A CAST names the type of a parameter where PostgreSQL could not tell it.

A state changes in one guarded statement, never by reading, deciding here, and writing. It returns what somebody reads,
and nothing to be its unit's guard: that is whether it has changed a row.

Each names the campaign (a remembered call its source) of the rows that it touches, and so the one shard that they are
in where a database is spread over many; tests/storage/test_shards.py knows the few that do not, and why.
"""

# ---------------------------------------------------------------------------------------------------------- pings

INSERT_PING = """
INSERT INTO pings (ping_id, campaign, src, is_test, created_ms, expires_ms, state, reason, winner, bid_micros,
    payout_micros, config_version, repeat_key, lead_id, record)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""

FIND_PING = "SELECT * FROM ping_rows WHERE campaign = ? AND ping_id = ?"

# The latest equal ping whose answer may be given again.
FIND_REPEAT = """
SELECT * FROM ping_rows WHERE campaign = ? AND ping_id = (
    SELECT ping_id FROM pings
    WHERE repeat_key = ? AND campaign = ? AND src = ? AND is_test = 0 AND state IN ('offered', 'no_sale')
        AND created_ms >= ? AND expires_ms > ?
    ORDER BY created_ms DESC, ping_id DESC LIMIT 1)"""

# A ping is consumed once, by the source that made it, while it lives, by a post of its own kind.
CLAIM_PING = """
UPDATE pings SET state = 'claimed', lead_id = ?
WHERE campaign = ? AND ping_id = ? AND src = ? AND is_test = ? AND state = 'offered' AND expires_ms > ?"""

FIND_CLAIM = """
SELECT lead_id FROM pings WHERE campaign = ? AND ping_id = ? AND src = ? AND is_test = ? AND state = 'claimed'"""

INSERT_LATE_ANSWER = """
INSERT INTO late_answers (campaign, owner_id, buyer, answer)
VALUES (?, ?, ?, ?)
ON CONFLICT (campaign, owner_id, buyer) DO UPDATE SET answer = excluded.answer"""

# ---------------------------------------------------------------------------------------------------------- leads

NOTHING = "SELECT 1"

INSERT_LEAD = """
INSERT INTO leads (lead_id, ping_id, campaign, src, is_test, created_ms, updated_ms, state, reason, delivery_id,
    buyer, price_micros, payout_micros, config_version, record)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""

# The last two parameters are the states it may come from: LEAD_TRANSITIONS, the same one twice where there is one.
MOVE_LEAD = """
UPDATE leads SET updated_ms = ?, state = ?, reason = ?, delivery_id = ?, buyer = ?, price_micros = ?,
    payout_micros = ?, record = ?
WHERE campaign = ? AND lead_id = ? AND state IN (?, ?)"""

KEEP_DELIVERY = """
INSERT INTO past_deliveries (campaign, delivery_id, lead_id) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"""

FIND_LEAD_OF_PING = """
SELECT * FROM lead_rows WHERE campaign = ? AND lead_id = (
    SELECT lead_id FROM pings WHERE campaign = ? AND ping_id = ?)"""

# ----------------------------------------------------------------------------------------------------------- caps

# Granted only while the counter stays at or below the limit: one statement, so two takers cannot both fit.
TAKE_CAP = """
INSERT INTO cap_counters (campaign, counter, used)
SELECT CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS BIGINT) WHERE CAST(? AS BIGINT) <= CAST(? AS BIGINT)
ON CONFLICT (campaign, counter) DO UPDATE SET used = cap_counters.used + excluded.used
WHERE cap_counters.used + excluded.used <= ?"""

TAKE_CAP_AND_TELL = f"{TAKE_CAP} RETURNING used"

# Also settles a final price (a negative amount adds). Without a limit: the money is owed, whatever the cap says.
GIVE_CAP_BACK = "UPDATE cap_counters SET used = used - ? WHERE campaign = ? AND counter = ?"

HOLD_CAP = "INSERT INTO cap_holds (campaign, ping_id, counter, amount, expires_ms) VALUES (?, ?, ?, ?, ?)"

GIVE_HOLDS_BACK = """
UPDATE cap_counters SET used = used - (
    SELECT amount FROM cap_holds
    WHERE cap_holds.campaign = ? AND cap_holds.ping_id = ? AND cap_holds.counter = cap_counters.counter)
WHERE campaign = ? AND counter IN (SELECT counter FROM cap_holds WHERE campaign = ? AND ping_id = ?)"""

DROP_HOLDS = "DELETE FROM cap_holds WHERE campaign = ? AND ping_id = ?"

# Both see the same holds, because units happen one after another: no hold is given back twice.
GIVE_EXPIRED_HOLDS_BACK = """
UPDATE cap_counters SET used = used - (
    SELECT SUM(amount) FROM cap_holds
    WHERE cap_holds.campaign = ? AND cap_holds.counter = cap_counters.counter AND cap_holds.expires_ms <= ?)
WHERE campaign = ? AND counter IN (SELECT counter FROM cap_holds WHERE campaign = ? AND expires_ms <= ?)"""

EXPIRED_HOLDS = "SELECT counter FROM cap_holds WHERE campaign = ? AND expires_ms <= ? LIMIT 1"

EXPIRED_HOLDERS = "SELECT DISTINCT campaign FROM cap_holds WHERE expires_ms <= ?"

DROP_EXPIRED_HOLDS = "DELETE FROM cap_holds WHERE campaign = ? AND expires_ms <= ? RETURNING counter"

# What is leased is part of `used` already, so the counter stays as it is. It is looked at, not locked: where a cap was
# lowered, or a price has come out higher, `used` is above the limit, and what is leased has to come back first.
TAKE_LEASED = """
UPDATE cap_leases SET amount_left = amount_left - ?
WHERE campaign = ? AND counter = ? AND worker = ? AND amount_left >= ? AND EXISTS (
    SELECT 1 FROM cap_counters WHERE campaign = ? AND counter = ? AND used <= ?)"""

KEEP_LEASE = """
INSERT INTO cap_leases (campaign, counter, worker, amount_left) VALUES (?, ?, ?, ?)
ON CONFLICT (campaign, counter, worker) DO UPDATE SET amount_left = cap_leases.amount_left + excluded.amount_left"""

# Three steps of one unit. From the first on nobody can take from these leases, whatever he has read; what each had then
# is given back; and with its row goes the note of it, so that it is given back once.
END_CAP_LEASES = "UPDATE cap_leases SET amount_back = amount_left, amount_left = 0 WHERE campaign = ? AND counter = ?"

END_CAP_LEASE = f"{END_CAP_LEASES} AND worker = ?"

GIVE_LEASES_BACK = """
UPDATE cap_counters SET used = used - (
    SELECT CAST(COALESCE(SUM(amount_back), 0) AS BIGINT) FROM cap_leases WHERE campaign = ? AND counter = ?)
WHERE campaign = ? AND counter = ?"""

DROP_LEASES = "DELETE FROM cap_leases WHERE campaign = ? AND counter = ? AND amount_left = 0"

CAP_LEASES = "SELECT counter, worker FROM cap_leases"


def read_counters(count: int) -> str:
    """The query for that many counters of one campaign: what is used of each, and not only leased."""
    marks = ", ".join("?" * count)
    return f"""
SELECT counter, used - CAST(COALESCE((
    SELECT SUM(amount_left) FROM cap_leases
    WHERE cap_leases.campaign = ? AND cap_leases.counter = cap_counters.counter), 0) AS BIGINT)
FROM cap_counters WHERE campaign = ? AND counter IN ({marks})"""  # noqa: S608 - question marks only


# ----------------------------------------------------------------------------------------------------- duplicates

ADD_FINGERPRINT = """
INSERT INTO fingerprints (campaign, digest, scope_key, lead_id, created_ms)
SELECT CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS BIGINT) WHERE NOT EXISTS (
    SELECT 1 FROM fingerprints
    WHERE campaign = ? AND digest = ? AND scope_key = ? AND created_ms >= ? AND lead_id <> ?)"""

DROP_FINGERPRINTS = "DELETE FROM fingerprints WHERE campaign = ? AND lead_id = ?"

# The latest comes last, so that it is the one a dict keeps.
FIND_DUPLICATES = """
SELECT scope_key, lead_id FROM fingerprints
WHERE campaign = ? AND digest = ? AND created_ms >= ?
ORDER BY created_ms"""

# ---------------------------------------------------------------------------------------------------------- turns

RECORD_TURN = """
INSERT INTO turns (campaign, buyer, last_sale_ms) VALUES (?, ?, ?)
ON CONFLICT (campaign, buyer) DO UPDATE SET last_sale_ms = excluded.last_sale_ms
WHERE excluded.last_sale_ms > turns.last_sale_ms"""

LAST_SALES = "SELECT buyer, last_sale_ms FROM turns WHERE campaign = ?"

# -------------------------------------------------------------------------------------------------- idempotency keys

# Returns a row when the key is free: never seen, forgotten by now, or left behind by a call that never answered.
BEGIN_CALL = """
INSERT INTO remembered_calls (src, idempotency_key, body_hash, state, answer, created_ms, worker)
VALUES (?, ?, ?, 'running', NULL, ?, ?)
ON CONFLICT (src, idempotency_key) DO UPDATE SET body_hash = excluded.body_hash, state = 'running', answer = NULL,
    lead_id = NULL, created_ms = excluded.created_ms, worker = excluded.worker
WHERE remembered_calls.created_ms <= ?
    OR (remembered_calls.state = 'running' AND remembered_calls.lead_id IS NULL AND remembered_calls.created_ms <= ?)
RETURNING created_ms"""

# The moment it began tells a call from the one that took its key over.
CLAIM_CALL = """
UPDATE remembered_calls SET lead_id = ?
WHERE src = ? AND idempotency_key = ? AND created_ms = ? AND state = 'running' AND lead_id IS NULL"""

FIND_CALL = "SELECT body_hash, answer, lead_id FROM remembered_calls WHERE src = ? AND idempotency_key = ?"

FINISH_CALL = """
UPDATE remembered_calls SET state = 'answered', answer = ?
WHERE src = ? AND idempotency_key = ? AND created_ms = ? AND state = 'running'"""

ABANDON_CALL = """
DELETE FROM remembered_calls
WHERE src = ? AND idempotency_key = ? AND created_ms = ? AND state = 'running' AND lead_id IS NULL"""

# -------------------------------------------------------------------------------------------------------- workers

RENEW_LEASE = """
INSERT INTO workers (worker, lease_until_ms) VALUES (?, ?)
ON CONFLICT (worker) DO UPDATE SET lease_until_ms = excluded.lease_until_ms"""

# What a lease that has ended says, its absence says too.
END_LEASE = "DELETE FROM workers WHERE worker = ?"

LEASES = "SELECT worker, lease_until_ms FROM workers"

LEAD_UNTOUCHED = "SELECT lead_id FROM leads WHERE campaign = ? AND lead_id = ? AND updated_ms = ?"

# ---------------------------------------------------------------------------------------------- buyers' health

RECORD_BREAKER = """
INSERT INTO breakers (campaign, buyer, stage, state, is_enforced, why, changed_ms, retry_ms)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (campaign, buyer, stage) DO UPDATE SET state = excluded.state, is_enforced = excluded.is_enforced,
    why = excluded.why, changed_ms = excluded.changed_ms, retry_ms = excluded.retry_ms"""

BREAKER_RESETS = (
    "SELECT campaign, buyer, MAX(reset_ms) FROM breakers WHERE reset_ms IS NOT NULL GROUP BY campaign, buyer"
)

BREAKERS = """
SELECT campaign, buyer, stage, state, is_enforced, why, changed_ms, retry_ms FROM breakers
ORDER BY campaign, buyer, stage"""

RESET_BREAKERS = """
UPDATE breakers SET reset_ms = ?, state = 'closed', why = '', changed_ms = ?, retry_ms = NULL
WHERE campaign = ? AND buyer = ?
RETURNING stage"""


def forget_workers(alive_count: int) -> str:
    """The statement that forgets leases that are over, but for those of that many processes."""
    others = " AND worker <> ?" * alive_count
    return f"DELETE FROM workers WHERE lease_until_ms <= ?{others}"  # noqa: S608 - question marks only


def sweep_calls(alive_count: int) -> str:
    """The statement that forgets running calls without a lead that are not of that many processes, nor of nobody."""
    others = " AND worker <> ?" * alive_count
    return f"""
DELETE FROM remembered_calls
WHERE state = 'running' AND lead_id IS NULL AND worker <> ''{others}"""  # noqa: S608 - question marks only


# -------------------------------------------------------------------------------------------------- configuration

RECORD_CONFIG = """
INSERT INTO config_versions (version, loaded_ms, summary, documents) VALUES (?, ?, ?, ?)
ON CONFLICT (version) DO UPDATE SET documents = excluded.documents WHERE config_versions.documents IS NULL"""

# Many processes publish the same at once: for all but the first nothing changes.
PUBLISH_CONFIG = """
INSERT INTO current_configuration (name, generation, version, published_ms, node) VALUES ('current', 1, ?, ?, ?)
ON CONFLICT (name) DO UPDATE SET
    generation = current_configuration.generation + 1,
    version = excluded.version, published_ms = excluded.published_ms, node = excluded.node
WHERE current_configuration.version <> excluded.version AND current_configuration.generation <= ?"""

CURRENT_CONFIG = "SELECT generation, version, published_ms, node FROM current_configuration WHERE name = 'current'"

FIND_CONFIG = "SELECT documents FROM config_versions WHERE version = ?"

CONFIGS = "SELECT version, loaded_ms, summary, documents IS NOT NULL FROM config_versions ORDER BY loaded_ms, version"

# --------------------------------------------------------------------------------------------------- operators' reads

FIND_ANY_PING = "SELECT * FROM ping_rows WHERE ping_id = ?"

FIND_LEAD = "SELECT * FROM lead_rows WHERE lead_id = ?"

FIND_LEAD_OF_ANY_PING = "SELECT * FROM lead_rows WHERE lead_id = (SELECT lead_id FROM pings WHERE ping_id = ?)"

FIND_DELIVERY = """
SELECT * FROM lead_rows WHERE lead_id = (
    SELECT lead_id FROM leads WHERE delivery_id = ?
    UNION ALL SELECT lead_id FROM past_deliveries WHERE delivery_id = ? LIMIT 1)"""

# Filters look at the newest rows only, so that a rare reason does not read the whole table.
RECENT_PINGS = """
SELECT * FROM ping_rows WHERE ping_id IN (
    SELECT ping_id FROM (SELECT ping_id, src, reason FROM pings ORDER BY ping_id DESC LIMIT ?) AS newest
    WHERE (? = '' OR src = ?) AND (? = '' OR reason = ?)
    ORDER BY ping_id DESC LIMIT ?)
ORDER BY ping_id DESC"""

RECENT_LEADS = """
SELECT * FROM lead_rows WHERE lead_id IN (
    SELECT lead_id FROM (SELECT lead_id, src, reason FROM leads ORDER BY lead_id DESC LIMIT ?) AS newest
    WHERE (? = '' OR src = ?) AND (? = '' OR reason = ?)
    ORDER BY lead_id DESC LIMIT ?)
ORDER BY lead_id DESC"""


def in_flight_leads(count: int) -> str:
    """The query for leads in flight that are not of that many processes, each as it stands in a lead's record.

    Both names of the state, because only that lets SQLite use its small index of unresolved leads.
    """
    others = " AND record NOT LIKE ?" * count
    return f"""
SELECT * FROM lead_rows WHERE lead_id IN (
    SELECT lead_id FROM leads WHERE state IN ('claimed', 'sending', 'unknown') AND state <> 'unknown'{others})
ORDER BY lead_id"""  # noqa: S608 - question marks only


# Their ids are in the order of time; both names of the state as above.
UNKNOWN_LEADS = """
SELECT * FROM lead_rows WHERE lead_id IN (
    SELECT lead_id FROM leads
    WHERE state IN ('claimed', 'sending', 'unknown') AND state = 'unknown' AND lead_id >= ? AND updated_ms < ?
    ORDER BY lead_id LIMIT ?)
ORDER BY lead_id"""

UNRESOLVED_LEADS = """
SELECT * FROM lead_rows WHERE lead_id IN (
    SELECT lead_id FROM leads
    WHERE state IN ('claimed', 'sending', 'unknown') AND updated_ms < ?
    ORDER BY lead_id LIMIT ?)
ORDER BY lead_id"""

# A SUM is wider than its column in PostgreSQL.
LEADS_BY_STATE = "SELECT state, COUNT(*) FROM leads GROUP BY state ORDER BY state"

SOLD_BY_CAMPAIGN = """
SELECT campaign, COUNT(*),
    CAST(COALESCE(SUM(price_micros), 0) AS BIGINT), CAST(COALESCE(SUM(payout_micros), 0) AS BIGINT)
FROM leads WHERE state = 'delivered' AND is_test = 0
GROUP BY campaign"""

COUNTERS = """
SELECT counter, used - CAST(COALESCE((
    SELECT SUM(amount_left) FROM cap_leases
    WHERE cap_leases.campaign = cap_counters.campaign AND cap_leases.counter = cap_counters.counter), 0) AS BIGINT)
FROM cap_counters ORDER BY counter"""
