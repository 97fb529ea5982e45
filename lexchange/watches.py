"""Watches: streams that stay open as long as their clients like, and would hold up the server's end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class Watches:
    """Those of one server."""

    def __init__(self) -> None:
        self._open: set[asyncio.Timeout] = set()
        self._is_over = False

    @asynccontextmanager
    async def watch(self) -> AsyncIterator[None]:
        """Run the block until it ends or is let go: then it ends as if it were through."""
        with suppress(TimeoutError):
            async with asyncio.timeout(0 if self._is_over else None) as watch:
                self._open.add(watch)
                try:
                    yield
                finally:
                    self._open.discard(watch)

    def let_go(self) -> None:
        """End all of them, and those that come yet."""
        self._is_over = True
        now_s = asyncio.get_running_loop().time()
        for watch in self._open:
            watch.reschedule(now_s)
