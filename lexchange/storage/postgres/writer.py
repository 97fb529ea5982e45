"""A batch as one transaction: its locks, its units, its commit, and what became of it when the answer was lost.

Locks come first, all in one order, so that no two batches of any processes wait for each other in a circle. What has no
lock may still collide in odd cases (a hold of yesterday's counter): the server undoes one batch, which is made again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from lexchange import failpoints
from lexchange.errors import StorageError
from lexchange.storage.connector import Row, Statement, Unit, UnitResult, bulk_runs
from lexchange.storage.postgres.faults import failure, is_collision, is_unit_fault
from lexchange.storage.postgres.queue import Batch, Locks
from lexchange.storage.postgres.sessions import Connection, Sessions
from lexchange.storage.postgres.sql import numbered, unnested

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

        The first run trusts every unit. If one breaks, all is undone and applied again, each unit behind a savepoint.
        """
        units = [job.unit for job in batch.jobs]
        until = max(batch.jobs[0].since, _now() - self._busy_s / 2) + self._busy_s
        run, pauses = self._apply_all, iter(PAUSES_S)
        while True:
            try:
                return await self._transaction(units, batch.locks, run, until)
            except Exception as error:  # noqa: BLE001 - whatever breaks, every caller gets an answer
                if is_unit_fault(error) and run == self._apply_all:
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
                if is_unit_fault(error) or is_collision(error):
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
            status = await self._became_of(transaction)
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
            if status != "in progress" or _now() + LOOK_S >= until:
                return status or "forgotten"
            await asyncio.sleep(LOOK_S)

    async def _apply_all(self, connection: Connection, units: list[Unit]) -> Results:
        results: dict[int, UnitResult | StorageError] = {}
        bulks: dict[str, list[Statement]] = {}
        for number, unit in enumerate(units):
            if len(unit) == 1 and unit[0].is_bulk:
                bulks.setdefault(unit[0].sql, []).append(unit[0])
                results[number] = UnitResult(rows=((),))
            else:
                results[number] = await self._apply(connection, unit)
        for statements in bulks.values():
            await self._insert(connection, statements)
        return list(results.values())

    async def _apply_each(self, connection: Connection, units: list[Unit]) -> Results:
        results: Results = []
        for unit in units:
            await connection.execute("SAVEPOINT suspect")
            try:
                results.append(await self._apply(connection, unit))
            except Exception as error:
                if not is_unit_fault(error):
                    raise
                await connection.execute("ROLLBACK TO suspect")
                results.append(failure(error))
            await connection.execute("RELEASE suspect")
        return results

    async def _apply(self, connection: Connection, unit: Unit) -> UnitResult:
        """One unit. A guard that comes first has nothing to undo, so such a unit needs no savepoint."""
        has_savepoint = any(statement.guard is not None for statement in unit[1:])
        if has_savepoint:
            await connection.execute("SAVEPOINT unit")
        rows: list[Sequence[Row]] = []
        for run in bulk_runs(unit):
            if len(run) > 1:
                await self._insert(connection, run)
                rows += [()] * len(run)
                continue
            rows.append([tuple(row) for row in await connection.fetch(numbered(run[0].sql), *run[0].params)])
            if run[0].guard is not None and not rows[-1]:
                if has_savepoint:
                    await connection.execute("ROLLBACK TO unit; RELEASE unit")
                return UnitResult(failed_guard=run[0].guard)
        if has_savepoint:
            await connection.execute("RELEASE unit")
        return UnitResult(rows=tuple(rows))

    async def _insert(self, connection: Connection, statements: Sequence[Statement]) -> None:
        """Write the rows of equal bulk statements as one."""
        columns = zip(*(statement.params for statement in statements), strict=True)
        await connection.execute(await self._bulk(connection, statements[0].sql), *map(list, columns))

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


def _now() -> float:
    return asyncio.get_running_loop().time()
