-- The process that runs a call: when it is gone, the call is as if it had never been made, unless it has claimed a lead.
ALTER TABLE remembered_calls ADD COLUMN worker TEXT NOT NULL DEFAULT '';

-- Small whatever the table's size: a call leaves it when it is answered.
CREATE INDEX remembered_calls_running ON remembered_calls (worker) WHERE state = 'running';
