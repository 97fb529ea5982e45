"""One PostgreSQL database for any number of processes and machines. Knows the engine, neither pings nor leads.

connector  what the store sees: units in, results out
queue      which of the waiting units make the next batch
writer     a batch as one transaction, and what became of it when the answer is lost
sessions   connections: opened when needed, bounded in number and time
schema     migrations, and the months that pings and leads are kept in
faults     whose fault an error is, and what may be said of it
sql        the shared SQL as PostgreSQL takes it
"""

from lexchange.storage.postgres.connector import Bounds, PostgresConnector
from lexchange.storage.postgres.sessions import redacted

__all__ = ["Bounds", "PostgresConnector", "redacted"]
