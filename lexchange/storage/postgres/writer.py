"""A batch as one transaction: its locks, its units, its commit, and what became of it when the answer was lost.

Locks come first, all in one order, so that no two batches of any processes wait for each other in a circle. What has no
lock may still collide in odd cases (a hold of yesterday's counter): the server undoes one batch, which is made again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from lexchange import failpoints
from lexchange.errors import StorageError
from lexchange.storage.connector import LateGuard, Row, Statement, Unit, UnitResult
from lexchange.storage.postgres.faults import Fault, failure, is_collision, is_unit_fault
from lexchange.storage.postgres.queue import Batch, Locks
from lexchange.storage.postgres.sessions import Connection, Sessions
from lexchange.storage.postgres.sql import numbered, told, unnested

# Before each further try of a batch that has collided: the other one, which the server let live, ends meanwhile.
PAUSES_S = (0.01, 0.02, 0.04, 0.08, 0.16)
LOOK_S = 0.05  # between two looks at a transaction that is still in progress

# The number of this transaction, and the history that it is part of: after a failover another one may get the number.
BEGIN = "SELECT pg_current_xact_id()::text, left(pg_walfile_name(pg_current_wal_insert_lsn()), 8)"

BEGIN_LOCKED = """
SELECT pg_current_xact_id()::text, left(pg_walfile_name(pg_current_wal_insert_lsn()), 8), (
    SELECT count(CASE WHEN is_alone THEN pg_advisory_xact_lock(key) ELSE pg_advisory_xact_lock_shared(key) END)
    FROM (SELECT * FROM UNNEST($1::bigint[], $2::boolean[]) AS locks (key, is_alone) ORDER BY key) AS in_order)"""

STATUS = """
SELECT pg_xact_status($1::text::xid8), left(pg_walfile_name(pg_current_wal_insert_lsn()), 8)"""

# Its own commit is answered once the standby has it, and with it all that was committed before.
SHARED = "SELECT pg_logical_emit_message(true, 'lexchange', '')"

Results = list[UnitResult | StorageError]
Transaction = tuple[str, str]


class Writer:
    """Applies batches. `sessions` are theirs; `lookups` serve who asks what became of one."""

    def __init__(self, sessions: Sessions, lookups: Sessions, busy_s: float) -> None:
        self._sessions = sessions
        self._lookups = lookups
        self._busy_s = busy_s
        self._bulk_sql: dict[str, str] = {}
        self.commit_count = 0

    async def apply(self, batch: Batch) -> Sequence[UnitResult | StorageError]:
        """One transaction; each unit keeps its own outcome, a fault of the database is everybody's.

        The first run trusts every unit: callers look before they claim, so that a guard which is not its unit's first
        statement fails in a race only, and two savepoint commands for each unit are most of what it costs. If one
        breaks, or such a guard fails, all is undone and applied again, each unit behind a savepoint.
        """
        units = [job.unit for job in batch.jobs]
        until = max(batch.jobs[0].since, _now() - self._busy_s / 2) + self._busy_s
        run, pauses = self._apply_all, iter(PAUSES_S)
        while True:
            try:
                return await self._transaction(units, batch.locks, run, until)
            except Exception as error:  # noqa: BLE001 - whatever breaks, every caller gets an answer
                if _is_of_unit(error) and run == self._apply_all:
                    run = self._apply_each
                elif is_collision(error) and (pause_s := next(pauses, None)):
                    await asyncio.sleep(pause_s)
                else:
                    return [failure(error) for _ in units]

    async def _transaction(
        self,
        units: list[Unit],
        locks: Locks,
        run: Callable[[Connection, list[Unit]], Awaitable[Results]],
        until: float,
    ) -> Results:
        async with self._sessions.one(until) as connection:
            await connection.execute("BEGIN")
            try:
                transaction = await _begin(connection, locks)
                results = await run(connection, units)
            except Exception as error:
                if _is_of_unit(error) or is_collision(error):
                    await connection.execute("ROLLBACK")
                raise
            failpoints.reach("commit_before")
            await self._commit(connection, transaction)
            failpoints.reach("commit_after")
        self.commit_count += 1
        return results

    async def _commit(self, connection: Connection, transaction: Transaction) -> None:
        """Commit. An answer that does not come is looked up: made again, the batch might happen twice."""
        try:
            answer = await connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - however the answer was lost, the server knows it
            connection.terminate()
            try:
                status = await self._became_of(transaction)
            except Fault as unanswered:  # of whatever kind: no reason to make the batch again
                raise failure(unanswered) from None
            if status != "committed":
                raise StorageError(f"the answer to a commit was lost, and it is {status}: {failure(error)}") from None
        else:
            if answer != "COMMIT":
                raise StorageError(f"a commit was answered with {answer}")

    async def _became_of(self, transaction: Transaction) -> str:
        """`committed`, `aborted`, or what else the server says for as long as we may wait."""
        number, history = transaction
        until = _now() + self._busy_s
        while True:
            async with self._lookups.one(until) as connection:
                status, is_now = await connection.fetchrow(STATUS, number)
                if is_now != history:
                    return "of another primary"
                if status == "committed":  # where a session is ended while it waits for the standby, before that has it
                    await connection.fetchrow(SHARED)
            if status != "in progress" or _now() + LOOK_S >= until:
                return status or "forgotten"
            await asyncio.sleep(LOOK_S)

    async def _apply_all(self, connection: Connection, units: list[Unit]) -> Results:
        """Without savepoints; bulk statements that end their units are written together, after all others."""
        results: Results = []
        bulks: dict[str, list[Statement]] = {}
        for unit in units:
            ending = _bulk_ending(unit)
            result = await _apply(connection, unit[: len(unit) - len(ending)])
            if result.failed_guard is None:
                result = UnitResult(rows=(*result.rows, *(() for _ in ending)))
                for statement in ending:
                    bulks.setdefault(statement.sql, []).append(statement)
            results.append(result)
        for sql, statements in bulks.items():
            columns = zip(*(statement.params for statement in statements), strict=True)
            await connection.execute(await self._bulk(connection, sql), *map(list, columns))
        return results

    async def _apply_each(self, connection: Connection, units: list[Unit]) -> Results:
        """Each unit behind a savepoint, which it is undone to if it breaks or a guard of it fails."""
        results: Results = []
        for unit in units:
            await connection.execute("SAVEPOINT unit")
            try:
                results.append(await _apply(connection, unit))
            except Exception as error:
                if not _is_of_unit(error):
                    raise
                await connection.execute("ROLLBACK TO unit")
                results.append(UnitResult(failed_guard=error.guard) if isinstance(error, LateGuard) else failure(error))
            await connection.execute("RELEASE unit")
        return results

    async def _bulk(self, connection: Connection, sql: str) -> str:
        """The statement that takes arrays; the server tells the types of its columns once."""
        if sql not in self._bulk_sql:
            prepared = await connection.prepare(numbered(sql))
            self._bulk_sql[sql] = unnested(sql, [parameter.name for parameter in prepared.get_parameters()])
        return self._bulk_sql[sql]


async def _begin(connection: Connection, locks: Locks) -> Transaction:
    if not locks:
        number, history = await connection.fetchrow(BEGIN)
    else:
        keys = sorted(locks)
        number, history, _ = await connection.fetchrow(BEGIN_LOCKED, keys, [locks[key] for key in keys])
    return number, history


def _is_of_unit(error: Exception) -> bool:
    return is_unit_fault(error) or isinstance(error, LateGuard)


def _bulk_ending(unit: Unit) -> Unit:
    start = len(unit)
    while start and unit[start - 1].is_bulk:
        start -= 1
    return unit[start:]


async def _apply(connection: Connection, unit: Unit) -> UnitResult:
    """One unit, up to a guard that fails; LateGuard where statements came before that."""
    rows: list[list[Row]] = []
    for statement in unit:
        sql = numbered(statement.sql if statement.guard is None else told(statement.sql))
        found = [tuple(row) for row in await connection.fetch(sql, *statement.params)]
        if statement.guard is not None and not found:
            if rows:
                raise LateGuard(statement.guard)
            return UnitResult(failed_guard=statement.guard)
        rows.append(found)
    return UnitResult(rows=tuple(rows))


def _now() -> float:
    return asyncio.get_running_loop().time()
