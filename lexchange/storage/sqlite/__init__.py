"""One SQLite file, shared by all worker processes. Knows the engine, neither pings nor leads.

connector  what the store sees: units in, results out; and what is read on the way of a call
writer     a batch as one transaction, in a thread of its own
file       the file: opened, made, migrated, backed up
faults     whose fault an error is, and what may be said of it
"""

from lexchange.storage.sqlite.connector import Reader, SqliteConnector
from lexchange.storage.sqlite.file import back_up_file, prepare
from lexchange.storage.sqlite.writer import Writer

__all__ = ["Reader", "SqliteConnector", "Writer", "back_up_file", "prepare"]
